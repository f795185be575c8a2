//! What labs there are and how their hosts do.

use camino::Utf8PathBuf;
use serde::Serialize;

use super::error::LabError;
use super::network::{self, Cable};
use super::record::{Machine, Record};
use super::topology::{Host, LabName};

/// A host's condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostState {
    /// Booted, its cable in.
    Running,
    /// Booted, its cable out.
    Cut,
    /// Without power.
    Stopped,
}

/// A host of a lab as it is now.
#[derive(Debug, Clone, Serialize)]
pub struct HostStatus {
    /// The lab it belongs to.
    pub lab: LabName,
    /// The host itself.
    pub host: Host,
    /// Its condition.
    pub state: HostState,
    /// The pid of its `systemd-nspawn`.
    pub pid: Option<u32>,
    /// The network namespace it lives in.
    pub namespace: String,
    /// Where the lab's inventory is.
    pub inventory: Utf8PathBuf,
}

/// The hosts of one lab, or of all.
pub fn list(name: Option<&LabName>) -> Result<Vec<HostStatus>, LabError> {
    let names = name.map_or_else(Record::names, |name| vec![name.clone()]);
    let mut hosts = Vec::new();
    for name in names {
        let record = Record::must_load(&name)?;
        hosts.extend(
            record
                .machines
                .iter()
                .map(|machine| status(&record, machine)),
        );
    }
    Ok(hosts)
}

fn status(record: &Record, machine: &Machine) -> HostStatus {
    let process = machine.process.filter(|process| process.is_alive());
    let state = match (process, network::cable(&machine.host)) {
        (None, _) => HostState::Stopped,
        (Some(_), Cable::Pulled) => HostState::Cut,
        (Some(_), Cable::Plugged) => HostState::Running,
    };
    HostStatus {
        lab: record.name.clone(),
        host: machine.host.clone(),
        state,
        pid: process.map(|process| process.pid),
        namespace: network::namespace(&record.name, &machine.host.name),
        inventory: record.state_dir.join("inventory.yaml"),
    }
}
