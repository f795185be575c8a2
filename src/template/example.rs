//! An example of everything that a template may use, against which templates are checked when they are loaded.
//!
//! Its values mean nothing, its shape means everything: see [`Known`](super::known::Known). It is built from the real types
//! without `..Default::default()`, so that a new field cannot be forgotten here: it would not compile.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::OnceLock;

use ipnetwork::Ipv4Network;
use serde_json::{Map, Value, json};

use super::Templates;
use super::variables::Variables;
use crate::action::{Context, Fleet};
use crate::inventory::etcd::{Compaction, EtcdPackages, EtcdVersion};
use crate::inventory::version::KubeVersion;
use crate::inventory::{
    Audit, Cni, Containerd, EtcdSeat, EtcdTopology, ExternalEtcd, Images, Ingress, Inventory,
    Kubeadm, LoadBalancer, Network, Node, PackageSource, Registry, Role, SshSettings, Vip,
};

/// The variables with every list filled, every option given and `"*"` for every key that is free.
pub(super) fn variables() -> &'static Value {
    static EXAMPLE: OnceLock<Value> = OnceLock::new();
    EXAMPLE.get_or_init(|| {
        let inventory = inventory();
        let (fleet, templates) = (Fleet::default(), Templates::none());
        let mut examples = inventory.nodes.iter().map(|node| {
            let variables = Variables::new(&Context {
                inventory: &inventory,
                node,
                templates: &templates,
                fleet: &fleet,
            });
            serde_json::to_value(variables).unwrap_or_default()
        });
        examples.next_back().unwrap_or_default()
    })
}

fn inventory() -> Inventory {
    let word = || "x".to_owned();
    let any_key = || BTreeMap::from([("*".to_owned(), word())]);
    Inventory {
        path: word().into(),
        name: word(),
        kubernetes: KubeVersion {
            minor: 36,
            patch: 0,
        },
        vip: Vip {
            address: Ipv4Addr::LOCALHOST,
            dns: Some(word()),
            port: 1,
            interface: Some(word()),
            router_id: 1,
            managed: true,
        },
        network: Network {
            pods: network(),
            services: network(),
            domain: word(),
        },
        packages: PackageSource::Mirror {
            url: word(),
            key: word(),
        },
        images: Images {
            repository: Some(word()),
            registries: BTreeMap::from([("*".to_owned(), registry())]),
        },
        containerd: Containerd {
            package: word(),
            restrict_oom_score_adj: true,
            systemd_cgroup: Some(true),
        },
        cni: Cni::Manifest {
            origin: word(),
            content: Some(word()),
        },
        audit: Audit {
            enabled: true,
            policy: Some(word()),
            max_age: 1,
            max_backup: 1,
            max_size: 1,
        },
        ingress: Some(Ingress { http: 1, https: 1 }),
        kubelet: anything(),
        kube_proxy: anything(),
        kubeadm: Kubeadm {
            cert_sans: vec![word()],
            skip_phases: vec!["preflight".to_owned()],
            ignore_preflight_errors: vec![word()],
            api_server: any_key(),
            controller_manager: any_key(),
            scheduler: any_key(),
            etcd: any_key(),
        },
        load_balancer: LoadBalancer {
            max_connections: 1,
            stats_user: word(),
            stats_password: None,
        },
        etcd: EtcdTopology::External(ExternalEtcd {
            version: EtcdVersion::OLDEST,
            packages: EtcdPackages::Mirror {
                url: word(),
                key: word(),
            },
            data_directory: word().into(),
            quota: 1,
            compaction: Compaction::Periodic(word()),
            snapshot_count: 1,
            extra: any_key(),
        }),
        sysctls: any_key(),
        overlay: Some(word().into()),
        nodes: [Role::LoadBalancer, Role::Etcd, Role::Master, Role::Worker]
            .map(node)
            .into(),
    }
}

fn node(role: Role) -> Node {
    Node {
        name: format!("{role:?}"),
        address: Ipv4Addr::LOCALHOST,
        role,
        labels: BTreeMap::from([("*".to_owned(), "x".to_owned())]),
        taints: Some(vec!["x=x:x".to_owned()]),
        tags: vec!["x".to_owned()],
        weight: 1,
        etcd: Some(EtcdSeat {
            peer_address: Ipv4Addr::LOCALHOST,
        }),
        ssh: SshSettings::default(),
    }
}

fn registry() -> Registry {
    Registry {
        mirrors: vec!["x".to_owned()],
        ca: Some("x".to_owned()),
        plain_http: true,
    }
}

fn network() -> Ipv4Network {
    Ipv4Network::from(Ipv4Addr::LOCALHOST)
}

fn anything() -> Map<String, Value> {
    match json!({ "*": null }) {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
