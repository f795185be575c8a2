//! A modelled cluster of machines behind the same door as the real ones.
//!
//! A [`Simulation`] holds a [`World`]: every machine of an inventory and what they share (etcd, the Kubernetes API, who
//! holds the virtual IP). [`Simulation::hosts`] connects to it as an operator would. Probes are answered from the model;
//! scripts and jobs are known *by name* (see [`scripts`] and [`jobs`]) and change it as the real ones change a host. It
//! models what the playbooks use, no more: a script that it does not know is an error that says so, and the test that
//! meets it fails.
//!
//! # Faults
//! Every remote call has a number. [`Fault`](faults::Fault) names what goes wrong at which: the connection is lost before or
//! after the call took effect, the host's power is cut, the operator's process dies, and more. Tests and
//! [`rehearse`](crate::operation::rehearse) walk over all of them.
//!
//! # Time
//! The world's clock follows tokio's, so a test with paused time waits for nothing; each call costs a few milliseconds, a
//! job a second per step, a static pod a second or two to serve.
//!
//! # How true it is
//! A provision, an upgrade and a recovery of the lab's real hosts were recorded, and `tests/recording` compares every answer
//! of theirs with the model's.
//!
//! # Why a model and not containers
//! A case takes milliseconds, so *every* call of a run can be cut, and the invariants (one cluster, one disturbed etcd
//! member, one holder of the virtual IP) can be looked at between any two of them. What real programs do is checked by the
//! lab; the model's own claims about them stand beside the code that makes them.
#![expect(
    clippy::indexing_slicing,
    reason = "JSON objects are put together by key, which makes what is missing"
)]
#![expect(
    clippy::format_collect,
    clippy::format_push_string,
    reason = "a simulation may allocate a line at a time"
)]

pub mod answer;
pub mod api;
mod candidates;
mod certificate;
mod door;
mod drain;
pub mod etcd;
mod external_etcd;
pub mod faults;
pub mod files;
mod install;
mod invariants;
pub mod jobs;
mod kubeadm;
mod kubelet;
mod live;
mod load_balancer;
pub mod machine;
pub mod machines;
mod packages;
mod people;
mod pods;
mod preflight;
mod probes;
pub mod record;
mod release;
mod report;
mod restore;
mod scripts;
mod snapshot;
mod undo;
mod units;
mod upgrade;
pub mod world;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::error::HostError;
use super::{Host, Hosts};
use crate::inventory::{Inventory, Node};
use world::World;

/// A world that tests hold on to while operators come and go.
#[derive(Clone)]
pub struct Simulation {
    world: Arc<Mutex<World>>,
    inventory: Arc<Inventory>,
}

impl Simulation {
    /// Bare machines, as an inventory names them.
    #[must_use]
    pub fn new(inventory: &Inventory) -> Self {
        Self::of(World::new(inventory), inventory)
    }

    /// Goes on from a world that was kept.
    #[must_use]
    pub fn of(world: World, inventory: &Inventory) -> Self {
        Self {
            world: Arc::new(Mutex::new(world)),
            inventory: Arc::new(inventory.clone()),
        }
    }

    /// Connects a new operator to all machines, down or not: a call to one that is down fails as it would on a real one.
    #[must_use]
    pub fn hosts(&self) -> Hosts {
        self.doors(&self.inventory.nodes.iter().collect::<Vec<_>>())
    }

    /// Connects a new operator to those machines that are up, and says of the others that they are not.
    #[must_use]
    pub fn connect(&self, nodes: &[&Node]) -> (Hosts, Vec<(String, HostError)>) {
        let is_up = |node: &&&Node| self.world().machine(&node.name).is_up();
        let (up, down): (Vec<&Node>, Vec<&Node>) = nodes.iter().partition(is_up);
        let unreachable = |node: &Node| (node.name.clone(), door::unreachable(&node.name));
        (self.doors(&up), down.into_iter().map(unreachable).collect())
    }

    fn doors(&self, nodes: &[&Node]) -> Hosts {
        let operator = self.world().new_operator();
        let host = |node: &&Node| Host {
            node: Arc::new((*node).clone()),
            transport: Arc::new(door::Door {
                world: Arc::clone(&self.world),
                host: node.name.clone(),
                operator,
            }),
        };
        Hosts::new(nodes.iter().map(host).collect())
    }

    /// Notes which task a host is busy with.
    pub fn note_task(&self, host: &str, task: Option<String>) {
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        world.note_task(host, task);
    }

    /// How long this world has existed.
    #[must_use]
    pub fn now(&self) -> Duration {
        Duration::from_micros(self.world().now - world::BEGINNING)
    }

    /// The world, to look at or to meddle with. It is brought to the present first.
    pub fn world(&self) -> MutexGuard<'_, World> {
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        world.advance();
        world
    }
}
