//! The inventory: what the machines are and what the cluster should be.
//!
//! [`Inventory::load`] reads one YAML file, applies the defaults, checks every rule and returns either the resolved whole
//! or *all* errors at once, each with its place in the file. Everything behind this module works with [`Inventory`]: plain
//! data, no YAML, no spans, no `Option` where a default exists.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use camino::Utf8PathBuf;
use ipnetwork::Ipv4Network;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::secret::SecretSource;

pub mod etcd;
mod etcd_spec;
mod hosts_spec;
mod load;
mod range;
mod resolve;
mod rules;
pub mod select;
mod spec;
mod ssh_spec;
pub mod version;

pub use crate::input::{InputErrors, Warning};
pub use etcd::{EtcdSeat, EtcdTopology, ExternalEtcd};
pub use load::{Loaded, json_schema};
use version::KubeVersion;

/// A validated cluster description with every default applied.
///
/// It serialises into the variables that templates see (`inventory.…`); secrets are only named here by their source.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct Inventory {
    /// The file it was read from; relative paths in it are already resolved against its directory.
    pub path: Utf8PathBuf,
    /// The cluster's name: a DNS-1123 label, also the name of its state directory.
    pub name: String,
    /// The Kubernetes version that every host shall run.
    pub kubernetes: KubeVersion,
    /// The address that clients use.
    pub vip: Vip,
    /// Cluster networks.
    pub network: Network,
    /// Where Kubernetes packages come from.
    pub packages: PackageSource,
    /// Where images come from.
    pub images: Images,
    /// containerd settings.
    pub containerd: Containerd,
    /// What gives pods their network.
    pub cni: Cni,
    /// The apiserver's audit log.
    pub audit: Audit,
    /// Node ports that the load balancers forward 80/443 to, if wanted.
    pub ingress: Option<Ingress>,
    /// Fields that override the rendered `KubeletConfiguration`.
    pub kubelet: Map<String, Value>,
    /// Fields that override the rendered `KubeProxyConfiguration`.
    pub kube_proxy: Map<String, Value>,
    /// What is passed on to kubeadm.
    pub kubeadm: Kubeadm,
    /// Where etcd runs.
    pub etcd: EtcdTopology,
    /// HAProxy's own settings.
    pub load_balancer: LoadBalancer,
    /// Extra sysctls for masters and workers.
    pub sysctls: BTreeMap<String, String>,
    /// A directory whose files replace embedded templates and playbooks of the same relative path.
    pub overlay: Option<Utf8PathBuf>,
    /// All hosts: load balancers, then etcd's own hosts, masters and workers, each in the order of the file.
    pub nodes: Vec<Node>,
}

impl Inventory {
    /// The hosts of one role, in the order of the file.
    pub fn with_role(&self, role: Role) -> impl Iterator<Item = &Node> {
        self.of_role(role).iter()
    }

    /// The hosts of one role, in the order of the file: they stand together.
    #[must_use]
    pub fn of_role(&self, role: Role) -> &[Node] {
        let first = self.nodes.partition_point(|node| node.role < role);
        let last = self.nodes.partition_point(|node| node.role <= role);
        self.nodes.get(first..last).unwrap_or_default()
    }

    /// The host of that name.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// `host:port` of the control plane as kubeadm and kubeconfigs name it: the DNS name if there is one, else the VIP.
    #[must_use]
    pub fn control_plane_endpoint(&self) -> String {
        let host = self
            .vip
            .dns
            .clone()
            .unwrap_or_else(|| self.vip.address.to_string());
        format!("{host}:{}", self.vip.port)
    }
}

/// What a host is for; in the order in which an inventory has its hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Runs HAProxy and Keepalived.
    LoadBalancer,
    /// Runs a member of an external etcd, and nothing else.
    Etcd,
    /// Runs the control plane, and with it its stacked etcd member or perhaps one of an external etcd.
    Master,
    /// Runs workloads.
    Worker,
}

impl Role {
    /// Whether it runs kubelet, so that Kubernetes has a Node of it.
    #[must_use]
    pub fn is_node(self) -> bool {
        match self {
            Self::Master | Self::Worker => true,
            Self::LoadBalancer | Self::Etcd => false,
        }
    }
}

/// One host.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct Node {
    /// Host name and Node name: a DNS-1123 label, unique.
    pub name: String,
    /// The address that cluster traffic and, by default, SSH use.
    pub address: Ipv4Addr,
    /// What it is for.
    pub role: Role,
    /// Kubernetes labels to set on the Node (masters and workers).
    pub labels: BTreeMap<String, String>,
    /// Kubernetes taints, `key[=value]:effect`; `None` leaves kubeadm's default for the role.
    pub taints: Option<Vec<String>>,
    /// Free words for `--on @tag`.
    pub tags: Vec<String>,
    /// Share of new connections that HAProxy gives this master, 0 to 256 (HAProxy's `weight`; default 100).
    pub weight: u16,
    /// Its place in an external etcd, if it has one.
    pub etcd: Option<EtcdSeat>,
    /// How to reach it.
    #[serde(skip)]
    pub ssh: SshSettings,
}

/// How to reach one host over SSH: the inventory's `ssh:` with the host's own `ssh:` over it.
///
/// `None` means: whatever the user's OpenSSH settings say (`ssh -G`), then the usual default.
#[derive(Debug, Clone, Default)]
pub struct SshSettings {
    /// Address or name to connect to instead of the node's address.
    pub host: Option<String>,
    /// Port, default 22.
    pub port: Option<u16>,
    /// Login name.
    pub user: Option<String>,
    /// Private keys to try, in order.
    pub identity_files: Vec<Utf8PathBuf>,
    /// Passphrase for those keys.
    pub passphrase: Option<SecretSource>,
    /// `known_hosts` file to trust instead of the user's.
    pub known_hosts: Option<Utf8PathBuf>,
    /// Jump hosts `[user@]host[:port]`, outermost first; empty: whatever `ssh -G` says.
    pub jump: Vec<String>,
    /// The password that sudo asks for; `None`: sudo must not ask.
    pub sudo_password: Option<SecretSource>,
    /// Whether the user's OpenSSH configuration applies (default true).
    pub use_config: bool,
}

/// The virtual IP and the endpoint behind it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct Vip {
    /// The address.
    pub address: Ipv4Addr,
    /// A DNS name for it, used as the control-plane endpoint when given.
    pub dns: Option<String>,
    /// The port that clients use, default 6443.
    pub port: u16,
    /// Interface on the load balancers; `None`: the one that holds the host's own address.
    pub interface: Option<String>,
    /// VRRP virtual router id, 1 to 255; by default derived from cluster name and VIP, never 51.
    pub router_id: u8,
    /// Whether quorate manages the load balancers (false: somebody else runs them).
    pub managed: bool,
}

/// Cluster networks.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct Network {
    /// Pod CIDR.
    pub pods: Ipv4Network,
    /// Service CIDR.
    pub services: Ipv4Network,
    /// DNS domain, default `cluster.local`.
    pub domain: String,
}

/// Where kubeadm, kubelet and kubectl come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "source")]
pub enum PackageSource {
    /// The project's own repository, one per minor.
    Upstream,
    /// A mirror in the same layout.
    Mirror {
        /// Repository URL; `{minor}` stands for `1.36`.
        url: String,
        /// ASCII-armoured public key, its content.
        key: String,
    },
    /// The tools are on the hosts already: verify only.
    Preinstalled,
}

/// Where images come from.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct Images {
    /// kubeadm's `imageRepository`; `None` leaves its default.
    pub repository: Option<String>,
    /// Per registry host: how to reach it.
    pub registries: BTreeMap<String, Registry>,
}

/// How containerd reaches one registry.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct Registry {
    /// Mirrors to ask first, as URLs.
    pub mirrors: Vec<String>,
    /// CA certificate, PEM content.
    pub ca: Option<String>,
    /// Speak plain HTTP to it.
    pub plain_http: bool,
}

/// containerd settings.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct Containerd {
    /// Debian/RPM package that brings it, default `containerd`; empty when preinstalled.
    pub package: String,
    /// For hosts that may not lower `oom_score_adj` (containers without `CAP_SYS_RESOURCE`).
    pub restrict_oom_score_adj: bool,
    /// `None`: systemd cgroups wherever the host has cgroup v2 or systemd as cgroup manager.
    pub systemd_cgroup: Option<bool>,
}

/// What gives pods their network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cni {
    /// Nothing: somebody else installs it.
    None,
    /// The reference bridge plug-in with one range per node: labs only, no routes between nodes.
    Bridge,
    /// A manifest to apply, its content (from a file or URL of the inventory).
    Manifest {
        /// Where it came from, for messages.
        origin: String,
        /// The YAML text; `None` for a URL, which the control plane fetches itself.
        content: Option<String>,
    },
}

/// The apiserver's audit log.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct Audit {
    /// On by default.
    pub enabled: bool,
    /// Policy file content; `None`: the embedded metadata-level policy.
    pub policy: Option<String>,
    /// Days to keep.
    pub max_age: u16,
    /// Files to keep.
    pub max_backup: u16,
    /// Megabytes per file.
    pub max_size: u16,
}

/// Node ports behind the load balancers' 80 and 443.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct Ingress {
    /// Node port for port 80.
    pub http: u16,
    /// Node port for port 443.
    pub https: u16,
}

/// What is passed on to kubeadm and the control plane's components.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct Kubeadm {
    /// Extra names or addresses in the apiserver's certificate.
    pub cert_sans: Vec<String>,
    /// Phases of init and join to skip.
    pub skip_phases: Vec<String>,
    /// Preflight checks of kubeadm whose failure is ignored.
    pub ignore_preflight_errors: Vec<String>,
    /// Flags of kube-apiserver, without dashes.
    pub api_server: BTreeMap<String, String>,
    /// Flags of kube-controller-manager.
    pub controller_manager: BTreeMap<String, String>,
    /// Flags of kube-scheduler.
    pub scheduler: BTreeMap<String, String>,
    /// Flags of etcd; only such as are equal on all members.
    pub etcd: BTreeMap<String, String>,
}

/// HAProxy's own settings.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct LoadBalancer {
    /// `maxconn`, default 8000.
    pub max_connections: u32,
    /// User of the statistics page, default `quorate`.
    pub stats_user: String,
    /// Its password; `None`: each load balancer makes its own, kept on it in a 0600 file.
    #[serde(skip)]
    pub stats_password: Option<SecretSource>,
}
