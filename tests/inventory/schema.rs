//! `quorate schema` describes what the loader takes.

use quorate::input::{Kind, Node, Tree};
use quorate::inventory::json_schema;
use serde_json::Value;

use crate::fixture::{GOOD, sample};

/// Follows `$ref`s.
fn resolved<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    match schema.get("$ref").and_then(Value::as_str) {
        Some(reference) => {
            let pointer = reference.trim_start_matches('#');
            resolved(
                root,
                root.pointer(pointer)
                    .expect("the reference leads somewhere"),
            )
        }
        None => schema,
    }
}

/// What a document breaks of the part of JSON Schema that ours uses; empty when it fits.
fn mistakes(root: &Value, schema: &Value, node: &Node, path: &str) -> Vec<String> {
    let schema = resolved(root, schema);
    if let Some(choices) = schema.get("oneOf").and_then(Value::as_array) {
        let fits = |choice: &Value| mistakes(root, choice, node, path).is_empty();
        let fitting = choices.iter().filter(|choice| fits(choice)).count();
        return (fitting != 1)
            .then(|| format!("{path}: fits {fitting} choices"))
            .into_iter()
            .collect();
    }
    let is_any_scalar = schema.get("type").is_some_and(Value::is_array);
    match (&node.kind, schema.get("type").and_then(Value::as_str)) {
        (Kind::Scalar { .. }, None) if is_any_scalar => Vec::new(),
        (_, None) if schema == &Value::Bool(true) => Vec::new(),
        (Kind::Mapping(entries), Some("object")) => {
            let missing = schema
                .get("required")
                .and_then(Value::as_array)
                .into_iter()
                .flatten();
            let missing = missing
                .filter_map(Value::as_str)
                .filter(|key| entries.iter().all(|(known, _)| known.text != *key));
            let mut found: Vec<String> =
                missing.map(|key| format!("{path}: lacks {key}")).collect();
            for (key, value) in entries {
                let path = format!("{path}.{}", key.text);
                let own = schema
                    .get("properties")
                    .and_then(|properties| properties.get(&key.text));
                match own.or_else(|| schema.get("additionalProperties")) {
                    None | Some(Value::Bool(true)) => {}
                    Some(Value::Bool(false)) => found.push(format!("{path}: unknown")),
                    Some(schema) => found.extend(mistakes(root, schema, value, &path)),
                }
            }
            found
        }
        (Kind::Sequence(items), Some("array")) => {
            let items = items.iter().enumerate();
            items
                .flat_map(|(index, item)| {
                    mistakes(root, &schema["items"], item, &format!("{path}[{index}]"))
                })
                .collect()
        }
        (Kind::Scalar { text, .. }, Some("string")) => {
            let is_listed = match (
                schema.get("enum").and_then(Value::as_array),
                schema.get("const"),
            ) {
                (Some(listed), _) => listed.iter().any(|word| word == text),
                (None, Some(word)) => word == text,
                (None, None) => true,
            };
            (!is_listed)
                .then(|| format!("{path}: `{text}` is not listed"))
                .into_iter()
                .collect()
        }
        (Kind::Scalar { text, .. }, Some("integer")) if text.parse::<i64>().is_ok() => Vec::new(),
        (Kind::Scalar { text, .. }, Some("boolean")) if text.parse::<bool>().is_ok() => Vec::new(),
        (_, kind) => vec![format!("{path}: not of type {kind:?}")],
    }
}

fn check(text: &str) -> Vec<String> {
    let schema = json_schema();
    let tree = Tree::parse(text).expect("it is YAML");
    mistakes(&schema, &schema, &tree.root, "")
}

#[test]
fn accepts_the_samples() {
    let samples = ["ha", "external-etcd", "minimal", "lab"].map(sample);
    for path in samples {
        let text = fs_err::read_to_string(&path).expect("the sample is there");
        assert_eq!(check(&text), Vec::<String>::new(), "{path}");
    }
    assert_eq!(check(GOOD), Vec::<String>::new());
}

#[test]
fn accepts_every_form_of_a_value() {
    let text = GOOD.replace("ssh: { user: ops }", "ssh: { identity-file: [a, b], jump: bastion, sudo-password: prompt, passphrase: { command: [pass, x] } }")
        .replace("cni: none", "cni: { bridge: {} }\nsysctls: { net.core.somaxconn: 1024 }\nkubelet: { maxPods: 50, evictionHard: { memory.available: 5% } }")
        .replace("worker1: 10.1.1.201", "worker1: { address: 10.1.1.201, ssh: { port: 2222 } }");
    assert_eq!(check(&text), Vec::<String>::new());
}

#[test]
fn refuses_unknown_keys_and_wrong_types() {
    let text = GOOD
        .replace("vip:\n", "vip:\n  gateway: x\n  port: six\n")
        .replace("cni: none", "cni: calico");
    assert_eq!(
        check(&text),
        [
            ".vip.gateway: unknown",
            ".vip.port: not of type Some(\"integer\")",
            ".cni: fits 0 choices"
        ]
    );
}

#[test]
fn describes_every_key() {
    fn walk(value: &Value, path: &str, silent: &mut Vec<String>) {
        if let Some(properties) = value.get("properties").and_then(Value::as_object) {
            for (key, schema) in properties {
                if schema.get("description").is_none() {
                    silent.push(format!("{path}.{key}"));
                }
            }
        }
        match value {
            Value::Object(map) => map
                .iter()
                .for_each(|(key, value)| walk(value, &format!("{path}.{key}"), silent)),
            Value::Array(items) => items.iter().for_each(|value| walk(value, path, silent)),
            _ => {}
        }
    }
    let mut silent = Vec::new();
    walk(&json_schema(), "", &mut silent);
    silent.retain(|path| !path.contains(".oneOf"));
    assert_eq!(silent, Vec::<String>::new());
}
