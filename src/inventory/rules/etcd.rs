//! Rules for an etcd cluster of its own.

use std::net::Ipv4Addr;

use camino::Utf8PathBuf;
use ipnetwork::Ipv4Network;

use super::hosts::Host;
use super::kubernetes::is_plain_key;
use super::networks::Cidr;
use super::{Findings, values};
use crate::input::{Given, Place, Problem};
use crate::inventory::etcd::{EtcdVersion, NotAccepted, is_emptied_by_reset};
use crate::inventory::version::KubeVersion;

/// Settings that the inventory has a field for, that follow from the hosts, or that quorate cannot do without.
const OWN: [(&str, &str); 21] = [
    ("quota-backend-bytes", "write `quota`"),
    ("auto-compaction-mode", "write `compaction`"),
    ("auto-compaction-retention", "write `compaction`"),
    ("snapshot-count", "write `snapshot-count`"),
    ("data-dir", "write `data-directory`"),
    ("name", HOSTS),
    ("listen-client-urls", HOSTS),
    ("advertise-client-urls", HOSTS),
    ("listen-peer-urls", HOSTS),
    ("initial-advertise-peer-urls", HOSTS),
    ("initial-cluster", HOSTS),
    ("initial-cluster-token", HOSTS),
    ("initial-cluster-state", HOSTS),
    ("listen-metrics-urls", REMOVE),
    ("client-transport-security", REMOVE),
    ("peer-transport-security", REMOVE),
    ("logger", REMOVE),
    ("enable-grpc-gateway", REMOVE),
    ("pre-vote", REMOVE),
    ("force-new-cluster", REMOVE),
    ("wal-dir", REMOVE),
];
const HOSTS: &str = "remove it: it follows from `hosts`";
const REMOVE: &str = "remove it: quorate sets it, or would not find what it changes";

/// Quotas that etcd works with: less than this is soon full, more than this it warns of.
const QUOTA: std::ops::RangeInclusive<u64> = 64 << 20..=8 << 30;

/// A member as it is listed.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its host's name.
    pub name: String,
    /// Where that stands.
    pub place: Place,
    /// The address for the other members, if it has one of its own.
    pub peer_address: Option<Given<Ipv4Addr>>,
}

/// Three members or five.
pub fn three_or_five(count: usize, place: Place, findings: &mut Findings) {
    if count == 3 || count == 5 {
        return;
    }
    let problem = if count > 0 && count.is_multiple_of(2) {
        format!(
            "an even number of etcd members: {count} survive no more losses than {}",
            count - 1
        )
    } else {
        format!("{count} etcd members, where three or five are wanted")
    };
    findings.refuse(Problem::at(place, problem).help(
        "list three members, which survive the loss of one, or five, which survive that of two",
    ));
}

/// Where there is a network for peers, every member has an address in it.
pub fn peers_are_local(members: &[Member], network: &Given<Ipv4Network>, findings: &mut Findings) {
    for member in members {
        let name = &member.name;
        match &member.peer_address {
            None => findings.refuse(
                Problem::at(
                    member.place,
                    format!("{name} has no address in the peer network"),
                )
                .related(network.place, "said here")
                .help(format!(
                    "give it one in {}: `peer-address: ADDRESS`",
                    network.value
                )),
            ),
            Some(address) if !network.value.contains(address.value) => findings.refuse(
                Problem::at(
                    address.place,
                    format!(
                        "the peer address {} of {name} is outside the peer network {}",
                        address.value, network.value
                    ),
                )
                .related(network.place, "said here")
                .help("correct the address or `peer-network`"),
            ),
            Some(_) => {}
        }
    }
}

/// A peer address belongs to one member and to nothing else.
pub fn unique_peer_addresses(
    members: &[Member],
    hosts: &[Host],
    vip: Option<&Given<Ipv4Addr>>,
    findings: &mut Findings,
) {
    let peers = || {
        members
            .iter()
            .filter_map(|member| member.peer_address.as_ref())
    };
    for (index, peer) in peers().enumerate() {
        let address = peer.value;
        let of_peer = peers().take(index).find(|other| other.value == address);
        let of_host = hosts.iter().find(|host| host.node.address == address);
        let of_vip = vip.filter(|vip| vip.value == address);
        let first = of_peer
            .map(|other| other.place)
            .or(of_host.map(|host| host.address))
            .or(of_vip.map(|vip| vip.place));
        if let Some(first) = first {
            findings.refuse(
                Problem::at(peer.place, format!("address {address} is used twice"))
                    .related(first, "first here")
                    .help("give every member a peer address of its own, or none: then peers use its address"),
            );
        }
    }
}

/// Peers do not share addresses with pods or services.
pub fn peers_are_outside(members: &[Member], clusters: Vec<Cidr>, findings: &mut Findings) {
    for Cidr { what, network, .. } in clusters {
        let inside = |peer: &&Given<Ipv4Addr>| network.contains(peer.value);
        let peers = members
            .iter()
            .filter_map(|member| member.peer_address.as_ref());
        if let Some(peer) = peers.clone().find(inside) {
            findings.refuse(
                Problem::at(
                    peer.place,
                    format!(
                        "the peer address {} is in the {what} network {network}",
                        peer.value
                    ),
                )
                .help(format!(
                    "choose another peer network, or `network: {{ {what}s: CIDR }}`"
                )),
            );
        }
    }
}

/// A version of etcd, `3.5.24`, that this Kubernetes and quorate work with.
pub fn version(
    given: &Given<String>,
    kubernetes: Option<KubeVersion>,
) -> Result<EtcdVersion, Problem> {
    let text = &given.value;
    let version: EtcdVersion = text.parse().map_err(|_| {
        let plain = text.trim().trim_start_matches(['v', 'V']);
        let help = match plain.parse::<EtcdVersion>() {
            Ok(right) => format!("write `{right}`"),
            Err(_) => "write it as `3.5.24`".to_owned(),
        };
        Problem::at(given.place, format!("`{text}` is not an etcd version")).help(help)
    })?;
    version.accepted_by(kubernetes).map_err(|refused| {
        let help = match &refused {
            NotAccepted::TooOld { oldest, .. } => format!("write `{oldest}` or newer"),
            NotAccepted::Unspoken { .. } => "write a version of etcd 3".to_owned(),
        };
        Problem::at(given.place, refused.to_string()).help(help)
    })?;
    Ok(version)
}

/// A directory for members' data; `masters`: whether some of them live on masters.
pub fn data_directory(
    given: &Given<String>,
    on_masters: Option<&Member>,
) -> Result<Utf8PathBuf, Problem> {
    let path = Utf8PathBuf::from(&given.value);
    let is_plain = given
        .value
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"._-/".contains(&b));
    let is_good = path.is_absolute()
        && is_plain
        && path.components().count() > 2
        && path.components().all(|part| part.as_str() != "..");
    if !is_good {
        return Err(Problem::at(
            given.place,
            format!("`{path}` is no directory for etcd's data"),
        )
        .help("write an absolute path of its own, for example `/var/lib/etcd-external`"));
    }
    match on_masters {
        Some(master) if is_emptied_by_reset(&path) => Err(Problem::at(
            given.place,
            format!("`kubeadm reset` on a master would empty {path}"),
        )
        .related(master.place, "this member is on a master")
        .help("write another directory, for example `/var/lib/etcd-external`")),
        Some(_) | None => Ok(path),
    }
}

/// A size: `2GiB`, `512MiB`, or bytes.
pub fn quota(given: &Given<String>) -> Result<u64, Problem> {
    let text = given.value.trim();
    let units = [("GiB", 30), ("MiB", 20), ("", 0)];
    let bytes = units.into_iter().find_map(|(unit, shift)| {
        let number: u64 = text.strip_suffix(unit)?.trim().parse().ok()?;
        number.checked_mul(1 << shift)
    });
    bytes.filter(|bytes| QUOTA.contains(bytes)).ok_or_else(|| {
        Problem::at(given.place, format!("`{text}` is no quota for etcd"))
            .help("write a size from `64MiB` to `8GiB`")
    })
}

/// An age of revisions: a whole number of hours or minutes, as etcd reads it.
pub fn retention(given: &Given<String>) -> Result<String, Problem> {
    let text = &given.value;
    let number = text.strip_suffix('h').or(text.strip_suffix('m'));
    let is_good = number.is_some_and(|number| number.parse::<u16>().is_ok_and(|number| number > 0));
    if is_good {
        return Ok(text.clone());
    }
    Err(
        Problem::at(given.place, format!("`{text}` is no age of revisions"))
            .help("write hours or minutes, for example `8h` or `90m`"),
    )
}

/// A whole number between two bounds that are larger than a port's.
pub fn count(given: &Given<i64>, what: &str, least: u32, most: u32) -> Result<u32, Problem> {
    u32::try_from(given.value)
        .ok()
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| {
            Problem::at(
                given.place,
                format!("{what} {} is outside {least} to {most}", given.value),
            )
            .help(format!("write a number from {least} to {most}"))
        })
}

/// A further setting of etcd's configuration file, which no field has and which may be the same on all members.
pub fn extra(key: &Given<String>) -> Result<String, Problem> {
    let text = &key.value;
    if let Some((_, help)) = OWN.iter().find(|(own, _)| own == text) {
        return Err(Problem::at(
            key.place,
            format!("etcd's `{text}` is not set under `extra`"),
        )
        .help(*help));
    }
    if is_plain_key(text) {
        return Ok(text.clone());
    }
    Err(
        Problem::at(key.place, format!("`{text}` is not a setting of etcd"))
            .help("write it as in etcd's configuration file, for example `heartbeat-interval`"),
    )
}

/// What is said of stacked etcd does not stand beside a cluster of its own.
pub fn no_stacked_settings(stacked: Option<Place>, external: Place, findings: &mut Findings) {
    if let Some(place) = stacked {
        findings.refuse(
            Problem::at(
                place,
                "flags of stacked etcd, but etcd is a cluster of its own",
            )
            .related(external, "said here")
            .help("write them under `etcd: { extra: … }`, or remove `etcd`"),
        );
    }
}

/// A host that is listed without an address is a master.
pub fn no_master(name: &str, place: Place, role: Option<&'static str>) -> Problem {
    let (problem, help) = match role {
        Some(role) => (
            format!("etcd cannot live on `{name}`, which is a {role}"),
            "name a master, or a host of its own with an address".to_owned(),
        ),
        None => (
            format!("`{name}` is no master and has no address"),
            format!("write `{name}: 10.1.1.21`, or the name of a master"),
        ),
    };
    Problem::at(place, problem).help(help)
}

/// A name of `hosts` in its short form.
pub fn only_masters(given: &Given<String>) -> Result<(), Problem> {
    if given.value == "masters" {
        return Ok(());
    }
    Err(Problem::at(
        given.place,
        format!("`{}` is no group of hosts", given.value),
    )
    .help("write `masters`, or a map of hosts: `{ etcd1: 10.1.1.21 }`"))
}

/// What of a master stands with the master.
pub fn belongs_to_master(name: &str, what: &str, key: Place) -> Problem {
    Problem::at(
        key,
        format!("`{name}` is a master: `{what}` stands in its own entry"),
    )
    .help(format!(
        "write `{name}: {{}}`, with `peer-address` if it has one"
    ))
}

/// The default place of data.
pub fn default_data_directory() -> Utf8PathBuf {
    Utf8PathBuf::from("/var/lib/etcd-external")
}

/// An address for other members.
pub fn peer_address(text: &str, given: &Given<String>) -> Result<Given<Ipv4Addr>, Problem> {
    values::host_address(text, given.place).map(|address| given.with(address))
}
