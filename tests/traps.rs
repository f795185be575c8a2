//! The known traps of founding and joining, each set on simulated hosts.

#![expect(
    clippy::indexing_slicing,
    clippy::semicolon_if_nothing_returned,
    reason = "a test that meets something else may panic, and says it shortly"
)]

mod common;

use std::time::Duration;

use common::{Bench, End, stage, tail, with_clock};
use quorate::cluster::restore::Way;
use quorate::error::Error;
use quorate::host::simulated::faults::What;
use quorate::host::simulated::world::World;
use quorate::operation::recover;
use quorate::operation::rehearse::{Operation, Reference, Search, attempt};

/// Provisions, lets something happen, provisions again (as often as a person would) and looks at the end.
fn after(happens: impl Fn(&Bench, &mut World), look: impl Fn(&World)) {
    let bench = Bench::new("provision");
    let simulation = bench.simulation();
    with_clock(async {
        provision(&bench).await;
        {
            let mut world = simulation.world();
            happens(&bench, &mut world);
            world.settle();
            world.pass(Duration::from_secs(60));
        }
        provision(&bench).await;
        whole(&simulation.world());
        look(&simulation.world());
        second_run_is_idle(&bench).await;
    });
}

/// Provisions with a fault at a job's step; then again until it is done.
fn struck(host: &str, job: &str, step: usize, what: What) {
    let bench = Bench::new("provision");
    let simulation = bench.simulation();
    let fault = format!("{host}:{what}@{job}+{step}");
    simulation.world().faults = vec![fault.parse().expect("a fault")];
    with_clock(async {
        let first = bench.run().await;
        assert!(
            !matches!(first.end, End::Done { .. }),
            "the fault was not met"
        );
        simulation.world().pass(Duration::from_secs(60));
        provision(&bench).await;
        whole(&simulation.world());
        second_run_is_idle(&bench).await;
    });
}

async fn provision(bench: &Bench) {
    let mut ends = Vec::new();
    for _ in 0..3 {
        let run = bench.run().await;
        if matches!(run.end, End::Done { .. }) {
            return;
        }
        ends.push(format!("{:?}\n{}", run.end, tail(&run)));
        bench.simulation().world().pass(Duration::from_secs(30));
    }
    panic!("{}", ends.join("\nthen "));
}

async fn second_run_is_idle(bench: &Bench) {
    bench.simulation().world().pass(Duration::from_secs(600));
    let run = bench.run().await;
    assert!(
        matches!(run.end, End::Done { changed: 0, .. }),
        "{:?}\n{}",
        run.end,
        tail(&run)
    );
}

/// One etcd of three started voters, all in one cluster.
fn whole(world: &World) {
    let living: Vec<_> = world
        .etcd
        .iter()
        .filter(|cluster| cluster.members.len() == 3)
        .collect();
    assert_eq!(living.len(), 1, "one cluster of three");
    let members = living.iter().flat_map(|cluster| &cluster.members);
    assert!(
        members
            .clone()
            .all(|member| !member.is_learner && !member.name.is_empty()),
        "{living:?}"
    );
    for master in ["master1", "master2", "master3"] {
        assert!(world.serves(&world.machines[master]), "{master} serves");
    }
}

#[test]
fn a_join_that_died_after_member_add_leaves_no_learner() {
    for what in [What::Reboot, What::OperatorDies, What::LoseConnection] {
        struck("master2", "kubeadm-join", 7, what);
    }
}

#[test]
fn an_init_that_died_halfway_is_finished_with_the_same_ca() {
    for step in [3, 5, 7] {
        struck("master1", "kubeadm-init", step, What::Reboot);
    }
}

#[test]
fn a_join_that_dies_at_any_step_is_done_again() {
    for step in 1..11 {
        struck("master3", "kubeadm-join", step, What::Reboot);
    }
}

#[test]
fn a_worker_whose_join_died_joins_again() {
    for step in [1, 3, 6] {
        struck("worker1", "kubeadm-join", step, What::Reboot);
    }
}

/// Empties etcd's data directory; its pod starts again on it.
fn wipe(world: &mut World, host: &str) {
    let machine = world.machine(host);
    machine.files.remove_below("/var/lib/etcd");
    machine.pods.remove("etcd");
}

#[test]
fn a_wiped_member_joins_again_instead_of_founding_a_second_cluster() {
    for host in ["master1", "master2"] {
        after(
            |_, world| wipe(world, host),
            |world| assert_eq!(world.cas, 1, "one CA"),
        );
    }
}

#[test]
fn a_node_of_a_replaced_worker_does_not_stop_the_new_one() {
    after(
        |bench, world| {
            world.replace(
                "worker1",
                bench.session().inventory.node("worker1").expect("there"),
            )
        },
        |world| {
            let id = &world.machines["worker1"].machine_id;
            let node = world
                .etcd
                .iter()
                .find_map(|cluster| cluster.objects.get("/api/v1/nodes/worker1"));
            let node = node.expect("a Node");
            assert_eq!(
                node.pointer("/status/nodeInfo/machineID")
                    .and_then(|id| id.as_str()),
                Some(id.as_str())
            );
        },
    );
}

#[test]
fn a_master_that_was_replaced_by_a_blank_machine_joins_in_its_place() {
    for host in ["master1", "master3"] {
        after(
            |bench, world| {
                world.replace(host, bench.session().inventory.node(host).expect("there"))
            },
            |world| assert_eq!(world.cas, 1, "one CA"),
        );
    }
}

#[test]
fn a_kubelet_that_refuses_etcd_for_lack_of_a_node_is_started_again() {
    let delete = |world: &mut World, host: &str| {
        for cluster in &mut world.etcd {
            cluster.objects.remove(&format!("/api/v1/nodes/{host}"));
        }
    };
    for happens in [
        |_: &mut World, _: &str| {},
        // The Node is there again when the run looks, and etcd is not.
        |world: &mut World, host: &str| {
            let now = world.now;
            world
                .systemctl(host, "restart", "kubelet", now)
                .expect("a start");
            assert!(world.machines[host].refuses_etcd, "the trap is set");
        },
    ] {
        after(
            |_, world| {
                delete(world, "master2");
                happens(world, "master2");
            },
            |world| assert!(!world.machines["master2"].refuses_etcd),
        );
    }
}

#[test]
fn a_load_balancer_that_was_replaced_is_made_again() {
    after(
        |bench, world| world.replace("lb1", bench.session().inventory.node("lb1").expect("there")),
        |world| assert_eq!(world.vip_holders().len(), 1),
    );
}

#[test]
fn an_interrupted_dpkg_is_finished() {
    struck("master1", "packages-install", 1, What::Reboot);
    struck("lb1", "packages-install", 1, What::Reboot);
}

#[test]
fn a_change_that_undid_itself_is_made_again() {
    after(
        |_, world| {
            // As if the run that wrote it had died before it saw the virtual IP answer.
            let now = world.now;
            let files = &mut world.machine("lb1").files;
            files.put("/etc/haproxy/haproxy.cfg", "# an older file\n", 0o644, now);
        },
        |world| {
            assert!(
                world.machines["lb1"].undos.values().all(|undo| undo.fired),
                "nothing is armed"
            )
        },
    );
}

#[test]
fn a_rebooted_cluster_needs_nothing() {
    after(
        |_, world| {
            for host in [
                "lb1", "lb2", "master1", "master2", "master3", "worker1", "worker2",
            ] {
                world.reboot(host);
            }
        },
        |world| assert!(world.violations.is_empty(), "{:?}", world.violations),
    );
}

/// An operation with a fault at a place converges, and nothing that must never be was.
fn converges(operation: &str, fault: &str) {
    let found = Operation::find(operation).expect("there");
    let mut stage = stage("tests/data/simulated.yaml", operation);
    let reference = Reference::new(&mut stage, found).unwrap_or_else(|error| panic!("{error}"));
    let faults = [fault.parse().expect("a fault")];
    let outcome = attempt(&mut stage, &reference, &faults, Search::Nothing);
    assert_eq!(outcome.unmet, [], "{operation} {fault}");
    assert_eq!(outcome.broken, None, "{operation} {fault}");
}

/// Masters that have finished keep their data: restored once more, they would be set back behind what they had agreed to.
#[test]
fn a_restore_that_not_all_masters_have_finished_is_gone_on_from() {
    converges("restore", "master2:lost@3.2");
    converges("restore", "master1:operator-dies@3.2+1");
}

/// A master that has joined is not all of what a recovery has to do.
#[test]
fn a_recovery_that_is_cut_after_the_join_finishes_the_rest() {
    converges("recover", "master1:operator-dies@kubeadm-join+10");
}

/// What was rebuilt from a backup still lacks what `provision` adds, whichever run got so far.
#[test]
fn a_rebuilt_master_is_provisioned_by_whichever_run_comes_to_it() {
    converges("restore-blank", "master2:operator-dies@restore-unpack+");
}

/// Machines that are given back while the survivor is being restored have no part in that.
#[test]
fn a_machine_that_comes_back_during_a_recovery_joins_afterwards() {
    converges("recover-survivor", "master3:lost@restore-stage");
}

/// Two of three masters lose power, so many seconds ago.
fn lose_two(world: &mut World, seconds: u64) {
    world.power_off("master2");
    world.power_off("master3");
    world.settle();
    world.pass(Duration::from_secs(seconds));
}

/// What comes of a recovery that gives up whatever it must.
async fn recovered(bench: &Bench, way: Way) -> Result<(), Error> {
    let stage = &bench.stage;
    let request = recover::Request {
        plan: false,
        confirm: Some(stage.session.inventory.name.clone()),
        way,
    };
    Box::pin(stage.at_computer(recover::recover(&stage.session, &request))).await
}

/// A survivor whose etcd was started again serves nobody: a backup and a recovery take a copy of its data, and a forced
/// recovery, which cannot tell whom it gives up, is refused.
#[test]
fn a_survivor_whose_etcd_does_not_serve_is_read_from_its_data() {
    for waits in [5, 100] {
        let bench = Bench::new("provision");
        let simulation = bench.simulation();
        with_clock(async {
            provision(&bench).await;
            {
                let mut world = simulation.world();
                lose_two(&mut world, waits);
                let pod = world.machines["master1"].pods["etcd"];
                assert_eq!(pod.serves, waits < 80, "as long as its liveness probe");
            }
            if waits > 80 {
                let refused = recovered(&bench, Way::ForceNewCluster)
                    .await
                    .expect_err("refused");
                assert!(refused.is_refusal());
            }
            recovered(&bench, Way::Snapshot).await.expect("it recovers");
        });
        let world = simulation.world();
        assert_eq!(world.violations, Vec::<String>::new());
        assert!(world.serves(&world.machines["master1"]));
    }
}

/// A lost master that boots while the survivor's snapshot is taken and proved is there when it is asked for: it is not given up,
/// nothing stops, and nothing stays of the snapshot.
#[test]
fn a_lost_master_that_boots_while_the_snapshot_is_proved_is_not_given_up() {
    let bench = Bench::new("provision");
    let simulation = bench.simulation();
    let has_call = |name: &str| {
        let world = simulation.world();
        world.calls.iter().any(|call| call.what.contains(name))
    };
    with_clock(async {
        provision(&bench).await;
        lose_two(&mut simulation.world(), 5);
        let boots = async {
            for _ in 0..1000 {
                if has_call("etcd-trial") {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            let mut world = simulation.world();
            world.power_on("master2");
            world.settle();
        };
        let (recovered, ()) = tokio::join!(recovered(&bench, Way::Snapshot), boots);
        let refused = recovered.expect_err("master2 is there").to_string();
        assert!(
            refused.contains("a member that is there is not given up"),
            "{refused}"
        );
    });
    let world = simulation.world();
    let of_survivor = &world.machines["master1"].files;
    for path in [
        "/var/lib/quorate/restore/settings",
        "/var/lib/quorate/snapshot/snapshot.db",
    ] {
        assert!(!of_survivor.has(path), "{path}");
    }
    assert!(world.serves(&world.machines["master1"]));
}
