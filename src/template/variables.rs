//! What templates see: the inventory, and what follows from it and from the host.

use camino::Utf8Path;
use serde::Serialize;

use crate::action::Context;
use crate::cluster::etcd_member::Beginning;
use crate::host::facts::Machine;
use crate::host::probe::{Probe, Readings};
use crate::inventory::version::{KubeVersion, KubeadmApi};
use crate::inventory::{Cni, Inventory, Node, Role};

mod containerd;
mod kubeadm;

pub use containerd::ContainerdVersion;
pub use kubeadm::{EtcdMember, SkipPhases, Taint, etcd_member, etcd_members, kubeadm_flags};

/// Where a load balancer keeps the cluster's CA, once there is one.
const CA_FILE: &str = "/etc/haproxy/kubernetes-ca.crt";

/// The variables that a template sees.
///
/// All are computed from the inventory and the readings of [`Variables::probes`]. What was not read (offline rendering, a
/// host that does not answer) takes an assumption, given with each field.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct Variables<'a> {
    /// The inventory with every default applied.
    pub inventory: &'a Inventory,
    /// The host that the file is for.
    pub node: &'a Node,
    /// Its role: `load-balancer`, `etcd`, `master` or `worker`.
    pub role: Role,
    /// All masters, in the order of the inventory.
    pub masters: &'a [Node],
    /// All workers.
    pub workers: &'a [Node],
    /// All load balancers.
    pub load_balancers: &'a [Node],
    /// The load balancers but this host.
    pub peers: Vec<&'a Node>,
    /// VRRP priority: 110 for the first load balancer, 10 less for each further one.
    pub priority: u8,
    /// The interface that shall hold the virtual IP: the inventory's, else the one that holds the host's own address, else
    /// (nothing read) `eth0`.
    pub interface: String,
    /// Prefix length of the virtual IP: that of the network on the interface that it belongs to, 32 if it belongs to none,
    /// 24 if nothing was read.
    pub prefix: u8,
    /// `host:port` that kubeconfigs name.
    pub control_plane_endpoint: String,
    /// Where a load balancer keeps the cluster's CA.
    pub ca_file: &'static str,
    /// Whether it is there; assumed not, as on a fresh host.
    pub lb_has_ca: bool,
    /// containerd as it is, or will be, on the host.
    pub containerd: Containerd,
    /// The pause image, with repository and tag.
    pub pause_image: String,
    /// `v1beta2`, `v1beta3` or `v1beta4`.
    pub kubeadm_api: &'static str,
    /// Names and addresses in the apiservers' certificates beside those that kubeadm adds for each node.
    pub cert_sans: Vec<String>,
    /// The etcd members that exist in the end.
    pub etcd_members: Vec<EtcdMember>,
    /// The host among them, if it is one.
    pub etcd_member: Option<EtcdMember>,
    /// How the host's member of an external etcd begins; with all members of the inventory if nothing was read.
    pub etcd_beginning: Beginning,
    /// Whether it joins and has no vote yet.
    pub etcd_joins: bool,
    /// Where the clients of an external etcd, the apiservers, have their certificate.
    pub etcd_client: EtcdClient,
    /// Phases of kubeadm to skip.
    pub skip_phases: SkipPhases,
    /// Preflight errors of kubeadm to ignore, as far as its configuration may say so.
    pub ignore_errors: Vec<String>,
    /// The node's taints; none: kubeadm's default.
    pub taints: Option<Vec<Taint>>,
}

/// Files of an external etcd's clients. They lie where `kubeadm reset` does not reach, in a directory of their own, which
/// kubeadm mounts into the apiserver.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct EtcdClient {
    /// etcd's CA.
    pub ca: &'static str,
    /// The client's certificate.
    pub certificate: &'static str,
    /// Its key.
    pub key: &'static str,
}

impl EtcdClient {
    /// The files.
    pub const FILES: Self = Self {
        ca: "/etc/kubernetes/quorate/etcd/ca.crt",
        certificate: "/etc/kubernetes/quorate/etcd/client.crt",
        key: "/etc/kubernetes/quorate/etcd/client.key",
    };
}

/// containerd on one host.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct Containerd {
    /// The `1` of 1.7.28.
    pub major: u16,
    /// The `7` of 1.7.28.
    pub minor: u16,
    /// Whether systemd manages cgroups: the inventory's word on containerd, else its word on kubelet (`cgroupDriver`), else
    /// yes, since every supported host runs systemd. kubelet's driver is always the same. It is not read off the host:
    /// kubelet's configuration is one for all nodes.
    pub systemd_cgroup: bool,
    /// Where CNI plug-ins are.
    pub cni_bin_dir: &'static str,
}

impl<'a> Variables<'a> {
    /// Computes the variables for one host. Facts that were not read (offline rendering) take documented assumptions.
    #[must_use]
    pub fn new(cx: &Context<'a>) -> Self {
        Self::named(cx, |_| true)
    }

    /// The same, for a template that names only some: of the others those that cost something to find are empty.
    #[must_use]
    pub(super) fn named(cx: &Context<'a>, is_named: impl Fn(&str) -> bool) -> Self {
        let (inventory, node) = (cx.inventory, cx.node);
        let machine = cx.facts().machine().ok();
        let load_balancers = inventory.of_role(Role::LoadBalancer);
        let beginning = || Beginning::read(cx.facts()).unwrap_or_else(|| Beginning::new(inventory));
        Self {
            inventory,
            node,
            role: node.role,
            masters: inventory.of_role(Role::Master),
            workers: inventory.of_role(Role::Worker),
            peers: load_balancers
                .iter()
                .filter(|other| other.name != node.name)
                .collect(),
            priority: priority(load_balancers, node),
            load_balancers,
            interface: interface(inventory, node, machine),
            prefix: prefix(inventory, node, machine),
            control_plane_endpoint: inventory.control_plane_endpoint(),
            ca_file: CA_FILE,
            lb_has_ca: has_ca(cx),
            containerd: containerd_of(inventory, cx.facts()),
            pause_image: made_if(is_named("pause_image"), || pause_image(inventory)),
            kubeadm_api: inventory
                .kubernetes
                .kubeadm_api()
                .unwrap_or(KubeadmApi::V1Beta4)
                .as_str(),
            cert_sans: made_if(is_named("cert_sans"), || cert_sans(inventory)),
            etcd_member: made_if(is_named("etcd_member"), || etcd_member(inventory, node)),
            etcd_members: made_if(is_named("etcd_members"), || etcd_members(inventory)),
            etcd_beginning: made_if(is_named("etcd_beginning"), beginning),
            etcd_joins: Beginning::is_under_way(cx.facts()),
            etcd_client: EtcdClient::FILES,
            skip_phases: SkipPhases::of(&inventory.kubeadm.skip_phases),
            ignore_errors: made_if(is_named("ignore_errors"), || {
                kubeadm::ignored_in_configuration(inventory)
            }),
            taints: made_if(is_named("taints"), || kubeadm::taints(node)),
        }
    }

    /// What must have been read of a host to compute them without an assumption.
    #[must_use]
    pub fn probes(cx: &Context<'_>) -> Vec<Probe> {
        match cx.node.role {
            Role::LoadBalancer => vec![Probe::Machine, Probe::File(CA_FILE.into())],
            Role::Etcd => Beginning::probes(),
            Role::Master | Role::Worker => {
                let seat = cx.node.etcd.map(|_| Beginning::probes());
                let containerd = containerd::probe(&cx.inventory.containerd);
                seat.into_iter().flatten().chain([containerd]).collect()
            }
        }
    }
}

fn made_if<T: Default>(is_named: bool, make: impl FnOnce() -> T) -> T {
    if is_named { make() } else { T::default() }
}

/// Distinct by construction as long as there are fewer than twelve; 255 would mean that the host owns the address.
fn priority(load_balancers: &[Node], node: &Node) -> u8 {
    let position = load_balancers
        .iter()
        .position(|other| other.name == node.name)
        .unwrap_or(0);
    u8::try_from(position)
        .ok()
        .and_then(|position| position.checked_mul(10))
        .map_or(1, |less| 110_u8.saturating_sub(less).max(1))
}

fn interface(inventory: &Inventory, node: &Node, machine: Option<&Machine>) -> String {
    inventory
        .vip
        .interface
        .clone()
        .or_else(|| Some(machine?.interface_of(node.address)?.name.clone()))
        .unwrap_or_else(|| "eth0".to_owned())
}

fn prefix(inventory: &Inventory, node: &Node, machine: Option<&Machine>) -> u8 {
    let Some(machine) = machine else {
        return 24;
    };
    let name = interface(inventory, node, Some(machine));
    machine
        .interfaces
        .iter()
        .filter(|interface| interface.name == name)
        .flat_map(|interface| &interface.addresses)
        .filter(|(held, _)| *held != inventory.vip.address)
        .find(|(held, prefix)| {
            ipnetwork::Ipv4Network::new(*held, *prefix)
                .is_ok_and(|network| network.contains(inventory.vip.address))
        })
        .map_or(32, |(_, prefix)| *prefix)
}

/// In a forecast, a CA that an earlier step would have put there counts.
fn has_ca(cx: &Context<'_>) -> bool {
    let path = Utf8Path::new(CA_FILE);
    cx.fleet.is_foreseen(&cx.node.name, path)
        || cx
            .facts()
            .file(path)
            .is_ok_and(|file| file.present().is_some())
}

fn containerd_of(inventory: &Inventory, facts: &Readings) -> Containerd {
    let version = ContainerdVersion::read(&inventory.containerd, facts)
        .unwrap_or_else(|| ContainerdVersion::assumed(inventory.kubernetes));
    Containerd {
        major: version.major,
        minor: version.minor,
        systemd_cgroup: systemd_cgroup(inventory),
        cni_bin_dir: cni_bin_dir(&inventory.cni),
    }
}

fn systemd_cgroup(inventory: &Inventory) -> bool {
    let of_kubelet = || {
        let driver = inventory.kubelet.get("cgroupDriver")?.as_str()?;
        Some(driver == "systemd")
    };
    let of_containerd = inventory.containerd.systemd_cgroup;
    of_containerd.or_else(of_kubelet).unwrap_or(true)
}

/// The built-in bridge uses Debian's `containernetworking-plugins`; everybody else's manifests bring their plug-ins, or the
/// `kubernetes-cni` package does, into upstream's directory.
fn cni_bin_dir(cni: &Cni) -> &'static str {
    match cni {
        Cni::Bridge => "/usr/lib/cni",
        Cni::None | Cni::Manifest { .. } => "/opt/cni/bin",
    }
}

/// The VIP, the endpoint's DNS name and the inventory's extra names.
///
/// kubeadm adds each node's own name and address, so no master is named here: the list is shared, and a further master
/// would change the certificates of all.
fn cert_sans(inventory: &Inventory) -> Vec<String> {
    let mut sans = vec![inventory.vip.address.to_string()];
    for san in inventory.vip.dns.iter().chain(&inventory.kubeadm.cert_sans) {
        if !sans.contains(san) {
            sans.push(san.clone());
        }
    }
    sans
}

/// The sandbox image. kubeadm warns if containerd's is another than its own, no more, so a table of tags will do.
fn pause_image(inventory: &Inventory) -> String {
    let KubeVersion { minor, .. } = inventory.kubernetes;
    let repository = inventory.images.repository.as_deref().unwrap_or({
        if minor < 25 {
            "k8s.gcr.io"
        } else {
            "registry.k8s.io"
        }
    });
    format!("{repository}/pause:{}", pause_tag(minor))
}

fn pause_tag(minor: u16) -> &'static str {
    match minor {
        0..=20 => "3.2",
        21 => "3.4.1",
        22 => "3.5",
        23 => "3.6",
        24 => "3.7",
        25 => "3.8",
        26..=30 => "3.9",
        31..=33 => "3.10",
        34..=35 => "3.10.1",
        36.. => "3.10.2",
    }
}

#[cfg(test)]
mod tests;
