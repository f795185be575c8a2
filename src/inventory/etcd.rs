//! Where etcd runs, as a choice of two, and what follows from it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Serialize, Serializer};

use super::version::KubeVersion;
use super::{Inventory, Node, Role};

/// Where etcd runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "topology")]
pub enum EtcdTopology {
    /// On every master, as a static pod that kubeadm makes.
    Stacked,
    /// A cluster of its own, run by systemd.
    External(ExternalEtcd),
}

impl EtcdTopology {
    /// The cluster of its own, if there is one.
    #[must_use]
    pub fn external(&self) -> Option<&ExternalEtcd> {
        match self {
            Self::Stacked => None,
            Self::External(external) => Some(external),
        }
    }
}

/// An etcd cluster run by systemd. Its members are the nodes with a [seat](Node::etcd).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct ExternalEtcd {
    /// The version that every member shall run.
    pub version: EtcdVersion,
    /// Where it comes from.
    pub packages: EtcdPackages,
    /// Where members keep their data; never where `kubeadm reset` empties.
    pub data_directory: Utf8PathBuf,
    /// How large the database may grow, bytes.
    pub quota: u64,
    /// When it forgets old revisions by itself.
    pub compaction: Compaction,
    /// Changes between two snapshots of Raft's log.
    pub snapshot_count: u32,
    /// Further settings of the configuration file, equal on all members.
    pub extra: BTreeMap<String, String>,
}

impl ExternalEtcd {
    /// Where a member's data is: once it has started there is something.
    #[must_use]
    pub fn member_directory(&self) -> Utf8PathBuf {
        self.data_directory.join("member")
    }
}

/// A host's place in an external etcd cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct EtcdSeat {
    /// The address for the traffic between members; the node's own unless the inventory has another.
    pub peer_address: Ipv4Addr,
}

/// A member as it must exist in the end, in either topology.
#[derive(Debug, Clone, Copy)]
pub struct EtcdPlace<'a> {
    /// Its host.
    pub node: &'a Node,
    /// Where the other members reach it.
    pub peer_address: Ipv4Addr,
}

impl EtcdPlace<'_> {
    /// Where clients reach it.
    #[must_use]
    pub fn client_url(&self) -> String {
        format!("https://{}:{CLIENT_PORT}", self.node.address)
    }

    /// Where the other members reach it.
    #[must_use]
    pub fn peer_url(&self) -> String {
        format!("https://{}:{PEER_PORT}", self.peer_address)
    }
}

/// The port for clients.
pub const CLIENT_PORT: u16 = 2379;

/// The port for the other members.
pub const PEER_PORT: u16 = 2380;

impl Inventory {
    /// Whether a host runs a member of etcd, stacked or external.
    #[must_use]
    pub fn runs_etcd(&self, node: &Node) -> bool {
        match self.etcd {
            EtcdTopology::Stacked => node.role == Role::Master,
            EtcdTopology::External(_) => node.etcd.is_some(),
        }
    }

    /// Where members keep their data.
    #[must_use]
    pub fn etcd_data_directory(&self) -> &Utf8Path {
        match &self.etcd {
            EtcdTopology::Stacked => Utf8Path::new("/var/lib/etcd"),
            EtcdTopology::External(external) => &external.data_directory,
        }
    }

    /// How large etcd's database may grow, bytes; `None`: what etcd takes by itself.
    #[must_use]
    pub fn etcd_quota(&self) -> Option<u64> {
        match &self.etcd {
            EtcdTopology::Stacked => self.kubeadm.etcd.get("quota-backend-bytes")?.parse().ok(),
            EtcdTopology::External(external) => Some(external.quota),
        }
    }

    /// The members that etcd must have in the end, in the order of the file.
    #[must_use]
    pub fn etcd_places(&self) -> Vec<EtcdPlace<'_>> {
        let place = |node, peer_address| EtcdPlace { node, peer_address };
        match self.etcd {
            EtcdTopology::Stacked => self
                .with_role(Role::Master)
                .map(|node| place(node, node.address))
                .collect(),
            EtcdTopology::External(_) => self
                .nodes
                .iter()
                .filter_map(|node| Some(place(node, node.etcd?.peer_address)))
                .collect(),
        }
    }
}

/// Where etcd comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "source")]
pub enum EtcdPackages {
    /// The hosts' own repositories.
    Distribution,
    /// A repository of one's own, in the format of the hosts' package manager.
    Mirror {
        /// Repository URL.
        url: String,
        /// ASCII-armoured public key, its content.
        key: String,
    },
    /// etcd and etcdctl are on the hosts already: verify only.
    Preinstalled,
}

/// When etcd forgets old revisions by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "mode", content = "retention")]
pub enum Compaction {
    /// Never.
    None,
    /// Those older than this, `8h`.
    Periodic(String),
    /// All but this many.
    Revision(u32),
}

/// A released etcd version, `3.5.24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EtcdVersion {
    /// The `3` of 3.5.24.
    pub major: u16,
    /// The `5` of 3.5.24.
    pub minor: u16,
    /// The `24` of 3.5.24.
    pub patch: u16,
}

impl EtcdVersion {
    /// The oldest that quorate runs: before it there are no learners.
    pub const OLDEST: Self = Self::new(3, 4, 0);

    const fn new(major: u16, minor: u16, patch: u16) -> Self {
        Self {
            major,
            minor,
            patch,
        }
    }

    /// The oldest that this Kubernetes works with: kubeadm's `MinExternalEtcdVersion` of the first release of its minor. Later
    /// patches of a minor may want more, which kubeadm's preflight says.
    #[must_use]
    pub fn oldest_for(kubernetes: KubeVersion) -> Self {
        match kubernetes.minor {
            ..=27 => Self::OLDEST,
            28..=30 => Self::new(3, 4, 13),
            31..=35 => Self::new(3, 5, 11),
            36.. => Self::new(3, 5, 24),
        }
    }

    /// Whether that Kubernetes, or where none is known quorate, works with it.
    ///
    /// # Errors
    /// It does not; why.
    pub fn accepted_by(self, kubernetes: Option<KubeVersion>) -> Result<(), NotAccepted> {
        let oldest = kubernetes.map_or(Self::OLDEST, Self::oldest_for);
        if self < oldest {
            return Err(NotAccepted::TooOld {
                whose: kubernetes.map_or("quorate".to_owned(), |it| format!("Kubernetes {it}")),
                version: self,
                oldest,
            });
        }
        if self.major != 3 {
            return Err(NotAccepted::Unspoken { version: self });
        }
        Ok(())
    }

    /// The oldest version that members may have before one of this minor of etcd 3 comes among them. Earlier ones could bring
    /// removed members back (3.6), or are not read by it (3.7): etcd's own guides for these upgrades.
    #[must_use]
    pub fn least_before(minor: u16) -> Option<Self> {
        match minor {
            6 => Some(Self::new(3, 5, 26)),
            7 => Some(Self::new(3, 6, 11)),
            _ => None,
        }
    }

    /// The version that a member says, or of a package, whatever its epoch and revision.
    #[must_use]
    pub fn find(text: &str) -> Option<Self> {
        let plain = text.split_once(':').map_or(text, |(_, plain)| plain);
        plain.split(['-', '+', '~']).next()?.parse().ok()
    }

    /// `3.5`.
    #[must_use]
    pub fn minor_text(self) -> String {
        format!("{}.{}", self.major, self.minor)
    }
}

/// A version of etcd that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAccepted {
    /// It is older than what is worked with.
    #[error("{whose} does not accept etcd {version}")]
    TooOld {
        /// Who does not.
        whose: String,
        /// The version.
        version: EtcdVersion,
        /// The oldest that would be.
        oldest: EtcdVersion,
    },
    /// It speaks another protocol.
    #[error("no Kubernetes speaks to etcd {version}")]
    Unspoken {
        /// The version.
        version: EtcdVersion,
    },
}

impl fmt::Display for EtcdVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// Text that is not `X.Y.Z`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a version of the form 3.5.24")]
pub struct NotAnEtcdVersion(pub String);

impl FromStr for EtcdVersion {
    type Err = NotAnEtcdVersion;

    fn from_str(text: &str) -> Result<Self, NotAnEtcdVersion> {
        let wrong = || NotAnEtcdVersion(text.to_owned());
        let mut parts = text.split('.');
        let mut number = || {
            let part = parts.next().ok_or_else(wrong)?;
            let number: u16 = part.parse().map_err(|_| wrong())?;
            if number.to_string() == part {
                Ok(number)
            } else {
                Err(wrong())
            }
        };
        let version = Self::new(number()?, number()?, number()?);
        if parts.next().is_some() {
            return Err(wrong());
        }
        Ok(version)
    }
}

impl Serialize for EtcdVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Whether `kubeadm reset` would empty or delete a directory on a master: it takes these and what is in them.
#[must_use]
pub fn is_emptied_by_reset(directory: &Utf8Path) -> bool {
    const EMPTIED: [&str; 5] = [
        "/var/lib/etcd",
        "/var/lib/kubelet",
        "/var/lib/cni",
        "/var/run/kubernetes",
        "/etc/kubernetes",
    ];
    let both_ways = |emptied: &str| {
        directory.starts_with(emptied) || Utf8Path::new(emptied).starts_with(directory)
    };
    EMPTIED.into_iter().any(both_ways)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_etcd_writes_them() {
        let version: Result<EtcdVersion, _> = "3.5.24".parse();
        assert_eq!(
            version.map(|version| version.to_string()),
            Ok("3.5.24".to_owned())
        );
        for wrong in ["v3.5.24", "3.5", "3.5.24.1", "3.05.1", "3.5.x", ""] {
            assert!(wrong.parse::<EtcdVersion>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn versions_are_found_in_what_members_and_packages_say() {
        let found = |text| EtcdVersion::find(text).map(|version| version.to_string());
        for text in ["3.4.23", "3.4.23-4+b4", "1:3.4.23+dfsg-1", "3.4.23~rc1"] {
            assert_eq!(found(text).as_deref(), Some("3.4.23"), "{text}");
        }
        for text in ["", "3.4", "v3.4.23", "not known"] {
            assert_eq!(found(text), None, "{text}");
        }
    }

    #[test]
    fn reset_reaches_into_its_directories_and_above_them() {
        let cases = [
            ("/var/lib/etcd", true),
            ("/var/lib/etcd/data", true),
            ("/var/lib", true),
            ("/etc/kubernetes/etcd", true),
            ("/var/lib/etcd-external", false),
            ("/data/etcd", false),
        ];
        for (directory, expected) in cases {
            assert_eq!(
                is_emptied_by_reset(directory.into()),
                expected,
                "{directory}"
            );
        }
    }
}
