//! Golden files: one per sample and kind of host, with all its templates.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use quorate::inventory::Role;
use quorate::template::Templates;
use serde_json::json;

use crate::support::{Cluster, SAMPLES};

const ROLES: [Role; 4] = [Role::LoadBalancer, Role::Etcd, Role::Master, Role::Worker];
const LOAD_BALANCER: [&str; 5] = [
    "haproxy/haproxy.cfg",
    "haproxy/override.conf",
    "keepalived/check_haproxy",
    "keepalived/keepalived.conf",
    "keepalived/override.conf",
];
const NODE: [&str; 5] = [
    "containerd/config.toml",
    "containerd/crictl.yaml",
    "cni/bridge.conflist",
    "kubeadm/join.yaml",
    "sysctl/kubernetes.conf",
];
const MASTER: [&str; 3] = [
    "kubeadm/audit-policy.yaml",
    "kubeadm/cluster.yaml",
    "kubeadm/init.yaml",
];
const ETCD: [&str; 5] = [
    "etcd/etcd.service",
    "etcd/etcd-watch",
    "etcd/etcd-watch.service",
    "etcd/etcd.yaml",
    "etcd/kubeadm.yaml",
];
/// What a worker has.
const WORKER: [&str; 1] = ["kubeadm/kubelet.yaml"];

const PER_REGISTRY: &str = "containerd/hosts.toml";
const INCLUDED: &str = "kubeadm/node-registration.yaml";

fn templates_of(role: Role) -> Vec<&'static str> {
    match role {
        Role::LoadBalancer => LOAD_BALANCER.to_vec(),
        Role::Etcd => ETCD.to_vec(),
        Role::Master => [&NODE[..], &MASTER[..]].concat(),
        Role::Worker => [&NODE[..], &WORKER[..]].concat(),
    }
}

fn all_files(cluster: &Cluster, host: &str) -> String {
    let mut text = String::new();
    let role = cluster.inventory.node(host).unwrap().role;
    for template in templates_of(role) {
        let file = cluster.render(template, host);
        write!(text, "=== {template}\n{file}").unwrap();
    }
    if role.is_node() {
        for registry in cluster.inventory.images.registries.keys() {
            let file = cluster.render_with(PER_REGISTRY, host, json!({ "registry": registry }));
            write!(text, "=== {PER_REGISTRY} for {registry}\n{file}").unwrap();
        }
    }
    text
}

#[test]
fn every_template_of_every_sample_is_as_it_was() {
    for sample in SAMPLES {
        let cluster = Cluster::load(sample);
        let name = sample.rsplit('/').next().unwrap().trim_end_matches(".yaml");
        for node in ROLES
            .iter()
            .filter_map(|role| cluster.inventory.with_role(*role).next())
        {
            insta::assert_snapshot!(
                format!("{name}-{}", node.name),
                all_files(&cluster, &node.name)
            );
        }
    }
}

#[test]
fn every_host_of_every_sample_renders_the_same_bytes_twice() {
    for sample in SAMPLES {
        let (first, second) = (Cluster::load(sample), Cluster::load(sample));
        for node in &first.inventory.nodes {
            let name = &node.name;
            assert_eq!(all_files(&first, name), all_files(&second, name));
        }
    }
}

#[test]
fn every_template_is_among_the_snapshots() {
    let templates = Templates::load(None).unwrap();
    let names: BTreeSet<&str> = templates.names().collect();
    let mut shown: BTreeSet<&str> = BTreeSet::from([PER_REGISTRY, INCLUDED]);
    for role in ROLES {
        shown.extend(templates_of(role));
    }
    assert_eq!(names, shown);
}

#[test]
fn no_file_has_trailing_space_or_lacks_its_last_line_break() {
    for sample in SAMPLES {
        let cluster = Cluster::load(sample);
        for node in &cluster.inventory.nodes {
            for template in templates_of(node.role) {
                let file = cluster.render(template, &node.name);
                let line = file.lines().find(|line| line.ends_with(' '));
                assert_eq!(line, None, "in {template} of {sample}");
                assert!(file.ends_with('\n'), "{template} of {sample}: {file:?}");
                assert!(!file.ends_with("\n\n"), "{template} of {sample}: {file:?}");
                assert!(!file.starts_with('\n'), "{template} of {sample}");
            }
        }
    }
}
