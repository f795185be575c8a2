//! Removing a lab: all that carries its name on this computer, whether a record knows of it or not.

use std::fmt;

use fs_err as fs;

use super::cgroup::Cgroup;
use super::error::LabError;
use super::record::{self, Record};
use super::topology::LabName;
use super::{disk, network};

/// Removes all that a lab of that name has on this computer, recorded or not.
pub(super) fn clear(name: &LabName) -> Result<Cleared, LabError> {
    let mut cleared = Cleared::default();
    if let Ok(Some(record)) = Record::load(name) {
        record
            .machines
            .iter()
            .filter_map(|machine| machine.process)
            .for_each(record::kill);
        record
            .services
            .iter()
            .for_each(|service| record::kill(service.process));
    }
    for cgroup in Cgroup::left_by(name) {
        cleared.processes += cgroup.destroy()?;
    }
    let disks = disk::disks(name);
    cleared.mounts = disk::unmount_below(&disks)?;
    cleared.network = network::clear(name)?;
    for directory in [disks, Record::directory(name)] {
        if directory.exists() {
            fs::remove_dir_all(&directory).map_err(LabError::file("remove", &directory))?;
            cleared.directories += 1;
        }
    }
    Ok(cleared)
}

/// How much of a lab there was.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Cleared {
    processes: usize,
    mounts: usize,
    network: network::Cleared,
    directories: usize,
}

impl fmt::Display for Cleared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [
            (self.processes, "processes"),
            (self.mounts, "mounts"),
            (self.network.namespaces, "namespaces"),
            (self.network.links, "interfaces"),
            (self.network.rules, "firewall rules"),
            (self.directories, "directories"),
        ];
        let words: Vec<String> = counts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        f.write_str(if words.is_empty() {
            "nothing, there was nothing"
        } else {
            ""
        })?;
        f.write_str(&words.join(", "))
    }
}
