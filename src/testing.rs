//! A small world for unit tests of actions: an inventory, the templates and whatever was read of a host.

pub(crate) mod torture;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::action::{Context, Fleet};
use crate::host::facts::Machine;
use crate::host::probe::Readings;
use crate::inventory::{
    Audit, Cni, Containerd, EtcdTopology, Images, Inventory, Kubeadm, LoadBalancer, Network, Node,
    PackageSource, Role, SshSettings, Vip,
};
use crate::template::Templates;

/// What [`Context`] borrows from.
pub(crate) struct World {
    pub inventory: Inventory,
    pub templates: Templates,
    pub fleet: Fleet,
    host: String,
}

impl World {
    /// Two load balancers, three masters and a worker, all in order; `host` is the one that is judged, and of it nothing
    /// but a Debian machine was read.
    pub(crate) fn new(host: &str) -> Self {
        let world = Self {
            inventory: inventory(),
            templates: Templates::load(None).expect("the embedded templates are in order"),
            fleet: Fleet::default(),
            host: host.to_owned(),
        };
        world.reading(Readings::default().with_machine(debian()))
    }

    /// Adds what was read of the judged host.
    pub(crate) fn reading(mut self, readings: Readings) -> Self {
        self.fleet.update(&self.host, readings);
        self
    }

    pub(crate) fn cx(&self) -> Context<'_> {
        Context {
            inventory: &self.inventory,
            node: self
                .inventory
                .node(&self.host)
                .expect("a host of the sample"),
            templates: &self.templates,
            fleet: &self.fleet,
        }
    }
}

/// A Debian 12 with the modules loaded and no swap.
pub(crate) fn debian() -> Machine {
    Machine {
        os_id: "debian".to_owned(),
        os_version: "12".to_owned(),
        os_name: "Debian GNU/Linux 12 (bookworm)".to_owned(),
        kernel: "6.1.0-9-amd64".to_owned(),
        architecture: "x86_64".to_owned(),
        cpus: 2,
        memory: 4 << 30,
        cgroup_v2: true,
        modules: vec!["br_netfilter".to_owned(), "overlay".to_owned()],
        init: "systemd".to_owned(),
        ..Machine::default()
    }
}

/// A Rocky 9, which only its `ID_LIKE` makes known.
pub(crate) fn rocky() -> Machine {
    Machine {
        os_id: "rocky".to_owned(),
        os_like: ["rhel", "centos", "fedora"].map(str::to_owned).to_vec(),
        os_version: "9.4".to_owned(),
        os_name: "Rocky Linux 9.4".to_owned(),
        ..debian()
    }
}

pub(crate) fn inventory() -> Inventory {
    Inventory {
        path: "inventory.yaml".into(),
        name: "seoul-1".to_owned(),
        kubernetes: "v1.36.2".parse().expect("a version"),
        vip: Vip {
            address: Ipv4Addr::new(10, 1, 1, 100),
            dns: None,
            port: 6443,
            interface: None,
            router_id: 77,
            managed: true,
        },
        network: Network {
            pods: "10.244.0.0/16".parse().expect("a network"),
            services: "10.96.0.0/12".parse().expect("a network"),
            domain: "cluster.local".to_owned(),
        },
        packages: PackageSource::Upstream,
        images: Images::default(),
        containerd: Containerd {
            package: "containerd".to_owned(),
            ..Containerd::default()
        },
        cni: Cni::None,
        audit: Audit {
            enabled: true,
            policy: None,
            max_age: 30,
            max_backup: 10,
            max_size: 100,
        },
        ingress: None,
        kubelet: serde_json::Map::new(),
        kube_proxy: serde_json::Map::new(),
        kubeadm: Kubeadm::default(),
        etcd: EtcdTopology::Stacked,
        load_balancer: LoadBalancer {
            max_connections: 8000,
            stats_user: "quorate".to_owned(),
            stats_password: None,
        },
        sysctls: BTreeMap::new(),
        overlay: None,
        nodes: nodes(),
    }
}

fn nodes() -> Vec<Node> {
    [
        ("lb1", 11, Role::LoadBalancer),
        ("lb2", 12, Role::LoadBalancer),
        ("master1", 101, Role::Master),
        ("master2", 102, Role::Master),
        ("master3", 103, Role::Master),
        ("worker1", 201, Role::Worker),
    ]
    .into_iter()
    .map(|(name, last, role)| Node {
        name: name.to_owned(),
        address: Ipv4Addr::new(10, 1, 1, last),
        role,
        labels: BTreeMap::new(),
        taints: None,
        tags: Vec::new(),
        weight: 100,
        etcd: None,
        ssh: SshSettings::default(),
    })
    .collect()
}
