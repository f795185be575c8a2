//! `quorate upgrade` where etcd is a cluster of its own, on simulated hosts: of Kubernetes, which leaves etcd alone, and of
//! etcd itself, one member at a time and the leader last. That both survive any fault is tried in `resume.rs`, with all
//! operations; a test per gate of etcd's upgrade is beside the gates.
//!
//! The simulated world watches by itself that a second member is never stopped and that etcd never loses its quorum.

mod common;

use std::collections::BTreeMap;

use common::{End, Run, stage, with_clock};
use quorate::engine::event::{Event, TaskId};
use quorate::error::Error;
use quorate::host::simulated::record::Kind;
use quorate::host::simulated::world::World;
use quorate::inventory::etcd::EtcdVersion;
use quorate::operation::rehearse::{Operation, Reference, Search, Stage, attempt};
use quorate::operation::upgrade::Intent;
use quorate::operation::upgrade::etcd::upgrade_etcd;

const INVENTORY: &str = "tests/data/simulated-external.yaml";
const MEMBERS: [&str; 3] = ["etcd1", "etcd2", "master1"];

/// A cluster as `provision` left it, before that operation.
fn cluster(operation: &str) -> (Stage, Reference) {
    let operation = Operation::find(operation).expect("there");
    let mut stage = stage(INVENTORY, operation.name);
    let reference = Reference::new(&mut stage, operation).unwrap_or_else(|error| panic!("{error}"));
    stage.begin(reference.begins.snapshot());
    (stage, reference)
}

/// The changes that were made, in their order.
fn started(run: &Run) -> Vec<(TaskId, String)> {
    let started = run.events().filter_map(|event| match event {
        Event::TaskStarted { task, change, .. } => Some((task.clone(), change.summary.clone())),
        _ => None,
    });
    started.collect()
}

fn done(run: &Run) {
    assert!(matches!(run.end, End::Done { .. }), "{:?}", run.end);
}

fn version(text: &str) -> EtcdVersion {
    text.parse().expect("a version")
}

/// How often each member was started, and with what.
fn starts(world: &mut World) -> BTreeMap<&'static str, (u32, Option<EtcdVersion>)> {
    let of = |host: &'static str| {
        let machine = world.machine(host);
        let starts = machine.units.get("etcd").expect("a unit").starts;
        let version = machine.pods.get("etcd").expect("it runs").version;
        (host, (starts, version))
    };
    MEMBERS.into_iter().map(of).collect()
}

#[test]
fn kubernetes_is_upgraded_and_no_member_of_etcd_is_touched() {
    let (stage, _) = cluster("upgrade");
    let before = starts(&mut stage.simulation().world());
    let run = with_clock(stage.run());
    done(&run);
    let kubeadm: Vec<String> = started(&run)
        .into_iter()
        .filter(|(_, summary)| summary.contains("kubeadm upgrade"))
        .map(|(task, _)| task.host)
        .collect();
    assert_eq!(kubeadm, ["master1", "master2", "worker1"]);
    let mut world = stage.simulation().world();
    assert_eq!(starts(&mut world), before);
    let moved = world
        .calls
        .iter()
        .any(|call| call.what.starts_with("etcd-transfer-leadership"));
    assert!(
        !moved,
        "nobody gives up leadership for a kubeadm that leaves etcd alone"
    );
    let snapshot = world
        .machine("etcd2")
        .files
        .has("/var/lib/quorate/upgrade/before-v1.36.3.db");
    assert!(snapshot, "a follower took a snapshot before");
    for host in ["etcd1", "etcd2"] {
        let kubeadm = world
            .machine(host)
            .packages
            .get("kubeadm")
            .expect("it makes certificates");
        assert_eq!(kubeadm.version, "1.36.3-1.1", "{host}");
    }
}

/// Upgrades Kubernetes and gives the refusal; nothing may have been changed.
fn refusal(change: impl Fn(&mut World)) -> String {
    let (stage, _) = cluster("upgrade");
    change(&mut stage.simulation().world());
    let run = with_clock(stage.run());
    changed_nothing(&stage.simulation().world());
    match run.end {
        End::Failed { why, code: 5 } => why,
        other => panic!("it was not refused: {other:?}"),
    }
}

fn changed_nothing(world: &World) {
    let changes = world.calls.iter().filter(|call| call.kind != Kind::Probe);
    let changes: Vec<&str> = changes.map(|call| call.what.as_str()).collect();
    assert_eq!(changes, Vec::<&str>::new(), "a refusal changes nothing");
}

/// The members on hosts of their own are asked as well.
#[test]
fn the_gates_read_the_members_where_they_are() {
    let why = refusal(|world| {
        let units = &mut world.machine("etcd2").units;
        units.get_mut("etcd").expect("a unit").active = false;
        world.settle();
    });
    assert!(
        why.contains("etcd member etcd2 does not answer as healthy"),
        "{why}"
    );
    let why = refusal(|world| {
        let pods = &mut world.machine("etcd2").pods;
        pods.get_mut("etcd").expect("it runs").version = Some(version("3.5.11"));
    });
    assert!(
        why.contains("etcd2: Kubernetes v1.36.3 does not accept etcd 3.5.11"),
        "{why}"
    );
    let why = refusal(|world| world.offered.truncate(1));
    assert!(
        why.contains("etcd1: its package repository does not offer v1.36.3"),
        "{why}"
    );
}

#[test]
fn members_take_turns_and_the_leader_is_the_last() {
    let (stage, _) = cluster("upgrade-etcd");
    let before = starts(&mut stage.simulation().world());
    let run = with_clock(stage.run());
    done(&run);
    let changes: Vec<String> = started(&run)
        .into_iter()
        .map(|(_, summary)| summary)
        .collect();
    let turn = |host: &str| format!("bring etcd member {host} from 3.5.24 to 3.5.25");
    // The simulated leader is the first member that started.
    assert_eq!(changes, [turn("etcd2"), turn("master1"), turn("etcd1")]);
    let mut world = stage.simulation().world();
    for (host, (starts, runs)) in starts(&mut world) {
        assert_eq!(runs, Some(version("3.5.25")), "{host}");
        assert_eq!(
            starts,
            before.get(host).expect("a member").0 + 1,
            "{host}: once"
        );
    }
    let at = |what: &str, host: &str| {
        let found = world
            .calls
            .iter()
            .position(|call| call.host == host && call.what.starts_with(what));
        found.unwrap_or_else(|| panic!("{what} on {host}"))
    };
    let moves = at("etcd-transfer-leadership", "etcd1");
    assert!(
        moves < at("etcd-packages-install", "etcd1"),
        "its package restarts it"
    );
    let others = ["etcd2", "master1"];
    let is_moved = |host: &str| {
        let mut calls = world.calls.iter().filter(|call| call.host == host);
        calls.any(|call| call.what.starts_with("etcd-transfer-leadership"))
    };
    assert!(!others.into_iter().any(is_moved), "leadership moves once");
    assert!(at("etcd-snapshot", "etcd2") < at("etcd-packages-install", "etcd2"));
    let kept = "/var/lib/quorate/upgrade/before-etcd-3.5.25.db";
    assert!(world.machine("etcd2").files.has(kept));
    assert_eq!(world.violations, Vec::<String>::new());
}

/// Runs the command with other words than the rehearsal's.
fn upgraded(stage: &Stage, to: &str, intent: Intent) -> Result<(), Error> {
    let upgrade = upgrade_etcd(&stage.session, version(to), intent);
    with_clock(Box::pin(stage.at_computer(upgrade)))
}

fn said(refusal: Result<(), Error>) -> String {
    match refusal {
        Err(Error::Refused { findings }) => findings.join("\n"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_unsafe_is_refused_before_anything_changes() {
    for (to, why) in [
        (
            "3.5.23",
            "etcd1: its etcd runs 3.5.24, which is later than 3.5.23",
        ),
        ("3.5.24", "Nothing"),
        (
            "3.6.1",
            "etcd1: its etcd 3.5.24 must be 3.5.26 or later before one of 3.6",
        ),
        (
            "3.7.0",
            "etcd1: its etcd runs 3.5.24, and 3.7.0 is more than one minor ahead",
        ),
        (
            "3.5.26",
            "etcd1: its repositories do not offer 3.5.26 of etcd-server, etcd-client",
        ),
    ] {
        let (stage, _) = cluster("upgrade-etcd");
        let ended = upgraded(&stage, to, Intent::Upgrade);
        changed_nothing(&stage.simulation().world());
        match why {
            "Nothing" => ended.expect("all members have it"),
            why => {
                let said = said(ended);
                assert!(said.contains(why), "{to}: {said}");
            }
        }
    }
}

#[test]
fn a_check_stops_after_the_gates_and_the_plan() {
    let (stage, _) = cluster("upgrade-etcd");
    upgraded(&stage, "3.5.25", Intent::Check).expect("nothing is wrong");
    changed_nothing(&stage.simulation().world());
}

#[test]
fn an_etcd_that_kubeadm_upgrades_is_refused_before_any_host_is_asked() {
    let stage = stage("tests/data/simulated.yaml", "provision");
    let said = said(upgraded(&stage, "3.6.13", Intent::Upgrade));
    assert!(said.contains("Say `quorate upgrade --to vX.Y.Z`"), "{said}");
    assert!(stage.simulation().world().calls.is_empty());
}

/// Some new, some old: as an upgrade leaves it whose operator died.
#[test]
fn a_half_done_upgrade_is_finished_by_the_same_command() {
    let (mut stage, reference) = cluster("upgrade-etcd");
    let fault = "master1:operator-dies@etcd-packages-install+1"
        .parse()
        .expect("a fault");
    let outcome = attempt(&mut stage, &reference, &[fault], Search::Nothing);
    assert_eq!(outcome.broken, None);
    assert!(outcome.unmet.is_empty(), "{:?}", outcome.unmet);
    let second: Vec<String> = outcome
        .runs
        .last()
        .map(started)
        .unwrap_or_default()
        .into_iter()
        .map(|(task, _)| task.host)
        .collect();
    assert_eq!(second, ["etcd1"], "the job went on without its operator");
}

/// It would be waited for in vain by all others.
#[test]
fn a_member_that_was_left_stopped_takes_its_turn_first() {
    let (stage, _) = cluster("upgrade-etcd");
    {
        let mut world = stage.simulation().world();
        let machine = world.machine("master1");
        for name in ["etcd-server", "etcd-client"] {
            let package = machine.packages.get_mut(name).expect("installed");
            "3.5.25-4+b4".clone_into(&mut package.version);
        }
        machine.units.get_mut("etcd").expect("a unit").active = false;
        world.settle();
    }
    let run = with_clock(stage.run());
    done(&run);
    let hosts: Vec<String> = started(&run)
        .into_iter()
        .map(|(task, _)| task.host)
        .collect();
    assert_eq!(hosts, ["master1", "etcd2", "etcd1"]);
}

/// What `provision` says while the inventory has another version than the members.
#[test]
fn provision_names_the_command_that_changes_a_members_version() {
    let (stage, _) = cluster("upgrade-etcd");
    done(&with_clock(stage.run()));
    let provision = Stage::new(
        common::session(INVENTORY),
        Operation::find("provision").expect("there"),
    );
    let mut provision = provision.unwrap_or_else(|error| panic!("{error}"));
    provision.begin(stage.simulation().world().snapshot());
    match with_clock(provision.run()).end {
        End::Failed { why, .. } => assert!(
            why.contains(
                "is a member of etcd with etcd-server 3.5.25-4+b4, and the inventory wants 3.5.24"
            ),
            "{why}"
        ),
        other => panic!("{other:?}"),
    }
}
