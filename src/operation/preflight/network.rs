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
    let mut targets: Vec<String> = inventory
        .nodes
        .iter()
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
    judge_address(host, verdict);
    judge_ports(inventory, host, verdict);
    judge_paths(host, verdict);
}

/// kubelet, apiserver and etcd announce the inventory's address: it must be the host's own, not one that is translated.
fn judge_address(host: &Examined<'_>, verdict: &mut Verdict) {
    if host.machine.interfaces.is_empty() || host.machine.holds(host.node.address) {
        return;
    }
    verdict.refusals.push(host.finding(
        "address",
        format!("no interface holds {}", host.node.address),
        "write the address that the host itself has; how to reach it otherwise goes under its `ssh: { host: … }`",
    ));
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
mod tests {
    #![expect(clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use crate::host::facts::Listener;
    use crate::operation::fixture::{Site, checks};

    #[test]
    fn each_role_tries_the_paths_that_the_cluster_uses() {
        let mut site = Site::new();
        let of = |site: &Site, host: &str| {
            targets(&site.inventory, site.inventory.node(host).expect("a host")).join(" ")
        };
        assert_eq!(
            of(&site, "lb1"),
            "master1,10.1.1.101,6443 master2,10.1.1.102,6443 master3,10.1.1.103,6443"
        );
        assert_eq!(
            of(&site, "master3"),
            "lb1,10.1.1.11,6443 lb2,10.1.1.12,6443 master1,10.1.1.101,2379,2380,6443,10250 \
             master2,10.1.1.102,2379,2380,6443,10250 worker1,10.1.1.201,10250"
        );
        site.inventory.vip.managed = false;
        assert_eq!(
            of(&site, "worker1"),
            "lb1,10.1.1.11,6443 lb2,10.1.1.12,6443 virtual-ip,10.1.1.100,6443"
        );
    }

    #[test]
    fn members_of_an_external_etcd_are_reached_by_their_two_addresses() {
        let path = "inventory/external-etcd.yaml";
        let inventory = Inventory::load(path.into()).expect("a sample").inventory;
        let of = |host: &str| targets(&inventory, inventory.node(host).expect("a host")).join(" ");
        assert_eq!(
            of("etcd1"),
            "etcd2,10.1.1.22,2379 etcd2,10.2.2.22,2380 etcd3,10.1.1.23,2379 etcd3,10.2.2.23,2380"
        );
        assert_eq!(
            of("master1"),
            "lb1,10.1.1.11,6443 lb2,10.1.1.12,6443 etcd1,10.1.1.21,2379 etcd2,10.1.1.22,2379 \
             etcd3,10.1.1.23,2379 master2,10.1.1.102,6443,10250 worker1,10.1.1.201,10250"
        );
        assert_eq!(of("worker1"), "lb1,10.1.1.11,6443 lb2,10.1.1.12,6443");
        let etcd: Vec<String> = openings(&inventory)
            .iter()
            .filter(|opening| opening.to == "etcd1")
            .map(|it| format!("{} {:?} from {}", it.address, it.ports, it.from.join(" ")))
            .collect();
        assert_eq!(
            etcd,
            [
                "10.1.1.21 [2379] from etcd2 etcd3 master1 master2",
                "10.2.2.21 [2380] from etcd2 etcd3"
            ]
        );
    }

    #[test]
    fn a_blocked_path_is_refused_and_an_untried_one_noted() {
        let mut site = Site::new();
        site.script(
            "master1",
            "joined no\nreach master2 2380 blocked\nreach master2 2379 blocked\nreach lb1 6443 closed\n",
        );
        site.script("worker1", "joined no\nreach lb1 6443 unknown\n");
        let verdict = site.judge();
        assert_eq!(checks(&verdict.refusals), ["reachability"]);
        assert_eq!(
            verdict.refusals[0].what,
            "master2 does not answer on 2379, 2380"
        );
        assert_eq!(verdict.warnings[0].host, "worker1");
    }

    /// Host, port, process, whether it is at work already, whether that is refused.
    #[test]
    fn a_port_may_be_held_by_its_own_program_only() {
        for (host, port, process, joined, refused) in [
            ("lb1", 6443, "haproxy", false, false),
            ("lb1", 6443, "nginx", false, true),
            ("lb1", 2379, "etcd", false, false),
            ("master1", 2379, "etcd", false, false),
            ("master1", 2379, "", false, true),
            ("master1", 2379, "", true, false),
            ("master1", 2379, "postgres", true, true),
            ("master1", 10257, "kube-controller", true, false),
            ("master1", 10257, "kube", true, true),
            ("worker1", 10250, "kubelet", true, false),
            ("worker1", 6443, "nginx", false, false),
        ] {
            let mut site = Site::new();
            site.machine(host).listeners = vec![Listener {
                port,
                process: process.to_owned(),
            }];
            site.script(
                host,
                if joined {
                    "joined yes\n"
                } else {
                    "joined no\n"
                },
            );
            assert_eq!(
                site.judge().is_refusal(),
                refused,
                "{host} {port} {process}"
            );
        }
    }

    #[test]
    fn a_virtual_ip_that_answers_is_taken_unless_we_hold_it() {
        let mut site = Site::new();
        site.script("lb1", "joined no\nvip answered 52:54:00:aa:bb:cc\n");
        assert_eq!(checks(&site.judge().refusals), ["virtual-ip"]);
        let vip = site.inventory.vip.address;
        site.machine("lb2").interfaces[0].addresses.push((vip, 24));
        assert_eq!(checks(&site.judge().refusals), [""; 0]);
    }

    #[test]
    fn a_holder_that_was_not_read_is_given_the_benefit_of_the_doubt() {
        let mut site = Site::new();
        site.script("lb1", "joined no\nvip answered 52:54:00:aa:bb:cc\n");
        site.forget("lb2");
        assert!(!site.judge().is_refusal());
    }

    /// What was heard, and whether it is refused; ours is 77, 10.1.1.12 is lb2.
    #[test]
    fn a_foreign_router_of_the_same_id_is_refused() {
        for (heard, refused) in [
            ("vrrp 10.1.1.9 77", true),
            ("vrrp 10.1.1.9 78", false),
            ("vrrp 10.1.1.12 77", false),
        ] {
            let mut site = Site::new();
            site.script("lb1", &format!("joined no\nlistened yes\n{heard}\n"));
            let verdict = site.judge();
            assert_eq!(verdict.is_refusal(), refused, "{heard}");
        }
        let mut site = Site::new();
        site.script("lb1", "joined no\nlistened no\nvip unknown\n");
        assert_eq!(checks(&site.judge().warnings), ["virtual-ip", "router-id"]);
    }

    #[test]
    fn an_address_that_the_host_does_not_have_is_refused() {
        let mut site = Site::new();
        site.machine("worker1").interfaces[0].addresses.clear();
        assert_eq!(checks(&site.judge().refusals), ["address"]);
    }
}
