//! Preflight: refuses, before anything is changed, what would fail or do harm later.
//!
//! [`probes`] says what is read, in the one round trip that a run costs anyway; [`judge`] is pure. What takes time on a host
//! (connecting to the others, listening for VRRP, timing the disk) is done only while that host is still bare: the
//! script decides by what it finds, so a run that changes nothing does not pay for it, and a host that is added to a
//! living cluster is examined like the first ones were.
//!
//! A finding **refuses** when going on would fail half-way or endanger a cluster that exists; it **warns** when kubeadm
//! and the components would work, only worse. What could not be found out is a warning that says so, never silence. What
//! the inventory lists under `ignore-preflight-errors` by kubeadm's own name for it is a warning here as well.

mod clock;
mod existing;
mod facts;
mod identity;
pub(crate) mod network;
mod platform;
mod resources;

use std::fmt;

use camino::Utf8Path;
use serde::Serialize;

use crate::action::Fleet;
use crate::cluster::report;
use crate::error::Error;
use crate::host::command::Script;
use crate::host::facts::Machine;
use crate::host::probe::Probe;
use crate::inventory::{Inventory, Node, Role};
use facts::HostFacts;

/// The port that every apiserver listens on, whatever port the virtual IP has.
pub(crate) const API_SERVER_PORT: u16 = 6443;

/// Something that preflight has to say of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Host name, or several joined by commas.
    pub host: String,
    /// Kebab-case name of the check.
    pub check: &'static str,
    /// What is wrong: one line.
    pub what: String,
    /// What to do about it.
    pub help: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}\n  help: {}", self.host, self.what, self.help)
    }
}

/// What preflight found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Reasons not to start.
    pub refusals: Vec<Finding>,
    /// Worth knowing.
    pub warnings: Vec<Finding>,
}

impl Verdict {
    /// Whether the run must not start.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        !self.refusals.is_empty()
    }

    fn add(&mut self, severity: Severity, finding: Finding) {
        match severity {
            Severity::Refuse => self.refusals.push(finding),
            Severity::Warn => self.warnings.push(finding),
        }
    }
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Severity {
    Refuse,
    Warn,
}

/// What has to be read of a host.
#[must_use]
pub fn probes(inventory: &Inventory, node: &Node) -> Vec<Probe> {
    let mut probes = vec![Probe::Machine, Probe::Script(script(inventory, node))];
    if node.role.is_node() {
        probes.push(Probe::File(report::CA.into()));
    }
    probes
}

/// Judges everything that was read. Hosts that were not read (excluded by `--on`) are passed over.
#[must_use]
pub fn judge(inventory: &Inventory, fleet: &Fleet) -> Verdict {
    let hosts: Vec<Examined<'_>> = inventory
        .nodes
        .iter()
        .filter_map(|node| Examined::new(inventory, node, fleet))
        .collect();
    let mut verdict = Verdict::default();
    for host in &hosts {
        platform::judge(inventory, host, &mut verdict);
        resources::judge(inventory, host, &mut verdict);
        network::judge_host(inventory, host, &mut verdict);
    }
    identity::judge(&hosts, &mut verdict);
    clock::judge(&hosts, &mut verdict);
    network::judge_virtual_ip(inventory, &hosts, &mut verdict);
    existing::judge(inventory, &hosts, &mut verdict);
    verdict
}

/// [`judge`], shown: warnings and refusals go to standard error, and a refusal ends the command.
pub fn refuse(inventory: &Inventory, fleet: &Fleet) -> Result<(), Error> {
    let verdict = judge(inventory, fleet);
    for finding in &verdict.warnings {
        crate::report::eprintln(&format!("warning: {finding}"));
    }
    for finding in &verdict.refusals {
        crate::report::eprintln(&format!("refused: {finding}"));
    }
    if !verdict.is_refusal() {
        return Ok(());
    }
    let line = |finding: &Finding| format!("{}: {}", finding.host, finding.what);
    Err(Error::Refused {
        findings: verdict.refusals.iter().map(line).collect(),
    })
}

/// One host with all that was read of it.
struct Examined<'a> {
    node: &'a Node,
    machine: &'a Machine,
    facts: HostFacts,
    /// The CA certificate's text, if there is one.
    ca: Option<&'a str>,
}

impl<'a> Examined<'a> {
    fn new(inventory: &Inventory, node: &'a Node, fleet: &'a Fleet) -> Option<Self> {
        let readings = fleet.of(&node.name);
        Some(Self {
            node,
            machine: readings.machine().ok()?,
            facts: readings
                .script(&script(inventory, node))
                .map(|reading| HostFacts::parse(&reading.stdout))
                .unwrap_or_default(),
            ca: readings
                .file(report::CA.into())
                .ok()
                .and_then(|file| file.text()),
        })
    }

    fn finding(
        &self,
        check: &'static str,
        what: impl Into<String>,
        help: impl Into<String>,
    ) -> Finding {
        Finding {
            host: self.node.name.clone(),
            check,
            what: what.into(),
            help: help.into(),
        }
    }
}

/// The script with its parameters for one host.
fn script(inventory: &Inventory, node: &Node) -> Script {
    let virtual_ip = if inventory.vip.managed {
        inventory.vip.address.to_string()
    } else {
        String::new()
    };
    let etcd = if inventory.runs_etcd(node) {
        inventory.etcd_data_directory()
    } else {
        Utf8Path::new("")
    };
    let script = Script::new("preflight", include_str!("preflight.sh"))
        .arg(role_word(node.role))
        .arg(node.address.to_string())
        .arg(virtual_ip)
        .arg(inventory.vip.interface.clone().unwrap_or_default())
        .arg(etcd.as_str());
    network::targets(inventory, node)
        .into_iter()
        .fold(script, Script::arg)
}

fn role_word(role: Role) -> &'static str {
    match role {
        Role::LoadBalancer => "load-balancer",
        Role::Etcd => "etcd",
        Role::Master => "master",
        Role::Worker => "worker",
    }
}

/// Whether the inventory tells kubeadm to ignore one of its checks.
fn is_ignored(inventory: &Inventory, check: &str) -> bool {
    inventory
        .kubeadm
        .ignore_preflight_errors
        .iter()
        .any(|ignored| ignored.eq_ignore_ascii_case(check) || ignored.eq_ignore_ascii_case("all"))
}

/// [`Severity::Refuse`], unless the inventory ignores kubeadm's check of that name.
fn unless_ignored(inventory: &Inventory, check: &str) -> Severity {
    if is_ignored(inventory, check) {
        Severity::Warn
    } else {
        Severity::Refuse
    }
}
