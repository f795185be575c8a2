//! What hosts, flags, settings and pods must be like.

use serde_json::{Value, json};

use super::{BUDGETS, CONFIGURATION, Cluster, configuration, refuses, release};
use crate::action::{BarePods, Blocked};
use crate::inventory::version::KubeVersion;

#[test]
fn hosts_have_room_certificates_containerd_and_cgroups_for_it() {
    refuses("master1 disk: 1 MB are free", |cluster| {
        cluster.set(
            "master1",
            "kubernetes-release",
            &release(true, "etcd-space 1024 20480\n", &json!([])),
        );
    });
    refuses(
        "worker1 containerd: v1.36.0 wants containerd 2.2.0 or later, and it runs 1.7.20",
        |cluster| {
            cluster.target = KubeVersion {
                minor: 36,
                patch: 0,
            };
            let old = cluster
                .answer("worker1", "kubernetes-report")
                .replace("containerd://2.3.1", "containerd://1.7.20");
            cluster.set("worker1", "kubernetes-report", &old);
        },
    );
    let mut v1 = Cluster::new();
    v1.target = KubeVersion {
        minor: 35,
        patch: 0,
    };
    v1.machine.cgroup_v2 = false;
    assert_eq!(
        v1.refusals()
            .iter()
            .filter(|line| line.contains(" cgroup: it has cgroup v1"))
            .count(),
        4,
        "{:#?}",
        v1.refusals()
    );
    v1.inventory
        .kubelet
        .insert("failCgroupV1".to_owned(), Value::Bool(false));
    assert_eq!(v1.refusals(), Vec::<String>::new());
}

#[test]
fn expired_certificates_are_refused() {
    let mut cluster = Cluster::new();
    let pem = crate::cluster::ca::samples::ONE;
    cluster.set(
        "master1",
        "certificates",
        &format!("== /etc/kubernetes/pki/apiserver.crt\n{pem}"),
    );
    // The host's clock is what certificates are judged by.
    cluster.machine.clock_us = 9_000_000_000_000_000;
    let refusals = cluster.refusals();
    assert!(
        refusals.iter().any(|line| line
            .starts_with("master1 certificate: /etc/kubernetes/pki/apiserver.crt has expired")),
        "{refusals:#?}"
    );
}

#[test]
fn flags_and_feature_gates_that_the_target_has_lost_are_refused() {
    refuses(
        "all removed-flag: kube-apiserver has lost --insecure-port in v1.24",
        |cluster| {
            cluster
                .inventory
                .kubeadm
                .api_server
                .insert("insecure-port".to_owned(), "0".to_owned());
        },
    );
    refuses(
        "worker1 removed-flag: kubelet has lost --network-plugin in v1.24, and /etc/default/kubelet sets it",
        |cluster| {
            cluster.set(
                "worker1",
                "kubernetes-release",
                &release(
                    false,
                    "kubelet-flags \"--network-plugin=cni --v=2\"\n",
                    &json!([]),
                ),
            );
        },
    );
    refuses(
        "all feature-gate: kubeadm has lost the feature gate EtcdLearnerMode in v1.33",
        |cluster| {
            cluster.set(
                "all",
                CONFIGURATION,
                &configuration(
                    "v1beta4",
                    "featureGates:\n  EtcdLearnerMode: true\nimageRepository: x\n",
                ),
            );
        },
    );
}

#[test]
fn settings_that_wait_for_provision_are_not_taken_along() {
    refuses(
        "master2 settings: the inventory has settings of the control plane that are not in force on it",
        |cluster| {
            cluster.set("master2", crate::cluster::report::APPLIED, "0000\n");
        },
    );
}

#[test]
fn budgets_and_bare_pods_stop_it_unless_the_person_allows_them() {
    let bare = json!({ "metadata": { "namespace": "default", "name": "web", "labels": { "app": "web" } } });
    let budget = json!({ "items": [{ "metadata": { "namespace": "default", "name": "web" },
        "spec": { "selector": { "matchLabels": { "app": "web" } } }, "status": { "disruptionsAllowed": 0, "currentHealthy": 1, "desiredHealthy": 1 } }] });
    let mut owned = bare.clone();
    owned["metadata"]["ownerReferences"] =
        json!([{ "kind": "ReplicaSet", "name": "web", "controller": true }]);
    let with_budget = |cluster: &mut Cluster| {
        cluster.set(
            "worker1",
            "kubernetes-release",
            &release(false, "", &json!([owned])),
        );
        cluster.set("all", BUDGETS, &format!("200 {budget}"));
    };
    refuses(
        "worker1 budgets: budget default/web would stop its drain: it lets none of its 1 healthy pods go; pods of ReplicaSet/web: default/web",
        with_budget,
    );
    let mut allowed = Cluster::new();
    with_budget(&mut allowed);
    allowed.policies.blocked = Blocked::Wait;
    assert_eq!(
        (allowed.refusals().len(), allowed.verdict().warnings.len()),
        (0, 1)
    );
    let with_bare = |cluster: &mut Cluster| {
        cluster.set(
            "worker1",
            "kubernetes-release",
            &release(false, "", &json!([bare])),
        );
    };
    refuses(
        "worker1 bare-pods: nobody would make these pods again: default/web",
        with_bare,
    );
    let mut allowed = Cluster::new();
    with_bare(&mut allowed);
    allowed.policies.bare_pods = BarePods::Delete;
    assert_eq!(
        (allowed.refusals().len(), allowed.verdict().warnings.len()),
        (0, 1)
    );
    refuses("worker1 pods: the pods on it cannot be listed", |cluster| {
        cluster.set("worker1", "kubernetes-release", "pods unreachable\n");
    });
    refuses(
        "all budgets: the PodDisruptionBudgets cannot be listed",
        |cluster| cluster.set("all", BUDGETS, "500 {}"),
    );
}
