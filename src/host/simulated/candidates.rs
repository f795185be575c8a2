//! What `control-plane-config` does on a master: candidates, and putting them in place.

use super::external_etcd::is_external;
use super::kubeadm::{certificate_of, manifest, note_applied, shared_configuration, store_shared};
use super::scripts::Ended;
use super::world::World;

const WORK: &str = "/run/quorate/candidates";
const PKI: &str = "/etc/kubernetes/pki";
const MANIFESTS: &str = "/etc/kubernetes/manifests";
const QUORATE: &str = "/etc/kubernetes/quorate";
const COMPONENTS: [&str; 4] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
];

fn done(output: String) -> Ended {
    (0, output, String::new())
}

/// Makes the candidates and says how they differ.
pub(super) fn make(world: &mut World, host: &str) -> Ended {
    let now = world.now;
    let candidate = certificate_of(world, host);
    let mut output = String::new();
    for name in COMPONENTS {
        if name == "etcd" && is_external(world.machine(host)) {
            continue;
        }
        let path = format!("{MANIFESTS}/{name}.yaml");
        let running = world
            .machine(host)
            .files
            .text(&path)
            .unwrap_or_default()
            .to_owned();
        let kept = running
            .lines()
            .filter(|line| line.starts_with("--initial-cluster"));
        let kept: String = kept.map(|line| format!("{line}\n")).collect();
        let text = manifest(world, host, name) + &kept;
        if text != running {
            output.push_str(&format!("differs {name}\n"));
        }
        world
            .machine(host)
            .files
            .put(format!("{WORK}/manifests/{name}.yaml"), text, 0o600, now);
    }
    let files = &mut world.machine(host).files;
    let running = files
        .text(&format!("{PKI}/apiserver.crt"))
        .unwrap_or_default()
        .to_owned();
    files.put(
        format!("{WORK}/pki/apiserver.crt"),
        candidate.clone(),
        0o600,
        now,
    );
    done(format!(
        "{output}certificate running\n{running}certificate candidate\n{candidate}"
    ))
}

/// Puts the new certificate in place.
pub(super) fn replace_certificate(world: &mut World, host: &str) -> Ended {
    let files = &mut world.machine(host).files;
    files.rename(
        &format!("{PKI}/apiserver.crt"),
        &format!("{QUORATE}/backup/apiserver.crt"),
    );
    files.rename(
        &format!("{WORK}/pki/apiserver.crt"),
        &format!("{PKI}/apiserver.crt"),
    );
    done(String::new())
}

/// Puts a new manifest, or the old one again, in place; kubelet starts the component anew.
pub(super) fn replace(world: &mut World, host: &str, name: &str, source: &str) -> Ended {
    let files = &mut world.machine(host).files;
    let (running, backup) = (
        format!("{MANIFESTS}/{name}.yaml"),
        format!("{QUORATE}/backup/{name}.yaml"),
    );
    if source == "candidate" {
        files.rename(&running, &backup);
        files.rename(&format!("{WORK}/manifests/{name}.yaml"), &running);
    } else {
        files.rename(&backup, &running);
    }
    world.machine(host).pods.remove(name);
    done(String::new())
}

/// Whether the apiserver's certificate is good for all of these names.
pub(super) fn serves(world: &mut World, host: &str, names: &[String]) -> Ended {
    let pem = world
        .machine(host)
        .files
        .text(&format!("{PKI}/apiserver.crt"))
        .unwrap_or_default()
        .to_owned();
    let text = format!("certificate running\ncertificate candidate\n{pem}");
    let held = crate::cluster::candidates::Candidates::parse(&text).names;
    match names.iter().find(|name| !held.contains(*name)) {
        None => done(String::new()),
        Some(name) => (
            1,
            String::new(),
            format!("the apiserver does not show a certificate for {name}"),
        ),
    }
}

/// Notes the configuration as applied, and stores it if this is the last master.
pub(super) fn store(world: &mut World, host: &str, turn: &str) -> Ended {
    let machine = world.machine(host).clone();
    let Some(cluster) = world.store_of(&machine) else {
        return (1, String::new(), "the apiserver does not answer".to_owned());
    };
    if turn == "last" {
        store_shared(world, cluster, shared_configuration(&machine));
    }
    note_applied(world, host);
    world.machine(host).files.remove_below(WORK);
    done(String::new())
}
