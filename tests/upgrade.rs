//! `quorate upgrade` on simulated hosts: whatever goes wrong at whichever call, the same command finishes the job.
//!
//! The world of the simulation watches by itself that etcd never loses two members, that kubeadm never runs on two masters at
//! once, and never on one that still gets connections.

#![expect(
    clippy::indexing_slicing,
    reason = "a test that meets something else may panic"
)]

mod common;

use std::time::Duration;

use common::{Bench, End, Said, tail, with_clock};
use quorate::action::{AnyAction, BarePods, Blocked};
use quorate::engine::event::Event;
use quorate::engine::reader::Reader;
use quorate::host::simulated::Simulation;
use quorate::host::simulated::faults::{Fault, What, When};
use quorate::host::simulated::record::{Call, Kind};
use quorate::host::simulated::world::World;
use quorate::inventory::version::KubeVersion;
use quorate::operation::preflight::Verdict;
use quorate::operation::upgrade::gates::{self, Hops, Site};
use quorate::operation::upgrade::{AtOnce, Policies, plan};
use serde_json::json;

const FROM: KubeVersion = KubeVersion {
    minor: 36,
    patch: 2,
};
const TO: KubeVersion = KubeVersion {
    minor: 36,
    patch: 3,
};

/// A cluster as `provision` leaves it, with an application on its first worker.
fn cluster() -> World {
    let bench = Bench::new("provision");
    let simulation = bench.simulation();
    with_clock(async {
        let (end, said) = bench.run(&simulation).await;
        assert!(matches!(end, End::Done { .. }), "{end:?}\n{}", tail(&said));
    });
    let mut world = simulation.world().snapshot();
    world.offered = vec![FROM, TO];
    let pod = json!({
        "metadata": { "namespace": "default", "name": "web-1", "uid": "1", "labels": { "app": "web" },
            "ownerReferences": [{ "kind": "ReplicaSet", "name": "web", "controller": true }] },
        "spec": { "nodeName": "worker1" }, "status": { "phase": "Running" },
    });
    world.etcd[0]
        .objects
        .insert("/api/v1/namespaces/default/pods/web-1".to_owned(), pod);
    world
}

/// The playbook of the hop to [`TO`], on a cluster of this shape.
fn hop() -> Bench {
    let mut bench = Bench::new("provision");
    bench.session.inventory.kubernetes = TO;
    bench.session.inventory.name = "simulated-upgrade".to_owned();
    bench.plan = plan::of_hop(&bench.session, &Policies::default()).expect("a plan");
    bench
}
