//! etcd as a cluster of its own, on simulated hosts: what is lost comes back, from a backup or from a survivor.

mod common;

use std::time::Duration;

use common::{End, stage, tail, with_clock};
use quorate::backup::seal::{Keys, Seal};
use quorate::cluster::restore::Way;
use quorate::engine::event::Event;
use quorate::error::Error;
use quorate::host::simulated::world::World;
use quorate::operation::rehearse::Stage;
use quorate::operation::{backup, recover, restore};

const INVENTORY: &str = "tests/data/simulated-external.yaml";
const DIRECTORY: &str = "/var/lib/etcd-external";
const DATA: &str = "/var/lib/etcd-external/member/snap/db";
const MEMBERS: [&str; 3] = ["etcd1", "etcd2", "master1"];
const AFTER: &str = "/apis/apps/v1/namespaces/default/deployments/after-the-backup";

async fn provisioned(stage: &Stage) {
    let run = stage.run().await;
    assert!(
        matches!(run.end, End::Done { .. }),
        "{:?}\n{}",
        run.end,
        tail(&run)
    );
}

/// A stage whose hosts are provisioned and backed up, with something that is newer than the backup.
async fn backed_up() -> Stage {
    let stage = stage(INVENTORY, "provision");
    provisioned(&stage).await;
    let taken = async {
        let request = backup::Request {
            store: backup::store(&stage.session.inventory.name, None),
            seal: Seal::Plaintext,
            timeout: Duration::from_secs(3600),
            metrics: None,
            quiet: true,
        };
        backup::backup(&stage.session, &request).await
    };
    Box::pin(stage.at_computer(taken)).await.expect("a backup");
    let mut world = stage.simulation().world();
    let cluster = world.live_cluster().expect("it lives");
    let cluster = world.etcd.get_mut(cluster).expect("there");
    let object = serde_json::json!({ "metadata": { "name": "after" } });
    cluster.objects.insert(AFTER.to_owned(), object);
    drop(world);
    stage
}

async fn restored(stage: &Stage, single: bool) -> Result<(), Error> {
    let restoring = async {
        let name = &stage.session.inventory.name;
        let request = restore::Request {
            store: backup::store(name, None),
            keys: Keys::read(&[]).expect("none are keys too"),
            id: "latest".to_owned(),
            single,
            confirm: Some(name.clone()),
        };
        restore::restore(&stage.session, &request).await
    };
    Box::pin(stage.at_computer(restoring)).await
}

async fn recovered(stage: &Stage) -> Result<(), Error> {
    let request = recover::Request {
        plan: false,
        confirm: Some(stage.session.inventory.name.clone()),
        way: Way::Snapshot,
    };
    Box::pin(stage.at_computer(recover::recover(&stage.session, &request))).await
}

fn said(error: &Error) -> String {
    match error {
        Error::Refused { findings } => findings.join("\n"),
        other => format!("{other:?}"),
    }
}

/// One living etcd of three started voters, whose data every member's host has; both masters serve.
fn whole(world: &World) {
    assert_eq!(world.violations, Vec::<String>::new());
    let cluster = world.live_cluster().expect("one lives");
    let cluster = world.etcd.get(cluster).expect("there");
    assert_eq!(cluster.members.len(), 3, "{:?}", cluster.members);
    let is_voter = |member: &quorate::host::simulated::etcd::Member| {
        !member.is_learner && !member.name.is_empty()
    };
    assert!(
        cluster.members.iter().all(is_voter),
        "{:?}",
        cluster.members
    );
    for host in MEMBERS {
        let machine = world.machines.get(host).expect("there");
        assert!(machine.files.has(DATA), "{host}");
        let unit = machine.units.get("etcd").expect("a unit");
        assert!(unit.active && unit.enabled, "{host}: {unit:?}");
    }
    for master in ["master1", "master2"] {
        assert!(world.serves(world.machines.get(master).expect("there")));
    }
}

fn has_after(world: &World) -> bool {
    let cluster = world.live_cluster().expect("one lives");
    let cluster = world.etcd.get(cluster).expect("there");
    cluster.objects.contains_key(AFTER)
}

/// Much later another provision finds nothing to do.
async fn second_run_is_idle(stage: &Stage) {
    stage.simulation().world().pass(Duration::from_secs(600));
    let run = stage.run().await;
    // What was done by hand before is among what was heard.
    let last = run.events().last();
    let is_idle = matches!(last, Some(Event::RunFinished { changed: 0, .. }));
    assert!(
        is_idle && matches!(run.end, End::Done { .. }),
        "{:?}\n{}",
        run.end,
        tail(&run)
    );
}

fn destroy_all_data(world: &mut World) {
    for host in MEMBERS {
        let machine = world.machine(host);
        machine.files.remove_below(&format!("{DIRECTORY}/member"));
        machine.units.get_mut("etcd").expect("a unit").active = false;
    }
    world.settle();
}

#[test]
fn all_data_is_restored_on_every_member_from_one_snapshot() {
    for is_destroyed in [true, false] {
        with_clock(async {
            let stage = backed_up().await;
            if is_destroyed {
                destroy_all_data(&mut stage.simulation().world());
            }
            restored(&stage, false).await.expect("it is restored");
            {
                let world = stage.simulation().world();
                whole(&world);
                assert!(!has_after(&world), "what came after is lost");
                let is_old = |(path, _): &(&String, _)| path.contains("/quorate-old-");
                let machine = world.machines.get("etcd2").expect("there");
                assert_eq!(machine.files.iter().any(|it| is_old(&it)), !is_destroyed);
            }
            second_run_is_idle(&stage).await;
        });
    }
}

#[test]
fn one_member_is_restored_and_the_others_join_it() {
    with_clock(async {
        let stage = backed_up().await;
        restored(&stage, true).await.expect("it is restored");
        whole(&stage.simulation().world());
        assert!(!has_after(&stage.simulation().world()));
        second_run_is_idle(&stage).await;
    });
}

#[test]
fn a_restore_with_a_dead_member_goes_on_one_living_one_only_if_told_so() {
    with_clock(async {
        let stage = backed_up().await;
        stage.simulation().world().power_off("etcd1");
        restored(&stage, false).await.expect_err("etcd1 is needed");
        restored(&stage, true).await.expect("one is enough");
        stage.simulation().world().power_on("etcd1");
        stage.simulation().world().pass(Duration::from_secs(60));
        // It has the data that was left behind.
        recovered(&stage).await.expect("it joins");
        whole(&stage.simulation().world());
    });
}

/// Wherever the restore is interrupted before it has ended anywhere, the way back leads to what was.
#[test]
fn a_restore_is_taken_back_from_every_stage() {
    for place in ["1.1", "1.2", "2.1", "2.2", "3.1"] {
        with_clock(async {
            let stage = backed_up().await;
            let fault = format!("master1:operator-dies@{place}");
            stage.simulation().world().faults = vec![fault.parse().expect("a fault")];
            let died = quorate::host::simulated::world::mortal(restored(&stage, false)).await;
            assert!(died.is_none(), "{fault}");
            stage.simulation().world().pass(Duration::from_secs(60));
            let back = restore::abort(&stage.session);
            Box::pin(stage.at_computer(back))
                .await
                .expect("it goes back");
            stage.simulation().world().pass(Duration::from_secs(60));
            whole(&stage.simulation().world());
            assert!(has_after(&stage.simulation().world()), "nothing is lost");
            second_run_is_idle(&stage).await;
        });
    }
}

/// Two of three are lost; what comes back with its old disk has been left behind, even as a quorum.
#[test]
fn a_survivor_carries_on_and_the_others_join_it() {
    for waits in [5, 100] {
        with_clock(async {
            let stage = backed_up().await;
            {
                let mut world = stage.simulation().world();
                world.power_off("etcd1");
                world.power_off("etcd2");
                world.pass(Duration::from_secs(waits));
                if waits > 80 {
                    // Started anew without a quorum it serves nobody.
                    let now = world.now;
                    let restarted = world.systemctl("master1", "restart", "etcd", now);
                    restarted.expect("it starts");
                    world.pass(Duration::from_secs(5));
                }
            }
            let ended = recovered(&stage).await;
            ended.unwrap_or_else(|error| panic!("{}", said(&error)));
            assert!(
                has_after(&stage.simulation().world()),
                "the survivor had it"
            );
            {
                let mut world = stage.simulation().world();
                world.power_on("etcd1");
                world.power_on("etcd2");
                world.pass(Duration::from_secs(60));
                // With their old disks they are a quorum of what was: the person was told to keep them off.
                world.violations.clear();
            }
            let ended = recovered(&stage).await;
            ended.unwrap_or_else(|error| panic!("{}", said(&error)));
            stage.simulation().world().violations.clear();
            whole(&stage.simulation().world());
            second_run_is_idle(&stage).await;
        });
    }
}

#[test]
fn where_all_data_is_lost_recover_points_to_restore() {
    with_clock(async {
        let stage = backed_up().await;
        destroy_all_data(&mut stage.simulation().world());
        let error = recovered(&stage).await.expect_err("there is nothing left");
        assert!(
            said(&error).contains("quorate restore latest"),
            "{}",
            said(&error)
        );
    });
}

/// Blank machines become members and masters again, with the CA and the certificates of the backup.
#[test]
fn blank_machines_are_rebuilt_from_the_backup() {
    with_clock(async {
        let stage = backed_up().await;
        let ca = |world: &World, host: &str| {
            let files = &world.machines.get(host).expect("there").files;
            files.text("/etc/etcd/pki/ca.crt").map(str::to_owned)
        };
        let before = ca(&stage.simulation().world(), "etcd1");
        for host in ["etcd1", "etcd2", "master1", "master2"] {
            let node = stage.session.inventory.node(host).expect("a host").clone();
            stage.simulation().world().replace(host, &node);
        }
        restored(&stage, false)
            .await
            .unwrap_or_else(|error| panic!("{}", said(&error)));
        {
            let world = stage.simulation().world();
            whole(&world);
            for host in MEMBERS {
                assert_eq!(ca(&world, host), before);
            }
        }
        second_run_is_idle(&stage).await;
    });
}

/// kubeadm empties etcd's usual data directory unless it is told to leave etcd alone.
#[test]
fn every_reset_of_ours_leaves_etcd_alone() {
    let mut resets = 0;
    let mut folders = vec![camino::Utf8PathBuf::from("src")];
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir_utf8().expect("readable").flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path().to_owned());
                continue;
            }
            let text = fs_err::read_to_string(entry.path()).unwrap_or_default();
            let runs = |line: &&str| line.trim_start().starts_with("kubeadm reset");
            for line in text.lines().filter(runs) {
                resets += 1;
                assert!(line.contains("--skip-phases=remove-etcd-member"), "{line}");
            }
        }
    }
    assert!(resets > 0, "there is one");
}
