//! Probes: what is read from a host, all of it in one script and one round trip.
//!
//! A probe names a fact; a [`Readings`] holds the answers. Probes are typed rather than shell fragments so that the reader
//! can ask `stat`, `dpkg-query` and `systemctl` once for all of them (a probe costs bytes, not processes), so that equal
//! probes of different tasks are one, and so that a simulated host can answer from its model.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use super::command::{Script, Status};

/// One thing to read. Reading changes nothing on the host.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Probe {
    /// The host itself: see [`Machine`](super::facts::Machine).
    Machine,
    /// A file's owner, mode, time and whole content (at most 1 MiB, else its digest only).
    File(Utf8PathBuf),
    /// A file's owner, mode, time and digest: for secrets and for what is large.
    Digest(Utf8PathBuf),
    /// An installed package.
    Package(String),
    /// A systemd unit.
    Unit(String),
    /// A sysctl by its dotted name.
    Sysctl(String),
    /// Anything else: a read-only script; its standard output and status are the reading.
    Script(Script),
}

impl Probe {
    /// What it is ordered by: kind and name. A path counts as text: part by part, as paths compare, the probes of a thousand
    /// hosts cost a twentieth of a run that changes nothing.
    fn key(&self) -> (u8, &str, Option<&Script>) {
        match self {
            Self::Machine => (0, "", None),
            Self::File(path) => (1, path.as_str(), None),
            Self::Digest(path) => (2, path.as_str(), None),
            Self::Package(name) => (3, name, None),
            Self::Unit(name) => (4, name, None),
            Self::Sysctl(name) => (5, name, None),
            Self::Script(script) => (6, script.name, Some(script)),
        }
    }
}

impl Ord for Probe {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for Probe {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The answers to a set of probes of one host.
#[derive(Debug, Clone, Default)]
pub struct Readings {
    pub(crate) machine: Option<super::facts::Machine>,
    /// By path, as text: see [`Probe`]'s order.
    pub(crate) files: BTreeMap<String, FileReading>,
    pub(crate) packages: BTreeMap<String, PackageReading>,
    pub(crate) units: BTreeMap<String, UnitReading>,
    pub(crate) sysctls: BTreeMap<String, Option<String>>,
    pub(crate) scripts: BTreeMap<Script, ScriptReading>,
}

/// A file or directory on the host, if it is there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum FileReading {
    /// There is nothing of that name.
    #[default]
    Absent,
    /// There is.
    Present(FileState),
}

/// What was read of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileState {
    /// Permission bits, `0o644`.
    pub mode: u32,
    /// Owner's name.
    pub owner: String,
    /// Group's name.
    pub group: String,
    /// Size in bytes.
    pub size: u64,
    /// Last modification, microseconds since the epoch by the host's clock.
    pub modified_us: u64,
    /// What kind of thing and, for a file, what is in it.
    pub content: FileContent,
}

/// What is in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileContent {
    /// A directory.
    Directory,
    /// A regular file's bytes; what many hosts hold is kept once.
    Bytes(Arc<[u8]>),
    /// A regular file's SHA-256, lower-case hex.
    Sha256(String),
    /// A link, socket or device.
    Other,
}

/// A package as the package manager knows it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PackageReading {
    /// Installed version, if it is installed completely.
    pub version: Option<String>,
    /// Whether it is held (pinned against upgrades).
    pub held: bool,
}

/// A systemd unit.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct UnitReading {
    /// Whether systemd knows a unit file of that name.
    pub exists: bool,
    /// `ActiveState=active`.
    pub active: bool,
    /// `UnitFileState` is `enabled`, `static`, `alias` or `generated`.
    pub enabled: bool,
    /// `ActiveState` and `SubState` as systemd says them, for messages: `failed/failed`.
    pub state: String,
    /// Last change of its state (start, restart and reload all count), microseconds since the epoch by the host's clock.
    pub changed_us: u64,
}

/// What a script printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptReading {
    /// How it ended.
    pub status: Status,
    /// Its standard output.
    pub stdout: String,
}

impl ScriptReading {
    /// Its output, if it returned 0.
    #[must_use]
    pub fn success(&self) -> Option<&str> {
        (self.status == Status::Code(0)).then_some(self.stdout.as_str())
    }
}

/// A fact was asked for that no probe had asked for: a bug in an action, not in the world.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` was judged without having been probed")]
pub struct NotProbed(pub String);

impl Readings {
    /// The host itself.
    pub fn machine(&self) -> Result<&super::facts::Machine, NotProbed> {
        self.machine
            .as_ref()
            .ok_or_else(|| NotProbed("machine".to_owned()))
    }

    /// A file, by whichever of the two file probes.
    pub fn file(&self, path: &Utf8Path) -> Result<&FileReading, NotProbed> {
        self.files
            .get(path.as_str())
            .ok_or_else(|| NotProbed(path.to_string()))
    }

    /// A package.
    pub fn package(&self, name: &str) -> Result<&PackageReading, NotProbed> {
        self.packages
            .get(name)
            .ok_or_else(|| NotProbed(name.to_owned()))
    }

    /// A unit.
    pub fn unit(&self, name: &str) -> Result<&UnitReading, NotProbed> {
        self.units
            .get(name)
            .ok_or_else(|| NotProbed(name.to_owned()))
    }

    /// A sysctl's value; `None`: this kernel has none of that name.
    pub fn sysctl(&self, name: &str) -> Result<Option<&str>, NotProbed> {
        self.sysctls
            .get(name)
            .map(Option::as_deref)
            .ok_or_else(|| NotProbed(name.to_owned()))
    }

    /// A script's reading.
    pub fn script(&self, script: &Script) -> Result<&ScriptReading, NotProbed> {
        self.scripts
            .get(script)
            .ok_or_else(|| NotProbed(script.name.to_owned()))
    }

    /// The bytes of the files whose content was read.
    pub(crate) fn contents_mut(&mut self) -> impl Iterator<Item = (&String, &mut Arc<[u8]>)> {
        self.files.iter_mut().filter_map(|(path, file)| match file {
            FileReading::Present(FileState {
                content: FileContent::Bytes(bytes),
                ..
            }) => Some((path, bytes)),
            FileReading::Present(_) | FileReading::Absent => None,
        })
    }

    /// Takes newer readings over these.
    pub fn update(&mut self, newer: Self) {
        if newer.machine.is_some() {
            self.machine = newer.machine;
        }
        for (path, file) in newer.files {
            let file = match self.files.remove(&path) {
                Some(older) => file.with_content_of(older),
                None => file,
            };
            self.files.insert(path, file);
        }
        self.packages.extend(newer.packages);
        self.units.extend(newer.units);
        self.sysctls.extend(newer.sysctls);
        self.scripts.extend(newer.scripts);
    }
}

impl FileState {
    /// A regular file's SHA-256, lower-case hex, by whichever of the two file probes it was read.
    #[must_use]
    pub fn sha256(&self) -> Option<String> {
        match &self.content {
            FileContent::Bytes(bytes) => Some(crate::text::sha256(bytes)),
            FileContent::Sha256(digest) => Some(digest.clone()),
            FileContent::Directory | FileContent::Other => None,
        }
    }
}

impl FileReading {
    /// This newer reading with the bytes of an older one, if this has only their digest: whoever asked for the content must
    /// not lose it because somebody else asked for the digest later.
    fn with_content_of(mut self, older: Self) -> Self {
        if let (Self::Present(newer), Self::Present(older)) = (&mut self, older)
            && matches!(newer.content, FileContent::Sha256(_))
            && matches!(older.content, FileContent::Bytes(_))
            && newer.sha256() == older.sha256()
        {
            newer.content = older.content;
        }
        self
    }

    /// The file, if it is there.
    #[must_use]
    pub fn present(&self) -> Option<&FileState> {
        match self {
            Self::Absent => None,
            Self::Present(state) => Some(state),
        }
    }

    /// The file's text, if it is there and was read whole.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self.present().map(|state| &state.content) {
            Some(FileContent::Bytes(bytes)) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }
}
