//! What others do to a cluster meanwhile, and what a person mends before running a command again.

use serde_json::{Value, json};

use super::pods::node_path;
use super::world::World;
use crate::cluster::node::CORDONED_BY;

/// How far a clock jumps ahead: more than is tolerated.
const JUMP_US: u64 = 90_000_000;

/// A budget that lets no pod go.
const BUDGET: &str = "/apis/policy/v1/poddisruptionbudgets/somebodys";

impl World {
    /// Somebody cordons a Node, if it is not cordoned yet.
    pub fn cordon_by_hand(&mut self, node: &str) {
        let number = self.number();
        let object = self.node_mut(node);
        if let Some(object) = object.filter(|object| !is_cordoned(object)) {
            object["spec"]["unschedulable"] = json!(true);
            object["metadata"]["resourceVersion"] = json!(number.to_string());
        }
        self.settle();
    }

    /// Somebody makes a budget that lets no pod go.
    pub(super) fn block_budgets(&mut self) {
        let budget = json!({
            "metadata": { "namespace": "default", "name": "somebodys" },
            "spec": { "selector": {} },
            "status": { "disruptionsAllowed": 0, "currentHealthy": 1, "desiredHealthy": 1 },
        });
        self.put_object(BUDGET, budget);
    }

    /// A host's clock jumps ahead of the others'.
    pub(super) fn jump_clock(&mut self, host: &str) {
        self.machine(host).clock_ahead_us = JUMP_US;
    }

    /// What a host's clock says, in seconds.
    pub(super) fn clock_of(&mut self, host: &str) -> u64 {
        (self.now + self.machine(host).clock_ahead_us) / 1_000_000
    }

    /// A person replaces slow disks, frees full ones, sets clocks right, and takes budgets and cordons of theirs back.
    pub fn mend(&mut self) {
        for machine in self.machines.values_mut() {
            machine.is_slow = false;
            machine.is_full = false;
            machine.clock_ahead_us = 0;
        }
        for (_, node) in std::mem::take(&mut self.somebodys_cordons) {
            if let Some(spec) = self
                .node_mut(&node)
                .and_then(|object| object["spec"].as_object_mut())
            {
                spec.remove("unschedulable");
            }
        }
        for cluster in &mut self.etcd {
            cluster.objects.remove(BUDGET);
        }
    }

    fn node_mut(&mut self, node: &str) -> Option<&mut Value> {
        let cluster = self.live_cluster()?;
        self.etcd
            .get_mut(cluster)?
            .objects
            .get_mut(&node_path(node))
    }

    /// Notes cordons that quorate did not make, and that one of these was undone though nobody took it back.
    pub(super) fn look_at_cordons(&mut self) {
        let Some(index) = self.live_cluster() else {
            return;
        };
        let mut kept = std::mem::take(&mut self.somebodys_cordons);
        let objects = self.etcd.get(index).map(|cluster| &cluster.objects);
        let prefix = node_path("");
        let is_there = |node: &str| objects.is_some_and(|it| it.contains_key(&node_path(node)));
        kept.retain(|(cluster, node)| *cluster != index || is_there(node));
        let mut undone = Vec::new();
        for (path, object) in objects.into_iter().flatten() {
            let Some(node) = path.strip_prefix(&prefix) else {
                continue;
            };
            if is_cordoned(object) && !is_ours(object) {
                kept.insert((index, node.to_owned()));
            } else if !is_cordoned(object)
                && !kept.is_empty()
                && kept.remove(&(index, node.to_owned()))
            {
                undone.push(node.to_owned());
            }
        }
        self.somebodys_cordons = kept;
        for node in undone {
            self.violate(format!(
                "somebody's cordon of {node} was undone by somebody else"
            ));
        }
    }
}

fn is_cordoned(node: &Value) -> bool {
    node.pointer("/spec/unschedulable") == Some(&Value::Bool(true))
}

fn is_ours(node: &Value) -> bool {
    let annotations = node.pointer("/metadata/annotations");
    annotations.is_some_and(|annotations| annotations.get(CORDONED_BY).is_some())
}
