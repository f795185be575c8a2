//! Everything that is not a host: packages, images, containerd, CNI, audit, load balancer, sysctls.

use std::collections::BTreeMap;

use super::super::rules::files::Base;
use super::super::rules::{Findings, kubernetes, values};
use super::super::spec::{
    AuditSpec, CniSpec, ContainerdSpec, ImagesSpec, LoadBalancerSpec, PackagesKind, PackagesSpec,
    RegistrySpec,
};
use super::super::{Audit, Cni, Containerd, Images, LoadBalancer, PackageSource, Registry};
use super::kubeadm::checked_map;
use super::{Above, entries, list, optional, or_default, required};
use crate::input::{Entries, Field, Given, Problem};

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
            refuse_repository([&spec.url, &spec.key], findings);
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
    let spec = &given.value;
    let example = "https://mirror.company.local/core:/stable:/v{minor}/deb/";
    let fields = [&spec.url, &spec.key];
    let (url, key) = repository(base, fields, example, Above::of(given), findings);
    Some(PackageSource::Mirror {
        url: url?,
        key: key?,
    })
}

/// URL of a mirror and the content of its key.
pub(super) fn repository(
    base: &Base,
    [url, key]: [&Field<String>; 2],
    example: &str,
    above: Above,
    findings: &mut Findings,
) -> (Option<String>, Option<String>) {
    let url = required(url, "url", example, above, findings)
        .and_then(|url| findings.keep(values::url(url)));
    let key = required(key, "key", "mirror.asc", above, findings).and_then(|key| {
        let mark = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
        findings.keep(base.content("package key", key, mark, "an ASCII-armoured public key"))
    });
    (url, key)
}

/// Only a mirror has what a mirror has.
pub(super) fn refuse_repository(fields: [&Field<String>; 2], findings: &mut Findings) {
    for key in fields.into_iter().filter_map(Field::given) {
        findings.refuse(
            Problem::at(key.key, "only a mirror has an URL and a key")
                .help("write `source: mirror`, or remove this key"),
        );
    }
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
    for (host, registry) in entries(&spec.registries, findings) {
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
        Field::Absent | Field::Empty(_) => {
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
                Above::of(given),
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
