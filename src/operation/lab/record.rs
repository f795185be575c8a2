//! What is written down about a lab while it runs, and who may touch it.
//!
//! `/run/quorate-lab/<lab>/lab.json` says which hosts a lab has and which processes carry it; a process counts only
//! if it still has the start time that was written down, so that a reused pid is never taken for ours. A reboot of the
//! computer clears `/run`, and with it the labs.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::process::{self, Child};

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt;
use serde::{Deserialize, Serialize};

use super::error::LabError;
use super::tool;
use super::topology::{Host, LabName, Subnet, Topology};

const RUN: &str = "/run/quorate-lab";

/// A process that is told from a later one with the same pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Process {
    /// Its pid.
    pub(super) pid: u32,
    /// Its start time in clock ticks since the computer's boot.
    pub(super) started: u64,
}

impl Process {
    /// The living process of that pid.
    pub(super) fn find(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let started = start_time(&stat)?;
        Some(Self { pid, started })
    }

    /// A child of ours. One that ended already is recorded as never alive.
    pub(super) fn of(child: &Child) -> Self {
        let pid = child.id();
        Self::find(pid).unwrap_or(Self { pid, started: 0 })
    }

    /// Whether it still runs.
    pub(super) fn is_alive(self) -> bool {
        Self::find(self.pid) == Some(self)
    }
}

/// Field 22 of `/proc/PID/stat`; zombies have none. The second field may hold spaces and parentheses.
fn start_time(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    if fields.first() == Some(&"Z") {
        return None;
    }
    fields.get(19)?.parse().ok()
}

/// How far the lab got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Phase {
    /// `up` is at work, or died at it.
    Starting,
    /// `up` finished.
    Ready,
}

/// Everything there is to know about a lab on this computer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    /// Version of this format.
    pub(super) format: u32,
    /// The lab's name.
    pub(super) name: LabName,
    /// Its network.
    pub(super) subnet: Subnet,
    /// Where its inventory, key and known hosts are.
    pub(super) state_dir: Utf8PathBuf,
    /// How far it got.
    pub(super) phase: Phase,
    /// What it consists of.
    pub(super) topology: Topology,
    /// The root file system that its hosts lie on.
    pub(super) base: Utf8PathBuf,
    /// Its hosts and the `systemd-nspawn` of each that was booted.
    pub(super) machines: Vec<Machine>,
    /// The package repository and the registry.
    pub(super) services: Vec<Service>,
}

/// A host and what carries it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Machine {
    /// The host.
    pub(super) host: Host,
    /// Its supervisor, once booted.
    pub(super) process: Option<Process>,
}

/// A shared service on the bridge.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Service {
    /// `packages` or `registry`.
    pub(super) name: String,
    /// Its process.
    pub(super) process: Process,
}

impl Record {
    /// The directory of a lab's run-time files.
    pub(super) fn directory(name: &LabName) -> Utf8PathBuf {
        Utf8Path::new(RUN).join(name.as_str())
    }

    /// Reads a lab's record, if there is one.
    pub(super) fn load(name: &LabName) -> Result<Option<Self>, LabError> {
        let path = Self::directory(name).join("lab.json");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(LabError::file("read", &path)(error)),
        };
        serde_json::from_str(&text)
            .map(Some)
            .map_err(|source| LabError::Record { path, source })
    }

    /// Reads a lab's record, which must be there.
    pub(super) fn must_load(name: &LabName) -> Result<Self, LabError> {
        Self::load(name)?.ok_or_else(|| LabError::NoLab {
            name: name.to_string(),
        })
    }

    /// Writes it down, replacing the old one in one step.
    pub(super) fn save(&self) -> Result<(), LabError> {
        let path = Self::directory(&self.name).join("lab.json");
        let text = serde_json::to_string_pretty(self).expect("a record has string keys only");
        write_private(&path, &text)
    }

    /// The names of all labs with a record.
    pub(super) fn names() -> Vec<LabName> {
        let mut names: Vec<LabName> = Utf8Path::new(RUN)
            .read_dir_utf8()
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.path().join("lab.json").exists())
            .filter_map(|entry| entry.file_name().parse().ok())
            .collect();
        names.sort();
        names
    }

    /// The machine of that name.
    pub(super) fn machine(&mut self, host: &str) -> Result<&mut Machine, LabError> {
        let known: Vec<String> = self
            .machines
            .iter()
            .map(|machine| machine.host.name.clone())
            .collect();
        let lab = self.name.to_string();
        self.machines
            .iter_mut()
            .find(|machine| machine.host.name == host)
            .ok_or_else(|| LabError::NoHost {
                lab,
                host: host.to_owned(),
                known: known.join(", "),
            })
    }
}

/// Writes a file that only its owner may read, replacing an old one in one step.
pub(super) fn write_private(path: &Utf8Path, text: &str) -> Result<(), LabError> {
    let next = Utf8PathBuf::from(format!("{path}.{}.next", process::id()));
    let written = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&next)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| fs::rename(&next, path));
    written.map_err(LabError::file("write", path))
}

/// A lock that dies with its holder and says who that is.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// The lock of one lab: whoever holds it may change it. Refuses at once when somebody else does.
    pub(super) fn lab(name: &LabName) -> Result<Self, LabError> {
        let path = Utf8Path::new(RUN).join(format!("{name}.lock"));
        let (mut file, path) = open_lock(path)?;
        match file.try_lock() {
            Ok(()) => hold(file, &path),
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let _ = file.read_to_string(&mut pid);
                Err(LabError::Busy {
                    name: name.to_string(),
                    pid: pid.trim().to_owned(),
                })
            }
            Err(TryLockError::Error(error)) => Err(LabError::file("lock", &path)(error)),
        }
    }

    /// A lock that others hold for moments only, or for one build: waits for it.
    pub(super) fn wait(path: Utf8PathBuf) -> Result<Self, LabError> {
        let (file, path) = open_lock(path)?;
        file.lock().map_err(LabError::file("lock", &path))?;
        hold(file, &path)
    }

    /// The lock under which labs choose their subnets.
    pub(super) fn subnets() -> Result<Self, LabError> {
        Self::wait(Utf8Path::new(RUN).join("subnets.lock"))
    }
}

fn open_lock(path: Utf8PathBuf) -> Result<(File, Utf8PathBuf), LabError> {
    let parent = path.parent().unwrap_or(Utf8Path::new("/"));
    fs::create_dir_all(parent).map_err(LabError::file("create", parent))?;
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path);
    Ok((file.map_err(LabError::file("open", &path))?, path))
}

fn hold(mut file: File, path: &Utf8Path) -> Result<Lock, LabError> {
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", process::id()))
        .map_err(LabError::file("write", path))?;
    Ok(Lock { _file: file })
}

/// Kills a recorded process, if it is still the one that was recorded.
pub(super) fn kill(process: Process) {
    if process.is_alive() {
        tool::succeeds("kill", &["-KILL", &process.pid.to_string()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_its_own_process_from_a_later_one_with_the_same_pid() {
        let me = Process::find(process::id()).expect("this process runs");
        assert!(me.is_alive());
        assert!(
            !Process {
                started: me.started + 1,
                ..me
            }
            .is_alive()
        );
    }

    #[test]
    fn reads_the_start_time_behind_a_name_with_parentheses() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4242 0 0";
        assert_eq!(start_time(stat), Some(4242));
        assert_eq!(start_time(&stat.replace(" S ", " Z ")), None);
    }

    #[test]
    fn reads_the_first_format_of_the_record() {
        let oldest = r#"{"format":1,"name":"lab","subnet":3,"state_dir":"/x/.lab","phase":"ready",
            "topology":{"lbs":0,"masters":1,"workers":0},"base":"/cache/rootfs/root",
            "machines":[{"host":{"name":"master1","role":"master","address":"10.77.3.101","interface":"qr3v0"},
                         "process":{"pid":7,"started":9}}],
            "services":[{"name":"registry","process":{"pid":8,"started":10}}]}"#;
        let record: Record = serde_json::from_str(oldest).expect("the first format is still read");
        assert_eq!(
            record.machines.first().expect("one machine").process,
            Some(Process { pid: 7, started: 9 })
        );
    }
}
