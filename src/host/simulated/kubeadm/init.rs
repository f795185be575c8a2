//! `kubeadm init`.

use super::super::certificate::Certificate;
use super::super::etcd;
use super::super::external_etcd::{is_external, may_ask};
use super::super::jobs::{End, Work};
use super::super::world::World;
use super::{
    MANIFESTS, PKI, QUORATE, complaints, issue_certificates, kubelet_conf, manifest, note_applied,
    start_kubelet, verdict, write_kubeconfigs,
};
use crate::cluster::ca::SHARED_PKI;
use crate::cluster::release::COMPONENTS;

pub(super) fn mark_founding(world: &mut World, work: &Work) -> End {
    world.put(work, &format!("{QUORATE}/founding"), "", 0o644);
    End::Done
}

pub(super) fn preflight_init(world: &mut World, work: &Work) -> End {
    let ignored = work.arguments.join(" ");
    let machine = world.machine(&work.host);
    let mut complaints = complaints(machine);
    for pod in COMPONENTS.iter().chain(&["etcd"]) {
        if machine.files.has(&format!("{MANIFESTS}/{pod}.yaml")) {
            complaints.push(format!(
                "FileAvailable--etc-kubernetes-manifests-{pod}.yaml"
            ));
        }
    }
    let is_external = is_external(machine);
    if is_external && !may_ask(machine) {
        complaints.push("ExternalEtcdClientCertificates".to_owned());
    }
    if !is_external && etcd::data(machine).is_some() {
        complaints.push("DirAvailable--var-lib-etcd".to_owned());
    }
    complaints.retain(|complaint| !ignored.contains(complaint.as_str()));
    verdict(&complaints)
}

pub(super) fn make_cas(world: &mut World, work: &Work) -> End {
    if world.has(work, &format!("{PKI}/ca.key")) {
        return End::Done;
    }
    world.cas += 1;
    let number = world.cas;
    let is_external = is_external(world.machine(&work.host));
    for name in SHARED_PKI {
        if is_external && name.starts_with("etcd/") {
            continue;
        }
        let path = format!("{PKI}/{name}");
        if name.ends_with("key") {
            let secret = format!("planted-private-key-{number}-{}", name.replace('/', "-"));
            world.secrets.insert(secret.clone());
            world.put(
                work,
                &path,
                format!("-----BEGIN PRIVATE KEY-----\n{secret}\n-----END PRIVATE KEY-----\n"),
                0o600,
            );
        } else {
            let key = format!("{name} {number}");
            let pem = Certificate {
                subject: "kubernetes",
                issuer: "kubernetes",
                key: &key,
                alt_names: &[],
            }
            .pem();
            world.put(work, &path, pem, 0o644);
        }
    }
    End::Done
}

pub(super) fn make_certificates(world: &mut World, work: &Work) -> End {
    issue_certificates(world, &work.host);
    write_kubeconfigs(world, work);
    End::Done
}

pub(super) fn configure_kubelet_by_init(world: &mut World, work: &Work) -> End {
    let address = world.machine(&work.host).address;
    kubelet_conf(world, work, &format!("{address}:6443"));
    start_kubelet(world, work)
}

pub(super) fn write_etcd_of_founder(world: &mut World, work: &Work) -> End {
    if is_external(world.machine(&work.host)) {
        return End::Done;
    }
    let manifest = manifest(world, &work.host, "etcd");
    let text = format!("{manifest}--initial-cluster={}=…\n", work.host);
    world.put(work, &format!("{MANIFESTS}/etcd.yaml"), text, 0o600);
    End::Done
}

pub(super) fn finish_init(world: &mut World, work: &Work) -> End {
    note_applied(world, &work.host);
    world
        .machine(&work.host)
        .files
        .remove(&format!("{QUORATE}/founding"));
    End::Done
}
