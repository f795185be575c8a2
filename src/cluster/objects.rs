//! What an upgrade asks the cluster itself: its stored configuration, its Nodes, its budgets, kube-proxy. Every master is asked
//! at its own apiserver, and the first that answers is believed. Pure.

use serde_json::Value;

use super::api;
use super::budget::Budget;
use super::node::{NodeObject, text_at};
use super::report::Answer;
use crate::action::Fleet;
use crate::host::probe::{Probe, Readings};
use crate::inventory::version::KubeVersion;
use crate::inventory::{Inventory, Node, Role};

const CONFIGURATION: &str = "/api/v1/namespaces/kube-system/configmaps/kubeadm-config";
const NODES: &str = "/api/v1/nodes";
const PROXY: &str = "/apis/apps/v1/namespaces/kube-system/daemonsets/kube-proxy";
const DNS: &str = "/apis/apps/v1/namespaces/kube-system/deployments/coredns";
/// From 1.21 on the first, until 1.24 the second.
const BUDGETS: [&str; 2] = [
    "/apis/policy/v1/poddisruptionbudgets",
    "/apis/policy/v1beta1/poddisruptionbudgets",
];

/// What a master is asked about the cluster.
#[must_use]
pub fn probes(node: &Node) -> Vec<Probe> {
    if node.role != Role::Master {
        return Vec::new();
    }
    let paths = [CONFIGURATION, NODES, PROXY, DNS]
        .into_iter()
        .chain(BUDGETS);
    paths
        .map(|path| Probe::Script(api::question(node, path)))
        .collect()
}

/// kubeadm's configuration as the cluster stores it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Configuration {
    /// `kubernetesVersion`.
    pub version: Option<KubeVersion>,
    /// The API it is written in, `v1beta3`.
    pub api: String,
    /// Its text.
    pub text: String,
}

impl Configuration {
    /// Takes it out of the ConfigMap.
    #[must_use]
    pub fn of(map: &str) -> Option<Self> {
        let map: Value = serde_json::from_str(map).ok()?;
        let text = text_at(&map, "/data/ClusterConfiguration")?;
        let value = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key))?;
            Some(line.trim().trim_matches(['"', '\'']).to_owned())
        };
        let api = value("apiVersion:").unwrap_or_default();
        Some(Self {
            version: value("kubernetesVersion:").and_then(|version| KubeVersion::find(&version)),
            api: api.rsplit('/').next().unwrap_or_default().to_owned(),
            text,
        })
    }

    /// The configuration that the own apiserver of a master shows.
    #[must_use]
    pub fn read(node: &Node, readings: &Readings) -> Option<Self> {
        Self::of(answer(node, readings, CONFIGURATION)?.body()?)
    }
}

/// What the cluster said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Objects {
    /// `None`: it could not be read.
    pub configuration: Option<Configuration>,
    /// `None`: they could not be read.
    pub nodes: Option<Vec<NodeObject>>,
    /// `None`: they could not be read.
    pub budgets: Option<Vec<Budget>>,
    /// The release of kube-proxy; `None`: there is none, or it could not be read.
    pub proxy: Option<KubeVersion>,
    /// How many replicas of CoreDNS are ready; `None`: there is none, or it could not be read.
    pub dns_ready: Option<u64>,
}

impl Objects {
    /// Takes each from the first master that has told it.
    #[must_use]
    pub fn read(inventory: &Inventory, fleet: &Fleet) -> Self {
        let masters: Vec<(&Node, &Readings)> = inventory
            .with_role(Role::Master)
            .map(|node| (node, fleet.of(&node.name)))
            .collect();
        let first = |path: &str| {
            masters.iter().find_map(|(node, readings)| {
                answer(node, readings, path)?.body().map(str::to_owned)
            })
        };
        let budgets = BUDGETS.iter().find_map(|path| first(path));
        Self {
            configuration: first(CONFIGURATION).and_then(|body| Configuration::of(&body)),
            nodes: first(NODES).and_then(|body| nodes(&body)),
            budgets: budgets.and_then(|body| Budget::parse_list(&body)),
            proxy: first(PROXY).and_then(|body| image_release(&body)),
            dns_ready: first(DNS).and_then(|body| ready_replicas(&body)),
        }
    }
}

fn answer(node: &Node, readings: &Readings, path: &str) -> Option<Answer> {
    let reading = readings.script(&api::question(node, path)).ok()?;
    Some(Answer::of(&reading.stdout))
}

fn nodes(body: &str) -> Option<Vec<NodeObject>> {
    let list: Value = serde_json::from_str(body).ok()?;
    list.get("items")?
        .as_array()?
        .iter()
        .map(NodeObject::of)
        .collect()
}

fn image_release(body: &str) -> Option<KubeVersion> {
    let set: Value = serde_json::from_str(body).ok()?;
    KubeVersion::find(&text_at(&set, "/spec/template/spec/containers/0/image")?)
}

/// A Deployment leaves out what is zero.
fn ready_replicas(body: &str) -> Option<u64> {
    let deployment: Value = serde_json::from_str(body).ok()?;
    let ready = deployment.get("status")?.get("readyReplicas");
    Some(ready.and_then(Value::as_u64).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_stored_configuration_says_version_and_api() {
        let map = serde_json::json!({ "data": { "ClusterConfiguration": "apiServer: {}\napiVersion: kubeadm.k8s.io/v1beta2\nkubernetesVersion: v1.20.2\n" } });
        let configuration = Configuration::of(&map.to_string()).expect("it is one");
        assert_eq!(
            configuration.version,
            Some(KubeVersion {
                minor: 20,
                patch: 2
            })
        );
        assert_eq!(configuration.api, "v1beta2");
    }

    proptest! {
        #[test]
        fn garbage_never_panics(text in "(?s).{0,200}") {
            let _ = Configuration::of(&text);
            let _ = nodes(&text);
            let _ = image_release(&text);
        }
    }
}
