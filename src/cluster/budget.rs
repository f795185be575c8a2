//! PodDisruptionBudgets, and which of them would stop a drain. Pure.

use std::collections::BTreeMap;

use serde_json::Value;

use super::node::{NodeObject, items, text_at};
use super::pod::Pod;

/// A PodDisruptionBudget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `status.disruptionsAllowed`: how many of its pods may go now.
    pub allowed: u64,
    /// `status.currentHealthy`.
    pub healthy: u64,
    /// `status.desiredHealthy`.
    pub desired: u64,
    selector: Selector,
}

/// A label selector.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Selector {
    labels: BTreeMap<String, String>,
    expressions: Vec<Expression>,
    /// Whether it selects anything though it says nothing: so from policy/v1 on, not before.
    empty_is_all: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Expression {
    key: String,
    operator: String,
    values: Vec<String>,
}

impl Selector {
    fn of(budget: &Value, empty_is_all: bool) -> Self {
        let labels = budget
            .pointer("/spec/selector/matchLabels")
            .and_then(Value::as_object);
        let expression = |value: &Value| {
            Some(Expression {
                key: text_at(value, "/key")?,
                operator: text_at(value, "/operator")?,
                values: items(value, "/values")
                    .filter_map(|value| value.as_str().map(str::to_owned))
                    .collect(),
            })
        };
        Self {
            labels: labels
                .into_iter()
                .flatten()
                .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
                .collect(),
            expressions: items(budget, "/spec/selector/matchExpressions")
                .filter_map(expression)
                .collect(),
            // Without a selector at all nothing is selected.
            empty_is_all: empty_is_all && budget.pointer("/spec/selector").is_some(),
        }
    }

    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        if self.labels.is_empty() && self.expressions.is_empty() {
            return self.empty_is_all;
        }
        self.labels
            .iter()
            .all(|(key, value)| labels.get(key) == Some(value))
            && self
                .expressions
                .iter()
                .all(|expression| expression.matches(labels))
    }
}

impl Expression {
    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        match self.operator.as_str() {
            "In" => value.is_some_and(|value| self.values.contains(value)),
            "NotIn" => value.is_none_or(|value| !self.values.contains(value)),
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            _ => false,
        }
    }
}

impl Budget {
    /// Reads a list of budgets, of policy/v1 or policy/v1beta1; `None` if it is not one.
    #[must_use]
    pub fn parse_list(json: &str) -> Option<Vec<Self>> {
        let list: Value = serde_json::from_str(json).ok()?;
        let empty_is_all = text_at(&list, "/apiVersion").is_none_or(|api| api == "policy/v1");
        let budgets = list.get("items")?.as_array()?;
        budgets
            .iter()
            .map(|budget| Self::of(budget, empty_is_all))
            .collect()
    }

    fn of(budget: &Value, empty_is_all: bool) -> Option<Self> {
        let number = |pointer: &str| {
            budget
                .pointer(pointer)
                .and_then(Value::as_u64)
                .unwrap_or_default()
        };
        Some(Self {
            namespace: text_at(budget, "/metadata/namespace")?,
            name: text_at(budget, "/metadata/name")?,
            allowed: number("/status/disruptionsAllowed"),
            healthy: number("/status/currentHealthy"),
            desired: number("/status/desiredHealthy"),
            selector: Selector::of(budget, empty_is_all),
        })
    }

    /// Whether a pod counts in it.
    #[must_use]
    pub fn covers(&self, pod: &Pod) -> bool {
        self.namespace == pod.namespace && self.selector.matches(&pod.labels)
    }

    fn label(&self) -> String {
        crate::text::escape(&format!("{}/{}", self.namespace, self.name))
    }
}

/// A budget that would stop the drain of a node for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked {
    /// The node.
    pub node: String,
    /// The budget, `namespace/name`.
    pub budget: String,
    /// Who made the pods.
    pub owners: Vec<String>,
    /// The pods that could not go.
    pub pods: Vec<String>,
    /// Why they could not.
    pub why: String,
}

/// Foretells the drains of nodes in their order, one at a time.
///
/// A pod that is evicted comes up again elsewhere, and its budget recovers, before the next one has to go, if any other node
/// would take it; the node itself is back before the next drain.
#[must_use]
pub fn foretell(
    order: &[&str],
    pods: &BTreeMap<String, Vec<Pod>>,
    nodes: &[NodeObject],
    budgets: &[Budget],
) -> Vec<Blocked> {
    order
        .iter()
        .flat_map(|node| {
            let leaving: Vec<&Pod> = pods
                .get(*node)
                .into_iter()
                .flatten()
                .filter(|pod| pod.must_leave() && !pod.is_terminating)
                .collect();
            let others: Vec<&NodeObject> =
                nodes.iter().filter(|other| other.name != *node).collect();
            let of_budgets = budgets
                .iter()
                .filter_map(|budget| blocked(node, budget, &leaving, &others));
            of_budgets
                .chain(covered_twice(node, &leaving, budgets))
                .collect::<Vec<_>>()
        })
        .collect()
}

fn blocked(
    node: &str,
    budget: &Budget,
    leaving: &[&Pod],
    others: &[&NodeObject],
) -> Option<Blocked> {
    let covered: Vec<&Pod> = leaving
        .iter()
        .copied()
        .filter(|pod| budget.covers(pod))
        .collect();
    let count = u64::try_from(covered.len()).unwrap_or(u64::MAX);
    let has_home = |pod: &Pod| others.iter().any(|other| pod.could_run_on(other));
    let why = match budget.allowed {
        _ if covered.is_empty() => return None,
        0 if budget.healthy < budget.desired => {
            format!(
                "only {} of the {} pods that it wants are healthy",
                budget.healthy, budget.desired
            )
        }
        0 => format!("it lets none of its {} healthy pods go", budget.healthy),
        allowed if count > allowed && !covered.iter().all(|pod| has_home(pod)) => {
            format!("it lets {allowed} go at a time, and no other node would take them")
        }
        _ => return None,
    };
    Some(entry(node, budget.label(), &covered, why))
}

/// The eviction API refuses a pod that several budgets cover.
fn covered_twice(node: &str, leaving: &[&Pod], budgets: &[Budget]) -> Vec<Blocked> {
    let twice = leaving.iter().filter_map(|pod| {
        let covering: Vec<String> = budgets
            .iter()
            .filter(|budget| budget.covers(pod))
            .map(Budget::label)
            .collect();
        let why = || "Kubernetes evicts no pod that several budgets cover".to_owned();
        (covering.len() > 1).then(|| entry(node, covering.join(", "), &[pod], why()))
    });
    twice.collect()
}

fn entry(node: &str, budget: String, pods: &[&Pod], why: String) -> Blocked {
    let mut owners: Vec<String> = pods.iter().map(|pod| pod.made_by()).collect();
    owners.dedup();
    Blocked {
        node: node.to_owned(),
        budget,
        owners,
        pods: pods.iter().map(|pod| pod.label()).collect(),
        why,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn budget(allowed: u64, selector: &Value) -> Value {
        json!({ "metadata": { "namespace": "default", "name": "web" }, "spec": { "selector": selector },
            "status": { "disruptionsAllowed": allowed, "currentHealthy": 2, "desiredHealthy": 2 - allowed } })
    }

    fn budgets(api: &str, list: &[Value]) -> Vec<Budget> {
        Budget::parse_list(&json!({ "apiVersion": api, "items": list }).to_string()).unwrap()
    }

    fn pods(count: usize) -> Vec<Pod> {
        let pod = |number: usize| {
            json!({ "metadata": { "namespace": "default", "name": format!("web-{number}"), "labels": { "app": "web" },
                "ownerReferences": [{ "kind": "ReplicaSet", "name": "web", "controller": true }] } })
        };
        Pod::parse_list(&json!({ "items": (0..count).map(pod).collect::<Vec<_>>() }).to_string())
            .unwrap()
    }

    fn node(name: &str, taints: &Value) -> NodeObject {
        let node = json!({ "metadata": { "name": name }, "spec": { "taints": taints },
            "status": { "conditions": [{ "type": "Ready", "status": "True" }] } });
        NodeObject::of(&node).unwrap()
    }

    /// Drains `a`, where so many pods run.
    fn why(count: usize, budgets: &[Budget], other_taints: &Value) -> Vec<String> {
        let pods = BTreeMap::from([("a".to_owned(), pods(count))]);
        let nodes = [node("a", &json!([])), node("b", other_taints)];
        foretell(&["a", "b"], &pods, &nodes, budgets)
            .into_iter()
            .map(|blocked| blocked.why)
            .collect()
    }

    #[test]
    fn a_budget_blocks_if_nothing_would_ever_let_its_pods_go() {
        let app = json!({ "matchLabels": { "app": "web" } });
        let repelled = json!([{ "key": "k", "effect": "NoSchedule" }]);
        let of = |allowed| budgets("policy/v1", &[budget(allowed, &app)]);
        assert_eq!(
            why(1, &of(0), &json!([])),
            ["it lets none of its 2 healthy pods go"]
        );
        assert_eq!(why(0, &of(0), &json!([])), Vec::<String>::new());
        assert_eq!(
            why(2, &of(1), &json!([])),
            Vec::<String>::new(),
            "the second follows when the first runs elsewhere"
        );
        assert_eq!(
            why(2, &of(1), &repelled),
            ["it lets 1 go at a time, and no other node would take them"]
        );
        assert_eq!(why(1, &of(1), &repelled), Vec::<String>::new());
        let unhealthy = Budget {
            healthy: 1,
            desired: 2,
            ..of(0).remove(0)
        };
        assert_eq!(
            why(1, &[unhealthy], &json!([])),
            ["only 1 of the 2 pods that it wants are healthy"]
        );
    }

    #[test]
    fn two_budgets_over_one_pod_block_it() {
        let app = json!({ "matchLabels": { "app": "web" } });
        let two = budgets("policy/v1", &[budget(1, &app), budget(1, &app)]);
        assert_eq!(
            why(1, &two, &json!([])),
            ["Kubernetes evicts no pod that several budgets cover"]
        );
    }

    #[test]
    fn selectors_are_read_as_kubernetes_reads_them() {
        let one = pods(1).remove(0);
        let expression = |operator: &str, values: &[&str]| json!({ "matchExpressions": [{ "key": "app", "operator": operator, "values": values }] });
        let cases = [
            ("policy/v1", json!({}), true),
            ("policy/v1beta1", json!({}), false),
            (
                "policy/v1",
                json!({ "matchLabels": { "app": "db" } }),
                false,
            ),
            ("policy/v1", expression("In", &["web"]), true),
            ("policy/v1", expression("NotIn", &["web"]), false),
            ("policy/v1", expression("Exists", &[]), true),
            ("policy/v1", expression("DoesNotExist", &[]), false),
        ];
        for (api, selector, expected) in cases {
            let covers = budgets(api, &[budget(0, &selector)]).remove(0).covers(&one);
            assert_eq!(covers, expected, "{api} {selector}");
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(text in "(?s).{0,200}") {
            let _ = Budget::parse_list(&text);
            let _ = Budget::parse_list(&format!("{{\"items\":[{text}]}}"));
        }
    }
}
