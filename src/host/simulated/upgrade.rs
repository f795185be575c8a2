//! What an upgrade meets: releases, drains, HAProxy's runtime state and `kubeadm upgrade`.

use super::jobs::{End, Step, Work};
use super::kubeadm::{
    MANIFESTS, QUORATE, is_master, is_stacked_master, note_applied, serve, store_configuration,
    value_of, write_kubeconfigs,
};
use super::machine::Machine;
use super::release::{images_missing, release};
use super::scripts::{Ended, containerd_says};
use super::world::World;
use crate::cluster::release::COMPONENTS;
use crate::host::command::Script;
use crate::inventory::Role;
use crate::inventory::version::KubeVersion;

const MARKS: &str = "/run/quorate/haproxy";

/// Answers a read-only script; `None`: it is not known here.
pub(super) fn probe(world: &mut World, host: &str, script: &Script) -> Option<String> {
    Some(match script.name {
        "kubernetes-release" => release(world, host),
        "kubernetes-releases-offered" => world
            .offered
            .iter()
            .map(|release| format!("{}-1.1\n", release.plain()))
            .collect(),
        "release-images-missing" => images_missing(world.machine(host), script.argument(0)),
        "haproxy-servers" => servers(world, host),
        "haproxy-server-marks" => marks(world.machine(host)),
        "status" => status(world, host),
        // Those of the model are no X.509 but the few whose names are looked at.
        "certificates" => String::new(),
        _ => return None,
    })
}

/// Runs a command script; `None`: it is not known here.
pub(super) fn run(world: &mut World, host: &str, script: &Script) -> Option<Ended> {
    let now = world.now;
    let done = Some((0, String::new(), String::new()));
    match script.name {
        "haproxy-server-leave" => {
            let machine = world.machine(host);
            let (server, by) = (script.argument(0), script.argument(1));
            machine
                .files
                .put(format!("{MARKS}/{server}"), by, 0o644, now);
            machine.servers_out.insert(server.to_owned(), "MAINT");
            Some((0, "0\n".to_owned(), String::new()))
        }
        "haproxy-server-return" => {
            let machine = world.machine(host);
            machine.servers_out.remove(script.argument(0));
            machine
                .files
                .remove(&format!("{MARKS}/{}", script.argument(0)));
            done
        }
        "etcd-transfer-leadership" => {
            let machine = world.machine(host).clone();
            let (cluster, _) = world.running(&machine)?;
            world.etcd.get_mut(cluster)?.leader = script.argument(1).parse().ok();
            Some((0, "{}\n200\n".to_owned(), String::new()))
        }
        "upgrade-leftovers-remove" => {
            let files = &mut world.machine(host).files;
            files.remove_below("/etc/kubernetes/tmp");
            files.remove(&format!("{QUORATE}/upgraded"));
            done
        }
        _ => None,
    }
}

/// kubeadm's own order: etcd, the other static pods, what is stored, kubelet's configuration.
pub(super) fn steps() -> Vec<Step> {
    vec![
        mark,
        check,
        back_up,
        upgrade_etcd,
        etcd_is_back,
        upgrade_apiserver,
        apiserver_is_back,
        upgrade_others,
        store,
        finish,
    ]
}

fn target(work: &Work) -> Option<KubeVersion> {
    KubeVersion::find(work.arguments.get(1)?)
}

fn mark(world: &mut World, work: &Work) -> End {
    let release = work.arguments.get(1).cloned().unwrap_or_default();
    world.put(
        work,
        &format!("{QUORATE}/upgrading"),
        format!("{release}\n"),
        0o644,
    );
    End::Done
}

/// kubeadm must be of the target; `node` follows a master that has stored the release; the pods of two masters are never
/// upgraded at once.
fn check(world: &mut World, work: &Work) -> End {
    let machine = world.machine(&work.host).clone();
    let kubeadm = machine
        .packages
        .get("kubeadm")
        .and_then(|package| KubeVersion::find(&package.version));
    if kubeadm != target(work) {
        return End::Fails(format!("[upgrade/version] kubeadm is {kubeadm:?}"));
    }
    let stored = world.live_cluster().and_then(|cluster| {
        let map = world
            .etcd
            .get(cluster)?
            .objects
            .get("/api/v1/namespaces/kube-system/configmaps/kubeadm-config")?;
        KubeVersion::find(&value_of(
            map.pointer("/data/ClusterConfiguration")?.as_str()?,
            "kubernetesVersion:",
        )?)
    });
    if work.arguments.first().is_some_and(|verb| verb == "node") && stored != target(work) {
        return End::Fails(format!("[upgrade] the cluster is still at {stored:?}"));
    }
    let others = world
        .machines
        .values()
        .filter(|other| other.name != work.host);
    let upgrades = |other: &Machine| {
        other
            .jobs
            .values()
            .any(|job| job.name == "kubeadm-upgrade" && job.status.is_none())
    };
    if others
        .filter(|other| other.role == Role::Master)
        .any(upgrades)
    {
        world.violate("kubeadm upgrade runs on two masters at once".to_owned());
    }
    if machine.role == Role::Master && world.in_load_balancers(&work.host) {
        world.violate(format!(
            "kubeadm upgrade runs on {} while it gets connections",
            work.host
        ));
    }
    End::Done
}

fn back_up(world: &mut World, work: &Work) -> End {
    let kept = if is_stacked_master(world, work) {
        "kubeadm-backup-etcd-1/etcd.yaml"
    } else {
        "kubeadm-backup-manifests-1/kube-apiserver.yaml"
    };
    if is_master(world, work) {
        let path = format!("/etc/kubernetes/tmp/{kept}");
        world.put(work, &path, "a copy\n", 0o600);
    }
    End::Done
}

fn replace(world: &mut World, work: &Work, pod: &str) {
    let path = format!("{MANIFESTS}/{pod}.yaml");
    let old = world
        .machine(&work.host)
        .files
        .text(&path)
        .unwrap_or_default()
        .to_owned();
    let release = work.arguments.get(1).cloned().unwrap_or_default();
    let images = world.images.clone();
    let image = |line: &str| {
        let is_image = line.trim_start().starts_with("image:") && pod != "etcd";
        if is_image {
            format!("    image: {images}/{pod}:{release}")
        } else {
            line.to_owned()
        }
    };
    let new: Vec<String> = old.lines().map(image).collect();
    world.put(work, &path, new.join("\n") + "\n", 0o600);
    world.machine(&work.host).pods.remove(pod);
}

fn upgrade_etcd(world: &mut World, work: &Work) -> End {
    if is_stacked_master(world, work) {
        replace(world, work, "etcd");
    }
    End::Done
}

fn etcd_is_back(world: &mut World, work: &Work) -> End {
    let machine = world.machine(&work.host).clone();
    if !is_stacked_master(world, work) || world.running(&machine).is_some() {
        return End::Done;
    }
    End::Waits("[upgrade/etcd] Waiting for etcd to become available".to_owned())
}

fn upgrade_apiserver(world: &mut World, work: &Work) -> End {
    if is_master(world, work) {
        replace(world, work, "kube-apiserver");
    }
    End::Done
}

fn apiserver_is_back(world: &mut World, work: &Work) -> End {
    if is_master(world, work) {
        serve(world, work)
    } else {
        End::Done
    }
}

fn upgrade_others(world: &mut World, work: &Work) -> End {
    if is_master(world, work) {
        for pod in COMPONENTS.iter().skip(1) {
            replace(world, work, pod);
        }
    }
    End::Done
}

fn store(world: &mut World, work: &Work) -> End {
    if work.arguments.first().is_some_and(|verb| verb == "apply") {
        return store_configuration(world, work);
    }
    End::Done
}

fn finish(world: &mut World, work: &Work) -> End {
    if is_master(world, work) {
        write_kubeconfigs(world, work);
    }
    let release = work.arguments.get(1).cloned().unwrap_or_default();
    let files = &world.machine(&work.host).files;
    if ["cluster.yaml", "applied"]
        .iter()
        .all(|name| files.has(&format!("{QUORATE}/{name}")))
    {
        note_applied(world, &work.host);
    }
    world.put(
        work,
        &format!("{QUORATE}/upgraded"),
        format!("{release}\n"),
        0o644,
    );
    world
        .machine(&work.host)
        .files
        .remove(&format!("{QUORATE}/upgrading"));
    End::Done
}

/// What `status.sh` prints; the versions are those of the programs on disk.
fn status(world: &mut World, host: &str) -> String {
    let machine = world.machine(host).clone();
    let mut lines = Vec::new();
    let version = |name: &str| machine.packages.get(name)?.version.split('-').next();
    lines.extend(containerd_says(&machine).map(|said| format!("containerd {said}")));
    lines.extend(version("kubelet").map(|version| format!("kubelet Kubernetes v{version}")));
    if machine.role == Role::Master && machine.files.has("/etc/kubernetes/pki/ca.crt") {
        let code = world.store_behind_vip().map_or("000", |_| "200");
        lines.push(format!("endpoint {code}"));
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn servers(world: &World, host: &str) -> String {
    let Some(balancer) = world
        .machines
        .get(host)
        .filter(|machine| machine.runs("haproxy"))
    else {
        return String::new();
    };
    let masters = world
        .machines
        .values()
        .filter(|machine| machine.role == Role::Master);
    let state = |master: &Machine| match balancer.servers_out.get(&master.name) {
        Some(out) => out,
        None if world.serves(master) => "UP",
        None => "DOWN",
    };
    masters
        .map(|master| {
            let (backend, state) = (crate::cluster::load_balancer::API_BACKEND, state(master));
            format!(
                "haproxy_server_status{{proxy=\"{backend}\",server=\"{}\",state=\"{state}\"}} 1\n",
                master.name
            )
        })
        .collect()
}

fn marks(machine: &Machine) -> String {
    let line = |path: &String| {
        let name = path.rsplit('/').next().unwrap_or_default();
        format!(
            "{name} {}\n",
            machine.files.text(path).unwrap_or_default().trim()
        )
    };
    machine.files.list(MARKS).iter().map(line).collect()
}

impl World {
    /// Whether a load balancer sends connections to a master while there is another one that could take them.
    fn in_load_balancers(&self, master: &str) -> bool {
        let gets = |balancer: &Machine| {
            balancer.runs("haproxy") && !balancer.servers_out.contains_key(master)
        };
        let others = self
            .machines
            .values()
            .filter(|machine| machine.name != master && self.serves(machine))
            .count();
        others > 0
            && self
                .machines
                .values()
                .filter(|machine| machine.role == Role::LoadBalancer)
                .any(gets)
    }
}
