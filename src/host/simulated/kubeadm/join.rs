//! `kubeadm join`.

use serde_json::Value;

use super::super::etcd;
use super::super::external_etcd::is_external;
use super::super::jobs::{End, Work};
use super::super::pods::node_path;
use super::super::world::World;
use super::{
    MANIFESTS, PKI, QUORATE, complaints, endpoint, is_master, is_stacked_master,
    issue_certificates, items_of, kubelet_conf, manifest, start_kubelet, value_of, verdict,
    write_kubeconfigs, write_pods,
};
use crate::cluster::ca::SHARED_PKI;
use crate::inventory::Role;

pub(super) fn mark_joining(world: &mut World, work: &Work) -> End {
    world.put(work, &format!("{QUORATE}/joining"), "", 0o644);
    for name in SHARED_PKI
        .iter()
        .filter(|name| work.files.contains_key(&name.replace('/', "-")))
    {
        let mode = if name.ends_with("key") { 0o600 } else { 0o644 };
        let content = work.text(&name.replace('/', "-"));
        world.put(work, &format!("{PKI}/{name}"), content, mode);
    }
    End::Done
}

pub(super) fn preflight_join(world: &mut World, work: &Work) -> End {
    let machine = world.machine(&work.host);
    let mut complaints = complaints(machine);
    for path in [
        "kubelet.conf",
        "bootstrap-kubelet.conf",
        "manifests/kube-apiserver.yaml",
        "manifests/etcd.yaml",
    ] {
        if machine.files.has(&format!("/etc/kubernetes/{path}")) {
            complaints.push(format!("[ERROR FileAvailable--etc-kubernetes-{path}]"));
        }
    }
    let is_stacked = machine.role == Role::Master && !is_external(machine);
    if is_stacked && etcd::data(machine).is_some() {
        complaints.push("[ERROR DirAvailable--var-lib-etcd]".to_owned());
    }
    if machine.role == Role::Worker && machine.files.has(&format!("{PKI}/ca.crt")) {
        complaints.push("[ERROR FileAvailable--etc-kubernetes-pki-ca.crt]".to_owned());
    }
    verdict(&complaints)
}

/// Discovery through the virtual IP: the token must be good and the CA the pinned one; and no other Node of that name may
/// be ready.
pub(super) fn discover(world: &mut World, work: &Work) -> End {
    let Some(cluster) = world.store_behind_vip() else {
        return End::Waits(
            "[discovery] Failed to connect to the API through the virtual IP".to_owned(),
        );
    };
    let token = value_of(&work.text("join.yaml"), "token:").unwrap_or_default();
    let path = format!(
        "/api/v1/namespaces/kube-system/secrets/bootstrap-token-{}",
        token.split('.').next().unwrap_or_default()
    );
    let objects = world.etcd.get(cluster).map(|cluster| &cluster.objects);
    if objects.is_none_or(|objects| !objects.contains_key(&path)) {
        return End::Fails("[discovery] the token is not known to the cluster".to_owned());
    }
    let node = objects.and_then(|objects| objects.get(&node_path(&work.host)));
    let is_ready = node
        .and_then(|node| node.pointer("/status/conditions/0/status"))
        .and_then(Value::as_str)
        == Some("True");
    if is_ready {
        return End::Fails(format!(
            "a Node with name \"{}\" and status \"Ready\" already exists in the cluster",
            work.host
        ));
    }
    let ca = world
        .behind_vip()
        .and_then(|machine| machine.files.get(&format!("{PKI}/ca.crt")).cloned());
    let ca = ca
        .map(|file| String::from_utf8_lossy(&file.content).into_owned())
        .unwrap_or_default();
    let pinned = items_of(&work.text("join.yaml"), "caCertHashes:");
    if crate::cluster::ca::Ca::parse(&ca).is_none_or(|ca| !pinned.contains(&ca.hash)) {
        return End::Fails("[discovery] the cluster CA is none of the pinned ones".to_owned());
    }
    world.put(work, &format!("{PKI}/ca.crt"), ca, 0o644);
    End::Done
}

pub(super) fn prepare_control_plane(world: &mut World, work: &Work) -> End {
    if is_master(world, work) {
        issue_certificates(world, &work.host);
        write_kubeconfigs(world, work);
        write_pods(world, work);
    }
    End::Done
}

pub(super) fn check_etcd(world: &mut World, work: &Work) -> End {
    if !is_stacked_master(world, work) {
        return End::Done;
    }
    match world.live_cluster() {
        Some(cluster) if world.is_whole(cluster) => End::Done,
        _ => End::Fails("[check-etcd] etcd cluster is not healthy".to_owned()),
    }
}

pub(super) fn bootstrap_kubelet(world: &mut World, work: &Work) -> End {
    if world.store_behind_vip().is_none() {
        return End::Waits(
            "[kubelet-start] Waiting for the kubelet to perform the TLS Bootstrap".to_owned(),
        );
    }
    let server = endpoint(world, work);
    kubelet_conf(world, work, &server);
    world.put(
        work,
        "/var/lib/kubelet/pki/kubelet-client-current.pem",
        "planted\n",
        0o600,
    );
    start_kubelet(world, work)
}

pub(super) fn add_member(world: &mut World, work: &Work) -> End {
    if !is_stacked_master(world, work) {
        return End::Done;
    }
    match world.add_member(&work.host) {
        Ok(()) => End::Done,
        Err(why) => End::Fails(why),
    }
}

pub(super) fn write_etcd_of_joiner(world: &mut World, work: &Work) -> End {
    if is_stacked_master(world, work) {
        let manifest = manifest(world, &work.host, "etcd");
        let text = format!("{manifest}--initial-cluster=…\n--initial-cluster-state=existing\n");
        world.put(work, &format!("{MANIFESTS}/etcd.yaml"), text, 0o600);
    }
    End::Done
}

pub(super) fn start_member(world: &mut World, work: &Work) -> End {
    if !is_stacked_master(world, work) || world.promote(&work.host) {
        return End::Done;
    }
    End::Waits("[etcd] Waiting for the new etcd member to join the cluster".to_owned())
}

pub(super) fn finish_join(world: &mut World, work: &Work) -> End {
    if let Some(applied) = work.files.get("applied") {
        world.put(work, &format!("{QUORATE}/applied"), applied.clone(), 0o644);
    }
    world
        .machine(&work.host)
        .files
        .remove(&format!("{QUORATE}/joining"));
    End::Done
}
