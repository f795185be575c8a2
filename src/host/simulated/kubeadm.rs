//! kubeadm's long commands, as steps that leave behind what the real ones leave.

use super::certificate::Certificate;
use super::etcd;
use super::external_etcd::{is_external, may_ask};
use super::jobs::{End, Step, Work};
use super::machine::Machine;
use super::pods::node_path;
use super::world::World;
use crate::cluster::ca::SHARED_PKI;
use crate::cluster::release::COMPONENTS;
use crate::inventory::Role;
use serde_json::{Value, json};

const PKI: &str = "/etc/kubernetes/pki";
pub(super) const QUORATE: &str = "/etc/kubernetes/quorate";
pub(super) const MANIFESTS: &str = "/etc/kubernetes/manifests";

/// The steps of kubeadm's jobs.
pub(super) fn steps(script: &str) -> Option<Vec<Step>> {
    let steps: Vec<Step> = match script {
        "kubeadm-init" => vec![
            mark_founding,
            preflight_init,
            make_cas,
            make_certificates,
            configure_kubelet_by_init,
            write_pods,
            write_etcd_of_founder,
            serve,
            store_configuration,
            mark_control_plane,
            finish_init,
        ],
        "kubeadm-join" => vec![
            mark_joining,
            preflight_join,
            discover,
            prepare_control_plane,
            check_etcd,
            bootstrap_kubelet,
            add_member,
            write_etcd_of_joiner,
            start_member,
            mark_control_plane,
            finish_join,
        ],
        "kubeadm-reset" => vec![stop_pods, remove_manifests, remove_state, forget],
        "kubeadm-upgrade" => super::upgrade::steps(),
        "kubeadm-follow" => vec![],
        _ => return None,
    };
    Some(steps)
}

impl World {
    /// Notes the bootstrap token of a job's configuration as a secret.
    pub(super) fn note_job_secrets(&mut self, work: &Work) {
        let texts = ["init.yaml", "join.yaml"].map(|name| work.text(name));
        let tokens = texts.iter().filter_map(|text| value_of(text, "token:"));
        let secrets: Vec<String> = tokens
            .filter_map(|token| Some(token.split_once('.')?.1.to_owned()))
            .collect();
        self.secrets.extend(secrets);
    }

    pub(super) fn put(&mut self, work: &Work, path: &str, content: impl Into<Vec<u8>>, mode: u32) {
        let now = self.now;
        self.machine(&work.host).files.put(path, content, mode, now);
    }

    fn has(&mut self, work: &Work, path: &str) -> bool {
        self.machine(&work.host).files.has(path)
    }
}

/// The first value of a key in YAML that is simple enough.
pub(super) fn value_of(text: &str, key: &str) -> Option<String> {
    let mut lines = text.lines().map(|line| line.trim_start_matches(['-', ' ']));
    let value = lines.find_map(|line| line.strip_prefix(key))?;
    Some(value.trim().trim_matches('"').to_owned())
}

/// The items of a list in YAML that is simple enough.
pub(super) fn items_of(text: &str, key: &str) -> Vec<String> {
    let lines = text.lines().skip_while(|line| line.trim() != key).skip(1);
    let items = lines.map_while(|line| line.trim().strip_prefix("- "));
    items
        .map(|item| item.trim_matches('"').to_owned())
        .collect()
}

pub(super) fn is_master(world: &mut World, work: &Work) -> bool {
    world.machine(&work.host).role == Role::Master
}

fn mark_founding(world: &mut World, work: &Work) -> End {
    world.put(work, &format!("{QUORATE}/founding"), "", 0o644);
    End::Done
}

fn mark_joining(world: &mut World, work: &Work) -> End {
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

/// What kubeadm refuses of any host.
fn complaints(machine: &Machine) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut unless = |holds: bool, complaint: &str| {
        if !holds {
            complaints.push(format!("[ERROR {complaint}]"));
        }
    };
    unless(
        machine.packages.contains_key("kubeadm"),
        "kubeadm: command not found",
    );
    unless(machine.runs("containerd"), "CRI");
    unless(machine.units.contains_key("kubelet"), "KubeletVersion");
    unless(machine.swap == 0, "Swap");
    let is_set = |name: &str| machine.sysctls.get(name).is_some_and(|value| value == "1");
    unless(
        is_set("net.ipv4.ip_forward"),
        "FileContent--proc-sys-net-ipv4-ip_forward",
    );
    unless(
        is_set("net.bridge.bridge-nf-call-iptables"),
        "FileContent--proc-sys-net-bridge",
    );
    complaints
}

fn verdict(complaints: &[String]) -> End {
    if complaints.is_empty() {
        return End::Done;
    }
    End::Fails(format!(
        "[preflight] Some fatal errors occurred: {}",
        complaints.join(" ")
    ))
}

fn preflight_init(world: &mut World, work: &Work) -> End {
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

fn make_cas(world: &mut World, work: &Work) -> End {
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

/// An apiserver's certificate with the names that kubeadm gives it now.
pub(super) fn certificate_of(world: &mut World, host: &str) -> String {
    let now = world.now;
    let machine = world.machine(host);
    let configuration = machine
        .files
        .text(&format!("{QUORATE}/cluster.yaml"))
        .unwrap_or_default();
    let mut names = items_of(configuration, "certSANs:");
    names.extend([
        host.to_owned(),
        machine.address.to_string(),
        "kubernetes".to_owned(),
    ]);
    let key = format!("apiserver {host} {now}");
    let certificate = Certificate {
        subject: "kube-apiserver",
        issuer: "kubernetes",
        key: &key,
        alt_names: &names,
    };
    certificate.pem()
}

/// The apiserver's certificate, and the others as mere files.
fn issue_certificates(world: &mut World, host: &str) {
    let pem = certificate_of(world, host);
    let now = world.now;
    let machine = world.machine(host);
    machine
        .files
        .put(format!("{PKI}/apiserver.crt"), pem, 0o644, now);
    for name in [
        "apiserver.key",
        "apiserver-kubelet-client.crt",
        "apiserver-kubelet-client.key",
        "etcd/healthcheck-client.crt",
        "etcd/healthcheck-client.key",
        "etcd/server.crt",
        "etcd/peer.crt",
        "front-proxy-client.crt",
        "apiserver-etcd-client.crt",
    ] {
        let path = format!("{PKI}/{name}");
        if name.contains("etcd") && is_external(machine) {
            continue;
        }
        if !machine.files.has(&path) {
            machine
                .files
                .put(path, format!("{name} of {host}\n"), 0o600, now);
        }
    }
}

fn make_certificates(world: &mut World, work: &Work) -> End {
    issue_certificates(world, &work.host);
    write_kubeconfigs(world, work);
    End::Done
}

fn write_kubeconfigs(world: &mut World, work: &Work) {
    let endpoint = endpoint(world, work);
    world.secrets.insert("planted-admin-key".to_owned());
    for name in ["admin.conf", "controller-manager.conf", "scheduler.conf"] {
        let text = format!(
            "apiVersion: v1\nclusters:\n- cluster:\n    server: https://{endpoint}\n  name: kubernetes\nusers:\n- user:\n    client-key-data: planted-admin-key\n"
        );
        world.put(work, &format!("/etc/kubernetes/{name}"), text, 0o600);
    }
}

/// `host:port` of the control plane.
fn endpoint(world: &mut World, work: &Work) -> String {
    let shared = world
        .machine(&work.host)
        .files
        .text(&format!("{QUORATE}/cluster.yaml"))
        .unwrap_or_default()
        .to_owned();
    value_of(&shared, "controlPlaneEndpoint:").unwrap_or_else(|| format!("{}:6443", world.vip))
}

fn kubelet_conf(world: &mut World, work: &Work, server: &str) {
    let text = format!("apiVersion: v1\nclusters:\n- cluster:\n    server: https://{server}\n");
    world.put(work, "/etc/kubernetes/kubelet.conf", text, 0o600);
}

fn start_kubelet(world: &mut World, work: &Work) -> End {
    world.put(
        work,
        "/var/lib/kubelet/config.yaml",
        "kind: KubeletConfiguration\n",
        0o644,
    );
    let now = world.now;
    match world.systemctl(&work.host, "restart", "kubelet", now) {
        Ok(()) => End::Done,
        Err(why) => End::Fails(why),
    }
}

fn configure_kubelet_by_init(world: &mut World, work: &Work) -> End {
    let address = world.machine(&work.host).address;
    kubelet_conf(world, work, &format!("{address}:6443"));
    start_kubelet(world, work)
}

fn write_pods(world: &mut World, work: &Work) -> End {
    for pod in COMPONENTS {
        let text = manifest(world, &work.host, pod);
        world.put(work, &format!("{MANIFESTS}/{pod}.yaml"), text, 0o600);
    }
    End::Done
}

/// Whether the host becomes a master with an etcd member of its own.
fn is_stacked_master(world: &mut World, work: &Work) -> bool {
    is_master(world, work) && !is_external(world.machine(&work.host))
}

/// A manifest: what of the shared configuration is in its component's flags.
pub(super) fn manifest(world: &mut World, host: &str, pod: &str) -> String {
    let key = match pod {
        "kube-apiserver" => "apiServer:",
        "kube-controller-manager" => "controllerManager:",
        "kube-scheduler" => "scheduler:",
        _ => "etcd:",
    };
    let configuration = world
        .machine(host)
        .files
        .text(&format!("{QUORATE}/cluster.yaml"))
        .unwrap_or_default();
    let sans = items_of(configuration, "certSANs:");
    let section = configuration
        .lines()
        .skip_while(|line| *line != key)
        .skip(1)
        .take_while(|line| line.starts_with(' '));
    let flags = section.filter(|line| !sans.iter().any(|san| line.contains(san)));
    let release = value_of(configuration, "kubernetesVersion:").unwrap_or_default();
    let tag = if pod == "etcd" { "3.6.12-0" } else { &release };
    format!(
        "kind: Pod # {pod}\n    image: registry.k8s.io/{pod}:{tag}\n{}\n",
        flags.collect::<Vec<_>>().join("\n")
    )
}

fn write_etcd_of_founder(world: &mut World, work: &Work) -> End {
    if is_external(world.machine(&work.host)) {
        return End::Done;
    }
    let manifest = manifest(world, &work.host, "etcd");
    let text = format!("{manifest}--initial-cluster={}=…\n", work.host);
    world.put(work, &format!("{MANIFESTS}/etcd.yaml"), text, 0o600);
    End::Done
}

pub(super) fn serve(world: &mut World, work: &Work) -> End {
    let machine = world.machine(&work.host).clone();
    if world.serves(&machine) {
        End::Done
    } else {
        End::Waits("[wait-control-plane] Waiting for a healthy API server".to_owned())
    }
}

pub(super) fn store_configuration(world: &mut World, work: &Work) -> End {
    let Some(cluster) = store(world, work) else {
        return End::Fails("the apiserver does not answer".to_owned());
    };
    let configuration = world
        .machine(&work.host)
        .files
        .text(&format!("{QUORATE}/cluster.yaml"))
        .unwrap_or_default()
        .to_owned();
    let map = json!({ "metadata": { "name": "kubeadm-config" }, "data": { "ClusterConfiguration": configuration } });
    world.ask(
        cluster,
        "PATCH",
        "/api/v1/namespaces/kube-system/configmaps/kubeadm-config",
        Some(map),
    );
    let token = value_of(&work.text("init.yaml"), "token:").unwrap_or_default();
    if let Some((id, secret)) = token.split_once('.') {
        let secret = json!({ "metadata": { "name": format!("bootstrap-token-{id}") }, "data": { "token-secret": secret } });
        world.ask(
            cluster,
            "POST",
            "/api/v1/namespaces/kube-system/secrets",
            Some(secret),
        );
    }
    world.put(
        work,
        "/var/lib/kubelet/pki/kubelet-client-current.pem",
        "planted\n",
        0o600,
    );
    End::Done
}

/// The cluster that the host's own apiserver, or for a worker the virtual IP, leads to.
fn store(world: &mut World, work: &Work) -> Option<usize> {
    let machine = world.machine(&work.host).clone();
    world
        .store_of(&machine)
        .or_else(|| world.store_behind_vip())
}

fn mark_control_plane(world: &mut World, work: &Work) -> End {
    if !is_master(world, work) {
        return End::Done;
    }
    mark_node(world, &work.host)
}

/// The label and the taint of a master.
pub(super) fn mark_node(world: &mut World, host: &str) -> End {
    let taint = if world.release.minor < 24 {
        "node-role.kubernetes.io/master"
    } else {
        "node-role.kubernetes.io/control-plane"
    };
    let path = node_path(host);
    let Some(node) = world
        .live_cluster()
        .and_then(|cluster| world.etcd.get_mut(cluster)?.objects.get_mut(&path))
    else {
        return End::Waits("[mark-control-plane] the Node is not there".to_owned());
    };
    node["metadata"]["labels"]["node-role.kubernetes.io/control-plane"] = json!("");
    node["spec"]["taints"] = json!([{ "key": taint, "effect": "NoSchedule" }]);
    End::Done
}

fn finish_init(world: &mut World, work: &Work) -> End {
    let shared = world
        .machine(&work.host)
        .files
        .get(&format!("{QUORATE}/cluster.yaml"))
        .map(|file| file.content.clone());
    let digest = crate::text::sha256(shared.unwrap_or_default());
    world.put(
        work,
        &format!("{QUORATE}/applied"),
        format!("{digest}\n"),
        0o644,
    );
    world
        .machine(&work.host)
        .files
        .remove(&format!("{QUORATE}/founding"));
    End::Done
}

fn preflight_join(world: &mut World, work: &Work) -> End {
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
fn discover(world: &mut World, work: &Work) -> End {
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

fn prepare_control_plane(world: &mut World, work: &Work) -> End {
    if is_master(world, work) {
        issue_certificates(world, &work.host);
        write_kubeconfigs(world, work);
        write_pods(world, work);
    }
    End::Done
}

fn check_etcd(world: &mut World, work: &Work) -> End {
    if !is_stacked_master(world, work) {
        return End::Done;
    }
    match world.live_cluster() {
        Some(cluster) if world.is_whole(cluster) => End::Done,
        _ => End::Fails("[check-etcd] etcd cluster is not healthy".to_owned()),
    }
}

fn bootstrap_kubelet(world: &mut World, work: &Work) -> End {
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

fn add_member(world: &mut World, work: &Work) -> End {
    if !is_stacked_master(world, work) {
        return End::Done;
    }
    match world.add_member(&work.host) {
        Ok(()) => End::Done,
        Err(why) => End::Fails(why),
    }
}

fn write_etcd_of_joiner(world: &mut World, work: &Work) -> End {
    if is_stacked_master(world, work) {
        let manifest = manifest(world, &work.host, "etcd");
        let text = format!("{manifest}--initial-cluster=…\n--initial-cluster-state=existing\n");
        world.put(work, &format!("{MANIFESTS}/etcd.yaml"), text, 0o600);
    }
    End::Done
}

fn start_member(world: &mut World, work: &Work) -> End {
    if !is_stacked_master(world, work) || world.promote(&work.host) {
        return End::Done;
    }
    End::Waits("[etcd] Waiting for the new etcd member to join the cluster".to_owned())
}

fn finish_join(world: &mut World, work: &Work) -> End {
    if let Some(applied) = work.files.get("applied") {
        world.put(work, &format!("{QUORATE}/applied"), applied.clone(), 0o644);
    }
    world
        .machine(&work.host)
        .files
        .remove(&format!("{QUORATE}/joining"));
    End::Done
}

fn stop_pods(world: &mut World, work: &Work) -> End {
    for name in ["admin.conf", "super-admin.conf"] {
        world
            .machine(&work.host)
            .files
            .remove(&format!("/etc/kubernetes/{name}"));
    }
    let now = world.now;
    // A kubelet that is not there cannot be stopped; kubeadm only warns.
    let _ = world.systemctl(&work.host, "stop", "kubelet", now);
    world.machine(&work.host).pods.clear();
    End::Done
}

fn remove_manifests(world: &mut World, work: &Work) -> End {
    let files = &mut world.machine(&work.host).files;
    files.remove_below(MANIFESTS);
    files.remove_below(PKI);
    End::Done
}

fn remove_state(world: &mut World, work: &Work) -> End {
    let files = &mut world.machine(&work.host).files;
    for name in [
        "kubelet.conf",
        "bootstrap-kubelet.conf",
        "controller-manager.conf",
        "scheduler.conf",
    ] {
        files.remove(&format!("/etc/kubernetes/{name}"));
    }
    files.remove_below("/var/lib/kubelet");
    files.remove_below("/var/lib/etcd");
    files.remove("/etc/cni/net.d/10-quorate.conflist");
    End::Done
}

fn forget(world: &mut World, work: &Work) -> End {
    for mark in ["founding", "joining", "applied", "kubelet-applied"] {
        world
            .machine(&work.host)
            .files
            .remove(&format!("{QUORATE}/{mark}"));
    }
    End::Done
}
