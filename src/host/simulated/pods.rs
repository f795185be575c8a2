//! kubelet: static pods follow their manifests, and a Node follows its kubelet.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::etcd::Data;
use super::machine::Machine;
use super::world::World;

const PODS: [&str; 2] = ["etcd", "kube-apiserver"];

/// A running static pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pod {
    /// When it was started.
    pub since: u64,
    /// The etcd member that runs in it; `None`: it exits and is started again.
    pub member: Option<Data>,
}

/// Microseconds from the start of etcd, and of the apiserver, until they serve.
pub(super) const STARTS_US: [u64; 2] = [1_000_000, 2_000_000];

impl Pod {
    /// When something about it changes by itself.
    pub(super) fn comes_up_at(&self) -> [u64; 2] {
        STARTS_US.map(|takes| self.since + takes)
    }
}

impl World {
    /// Starts pods whose manifest is there and stops those whose manifest is gone. A kubelet that is stopped leaves its pods
    /// running.
    pub(super) fn settle_pods(&mut self) {
        let names: Vec<String> = self.machines.keys().cloned().collect();
        for host in names {
            let works = self
                .machines
                .get(&host)
                .is_some_and(|machine| machine.runs("kubelet") && machine.runs("containerd"));
            for pod in PODS.into_iter().filter(|_| works) {
                self.settle_pod(&host, pod);
            }
        }
    }

    fn settle_pod(&mut self, host: &str, name: &str) {
        let now = self.now;
        let machine = self.machine(host);
        if name == "etcd" && machine.units.contains_key(name) {
            // A service of its own, no pod.
            return;
        }
        if !machine
            .files
            .has(&format!("/etc/kubernetes/manifests/{name}.yaml"))
        {
            machine.pods.remove(name);
            return;
        }
        if !machine.files.has("/var/lib/kubelet/config.yaml") {
            return;
        }
        if name == "etcd" && self.refuses_etcd(host) {
            self.machine(host).pods.remove(name);
            return;
        }
        let machine = self.machine(host);
        let exits = |pod: &Pod| name == "etcd" && pod.member.is_none();
        if machine.pods.get(name).is_some_and(|pod| !exits(pod)) {
            return;
        }
        let member = if name == "etcd" {
            self.start_member(host)
        } else {
            None
        };
        self.machine(host)
            .pods
            .insert(name.to_owned(), Pod { since: now, member });
    }

    /// Whether a kubelet refuses etcd's pod: it judges when it starts, by a Node that it does not find.
    fn refuses_etcd(&mut self, host: &str) -> bool {
        let machine = self.machine(host);
        if machine.judges_etcd {
            machine.judges_etcd = false;
            let machine = machine.clone();
            let seen = self.store_seen_by(&machine);
            let objects = seen.and_then(|cluster| self.etcd.get(cluster));
            let has_no_node = objects.is_some_and(|it| !it.objects.contains_key(&node_path(host)));
            self.machine(host).refuses_etcd = has_no_node;
        }
        self.machine(host).refuses_etcd
    }

    /// Registers Nodes of kubelets that have just started, and tells who is ready.
    pub(super) fn settle_nodes(&mut self) {
        let Some(cluster) = self
            .machines
            .values()
            .find_map(|machine| self.store_of(machine))
        else {
            return;
        };
        let names: Vec<String> = self.machines.keys().cloned().collect();
        for host in names {
            if self.kubelet_reaches(&host, cluster) {
                self.register(&host, cluster);
            }
            self.tell_readiness(&host, cluster);
        }
    }

    /// Whether a kubelet runs, has a certificate of the cluster and reaches its apiserver.
    fn kubelet_reaches(&self, host: &str, cluster: usize) -> bool {
        let Some(machine) = self.machines.get(host) else {
            return false;
        };
        let configured = [
            "/etc/kubernetes/kubelet.conf",
            "/var/lib/kubelet/config.yaml",
        ]
        .iter()
        .all(|path| machine.files.has(path));
        machine.runs("kubelet") && configured && self.store_seen_by(machine) == Some(cluster)
    }

    /// The cluster that a machine's kubelet reaches: the server that its kubelet.conf names.
    pub(super) fn store_seen_by(&self, machine: &Machine) -> Option<usize> {
        let conf = machine.files.text("/etc/kubernetes/kubelet.conf")?;
        if conf.contains(&format!("https://{}:", machine.address)) {
            self.store_of(machine)
        } else {
            self.store_behind_vip()
        }
    }

    fn register(&mut self, host: &str, cluster: usize) {
        let machine = self.machine(host);
        if machine.is_registered {
            return;
        }
        machine.is_registered = true;
        let release = machine
            .kubelet
            .map_or_else(String::new, |release| release.to_string());
        let info = json!({ "machineID": machine.machine_id, "kubeletVersion": release });
        let path = node_path(host);
        let Some(state) = self.etcd.get_mut(cluster) else {
            return;
        };
        let cidr = free_cidr(&state.objects);
        let node = state.objects.entry(path).or_insert_with(|| {
            json!({
                "kind": "Node",
                "metadata": { "name": host, "resourceVersion": "1", "labels": labels(host) },
                "spec": { "podCIDR": cidr },
            })
        });
        node["status"]["nodeInfo"] = info;
    }

    fn tell_readiness(&mut self, host: &str, cluster: usize) {
        let reaches = self.kubelet_reaches(host, cluster);
        let Some(machine) = self.machines.get(host) else {
            return;
        };
        let id = machine.machine_id.clone();
        let has_network = !machine.files.list("/etc/cni/net.d").is_empty();
        let Some(state) = self.etcd.get_mut(cluster) else {
            return;
        };
        let is_installed = state
            .objects
            .keys()
            .any(|path| path.contains("/daemonsets/") && !path.ends_with("/kube-proxy"));
        let Some(node) = state.objects.get_mut(&node_path(host)) else {
            return;
        };
        let is_its_own = node
            .pointer("/status/nodeInfo/machineID")
            .and_then(Value::as_str)
            == Some(&id);
        let condition = match (reaches && is_its_own, has_network || is_installed) {
            (true, true) => {
                json!({ "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "kubelet is posting ready status" })
            }
            (true, false) => {
                json!({ "type": "Ready", "status": "False", "reason": "KubeletNotReady",
                "message": "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:cni config uninitialized" })
            }
            (false, _) => {
                json!({ "type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown", "message": "Kubelet stopped posting node status." })
            }
        };
        node["status"]["conditions"] = json!([condition]);
    }
}

/// The first range that no Node has.
fn free_cidr(objects: &BTreeMap<String, Value>) -> Option<String> {
    let taken: BTreeSet<&str> = objects
        .iter()
        .filter(|(path, _)| path.starts_with(&node_path("")))
        .filter_map(|(_, node)| node.pointer("/spec/podCIDR")?.as_str())
        .collect();
    let mut ranges = (0..256).map(|number| format!("10.244.{number}.0/24"));
    ranges.find(|range| !taken.contains(range.as_str()))
}

/// What kubelet labels its Node with.
fn labels(host: &str) -> Value {
    json!({
        "kubernetes.io/hostname": host,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "beta.kubernetes.io/os": "linux",
        "beta.kubernetes.io/arch": "amd64",
    })
}

/// Where a Node lies in the API.
pub(super) fn node_path(name: &str) -> String {
    format!("/api/v1/nodes/{name}")
}
