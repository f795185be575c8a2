//! What a master or worker says of itself, and what its apiserver answers who asks there.

use std::collections::BTreeSet;

use serde_json::Value;

use super::etcd::DATA;
use super::machine::Machine;
use super::pods::node_path;
use super::scripts::Ended;
use super::world::World;
use crate::cluster::report::{Answer, Has, Report};
use crate::cluster::restore::{Past, left_behind};

/// The body of an answer, on one line.
pub(super) fn answer((code, body): (u16, String)) -> Answer {
    Answer::Http(code, body.replace('\n', ""))
}

/// What the data in that directory says of its past.
pub(super) fn past(machine: &Machine, data: &str) -> Past {
    let path = left_behind(data.into());
    Past::parse(machine.files.text(path.as_str()).unwrap_or_default())
}

pub(super) fn report(world: &mut World, host: &str) -> Report {
    let machine = world.machine(host).clone();
    let clock = i64::try_from(world.clock_of(host)).unwrap_or_default();
    let mut report = Report {
        has: traces(&machine),
        clock,
        machine_id: machine.machine_id.clone(),
        readyz: readyz(world, &machine),
        node: own_node(world, &machine),
        etcd_past: past(&machine, "/var/lib/etcd"),
        ..Report::default()
    };
    let can_ask = [
        "/etc/kubernetes/manifests/etcd.yaml",
        "/etc/kubernetes/pki/etcd/healthcheck-client.crt",
    ];
    if !can_ask.iter().all(|path| machine.files.has(path)) {
        return report;
    }
    answers_of_etcd(world, &machine, &mut report);
    if machine.refuses_etcd {
        report.refused = Some(format!("etcd-{host} no set of running pods found"));
    }
    report
}

/// What a machine's etcd answers.
pub(super) fn answers_of_etcd(world: &World, machine: &Machine, report: &mut Report) {
    report.etcd_status = Answer::Unreachable;
    if let Some(data) = world.running(machine) {
        let ok = |body: Option<String>| Answer::Http(200, body.unwrap_or_default());
        if world.serving(machine).is_some() {
            report.etcd_status = ok(world.etcd_status(data));
            report.etcd_members = ok(world.etcd_members(data));
        }
        report.etcd_health = if world.has_quorum(data.0) {
            Answer::Http(200, "{\"health\":\"true\"}".to_owned())
        } else {
            Answer::Http(503, "{\"health\":\"false\"}".to_owned())
        };
    }
}

fn traces(machine: &Machine) -> BTreeSet<Has> {
    let traces = [
        (Has::KubeletConf, "/etc/kubernetes/kubelet.conf"),
        (Has::BootstrapConf, "/etc/kubernetes/bootstrap-kubelet.conf"),
        (Has::AdminConf, "/etc/kubernetes/admin.conf"),
        (Has::CaKey, "/etc/kubernetes/pki/ca.key"),
        (Has::ApiserverCert, "/etc/kubernetes/pki/apiserver.crt"),
        (
            Has::ApiserverManifest,
            "/etc/kubernetes/manifests/kube-apiserver.yaml",
        ),
        (Has::EtcdManifest, "/etc/kubernetes/manifests/etcd.yaml"),
        (Has::EtcdData, DATA),
        (Has::Founding, "/etc/kubernetes/quorate/founding"),
        (Has::Joining, "/etc/kubernetes/quorate/joining"),
    ];
    let there = traces
        .into_iter()
        .filter(|(_, path)| machine.files.has(path));
    let mut has: BTreeSet<Has> = there.map(|(has, _)| has).collect();
    if has.contains(&Has::ApiserverManifest) && super::external_etcd::is_external(machine) {
        has.insert(Has::ExternalEtcd);
    }
    if !machine.packages.contains_key("curl") {
        has.insert(Has::NoCurl);
    }
    has
}

fn readyz(world: &World, machine: &Machine) -> Answer {
    let files = [
        "/etc/kubernetes/pki/ca.crt",
        "/etc/kubernetes/manifests/kube-apiserver.yaml",
    ];
    if !files.iter().all(|path| machine.files.has(path)) {
        return Answer::Absent;
    }
    if world.serves(machine) {
        Answer::Http(200, "ok".to_owned())
    } else {
        Answer::Unreachable
    }
}

fn own_node(world: &mut World, machine: &Machine) -> Answer {
    let files = [
        "/var/lib/kubelet/pki/kubelet-client-current.pem",
        "/etc/kubernetes/pki/ca.crt",
        "/etc/kubernetes/kubelet.conf",
    ];
    if !files.iter().all(|path| machine.files.has(path)) {
        return Answer::Absent;
    }
    let store = world
        .store_seen_by(machine)
        .or_else(|| world.store_of(machine));
    match store {
        Some(cluster) => answer(world.ask(cluster, "GET", &node_path(&machine.name), None)),
        None => Answer::Unreachable,
    }
}

pub(super) fn api_read(world: &mut World, host: &str, path: &str) -> String {
    let machine = world.machine(host).clone();
    let files = [
        "/etc/kubernetes/pki/apiserver-kubelet-client.key",
        "/etc/kubernetes/manifests/kube-apiserver.yaml",
    ];
    let read = if !files.iter().all(|path| machine.files.has(path)) {
        Answer::Absent
    } else if let Some(cluster) = world.store_of(&machine) {
        let (code, body) = world.ask(cluster, "GET", path, None);
        let body = if path.contains("/secrets") {
            metadata_only(&body)
        } else {
            body
        };
        answer((code, body))
    } else {
        Answer::Unreachable
    };
    format!("{read}\n")
}

/// As the apiserver answers who asks for `PartialObjectMetadata`.
fn metadata_only(body: &str) -> String {
    let mut object: Value = serde_json::from_str(body).unwrap_or_default();
    let strip = |object: &mut Value| {
        if let Some(fields) = object.as_object_mut() {
            fields.retain(|name, _| ["metadata", "kind", "items"].contains(&name.as_str()));
        }
    };
    strip(&mut object);
    object["items"]
        .as_array_mut()
        .into_iter()
        .flatten()
        .for_each(strip);
    object.to_string()
}

pub(super) fn api(world: &mut World, host: &str, [method, path]: [&str; 2], stdin: &[u8]) -> Ended {
    let machine = world.machine(host).clone();
    let Some(cluster) = world.store_of(&machine) else {
        return (7, "\n000".to_owned(), "Failed to connect".to_owned());
    };
    let body: Option<Value> = serde_json::from_slice(stdin).ok();
    let secret = body
        .as_ref()
        .and_then(|body| body.pointer("/stringData/token-secret"))
        .and_then(Value::as_str);
    if let Some(secret) = secret {
        world.secrets.insert(secret.to_owned());
    }
    let (code, body) = world.ask(cluster, method, path, body);
    let body = if method == "POST" && path.contains("/secrets") {
        metadata_only(&body)
    } else {
        body
    };
    (0, format!("{body}\n{code}"), String::new())
}
