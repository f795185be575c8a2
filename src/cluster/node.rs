//! Node objects: the few fields that are used here. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

/// The annotation in which a cordon of quorate names its run; a cordon without it is somebody else's and is left alone.
pub const CORDONED_BY: &str = "quorate/cordoned-by";

/// The annotation that names the labels which the inventory gave the Node (keys, separated by commas), so that one which the
/// inventory no longer names is known as ours and taken off.
pub const LABELS_GIVEN: &str = "quorate/labels";

/// A Node as the apiserver has it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeObject {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// Keys of the labels that the inventory gave it, see [`LABELS_GIVEN`].
    pub labels_given: BTreeSet<String>,
    /// `spec.taints`.
    pub taints: Vec<Taint>,
    /// `spec.unschedulable`: it is cordoned.
    pub is_cordoned: bool,
    /// The run of quorate that cordoned it, if one did.
    pub cordoned_by: Option<String>,
    /// `spec.podCIDR`, once the controller manager has given it one.
    pub pod_cidr: Option<String>,
    /// `status.nodeInfo.machineID`.
    pub machine_id: String,
    /// `status.nodeInfo.kubeletVersion`.
    pub kubelet_version: String,
    /// The `Ready` condition.
    pub ready: Ready,
}

/// The `Ready` condition of a Node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ready {
    /// Whether its status is `True`.
    pub is_true: bool,
    /// `reason: message`.
    pub why: String,
}

impl Ready {
    /// Whether the only thing that kubelet misses is a pod network.
    #[must_use]
    pub fn waits_for_network(&self) -> bool {
        let lacks = ["NetworkReady=false", "NetworkPluginNotReady", "cni config"];
        !self.is_true && lacks.iter().any(|word| self.why.contains(word))
    }
}

/// A taint.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Taint {
    /// `dedicated`.
    pub key: String,
    /// `gpu`; may be empty.
    pub value: String,
    /// `NoSchedule`.
    pub effect: String,
    /// When the node controller added it, which must be kept when the list is written back.
    pub time_added: Option<String>,
}

impl Taint {
    /// Reads `key[=value]:effect`, as the inventory writes it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (key, effect) = text.rsplit_once(':')?;
        let (key, value) = key.split_once('=').unwrap_or((key, ""));
        Some(Self {
            key: key.to_owned(),
            value: value.to_owned(),
            effect: effect.to_owned(),
            time_added: None,
        })
    }

    /// Whether Kubernetes itself sets and removes it.
    #[must_use]
    pub fn is_systems(&self) -> bool {
        self.key.starts_with("node.kubernetes.io/")
            || self.key.starts_with("node.cloudprovider.kubernetes.io/")
    }

    /// Whether two taints say the same.
    #[must_use]
    pub fn says(&self, other: &Self) -> bool {
        (&self.key, &self.value, &self.effect) == (&other.key, &other.value, &other.effect)
    }

    /// As the API wants it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let optional = [
            ("value", Some(&self.value).filter(|value| !value.is_empty())),
            ("timeAdded", self.time_added.as_ref()),
        ];
        let fields = [("key", Some(&self.key)), ("effect", Some(&self.effect))];
        fields
            .into_iter()
            .chain(optional)
            .filter_map(|(name, value)| Some((name.to_owned(), json!(value?))))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }
}

impl NodeObject {
    /// Reads a Node; `None` if it is not one.
    #[must_use]
    pub fn parse(json: &str) -> Option<Self> {
        let node: Value = serde_json::from_str(json).ok()?;
        Self::of(&node)
    }

    /// Takes the fields of a Node; `None` if it is not one.
    #[must_use]
    pub fn of(node: &Value) -> Option<Self> {
        let text = |pointer: &str| text_at(node, pointer);
        let annotations = node.pointer("/metadata/annotations");
        Some(Self {
            name: text("/metadata/name")?,
            resource_version: text("/metadata/resourceVersion").unwrap_or_default(),
            labels: labels(node),
            labels_given: annotations
                .and_then(|annotations| annotations.get(LABELS_GIVEN)?.as_str())
                .map(|keys| keys.split(',').map(str::to_owned).collect())
                .unwrap_or_default(),
            taints: items(node, "/spec/taints").filter_map(taint).collect(),
            is_cordoned: node.pointer("/spec/unschedulable").and_then(Value::as_bool) == Some(true),
            cordoned_by: annotations
                .and_then(|annotations| annotations.get(CORDONED_BY)?.as_str())
                .map(str::to_owned),
            pod_cidr: text("/spec/podCIDR").filter(|cidr| !cidr.is_empty()),
            machine_id: text("/status/nodeInfo/machineID").unwrap_or_default(),
            kubelet_version: text("/status/nodeInfo/kubeletVersion").unwrap_or_default(),
            ready: items(node, "/status/conditions")
                .find(|condition| condition.get("type").is_some_and(|kind| kind == "Ready"))
                .map(ready)
                .unwrap_or_default(),
        })
    }
}

impl NodeObject {
    /// Whether a run of quorate cordoned it.
    #[must_use]
    pub fn is_cordoned_by_us(&self) -> bool {
        self.is_cordoned && self.cordoned_by.is_some()
    }
}

/// What cordons a Node as it was read, and says which run did, in one change: a merge patch. The apiserver refuses it (409) if
/// the Node has changed since, so that a cordon of somebody's from in between is not taken for ours.
#[must_use]
pub fn cordon(run: &str, node: &NodeObject) -> Value {
    json!({
        "metadata": { "resourceVersion": node.resource_version, "annotations": { (CORDONED_BY): run } },
        "spec": { "unschedulable": true },
    })
}

/// What takes a cordon of quorate back: a merge patch.
#[must_use]
pub fn uncordon() -> Value {
    json!({ "metadata": { "annotations": { (CORDONED_BY): null } }, "spec": { "unschedulable": null } })
}

pub(super) fn text_at(value: &Value, pointer: &str) -> Option<String> {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .map(str::to_owned)
}

pub(super) fn items<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

pub(super) fn labels(node: &Value) -> BTreeMap<String, String> {
    let labels = node.pointer("/metadata/labels").and_then(Value::as_object);
    labels
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

fn taint(value: &Value) -> Option<Taint> {
    Some(Taint {
        key: text_at(value, "/key")?,
        value: text_at(value, "/value").unwrap_or_default(),
        effect: text_at(value, "/effect")?,
        time_added: text_at(value, "/timeAdded"),
    })
}

fn ready(condition: &Value) -> Ready {
    let text = |pointer: &str| text_at(condition, pointer).unwrap_or_default();
    Ready {
        is_true: text("/status") == "True",
        why: format!("{}: {}", text("/reason"), text("/message")),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use crate::testing::torture::torture_text;

    #[test]
    fn a_node_is_read() {
        let node = NodeObject::parse(
            r#"{"metadata":{"name":"worker1","resourceVersion":"7","labels":{"disk":"ssd"}},
            "spec":{"podCIDR":"10.244.3.0/24","taints":[{"key":"node.kubernetes.io/not-ready","effect":"NoSchedule","timeAdded":"2026-01-01T00:00:00Z"}]},
            "status":{"nodeInfo":{"machineID":"4f6c","kubeletVersion":"v1.20.2"},"conditions":[
                {"type":"Ready","status":"False","reason":"KubeletNotReady","message":"runtime network not ready: NetworkReady=false"}]}}"#,
        )
        .unwrap();
        assert_eq!(node.pod_cidr.as_deref(), Some("10.244.3.0/24"));
        assert_eq!(node.labels["disk"], "ssd");
        assert!(node.taints[0].is_systems() && node.taints[0].time_added.is_some());
        assert!(node.ready.waits_for_network());
    }

    #[test]
    fn taints_are_read_as_kubectl_writes_them() {
        let taint = Taint::parse("dedicated=gpu:NoSchedule").unwrap();
        assert_eq!(
            (taint.key.as_str(), taint.value.as_str()),
            ("dedicated", "gpu")
        );
        assert_eq!(Taint::parse("a:NoExecute").unwrap().value, "");
        assert_eq!(Taint::parse("a"), None);
    }

    #[test]
    fn no_node_makes_the_parser_panic() {
        let good = [
            r#"{"kind":"Node","metadata":{"name":"master1","labels":{"a":"b"},"resourceVersion":"7"},"spec":{"podCIDR":"10.244.0.0/24","taints":[{"key":"node-role.kubernetes.io/control-plane","effect":"NoSchedule"}],"unschedulable":true},"status":{"conditions":[{"type":"Ready","status":"True","reason":"KubeletReady","message":"x"}],"nodeInfo":{"machineID":"4f6c","kubeletVersion":"v1.36.2"}}}"#,
            "dedicated=batch:NoSchedule",
        ];
        torture_text("Nodes and taints", &good, |text| {
            let _ = NodeObject::parse(text);
            let _ = Taint::parse(text);
        });
    }
}
