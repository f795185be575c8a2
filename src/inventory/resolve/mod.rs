//! From what is written to what is meant: defaults applied, every rule checked.
//!
//! Each part of the file is resolved on its own and yields `None` when something in it was refused; the others go on, so
//! that [`Findings`] holds everything at the end.

use camino::Utf8Path;
use sha2::{Digest, Sha256};

use super::rules::files::Base;
use super::rules::whole::{self, Cidr};
use super::rules::{Findings, values};
use super::spec::{ClusterSpec, NetworkSpec, Spec, VipSpec};
use super::version::KubeVersion;
use super::{Inventory, Network, Role, Vip};
use crate::input::{Field, Given, Place, Problem};

mod hosts;
mod settings;
mod ssh;

/// The router id of every example on the net: never the default.
const EVERYBODYS_ROUTER_ID: u8 = 51;

/// Resolves the whole file; `None` when anything was refused.
pub(super) fn resolve(path: &Utf8Path, spec: &Spec, findings: &mut Findings) -> Option<Inventory> {
    let base = Base::of(path);
    let ssh = ssh::general(&base, &spec.ssh, findings);
    let hosts = hosts::resolve(&base, spec, &ssh, findings);
    let cluster = required(
        &spec.cluster,
        "cluster",
        "{ name: NAME, kubernetes: v1.36.2 }",
        None,
        findings,
    )
    .map(|cluster| resolve_cluster(cluster, findings));
    let name = cluster.as_ref().and_then(|cluster| cluster.name.clone());
    let vip = required(&spec.vip, "vip", "{ address: 10.1.1.100 }", None, findings)
        .and_then(|vip| resolve_vip(vip, name.as_deref(), &hosts, spec, findings));
    let domain = cluster.as_ref().and_then(|cluster| cluster.domain.clone());
    let network = resolve_network(spec, domain, &hosts, findings);
    count_hosts(spec, &hosts, findings);
    whole::unique_names(&hosts.hosts, findings);
    whole::unique_addresses(&hosts.hosts, findings);
    whole::some_master_has_weight(&hosts.hosts, findings);

    let packages = settings::packages(&base, &spec.packages, findings);
    let containerd = settings::containerd(&spec.containerd, packages.as_ref(), findings);
    let images = settings::images(&base, &spec.images, findings);
    let cni = settings::cni(&base, &spec.cni, findings);
    let audit = settings::audit(&base, &spec.audit, findings);
    let kubeadm = settings::kubeadm(&spec.kubeadm, findings);
    let ingress = settings::ingress(spec, &kubeadm, findings);
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
        load_balancer,
        sysctls,
        overlay,
        nodes: hosts.hosts.into_iter().map(|host| host.node).collect(),
    })
}

/// A field that must be there; its absence is reported at the key above it.
fn required<'a, T>(
    field: &'a Field<T>,
    key: &str,
    example: &str,
    above: Option<Place>,
    findings: &mut Findings,
) -> Option<&'a Given<T>> {
    if field.is_absent() {
        findings.refuse(
            Problem::at(above.unwrap_or_default(), format!("`{key}` is missing"))
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

/// What `cluster:` holds, as far as it is right.
struct Cluster {
    name: Option<String>,
    kubernetes: Option<KubeVersion>,
    domain: Option<String>,
}

fn resolve_cluster(cluster: &Given<ClusterSpec>, findings: &mut Findings) -> Cluster {
    let above = Some(cluster.key);
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

fn resolve_vip(
    vip: &Given<VipSpec>,
    cluster: Option<&str>,
    hosts: &hosts::Hosts,
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
        required(address, "address", "10.1.1.100", Some(vip.key), findings).and_then(|given| {
            let address = findings.keep(values::host_address(&given.value, given.place))?;
            Some(given.with(address))
        });
    if let Some(address) = &address {
        let network = spec.network.value().and_then(hosts_network);
        whole::vip_is_free(address, &hosts.hosts, findings);
        whole::vip_is_local(address, &hosts.hosts, network.as_ref(), findings);
    }
    if let Some(dns) = dns.given() {
        whole::vip_name_is_free(dns, &hosts.hosts, findings);
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
pub(super) fn derived_router_id(cluster: &str, vip: &str) -> u8 {
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

fn hosts_network(spec: &NetworkSpec) -> Option<Given<ipnetwork::Ipv4Network>> {
    let given = spec.hosts.given()?;
    values::network(given)
        .ok()
        .map(|network| given.with(network))
}

fn resolve_network(
    spec: &Spec,
    domain: Option<String>,
    hosts: &hosts::Hosts,
    findings: &mut Findings,
) -> Option<Network> {
    let absent = NetworkSpec::default();
    let network = spec.network.value().unwrap_or(&absent);
    let pods = cidr("pod", &network.pods, "10.244.0.0/16", findings);
    let services = cidr("service", &network.services, "10.96.0.0/12", findings);
    optional(&network.hosts, findings, values::network);
    let local = hosts_network(network);
    if let Some(local) = &local {
        whole::balancers_are_local(&hosts.hosts, local, findings);
    }
    if let Some(services) = services {
        whole::services_are_sized(services, findings);
    }
    if let Some(pods) = pods {
        let nodes = hosts.count(Role::Master) + hosts.count(Role::Worker);
        whole::pods_are_sized(pods, settings::node_mask(spec), nodes, findings);
    }
    let (pods, services) = (pods?, services?);
    whole::networks_are_disjoint(pods, services, &hosts.hosts, local.as_ref(), findings);
    Some(Network {
        pods: pods.network,
        services: services.network,
        domain: domain?,
    })
}

fn cidr(
    what: &'static str,
    field: &Field<String>,
    default: &str,
    findings: &mut Findings,
) -> Option<Cidr> {
    let (network, place) = match field {
        Field::Wrong => return None,
        Field::Absent => (default.parse().expect("the default is a network"), None),
        Field::Given(given) => (findings.keep(values::network(given))?, Some(given.place)),
    };
    Some(Cidr {
        what,
        network,
        place,
    })
}

fn count_hosts(spec: &Spec, hosts: &hosts::Hosts, findings: &mut Findings) {
    let place = |field: &Field<_>| match field {
        Field::Given(Given { key, .. }) => *key,
        Field::Absent | Field::Wrong => Place::default(),
    };
    if !matches!(spec.masters, Field::Wrong) {
        whole::odd_masters(hosts.count(Role::Master), place(&spec.masters), findings);
    }
    let is_known = !matches!(spec.lb, Field::Wrong) && !matches!(spec.vip, Field::Wrong);
    if is_known {
        let managed = spec.vip.value().and_then(|vip| vip.managed.given());
        let count = hosts.count(Role::LoadBalancer);
        whole::enough_load_balancers(count, place(&spec.lb), managed, findings);
    }
}
