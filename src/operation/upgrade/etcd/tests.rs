//! One test per gate of an upgrade of etcd: three members that may be upgraded, spoilt in one way.

use serde_json::json;

use super::gates::{Offered, Site};
use crate::action::Fleet;
use crate::cluster::etcd::MEMBERSHIP;
use crate::cluster::etcd_member::{self, Beginning};
use crate::cluster::report::{Answer, Has, Report};
use crate::cluster::sample::{CLUSTER, external, joined, learner, list, started, unstarted};
use crate::host::command::Script;
use crate::host::probe::{FileState, Readings};
use crate::inventory::etcd::{EtcdPackages, EtcdVersion};
use crate::inventory::{EtcdTopology, ExternalEtcd, Inventory, Role};
use crate::operation::preflight::Finding;
use crate::template::Templates;
use crate::testing;

/// Three members on masters.
struct Cluster {
    inventory: Inventory,
    members: Vec<Member>,
    offered: Offered,
    to: EtcdVersion,
}

#[derive(Clone)]
struct Member {
    id: u64,
    cluster: u64,
    version: &'static str,
    errors: Vec<&'static str>,
    is_healthy: bool,
    answers: bool,
    list: Vec<String>,
    /// What is installed; `None`: unpacked and not configured.
    package: Option<&'static str>,
}

fn version(text: &str) -> EtcdVersion {
    text.parse().expect("a version")
}

impl Member {
    fn report(&self) -> Report {
        let status = json!({
            "header": { "cluster_id": self.cluster.to_string(), "member_id": self.id.to_string() },
            "leader": "1", "version": self.version, "errors": self.errors,
        });
        let answer = |text: String| {
            if self.answers {
                Answer::Http(200, text)
            } else {
                Answer::Unreachable
            }
        };
        Report {
            has: [Has::EtcdData].into(),
            etcd_status: answer(status.to_string()),
            etcd_members: list(&self.list),
            etcd_health: answer(format!(r#"{{"health":"{}"}}"#, self.is_healthy)),
            ..joined(self.id, &[1, 2, 3])
        }
    }

    fn readings(&self, inventory: &Inventory) -> Readings {
        let mark = Beginning::new(inventory).to_string();
        let readings = Readings::default()
            .with_machine(testing::debian())
            .with_script(etcd_member::script(), 0, &self.report().to_string())
            .with_file(MEMBERSHIP, FileState::regular(mark.as_str()));
        ["etcd-server", "etcd-client"]
            .into_iter()
            .fold(readings, |readings, name| match self.package {
                Some(version) => readings.with_held_package(name, version),
                None => readings.without_package(name),
            })
    }
}

impl Cluster {
    fn new(from: &'static str, package: &'static str, to: &str) -> Self {
        let member = |id| Member {
            id,
            cluster: CLUSTER,
            version: from,
            errors: Vec::new(),
            is_healthy: true,
            answers: true,
            list: (1..=3).map(started).collect(),
            package: Some(package),
        };
        let all = ["etcd-server", "etcd-client"].map(|name| (name.to_owned(), format!("{to}-1")));
        let hosts = ["master1", "master2", "master3"];
        let mut cluster = Self {
            inventory: external(),
            members: (1..=3).map(member).collect(),
            offered: hosts.map(|host| (host.to_owned(), all.to_vec())).into(),
            to: version(to),
        };
        cluster.etcd().version = version(to);
        cluster
    }

    fn etcd(&mut self) -> &mut ExternalEtcd {
        match &mut self.inventory.etcd {
            EtcdTopology::External(etcd) => etcd,
            EtcdTopology::Stacked => unreachable!("the sample has an etcd of its own"),
        }
    }

    fn third(&mut self) -> &mut Member {
        self.members.last_mut().expect("three")
    }

    fn refusals(&self) -> Vec<String> {
        let mut fleet = Fleet::default();
        let masters = self.inventory.with_role(Role::Master);
        for (node, member) in masters.zip(&self.members) {
            fleet.update(&node.name, member.readings(&self.inventory));
        }
        let templates = Templates::load(None).expect("the embedded templates are in order");
        let site = Site::read(&self.inventory, &templates, &fleet);
        let line = |finding: &Finding| {
            format!(
                "{} {}: {} -- {}",
                finding.host, finding.check, finding.what, finding.help
            )
        };
        site.judge(self.to, &self.offered)
            .refusals
            .iter()
            .map(line)
            .collect()
    }
}

fn patch() -> Cluster {
    Cluster::new("3.5.26", "3.5.26-1", "3.5.27")
}

/// Spoils members that go from 3.5.26 to 3.5.27 and expects exactly one refusal that begins so.
#[track_caller]
fn refuses(beginning: &str, spoil: impl FnOnce(&mut Cluster)) {
    refuses_of(patch(), beginning, spoil);
}

#[track_caller]
fn refuses_of(mut cluster: Cluster, beginning: &str, spoil: impl FnOnce(&mut Cluster)) {
    spoil(&mut cluster);
    let refusals = cluster.refusals();
    assert!(
        refusals.len() == 1 && refusals.iter().all(|it| it.starts_with(beginning)),
        "{beginning}: {refusals:#?}"
    );
}

#[test]
fn members_that_are_well_go_to_a_patch_and_to_the_next_minor() {
    assert_eq!(patch().refusals(), Vec::<String>::new());
    let minor = Cluster::new("3.5.26", "3.5.26-1", "3.6.1");
    assert_eq!(minor.refusals(), Vec::<String>::new());
    let next = Cluster::new("3.6.11", "3.6.11-1", "3.7.0");
    assert_eq!(next.refusals(), Vec::<String>::new());
}

#[test]
fn every_member_is_a_started_healthy_voter_that_the_inventory_has() {
    refuses(
        "all etcd: etcd member master3 does not answer as healthy",
        |cluster| {
            cluster.third().is_healthy = false;
        },
    );
    refuses(
        "all etcd: etcd member master3 does not answer as healthy",
        |cluster| {
            cluster.third().answers = false;
        },
    );
    let listing = |cluster: &mut Cluster, list: &[String]| {
        for member in &mut cluster.members {
            member.list = list.to_vec();
        }
    };
    refuses(
        "all etcd: etcd member https://10.1.1.103:2380 has never started",
        |cluster| {
            listing(cluster, &[started(1), started(2), unstarted(3)]);
            cluster.third().answers = false;
        },
    );
    refuses(
        "all etcd: etcd member master3 is still a learner",
        |cluster| {
            listing(cluster, &[started(1), started(2), learner(3)]);
        },
    );
    refuses(
        "master3 etcd: it is in the inventory and no member of etcd",
        |cluster| {
            listing(cluster, &[started(1), started(2)]);
            cluster.third().answers = false;
        },
    );
    let mut strange = patch();
    listing(&mut strange, &[1, 2, 3, 9].map(started));
    let refusals = strange.refusals();
    let expected = "all etcd: etcd has a member that is not in the inventory: master9";
    assert!(
        refusals.iter().any(|it| it.starts_with(expected)),
        "{refusals:#?}"
    );
    refuses("all etcd: no etcd member answers", |cluster| {
        for member in &mut cluster.members {
            member.answers = false;
        }
    });
}

#[test]
fn a_member_of_another_cluster_is_refused() {
    let mut cluster = patch();
    cluster.third().cluster = 7;
    let refusals = cluster.refusals();
    let expected = "master3 etcd: its etcd belongs to another cluster than the others'";
    assert!(
        refusals.iter().any(|it| it.starts_with(expected)),
        "{refusals:#?}"
    );
}

#[test]
fn alarms_are_refused() {
    refuses(
        "master3 etcd-alarm: etcd reports: memberID:3 alarm:NOSPACE",
        |cluster| {
            cluster.third().errors = vec!["memberID:3 alarm:NOSPACE"];
        },
    );
}

#[test]
fn there_is_no_way_back() {
    refuses(
        "master3 downgrade: its etcd runs 3.5.28, which is later than 3.5.27: etcd has no way back -- say `--etcd-to 3.5.28` or later",
        |cluster| cluster.third().version = "3.5.28",
    );
    refuses(
        "master3 packages: its package etcd-server is 3.5.28, which is later than 3.5.27",
        |cluster| cluster.third().package = Some("3.5.28-1"),
    );
}

#[test]
fn no_minor_is_skipped() {
    let mut cluster = Cluster::new("3.4.30", "3.4.30-1", "3.6.1");
    let expected = "master1 minor: its etcd runs 3.4.30, and 3.6.1 is more than one minor ahead -- one minor at a time: \
         `quorate upgrade --etcd-to 3.5.Z` first, with its newest patch";
    let refusals = cluster.refusals();
    assert_eq!(refusals.len(), 3, "{refusals:#?}");
    assert_eq!(refusals.first().map(String::as_str), Some(expected));
    cluster.to = version("4.0.0");
    cluster.etcd().version = cluster.to;
    let refusals = cluster.refusals();
    assert!(
        refusals
            .iter()
            .any(|it| it.starts_with("all etcd-version: no Kubernetes speaks to etcd 4.0.0")),
        "{refusals:#?}"
    );
}

#[test]
fn a_minor_is_crossed_only_from_a_safe_patch_that_runs() {
    refuses_of(
        Cluster::new("3.5.26", "3.5.26-1", "3.6.1"),
        "master3 etcd-version: its etcd 3.5.25 must be 3.5.26 or later before one of 3.6 comes among the members -- \
         `quorate upgrade --etcd-to 3.5.26`, or a later patch, first",
        // Installed is not what runs.
        |cluster| cluster.third().version = "3.5.25",
    );
    refuses_of(
        Cluster::new("3.6.11", "3.6.11-1", "3.7.0"),
        "master3 etcd-version: its etcd 3.6.10 must be 3.6.11 or later before one of 3.7",
        |cluster| cluster.third().version = "3.6.10",
    );
    // Half done: who has 3.6 already is no reason to refuse.
    let mut half = Cluster::new("3.5.26", "3.5.26-1", "3.6.1");
    half.third().version = "3.6.1";
    half.third().package = Some("3.6.1-1");
    assert_eq!(half.refusals(), Vec::<String>::new());
}

#[test]
fn kubernetes_accepts_it() {
    refuses_of(
        Cluster::new("3.5.11", "3.5.11-1", "3.5.12"),
        "all etcd-version: Kubernetes v1.36.2 does not accept etcd 3.5.12 -- say `--etcd-to 3.5.24` or later",
        |_| (),
    );
}

#[test]
fn settings_that_the_target_has_lost_are_refused() {
    refuses_of(
        Cluster::new("3.6.11", "3.6.11-1", "3.7.0"),
        "all removed-setting: etcd 3.7.0 does not know experimental-corrupt-check-time",
        |cluster| {
            let (key, value) = ("experimental-corrupt-check-time", "1h");
            cluster
                .etcd()
                .extra
                .insert(key.to_owned(), value.to_owned());
        },
    );
}

#[test]
fn packages_are_there_to_be_installed() {
    refuses(
        "master3 packages: its repositories do not offer 3.5.27 of etcd-client",
        |cluster| {
            let offered = cluster.offered.get_mut("master3").expect("asked");
            offered.retain(|(name, _)| name == "etcd-server");
        },
    );
    refuses(
        "master3 packages: its repositories could not be asked",
        |cluster| {
            cluster.offered.remove("master3");
        },
    );
    let mut installed = patch();
    installed.third().package = Some("3.5.27-1");
    installed.offered.remove("master3");
    assert_eq!(
        installed.refusals(),
        Vec::<String>::new(),
        "it has them already"
    );
}

/// A member that an interrupted upgrade left with the target's packages may be stopped; one with the old ones may not.
#[test]
fn a_member_that_was_left_in_the_middle_need_not_be_well() {
    for package in [Some("3.5.27-1"), None] {
        let mut cluster = patch();
        cluster.third().answers = false;
        cluster.third().package = package;
        assert_eq!(cluster.refusals(), Vec::<String>::new(), "{package:?}");
    }
}

#[test]
fn preinstalled_programs_are_of_the_target() {
    let judged = |said: &str| {
        let mut cluster = patch();
        cluster.etcd().packages = EtcdPackages::Preinstalled;
        let mut fleet = Fleet::default();
        let masters = cluster.inventory.with_role(Role::Master);
        for (node, member) in masters.zip(&cluster.members) {
            let readings = member.readings(&cluster.inventory);
            let versions = versions(&cluster.inventory, &node.name);
            fleet.update(&node.name, readings.with_script(versions, 0, said));
        }
        let templates = Templates::load(None).expect("the embedded templates are in order");
        let site = Site::read(&cluster.inventory, &templates, &fleet);
        let refusals = site.judge(cluster.to, &Offered::new()).refusals;
        refusals
            .iter()
            .map(|it| it.what.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        judged("etcd 3.5.27\netcdctl 3.5.27\n"),
        Vec::<String>::new()
    );
    let lacking = "it should have etcd 3.5.27 preinstalled and has etcd 3.5.26, etcdctl 3.5.26";
    assert_eq!(judged("etcd 3.5.26\netcdctl 3.5.26\n"), [lacking; 3]);
}

/// The script that asks preinstalled programs for their versions.
fn versions(inventory: &Inventory, host: &str) -> Script {
    use crate::action::{Action as _, AnyAction, Context};
    use crate::host::probe::Probe;
    use crate::playbook::Playbook;
    let playbook = Playbook::load("upgrade-etcd", None).expect("it is embedded");
    let mut steps = playbook.plays.into_iter().flat_map(|play| play.steps);
    let action: AnyAction = steps.next().expect("it has a step").action;
    let templates = Templates::load(None).expect("the embedded templates are in order");
    let fleet = Fleet::default();
    let cx = Context {
        inventory,
        node: inventory.node(host).expect("a host of the sample"),
        templates: &templates,
        fleet: &fleet,
    };
    let mut probes = action.probes(&cx).into_iter();
    let script = probes.find_map(|probe| match probe {
        Probe::Script(script) if script.name == "etcd-versions" => Some(script),
        _ => None,
    });
    script.expect("preinstalled programs are asked")
}
