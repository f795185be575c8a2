//! The masters' part of a status: apiservers and etcd members.

use serde::Serialize;
use serde_json::Value;

use super::said;
use crate::action::Fleet;
use crate::cluster::etcd::View;
use crate::cluster::report::{self, Answer, Report};
use crate::host::probe::Readings;
use crate::inventory::{Inventory, Node, Role};

/// A master.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MasterStatus {
    /// Host name.
    pub name: String,
    /// Its apiserver.
    pub apiserver: ApiServer,
    /// Its etcd; `None`: there is none, or it does not answer.
    pub etcd: Option<EtcdMember>,
    /// Whether there should be an etcd: kubeadm has put one there.
    pub has_etcd: bool,
}

/// An apiserver, by its own `/readyz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum ApiServer {
    /// It says it is ready.
    Ready,
    /// It answers, but it is not ready.
    NotReady {
        /// Status code.
        code: u16,
        /// Names of the checks that fail.
        failing: Vec<String>,
    },
    /// It should be there and does not answer.
    Silent,
    /// kubeadm has put none there.
    Absent,
}

/// An etcd member as it describes itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EtcdMember {
    /// Its id, hexadecimal.
    pub id: String,
    /// Its version.
    pub version: String,
    /// Whether it leads.
    pub is_leader: bool,
    /// Whether it has no vote yet.
    pub is_learner: bool,
    /// Whether it has a leader and a quorum.
    pub is_healthy: bool,
    /// Size of its database file, bytes.
    pub db_size: u64,
    /// Errors and alarms that it reports.
    pub alarms: Vec<String>,
    /// The members that it knows.
    pub members: Vec<KnownMember>,
}

/// A member as another one, or itself, has it in its list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KnownMember {
    /// Its id, hexadecimal.
    pub id: String,
    /// Its name, empty if it has never started.
    pub name: String,
    /// How the others reach it.
    pub peer_urls: Vec<String>,
    /// Whether it has no vote yet.
    pub is_learner: bool,
}

impl MasterStatus {
    pub(super) fn of(inventory: &Inventory, node: &Node, readings: &Readings) -> Self {
        let report = report(node, readings);
        Self {
            name: node.name.clone(),
            apiserver: match &report.readyz {
                Answer::Http(200, _) => ApiServer::Ready,
                Answer::Http(code, _) => ApiServer::NotReady {
                    code: *code,
                    failing: said(inventory, node, readings, "failing")
                        .into_iter()
                        .map(str::to_owned)
                        .collect(),
                },
                Answer::Unreachable => ApiServer::Silent,
                Answer::Absent => ApiServer::Absent,
            },
            etcd: member(&report),
            has_etcd: report.has(report::Has::EtcdManifest),
        }
    }
}

/// A host's report; empty if it gave none.
pub(super) fn report(node: &Node, readings: &Readings) -> Report {
    readings
        .script(&report::script(node))
        .map(|reading| Report::parse(&reading.stdout))
        .unwrap_or_default()
}

/// What an etcd said, put together; `None`: it did not answer.
pub(super) fn member(report: &Report) -> Option<EtcdMember> {
    let view = View::of(report)?;
    let status: Value = serde_json::from_str(report.etcd_status.body()?).ok()?;
    let known = view.members.0.iter().map(|member| KnownMember {
        id: member.id.to_string(),
        name: member.name.clone(),
        peer_urls: member.peer_urls.clone(),
        is_learner: member.is_learner,
    });
    let own = view.members.with_id(view.member_id);
    Some(EtcdMember {
        id: view.member_id.to_string(),
        version: text(&status, "version"),
        is_leader: view.leader == Some(view.member_id),
        is_learner: own.is_some_and(|own| own.is_learner),
        is_healthy: view.is_healthy,
        // The gateway writes 64-bit numbers as strings.
        db_size: status
            .get("dbSize")
            .and_then(|size| size.as_u64().or_else(|| size.as_str()?.parse().ok()))
            .unwrap_or_default(),
        alarms: status
            .get("errors")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(crate::text::escape)
            .collect(),
        members: known.collect(),
    })
}

fn text(value: &Value, key: &str) -> String {
    crate::text::escape(value.get(key).and_then(Value::as_str).unwrap_or_default())
}

/// What the masters say of `/readyz` through the virtual IP: ready if any of those that could ask got 200.
pub(super) fn is_endpoint_ready(inventory: &Inventory, fleet: &Fleet) -> Option<bool> {
    let codes: Vec<&str> = inventory
        .with_role(Role::Master)
        .flat_map(|node| said(inventory, node, fleet.of(&node.name), "endpoint"))
        .collect();
    (!codes.is_empty()).then(|| codes.contains(&"200"))
}
