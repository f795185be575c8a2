//! kubeadm's long commands, as steps that leave behind what the real ones leave.

mod init;
mod join;
mod reset;

use super::certificate::Certificate;
use super::etcd;
use super::external_etcd::is_external;
use super::jobs::{End, Step, Work};
use super::machine::Machine;
use super::pods::node_path;
use super::world::World;
use crate::cluster::release::COMPONENTS;
use crate::inventory::Role;
use serde_json::json;

const PKI: &str = "/etc/kubernetes/pki";

pub(super) const QUORATE: &str = "/etc/kubernetes/quorate";

/// Where kube-proxy lies in the API.
pub(super) const PROXY: &str = "/apis/apps/v1/namespaces/kube-system/daemonsets/kube-proxy";

/// Where CoreDNS lies in the API.
const DNS: &str = "/apis/apps/v1/namespaces/kube-system/deployments/coredns";

pub(super) const MANIFESTS: &str = "/etc/kubernetes/manifests";

/// The steps of kubeadm's jobs.
pub(super) fn steps(script: &str) -> Option<Vec<Step>> {
    let steps: Vec<Step> = match script {
        "kubeadm-init" => vec![
            init::mark_founding,
            init::preflight_init,
            init::make_cas,
            init::make_certificates,
            init::configure_kubelet_by_init,
            write_pods,
            init::write_etcd_of_founder,
            serve,
            store_configuration,
            mark_control_plane,
            init::finish_init,
        ],
        "kubeadm-join" => vec![
            join::mark_joining,
            join::preflight_join,
            join::discover,
            join::prepare_control_plane,
            join::check_etcd,
            join::bootstrap_kubelet,
            join::add_member,
            join::write_etcd_of_joiner,
            join::start_member,
            mark_control_plane,
            join::finish_join,
        ],
        "kubeadm-reset" => vec![
            reset::stop_pods,
            reset::remove_manifests,
            reset::remove_state,
            reset::forget,
        ],
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

/// An apiserver's certificate with the names that kubeadm gives it now.
pub(super) fn certificate_of(world: &mut World, host: &str) -> String {
    let now = world.now;
    let machine = world.machine(host);
    let configuration = shared_configuration(machine);
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

/// With certificates that were issued now.
pub(super) fn write_kubeconfigs(world: &mut World, work: &Work) {
    let endpoint = endpoint(world, work);
    let certificate = world.number();
    world.secrets.insert("planted-admin-key".to_owned());
    for name in ["admin.conf", "controller-manager.conf", "scheduler.conf"] {
        let text = format!(
            "apiVersion: v1\nclusters:\n- cluster:\n    server: https://{endpoint}\n  name: kubernetes\nusers:\n- user:\n    client-certificate-data: {certificate}\n    client-key-data: planted-admin-key\n"
        );
        world.put(work, &format!("/etc/kubernetes/{name}"), text, 0o600);
    }
}

/// `host:port` of the control plane.
fn endpoint(world: &mut World, work: &Work) -> String {
    let shared = shared_configuration(world.machine(&work.host)).to_owned();
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

fn write_pods(world: &mut World, work: &Work) -> End {
    for pod in COMPONENTS {
        let text = manifest(world, &work.host, pod);
        world.put(work, &format!("{MANIFESTS}/{pod}.yaml"), text, 0o600);
    }
    End::Done
}

/// Whether the host is, or becomes, a master with an etcd member of its own.
pub(super) fn is_stacked_master(world: &mut World, work: &Work) -> bool {
    is_master(world, work) && !is_external(world.machine(&work.host))
}

/// A manifest: what of the shared configuration is in its component's flags.
pub(super) fn manifest(world: &mut World, host: &str, pod: &str) -> String {
    let images = world.images.clone();
    let key = match pod {
        "kube-apiserver" => "apiServer:",
        "kube-controller-manager" => "controllerManager:",
        "kube-scheduler" => "scheduler:",
        _ => "etcd:",
    };
    let configuration = shared_configuration(world.machine(host));
    let sans = items_of(configuration, "certSANs:");
    let section = configuration
        .lines()
        .skip_while(|line| *line != key)
        .skip(1)
        .take_while(|line| line.starts_with(' '));
    let flags = section.filter(|line| !sans.iter().any(|san| line.contains(san)));
    let release = value_of(configuration, "kubernetesVersion:").unwrap_or_default();
    let etcd = format!("{}-0", etcd::VERSION);
    let tag = if pod == "etcd" { &etcd } else { &release };
    format!(
        "kind: Pod # {pod}\n    image: {images}/{pod}:{tag}\n{}\n",
        flags.collect::<Vec<_>>().join("\n")
    )
}

pub(super) fn serve(world: &mut World, work: &Work) -> End {
    let machine = world.machine(&work.host).clone();
    if world.serves(&machine) {
        End::Done
    } else {
        End::Waits("[wait-control-plane] Waiting for a healthy API server".to_owned())
    }
}

/// `cluster.yaml` on a machine; empty if there is none.
pub(super) fn shared_configuration(machine: &Machine) -> &str {
    let text = machine.files.text(&format!("{QUORATE}/cluster.yaml"));
    text.unwrap_or_default()
}

/// Notes that this machine's `cluster.yaml` is in force there.
pub(super) fn note_applied(world: &mut World, host: &str) {
    let now = world.now;
    let machine = world.machine(host);
    let digest = crate::text::sha256(shared_configuration(machine));
    let path = format!("{QUORATE}/applied");
    machine.files.put(path, format!("{digest}\n"), 0o644, now);
}

/// The ConfigMap `kubeadm-config`.
pub(super) fn store_shared(world: &mut World, cluster: usize, configuration: &str) {
    let map = json!({ "metadata": { "name": "kubeadm-config" }, "data": { "ClusterConfiguration": configuration } });
    world.ask(
        cluster,
        "PATCH",
        "/api/v1/namespaces/kube-system/configmaps/kubeadm-config",
        Some(map),
    );
}

/// kube-proxy, whose image is the release's, and CoreDNS, whose pods are not modelled.
fn install_addons(world: &mut World, cluster: usize, configuration: &str) {
    let release = value_of(configuration, "kubernetesVersion:").unwrap_or_default();
    let image = format!("{}/kube-proxy:{release}", world.images);
    let proxy = json!({ "metadata": { "name": "kube-proxy" },
        "spec": { "template": { "spec": { "containers": [{ "image": image }] } } } });
    let dns = json!({ "metadata": { "name": "coredns" }, "status": { "readyReplicas": 2 } });
    for (path, object) in [(PROXY, proxy), (DNS, dns)] {
        world.ask(cluster, "PATCH", path, Some(object));
    }
}

pub(super) fn store_configuration(world: &mut World, work: &Work) -> End {
    let Some(cluster) = store(world, work) else {
        return End::Fails("the apiserver does not answer".to_owned());
    };
    let configuration = shared_configuration(world.machine(&work.host)).to_owned();
    store_shared(world, cluster, &configuration);
    install_addons(world, cluster, &configuration);
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
    let (master, plane) = (
        "node-role.kubernetes.io/master",
        "node-role.kubernetes.io/control-plane",
    );
    let (taint, labels): (&str, &[&str]) = match world.release.minor {
        ..24 => (master, &[master, plane]),
        _ => (plane, &[plane]),
    };
    let path = node_path(host);
    let Some(node) = world
        .live_cluster()
        .and_then(|cluster| world.etcd.get_mut(cluster)?.objects.get_mut(&path))
    else {
        return End::Waits("[mark-control-plane] the Node is not there".to_owned());
    };
    for label in labels {
        node["metadata"]["labels"][label] = json!("");
    }
    node["spec"]["taints"] = json!([{ "key": taint, "effect": "NoSchedule" }]);
    End::Done
}
