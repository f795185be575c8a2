//! The inventory that `up` writes: what `quorate provision` takes as it is.

use std::fmt::Write as _;

use super::network::CLUSTER_NETWORKS;
use super::record::Record;
use super::service::{PACKAGES_PORT, REGISTRY_PORT};
use super::topology::{Host, HostRole};

/// The Kubernetes version a lab starts with; the newer one is in its repository too.
const KUBERNETES: &str = "v1.20.2";

/// All hosts share one disk, so a share of it says nothing about them.
const KUBELET: &str = "\
kubelet:
  # All hosts share this computer's disk: what others keep there is no reason to evict pods or to drop images.
  evictionHard: { memory.available: 100Mi, nodefs.available: 500Mi, nodefs.inodesFree: 1%, imagefs.available: 500Mi }
  imageGCHighThresholdPercent: 100
";

/// What this computer is like, as far as the inventory must know.
#[derive(Debug, Clone, Copy)]
pub(super) struct Computer {
    /// Controllers are cgroup v1 hierarchies.
    pub(super) cgroups: CgroupVersion,
    /// Processes may lower their OOM score (`CAP_SYS_RESOURCE`).
    pub(super) oom_score: OomScore,
    /// The kernel shows how it was configured, which kubeadm wants to read.
    pub(super) kernel_config: KernelConfig,
}

/// Which cgroup interface hosts see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CgroupVersion {
    V1,
    V2,
}

/// Whether OOM scores can be lowered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OomScore {
    Free,
    Restricted,
}

/// Whether `/proc/config.gz` is there; lab hosts have no `/boot`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KernelConfig {
    Shown,
    Hidden,
}

/// Where packages and images come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// From the lab's own repository and registry.
    Kubernetes,
    /// Nowhere: hosts only, for work that needs no cluster.
    HostsOnly,
}

/// The inventory's text.
pub(super) fn write(record: &Record, content: Content, computer: Computer) -> String {
    let name = &record.name;
    let [pods, services] = CLUSTER_NETWORKS;
    let mut text = format!(
        "# Written by `quorate lab up`; the next `up` writes it again.\n\
         cluster: {{ name: {name}, kubernetes: {KUBERNETES} }}\n\
         vip: {{ address: {}, interface: eth0 }}\n\
         network: {{ pods: {pods}, services: {services} }}\n\
         ssh: {{ user: ops, identity-file: id_ed25519, known-hosts: known_hosts }}\n",
        record.subnet.vip()
    );
    match content {
        Content::Kubernetes => text.push_str(&sources(record)),
        Content::HostsOnly => text.push_str("packages: { source: preinstalled }\n"),
    }
    text.push_str(&settings(computer));
    for (section, role) in [
        ("lb", HostRole::Lb),
        ("masters", HostRole::Master),
        ("workers", HostRole::Worker),
    ] {
        text.push_str(&hosts(record, section, role));
    }
    text
}

fn sources(record: &Record) -> String {
    let gateway = record.subnet.gateway();
    format!(
        "packages:\n\
         \x20 source: mirror\n\
         \x20 url: \"http://{gateway}:{PACKAGES_PORT}/core:/stable:/v{{minor}}/deb/\"\n\
         \x20 key: kubernetes.asc\n\
         images:\n\
         \x20 repository: {gateway}:{REGISTRY_PORT}\n\
         \x20 registries:\n\
         \x20   {gateway}:{REGISTRY_PORT}: {{ plain-http: true }}\n"
    )
}

fn settings(computer: Computer) -> String {
    let mut containerd = Vec::new();
    if computer.oom_score == OomScore::Restricted {
        containerd.push("restrict-oom-score-adj: true");
    }
    if computer.cgroups == CgroupVersion::V1 {
        containerd.push("systemd-cgroup: false");
    }
    let mut text = String::new();
    if !containerd.is_empty() {
        text.push_str("# This computer grants its hosts no CAP_SYS_RESOURCE, or has cgroup v1.\n");
        let _ = writeln!(text, "containerd: {{ {} }}", containerd.join(", "));
    }
    text.push_str("cni: { bridge: {} }\n");
    text.push_str(KUBELET);
    // That sysctl belongs to the first network namespace.
    text.push_str("kube-proxy: { conntrack: { maxPerCore: 0 } }\n");
    if computer.kernel_config == KernelConfig::Hidden {
        text.push_str(
            "kubeadm: { ignore-preflight-errors: [SystemVerification] } # no kernel configuration to read\n",
        );
    }
    text
}

fn hosts(record: &Record, section: &str, role: HostRole) -> String {
    let of_role = |host: &&Host| host.role == role;
    let hosts: Vec<&Host> = record
        .machines
        .iter()
        .map(|machine| &machine.host)
        .filter(of_role)
        .collect();
    if hosts.is_empty() {
        return String::new();
    }
    let mut text = format!("{section}:\n");
    for host in hosts {
        writeln!(text, "  {}: {}", host.name, host.address).expect("a String takes all text");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::record::{Machine, Phase};
    use super::super::topology::{LabName, Subnet, Topology};
    use super::*;
    use crate::inventory::Inventory;

    const PUBLIC_KEY: &str =
        "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n-----END PGP PUBLIC KEY BLOCK-----\n";
    const RESTRICTED: Computer = Computer {
        cgroups: CgroupVersion::V1,
        oom_score: OomScore::Restricted,
        kernel_config: KernelConfig::Hidden,
    };

    fn record() -> Record {
        let topology = Topology {
            lbs: 1,
            masters: 1,
            workers: 0,
        };
        let machines = topology
            .hosts(Subnet(4))
            .into_iter()
            .map(|host| Machine {
                host,
                process: None,
            })
            .collect();
        Record {
            format: 1,
            name: LabName::default(),
            subnet: Subnet(4),
            state_dir: "/x/.lab".into(),
            phase: Phase::Ready,
            topology,
            base: "/cache".into(),
            machines,
            services: Vec::new(),
        }
    }

    #[test]
    fn names_the_labs_own_addresses_and_only_what_this_computer_needs() {
        let computer = Computer {
            cgroups: CgroupVersion::V2,
            oom_score: OomScore::Free,
            kernel_config: KernelConfig::Shown,
        };
        insta::assert_snapshot!(write(&record(), Content::Kubernetes, computer), @r#"
        # Written by `quorate lab up`; the next `up` writes it again.
        cluster: { name: lab, kubernetes: v1.20.2 }
        vip: { address: 10.77.4.100, interface: eth0 }
        network: { pods: 10.244.0.0/16, services: 10.96.0.0/12 }
        ssh: { user: ops, identity-file: id_ed25519, known-hosts: known_hosts }
        packages:
          source: mirror
          url: "http://10.77.4.1:8080/core:/stable:/v{minor}/deb/"
          key: kubernetes.asc
        images:
          repository: 10.77.4.1:5000
          registries:
            10.77.4.1:5000: { plain-http: true }
        cni: { bridge: {} }
        kubelet:
          # All hosts share this computer's disk: what others keep there is no reason to evict pods or to drop images.
          evictionHard: { memory.available: 100Mi, nodefs.available: 500Mi, nodefs.inodesFree: 1%, imagefs.available: 500Mi }
          imageGCHighThresholdPercent: 100
        kube-proxy: { conntrack: { maxPerCore: 0 } }
        lb:
          lb1: 10.77.4.11
        masters:
          master1: 10.77.4.101
        "#);
    }

    #[test]
    fn is_an_inventory_that_provision_takes_as_it_is() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = camino::Utf8Path::from_path(directory.path()).expect("UTF-8");
        for (file, text) in [
            ("id_ed25519", "key"),
            ("known_hosts", ""),
            ("kubernetes.asc", PUBLIC_KEY),
        ] {
            std::fs::write(path.join(file), text).expect("written");
        }
        for content in [Content::Kubernetes, Content::HostsOnly] {
            let text = write(&record(), content, RESTRICTED);
            let loaded = Inventory::from_text(&path.join("inventory.yaml"), &text);
            assert!(loaded.is_ok(), "{:?}", loaded.err());
        }
    }

    #[test]
    fn says_what_a_restricted_computer_needs() {
        insta::assert_snapshot!(write(&record(), Content::HostsOnly, RESTRICTED), @r#"
        # Written by `quorate lab up`; the next `up` writes it again.
        cluster: { name: lab, kubernetes: v1.20.2 }
        vip: { address: 10.77.4.100, interface: eth0 }
        network: { pods: 10.244.0.0/16, services: 10.96.0.0/12 }
        ssh: { user: ops, identity-file: id_ed25519, known-hosts: known_hosts }
        packages: { source: preinstalled }
        # This computer grants its hosts no CAP_SYS_RESOURCE, or has cgroup v1.
        containerd: { restrict-oom-score-adj: true, systemd-cgroup: false }
        cni: { bridge: {} }
        kubelet:
          # All hosts share this computer's disk: what others keep there is no reason to evict pods or to drop images.
          evictionHard: { memory.available: 100Mi, nodefs.available: 500Mi, nodefs.inodesFree: 1%, imagefs.available: 500Mi }
          imageGCHighThresholdPercent: 100
        kube-proxy: { conntrack: { maxPerCore: 0 } }
        kubeadm: { ignore-preflight-errors: [SystemVerification] } # no kernel configuration to read
        lb:
          lb1: 10.77.4.11
        masters:
          master1: 10.77.4.101
        "#);
    }
}
