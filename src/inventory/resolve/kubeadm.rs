//! What is passed on to kubeadm and the control plane, and the node ports that depend on it.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::super::rules::{Findings, kubernetes, values};
use super::super::spec::{IngressSpec, KubeadmSpec, Spec};
use super::super::{Ingress, Kubeadm};
use super::{Above, entries, list, required};
use crate::input::{Entries, Field, Given, Problem};

/// kube-apiserver's default `service-node-port-range`.
const NODE_PORTS: RangeInclusive<u16> = 30000..=32767;

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
pub(super) fn checked_map(
    field: &Field<Entries<String>>,
    findings: &mut Findings,
    rule: impl Fn(&Given<String>) -> Result<String, Problem>,
) -> BTreeMap<String, String> {
    let mut map = BTreeMap::new();
    for (key, value) in entries(field, findings) {
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
    let above = Above::of(given);
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
