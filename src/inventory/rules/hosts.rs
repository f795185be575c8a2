//! Rules for the hosts together: how many of each role, and nothing twice.

use std::collections::HashMap;
use std::hash::Hash;

use super::Findings;
use crate::input::{Given, Place, Problem};
use crate::inventory::{Node, Role};

/// A host with the places of its name and address.
#[derive(Debug, Clone)]
pub struct Host {
    /// The host.
    pub node: Node,
    /// Where its name stands.
    pub name: Place,
    /// Where its address stands.
    pub address: Place,
}

/// Some masters; one with a warning.
pub fn some_masters(count: usize, place: Place, findings: &mut Findings) {
    match count {
        0 => findings.refuse(Problem::at(place, "there are no masters").help(
            "list at least one, three for high availability: `masters: { master1: 10.1.1.101 }`",
        )),
        1 => findings.warn(
            Problem::at(place, "one master is not highly available")
                .help("three masters survive the loss of one"),
        ),
        _ => {}
    }
}

/// An odd number of masters, since each has a vote in stacked etcd; one with a warning.
pub fn odd_masters(count: usize, place: Place, findings: &mut Findings) {
    some_masters(count, place, findings);
    match count {
        0 => {}
        count if count % 2 == 0 => findings.refuse(
            Problem::at(
                place,
                format!(
                    "an even number of masters: {count} survive no more losses than {}",
                    count - 1
                ),
            )
            .help(format!("list {} or {} masters", count - 1, count + 1)),
        ),
        count if count > 7 => findings.warn(
            Problem::at(
                place,
                format!("{count} masters make etcd slower, not safer"),
            )
            .help("five masters survive the loss of two, seven of three"),
        ),
        _ => {}
    }
}

/// Load balancers where quorate manages them, and only there.
pub fn enough_load_balancers(
    count: usize,
    place: Place,
    managed: Option<&Given<bool>>,
    findings: &mut Findings,
) {
    let unmanaged = managed.filter(|managed| !managed.value);
    match (count, unmanaged) {
        (0, None) => findings.refuse(Problem::at(place, "there are no load balancers").help(
            "list two under `lb`, or write `vip: { managed: false }` if somebody else runs them",
        )),
        (1, None) => findings.warn(
            Problem::at(place, "one load balancer is not highly available")
                .help("a second one takes over the VIP within seconds"),
        ),
        (0, Some(_)) | (_, None) => {}
        (_, Some(managed)) => findings.refuse(
            Problem::at(
                place,
                "load balancers are listed, but somebody else runs them",
            )
            .related(managed.key, "said here")
            .help("remove `lb`, or `managed: false`"),
        ),
    }
}

/// No name twice.
pub fn unique_names(hosts: &[Host], findings: &mut Findings) {
    let named = hosts.iter().map(|host| (host.node.name.clone(), host.name));
    for (name, place, first) in duplicates(named) {
        findings.refuse(
            Problem::at(place, format!("host name `{name}` is used twice"))
                .related(first, "first here")
                .help("give every host its own name"),
        );
    }
}

/// No address twice.
pub fn unique_addresses(hosts: &[Host], findings: &mut Findings) {
    let addressed = hosts.iter().map(|host| (host.node.address, host.address));
    for (address, place, first) in duplicates(addressed) {
        findings.refuse(
            Problem::at(place, format!("address {address} is used twice"))
                .related(first, "first here")
                .help("give every host its own address"),
        );
    }
}

/// The second and later occurrences, once per pair of places.
fn duplicates<T: Clone + Eq + Hash>(
    items: impl Iterator<Item = (T, Place)>,
) -> Vec<(T, Place, Place)> {
    let mut firsts: HashMap<T, Place> = HashMap::new();
    let mut found: Vec<(T, Place, Place)> = Vec::new();
    for (item, place) in items {
        let Some(first) = firsts.get(&item).copied() else {
            firsts.insert(item, place);
            continue;
        };
        let is_new = found
            .iter()
            .all(|(_, known_place, known_first)| (*known_place, *known_first) != (place, first));
        if is_new {
            found.push((item, place, first));
        }
    }
    found
}

/// Some master takes connections.
pub fn some_master_has_weight(hosts: &[Host], findings: &mut Findings) {
    let mut masters = hosts.iter().filter(|host| host.node.role == Role::Master);
    let Some(first) = masters.next() else { return };
    if first.node.weight == 0 && masters.all(|host| host.node.weight == 0) {
        findings.refuse(
            Problem::at(
                first.name,
                "every master has weight 0, so none takes connections",
            )
            .help("give at least one master a weight from 1 to 256"),
        );
    }
}
