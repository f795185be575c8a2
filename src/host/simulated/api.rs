//! The Kubernetes API: objects by path, and who may be asked for them.

use serde_json::{Value, json};

use super::etcd::Data;
use super::machine::Machine;
use super::world::World;

/// An answer.
pub(super) type Answer = (u16, String);

impl World {
    /// Whether a machine's apiserver answers `/readyz` with 200.
    #[must_use]
    pub fn serves(&self, machine: &Machine) -> bool {
        self.store_of(machine).is_some()
    }

    /// The cluster in which a machine's apiserver, if it serves, stores its objects.
    pub(super) fn store_of(&self, machine: &Machine) -> Option<usize> {
        let pod = machine
            .pods
            .get("kube-apiserver")
            .filter(|_| machine.is_up())?;
        let is_ready = self.now >= pod.comes_up_at()[1]
            && machine.files.has("/etc/kubernetes/pki/apiserver.crt");
        if super::external_etcd::is_external(machine) {
            let may_ask = super::external_etcd::may_ask(machine);
            return self.live_cluster().filter(|_| is_ready && may_ask);
        }
        let (cluster, _): Data = self.running(machine).filter(|_| is_ready)?;
        self.has_quorum(cluster).then_some(cluster)
    }

    /// The cluster that is reached through the virtual IP.
    pub(super) fn store_behind_vip(&self) -> Option<usize> {
        self.store_of(self.behind_vip()?)
    }

    /// Answers a request to the apiserver of a machine.
    pub(super) fn ask(
        &mut self,
        cluster: usize,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> Answer {
        let number = self.number();
        if let Some(node) = path.strip_prefix("/api/v1/pods?fieldSelector=spec.nodeName%3D") {
            return (
                200,
                json!({ "kind": "PodList", "items": self.pods_on(cluster, node) }).to_string(),
            );
        }
        if let Some(pod) = path.strip_suffix("/eviction") {
            return self.evict(cluster, pod);
        }
        let Some(state) = self.etcd.get_mut(cluster) else {
            return failure(500, "no storage");
        };
        let path = path.split('?').next().unwrap_or(path);
        if !is_served(path, self.release.minor) {
            return failure(404, "not found");
        }
        if method != "GET" {
            state.revision += 1;
        }
        let objects = &mut state.objects;
        match (method, body) {
            ("GET", _) => match objects.get(path) {
                Some(object) => (200, object.to_string()),
                None if is_collection(path) => (200, list(objects, path).to_string()),
                None => failure(404, "not found"),
            },
            ("DELETE", _) => match objects.remove(path) {
                Some(_) => (
                    200,
                    json!({ "kind": "Status", "status": "Success" }).to_string(),
                ),
                None => failure(404, "not found"),
            },
            ("POST", Some(body)) => {
                let name = body
                    .pointer("/metadata/name")
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                let path = format!("{path}/{name}");
                if objects.contains_key(&path) {
                    return failure(409, "already exists");
                }
                let object = versioned(stored(body), number);
                objects.insert(path, object.clone());
                (201, object.to_string())
            }
            ("PATCH", Some(patch)) => {
                let mut object = objects.get(path).cloned().unwrap_or_else(|| json!({}));
                if is_of_another_version(&patch, &object) {
                    return failure(409, "the object has been modified");
                }
                merge(&mut object, &stored(patch));
                let object = versioned(object, number);
                objects.insert(path.to_owned(), object.clone());
                (200, object.to_string())
            }
            _ => failure(405, "the simulation does not know this request"),
        }
    }
}

/// Budgets came to `policy/v1` with 1.21, and left `policy/v1beta1` with 1.25.
fn is_served(path: &str, minor: u16) -> bool {
    match path.strip_prefix("/apis/policy/") {
        Some(path) if path.starts_with("v1/") => minor >= 21,
        Some(path) if path.starts_with("v1beta1/") => minor < 25,
        _ => true,
    }
}

/// Collections have plural names that the playbooks ask for; everything else is an object.
fn is_collection(path: &str) -> bool {
    let last = path.rsplit('/').next().unwrap_or_default();
    [
        "secrets",
        "nodes",
        "configmaps",
        "pods",
        "daemonsets",
        "poddisruptionbudgets",
    ]
    .contains(&last)
}

fn list(objects: &std::collections::BTreeMap<String, Value>, path: &str) -> Value {
    let below = |(name, _): &(&String, &Value)| {
        name.strip_prefix(path)
            .and_then(|rest| rest.strip_prefix('/'))
            .is_some_and(|rest| !rest.contains('/'))
    };
    let items: Vec<&Value> = objects
        .iter()
        .filter(below)
        .map(|(_, object)| object)
        .collect();
    json!({ "kind": "List", "items": items })
}

pub(super) fn failure(code: u16, message: &str) -> Answer {
    let mut status =
        json!({ "kind": "Status", "status": "Failure", "code": code, "message": message });
    if code == 404 {
        status["reason"] = json!("NotFound");
    }
    (code, status.to_string())
}

/// A Secret's `stringData` becomes its `data`.
fn stored(mut object: Value) -> Value {
    if let Some(text) = object
        .as_object_mut()
        .and_then(|object| object.remove("stringData"))
    {
        object["data"] = text;
    }
    object
}

fn versioned(mut object: Value, number: u64) -> Value {
    object["metadata"]["resourceVersion"] = json!(number.to_string());
    object
}

/// Whether a patch is for an object as it is not any more.
fn is_of_another_version(patch: &Value, object: &Value) -> bool {
    let version = |of: &Value| of.pointer("/metadata/resourceVersion").cloned();
    version(patch).is_some_and(|wanted| version(object) != Some(wanted))
}

/// RFC 7386.
fn merge(object: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *object = patch.clone();
        return;
    };
    if !object.is_object() {
        *object = json!({});
    }
    let Some(target) = object.as_object_mut() else {
        return;
    };
    for (name, value) in fields {
        if value.is_null() {
            target.remove(name);
        } else {
            merge(target.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}
