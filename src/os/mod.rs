//! Operating systems: what differs between them, as data.
//!
//! A [`Family`] is a table of names and scripts; actions ask it and never match on a distribution. A further family is a
//! file with one `FAMILY` and a line in [`FAMILIES`].

mod debian;
mod redhat;

use camino::Utf8PathBuf;

use crate::action::{ActionError, Context};
use crate::host::command::Script;
use crate::host::facts::Machine;

/// The families that quorate knows.
pub const FAMILIES: &[&Family] = &[&debian::FAMILY, &redhat::FAMILY];

/// What one family of distributions does differently from the others.
#[derive(Debug)]
pub struct Family {
    /// For messages: `Debian`.
    pub name: &'static str,
    /// Values of `ID` and `ID_LIKE` in os-release that belong to it.
    pub ids: &'static [&'static str],
    /// Installs the packages `$1`…, waiting for whoever holds the package manager and repairing what an interrupted
    /// installation left.
    pub install: &'static str,
    /// Installs `$2`… at the release `$1` whatever the package revision, and holds them; the tools that they go with, too.
    pub install_release: &'static str,
    /// Reads again what the repository file `$1` lists, and nothing else.
    pub refresh: &'static str,
    /// Prints the repository files, ours among them, that list the repository `$1`.
    pub listings: &'static str,
    /// Prints the versions of kubeadm that the repository at the URL `$1` offers, one a line; changes nothing.
    pub offered: &'static str,
    /// Packages by their Debian name that are called otherwise here; `None`: part of every installation.
    pub renamed: &'static [(&'static str, Option<&'static str>)],
    /// How a release is kept from being upgraded by others.
    pub hold: Hold,
    /// How the repository of Kubernetes is described.
    pub repository: RepositoryFormat,
    /// How etcd comes onto hosts.
    pub etcd: EtcdFormat,
}

/// How etcd comes onto hosts.
#[derive(Debug)]
pub struct EtcdFormat {
    /// The packages of server and client.
    pub packages: &'static [&'static str],
    /// Installs `$2`… at the release `$1`, whatever the package revision, and holds them.
    pub install: &'static str,
    /// Prints `NAME VERSION` of whatever the host's repositories, and the mirror at the URL `$1` if that is not empty, offer
    /// of the packages `$3`…, with newer lists than the host's own if these do not know the release `$2`; changes nothing.
    pub offered: &'static str,
    /// The file that lists a mirror.
    pub file: &'static str,
    /// Where its public key is kept, ASCII-armoured.
    pub key: &'static str,
    /// The file's content, for the URL and the key's path.
    pub content: fn(url: &str, key: &str) -> String,
}

/// How a package is kept at its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// By a mark on the package, which a probe can read.
    Mark,
    /// By the repository's file, which excludes it from everybody else's installations.
    Repository,
}

/// How a repository is described to the package manager.
#[derive(Debug)]
pub struct RepositoryFormat {
    /// The file that lists it.
    pub file: &'static str,
    /// Where its public key is kept, ASCII-armoured.
    pub key: &'static str,
    /// The file's content, for the URL and the key's path.
    pub content: fn(url: &str, key: &str) -> String,
    /// The project's own repository, `{minor}` standing for `1.36`.
    pub upstream: &'static str,
    /// Where the key lies, relative to the repository.
    pub key_url: &'static str,
}

impl Family {
    /// The family of a machine: by its `ID`, else by the first of its `ID_LIKE` that is known.
    #[must_use]
    pub fn of(machine: &Machine) -> Option<&'static Self> {
        std::iter::once(&machine.os_id)
            .chain(&machine.os_like)
            .find_map(|id| {
                let known = |family: &&&Self| family.ids.contains(&id.as_str());
                FAMILIES.iter().find(known).copied()
            })
    }

    /// The family of the judged host.
    pub fn judged(cx: &Context<'_>) -> Result<&'static Self, ActionError> {
        let machine = cx.facts().machine()?;
        Self::of(machine).ok_or_else(|| unknown(&cx.node.name, machine))
    }

    /// What a package with this Debian name is called here, if it is a package here.
    #[must_use]
    pub fn package<'a>(&self, name: &'a str) -> Option<&'a str> {
        match self.renamed.iter().find(|(debian, _)| *debian == name) {
            Some((_, here)) => *here,
            None => Some(name),
        }
    }

    /// What the families call it, each name once: for probing a machine that was not read yet.
    #[must_use]
    pub fn names_anywhere(name: &str) -> Vec<&str> {
        let mut names: Vec<&str> = FAMILIES
            .iter()
            .filter_map(|family| family.package(name))
            .collect();
        names.dedup();
        names
    }

    /// Installs packages; as a job.
    #[must_use]
    pub fn install(&self, names: &[String]) -> Script {
        Script {
            arguments: names.to_vec(),
            ..Script::new("packages-install", self.install)
        }
    }

    /// Installs packages at a release and holds them; as a job.
    #[must_use]
    pub fn install_release(&self, release: &str, names: &[&str]) -> Script {
        let script = Script::new("kubernetes-packages-install", self.install_release).arg(release);
        names.iter().fold(script, |script, name| script.arg(*name))
    }

    /// Installs etcd at a release and holds it; as a job.
    #[must_use]
    pub fn install_etcd(&self, release: &str) -> Script {
        let script = Script::new("etcd-packages-install", self.etcd.install).arg(release);
        let names = self.etcd.packages.iter();
        names.fold(script, |script, name| script.arg(*name))
    }

    /// Prints `NAME VERSION` of etcd's packages that the host's repositories, and a mirror, offer: a probe.
    #[must_use]
    pub fn offered_etcd(&self, mirror: Option<&str>, release: &str) -> Script {
        let script = Script::new("etcd-releases-offered", self.etcd.offered)
            .arg(mirror.unwrap_or_default())
            .arg(release);
        let names = self.etcd.packages.iter();
        names.fold(script, |script, name| script.arg(*name))
    }

    /// Reads the package lists of our Kubernetes repository again; as a job.
    #[must_use]
    pub fn refresh(&self) -> Script {
        Script::new("kubernetes-repository-refresh", self.refresh).arg(self.repository.file)
    }

    /// Prints which files list that repository, one a line: a probe.
    #[must_use]
    pub fn listings(&self, url: &str) -> Script {
        Script::new("kubernetes-repository-listings", self.listings).arg(url)
    }

    /// Prints the versions of kubeadm that a repository offers, one a line: a probe.
    #[must_use]
    pub fn offered(&self, url: &str) -> Script {
        Script::new("kubernetes-releases-offered", self.offered).arg(url)
    }

    /// The file that lists the Kubernetes repository.
    #[must_use]
    pub fn repository_file(&self) -> Utf8PathBuf {
        self.repository.file.into()
    }
}

fn unknown(host: &str, machine: &Machine) -> ActionError {
    let name = match machine.os_name.as_str() {
        "" => &machine.os_id,
        name => name,
    };
    let known: Vec<&str> = FAMILIES.iter().map(|family| family.name).collect();
    ActionError::Unsafe {
        why: format!(
            "{host} runs `{}`, which quorate does not know",
            crate::text::escape(name)
        ),
        help: format!("use a distribution of these families: {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::probe::Readings;
    use crate::testing::{World, debian, rocky};

    #[test]
    fn a_family_is_found_by_id_or_likeness() {
        let raspbian = Machine {
            os_id: "raspbian".to_owned(),
            os_like: vec!["debian".to_owned()],
            ..Machine::default()
        };
        let names = [debian(), raspbian, rocky(), Machine::default()]
            .map(|machine| Family::of(&machine).map(|family| family.name));
        assert_eq!(
            names,
            [Some("Debian"), Some("Debian"), Some("Red Hat"), None]
        );
    }

    #[test]
    fn an_unknown_system_is_refused_with_the_known_ones() {
        let arch = Machine {
            os_id: "arch".to_owned(),
            os_name: "Arch Linux".to_owned(),
            ..Machine::default()
        };
        let world = World::new("lb1").reading(Readings::default().with_machine(arch));
        let error = Family::judged(&world.cx()).expect_err("arch is unknown");
        assert_eq!(
            error.to_string(),
            "lb1 runs `Arch Linux`, which quorate does not know"
        );
        let help = error.help().expect("it has a help");
        assert_eq!(
            help,
            "use a distribution of these families: Debian, Red Hat"
        );
    }

    #[test]
    fn scripts_are_posix_shell() {
        for family in FAMILIES {
            for body in [
                family.install,
                family.install_release,
                family.etcd.install,
                family.etcd.offered,
                family.refresh,
                family.listings,
                family.offered,
            ] {
                let checked = std::process::Command::new("sh")
                    .args(["-n", "-c", body])
                    .output()
                    .expect("there is a shell");
                assert!(checked.status.success(), "{body}: {checked:?}");
            }
        }
    }
}
