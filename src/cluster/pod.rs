//! Pods, as far as a drain has to know them. Pure.

use std::collections::BTreeMap;

use serde_json::Value;

use super::node::{NodeObject, items, labels, text_at};

/// A pod.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pod {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`: a pod of the same name that came later is another one.
    pub uid: String,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// Its controller, `ReplicaSet/web-7d9f`.
    pub owner: Option<String>,
    /// What a drain has to do with it.
    pub kind: Kind,
    /// The image of its first container.
    pub image: String,
    /// Whether all its containers are ready.
    pub is_ready: bool,
    /// It has come to its Node and is on its way to being ready, as far as anybody knows: nothing of it has failed yet.
    pub is_starting: bool,
    /// `metadata.deletionTimestamp`: it is on its way out.
    pub is_terminating: bool,
    /// `spec.tolerations`, as they are.
    tolerations: Vec<Value>,
    /// `spec.nodeSelector`.
    node_selector: BTreeMap<String, String>,
}

/// What a drain has to do with a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// kubelet runs it from a file; the object only mirrors it.
    Static,
    /// A DaemonSet would put it back at once.
    Daemon,
    /// It has run to its end.
    Finished,
    /// Nobody would make it again.
    Bare,
    /// Its controller makes another one elsewhere.
    #[default]
    Managed,
}

impl Pod {
    /// Reads a list of pods; `None` if it is not one.
    #[must_use]
    pub fn parse_list(json: &str) -> Option<Vec<Self>> {
        let list: Value = serde_json::from_str(json).ok()?;
        list.get("items")?
            .as_array()?
            .iter()
            .map(Self::of)
            .collect()
    }

    fn of(pod: &Value) -> Option<Self> {
        let text = |pointer: &str| text_at(pod, pointer);
        let selector = pod.pointer("/spec/nodeSelector").and_then(Value::as_object);
        let statuses: Vec<&Value> = items(pod, "/status/containerStatuses").collect();
        let owner = owner(pod);
        Some(Self {
            namespace: text("/metadata/namespace")?,
            name: text("/metadata/name")?,
            uid: text("/metadata/uid").unwrap_or_default(),
            labels: labels(pod),
            kind: kind(pod, owner.as_deref()),
            owner,
            image: text("/spec/containers/0/image").unwrap_or_default(),
            is_ready: !statuses.is_empty() && statuses.iter().copied().all(is_ready),
            is_starting: is_starting(pod),
            is_terminating: text("/metadata/deletionTimestamp").is_some(),
            tolerations: items(pod, "/spec/tolerations").cloned().collect(),
            node_selector: selector
                .into_iter()
                .flatten()
                .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
                .collect(),
        })
    }

    /// Whether a drain has to make it go.
    #[must_use]
    pub fn must_leave(&self) -> bool {
        match self.kind {
            Kind::Static | Kind::Daemon => false,
            Kind::Finished | Kind::Bare | Kind::Managed => true,
        }
    }

    /// `namespace/name`.
    #[must_use]
    pub fn label(&self) -> String {
        crate::text::escape(&format!("{}/{}", self.namespace, self.name))
    }

    /// Who made it, for messages: its controller, or itself.
    #[must_use]
    pub fn made_by(&self) -> String {
        self.owner
            .as_deref()
            .map_or_else(|| self.label(), crate::text::escape)
    }

    /// Whether the scheduler might put another one like it on that Node: selector and taints, no more (neither affinity nor
    /// resources are looked at).
    #[must_use]
    pub fn could_run_on(&self, node: &NodeObject) -> bool {
        let selected = self
            .node_selector
            .iter()
            .all(|(key, value)| node.labels.get(key) == Some(value));
        let repels = |effect: &str| effect == "NoSchedule" || effect == "NoExecute";
        let tolerated = node
            .taints
            .iter()
            .filter(|taint| repels(&taint.effect))
            .all(|taint| {
                self.tolerations
                    .iter()
                    .any(|toleration| tolerates(toleration, taint))
            });
        !node.is_cordoned && node.ready.is_true && selected && tolerated
    }
}

fn tolerates(toleration: &Value, taint: &super::node::Taint) -> bool {
    let text = |key: &str| {
        toleration
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let exists = text("operator") == "Exists";
    let key = text("key") == taint.key || (exists && text("key").is_empty());
    let effect = text("effect").is_empty() || text("effect") == taint.effect;
    key && effect && (exists || text("value") == taint.value)
}

fn owner(pod: &Value) -> Option<String> {
    let controls = |owner: &&Value| owner.get("controller") == Some(&Value::Bool(true));
    let owner = items(pod, "/metadata/ownerReferences").find(controls)?;
    Some(format!(
        "{}/{}",
        text_at(owner, "/kind")?,
        text_at(owner, "/name")?
    ))
}

fn kind(pod: &Value, owner: Option<&str>) -> Kind {
    let annotations = pod.pointer("/metadata/annotations");
    let phase = pod.pointer("/status/phase").and_then(Value::as_str);
    if annotations
        .is_some_and(|annotations| annotations.get("kubernetes.io/config.mirror").is_some())
    {
        return Kind::Static;
    }
    match (owner, phase) {
        (_, Some("Succeeded" | "Failed")) => Kind::Finished,
        (Some(owner), _) if owner.starts_with("DaemonSet/") => Kind::Daemon,
        (Some(_), _) => Kind::Managed,
        (None, _) => Kind::Bare,
    }
}

/// Whether a container is.
fn is_ready(status: &Value) -> bool {
    status.get("ready") == Some(&Value::Bool(true))
}

/// What containers wait for that will come without anybody's doing.
const COMING: [&str; 2] = ["ContainerCreating", "PodInitializing"];

fn is_starting(pod: &Value) -> bool {
    let is_owned = owner(pod).is_some();
    let phase = pod.pointer("/status/phase").and_then(Value::as_str);
    let containers = || items(pod, "/status/containerStatuses");
    let has_failed = |status: &Value| {
        let restarts = status.get("restartCount").and_then(Value::as_u64);
        let reason = text_at(status, "/state/waiting/reason");
        restarts.is_some_and(|count| count > 0)
            || reason.is_some_and(|reason| !COMING.contains(&reason.as_str()))
    };
    let is_coming = match phase {
        Some("Pending") => true,
        Some("Running") => !containers().all(is_ready),
        _ => false,
    };
    is_owned && is_coming && !containers().any(has_failed)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn pod(metadata: &Value, spec: &Value, phase: &str) -> Pod {
        let mut metadata = metadata.clone();
        metadata["namespace"] = json!("default");
        metadata["name"] = json!("web");
        let list = json!({ "items": [{ "metadata": metadata, "spec": spec, "status": { "phase": phase } }] });
        Pod::parse_list(&list.to_string()).unwrap().remove(0)
    }

    fn owned(kind: &str) -> Value {
        json!({ "ownerReferences": [{ "kind": kind, "name": "x", "controller": true }] })
    }

    #[test]
    fn a_drain_leaves_static_and_daemon_pods() {
        let mirror = json!({ "annotations": { "kubernetes.io/config.mirror": "1" }, "ownerReferences": [{ "kind": "Node", "name": "a", "controller": true }] });
        let cases = [
            (mirror, "Running", Kind::Static, false),
            (owned("DaemonSet"), "Running", Kind::Daemon, false),
            (owned("ReplicaSet"), "Running", Kind::Managed, true),
            (owned("Job"), "Succeeded", Kind::Finished, true),
            (json!({}), "Running", Kind::Bare, true),
            (json!({}), "Failed", Kind::Finished, true),
        ];
        for (metadata, phase, kind, leaves) in cases {
            let pod = pod(&metadata, &json!({}), phase);
            assert_eq!(
                (pod.kind, pod.must_leave()),
                (kind, leaves),
                "{metadata} {phase}"
            );
        }
    }

    #[test]
    fn another_home_must_be_ready_uncordoned_selected_and_tolerated() {
        let node = |spec: Value| {
            let node = json!({ "metadata": { "name": "n", "labels": { "disk": "ssd" } }, "spec": spec,
                "status": { "conditions": [{ "type": "Ready", "status": "True" }] } });
            NodeObject::of(&node).unwrap()
        };
        let tainted = json!({ "taints": [{ "key": "k", "effect": "NoSchedule" }] });
        let cases = [
            (json!({}), json!({}), true),
            (json!({}), json!({ "unschedulable": true }), false),
            (json!({}), tainted.clone(), false),
            (
                json!({ "tolerations": [{ "operator": "Exists" }] }),
                tainted.clone(),
                true,
            ),
            (
                json!({ "tolerations": [{ "key": "k", "effect": "NoExecute" }] }),
                tainted,
                false,
            ),
            (
                json!({ "nodeSelector": { "disk": "ssd" } }),
                json!({}),
                true,
            ),
            (
                json!({ "nodeSelector": { "disk": "hdd" } }),
                json!({}),
                false,
            ),
        ];
        for (spec, of_node, expected) in cases {
            assert_eq!(
                pod(&json!({}), &spec, "Running").could_run_on(&node(of_node.clone())),
                expected,
                "{spec} {of_node}"
            );
        }
    }

    #[test]
    fn what_has_just_come_is_starting_until_it_is_ready_or_fails() {
        let waits = |reason: &str| json!([{ "ready": false, "restartCount": 0, "state": { "waiting": { "reason": reason } } }]);
        let cases = [
            ("Pending", json!([]), true),
            ("Pending", waits("ContainerCreating"), true),
            ("Pending", waits("ImagePullBackOff"), false),
            (
                "Running",
                json!([{ "ready": false, "restartCount": 0, "state": { "running": {} } }]),
                true,
            ),
            (
                "Running",
                json!([{ "ready": false, "restartCount": 3, "state": { "running": {} } }]),
                false,
            ),
            ("Running", waits("CrashLoopBackOff"), false),
            (
                "Running",
                json!([{ "ready": true, "restartCount": 0 }]),
                false,
            ),
            (
                "Succeeded",
                json!([{ "ready": false, "restartCount": 0 }]),
                false,
            ),
        ];
        for (phase, containers, expected) in cases {
            let mut metadata = owned("ReplicaSet");
            metadata["namespace"] = json!("default");
            metadata["name"] = json!("web");
            let status = json!({ "phase": phase, "containerStatuses": containers });
            let list = json!({ "items": [{ "metadata": metadata, "status": status }] });
            let pod = Pod::parse_list(&list.to_string()).unwrap().remove(0);
            assert_eq!(pod.is_starting, expected, "{phase} {containers}");
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(text in "(?s).{0,200}") {
            let _ = Pod::parse_list(&text);
            let _ = Pod::parse_list(&format!("{{\"items\":[{text}]}}"));
        }
    }
}
