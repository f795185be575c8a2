//! The VIP and the cluster's networks.

use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;
use sha2::{Digest, Sha256};

use super::super::rules::networks::Cidr;
use super::super::rules::{Findings, networks, values};
use super::super::spec::{NetworkSpec, Spec, VipSpec};
use super::super::{Network, Role, Vip};
use super::hosts::Hosts;
use super::{Above, kubeadm, optional, or_default, required};
use crate::input::{Field, Given, Problem};

/// The pod network by default.
const PODS: &str = "10.244.0.0/16";

/// The service network by default.
const SERVICES: &str = "10.96.0.0/12";

/// The router id of every example on the net: never the default.
const EVERYBODYS_ROUTER_ID: u8 = 51;

/// Resolves `vip:`.
pub(super) fn vip(
    vip: &Given<VipSpec>,
    cluster: Option<&str>,
    hosts: &Hosts,
    spec: &Spec,
    findings: &mut Findings,
) -> Option<Vip> {
    let VipSpec {
        address,
        dns,
        port,
        interface,
        router_id,
        managed,
    } = &vip.value;
    let address =
        required(address, "address", "10.1.1.100", Above::of(vip), findings).and_then(|given| {
            let address = findings.keep(values::host_address(&given.value, given.place))?;
            Some(given.with(address))
        });
    if let Some(address) = &address {
        let network = spec.network.value().and_then(hosts_network);
        networks::vip_is_free(address, &hosts.hosts, findings);
        if managed.value().copied().unwrap_or(true) {
            networks::vip_is_local(address, &hosts.hosts, network.as_ref(), findings);
        }
    }
    if let Some(dns) = dns.given() {
        networks::vip_name_is_free(dns, &hosts.hosts, findings);
    }
    let dns = optional(dns, findings, |dns| values::dns_name("DNS name", dns));
    let port = or_default(port, 6443, findings, values::port);
    let interface = optional(interface, findings, values::interface);
    let router_id = optional(router_id, findings, |id| {
        values::within(id, "router-id", 1, 255).map(|number| id.with(number))
    });
    let address = address?.value;
    let router_id = match router_id {
        Some(id) => checked_router_id(&id, findings)?,
        None => derived_router_id(cluster.unwrap_or_default(), &address.to_string()),
    };
    Some(Vip {
        address,
        dns,
        port,
        interface,
        router_id,
        managed: managed.value().copied().unwrap_or(true),
    })
}

fn checked_router_id(given: &Given<u16>, findings: &mut Findings) -> Option<u8> {
    let id = u8::try_from(given.value).ok()?;
    if id == EVERYBODYS_ROUTER_ID {
        findings.warn(
            Problem::at(
                given.place,
                "router-id 51 stands in every example and is often taken",
            )
            .help("remove it: the default is derived from the cluster's name and the VIP"),
        );
    }
    Some(id)
}

/// A router id that two clusters on one network hardly share: a hash into 1 to 255 without 51.
fn derived_router_id(cluster: &str, vip: &str) -> u8 {
    let digest = Sha256::digest(format!("{cluster}\n{vip}"));
    let number = digest
        .iter()
        .fold(0_u32, |rest, byte| (rest * 256 + u32::from(*byte)) % 254);
    let id = u8::try_from(number + 1).unwrap_or(1);
    if id < EVERYBODYS_ROUTER_ID {
        id
    } else {
        id + 1
    }
}

fn hosts_network(spec: &NetworkSpec) -> Option<Given<Ipv4Network>> {
    let given = spec.hosts.given()?;
    values::network(given)
        .ok()
        .map(|network| given.with(network))
}

/// Resolves `network:`.
pub(super) fn network(
    spec: &Spec,
    domain: Option<String>,
    hosts: &Hosts,
    findings: &mut Findings,
) -> Option<Network> {
    let absent = NetworkSpec::default();
    let network = spec.network.value().unwrap_or(&absent);
    let pods = cidr("pod", &network.pods, PODS, findings);
    let services = cidr("service", &network.services, SERVICES, findings);
    optional(&network.hosts, findings, values::network);
    let local = hosts_network(network);
    if let Some(local) = &local {
        networks::balancers_are_local(&hosts.hosts, local, findings);
    }
    if let Some(services) = services {
        networks::services_are_sized(services, findings);
    }
    if let Some(pods) = pods {
        let nodes = hosts.count(Role::Master) + hosts.count(Role::Worker);
        networks::pods_are_sized(pods, kubeadm::node_mask(spec), nodes, findings);
    }
    let (pods, services) = (pods?, services?);
    networks::networks_are_disjoint(pods, services, &hosts.hosts, local.as_ref(), findings);
    if let Some(address) = address_of(spec) {
        networks::vip_is_outside(&address, [pods, services], findings);
    }
    Some(Network {
        pods: pods.network,
        services: services.network,
        domain: domain?,
    })
}

/// The networks of pods and services, as far as they are right; what is wrong with them is said by [`network`].
pub(super) fn clusters(spec: &Spec) -> Vec<Cidr> {
    let absent = NetworkSpec::default();
    let network = spec.network.value().unwrap_or(&absent);
    let mut unheard = Findings::default();
    let pods = cidr("pod", &network.pods, PODS, &mut unheard);
    let services = cidr("service", &network.services, SERVICES, &mut unheard);
    pods.into_iter().chain(services).collect()
}

/// The VIP's address, if it is one.
pub(super) fn address_of(spec: &Spec) -> Option<Given<Ipv4Addr>> {
    let given = spec.vip.value()?.address.given()?;
    Some(given.with(given.value.parse().ok()?))
}

fn cidr(
    what: &'static str,
    field: &Field<String>,
    default: &str,
    findings: &mut Findings,
) -> Option<Cidr> {
    let (network, place) = match field {
        Field::Wrong => return None,
        Field::Absent | Field::Empty(_) => {
            (default.parse().expect("the default is a network"), None)
        }
        Field::Given(given) => (findings.keep(values::network(given))?, Some(given.place)),
    };
    Some(Cidr {
        what,
        network,
        place,
    })
}
