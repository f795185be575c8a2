//! Hosts: ranges expanded, each with its role.

use std::collections::{BTreeMap, HashMap};

use super::super::hosts_spec::HostSpec;
use super::super::range::{RangeError, expand, is_range};
use super::super::rules::files::Base;
use super::super::rules::hosts::Host;
use super::super::rules::{Findings, kubernetes, values};
use super::super::spec::{Spec, SshSpec};
use super::super::{Node, Role, SshSettings};
use super::{Above, entries, list, required, ssh};
use crate::input::{Entries, Field, Given, Place, Problem, Shorthand};

/// The hosts that are right, and how many are listed.
pub(super) struct Hosts {
    /// In the order of roles, then of the file.
    pub hosts: Vec<Host>,
    listed: HashMap<Role, usize>,
}

impl Hosts {
    /// Whether a name is that of a host of this role.
    pub fn is(&self, name: &str, role: Role) -> bool {
        self.hosts
            .iter()
            .any(|host| host.node.role == role && host.node.name == name)
    }

    /// How many hosts of a role are listed, right or not.
    pub fn count(&self, role: Role) -> usize {
        self.listed.get(&role).copied().unwrap_or_default()
    }
}

/// Resolves all three roles.
pub(super) fn resolve(
    base: &Base,
    spec: &Spec,
    general: &SshSettings,
    findings: &mut Findings,
) -> Hosts {
    let mut all = Hosts {
        hosts: Vec::new(),
        listed: HashMap::new(),
    };
    let roles = [
        (Role::LoadBalancer, &spec.lb),
        (Role::Master, &spec.masters),
        (Role::Worker, &spec.workers),
    ];
    for (role, entries) in roles {
        for (name, value) in entries.value().map_or(&[][..], |Entries(list)| list) {
            let entry = Entry {
                base,
                role,
                name,
                general,
            };
            let listed = expand(&name.value).map_or(1, |names| names.len());
            *all.listed.entry(role).or_default() += listed;
            all.hosts
                .extend(entry.hosts(value, findings).unwrap_or_default());
        }
    }
    all
}

/// One entry of a role's map, which stands for one host or a range of them.
pub(super) struct Entry<'a> {
    pub base: &'a Base,
    pub role: Role,
    pub name: &'a Given<String>,
    pub general: &'a SshSettings,
}

impl Entry<'_> {
    fn hosts(
        &self,
        value: &Field<Shorthand<HostSpec>>,
        findings: &mut Findings,
    ) -> Option<Vec<Host>> {
        if value.is_absent() {
            let name = &self.name.value;
            findings.refuse(
                Problem::at(self.name.place, format!("`{name}` has no address"))
                    .help(format!("write `{name}: 10.1.1.101`")),
            );
        }
        let given = value.given();
        let short = HostSpec::default();
        let (spec, address) = match given.map(|given| (&given.value, given)) {
            None => (&short, None),
            Some((Shorthand::Text(text), given)) => (&short, Some(given.with(text.clone()))),
            Some((Shorthand::Whole(spec), given)) => {
                let above = Above::of(given);
                let address = required(&spec.address, "address", "10.1.1.101", above, findings);
                (spec, address.cloned())
            }
        };
        let node = self.node(spec, findings);
        self.expanded_hosts(&node, address.as_ref(), &spec.ssh, findings)
    }

    /// The hosts that the entry stands for, each with its name, its address and what else they have in common.
    pub fn expanded_hosts(
        &self,
        node: &Node,
        address: Option<&Given<String>>,
        ssh: &Field<SshSpec>,
        findings: &mut Findings,
    ) -> Option<Vec<Host>> {
        let names = self.names(findings);
        let addresses = address.and_then(|address| expanded(address, findings));
        let (names, address, addresses) = (names?, address?, addresses?);
        if names.len() != addresses.len() {
            findings.refuse(self.lengths_differ(names.len(), addresses.len(), address));
            return None;
        }
        let ssh_hosts = ssh_hosts(ssh, names.len(), findings)?;
        let mut hosts = Vec::new();
        for ((name, address_text), ssh_host) in names.into_iter().zip(addresses).zip(ssh_hosts) {
            let mut node = node.clone();
            node.address = findings.keep(values::host_address(&address_text, address.place))?;
            node.name = name;
            node.ssh.host = ssh_host;
            hosts.push(Host {
                node,
                name: self.name.place,
                address: address.place,
            });
        }
        Some(hosts)
    }

    /// The names that the entry stands for.
    pub fn names(&self, findings: &mut Findings) -> Option<Vec<String>> {
        let names = expanded(self.name, findings)?;
        let first_wrong = names
            .iter()
            .find_map(|name| values::dns_label("host name", name, self.name.place).err());
        match first_wrong {
            None => Some(names),
            Some(problem) => {
                findings.refuse(problem);
                None
            }
        }
    }

    pub fn lengths_differ(
        &self,
        names: usize,
        addresses: usize,
        address: &Given<String>,
    ) -> Problem {
        let name = &self.name.value;
        Problem::at(
            address.place,
            format!(
                "`{name}` stands for {names} hosts, `{}` for {addresses} addresses",
                address.value
            ),
        )
        .related(self.name.place, "these hosts")
        .help("write two ranges of the same length, for example `worker[02-20]: 10.1.1.[202-220]`")
    }

    /// Everything of a host except its name and address.
    fn node(&self, spec: &HostSpec, findings: &mut Findings) -> Node {
        self.refuse_what_the_role_lacks(spec, findings);
        let weight = spec
            .weight
            .given()
            .and_then(|weight| findings.keep(values::within(weight, "weight", 0, 256)));
        Node {
            name: String::new(),
            address: std::net::Ipv4Addr::UNSPECIFIED,
            role: self.role,
            labels: labels(&spec.labels, findings),
            taints: spec
                .taints
                .given()
                .map(|taints| list(&taints.value, findings, kubernetes::taint)),
            tags: spec
                .tags
                .value()
                .map(|tags| list(tags, findings, kubernetes::tag))
                .unwrap_or_default(),
            weight: weight.unwrap_or(100),
            etcd: None,
            ssh: ssh::of_host(self.base, self.general, &spec.ssh, findings),
        }
    }

    fn refuse_what_the_role_lacks(&self, spec: &HostSpec, findings: &mut Findings) {
        let mut refuse = |key: Option<Place>, what: &str, whose: &str| {
            if let Some(key) = key {
                findings.refuse(
                    Problem::at(key, format!("only {whose} have {what}")).help("remove this key"),
                );
            }
        };
        if self.role != Role::Master {
            refuse(
                spec.weight.given().map(|given| given.key),
                "a weight",
                "masters",
            );
        }
        if self.role == Role::LoadBalancer {
            let whose = "masters and workers";
            refuse(spec.labels.given().map(|given| given.key), "labels", whose);
            refuse(spec.taints.given().map(|given| given.key), "taints", whose);
        }
    }
}

/// `ssh.host` for each host: one text for one host, a range for a range.
fn ssh_hosts(
    ssh: &Field<SshSpec>,
    count: usize,
    findings: &mut Findings,
) -> Option<Vec<Option<String>>> {
    let Some(host) = ssh.value().and_then(|ssh| ssh.host.given()) else {
        return Some(vec![None; count]);
    };
    let texts = expanded(host, findings)?;
    findings.keep(values::login(
        "SSH host",
        &host.with(texts.first()?.clone()),
    ))?;
    if texts.len() != count {
        let example = if is_range(&host.value) {
            "of the same length"
        } else {
            "as the name has"
        };
        findings.refuse(
            Problem::at(
                host.place,
                format!("{count} hosts cannot share the SSH host `{}`", host.value),
            )
            .help(format!("write a range {example}")),
        );
        return None;
    }
    Some(texts.into_iter().map(Some).collect())
}

/// The texts that a range stands for.
pub(super) fn expanded(given: &Given<String>, findings: &mut Findings) -> Option<Vec<String>> {
    findings.keep(expand(&given.value).map_err(|error| {
        let help = match &error {
            RangeError::Malformed(_) => {
                "write `[FIRST-LAST]` with two numbers, for example `worker[02-20]`".to_owned()
            }
            RangeError::Empty(first, last) => format!("write `[{last}-{first}]`"),
            RangeError::TooLong(..) => "write several shorter ranges".to_owned(),
        };
        Problem::at(given.place, error.to_string()).help(help)
    }))
}

fn labels(field: &Field<Entries<String>>, findings: &mut Findings) -> BTreeMap<String, String> {
    entries(field, findings)
        .into_iter()
        .filter_map(|(key, value)| findings.keep(kubernetes::label(key, value)))
        .collect()
}
