//! Rules for addresses and networks together: the VIP, the hosts, the pods and the services.

use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;

use super::Findings;
use super::hosts::Host;
use crate::input::{Given, Place, Problem};
use crate::inventory::Role;

/// The services of a cluster need at least this many addresses and at most 20 bits (kube-apiserver's own bounds).
const SERVICE_PREFIXES: std::ops::RangeInclusive<u8> = 12..=28;

/// Prefix of the hosts' networks when the inventory does not say.
const ASSUMED_PREFIX: u8 = 24;

/// A cluster network; without a place when it is the default.
#[derive(Debug, Clone, Copy)]
pub struct Cidr {
    /// What it is for, and its key.
    pub what: &'static str,
    /// The network.
    pub network: Ipv4Network,
    /// Where it stands.
    pub place: Option<Place>,
}

/// The VIP's DNS name is not a host's name.
pub fn vip_name_is_free(dns: &Given<String>, hosts: &[Host], findings: &mut Findings) {
    if let Some(owner) = hosts.iter().find(|host| host.node.name == dns.value) {
        findings.refuse(
            Problem::at(dns.place, format!("`{}` is the name of a host", dns.value))
                .related(owner.name, "this host")
                .help("give the VIP a name of its own"),
        );
    }
}

/// The VIP is nobody's own address.
pub fn vip_is_free(vip: &Given<Ipv4Addr>, hosts: &[Host], findings: &mut Findings) {
    if let Some(owner) = hosts.iter().find(|host| host.node.address == vip.value) {
        findings.refuse(
            Problem::at(
                vip.place,
                format!(
                    "the VIP {} is the address of {}",
                    vip.value, owner.node.name
                ),
            )
            .related(owner.address, "this host's own address")
            .help("choose a free address in the load balancers' network"),
        );
    }
}

/// The VIP is not an address of pods or services.
pub fn vip_is_outside(vip: &Given<Ipv4Addr>, clusters: [Cidr; 2], findings: &mut Findings) {
    for Cidr { what, network, .. } in clusters {
        if network.contains(vip.value) {
            findings.refuse(
                Problem::at(
                    vip.place,
                    format!("the VIP {} is in the {what} network {network}", vip.value),
                )
                .help("choose a free address in the load balancers' network"),
            );
        }
    }
}

/// The VIP is in every load balancer's network, and neither its first nor its last address.
///
/// That network is `network.hosts`, or else the /24 around the load balancer's address: hosts are listed without a prefix.
pub fn vip_is_local(
    vip: &Given<Ipv4Addr>,
    hosts: &[Host],
    network: Option<&Given<Ipv4Network>>,
    findings: &mut Findings,
) {
    let balancers = hosts
        .iter()
        .filter(|host| host.node.role == Role::LoadBalancer);
    let mut local: Vec<Ipv4Network> = match network {
        Some(network) => vec![network.value],
        None => balancers.map(|host| around(host.node.address)).collect(),
    };
    local.dedup();
    if let Some(outside) = local.iter().find(|network| !network.contains(vip.value)) {
        findings.refuse(vip_outside(vip, *outside, network.is_some()));
        return;
    }
    let ends = |network: &&Ipv4Network| {
        network.prefix() < 31 && [network.network(), network.broadcast()].contains(&vip.value)
    };
    if let Some(network) = local.iter().find(ends) {
        findings.refuse(
            Problem::at(
                vip.place,
                format!("the VIP {} is not usable: it is the first or last address of {network}", vip.value),
            )
            .help("choose a free address between them, or say how large the network is with `network: { hosts: CIDR }`"),
        );
    }
}

fn vip_outside(vip: &Given<Ipv4Addr>, network: Ipv4Network, is_given: bool) -> Problem {
    let problem = Problem::at(
        vip.place,
        format!(
            "the VIP {} is outside the load balancers' network {network}",
            vip.value
        ),
    );
    if is_given {
        problem.help("choose a free address in that network, or correct `network.hosts`")
    } else {
        problem.help("choose a free address in that network, or say how large it is with `network: { hosts: CIDR }`")
    }
}

/// Load balancers are in `network.hosts`.
pub fn balancers_are_local(hosts: &[Host], network: &Given<Ipv4Network>, findings: &mut Findings) {
    let outside = hosts.iter().filter(|host| {
        host.node.role == Role::LoadBalancer && !network.value.contains(host.node.address)
    });
    for host in outside {
        findings.refuse(
            Problem::at(
                host.address,
                format!(
                    "{} is outside the load balancers' network {}",
                    host.node.name, network.value
                ),
            )
            .related(network.place, "said here")
            .help("correct the address or `network.hosts`: a VIP moves only within one network"),
        );
    }
}

/// Pods, services and hosts do not share addresses.
pub fn networks_are_disjoint(
    pods: Cidr,
    services: Cidr,
    hosts: &[Host],
    network: Option<&Given<Ipv4Network>>,
    findings: &mut Findings,
) {
    if pods.network.overlaps(services.network) {
        let place = services.place.or(pods.place).unwrap_or_default();
        findings.refuse(
            Problem::at(
                place,
                format!(
                    "pod network {} and service network {} overlap",
                    pods.network, services.network
                ),
            )
            .help("choose two networks without a common address"),
        );
    }
    for cidr in [pods, services] {
        if let Some((shared, place)) = shared_with_hosts(cidr.network, hosts, network) {
            findings.refuse(overlap_with_hosts(cidr, shared, place));
        }
    }
}

fn overlap_with_hosts(cidr: Cidr, hosts: Ipv4Network, host: Place) -> Problem {
    let Cidr {
        what,
        network,
        place,
    } = cidr;
    let help = format!("choose another: `network: {{ {what}s: CIDR }}`");
    match place {
        Some(place) => Problem::at(
            place,
            format!("{what} network {network} overlaps the hosts' network {hosts}"),
        )
        .related(host, "the hosts' network"),
        None => Problem::at(
            host,
            format!("the hosts' network {hosts} overlaps the default {what} network {network}"),
        ),
    }
    .help(help)
}

/// The first network of the hosts that shares addresses with a cluster network.
fn shared_with_hosts(
    cluster: Ipv4Network,
    hosts: &[Host],
    network: Option<&Given<Ipv4Network>>,
) -> Option<(Ipv4Network, Place)> {
    let given = network.map(|given| (given.value, given.place));
    let assumed = hosts.iter().map(|host| match network {
        Some(_) => (Ipv4Network::from(host.node.address), host.address),
        None => (around(host.node.address), host.address),
    });
    given
        .into_iter()
        .chain(assumed)
        .find(|(hosts, _)| hosts.overlaps(cluster))
}

/// The service network is of a size that kube-apiserver takes.
pub fn services_are_sized(services: Cidr, findings: &mut Findings) {
    let Some(place) = services.place else { return };
    if !SERVICE_PREFIXES.contains(&services.network.prefix()) {
        findings.refuse(
            Problem::at(
                place,
                format!(
                    "service network {} is too large or too small for kube-apiserver",
                    services.network
                ),
            )
            .help("write a prefix length from /12 to /28"),
        );
    }
}

/// Every node gets a range of the pod network; `mask` is its prefix length, 24 unless the controller manager says otherwise.
pub fn pods_are_sized(pods: Cidr, mask: u8, nodes: usize, findings: &mut Findings) {
    let place = pods.place.unwrap_or_default();
    let bits = mask.checked_sub(pods.network.prefix());
    let Some(bits) = bits.filter(|bits| *bits <= 16) else {
        findings.refuse(
            Problem::at(
                place,
                format!("pod network {} cannot be divided into one /{mask} per node", pods.network),
            )
            .help(format!(
                "write a prefix length from /{} to /{mask}, or another `node-cidr-mask-size` under `kubeadm.controller-manager`",
                mask.saturating_sub(16)
            )),
        );
        return;
    };
    let ranges = 1_usize << bits;
    if nodes > ranges {
        findings.refuse(
            Problem::at(
                place,
                format!(
                    "pod network {} holds one /{mask} for {ranges} nodes, but there are {nodes}",
                    pods.network
                ),
            )
            .help("write a larger network"),
        );
    }
}

fn around(address: Ipv4Addr) -> Ipv4Network {
    let [a, b, c, _] = address.octets();
    Ipv4Network::new(Ipv4Addr::new(a, b, c, 0), ASSUMED_PREFIX).expect("24 is a prefix length")
}
