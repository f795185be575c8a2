//! `quorate upgrade` on simulated hosts: what it does in which order, and that it refuses what is unsafe before it changes
//! anything. That it survives any fault is tried in `resume.rs`, with all operations.
//!
//! The simulated world watches by itself that etcd never loses a second member, that kubeadm never runs on two masters at
//! once, and never on one that still gets connections.

#![expect(
    clippy::indexing_slicing,
    reason = "JSON objects are put together by key"
)]

mod common;

use std::time::Duration;

use common::{End, Run, stage, with_clock};
use quorate::engine::event::{Event, TaskId};
use quorate::host::simulated::faults::{Fault, What, When};
use quorate::host::simulated::record::Call;
use quorate::inventory::version::KubeVersion;
use quorate::operation::rehearse::{Operation, Reference, Search, Stage, attempt};
use quorate::operation::upgrade::{AtOnce, Intent, Options, Policies, upgrade};

const INVENTORY: &str = "tests/data/simulated.yaml";

/// A cluster as `provision` left it.
fn cluster() -> (Stage, Reference) {
    let operation = Operation::find("upgrade").expect("there");
    let mut stage = stage(INVENTORY, "upgrade");
    let reference = Reference::new(&mut stage, operation).unwrap_or_else(|error| panic!("{error}"));
    stage.begin(reference.begins.snapshot());
    (stage, reference)
}

/// The changes that were made, in their order: `master2 9`, host and step.
fn started(run: &Run) -> Vec<(TaskId, String)> {
    let started = run.events().filter_map(|event| match event {
        Event::TaskStarted { task, change, .. } => Some((task.clone(), change.summary.clone())),
        _ => None,
    });
    started.collect()
}

#[test]
fn masters_take_turns_and_the_leader_is_the_last() {
    let (stage, _) = cluster();
    let run = with_clock(stage.run());
    assert!(matches!(run.end, End::Done { .. }), "{:?}", run.end);
    let kubeadm: Vec<String> = started(&run)
        .into_iter()
        .filter(|(_, summary)| summary.contains("kubeadm upgrade"))
        .map(|(task, summary)| {
            let verb = if summary.contains("upgrade apply") {
                "apply"
            } else {
                "node"
            };
            format!("{} {verb}", task.host)
        })
        .collect();
    let expected = [
        "master2 apply",
        "master3 node",
        "master1 node",
        "worker1 node",
        "worker2 node",
    ];
    assert_eq!(kubeadm, expected, "master1 founded the cluster and leads");
    let world = stage.simulation().world();
    assert_eq!(world.violations, Vec::<String>::new());
}

#[test]
fn each_master_goes_through_all_of_it_before_the_next() {
    let (stage, _) = cluster();
    let run = with_clock(stage.run());
    let of_masters: Vec<String> = started(&run)
        .into_iter()
        .filter(|(task, _)| task.play == 3)
        .map(|(task, _)| task.host)
        .collect();
    let mut turns = of_masters.clone();
    turns.dedup();
    assert_eq!(turns, ["master2", "master3", "master1"], "{of_masters:?}");
    let leader: Vec<String> = started(&run)
        .into_iter()
        .filter(|(task, _)| task.host == "master1" && task.play == 3)
        .map(|(_, summary)| summary)
        .collect();
    let beginnings = [
        "let master2 lead etcd",
        "take master1 out of lb1 and lb2",
        "change /etc/kubernetes/quorate/cluster.yaml",
        "bring the control plane of master1",
        "drain master1",
        "install 1.36.3 of kubelet",
        "run kubelet v1.36.3",
        "uncordon master1",
        "see master1 up in lb1 and lb2",
    ];
    assert_eq!(leader.len(), beginnings.len(), "{leader:#?}");
    for (summary, beginning) in leader.iter().zip(beginnings) {
        assert!(summary.starts_with(beginning), "{summary}");
    }
}

#[test]
fn a_pod_that_has_only_just_come_may_start_before_it_is_sent_on() {
    let (stage, _) = cluster();
    let pod = serde_json::json!({
        "metadata": { "namespace": "default", "name": "late-1", "uid": "2",
            "ownerReferences": [{ "kind": "ReplicaSet", "name": "late", "controller": true }] },
        "spec": { "nodeName": "worker1" },
        "status": { "phase": "Pending" },
    });
    let path = "/api/v1/namespaces/default/pods/late-1";
    stage.simulation().world().put_object(path, pod);
    let run = with_clock(stage.run());
    assert!(matches!(run.end, End::Done { .. }), "{:?}", run.end);
    let says = |what: &str| {
        let mut heard = run.heard.iter();
        let said = heard.find(|(_, record)| {
            let Event::Note { task, line } = &record.event else {
                return false;
            };
            task.host == "worker1" && line.contains(what)
        });
        said.map(|(at, _)| *at)
    };
    let waits = says("default/late-1 has only just come").expect("it is waited for");
    let left = run
        .heard
        .iter()
        .filter_map(|(at, record)| match &record.event {
            Event::TaskFinished { task, .. } if task.host == "worker1" && *at > waits => Some(*at),
            _ => None,
        });
    let left = left.min().expect("the drain ends");
    assert!(left > waits + Duration::from_secs(50), "{waits:?} {left:?}");
}

/// The upgrade with workers two at a time.
static IN_PAIRS: Operation = Operation {
    name: "upgrade",
    after: Some("provision"),
    since: |_, _| (),
    begins_anywhere: false,
    run: |session| {
        Box::pin(async move {
            let release = session.inventory.kubernetes;
            let options = Options {
                to: KubeVersion {
                    patch: release.patch + 1,
                    ..release
                },
                intent: Intent::Upgrade,
                policies: Policies {
                    at_once: AtOnce::Count(2),
                    ..Policies::default()
                },
            };
            upgrade(session, &options).await
        })
    },
    proof: "upgrade",
};

#[test]
fn so_many_workers_are_away_as_may_be() {
    let (stage, reference) = cluster();
    let mut in_pairs =
        Stage::new(common::session(INVENTORY), &IN_PAIRS).unwrap_or_else(|error| panic!("{error}"));
    in_pairs.begin(reference.begins.snapshot());
    for (stage, together) in [(stage, false), (in_pairs, true)] {
        let run = with_clock(stage.run());
        assert!(matches!(run.end, End::Done { .. }), "{:?}", run.end);
        let changes = started(&run);
        let at = |host: &str, what: &str| {
            let found = changes
                .iter()
                .position(|(task, summary)| task.host == host && summary.starts_with(what));
            found.unwrap_or_else(|| panic!("{host} {what}: {changes:#?}"))
        };
        let overlap = at("worker2", "drain") < at("worker1", "uncordon");
        assert_eq!(overlap, together, "{changes:#?}");
    }
}

/// Changes the cluster, upgrades, and gives the refusal; nothing may have been changed.
fn refusal(change: impl Fn(&mut quorate::host::simulated::world::World)) -> String {
    let (stage, _) = cluster();
    change(&mut stage.simulation().world());
    let run = with_clock(stage.run());
    let world = stage.simulation().world();
    let changes = world
        .calls
        .iter()
        .filter(|call| call.kind != quorate::host::simulated::record::Kind::Probe);
    let changes: Vec<&str> = changes.map(|call| call.what.as_str()).collect();
    assert_eq!(changes, Vec::<&str>::new(), "a refusal changes nothing");
    match run.end {
        End::Failed { why, .. } => why,
        other => panic!("it was not refused: {other:?}"),
    }
}

#[test]
fn a_budget_that_blocks_is_refused_with_its_owner_and_pods() {
    let why = refusal(|world| {
        let budget = serde_json::json!({
            "metadata": { "namespace": "default", "name": "web" },
            "spec": { "selector": { "matchLabels": { "app": "web" } } },
            "status": { "disruptionsAllowed": 0, "currentHealthy": 1, "desiredHealthy": 1 },
        });
        world.put_object("/apis/policy/v1/poddisruptionbudgets/web", budget);
    });
    assert!(
        why.contains("worker1: budget default/web would stop its drain"),
        "{why}"
    );
    assert!(
        why.contains("pods of ReplicaSet/web: default/web-1"),
        "{why}"
    );
}

#[test]
fn somebody_elses_cordon_is_refused() {
    let why = refusal(|world| {
        for cluster in &mut world.etcd {
            if let Some(node) = cluster.objects.get_mut("/api/v1/nodes/worker2") {
                node["spec"]["unschedulable"] = serde_json::json!(true);
            }
        }
    });
    assert!(why.contains("worker2: somebody has cordoned it"), "{why}");
}

#[test]
fn a_node_that_is_not_in_the_inventory_is_refused() {
    let why = refusal(|world| {
        let node = serde_json::json!({ "metadata": { "name": "stranger" }, "status": { "conditions": [{ "type": "Ready", "status": "True" }] } });
        world.put_object("/api/v1/nodes/stranger", node);
    });
    assert!(
        why.contains("stranger: it is a Node of the cluster and not in the inventory"),
        "{why}"
    );
}

#[test]
fn a_release_that_the_repository_has_not_is_refused() {
    let why = refusal(|world| world.offered.truncate(1));
    assert!(
        why.contains("master1: its package repository does not offer v1.36.3"),
        "{why}"
    );
}

#[test]
fn a_stopped_etcd_member_is_refused() {
    let why = refusal(|world| {
        let units = &mut world.machine("master3").units;
        units.get_mut("kubelet").expect("it runs").active = false;
        world.machine("master3").pods.remove("etcd");
    });
    assert!(
        why.contains("etcd member master3 does not answer as healthy"),
        "{why}"
    );
}

#[test]
fn a_server_that_somebody_took_out_is_refused() {
    let why = refusal(|world| {
        world
            .machine("lb1")
            .servers_out
            .insert("master2".to_owned(), "MAINT");
    });
    assert!(
        why.contains("lb1: master2 is MAINT there, which no run of quorate did"),
        "{why}"
    );
}

/// What somebody does in the middle of it stops it before harm is done; when it is taken back, the same command goes on.
#[test]
fn what_others_do_meanwhile_stops_it_and_is_not_undone() {
    for (fault, says) in [
        ("worker1:cordon@4.1", "somebody has cordoned worker1"),
        ("worker1:budget-blocks@4.1", "did not leave within"),
    ] {
        let (mut stage, reference) = cluster();
        let fault = fault.parse().expect("a fault");
        let outcome = attempt(&mut stage, &reference, &[fault], Search::Nothing);
        assert_eq!(outcome.broken, None);
        assert_eq!(outcome.runs.len(), 2);
        let first = outcome.runs.first().map(|run| &run.end);
        assert!(
            matches!(first, Some(End::Failed { why, .. }) if why.contains(says)),
            "{first:?}"
        );
    }
}

/// Who cordons a Node after it was read, and before it is cordoned, keeps that cordon.
#[test]
fn a_cordon_of_the_same_moment_is_somebody_elses() {
    let (mut stage, reference) = cluster();
    let reads = |call: &&Call| call.what.contains(" GET /api/v1/nodes/master");
    let read = reference.calls.iter().find(reads).expect("a Node is read");
    let fault = Fault::at(read.number, When::After, What::Cordon);
    let outcome = attempt(&mut stage, &reference, &[fault], Search::Nothing);
    assert_eq!(outcome.broken, None);
    assert_eq!(outcome.unmet, [], "the fault was met");
    let first = outcome.runs.first().map(|run| &run.end);
    assert!(
        matches!(first, Some(End::Failed { why, .. }) if why.contains("somebody has cordoned")),
        "{first:?}"
    );
}
