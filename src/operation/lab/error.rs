//! What can go wrong in the lab.

use std::io;

use camino::{Utf8Path, Utf8PathBuf};

/// The lab could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The computer cannot carry a lab at all.
    #[error("this computer cannot run the lab: {reason}")]
    Unfit {
        /// What is missing.
        reason: String,
    },
    /// A name that cannot become part of an interface, a path and a cgroup.
    #[error(
        "`{name}` is no name for a lab: a lower-case letter, then up to 19 letters, digits and hyphens"
    )]
    Name {
        /// What was given.
        name: String,
    },
    /// More hosts than the address plan has room for, or none.
    #[error("the lab has room for 1 to {most} {role}, not {asked}")]
    Topology {
        /// `load balancers`, `masters`, `workers`.
        role: &'static str,
        /// Largest count.
        most: u8,
        /// What was asked for.
        asked: u8,
    },
    /// No lab of that name on this computer.
    #[error("there is no lab named `{name}` on this computer")]
    NoLab {
        /// Its name.
        name: String,
    },
    /// No host of that name in the lab.
    #[error("lab `{lab}` has no host `{host}`; its hosts are {known}")]
    NoHost {
        /// The lab.
        lab: String,
        /// The name that was given.
        host: String,
        /// The names that exist.
        known: String,
    },
    /// A host without power has no cable.
    #[error("{host} of lab `{lab}` has no power, so nothing is plugged in")]
    NoPower {
        /// The lab.
        lab: String,
        /// The host.
        host: String,
    },
    /// Somebody else is at work on this lab.
    #[error("lab `{name}` is being started or stopped by process {pid}")]
    Busy {
        /// Its name.
        name: String,
        /// Who holds it.
        pid: String,
    },
    /// A living lab of that name belongs to another directory.
    #[error("lab `{name}` is running already, from {state_dir}")]
    Elsewhere {
        /// Its name.
        name: String,
        /// The directory that it was started with.
        state_dir: Utf8PathBuf,
    },
    /// A living lab of that name has other hosts.
    #[error("lab `{name}` is running already, with other hosts: {hosts}")]
    OtherHosts {
        /// Its name.
        name: String,
        /// The hosts it has.
        hosts: String,
    },
    /// All 256 subnets are taken.
    #[error(
        "no free subnet: each of 10.77.0.0/24 to 10.77.255.0/24 belongs to a lab or a route of this computer"
    )]
    NoSubnet,
    /// A tool of the computer failed.
    #[error("failed to {what}: `{command}` said: {said}")]
    Tool {
        /// What it was for.
        what: String,
        /// The command line.
        command: String,
        /// Its last output, or why it did not start.
        said: String,
    },
    /// A recipe of `vagrant/lab` failed.
    #[error("the recipe `{recipe}` failed: {said}")]
    Recipe {
        /// File name.
        recipe: String,
        /// How it ended.
        said: String,
    },
    /// A wait ended at its deadline.
    #[error("{what} not within {seconds} s; last seen: {last}")]
    Late {
        /// What was waited for.
        what: String,
        /// The deadline.
        seconds: u64,
        /// The last observation.
        last: String,
    },
    /// A file could not be read or written.
    #[error("failed to {what}")]
    File {
        /// What was tried, with the path.
        what: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A record of an earlier lab cannot be understood.
    #[error("failed to read the lab's record {path}")]
    Record {
        /// The file.
        path: Utf8PathBuf,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
}

impl LabError {
    /// The next command to try, where there is one.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Unfit { .. } => {
                Some("run it as root on a Debian 12 computer, or use vagrant/Vagrantfile for virtual machines".into())
            }
            Self::NoLab { .. } => Some("quorate lab up".into()),
            Self::NoHost { lab, .. } => Some(format!("quorate lab list --name {lab}")),
            Self::NoPower { lab, host } => Some(format!("quorate lab boot --name {lab} {host}")),
            Self::Busy { pid, .. } => Some(format!("wait for it, or look at it: ps -fp {pid}")),
            Self::Elsewhere { name, .. } | Self::OtherHosts { name, .. } => Some(format!(
                "quorate lab down --name {name}, or start another one: quorate lab up --name {name}-2"
            )),
            Self::NoSubnet => Some("quorate lab list".into()),
            Self::Late { .. } => Some("see the console logs under /run/quorate-lab, then: quorate lab up".into()),
            Self::Record { path, .. } => {
                let lab = path.parent().and_then(Utf8Path::file_name).unwrap_or("lab");
                Some(format!("quorate lab down --name {lab}"))
            }
            Self::Name { .. }
            | Self::Topology { .. }
            | Self::Tool { .. }
            | Self::Recipe { .. }
            | Self::File { .. } => None,
        }
    }

    /// Wraps an I/O error with what was tried: `"write"` and the path.
    pub(super) fn file(verb: &str, path: impl AsRef<Utf8Path>) -> impl FnOnce(io::Error) -> Self {
        let what = format!("{verb} {}", path.as_ref());
        move |source| Self::File { what, source }
    }
}
