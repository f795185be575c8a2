//! `etcd:`: its members among the hosts, and its settings.

use std::net::Ipv4Addr;

use super::super::etcd::{Compaction, EtcdPackages, EtcdTopology, ExternalEtcd};
use super::super::etcd_spec::{
    CompactionSpec, EtcdHostSpec, EtcdPackagesKind, EtcdPackagesSpec, EtcdSpec,
};
use super::super::rules::etcd::{self as rules, Member};
use super::super::rules::files::Base;
use super::super::rules::{Findings, kubernetes, values};
use super::super::spec::{Spec, SshSpec};
use super::super::version::KubeVersion;
use super::super::{EtcdSeat, Node, Role, SshSettings};
use super::hosts::{Entry, Hosts, expanded};
use super::kubeadm::checked_map;
use super::{Above, list, optional, or_default, required, ssh};
use crate::input::{Entries, Field, Given, Place, Problem, Shorthand};

/// The members as they are listed.
#[derive(Default)]
pub(super) struct Members {
    /// Those that are right.
    pub members: Vec<Member>,
    /// How many are listed, right or not.
    listed: usize,
}

/// Finds the members: gives masters their seats and adds the hosts of etcd's own.
pub(super) fn members(
    base: &Base,
    spec: &Spec,
    general: &SshSettings,
    hosts: &mut Hosts,
    findings: &mut Findings,
) -> Members {
    let Some(given) = spec.etcd.given() else {
        return Members::default();
    };
    let above = Above::of(given);
    let Some(listed) = required(&given.value.hosts, "hosts", "masters", above, findings) else {
        return Members::default();
    };
    match &listed.value {
        Shorthand::Text(text) => {
            findings.keep(rules::only_masters(&listed.with(text.clone())));
            all_masters(listed.place, hosts)
        }
        Shorthand::Whole(Entries(entries)) => {
            let mut members = Members::default();
            for (name, value) in entries {
                let entry = Entry {
                    base,
                    role: Role::Etcd,
                    name,
                    general,
                };
                let group = Group { entry, hosts };
                members.add(group, value, findings);
            }
            members
        }
    }
}

fn all_masters(place: Place, hosts: &mut Hosts) -> Members {
    let mut members = Members {
        listed: hosts.count(Role::Master),
        members: Vec::new(),
    };
    let masters = hosts
        .hosts
        .iter_mut()
        .filter(|host| host.node.role == Role::Master);
    for host in masters {
        host.node.etcd = Some(EtcdSeat {
            peer_address: host.node.address,
        });
        members.members.push(Member {
            name: host.node.name.clone(),
            place,
            peer_address: None,
        });
    }
    members
}

/// One entry of `hosts`, which stands for one member or a range of them.
struct Group<'a> {
    entry: Entry<'a>,
    hosts: &'a mut Hosts,
}

impl Members {
    fn add(
        &mut self,
        mut group: Group<'_>,
        value: &Field<Shorthand<EtcdHostSpec>>,
        findings: &mut Findings,
    ) {
        let short = EtcdHostSpec::default();
        let (spec, address) = match value.given().map(|given| (&given.value, given)) {
            None => (&short, None),
            Some((Shorthand::Text(text), given)) => (&short, Some(given.with(text.clone()))),
            Some((Shorthand::Whole(spec), _)) => (spec, spec.address.given().cloned()),
        };
        let Some(names) = group.entry.names(findings) else {
            self.listed += 1;
            return;
        };
        self.listed += names.len();
        let is_master = |name: &String| group.hosts.is(name, Role::Master);
        let seated = match &address {
            Some(address) if !names.iter().any(is_master) => {
                group.own_hosts(spec, address, findings)
            }
            Some(address) => {
                let name = &group.entry.name.value;
                findings.refuse(rules::belongs_to_master(name, "address", address.place));
                None
            }
            None => group.masters(&names, spec, findings),
        };
        let peers = group.peers(spec, names.len(), findings);
        if let (Some(()), Some(peers)) = (seated, peers) {
            for (name, peer) in names.into_iter().zip(peers) {
                group.seat(&name, peer.as_ref().map(|peer| peer.value), findings);
                self.members.push(Member {
                    name,
                    place: group.entry.name.place,
                    peer_address: peer,
                });
            }
        }
    }
}

impl Group<'_> {
    /// Adds hosts that run etcd and nothing else, after the load balancers.
    fn own_hosts(
        &mut self,
        spec: &EtcdHostSpec,
        address: &Given<String>,
        findings: &mut Findings,
    ) -> Option<()> {
        let node = self.node(spec, findings);
        let found = self
            .entry
            .expanded_hosts(&node, Some(address), &spec.ssh, findings)?;
        let is_before = |role| matches!(role, Role::LoadBalancer | Role::Etcd);
        let after = self
            .hosts
            .hosts
            .iter()
            .rposition(|host| is_before(host.node.role));
        let at = after.map_or(0, |index| index + 1);
        self.hosts.hosts.splice(at..at, found);
        Some(())
    }

    fn node(&self, spec: &EtcdHostSpec, findings: &mut Findings) -> Node {
        let tags = spec.tags.value();
        Node {
            name: String::new(),
            address: Ipv4Addr::UNSPECIFIED,
            role: Role::Etcd,
            labels: std::collections::BTreeMap::new(),
            taints: None,
            tags: tags
                .map(|tags| list(tags, findings, kubernetes::tag))
                .unwrap_or_default(),
            weight: 100,
            etcd: None,
            ssh: ssh::of_host(self.entry.base, self.entry.general, &spec.ssh, findings),
        }
    }

    /// Refuses what is no master, and what is said of masters elsewhere.
    fn masters(
        &self,
        names: &[String],
        spec: &EtcdHostSpec,
        findings: &mut Findings,
    ) -> Option<()> {
        let name = &self.entry.name.value;
        let tags = spec.tags.given().map(|given| (given.key, "tags"));
        let ssh = |field: &Field<SshSpec>| field.given().map(|given| (given.key, "ssh"));
        for (key, what) in tags.into_iter().chain(ssh(&spec.ssh)) {
            findings.refuse(rules::belongs_to_master(name, what, key));
        }
        for name in names {
            if self.hosts.is(name, Role::Master) {
                continue;
            }
            let others = [
                (Role::LoadBalancer, "load balancer"),
                (Role::Worker, "worker"),
            ];
            let role = others.iter().find(|(role, _)| self.hosts.is(name, *role));
            let place = self.entry.name.place;
            findings.refuse(rules::no_master(name, place, role.map(|(_, word)| *word)));
            return None;
        }
        Some(())
    }

    /// The address for other members of each.
    fn peers(
        &self,
        spec: &EtcdHostSpec,
        count: usize,
        findings: &mut Findings,
    ) -> Option<Vec<Option<Given<Ipv4Addr>>>> {
        if matches!(spec.peer_address, Field::Wrong) {
            return None;
        }
        let Some(given) = spec.peer_address.given() else {
            return Some(vec![None; count]);
        };
        let texts = expanded(given, findings)?;
        if texts.len() != count {
            findings.refuse(self.entry.lengths_differ(count, texts.len(), given));
            return None;
        }
        let address = |text: &String| findings.keep(rules::peer_address(text, given)).map(Some);
        texts.iter().map(address).collect()
    }

    fn seat(&mut self, name: &str, peer: Option<Ipv4Addr>, findings: &mut Findings) {
        let mut hosts = self.hosts.hosts.iter_mut();
        let Some(host) = hosts.find(|host| host.node.name == name) else {
            return;
        };
        if host.node.etcd.is_some() {
            findings.refuse(
                Problem::at(
                    self.entry.name.place,
                    format!("etcd member `{name}` is listed twice"),
                )
                .help("list every member once"),
            );
        }
        host.node.etcd = Some(EtcdSeat {
            peer_address: peer.unwrap_or(host.node.address),
        });
    }
}

/// Resolves the settings, and judges members and settings together.
pub(super) fn topology(
    base: &Base,
    spec: &Spec,
    kubernetes: Option<KubeVersion>,
    hosts: &Hosts,
    members: &Members,
    findings: &mut Findings,
) -> Option<EtcdTopology> {
    let given = match &spec.etcd {
        Field::Absent => return Some(EtcdTopology::Stacked),
        Field::Empty(key) => {
            let problem = Problem::at(*key, "`etcd` says nothing");
            findings.refuse(problem.help("list its members under `hosts`, or remove this key"));
            return None;
        }
        Field::Wrong => return None,
        Field::Given(given) => given,
    };
    judge_members(spec, given, hosts, members, findings);
    let stacked = spec
        .kubeadm
        .value()
        .and_then(|kubeadm| kubeadm.etcd.given());
    rules::no_stacked_settings(stacked.map(|given| given.key), given.key, findings);
    let on_master = members
        .members
        .iter()
        .find(|member| hosts.is(&member.name, Role::Master));
    let etcd = &given.value;
    let version = required(
        &etcd.version,
        "version",
        "3.5.24",
        Above::of(given),
        findings,
    )
    .and_then(|version| findings.keep(rules::version(version, kubernetes)));
    let default = rules::default_data_directory();
    let data_directory = or_default(&etcd.data_directory, default, findings, |directory| {
        rules::data_directory(directory, on_master)
    });
    let snapshot_count = or_default(&etcd.snapshot_count, 10_000, findings, |number| {
        rules::count(number, "snapshot-count", 1000, 1_000_000)
    });
    let packages = packages(base, &etcd.packages, findings);
    let compaction = compaction(&etcd.compaction, findings);
    Some(EtcdTopology::External(ExternalEtcd {
        quota: or_default(&etcd.quota, 8 << 30, findings, rules::quota),
        extra: checked_map(&etcd.extra, findings, rules::extra),
        version: version?,
        packages: packages?,
        data_directory,
        compaction: compaction?,
        snapshot_count,
    }))
}

fn judge_members(
    spec: &Spec,
    given: &Given<EtcdSpec>,
    hosts: &Hosts,
    members: &Members,
    findings: &mut Findings,
) {
    let listed = given.value.hosts.given();
    if let Some(listed) = listed {
        rules::three_or_five(members.listed, listed.key, findings);
    }
    let network = given.value.peer_network.given();
    let network = network.and_then(|given| {
        let network = findings.keep(values::network(given))?;
        Some(given.with(network))
    });
    if let Some(network) = network {
        rules::peers_are_local(&members.members, &network, findings);
    }
    let vip = super::network::address_of(spec);
    rules::unique_peer_addresses(&members.members, &hosts.hosts, vip.as_ref(), findings);
    let clusters = super::network::clusters(spec);
    rules::peers_are_outside(&members.members, clusters, findings);
}

fn packages(
    base: &Base,
    field: &Field<EtcdPackagesSpec>,
    findings: &mut Findings,
) -> Option<EtcdPackages> {
    let Some(given) = field.given() else {
        return (!matches!(field, Field::Wrong)).then_some(EtcdPackages::Distribution);
    };
    let spec = &given.value;
    let kind = spec.source.value().copied();
    match kind.unwrap_or(EtcdPackagesKind::Distribution) {
        EtcdPackagesKind::Mirror => {
            let above = Above::of(given);
            let example = "https://mirror.company.local/etcd/";
            let (url, key) =
                super::settings::repository(base, [&spec.url, &spec.key], example, above, findings);
            Some(EtcdPackages::Mirror {
                url: url?,
                key: key?,
            })
        }
        other => {
            super::settings::refuse_repository([&spec.url, &spec.key], findings);
            Some(match other {
                EtcdPackagesKind::Preinstalled => EtcdPackages::Preinstalled,
                EtcdPackagesKind::Distribution | EtcdPackagesKind::Mirror => {
                    EtcdPackages::Distribution
                }
            })
        }
    }
}

fn compaction(field: &Field<CompactionSpec>, findings: &mut Findings) -> Option<Compaction> {
    match field {
        Field::Wrong => None,
        Field::Absent | Field::Empty(_) => Some(Compaction::Periodic("8h".to_owned())),
        Field::Given(given) => match &given.value {
            CompactionSpec::None => Some(Compaction::None),
            CompactionSpec::Periodic(age) => {
                required(age, "periodic", "8h", Above::of(given), findings)?;
                optional(age, findings, rules::retention).map(Compaction::Periodic)
            }
            CompactionSpec::Revision(number) => {
                required(number, "revision", "10000", Above::of(given), findings)?;
                optional(number, findings, |number| {
                    rules::count(number, "revision", 1, 100_000_000)
                })
                .map(Compaction::Revision)
            }
        },
    }
}
