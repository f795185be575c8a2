//! Differences between real and simulated hosts that are known and do not matter, each with the reason.

/// Whether a difference shows in every recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shows {
    /// It must, or the entry is stale.
    Always,
    /// It hangs on how long something took on the real hosts.
    Sometimes,
}

use Shows::{Always, Sometimes};

/// Where, with `*` for anything; whether always; and why it does not matter.
pub const KNOWN: &[(&str, Shows, &str)] = &[
    (
        "provision | 1 provision 3.5@lb* | lb* | machine /listens",
        Always,
        "the model's HAProxy takes a new configuration at once; the step after restarts it",
    ),
    (
        "provision | 1 provision 3.11@lb* | task 3.11@lb*",
        Sometimes,
        "a real Keepalived takes the virtual IP after some seconds, the model's at once",
    ),
    (
        "provision | 1 provision 5.1@master* | * /said/node/object/has-pod-cidr",
        Sometimes,
        "the controller manager gives a Node its range seconds after it came, the model at once",
    ),
    (
        "* | 1 provision 10.* /said/node/object/ready",
        Always,
        "a real Node is ready some seconds after its network is there, the model's at once",
    ),
    (
        "* | 1 provision 10.3 | task 10.3@*",
        Always,
        "and is waited for",
    ),
    (
        "* | script kubernetes-r* /said/manifests/etcd",
        Always,
        "the model has one etcd for all releases of kubeadm",
    ),
    (
        "*/etcd-master* Static/image",
        Always,
        "the same in its pods",
    ),
    (
        "recover | * | run restore-state /said",
        Always,
        "the same in its manifest",
    ),
    (
        "* Static/ready",
        Sometimes,
        "kubelet tells seconds later that a static pod is ready, the model at once",
    ),
    (
        "upgrade | *ReplicaSet/coredns-*",
        Always,
        "the pods of CoreDNS are not modelled; a drain is shown with a deployment in the tests of upgrades",
    ),
    (
        "upgrade | 1 upgrade 3.4@master* | master* | script kubernetes-api-read *",
        Sometimes,
        "a real apiserver may begin once more after kubeadm has seen it, where processors are short",
    ),
    (
        "upgrade | 1 upgrade 4.3@worker1 | worker1 | machine /jobs",
        Sometimes,
        "systemd shows a job that has ended for a moment longer",
    ),
    (
        "upgrade | 1 upgrade 3.5@master* | task 3.5@master*",
        Sometimes,
        "so a master that they were scheduled to has no pods to be drained of",
    ),
    (
        "upgrade | 1 upgrade 3.5@master* | master* | calls",
        Sometimes,
        "and none is evicted from it",
    ),
    (
        "upgrade | *DaemonSet/kube-proxy Daemon/*",
        Sometimes,
        "a real DaemonSet takes its pods to a new image one after the other, the model's all at once",
    ),
    (
        "upgrade | 1 upgrade 4.2@worker1 | task 4.2@worker1",
        Always,
        "so the worker has no pods to be drained of",
    ),
    (
        "upgrade | 1 upgrade 4.2@worker1 | master* | calls",
        Always,
        "and none is evicted from it",
    ),
    (
        "upgrade | * | script kubernetes-release * /said/pods/*-master* Static",
        Sometimes,
        "kubelet 1.20 may show a static pod to the apiserver minutes after it runs, the model at once",
    ),
    (
        "upgrade | 1 upgrade 3.1@master* | task 3.1@master*",
        Sometimes,
        "of two followers the one that has applied more is asked to lead: in the model always the same",
    ),
    (
        "upgrade | *Job/upgrade-health-check Finished",
        Sometimes,
        "kubeadm's Job that tries whether pods start is gone after a while",
    ),
    (
        "upgrade | 1 upgrade 3.*@master* /said/readyz",
        Sometimes,
        "an apiserver that has just started says 500 for some seconds",
    ),
    (
        "upgrade | * | script certificates /said",
        Always,
        "the model's certificates are files without validity, but for the apiserver's names",
    ),
    (
        "recover | * | master1 | sysctl net.*",
        Always,
        "the lab's hosts share one kernel: its sysctls outlive a machine",
    ),
    (
        "recover | * | master1 | machine /modules",
        Always,
        "and its modules do",
    ),
    (
        "recover | 1 provision 2.* | task 2.*@master1",
        Always,
        "so less is to be changed there",
    ),
    (
        "recover | 1 provision 2.1 | master1 | calls",
        Always,
        "and nothing to be loaded",
    ),
];
