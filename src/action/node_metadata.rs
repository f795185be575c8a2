//! `node-metadata`: the labels and taints that the inventory gives a node.
//!
//! A label that the inventory no longer names is taken off if an earlier run gave it, which an annotation on the Node
//! remembers; others' labels are left alone. A list of taints is the whole list, but for those that Kubernetes sets itself
//! (`node.kubernetes.io/…`). Without a list the taints are left alone.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Action, ActionError, Change, Check, Context, Effect};
use crate::cluster::api::{self, Request};
use crate::cluster::node::{LABELS_GIVEN, NodeObject, Taint};
use crate::cluster::plane::{self, Plane};
use crate::cluster::{report, survey};
use crate::host::probe::Probe;

/// How often a change may meet somebody else's.
const ATTEMPTS: usize = 5;

/// Labels and taints of the host's own Node.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NodeMetadata {}

impl Action for NodeMetadata {
    fn probes(&self, cx: &Context<'_>) -> Vec<Probe> {
        report::probes(cx.node)
    }

    fn check(&self, cx: &Context<'_>) -> Result<Check, ActionError> {
        let Some(node) = plane::own_object(cx.node, cx.facts()) else {
            if cx.node.labels.is_empty() && cx.node.taints.is_none() {
                return Ok(Check::Satisfied);
            }
            return Ok(Check::Unknown {
                until: format!("{} has joined", cx.node.name),
            });
        };
        let differences = differences(cx, &node);
        if differences.is_empty() {
            return Ok(Check::Satisfied);
        }
        Ok(Check::needed(format!("set {}", differences.join(", "))))
    }

    async fn apply(&self, effect: &Effect<'_>, _change: &Change) -> Result<(), ActionError> {
        let fleet = survey::survey(effect).await?;
        let plane = Plane::read(effect.cx.inventory, &fleet);
        let master = survey::any(effect, &plane)?;
        let path = format!("/api/v1/nodes/{}", effect.cx.node.name);
        for _ in 0..ATTEMPTS {
            let response = api::succeed(master, &path, Request::Get, 200).await?;
            let Some(node) = NodeObject::parse(&response.body) else {
                break;
            };
            let merged = patch(&effect.cx, &node);
            let response = api::succeed(master, &path, Request::MergePatch(&merged), 409).await?;
            if response.code != 409 {
                return Ok(());
            }
        }
        Err(ActionError::Unsafe {
            why: format!(
                "the Node {} changed again and again while its labels were set",
                effect.cx.node.name
            ),
            help: "run the same command again".to_owned(),
        })
    }
}

fn wanted_taints(cx: &Context<'_>) -> Option<Vec<Taint>> {
    let taints = cx.node.taints.as_ref()?;
    Some(
        taints
            .iter()
            .filter_map(|text| Taint::parse(text))
            .collect(),
    )
}

/// Labels that an earlier run gave and the inventory no longer names.
fn dropped<'n>(cx: &Context<'_>, node: &'n NodeObject) -> Vec<&'n str> {
    let given = node.labels_given.iter().map(String::as_str);
    given
        .filter(|key| !cx.node.labels.contains_key(*key))
        .collect()
}

fn labels_to_give(cx: &Context<'_>) -> BTreeSet<String> {
    cx.node.labels.keys().cloned().collect()
}

/// What is to be set, one phrase each.
fn differences(cx: &Context<'_>, node: &NodeObject) -> Vec<String> {
    let labels = cx
        .node
        .labels
        .iter()
        .filter(|(key, value)| node.labels.get(*key) != Some(value));
    let mut differences: Vec<String> = labels
        .map(|(key, value)| format!("label {key}={value}"))
        .collect();
    differences.extend(
        dropped(cx, node)
            .iter()
            .map(|key| format!("no label {}", crate::text::escape(key))),
    );
    if differences.is_empty() && labels_to_give(cx) != node.labels_given {
        differences.push("which labels are the inventory's".to_owned());
    }
    if let Some(wanted) = wanted_taints(cx) {
        let own: Vec<&Taint> = node
            .taints
            .iter()
            .filter(|taint| !taint.is_systems())
            .collect();
        let is_same = own.len() == wanted.len()
            && wanted
                .iter()
                .all(|taint| own.iter().any(|own| own.says(taint)));
        if !is_same {
            differences.push(format!(
                "taints [{}]",
                cx.node
                    .taints
                    .iter()
                    .flatten()
                    .cloned()
                    .collect::<Vec<_>>()
                    .join(", ")
            ));
        }
    }
    differences
}

/// A patch that fails if the Node changed since: taints are one list, and the node controller writes it too.
fn patch(cx: &Context<'_>, node: &NodeObject) -> serde_json::Value {
    let gone = dropped(cx, node).into_iter().map(|key| (key, Value::Null));
    let labels: serde_json::Map<_, _> = (cx
        .node
        .labels
        .iter()
        .map(|(key, value)| (key.as_str(), json!(value)))
        .chain(gone))
    .map(|(key, value)| (key.to_owned(), value))
    .collect();
    let given: Vec<String> = labels_to_give(cx).into_iter().collect();
    let given = if given.is_empty() {
        Value::Null
    } else {
        json!(given.join(","))
    };
    let metadata = json!({
        "resourceVersion": node.resource_version,
        "labels": labels,
        "annotations": { (LABELS_GIVEN): given },
    });
    let Some(wanted) = wanted_taints(cx) else {
        return json!({ "metadata": metadata });
    };
    let systems = node.taints.iter().filter(|taint| taint.is_systems());
    let taints: Vec<_> = systems.chain(&wanted).map(Taint::to_json).collect();
    json!({ "metadata": metadata, "spec": { "taints": taints } })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use crate::testing::World;

    fn node(taints: &str) -> NodeObject {
        let json = format!(
            r#"{{"metadata":{{"name":"worker1","resourceVersion":"7","labels":{{"disk":"hdd","os":"linux"}}}},"spec":{{"taints":[{taints}]}}}}"#
        );
        node_of(&json)
    }

    fn given(keys: &str) -> NodeObject {
        node_of(&format!(
            r#"{{"metadata":{{"name":"worker1","resourceVersion":"7","labels":{{"disk":"hdd","os":"linux"}},"annotations":{{"{LABELS_GIVEN}":"{keys}"}}}}}}"#
        ))
    }

    fn node_of(json: &str) -> NodeObject {
        NodeObject::parse(json).expect("a Node")
    }

    fn world(labels: &[(&str, &str)], taints: Option<&[&str]>) -> World {
        let mut world = World::new("worker1");
        for node in world
            .inventory
            .nodes
            .iter_mut()
            .filter(|node| node.name == "worker1")
        {
            node.labels = labels
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect();
            node.taints =
                taints.map(|taints| taints.iter().map(|taint| (*taint).to_owned()).collect());
        }
        world
    }

    const NOT_READY: &str = r#"{"key":"node.kubernetes.io/not-ready","effect":"NoSchedule","timeAdded":"2026-01-01T00:00:00Z"}"#;
    const GPU: &str = r#"{"key":"gpu","value":"a","effect":"NoSchedule"}"#;

    #[test]
    #[expect(clippy::type_complexity, reason = "a table of cases")]
    fn only_what_differs_is_set() {
        let cases: [(&[(&str, &str)], Option<&[&str]>, &str, &[&str]); 6] = [
            (
                &[("os", "linux")],
                None,
                GPU,
                &["which labels are the inventory's"],
            ),
            (&[("disk", "ssd")], None, "", &["label disk=ssd"]),
            (&[], Some(&["gpu=a:NoSchedule"]), GPU, &[]),
            (
                &[],
                Some(&["gpu=b:NoSchedule"]),
                GPU,
                &["taints [gpu=b:NoSchedule]"],
            ),
            (&[], Some(&[]), NOT_READY, &[]),
            (&[], Some(&[]), GPU, &["taints []"]),
        ];
        for (labels, taints, on_node, expected) in cases {
            let world = world(labels, taints);
            assert_eq!(
                differences(&world.cx(), &node(on_node)),
                expected,
                "{labels:?} {taints:?} {on_node}"
            );
        }
    }

    #[test]
    fn a_label_that_the_inventory_gave_and_dropped_goes_and_no_other() {
        let world = world(&[("os", "linux")], None);
        assert!(differences(&world.cx(), &given("os")).is_empty());
        assert_eq!(
            differences(&world.cx(), &given("disk,os")),
            ["no label disk"]
        );
        let patch = patch(&world.cx(), &given("disk,os"));
        assert_eq!(
            patch["metadata"]["labels"],
            json!({ "disk": null, "os": "linux" })
        );
        assert_eq!(patch["metadata"]["annotations"][LABELS_GIVEN], "os");

        let bare = self::world(&[], None);
        assert!(differences(&bare.cx(), &node("")).is_empty());
        let patch = super::patch(&bare.cx(), &given("disk"));
        assert_eq!(patch["metadata"]["annotations"][LABELS_GIVEN], Value::Null);
        assert_eq!(patch["metadata"]["labels"], json!({ "disk": null }));
    }

    #[test]
    fn taints_of_kubernetes_itself_are_kept() {
        let world = world(&[], Some(&["gpu=b:NoSchedule"]));
        let patch = patch(&world.cx(), &node(&format!("{NOT_READY},{GPU}")));
        assert_eq!(patch["metadata"]["resourceVersion"], "7");
        assert_eq!(
            patch["spec"]["taints"][0]["timeAdded"],
            "2026-01-01T00:00:00Z"
        );
        assert_eq!(patch["spec"]["taints"][1]["value"], "b");
        assert_eq!(patch["spec"]["taints"].as_array().map(Vec::len), Some(2));
    }
}
