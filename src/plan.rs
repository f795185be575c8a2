//! A plan: a playbook and an inventory multiplied out. A pure value with a digest: no network, no clock.

use std::collections::{HashMap, HashSet};

use crate::action::Action as _;
use crate::engine::event::TaskId;
use crate::inventory::select::Selector;
use crate::inventory::{Inventory, Node};
use crate::playbook::{Playbook, PlaybookError, Step, Strategy};

/// What a run will walk.
#[derive(Debug, Clone)]
pub struct Plan {
    /// In this order; plays without hosts are left out.
    pub plays: Vec<PlannedPlay>,
    /// SHA-256 over the playbook, the inventory and the selection, hex: equal digests plan equal runs.
    pub digest: String,
}

/// A play with its hosts.
#[derive(Debug, Clone)]
pub struct PlannedPlay {
    /// Its number among the plays that have hosts, from 1.
    pub number: usize,
    /// Its name.
    pub name: String,
    /// How hosts take turns.
    pub strategy: Strategy,
    /// Hosts, in the order in which they take their turns; that of the inventory unless an operation has another.
    pub hosts: Vec<String>,
    /// How many hosts take their turn together in a rolling play.
    pub at_once: usize,
    /// Steps, in order.
    pub steps: Vec<Step>,
}

impl PlannedPlay {
    /// The task of one step on one host.
    #[must_use]
    pub fn task(&self, step: usize, host: &str) -> TaskId {
        TaskId {
            play: self.number,
            step: step + 1,
            host: host.to_owned(),
        }
    }

    /// How many tasks it has.
    #[must_use]
    pub fn tasks(&self) -> usize {
        self.hosts.len() * self.steps.len()
    }
}

impl Plan {
    /// Multiplies out, for the hosts that `on` selects.
    pub fn new(
        playbook: &Playbook,
        inventory: &Inventory,
        on: &Selector,
    ) -> Result<Self, PlaybookError> {
        let mut plays = Vec::new();
        for play in &playbook.plays {
            let selector = Selector::parse(&play.hosts).map_err(|error| PlaybookError::Hosts {
                path: playbook.name.clone(),
                play: play.name.clone(),
                message: error.to_string(),
            })?;
            let hosts: Vec<String> = inventory
                .nodes
                .iter()
                .filter(|node| {
                    selector.matches(node) && on.matches(node) && is_managed(inventory, node)
                })
                .map(|node| node.name.clone())
                .collect();
            let steps: Vec<Step> = play
                .steps
                .iter()
                .filter(|step| step.action.concerns(inventory))
                .cloned()
                .collect();
            if !hosts.is_empty() && !steps.is_empty() {
                plays.push(PlannedPlay {
                    number: plays.len() + 1,
                    name: play.name.clone(),
                    strategy: play.strategy,
                    hosts,
                    at_once: 1,
                    steps,
                });
            }
        }
        let digest = digest(playbook, inventory, &plays);
        Ok(Self { plays, digest })
    }

    /// How many tasks it has.
    #[must_use]
    pub fn tasks(&self) -> usize {
        self.plays.iter().map(PlannedPlay::tasks).sum()
    }

    /// The hosts that take part, in the order of the inventory.
    #[must_use]
    pub fn hosts<'a>(&self, inventory: &'a Inventory) -> Vec<&'a Node> {
        let names: HashSet<&String> = self.plays.iter().flat_map(|play| &play.hosts).collect();
        let takes_part = |node: &&Node| names.contains(&node.name);
        inventory.nodes.iter().filter(takes_part).collect()
    }

    /// The steps of every host, in order. To look for each host in each play would cost it the more, the more hosts there are.
    #[must_use]
    pub fn steps_by_host(&self) -> HashMap<&str, Vec<&Step>> {
        let mut steps: HashMap<&str, Vec<&Step>> = HashMap::new();
        for play in &self.plays {
            for host in &play.hosts {
                steps.entry(host).or_default().extend(&play.steps);
            }
        }
        steps
    }

    /// The steps of one host, in order, with their plays.
    pub fn steps_of<'a>(
        &'a self,
        host: &'a str,
    ) -> impl Iterator<Item = (&'a PlannedPlay, usize, &'a Step)> {
        self.plays
            .iter()
            .filter(move |play| play.hosts.iter().any(|name| name == host))
            .flat_map(|play| {
                play.steps
                    .iter()
                    .enumerate()
                    .map(move |(index, step)| (play, index, step))
            })
    }
}

/// Whether quorate manages that host: load balancers that somebody else runs are not touched.
fn is_managed(inventory: &Inventory, node: &Node) -> bool {
    inventory.vip.managed || node.role != crate::inventory::Role::LoadBalancer
}

fn digest(playbook: &Playbook, inventory: &Inventory, plays: &[PlannedPlay]) -> String {
    let hosts: Vec<_> = plays
        .iter()
        .map(|play| (play.number, &play.hosts))
        .collect();
    let whole = serde_json::json!({ "playbook": playbook, "inventory": inventory, "hosts": hosts });
    crate::text::sha256(whole.to_string())
}
