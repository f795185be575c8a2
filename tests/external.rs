//! etcd as a cluster of its own, on simulated hosts: what is changed, lost, stopped or added is mended by running again.

mod common;

use std::time::Duration;

use common::{End, Run, stage, tail, with_clock};
use quorate::backup::seal::Keys;
use quorate::cluster::restore::Way;
use quorate::engine::event::{Event, Outcome};
use quorate::error::Error;
use quorate::host::simulated::world::World;
use quorate::operation::rehearse::{Operation, Reference, Search, Stage, attempt, read};
use quorate::operation::{backup, recover, restore};

const INVENTORY: &str = "tests/data/simulated-external.yaml";
const DATA: &str = "/var/lib/etcd-external/member/snap/db";

fn done(run: &Run) {
    assert!(
        matches!(run.end, End::Done { .. }),
        "{:?}\n{}",
        run.end,
        tail(run)
    );
}

async fn second_run_is_idle(stage: &Stage) {
    let run = stage.run().await;
    assert!(
        matches!(run.end, End::Done { changed: 0, .. }),
        "{:?}\n{}",
        run.end,
        tail(&run)
    );
}

/// Provisions, lets something happen, provisions again and looks at the end.
fn after(happens: impl Fn(&Stage, &mut World)) -> Run {
    let stage = stage(INVENTORY, "provision");
    with_clock(async {
        done(&stage.run().await);
        {
            let mut world = stage.simulation().world();
            happens(&stage, &mut world);
            world.settle();
            world.pass(Duration::from_secs(30));
        }
        let mended = stage.run().await;
        done(&mended);
        whole(&stage.simulation().world(), 3);
        second_run_is_idle(&stage).await;
        mended
    })
}

/// One etcd of so many started voters.
fn whole(world: &World, members: usize) {
    assert_eq!(world.violations, Vec::<String>::new());
    assert_eq!(world.etcd.len(), 1, "{:?}", world.etcd);
    let cluster = world.etcd.first().expect("one");
    assert_eq!(cluster.members.len(), members, "{:?}", cluster.members);
    let is_voter = |member: &quorate::host::simulated::etcd::Member| {
        !member.is_learner && !member.name.is_empty()
    };
    assert!(
        cluster.members.iter().all(is_voter),
        "{:?}",
        cluster.members
    );
}

/// What changed, as `host: step`.
fn changes(run: &Run) -> Vec<String> {
    let changed = run.events().filter_map(|event| match event {
        Event::TaskFinished {
            task,
            step,
            outcome: Outcome::Changed,
            ..
        } => Some(format!("{}: {step}", task.host)),
        _ => None,
    });
    changed
        .filter(|line| !line.ends_with("Fetch the kubeconfig"))
        .collect()
}

fn lose_data(world: &mut World, host: &str) {
    world.machine(host).files.remove(DATA).expect("it has data");
    world
        .machine(host)
        .units
        .get_mut("etcd")
        .expect("a unit")
        .active = false;
}

#[test]
fn a_member_that_lost_its_data_is_added_again() {
    let run = after(|_, world| lose_data(world, "etcd1"));
    let steps = ["etcd1: See the member in the cluster, running and current"];
    assert_eq!(changes(&run), steps);
}

/// etcd refuses to promote a learner that has not yet what the leader has.
#[test]
fn a_learner_that_is_not_in_sync_is_promoted_when_it_is() {
    let stage = stage(INVENTORY, "provision");
    with_clock(async {
        done(&stage.run().await);
        {
            let mut world = stage.simulation().world();
            lose_data(&mut world, "etcd1");
            world.settle();
        }
        done(&stage.run().await);
        let world = stage.simulation().world();
        whole(&world, 3);
        let asks = world.calls.iter();
        let asks = asks.filter(|call| call.what.starts_with("etcd-member-promote"));
        assert!(asks.count() > 1);
    });
}

#[test]
fn a_replaced_machine_becomes_a_member_again() {
    for host in ["etcd2", "master1"] {
        let run = after(|stage, world| {
            let node = stage.session.inventory.node(host).expect("a host").clone();
            world.replace(host, &node);
        });
        assert!(changes(&run).iter().any(|line| line.starts_with(host)));
    }
}

#[test]
fn members_that_were_all_stopped_are_started_together() {
    after(|_, world| {
        for host in ["etcd1", "etcd2", "master1"] {
            world
                .machine(host)
                .units
                .get_mut("etcd")
                .expect("a unit")
                .active = false;
        }
    });
}

/// The package has its unit start at boot; a member that began so would have data and no mark of whose it is.
#[test]
fn a_boot_before_the_first_start_begins_no_member() {
    let mut stage = stage(INVENTORY, "provision");
    let operation = Operation::find("provision").expect("there");
    let reference = Reference::new(&mut stage, operation).expect("it converges without a fault");
    let fault = "master1:power-cut@etcd-start".parse().expect("a fault");
    let outcome = attempt(&mut stage, &reference, &[fault], Search::Nothing);
    assert_eq!(outcome.broken, None);
    assert!(outcome.unmet.is_empty(), "{:?}", outcome.unmet);
}

#[test]
fn a_reset_of_a_master_leaves_etcds_data_alone() {
    after(|_, world| {
        let files = &mut world.machine("master1").files;
        files.remove("/etc/kubernetes/manifests/kube-apiserver.yaml");
        assert!(files.has(DATA));
    });
}

/// Provisions the inventory as it is, then with `old` replaced by `new`.
fn edited(old: &str, new: &str, members: usize) -> Run {
    let text = fs_err::read_to_string(INVENTORY).expect("readable");
    assert_eq!(text.matches(old).count(), 1, "{old:?} is there once");
    let folder = tempfile::tempdir().expect("a folder");
    let path = camino::Utf8Path::from_path(folder.path())
        .expect("UTF-8")
        .join("edited.yaml");
    fs_err::write(&path, text.replace(old, new)).expect("writable");
    let (mut before, mut after) = (
        stage(INVENTORY, "provision"),
        stage(path.as_str(), "provision"),
    );
    let machines = after.simulation().world().snapshot();
    before.begin(machines);
    with_clock(async {
        done(&before.run().await);
        let provisioned = before.simulation().world().snapshot();
        after.begin(provisioned);
        let run = after.run().await;
        done(&run);
        whole(&after.simulation().world(), members);
        second_run_is_idle(&after).await;
        run
    })
}

#[test]
fn a_setting_restarts_one_member_after_the_other_and_the_leader_last() {
    let run = edited("  peer-network:", "  quota: 2GiB\n  peer-network:", 3);
    let restarts: Vec<String> = changes(&run)
        .into_iter()
        .filter(|line| line.ends_with("running and current"))
        .collect();
    // The simulated leader is the first member that started.
    let order = ["etcd2", "master1", "etcd1"];
    assert_eq!(
        restarts,
        order.map(|host| format!("{host}: See the member in the cluster, running and current"))
    );
    assert_eq!(changes(&run).len(), 6);
}

#[test]
fn two_more_members_are_added_as_learners_and_restart_no_other() {
    let more = "    master1: { peer-address: 10.2.2.101 }\n    etcd[3-4]: { address: \"10.1.1.[23-24]\", peer-address: \"10.2.2.[23-24]\" }\n";
    let run = edited("    master1: { peer-address: 10.2.2.101 }\n", more, 5);
    let members: Vec<String> = changes(&run)
        .into_iter()
        .filter(|line| line.ends_with("running and current"))
        .collect();
    assert_eq!(members.len(), 2, "{members:?}");
}

/// Where etcd is not the masters' own, what knows only that says so before any host is asked anything.
#[test]
fn what_knows_stacked_etcd_only_refuses_with_the_next_command() {
    let stage = stage(INVENTORY, "provision");
    let session = &stage.session;
    let request = restore::Request {
        store: backup::store(&session.inventory.name, None),
        keys: Keys::read(&[]).expect("none are keys too"),
        id: "latest".to_owned(),
        single: false,
        confirm: None,
    };
    let refusals = [
        (
            with_clock(restore::restore(session, &request)),
            "quorate recover",
        ),
        (with_clock(restore::abort(session)), "quorate recover"),
        (
            with_clock(read(session)).map(drop),
            "Leave `--from-live` out",
        ),
    ];
    for (refusal, next) in refusals {
        let error = refusal.expect_err("it is refused");
        assert_eq!(error.code(), 5);
        let said = said(&error);
        assert!(
            said.contains("on etcd1, etcd2, master1: no host was touched"),
            "{said}"
        );
        assert!(said.contains(next), "{said}");
    }
    assert!(stage.simulation().world().calls.is_empty());
    let operation = Operation::find("restore").expect("there");
    let mut stage = self::stage(INVENTORY, "restore");
    let refused = Reference::new(&mut stage, operation).err();
    assert_eq!(refused.map(|error| error.code()), Some(5));
}

fn said(error: &Error) -> String {
    match error {
        Error::Refused { findings } => findings.join("\n"),
        other => format!("{other:?}"),
    }
}

/// What becomes of `recover` after `lost` are dead for good.
fn recovered(lost: &[&str], way: Way) -> Result<(), Error> {
    let stage = stage(INVENTORY, "provision");
    with_clock(async {
        done(&stage.run().await);
        for host in lost {
            stage.simulation().world().power_off(host);
        }
        let request = recover::Request {
            plan: false,
            confirm: None,
            way,
        };
        let recover = recover::recover(&stage.session, &request);
        let ended = Box::pin(stage.at_computer(recover)).await;
        assert_eq!(stage.simulation().world().violations, Vec::<String>::new());
        ended
    })
}

#[test]
fn a_survivor_is_not_made_a_cluster_of_its_own() {
    for way in [Way::Snapshot, Way::ForceNewCluster] {
        let error = recovered(&["etcd1", "etcd2"], way).expect_err("quorum is lost");
        assert_eq!(error.code(), 5, "{}", said(&error));
    }
    let error = recovered(&["etcd1"], Way::ForceNewCluster).expect_err("quorum is there");
    assert!(
        said(&error).contains("stacked on the masters only"),
        "{}",
        said(&error)
    );
}

#[test]
fn a_dead_member_is_removed() {
    recovered(&["etcd2"], Way::Snapshot).expect("it is removed");
}
