//! Making pods leave a Node, by the same eviction API that `kubectl drain` uses.
//!
//! Why not `kubectl drain`: it is one long command that a lost connection ends half-way, it cannot say in an annotation whose
//! cordon it is, and it leaves open what to do about a budget that never clears. Here every call is short and may be repeated,
//! so a run that was cut off goes on with the pods that are still there.

use std::fmt::Write as _;

use serde_json::json;

use super::api::{self, Request};
use super::pod::Pod;
use crate::host::Host;
use crate::host::error::HostError;
use crate::inventory::version::KubeVersion;

/// What became of an eviction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Eviction {
    /// The pod goes, or is gone, or is another one by now.
    Granted,
    /// A budget does not let it go now; what the apiserver says.
    Refused(String),
}

/// The pods on a Node, asked of a master; `None`: its apiserver did not say.
pub async fn pods_on(master: &Host, node: &str) -> Result<Option<Vec<Pod>>, HostError> {
    let path = format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{node}");
    let response = api::send(master, &path, Request::Get).await?;
    Ok((response.code == 200)
        .then(|| Pod::parse_list(&response.body))
        .flatten())
}

/// Evicts a pod, respecting budgets. `target`: the release that the cluster is being brought to.
pub async fn evict(master: &Host, pod: &Pod, target: KubeVersion) -> Result<Eviction, HostError> {
    // policy/v1 evicts from 1.22 on; while that is the target, an apiserver of 1.21 may still answer.
    let version = if target.minor > 22 {
        "policy/v1"
    } else {
        "policy/v1beta1"
    };
    let body = json!({
        "apiVersion": version,
        "kind": "Eviction",
        "metadata": { "namespace": pod.namespace, "name": pod.name },
        "deleteOptions": { "preconditions": { "uid": pod.uid } },
    });
    let path = format!("{}/eviction", path_of(pod));
    let response = api::send(master, &path, Request::Post(&body)).await?;
    Ok(match response.code {
        200..=299 | 404 | 409 => Eviction::Granted,
        code => {
            let mut why = api::message(&response);
            let _ = write!(why, " (HTTP {code})");
            Eviction::Refused(why)
        }
    })
}

/// Deletes a pod whatever its budget says.
pub async fn delete(master: &Host, pod: &Pod) -> Result<(), HostError> {
    api::succeed(master, &path_of(pod), Request::Delete, 404)
        .await
        .map(drop)
}

fn path_of(pod: &Pod) -> String {
    format!("/api/v1/namespaces/{}/pods/{}", pod.namespace, pod.name)
}
