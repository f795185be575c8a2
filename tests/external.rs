//! etcd as a cluster of its own, on simulated hosts: what is changed, lost, stopped or added is mended by running again.

mod common;

use std::time::Duration;

use common::{End, Run, stage, tail, with_clock};
use quorate::cluster::restore::Way;
use quorate::engine::event::{Event, Outcome};
use quorate::error::Error;
use quorate::host::simulated::world::World;
use quorate::operation::recover;
use quorate::operation::rehearse::{Operation, Reference, Search, Stage, attempt};

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

/// A stage with the inventory, in which `old` is replaced by `new`.
fn edited_stage(old: &str, new: &str) -> Stage {
    let text = fs_err::read_to_string(INVENTORY).expect("readable");
    assert_eq!(text.matches(old).count(), 1, "{old:?} is there once");
    let folder = tempfile::tempdir().expect("a folder");
    let path = camino::Utf8Path::from_path(folder.path())
        .expect("UTF-8")
        .join("edited.yaml");
    fs_err::write(&path, text.replace(old, new)).expect("writable");
    stage(path.as_str(), "provision")
}

/// Provisions the inventory as it is, then with `old` replaced by `new`.
fn edited(old: &str, new: &str, members: usize) -> Run {
    let (mut before, mut after) = (stage(INVENTORY, "provision"), edited_stage(old, new));
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

/// The member that is followed by two more.
const LAST: &str = "    master1: { peer-address: 10.2.2.101 }\n";

const TWO_MORE: &str = "    master1: { peer-address: 10.2.2.101 }\n    etcd[3-4]: { address: \"10.1.1.[23-24]\", peer-address: \"10.2.2.[23-24]\" }\n";

/// Provisions five members, lets something happen, then provisions three.
fn shrunk(happens: impl Fn(&mut World)) -> (Stage, Run) {
    let (five, mut three) = (edited_stage(LAST, TWO_MORE), stage(INVENTORY, "provision"));
    let run = with_clock(async {
        done(&five.run().await);
        whole(&five.simulation().world(), 5);
        three.begin(five.simulation().world().snapshot());
        happens(&mut three.simulation().world());
        three.run().await
    });
    (three, run)
}

/// What was done of what a call's name begins with: host and what.
fn calls<'w>(world: &'w World, begins: &str) -> Vec<(&'w str, usize)> {
    let calls = world.calls.iter().enumerate();
    let calls = calls.filter(|(_, call)| call.what.starts_with(begins));
    calls.map(|(at, call)| (call.host.as_str(), at)).collect()
}

#[test]
fn two_members_that_the_inventory_has_no_more_leave_when_no_apiserver_asks_them() {
    let (stage, run) = shrunk(|_| {});
    done(&run);
    with_clock(second_run_is_idle(&stage));
    let world = stage.simulation().world();
    whole(&world, 3);
    let removals = calls(&world, "etcd-member-remove");
    assert_eq!(removals.len(), 2, "{removals:?}");
    let apiservers = calls(&world, "control-plane-replace");
    let heard = apiservers.iter().map(|(_, at)| at).max();
    assert!(heard < removals.iter().map(|(_, at)| at).min());
    for master in ["master1", "master2"] {
        let manifest = "/etc/kubernetes/manifests/kube-apiserver.yaml";
        let files = &world.machines.get(master).expect("there").files;
        assert!(!files.text(manifest).expect("there").contains("10.1.1.23"));
    }
    assert!(calls(&world, "etcd-transfer-leadership-at").is_empty());
    let said = run.text();
    assert!(
        said.contains("systemctl disable --now etcd-watch etcd"),
        "{said}"
    );
}

#[test]
fn a_leader_that_leaves_hands_leadership_over_and_goes_last() {
    let (stage, run) = shrunk(|world| {
        let cluster = world.etcd.first_mut().expect("one");
        let leader = cluster.members.iter().find(|member| member.name == "etcd3");
        cluster.leader = leader.map(|member| member.id);
    });
    done(&run);
    let world = stage.simulation().world();
    whole(&world, 3);
    let removals = calls(&world, "etcd-member-remove");
    let moves = calls(&world, "etcd-transfer-leadership-at");
    let at = |list: &[(&str, usize)], index: usize| list.get(index).map(|(_, at)| *at);
    assert_eq!((removals.len(), moves.len()), (2, 1));
    assert!(at(&removals, 0) < at(&moves, 0) && at(&moves, 0) < at(&removals, 1));
}

#[test]
fn members_that_left_silently_go_too() {
    let (stage, run) = shrunk(|world| {
        world.power_off("etcd3");
        world.power_off("etcd4");
    });
    done(&run);
    whole(&stage.simulation().world(), 3);
    with_clock(second_run_is_idle(&stage));
}

#[test]
fn nobody_leaves_while_one_that_stays_is_not_well() {
    let (stage, run) = shrunk(|world| {
        let unit = world.machine("etcd1").units.get_mut("etcd");
        unit.expect("a unit").active = false;
        world.machine("etcd1").is_full = true;
        world.settle();
    });
    assert!(!matches!(run.end, End::Done { .. }), "{:?}", run.end);
    let world = stage.simulation().world();
    assert_eq!(world.violations, Vec::<String>::new());
    assert!(calls(&world, "etcd-member-remove").is_empty());
}

#[test]
fn who_leaves_is_named_and_that_there_is_no_way_back() {
    let (_, run) = shrunk(|_| {});
    let mut changes = run.events().filter_map(|event| match event {
        Event::TaskStarted { change, .. } => Some(change),
        _ => None,
    });
    let removal = changes
        .find(|change| change.summary.starts_with("remove etcd members"))
        .expect("it is a task of its own");
    assert!(removal.no_way_back.is_some());
    for member in ["etcd3 (", "etcd4 (", "https://10.2.2.23:2380"] {
        assert!(removal.summary.contains(member), "{}", removal.summary);
    }
}

/// A member elsewhere is no new one: it would be stopped to be added.
#[test]
fn a_changed_peer_address_is_refused_before_anything_is_touched() {
    let (before, mut after) = (
        stage(INVENTORY, "provision"),
        edited_stage("10.2.2.[21-22]", "10.2.2.[31-32]"),
    );
    with_clock(async {
        done(&before.run().await);
        after.begin(before.simulation().world().snapshot());
        for (host, address) in [("etcd1", [10, 2, 2, 31]), ("etcd2", [10, 2, 2, 32])] {
            after.simulation().world().machine(host).peer_address = Some(address.into());
        }
        let run = after.run().await;
        let End::Failed { why, .. } = &run.end else {
            panic!("{:?}", run.end);
        };
        assert!(
            why.contains("a member's peer address is not changed"),
            "{why}"
        );
        whole(&after.simulation().world(), 3);
    });
}

#[test]
fn two_more_members_are_added_as_learners_and_restart_no_other() {
    let run = edited(LAST, TWO_MORE, 5);
    let members: Vec<String> = changes(&run)
        .into_iter()
        .filter(|line| line.ends_with("running and current"))
        .collect();
    assert_eq!(members.len(), 2, "{members:?}");
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
fn a_new_cluster_is_not_forced_while_there_is_a_quorum() {
    let error = recovered(&["etcd1"], Way::ForceNewCluster).expect_err("quorum is there");
    assert_eq!(error.code(), 5, "{}", said(&error));
    assert!(
        said(&error).contains("quorum is not lost for good"),
        "{}",
        said(&error)
    );
}

#[test]
fn a_dead_member_is_removed() {
    recovered(&["etcd2"], Way::Snapshot).expect("it is removed");
}

fn said(error: &Error) -> String {
    match error {
        Error::Refused { findings } => findings.join("\n"),
        other => format!("{other:?}"),
    }
}
