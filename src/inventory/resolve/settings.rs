//! Everything that is not a host: packages, images, containerd, CNI, audit, ingress, kubeadm, load balancer, sysctls.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::super::rules::files::Base;
use super::super::rules::{Findings, kubernetes, values};
use super::super::spec::{
    AuditSpec, CniSpec, ContainerdSpec, ImagesSpec, IngressSpec, KubeadmSpec, LoadBalancerSpec,
    PackagesKind, PackagesSpec, RegistrySpec, Spec,
};
use super::super::{
    Audit, Cni, Containerd, Images, Ingress, Kubeadm, LoadBalancer, PackageSource, Registry,
};
use super::hosts::list;
use super::{optional, or_default, required};
use crate::input::{Entries, Field, Given, Problem};

/// kube-apiserver's default `service-node-port-range`.
const NODE_PORTS: RangeInclusive<u16> = 30000..=32767;

pub(super) fn packages(
    base: &Base,
    field: &Field<PackagesSpec>,
    findings: &mut Findings,
) -> Option<PackageSource> {
    let Some(given) = field.given() else {
        return Some(PackageSource::Upstream);
    };
    let spec = &given.value;
    let kind = spec
        .source
        .value()
        .copied()
        .unwrap_or(PackagesKind::Upstream);
    if matches!(spec.source, Field::Wrong) {
        return None;
    }
    match kind {
        PackagesKind::Mirror => mirror(base, given, findings),
        PackagesKind::Upstream | PackagesKind::Preinstalled => {
            for key in [&spec.url, &spec.key].into_iter().filter_map(Field::given) {
                findings.refuse(
                    Problem::at(key.key, "only a mirror has an URL and a key")
                        .help("write `source: mirror`, or remove this key"),
                );
            }
            Some(if kind == PackagesKind::Upstream {
                PackageSource::Upstream
            } else {
                PackageSource::Preinstalled
            })
        }
    }
}

fn mirror(
    base: &Base,
    given: &Given<PackagesSpec>,
    findings: &mut Findings,
) -> Option<PackageSource> {
    let above = Some(given.key);
    let spec = &given.value;
    let url = required(
        &spec.url,
        "url",
        "https://mirror.company.local/core:/stable:/v{minor}/deb/",
        above,
        findings,
    )
    .and_then(|url| findings.keep(values::url(url)));
    let key = required(&spec.key, "key", "mirror.asc", above, findings).and_then(|key| {
        let mark = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
        findings.keep(base.content("package key", key, mark, "an ASCII-armoured public key"))
    });
    Some(PackageSource::Mirror {
        url: url?,
        key: key?,
    })
}

pub(super) fn containerd(
    field: &Field<ContainerdSpec>,
    packages: Option<&PackageSource>,
    findings: &mut Findings,
) -> Containerd {
    let absent = ContainerdSpec::default();
    let spec = field.value().unwrap_or(&absent);
    let default = match packages {
        Some(PackageSource::Preinstalled) => "",
        Some(PackageSource::Upstream | PackageSource::Mirror { .. }) | None => "containerd",
    };
    Containerd {
        package: or_default(&spec.package, default.to_owned(), findings, |package| {
            if package.value.is_empty() {
                return Ok(String::new());
            }
            values::word("package", package)
        }),
        restrict_oom_score_adj: spec
            .restrict_oom_score_adj
            .value()
            .copied()
            .unwrap_or(false),
        systemd_cgroup: spec.systemd_cgroup.value().copied(),
    }
}

pub(super) fn images(base: &Base, field: &Field<ImagesSpec>, findings: &mut Findings) -> Images {
    let Some(spec) = field.value() else {
        return Images::default();
    };
    let repository = optional(&spec.repository, findings, values::repository);
    let mut registries = BTreeMap::new();
    for (host, registry) in spec.registries.value().into_iter().flat_map(Entries::iter) {
        let resolved = resolve_registry(base, &registry.value, findings);
        if let Some(host) = findings.keep(values::registry_host(host)) {
            registries.insert(host, resolved);
        }
    }
    Images {
        repository,
        registries,
    }
}

fn resolve_registry(base: &Base, spec: &RegistrySpec, findings: &mut Findings) -> Registry {
    let plain_http = spec.plain_http.value().copied().unwrap_or(false);
    if let Some(ca) = spec.ca.given().filter(|_| plain_http) {
        findings.refuse(
            Problem::at(ca.key, "a registry over plain HTTP has no certificate")
                .help("remove `ca` or `plain-http`"),
        );
    }
    Registry {
        mirrors: spec
            .mirrors
            .value()
            .map(|mirrors| list(mirrors, findings, values::url))
            .unwrap_or_default(),
        ca: optional(&spec.ca, findings, |ca| {
            base.content(
                "CA certificate",
                ca,
                "-----BEGIN CERTIFICATE-----",
                "a PEM certificate",
            )
        }),
        plain_http,
    }
}

pub(super) fn cni(base: &Base, field: &Field<CniSpec>, findings: &mut Findings) -> Option<Cni> {
    match field {
        Field::Wrong => None,
        Field::Absent => {
            findings.warn(
                Problem::whole("no CNI is named: nodes stay NotReady until one is installed")
                    .help("write `cni: { manifest: FILE_OR_URL }`, or `cni: none` if you install it yourself"),
            );
            Some(Cni::None)
        }
        Field::Given(given) => match &given.value {
            CniSpec::None => Some(Cni::None),
            CniSpec::Bridge(_) => Some(Cni::Bridge),
            CniSpec::Manifest(manifest) => required(
                manifest,
                "manifest",
                "FILE_OR_URL",
                Some(given.key),
                findings,
            )
            .and_then(|origin| findings.keep(resolve_manifest(base, origin))),
        },
    }
}

fn resolve_manifest(base: &Base, origin: &Given<String>) -> Result<Cni, Problem> {
    let content = if origin.value.contains("://") {
        values::url(origin)?;
        None
    } else {
        Some(base.content(
            "CNI manifest",
            origin,
            "apiVersion:",
            "a Kubernetes manifest",
        )?)
    };
    Ok(Cni::Manifest {
        origin: origin.value.clone(),
        content,
    })
}

pub(super) fn audit(base: &Base, field: &Field<AuditSpec>, findings: &mut Findings) -> Audit {
    let absent = AuditSpec::default();
    let spec = field.value().unwrap_or(&absent);
    let policy = optional(&spec.policy, findings, |policy| {
        base.content("audit policy", policy, "audit.k8s.io/", "an audit policy")
    });
    let mut number = |field: &Field<i64>, key: &str, least: u16, default: u16| {
        or_default(field, default, findings, |given| {
            values::within(given, key, least, u16::MAX)
        })
    };
    Audit {
        enabled: spec.enabled.value().copied().unwrap_or(true),
        policy,
        max_age: number(&spec.max_age, "max-age", 0, 30),
        max_backup: number(&spec.max_backup, "max-backup", 0, 10),
        max_size: number(&spec.max_size, "max-size", 1, 100),
    }
}

pub(super) fn kubeadm(field: &Field<KubeadmSpec>, findings: &mut Findings) -> Kubeadm {
    let Some(spec) = field.value() else {
        return Kubeadm::default();
    };
    let mut words = |field: &Field<Vec<Field<String>>>, what: &str| {
        let items = field.value().map_or(&[][..], Vec::as_slice);
        list(items, findings, |item| values::word(what, item))
    };
    let skip_phases = words(&spec.skip_phases, "phase");
    let ignore_preflight_errors = words(&spec.ignore_preflight_errors, "preflight check");
    let sans = spec.cert_sans.value().map_or(&[][..], Vec::as_slice);
    Kubeadm {
        cert_sans: list(sans, findings, values::cert_san),
        skip_phases,
        ignore_preflight_errors,
        api_server: flags("kube-apiserver", &spec.api_server, findings),
        controller_manager: flags(
            "kube-controller-manager",
            &spec.controller_manager,
            findings,
        ),
        scheduler: flags("kube-scheduler", &spec.scheduler, findings),
        etcd: checked_map(&spec.etcd, findings, kubernetes::etcd_flag),
    }
}

fn flags(
    component: &str,
    field: &Field<Entries<String>>,
    findings: &mut Findings,
) -> BTreeMap<String, String> {
    checked_map(field, findings, |key| kubernetes::flag(component, key))
}

/// The entries of a map, each key through its rule; values must stay on one line.
fn checked_map(
    field: &Field<Entries<String>>,
    findings: &mut Findings,
    rule: impl Fn(&Given<String>) -> Result<String, Problem>,
) -> BTreeMap<String, String> {
    let mut map = BTreeMap::new();
    for (key, value) in field.value().into_iter().flat_map(Entries::iter) {
        let key = findings.keep(rule(key));
        let value = findings.keep(kubernetes::one_line(value));
        map.extend(key.zip(value));
    }
    map
}

/// Prefix length of each node's pod range: the controller manager's flag, or its default.
pub(super) fn node_mask(spec: &Spec) -> u8 {
    let flags = spec
        .kubeadm
        .value()
        .and_then(|kubeadm| kubeadm.controller_manager.value());
    let names = ["node-cidr-mask-size", "node-cidr-mask-size-ipv4"];
    flags
        .into_iter()
        .flat_map(Entries::iter)
        .find(|(key, _)| names.contains(&key.value.as_str()))
        .and_then(|(_, value)| value.value.parse().ok())
        .unwrap_or(24)
}

pub(super) fn ingress(spec: &Spec, kubeadm: &Kubeadm, findings: &mut Findings) -> Option<Ingress> {
    let given = spec.ingress.given()?;
    let IngressSpec { http, https } = &given.value;
    if spec
        .workers
        .value()
        .is_none_or(|Entries(workers)| workers.is_empty())
    {
        findings.warn(
            Problem::at(given.key, "ingress has no workers to forward to")
                .help("list workers, or remove `ingress`"),
        );
    }
    let range = node_ports(kubeadm);
    let above = Some(given.key);
    let mut node_port = |field, key: &str, example: &str| {
        let port = required(field, key, example, above, findings)?;
        let (least, most) = (*range.start(), *range.end());
        let number = findings.keep(values::within(port, "node port", least, most))?;
        Some(port.with(number))
    };
    let (http, https) = (
        node_port(http, "http", "30080"),
        node_port(https, "https", "30443"),
    );
    let (http, https) = (http?, https?);
    if http.value == https.value {
        findings.refuse(
            Problem::at(https.place, "http and https have the same node port")
                .related(http.place, "http here")
                .help("write two different ports"),
        );
    }
    refuse_taken_port(spec, findings);
    Some(Ingress {
        http: http.value,
        https: https.value,
    })
}

/// The API's own port is not 80 or 443 when ingress takes these.
fn refuse_taken_port(spec: &Spec, findings: &mut Findings) {
    let port = spec.vip.value().and_then(|vip| vip.port.given());
    if let Some(port) = port.filter(|port| [80, 443].contains(&port.value)) {
        findings.refuse(
            Problem::at(
                port.place,
                format!("port {} belongs to ingress", port.value),
            )
            .help("write another port for the API, for example 6443"),
        );
    }
}

fn node_ports(kubeadm: &Kubeadm) -> RangeInclusive<u16> {
    kubeadm
        .api_server
        .get("service-node-port-range")
        .and_then(|range| range.split_once('-'))
        .and_then(|(first, last)| Some(first.parse().ok()?..=last.parse().ok()?))
        .unwrap_or(NODE_PORTS)
}

pub(super) fn load_balancer(
    base: &Base,
    field: &Field<LoadBalancerSpec>,
    findings: &mut Findings,
) -> LoadBalancer {
    let absent = LoadBalancerSpec::default();
    let spec = field.value().unwrap_or(&absent);
    LoadBalancer {
        max_connections: or_default(&spec.max_connections, 8000, findings, max_connections),
        stats_user: or_default(&spec.stats_user, "quorate".to_owned(), findings, |user| {
            values::word("user", user)
        }),
        stats_password: optional(&spec.stats_password, findings, |source| base.secret(source)),
    }
}

fn max_connections(given: &Given<i64>) -> Result<u32, Problem> {
    u32::try_from(given.value)
        .ok()
        .filter(|number| (100..=1_000_000).contains(number))
        .ok_or_else(|| {
            Problem::at(
                given.place,
                format!("max-connections {} is outside 100 to 1000000", given.value),
            )
            .help("write a number from 100 to 1000000, for example 8000")
        })
}

pub(super) fn sysctls(
    field: &Field<Entries<String>>,
    findings: &mut Findings,
) -> BTreeMap<String, String> {
    checked_map(field, findings, kubernetes::sysctl)
}
