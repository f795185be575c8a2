//! kubelet: static pods follow their manifests, and a Node follows its kubelet.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::etcd::Data;
use super::machine::Machine;
use super::world::World;
use crate::inventory::etcd::EtcdVersion;

const PODS: [&str; 2] = ["etcd", "kube-apiserver"];

const MANIFESTS: &str = "/etc/kubernetes/manifests";

/// A running static pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pod {
    /// When it was started.
    pub since: u64,
    /// The etcd member that runs in it; `None`: it exits and is started again.
    pub member: Option<Data>,
    /// Whether that serves clients: from the moment on which it has seen a quorum.
    pub serves: bool,
    /// Since when it has seen none.
    pub fails_since: Option<u64>,
    /// The version of a member that is a service: that of its package when it was started.
    pub version: Option<EtcdVersion>,
}

/// Microseconds from the start of etcd, and of the apiserver, until they serve.
pub(super) const STARTS_US: [u64; 2] = [1_000_000, 2_000_000];

/// Microseconds for which the liveness probe of kubeadm's manifest bears an etcd without a quorum.
const BEARS_US: u64 = 80_000_000;

impl Pod {
    /// One that starts.
    pub(super) fn starting(since: u64, member: Option<Data>) -> Self {
        Self {
            since,
            member,
            serves: false,
            fails_since: None,
            version: None,
        }
    }

    /// When something about it changes by itself.
    pub(super) fn comes_up_at(&self) -> [u64; 2] {
        STARTS_US.map(|takes| self.since + takes)
    }

    /// When its liveness probe ends it.
    pub(super) fn ends_at(&self) -> Option<u64> {
        Some(self.fails_since? + BEARS_US)
    }
}

impl World {
    /// Starts pods whose manifest is there and stops those whose manifest is gone. A kubelet that is stopped leaves its pods
    /// running.
    pub(super) fn settle_pods(&mut self) {
        let may_have = |machine: &&Machine| {
            (!machine.pods.is_empty() || machine.files.has(MANIFESTS))
                && machine.runs("kubelet")
                && machine.runs("containerd")
        };
        let machines = self.machines.values().filter(may_have);
        let names: Vec<String> = machines.map(|machine| machine.name.clone()).collect();
        for host in names {
            for pod in PODS {
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
        if !machine.files.has(&format!("{MANIFESTS}/{name}.yaml")) {
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
            .insert(name.to_owned(), Pod::starting(now, member));
    }

    /// A member serves once it has seen a quorum. While it sees none its liveness probe fails, and kubelet starts it again.
    pub(super) fn settle_members(&mut self) {
        let now = self.now;
        let members: Vec<(String, usize)> = self
            .machines
            .values()
            .filter_map(|machine| Some((machine.name.clone(), self.running(machine)?.0)))
            .collect();
        for (host, cluster) in members {
            let has_quorum = self.has_quorum(cluster);
            let machine = self.machine(&host);
            let is_probed = machine.runs("kubelet") && !machine.units.contains_key("etcd");
            let Some(pod) = machine.pods.get_mut("etcd") else {
                continue;
            };
            if has_quorum {
                pod.serves = true;
                pod.fails_since = None;
            } else if is_probed && pod.ends_at().is_some_and(|at| at <= now) {
                // It is back at once, as the others see it; they see no quorum either way.
                pod.serves = false;
                pod.fails_since = Some(now);
            } else {
                pod.fails_since.get_or_insert(now);
            }
        }
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
        let behind_vip = self.store_behind_vip();
        let kubelets = self.machines.values().filter(|it| it.role.is_node());
        let kubelets: Vec<(String, bool)> = kubelets
            .map(|machine| {
                let reaches = self.kubelet_reaches(machine, cluster, behind_vip);
                (machine.name.clone(), reaches)
            })
            .collect();
        let has_network = self.has_pod_network(cluster);
        for (host, reaches) in kubelets {
            if reaches {
                self.register(&host, cluster);
            }
            self.tell_readiness(&host, cluster, reaches, has_network);
        }
    }

    /// Whether a pod network was applied, which brings its configuration to every node.
    fn has_pod_network(&self, cluster: usize) -> bool {
        let objects = self.etcd.get(cluster).map(|cluster| &cluster.objects);
        let is_one =
            |path: &String| path.contains("/daemonsets/") && !path.ends_with("/kube-proxy");
        objects.is_some_and(|objects| objects.keys().any(is_one))
    }

    /// Whether a kubelet runs, has a certificate of the cluster and reaches its apiserver.
    fn kubelet_reaches(
        &self,
        machine: &Machine,
        cluster: usize,
        behind_vip: Option<usize>,
    ) -> bool {
        let configured = [
            "/etc/kubernetes/kubelet.conf",
            "/var/lib/kubelet/config.yaml",
        ]
        .iter()
        .all(|path| machine.files.has(path));
        machine.runs("kubelet")
            && configured
            && self.store_seen(machine, || behind_vip) == Some(cluster)
    }

    /// The cluster that a machine's kubelet reaches: the server that its kubelet.conf names.
    pub(super) fn store_seen_by(&self, machine: &Machine) -> Option<usize> {
        self.store_seen(machine, || self.store_behind_vip())
    }

    fn store_seen(
        &self,
        machine: &Machine,
        behind_vip: impl FnOnce() -> Option<usize>,
    ) -> Option<usize> {
        let conf = machine.files.text("/etc/kubernetes/kubelet.conf")?;
        if conf.contains(&format!("https://{}:", machine.address)) {
            self.store_of(machine)
        } else {
            behind_vip()
        }
    }

    fn register(&mut self, host: &str, cluster: usize) {
        if self.machines.get(host).is_some_and(|it| it.is_registered) {
            return;
        }
        let machine = self.machine(host);
        machine.is_registered = true;
        let info = node_info(machine);
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

    fn tell_readiness(&mut self, host: &str, cluster: usize, reaches: bool, is_installed: bool) {
        let Some(machine) = self.machines.get(host) else {
            return;
        };
        let has_network = is_installed || machine.files.has("/etc/cni/net.d");
        let state = self.etcd.get_mut(cluster);
        let Some(node) = state.and_then(|state| state.objects.get_mut(&node_path(host))) else {
            return;
        };
        let told = node.pointer("/status/nodeInfo/machineID");
        if reaches && told.and_then(Value::as_str) != Some(&machine.machine_id) {
            // It tells all of its status, whoever had the Node before.
            node["status"]["nodeInfo"] = node_info(machine);
        }
        let [status, reason, message] = match (reaches, has_network) {
            (true, true) => ["True", "KubeletReady", "kubelet is posting ready status"],
            (true, false) => [
                "False",
                "KubeletNotReady",
                "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:cni config uninitialized",
            ],
            (false, _) => [
                "Unknown",
                "NodeStatusUnknown",
                "Kubelet stopped posting node status.",
            ],
        };
        let told = node.pointer("/status/conditions/0/message");
        if told.and_then(Value::as_str) != Some(message) {
            node["status"]["conditions"] = json!([{ "type": "Ready", "status": status, "reason": reason, "message": message }]);
        }
    }
}

/// What kubelet tells of its machine and of itself.
fn node_info(machine: &Machine) -> Value {
    let release = machine.kubelet.map(|release| release.to_string());
    json!({ "machineID": machine.machine_id, "kubeletVersion": release.unwrap_or_default() })
}

/// The first range that no Node has.
fn free_cidr(objects: &BTreeMap<String, Value>) -> Option<String> {
    let taken: BTreeSet<&str> = objects
        .iter()
        .filter(|(path, _)| path.starts_with(&node_path("")))
        .filter_map(|(_, node)| node.pointer("/spec/podCIDR")?.as_str())
        .collect();
    let mut ranges =
        (0..1024).map(|number| format!("10.{}.{}.0/24", 244 + number / 256, number % 256));
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
