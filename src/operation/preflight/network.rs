//! What lies between the hosts, what listens on them, and whether the virtual IP and the router id are free.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::Serialize;

use super::facts::{Answer, Path};
use super::{API_SERVER_PORT, Examined, Finding, Verdict};
use crate::inventory::etcd::{CLIENT_PORT, PEER_PORT};
use crate::inventory::{Inventory, Node, Role};

const KUBELET: u16 = 10250;
/// Where etcd tells its health and figures, on loopback.
const METRICS: u16 = 2381;

/// Who must be reachable from a host, as the script takes it: `name,address,port[,port…]`.
///
/// Only the paths that the cluster uses: load balancers to apiservers, masters to each other's etcd and apiserver and to
/// every kubelet, everybody to the endpoint. The virtual IP itself is nowhere yet when that is asked, so its holders stand
/// for it, unless somebody else manages it.
pub(super) fn targets(inventory: &Inventory, from: &Node) -> Vec<String> {
    // Workers are the most and run no etcd: where their role opens no door, none of them is looked at.
    let are_workers_asked = !ports(inventory, from.role, Role::Worker).is_empty();
    let mut targets: Vec<String> = [Role::LoadBalancer, Role::Etcd, Role::Master]
        .into_iter()
        .chain(are_workers_asked.then_some(Role::Worker))
        .flat_map(|role| inventory.of_role(role))
        .filter(|to| to.name != from.name)
        .flat_map(|to| doors(inventory, from, to))
        .map(|door| target(&door.host.name, door.address, &door.ports))
        .collect();
    if !inventory.vip.managed {
        targets.push(target(
            "virtual-ip",
            inventory.vip.address,
            &[inventory.vip.port],
        ));
    }
    targets
}

fn target(name: &str, address: Ipv4Addr, ports: &[u16]) -> String {
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    format!("{name},{address},{}", ports.join(","))
}

/// Ports of one address of a host that another host must reach.
struct Door<'a> {
    host: &'a Node,
    address: Ipv4Addr,
    ports: Vec<u16>,
}

/// What one host must reach of another: at its address, and where etcd's members have a network of their own there too.
fn doors<'a>(inventory: &'a Inventory, from: &Node, to: &'a Node) -> Vec<Door<'a>> {
    let mut ports = ports(inventory, from.role, to.role);
    let mut peers = Vec::new();
    if inventory.runs_etcd(to) {
        let is_peer = inventory.runs_etcd(from);
        if is_peer || from.role == Role::Master {
            ports.push(CLIENT_PORT);
        }
        let peer_address = to.etcd.map_or(to.address, |seat| seat.peer_address);
        if is_peer && peer_address == to.address {
            ports.push(PEER_PORT);
        } else if is_peer {
            peers.push(Door {
                host: to,
                address: peer_address,
                ports: vec![PEER_PORT],
            });
        }
    }
    ports.sort_unstable();
    let own = Door {
        host: to,
        address: to.address,
        ports,
    };
    let is_any = |door: &Door<'_>| !door.ports.is_empty();
    std::iter::once(own).chain(peers).filter(is_any).collect()
}

/// The ports that the roles of two hosts ask for, beside etcd's.
fn ports(inventory: &Inventory, from: Role, to: Role) -> Vec<u16> {
    match (from, to) {
        (Role::LoadBalancer, Role::Master) => vec![API_SERVER_PORT],
        (Role::LoadBalancer, Role::Worker) => inventory
            .ingress
            .map(|ingress| vec![ingress.http, ingress.https])
            .unwrap_or_default(),
        (Role::Master, Role::Master) => vec![API_SERVER_PORT, KUBELET],
        (Role::Master, Role::Worker) => vec![KUBELET],
        (Role::Master | Role::Worker, Role::LoadBalancer) => vec![inventory.vip.port],
        (Role::Worker, Role::Master | Role::Worker)
        | (Role::LoadBalancer, Role::LoadBalancer | Role::Etcd)
        | (Role::Master | Role::Worker, Role::Etcd)
        | (Role::Etcd, _) => Vec::new(),
    }
}

/// A port that firewalls between the hosts must leave open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Opening {
    /// The host that listens.
    pub to: String,
    /// At this address.
    pub address: Ipv4Addr,
    /// And on these ports.
    pub ports: Vec<u16>,
    /// The hosts that must get through.
    pub from: Vec<String>,
}

/// Every port that the hosts use between each other, by listening host in the order of the inventory.
#[must_use]
pub fn openings(inventory: &Inventory) -> Vec<Opening> {
    let mut openings: Vec<Opening> = Vec::new();
    for to in &inventory.nodes {
        let others = inventory.nodes.iter().filter(|from| from.name != to.name);
        for (from, door) in others.flat_map(|from| {
            doors(inventory, from, to)
                .into_iter()
                .map(move |door| (from, door))
        }) {
            let is_same = |opening: &&mut Opening| {
                opening.to == to.name
                    && opening.address == door.address
                    && opening.ports == door.ports
            };
            match openings.iter_mut().find(is_same) {
                Some(opening) => opening.from.push(from.name.clone()),
                None => openings.push(Opening {
                    to: to.name.clone(),
                    address: door.address,
                    ports: door.ports,
                    from: vec![from.name.clone()],
                }),
            }
        }
    }
    openings
}

pub(super) fn judge_host(inventory: &Inventory, host: &Examined<'_>, verdict: &mut Verdict) {
    judge_addresses(host, verdict);
    judge_ports(inventory, host, verdict);
    judge_paths(host, verdict);
}

/// kubelet, apiserver and etcd announce the inventory's addresses: they must be the host's own, not ones that are translated.
fn judge_addresses(host: &Examined<'_>, verdict: &mut Verdict) {
    let lacks = |address| !host.machine.interfaces.is_empty() && !host.machine.holds(address);
    let address = host.node.address;
    if lacks(address) {
        verdict.refusals.push(host.finding(
            "address",
            format!("no interface holds {address}"),
            "write the address that the host itself has; how to reach it otherwise goes under its `ssh: { host: … }`",
        ));
    }
    let seat = host.node.etcd.filter(|seat| seat.peer_address != address);
    if let Some(seat) = seat.filter(|seat| lacks(seat.peer_address)) {
        verdict.refusals.push(host.finding(
            "peer-address",
            format!("no interface holds {}, at which etcd's members are to reach it", seat.peer_address),
            "bring that network up on it, or write the address that it has there as its `peer-address:` under `etcd: hosts:`",
        ));
    }
}

/// Ports that must be free or be our own program's, by the role of the host.
fn own_ports(inventory: &Inventory, node: &Node) -> Vec<(u16, &'static str)> {
    let mut ports = match node.role {
        Role::LoadBalancer => {
            let mut ports = vec![
                (inventory.vip.port, "haproxy"),
                (8404, "haproxy"),
                (8405, "haproxy"),
            ];
            if inventory.ingress.is_some() {
                ports.extend([(80, "haproxy"), (443, "haproxy")]);
            }
            ports
        }
        Role::Etcd => Vec::new(),
        Role::Master => vec![
            (API_SERVER_PORT, "kube-apiserver"),
            (10248, "kubelet"),
            (KUBELET, "kubelet"),
            (10257, "kube-controller-manager"),
            (10259, "kube-scheduler"),
        ],
        Role::Worker => vec![(10248, "kubelet"), (KUBELET, "kubelet")],
    };
    if inventory.runs_etcd(node) {
        ports.extend([CLIENT_PORT, PEER_PORT, METRICS].map(|port| (port, "etcd")));
    }
    ports
}

fn judge_ports(inventory: &Inventory, host: &Examined<'_>, verdict: &mut Verdict) {
    for (port, owner) in own_ports(inventory, host.node) {
        let taken = host.machine.listeners.iter().find(|listener| {
            listener.port == port && !is_own(&listener.process, owner, host.facts.joined)
        });
        let Some(listener) = taken else { continue };
        let process = if listener.process.is_empty() {
            "a process that cannot be named".to_owned()
        } else {
            format!("`{}`", crate::text::escape(&listener.process))
        };
        verdict.refusals.push(host.finding(
            "port",
            format!("port {port}, which {owner} needs, is held by {process}"),
            format!(
                "stop it and keep it from starting, or move it; `ss -ltnp sport = :{port}` shows it"
            ),
        ));
    }
}

/// The kernel keeps 15 characters of a process name. A process without one is ours where we are at work already.
fn is_own(process: &str, owner: &str, joined: bool) -> bool {
    if process.is_empty() {
        return joined;
    }
    process == owner || (process.len() >= 15 && owner.starts_with(process))
}

fn judge_paths(host: &Examined<'_>, verdict: &mut Verdict) {
    for (to, ports) in by_target(host, Path::Blocked) {
        verdict.refusals.push(host.finding(
            "reachability",
            format!("{to} does not answer on {}", list(&ports)),
            format!(
                "let {} reach {to} there: firewalls on both, security groups, routes",
                host.node.name
            ),
        ));
    }
    let unknown = by_target(host, Path::Unknown);
    if !unknown.is_empty() {
        verdict.warnings.push(host.finding(
            "reachability",
            format!(
                "could not be tried: {}",
                unknown.into_keys().collect::<Vec<_>>().join(", ")
            ),
            "install bash, netcat or curl on it for this check",
        ));
    }
}

fn by_target<'a>(host: &'a Examined<'_>, path: Path) -> BTreeMap<&'a str, Vec<u16>> {
    let mut targets: BTreeMap<&str, Vec<u16>> = BTreeMap::new();
    for reach in host.facts.reach.iter().filter(|reach| reach.path == path) {
        targets.entry(&reach.host).or_default().push(reach.port);
    }
    for ports in targets.values_mut() {
        ports.sort_unstable();
    }
    targets
}

fn list(ports: &[u16]) -> String {
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    ports.join(", ")
}

/// Whether somebody who is none of ours has the virtual IP or speaks VRRP under our router id.
///
/// Unicast advertisements between two strangers do not reach us and cannot be heard; multicast ones, the default, can.
pub(super) fn judge_virtual_ip(
    inventory: &Inventory,
    hosts: &[Examined<'_>],
    verdict: &mut Verdict,
) {
    if !inventory.vip.managed {
        return;
    }
    let is_held = hosts
        .iter()
        .any(|host| host.machine.holds(inventory.vip.address));
    let all_known = inventory
        .with_role(Role::LoadBalancer)
        .all(|node| hosts.iter().any(|host| host.node.name == node.name));
    if !is_held && all_known {
        verdict.refusals.extend(stranger(inventory, hosts));
    }
    let balancers = || {
        hosts
            .iter()
            .filter(|host| host.node.role == Role::LoadBalancer)
    };
    if let Some(router) = balancers().find_map(|host| foreign_router(inventory, host)) {
        verdict.refusals.push(router);
    }
    for host in balancers() {
        if host.facts.virtual_ip == Answer::Unknown {
            verdict.warnings.push(host.finding(
                "virtual-ip",
                format!("could not ask whether {} is in use", inventory.vip.address),
                "install ping on it for this check",
            ));
        }
        if host.facts.listened == Some(false) {
            verdict.warnings.push(host.finding(
                "router-id",
                format!(
                    "could not listen for other routers of id {}",
                    inventory.vip.router_id
                ),
                "install tcpdump on it for this check",
            ));
        }
    }
}

/// A finding if the virtual IP answers although none of our load balancers has it.
fn stranger(inventory: &Inventory, hosts: &[Examined<'_>]) -> Option<Finding> {
    let address = inventory.vip.address;
    hosts.iter().find_map(|host| {
        let Answer::By(mac) = &host.facts.virtual_ip else {
            return None;
        };
        Some(host.finding(
            "virtual-ip",
            format!(
                "{address} is in use by the machine with the hardware address {}",
                crate::text::escape(mac)
            ),
            "choose another `vip: { address: … }`, or take it away from that machine",
        ))
    })
}

fn foreign_router(inventory: &Inventory, host: &Examined<'_>) -> Option<Finding> {
    let id = inventory.vip.router_id;
    let is_ours = |address: &Ipv4Addr| inventory.nodes.iter().any(|node| node.address == *address);
    let (address, _) = host
        .facts
        .routers
        .iter()
        .find(|(address, heard)| *heard == id && !is_ours(address))?;
    let free = (1..=255)
        .rev()
        .find(|free| *free != 51 && host.facts.routers.iter().all(|(_, heard)| heard != free))?;
    Some(host.finding(
        "router-id",
        format!("{address} speaks VRRP under the router id {id} already"),
        format!("set another: `vip: {{ router-id: {free} }}`"),
    ))
}

#[cfg(test)]
mod tests;
