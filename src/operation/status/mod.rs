//! `quorate status`: how the cluster is, asked of every host at once.
//!
//! One round trip per host; [`Status::of`] is pure. Nothing here needs the API to answer: each master is asked for its
//! own apiserver and its own etcd, each load balancer for its own view of the back ends, so what is down is seen as down by
//! its neighbours, and a host that does not answer is a line in the result rather than the end of it.

mod masters;
mod nodes;
mod problems;
mod render;
mod seats;
#[cfg(test)]
mod tests;

use futures::stream::{self, StreamExt as _};
use jiff::Timestamp;
use serde::Serialize;

use super::Session;
use crate::action::Fleet;
use crate::cluster::{cert, load_balancer, report, vip};
use crate::engine::chain;
use crate::error::Error;
use crate::host::command::Script;
use crate::host::error::HostError;
use crate::host::probe::{Probe, Readings};
use crate::inventory::{Inventory, Node, Role};
use crate::report::{Format, println};

pub use masters::{ApiServer, EtcdMember, MasterStatus};
pub use nodes::{Certificate, NodeStatus};
pub use problems::Problem;
pub use seats::SeatStatus;

/// Version of the JSON object; fields may be added to a version, never taken away or given another meaning.
const VERSION: u32 = 1;

/// Hosts that are read at once.
const AT_ONCE: usize = 256;

/// The cluster as its hosts describe it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Format version.
    pub version: u32,
    /// Cluster name.
    pub cluster: String,
    /// The Kubernetes version that the inventory asks for.
    pub kubernetes: String,
    /// `host:port` of the control plane.
    pub endpoint: String,
    /// Whether all is well.
    pub health: Health,
    /// The virtual IP.
    pub virtual_ip: VirtualIp,
    /// Load balancers that answered.
    pub load_balancers: Vec<LoadBalancerStatus>,
    /// Masters that answered.
    pub masters: Vec<MasterStatus>,
    /// Hosts of an external etcd that answered.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub etcd: Vec<SeatStatus>,
    /// Masters and workers that answered.
    pub nodes: Vec<NodeStatus>,
    /// Every certificate of every host that answered.
    pub certificates: Vec<Certificate>,
    /// Hosts that did not answer.
    pub unreachable: Vec<Unreachable>,
    /// What is wrong, the worst first.
    pub problems: Vec<Problem>,
}

/// The one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// Nothing is wrong.
    Ok,
    /// Something is.
    Degraded,
}

/// The virtual IP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VirtualIp {
    /// The address.
    pub address: String,
    /// `one` (as it should be), `nobody`, `several` (split brain), `unknown`, or `foreign` (managed elsewhere).
    pub state: &'static str,
    /// Hosts that hold it.
    pub holders: Vec<String>,
    /// The same, for matching.
    #[serde(skip)]
    pub holder: vip::Holder,
    /// Whether `/readyz` through it answers 200, from the masters' side; `None`: nobody could ask.
    pub is_ready: Option<bool>,
}

/// A load balancer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LoadBalancerStatus {
    /// Host name.
    pub name: String,
    /// State of the unit, `active/running`.
    pub haproxy: String,
    /// State of the unit.
    pub keepalived: String,
    /// Whether it holds the virtual IP.
    pub holds_virtual_ip: bool,
    /// Its view of the servers behind it; `None`: HAProxy did not answer.
    pub servers: Option<Vec<load_balancer::Server>>,
}

/// A host that did not answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unreachable {
    /// Host name.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// Why, one line.
    pub error: String,
    /// What to do.
    pub help: Option<String>,
}

/// What has to be read of a host.
#[must_use]
pub fn probes(inventory: &Inventory, node: &Node) -> Vec<Probe> {
    let mut probes = vec![Probe::Machine, Probe::Script(cert::script())];
    let units: &[&str] = match node.role {
        Role::LoadBalancer => {
            probes.push(Probe::Script(load_balancer::script()));
            &["haproxy", "keepalived"]
        }
        Role::Etcd => &[],
        Role::Master | Role::Worker => {
            probes.push(Probe::Script(report::script(node)));
            probes.push(Probe::Script(script(inventory, node)));
            &["containerd", "kubelet"]
        }
    };
    if node.etcd.is_some() {
        probes.extend(seats::probes());
    }
    probes.extend(units.iter().map(|unit| Probe::Unit((*unit).to_owned())));
    probes
}

impl Status {
    /// Puts together what was read of the hosts and what went wrong with the others. Hosts that are in neither were not
    /// asked (`--on`) and are left out.
    #[must_use]
    pub fn of(inventory: &Inventory, fleet: &Fleet, errors: &[(String, HostError)]) -> Self {
        let read = |role: Role| {
            inventory
                .with_role(role)
                .filter(|node| fleet.of(&node.name).machine().is_ok())
        };
        let holder = vip::Holder::of(inventory, fleet);
        let nodes = || read(Role::Master).chain(read(Role::Worker));
        let mut status = Self {
            version: VERSION,
            cluster: inventory.name.clone(),
            kubernetes: inventory.kubernetes.to_string(),
            endpoint: inventory.control_plane_endpoint(),
            health: Health::Ok,
            virtual_ip: VirtualIp {
                address: inventory.vip.address.to_string(),
                is_ready: masters::is_endpoint_ready(inventory, fleet),
                state: holder.state(),
                holders: holder.hosts().to_vec(),
                holder: holder.clone(),
            },
            load_balancers: read(Role::LoadBalancer)
                .map(|node| balancer(node, fleet.of(&node.name), &holder))
                .collect(),
            masters: read(Role::Master)
                .map(|node| MasterStatus::of(inventory, node, fleet.of(&node.name)))
                .collect(),
            etcd: inventory
                .nodes
                .iter()
                .filter(|node| fleet.of(&node.name).machine().is_ok())
                .filter_map(|node| SeatStatus::of(node, fleet.of(&node.name)))
                .collect(),
            nodes: nodes()
                .map(|node| NodeStatus::of(inventory, node, fleet.of(&node.name)))
                .collect(),
            certificates: inventory
                .nodes
                .iter()
                .flat_map(|node| nodes::certificates(node, fleet.of(&node.name)))
                .collect(),
            unreachable: inventory
                .nodes
                .iter()
                .filter_map(|node| {
                    let (_, error) = errors.iter().find(|(host, _)| *host == node.name)?;
                    Some(unreachable(node, error))
                })
                .collect(),
            problems: Vec::new(),
        };
        status.problems = problems::find(inventory, &status);
        if !status.problems.is_empty() {
            status.health = Health::Degraded;
        }
        status
    }

    /// The exit code that says the same: 0, 4 when a host did not answer, else 6.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.health {
            Health::Ok => 0,
            Health::Degraded if self.unreachable.is_empty() => 6,
            Health::Degraded => 4,
        }
    }
}

fn balancer(node: &Node, readings: &Readings, holder: &vip::Holder) -> LoadBalancerStatus {
    let servers = readings
        .script(&load_balancer::script())
        .ok()
        .and_then(|reading| reading.success())
        .map(load_balancer::parse);
    LoadBalancerStatus {
        name: node.name.clone(),
        haproxy: unit_state(readings, "haproxy"),
        keepalived: unit_state(readings, "keepalived"),
        holds_virtual_ip: holder.hosts().contains(&node.name),
        servers,
    }
}

fn unreachable(node: &Node, error: &HostError) -> Unreachable {
    Unreachable {
        name: node.name.clone(),
        role: node.role,
        error: chain(error),
        help: error.help(),
    }
}

/// `active/running`, or `absent`.
fn unit_state(readings: &Readings, unit: &str) -> String {
    match readings.unit(unit) {
        Ok(unit) if unit.exists => unit.state.clone(),
        _ => "absent".to_owned(),
    }
}

/// The host's own clock: certificates expire by it.
fn now(readings: &Readings) -> Timestamp {
    let microseconds = readings
        .machine()
        .ok()
        .and_then(|machine| i64::try_from(machine.clock_us).ok());
    microseconds
        .and_then(|us| Timestamp::from_microsecond(us).ok())
        .unwrap_or_default()
}

fn script(inventory: &Inventory, node: &Node) -> Script {
    let role = if node.role == Role::Master {
        "master"
    } else {
        "worker"
    };
    Script::new("status", include_str!("status.sh"))
        .arg(role)
        .arg(node.address.to_string())
        .arg(inventory.control_plane_endpoint())
}

/// Lines `key value` of the status script.
fn said<'a>(
    inventory: &Inventory,
    node: &Node,
    readings: &'a Readings,
    key: &'static str,
) -> Vec<&'a str> {
    let Ok(reading) = readings.script(&script(inventory, node)) else {
        return Vec::new();
    };
    reading
        .stdout
        .lines()
        .filter_map(|line| line.strip_prefix(key)?.strip_prefix(' '))
        .collect()
}

/// Reads one host over a connection of its own. Reading is harmless, so one that was lost costs one more try.
async fn read(session: &Session, node: &Node) -> Result<Readings, HostError> {
    let host = session.connect_one(node).await?;
    let probes = probes(&session.inventory, node);
    match host.transport.probe(&probes).await {
        Err(HostError::Lost { .. }) => host.transport.probe(&probes).await,
        answer => answer,
    }
}

/// Asks all selected hosts and shows the result; hosts that do not answer are part of it.
pub async fn status(session: &Session) -> Result<(), Error> {
    let inventory = &session.inventory;
    let nodes: Vec<&Node> = inventory
        .nodes
        .iter()
        .filter(|node| session.selector.matches(node))
        .collect();
    // Host by host: a connection is of no use once its host is read, and a thousand that are kept need a hundred megabytes.
    let mut answers: Vec<_> = stream::iter(nodes.iter().enumerate())
        .map(|(index, node)| async move { (index, *node, read(session, node).await) })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    answers.sort_by_key(|(index, _, _)| *index);
    let mut fleet = Fleet::default();
    let mut errors = Vec::new();
    for (_, node, answer) in answers {
        match answer {
            Ok(readings) => fleet.update(&node.name, readings),
            Err(error) => errors.push((node.name.clone(), error)),
        }
    }
    let status = Status::of(inventory, &fleet, &errors);
    match session.settings.format {
        Format::Json => {
            println(&serde_json::to_string(&status).expect("a status is always JSON"));
        }
        Format::Table => println(&status.to_string()),
    }
    match status.exit_code() {
        0 => Ok(()),
        code => Err(Error::Degraded {
            problems: status.problems.len(),
            code,
        }),
    }
}
