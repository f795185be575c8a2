//! What masters and workers have in common: kubelet, containerd, the Node object, certificates.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::masters::report;
use super::{now, said, unit_state};
use crate::cluster::cert;
use crate::cluster::node::NodeObject;
use crate::cluster::report::{Answer, Has};
use crate::host::probe::Readings;
use crate::inventory::{Inventory, Node, Role};

/// A master or worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeStatus {
    /// Host name.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// Whether it has joined the cluster, its Node is ready, and if not, why.
    pub ready: Readiness,
    /// Whether it takes new pods; `None`: nobody knows.
    pub is_schedulable: Option<bool>,
    /// kubelet's version, `v1.36.2`: of the running one where the cluster says, else of the program; empty: there is none.
    pub kubelet: String,
    /// containerd's version, likewise.
    pub containerd: String,
    /// State of the unit.
    pub kubelet_unit: String,
    /// State of the unit.
    pub containerd_unit: String,
}

/// Whether a Node is ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state", content = "why")]
pub enum Readiness {
    /// It is.
    Ready,
    /// It is not; kubelet's reason.
    NotReady(String),
    /// The cluster has no Node of that name.
    NoNode,
    /// Nobody could be asked.
    Unknown,
    /// The host has not joined.
    NotJoined,
}

/// A certificate on a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Certificate {
    /// Host name.
    pub host: String,
    /// The file, a kubeconfig for those that are embedded in one.
    pub file: String,
    /// Its subject.
    pub subject: String,
    /// Whether it is a CA's.
    pub is_ca: bool,
    /// Whether something renews it in time without being asked.
    pub renews_itself: bool,
    /// Not valid after.
    pub expires: Timestamp,
    /// Whole days until then by the host's clock; negative: since.
    pub days: i64,
}

impl NodeStatus {
    pub(super) fn of(inventory: &Inventory, node: &Node, readings: &Readings) -> Self {
        let report = report(node, readings);
        let body = report.node.body();
        let object = body.and_then(NodeObject::parse);
        let json: Value = body
            .and_then(|body| serde_json::from_str(body).ok())
            .unwrap_or_default();
        let installed = |key| {
            let line = said(inventory, node, readings, key);
            line.first().copied().map(version).unwrap_or_default()
        };
        let ready = match (&object, &report.node) {
            _ if !report.has(Has::KubeletConf) => Readiness::NotJoined,
            (Some(object), _) if object.ready.is_true => Readiness::Ready,
            (Some(object), _) => Readiness::NotReady(crate::text::escape(&object.ready.why)),
            (None, Answer::Http(404, _)) => Readiness::NoNode,
            (None, _) => Readiness::Unknown,
        };
        let running = json
            .pointer("/status/nodeInfo/containerRuntimeVersion")
            .and_then(Value::as_str)
            .and_then(|runtime| runtime.strip_prefix("containerd://"));
        Self {
            name: node.name.clone(),
            role: node.role,
            ready,
            is_schedulable: object.is_some().then(|| {
                json.pointer("/spec/unschedulable").and_then(Value::as_bool) != Some(true)
            }),
            kubelet: object
                .map(|object| crate::text::escape(&object.kubelet_version))
                .filter(|version| !version.is_empty())
                .unwrap_or_else(|| installed("kubelet")),
            containerd: running.map_or_else(|| installed("containerd"), version),
            kubelet_unit: unit_state(readings, "kubelet"),
            containerd_unit: unit_state(readings, "containerd"),
        }
    }
}

/// The word of `Kubernetes v1.36.2` or `github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1` that is a version.
fn version(text: &str) -> String {
    let is_version = |word: &&str| {
        word.trim_start_matches('v')
            .starts_with(|first: char| first.is_ascii_digit())
    };
    let word = text.split_whitespace().find(is_version).unwrap_or_default();
    let word = word.split(['~', '+']).next().unwrap_or_default();
    crate::text::escape(word)
}

pub(super) fn certificates(node: &Node, readings: &Readings) -> Vec<Certificate> {
    let Ok(reading) = readings.script(&cert::script()) else {
        return Vec::new();
    };
    let now = now(readings);
    let certificates = cert::parse(&reading.stdout);
    certificates
        .into_iter()
        .map(|certificate| Certificate {
            host: node.name.clone(),
            days: certificate.days_left(now),
            renews_itself: certificate.renews_itself(),
            expires: certificate.not_after,
            is_ca: certificate.is_ca,
            subject: crate::text::escape(&certificate.subject),
            file: crate::text::escape(&certificate.file),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_print() {
        for (text, expected) in [
            ("Kubernetes v1.36.2", "v1.36.2"),
            (
                "github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u1",
                "1.6.20",
            ),
            ("containerd.io v2.2.0 1c4457e", "v2.2.0"),
            ("1.6.20~ds1", "1.6.20"),
            ("", ""),
        ] {
            assert_eq!(version(text), expected);
        }
    }
}
