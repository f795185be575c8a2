//! Pods, budgets and evictions.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::api::{Answer, failure};
use super::kubeadm::PROXY;
use super::pods::node_path;
use super::release::image;
use super::world::World;
use crate::cluster::budget::Budget;
use crate::cluster::pod::Pod;
use crate::cluster::release::COMPONENTS;

impl World {
    /// Puts a pod of a ReplicaSet onto a node, as the scheduler would.
    pub fn deploy(&mut self, name: &str, node: &str) {
        let pod = json!({
            "metadata": { "namespace": "default", "name": format!("{name}-1"), "uid": "1", "labels": { "app": name },
                "ownerReferences": [{ "kind": "ReplicaSet", "name": name, "controller": true }] },
            "spec": { "nodeName": node },
            "status": { "phase": "Running" },
        });
        self.put_object(&format!("/api/v1/namespaces/default/pods/{name}-1"), pod);
    }

    /// Stores an object in the cluster that lives, if one does.
    pub fn put_object(&mut self, path: &str, object: Value) {
        if let Some(cluster) = self
            .live_cluster()
            .and_then(|cluster| self.etcd.get_mut(cluster))
        {
            cluster.objects.insert(path.to_owned(), object);
        }
    }

    /// The pods on a node: mirrors of its manifests, and what the scheduler put there.
    pub(super) fn pods_on(&self, cluster: usize, node: &str) -> Vec<Value> {
        let mirror = |component: &str| {
            let image = image(self.machines.get(node)?, component)?;
            Some(json!({
                "metadata": { "namespace": "kube-system", "name": format!("{component}-{node}"),
                    "labels": { "component": component }, "annotations": { "kubernetes.io/config.mirror": "1" },
                    "ownerReferences": [{ "kind": "Node", "name": node, "controller": true }] },
                "spec": { "nodeName": node, "containers": [{ "image": image }] },
                "status": { "phase": "Running", "containerStatuses": [{ "ready": true }] },
            }))
        };
        let mirrors = COMPONENTS.iter().chain(&["etcd"]);
        let mirrors = mirrors.filter_map(|component| mirror(component));
        let objects = self.etcd.get(cluster).map(|cluster| &cluster.objects);
        let proxy = objects.and_then(|objects| proxy_on(objects, node));
        let is_here = |(path, pod): &(&String, &Value)| {
            path.contains("/pods/")
                && pod.pointer("/spec/nodeName").and_then(Value::as_str) == Some(node)
        };
        let scheduled = objects
            .into_iter()
            .flatten()
            .filter(is_here)
            .map(|(_, pod)| pod.clone());
        mirrors.chain(proxy).chain(scheduled).collect()
    }

    /// Evicts a pod unless a budget forbids it; its controller makes another one on a Node that takes pods.
    pub(super) fn evict(&mut self, cluster: usize, path: &str) -> Answer {
        let number = self.number();
        let Some(state) = self.etcd.get_mut(cluster) else {
            return failure(500, "no storage");
        };
        let Some(pod) = state.objects.get(path).cloned() else {
            return failure(404, "not found");
        };
        let budgets: Vec<&Value> = state
            .objects
            .iter()
            .filter(|(path, _)| path.contains("/poddisruptionbudgets/"))
            .map(|(_, budget)| budget)
            .collect();
        let budgets =
            Budget::parse_list(&json!({ "items": budgets }).to_string()).unwrap_or_default();
        let parsed = Pod::parse_list(&json!({ "items": [pod] }).to_string()).unwrap_or_default();
        let forbids =
            |budget: &Budget| budget.allowed == 0 && parsed.iter().any(|pod| budget.covers(pod));
        if budgets.iter().any(forbids) {
            return failure(
                429,
                "Cannot evict pod as it would violate the pod's disruption budget.",
            );
        }
        state.objects.remove(path);
        if parsed.iter().any(|pod| pod.owner.is_some()) {
            let home = state.objects.iter().find_map(|(path, node)| {
                let takes = node.pointer("/spec/unschedulable").is_none()
                    && node.pointer("/spec/taints").is_none();
                path.strip_prefix(node_path("").as_str())
                    .filter(|_| takes)
                    .map(str::to_owned)
            });
            // Real ones get another name; here two worlds are compared by their objects.
            let mut again = pod;
            again["metadata"]["uid"] = json!(number.to_string());
            again["spec"]["nodeName"] = json!(home);
            state.objects.insert(path.to_owned(), again);
        }
        (201, "{}".to_owned())
    }
}

/// The pod of kube-proxy on a Node, of the image that its DaemonSet has now.
fn proxy_on(objects: &BTreeMap<String, Value>, node: &str) -> Option<Value> {
    let set = objects
        .get(PROXY)
        .filter(|_| objects.contains_key(&node_path(node)))?;
    Some(json!({
        "metadata": { "namespace": "kube-system", "name": format!("kube-proxy-{node}"),
            "ownerReferences": [{ "kind": "DaemonSet", "name": "kube-proxy", "controller": true }] },
        "spec": { "nodeName": node, "containers": set.pointer("/spec/template/spec/containers") },
        "status": { "phase": "Running", "containerStatuses": [{ "ready": true }] },
    }))
}
