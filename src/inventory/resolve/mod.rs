//! From what is written to what is meant: defaults applied, every rule checked.
//!
//! Each part of the file is resolved on its own and yields `None` when something in it was refused; the others go on, so
//! that [`Findings`] holds everything at the end.

use camino::Utf8Path;

use super::rules::files::Base;
use super::rules::{Findings, hosts as rules, values};
use super::spec::{ClusterSpec, Spec};
use super::version::KubeVersion;
use super::{Inventory, Role};
use crate::input::{Entries, Field, Given, Place, Problem, question};

mod etcd;
mod hosts;
mod kubeadm;
mod network;
mod settings;
mod ssh;

/// Resolves the whole file; `None` when anything was refused.
pub(super) fn resolve(path: &Utf8Path, spec: &Spec, findings: &mut Findings) -> Option<Inventory> {
    let base = Base::of(path);
    let ssh = ssh::general(&base, &spec.ssh, findings);
    let mut hosts = hosts::resolve(&base, spec, &ssh, findings);
    let members = etcd::members(&base, spec, &ssh, &mut hosts, findings);
    let cluster = required(
        &spec.cluster,
        "cluster",
        "{ name: NAME, kubernetes: v1.36.2 }",
        Above::TOP,
        findings,
    )
    .map(|cluster| resolve_cluster(cluster, findings));
    let name = cluster.as_ref().and_then(|cluster| cluster.name.clone());
    let vip = required(
        &spec.vip,
        "vip",
        "{ address: 10.1.1.100 }",
        Above::TOP,
        findings,
    )
    .and_then(|vip| network::vip(vip, name.as_deref(), &hosts, spec, findings));
    let domain = cluster.as_ref().and_then(|cluster| cluster.domain.clone());
    let network = network::network(spec, domain, &hosts, findings);
    count_hosts(spec, &hosts, findings);
    rules::unique_names(&hosts.hosts, findings);
    rules::unique_addresses(&hosts.hosts, findings);
    rules::some_master_has_weight(&hosts.hosts, findings);

    let packages = settings::packages(&base, &spec.packages, findings);
    let containerd = settings::containerd(&spec.containerd, packages.as_ref(), findings);
    let images = settings::images(&base, &spec.images, findings);
    let cni = settings::cni(&base, &spec.cni, findings);
    let audit = settings::audit(&base, &spec.audit, findings);
    let kubeadm = kubeadm::kubeadm(&spec.kubeadm, findings);
    let kubernetes = cluster.as_ref().and_then(|cluster| cluster.kubernetes);
    let etcd = etcd::topology(&base, spec, kubernetes, &hosts, &members, findings);
    let ingress = kubeadm::ingress(spec, &kubeadm, findings);
    let load_balancer = settings::load_balancer(&base, &spec.load_balancer, findings);
    let sysctls = settings::sysctls(&spec.sysctls, findings);
    let overlay = optional(&spec.overlay, findings, |overlay| {
        base.existing_directory("overlay", overlay)
    });
    if !findings.problems.is_empty() {
        return None;
    }
    Some(Inventory {
        path: path.to_owned(),
        name: name?,
        kubernetes: cluster?.kubernetes?,
        vip: vip?,
        network: network?,
        packages: packages?,
        images,
        containerd,
        cni: cni?,
        audit,
        ingress,
        kubelet: spec.kubelet.value().cloned().unwrap_or_default(),
        kube_proxy: spec.kube_proxy.value().cloned().unwrap_or_default(),
        kubeadm,
        etcd: etcd?,
        load_balancer,
        sysctls,
        overlay,
        nodes: hosts.hosts.into_iter().map(|host| host.node).collect(),
    })
}

/// The map in which a key may be missing.
#[derive(Clone, Copy)]
struct Above {
    key: Place,
    place: Place,
}

impl Above {
    /// The file's top level.
    const TOP: Self = Self {
        key: Place { start: 0, end: 0 },
        place: Place::EVERYWHERE,
    };

    fn of<T>(map: &Given<T>) -> Self {
        Self {
            key: map.key,
            place: map.place,
        }
    }
}

/// A field that must be there; its absence is reported at the key above it, unless it is there but misspelt.
fn required<'a, T>(
    field: &'a Field<T>,
    key: &str,
    example: &str,
    above: Above,
    findings: &mut Findings,
) -> Option<&'a Given<T>> {
    if field.is_absent() && !findings.suggest(&question(key), above.place) {
        findings.refuse(
            Problem::at(above.key, format!("`{key}` is missing"))
                .help(format!("write `{key}: {example}`")),
        );
    }
    field.given()
}

/// A field that may be absent, through its rule.
fn optional<T, U>(
    field: &Field<T>,
    findings: &mut Findings,
    rule: impl FnOnce(&Given<T>) -> Result<U, Problem>,
) -> Option<U> {
    field.given().and_then(|given| findings.keep(rule(given)))
}

/// The same with a default.
fn or_default<T, U>(
    field: &Field<T>,
    default: U,
    findings: &mut Findings,
    rule: impl FnOnce(&Given<T>) -> Result<U, Problem>,
) -> U {
    optional(field, findings, rule).unwrap_or(default)
}

/// The elements of a list, each through its rule.
fn list<T>(
    items: &[Field<T>],
    findings: &mut Findings,
    rule: impl Fn(&Given<T>) -> Result<T, Problem>,
) -> Vec<T> {
    items
        .iter()
        .filter_map(Field::given)
        .filter_map(|item| findings.keep(rule(item)))
        .collect()
}

/// The entries of a map that have a value; those without are refused.
fn entries<'a, T>(
    field: &'a Field<Entries<T>>,
    findings: &mut Findings,
) -> Vec<(&'a Given<String>, &'a Given<T>)> {
    let Some(entries) = field.value() else {
        return Vec::new();
    };
    for key in entries.empty() {
        findings.refuse(
            Problem::at(key.place, format!("`{}` has no value", key.value)).help(format!(
                "write one after the colon, `{}: \"\"` for an empty text",
                key.value
            )),
        );
    }
    entries.iter().collect()
}

/// What `cluster:` holds, as far as it is right.
struct Cluster {
    name: Option<String>,
    kubernetes: Option<KubeVersion>,
    domain: Option<String>,
}

fn resolve_cluster(cluster: &Given<ClusterSpec>, findings: &mut Findings) -> Cluster {
    let above = Above::of(cluster);
    let spec = &cluster.value;
    let name = required(&spec.name, "name", "NAME", above, findings)
        .and_then(|name| findings.keep(values::dns_label("cluster name", &name.value, name.place)));
    let kubernetes = required(&spec.kubernetes, "kubernetes", "v1.36.2", above, findings)
        .and_then(|version| resolve_version(version, findings));
    let domain = or_default(
        &spec.domain,
        "cluster.local".to_owned(),
        findings,
        |domain| values::dns_name("domain", domain),
    );
    Cluster {
        name,
        kubernetes,
        domain: Some(domain),
    }
}

fn resolve_version(given: &Given<String>, findings: &mut Findings) -> Option<KubeVersion> {
    let (version, api) = findings.keep(values::version(given))?;
    if version.minor > values::NEWEST_KNOWN_MINOR {
        findings.warn(
            Problem::at(given.place, format!("{version} is newer than this quorate")).help(
                format!(
                    "it is treated as v1.{}: kubeadm API {}",
                    values::NEWEST_KNOWN_MINOR,
                    api.as_str()
                ),
            ),
        );
    }
    Some(version)
}

fn count_hosts(spec: &Spec, hosts: &hosts::Hosts, findings: &mut Findings) {
    let place = |field: &Field<_>| match field {
        Field::Given(Given { key, .. }) | Field::Empty(key) => *key,
        Field::Absent | Field::Wrong => Place::default(),
    };
    if !matches!(spec.masters, Field::Wrong) {
        let (count, place) = (hosts.count(Role::Master), place(&spec.masters));
        if spec.etcd.is_absent() {
            rules::odd_masters(count, place, findings);
        } else {
            rules::some_masters(count, place, findings);
        }
    }
    let is_known = !matches!(spec.lb, Field::Wrong) && !matches!(spec.vip, Field::Wrong);
    if is_known {
        let managed = spec.vip.value().and_then(|vip| vip.managed.given());
        let count = hosts.count(Role::LoadBalancer);
        rules::enough_load_balancers(count, place(&spec.lb), managed, findings);
    }
}
