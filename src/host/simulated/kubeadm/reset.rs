//! `kubeadm reset`, and what quorate removes after it.

use super::super::jobs::{End, Work};
use super::super::world::World;
use super::{MANIFESTS, PKI, QUORATE};

pub(super) fn stop_pods(world: &mut World, work: &Work) -> End {
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

pub(super) fn remove_manifests(world: &mut World, work: &Work) -> End {
    let files = &mut world.machine(&work.host).files;
    files.remove_below(MANIFESTS);
    files.remove_below(PKI);
    End::Done
}

pub(super) fn remove_state(world: &mut World, work: &Work) -> End {
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

pub(super) fn forget(world: &mut World, work: &Work) -> End {
    for mark in ["founding", "joining", "applied", "kubelet-applied"] {
        world
            .machine(&work.host)
            .files
            .remove(&format!("{QUORATE}/{mark}"));
    }
    End::Done
}
