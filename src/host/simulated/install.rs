//! Jobs that install packages and what belongs to that.

use super::jobs::{End, Step, Work};
use super::world::World;

/// The steps of these jobs.
pub(super) fn job_steps(script: &str) -> Option<Vec<Step>> {
    let steps: Vec<Step> = match script {
        "packages-install" => vec![unpack, configure],
        "etcd-packages-install" => vec![unpack_etcd, configure, hold],
        "kubernetes-packages-install" => vec![unpack_kubernetes, configure, hold],
        "kubernetes-repository-refresh" => vec![|_, _| End::Done],
        "kubernetes-key-fetch" => vec![fetch_key],
        "swap-off" => vec![swap_off],
        _ => return None,
    };
    Some(steps)
}

fn version_of(package: &str) -> &'static str {
    match package {
        "haproxy" => "2.6.12-1+deb12u1",
        "keepalived" => "1:2.2.7-1+b2",
        _ => "1.0-1",
    }
}

fn unpack(world: &mut World, work: &Work) -> End {
    let containerd = world.containerd.clone();
    let machine = world.machine(&work.host);
    machine.is_dpkg_interrupted = true;
    for name in &work.arguments {
        let version = match name.as_str() {
            "containerd" => &containerd,
            _ => version_of(name),
        };
        machine.unpack(name, version);
    }
    End::Done
}

fn unpack_kubernetes(world: &mut World, work: &Work) -> End {
    if !world.lists_kubernetes(&work.host) {
        return End::Fails("E: Unable to locate package kubeadm".to_owned());
    }
    unpack_release(world, work, "1.1")
}

fn unpack_etcd(world: &mut World, work: &Work) -> End {
    let release = work.arguments.first().cloned().unwrap_or_default();
    let mut offered = world.offered_etcd.iter();
    if !offered.any(|version| version.to_string() == release) {
        return End::Fails(format!(
            "no repository of this host has etcd-server {release}"
        ));
    }
    unpack_release(world, work, "4+b4")
}

/// Unpacks packages of the release that is the first argument.
fn unpack_release(world: &mut World, work: &Work, revision: &str) -> End {
    let machine = world.machine(&work.host);
    machine.is_dpkg_interrupted = true;
    let release = work.arguments.first().cloned().unwrap_or_default();
    for name in work.arguments.iter().skip(1) {
        machine.unpack(name, &format!("{release}-{revision}"));
    }
    End::Done
}

fn configure(world: &mut World, work: &Work) -> End {
    world.configure_packages(&work.host);
    End::Done
}

fn hold(world: &mut World, work: &Work) -> End {
    let machine = world.machine(&work.host);
    for name in work.arguments.iter().skip(1) {
        if let Some(package) = machine.packages.get_mut(name) {
            package.held = true;
        }
    }
    End::Done
}

fn fetch_key(world: &mut World, work: &Work) -> End {
    let now = world.now;
    let path = work.arguments.get(1).cloned().unwrap_or_default();
    let text = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n";
    world.machine(&work.host).files.put(path, text, 0o644, now);
    End::Done
}

fn swap_off(world: &mut World, work: &Work) -> End {
    world.machine(&work.host).swap = 0;
    End::Done
}
