//! The inventory as it is written: the keys of the file and nothing else.
//!
//! These types decide which keys exist and of which shape their values are; they also make the JSON Schema, so their doc
//! comments are what editors show. Meaning and defaults are in [`super::resolve`], the rules in [`super::rules`].

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::etcd_spec::EtcdSpec;
use super::hosts_spec::HostSpec;
pub use super::ssh_spec::{SecretSpec, SshSpec};
use crate::input::{AnyScalar, Entries, Field, Shorthand};

/// A cluster for quorate: its machines and what shall run on them.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(title = "quorate inventory", extend("required" = ["cluster", "vip", "masters"]))]
pub struct Spec {
    /// The cluster as a whole.
    pub cluster: Field<ClusterSpec>,
    /// The virtual IP that clients use, and the endpoint behind it.
    pub vip: Field<VipSpec>,
    /// Cluster networks.
    pub network: Field<NetworkSpec>,
    /// How to reach the hosts; a host's own `ssh` wins over it.
    pub ssh: Field<SshSpec>,
    /// Load balancers: name to address, or to a map. Names and addresses may hold one range: `lb[1-2]: 10.1.1.[11-12]`.
    pub lb: Field<Entries<Shorthand<HostSpec>>>,
    /// Control plane hosts, an odd number unless etcd is external: name to address, or to a map.
    pub masters: Field<Entries<Shorthand<HostSpec>>>,
    /// Workers: name to address, or to a map.
    pub workers: Field<Entries<Shorthand<HostSpec>>>,
    /// An etcd cluster of its own. Default: a stacked member on every master.
    pub etcd: Field<EtcdSpec>,
    /// Where kubeadm, kubelet and kubectl come from.
    pub packages: Field<PackagesSpec>,
    /// Where images come from.
    pub images: Field<ImagesSpec>,
    /// containerd settings.
    pub containerd: Field<ContainerdSpec>,
    /// What gives pods their network. Default: none, with a warning.
    pub cni: Field<CniSpec>,
    /// The apiserver's audit log.
    pub audit: Field<AuditSpec>,
    /// Forward ports 80 and 443 of the load balancers to node ports of the workers.
    pub ingress: Field<IngressSpec>,
    /// Fields that override the KubeletConfiguration.
    pub kubelet: Field<Map<String, Value>>,
    /// Fields that override the KubeProxyConfiguration.
    pub kube_proxy: Field<Map<String, Value>>,
    /// What is passed on to kubeadm and the control plane.
    pub kubeadm: Field<KubeadmSpec>,
    /// HAProxy's own settings.
    pub load_balancer: Field<LoadBalancerSpec>,
    /// Extra sysctls for masters and workers.
    #[schemars(with = "Entries<AnyScalar>")]
    pub sysctls: Field<Entries<String>>,
    /// A directory whose files replace embedded templates and playbooks of the same relative path.
    pub overlay: Field<String>,
}

/// The cluster as a whole.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(extend("required" = ["name", "kubernetes"]))]
pub struct ClusterSpec {
    /// Name of the cluster: a DNS-1123 label.
    #[schemars(regex(pattern = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"))]
    pub name: Field<String>,
    /// Kubernetes version, for example v1.36.2.
    #[schemars(regex(pattern = r"^v1\.[0-9]+\.[0-9]+$"))]
    pub kubernetes: Field<String>,
    /// DNS domain of services.
    #[schemars(extend("default" = "cluster.local"))]
    pub domain: Field<String>,
}

/// The virtual IP.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(extend("required" = ["address"]))]
pub struct VipSpec {
    /// The address; free, and in the load balancers' network.
    #[schemars(extend("format" = "ipv4"))]
    pub address: Field<String>,
    /// A DNS name for it, used as the control-plane endpoint.
    pub dns: Field<String>,
    /// The port that clients use.
    #[schemars(extend("default" = 6443, "minimum" = 1, "maximum" = 65535))]
    pub port: Field<i64>,
    /// Interface of the load balancers that carries it. Default: the one with the host's own address.
    pub interface: Field<String>,
    /// VRRP virtual router id. Default: derived from the cluster's name and the address, never 51.
    #[schemars(extend("minimum" = 1, "maximum" = 255))]
    pub router_id: Field<i64>,
    /// Whether quorate manages the load balancers; false: somebody else runs them.
    #[schemars(extend("default" = true))]
    pub managed: Field<bool>,
}

/// Cluster networks.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct NetworkSpec {
    /// Pod CIDR.
    #[schemars(extend("default" = "10.244.0.0/16"))]
    pub pods: Field<String>,
    /// Service CIDR.
    #[schemars(extend("default" = "10.96.0.0/12"))]
    pub services: Field<String>,
    /// The load balancers' network, which the VIP must be in. Default: the /24 of their addresses.
    pub hosts: Field<String>,
}

/// Where packages come from.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct PackagesSpec {
    /// `upstream` (pkgs.k8s.io), `mirror` (with `url` and `key`), or `preinstalled` (verify only).
    #[schemars(extend("default" = "upstream"))]
    pub source: Field<PackagesKind>,
    /// Repository of a mirror; `{minor}` stands for the minor version, for example 1.36.
    pub url: Field<String>,
    /// File with the mirror's ASCII-armoured public key.
    pub key: Field<String>,
}

/// Kinds of package sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum PackagesKind {
    /// The project's own repositories.
    Upstream,
    /// A mirror in the same layout.
    Mirror,
    /// The tools are on the hosts already.
    Preinstalled,
}

/// Where images come from.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct ImagesSpec {
    /// Image repository of the control plane, for example registry.company.local/k8s.
    pub repository: Field<String>,
    /// Per registry host: how to reach it.
    pub registries: Field<Entries<RegistrySpec>>,
}

/// How containerd reaches one registry.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct RegistrySpec {
    /// Mirrors to ask first, as URLs.
    pub mirrors: Field<Vec<Field<String>>>,
    /// File with its CA certificate (PEM).
    pub ca: Field<String>,
    /// Speak plain HTTP to it.
    #[schemars(extend("default" = false))]
    pub plain_http: Field<bool>,
}

/// containerd settings.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct ContainerdSpec {
    /// Package that brings it. Default: containerd, or nothing when the packages are preinstalled.
    pub package: Field<String>,
    /// For hosts that may not lower `oom_score_adj`.
    #[schemars(extend("default" = false))]
    pub restrict_oom_score_adj: Field<bool>,
    /// Use systemd cgroups. Default: as the host needs it.
    pub systemd_cgroup: Field<bool>,
}

/// What gives pods their network: `none`, `{ bridge: {} }` or `{ manifest: FILE_OR_URL }`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CniSpec {
    /// Somebody else installs it.
    None,
    /// The reference bridge plug-in, for labs: no routes between nodes.
    Bridge(BridgeSpec),
    /// A manifest to apply: a file or an http(s) URL.
    Manifest(Field<String>),
}

/// The built-in bridge has no settings.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(inline)]
pub struct BridgeSpec {}

/// The apiserver's audit log.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct AuditSpec {
    /// Whether to write one.
    #[schemars(extend("default" = true))]
    pub enabled: Field<bool>,
    /// File with the policy. Default: metadata of every request that matters.
    pub policy: Field<String>,
    /// Days to keep.
    #[schemars(extend("default" = 30, "minimum" = 0, "maximum" = 65535))]
    pub max_age: Field<i64>,
    /// Files to keep.
    #[schemars(extend("default" = 10, "minimum" = 0, "maximum" = 65535))]
    pub max_backup: Field<i64>,
    /// Megabytes per file.
    #[schemars(extend("default" = 100, "minimum" = 1, "maximum" = 65535))]
    pub max_size: Field<i64>,
}

/// Node ports behind ports 80 and 443 of the load balancers.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(extend("required" = ["http", "https"]))]
pub struct IngressSpec {
    /// Node port for port 80.
    #[schemars(extend("minimum" = 1, "maximum" = 65535))]
    pub http: Field<i64>,
    /// Node port for port 443.
    #[schemars(extend("minimum" = 1, "maximum" = 65535))]
    pub https: Field<i64>,
}

/// What is passed on to kubeadm and the control plane.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct KubeadmSpec {
    /// Extra names or addresses in the apiserver's certificate.
    pub cert_sans: Field<Vec<Field<String>>>,
    /// Phases of init and join to skip, for example addon/kube-proxy.
    pub skip_phases: Field<Vec<Field<String>>>,
    /// Preflight checks whose failure is ignored, for example NumCPU.
    pub ignore_preflight_errors: Field<Vec<Field<String>>>,
    /// Flags of kube-apiserver, without dashes.
    #[schemars(with = "Entries<AnyScalar>")]
    pub api_server: Field<Entries<String>>,
    /// Flags of kube-controller-manager, without dashes.
    #[schemars(with = "Entries<AnyScalar>")]
    pub controller_manager: Field<Entries<String>>,
    /// Flags of kube-scheduler, without dashes.
    #[schemars(with = "Entries<AnyScalar>")]
    pub scheduler: Field<Entries<String>>,
    /// Flags of stacked etcd, without dashes; only such as are equal on all members.
    #[schemars(with = "Entries<AnyScalar>")]
    pub etcd: Field<Entries<String>>,
}

/// HAProxy's own settings.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct LoadBalancerSpec {
    /// HAProxy's maxconn.
    #[schemars(extend("default" = 8000, "minimum" = 100, "maximum" = 1_000_000))]
    pub max_connections: Field<i64>,
    /// User of the statistics page.
    #[schemars(extend("default" = "quorate"))]
    pub stats_user: Field<String>,
    /// Its password. Default: each load balancer makes its own.
    pub stats_password: Field<SecretSpec>,
}
