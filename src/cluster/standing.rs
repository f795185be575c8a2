//! How far a host has come with an upgrade, judged from what it says of itself. Pure.
//!
//! Nothing is remembered: an interrupted upgrade is continued because the hosts show where it stands.
//!
//! | what was read                                                     | what is left to do                             |
//! |-------------------------------------------------------------------|------------------------------------------------|
//! | manifests of the old release                                      | all                                            |
//! | the mark `upgrading`                                              | `kubeadm upgrade` once more: it did not finish |
//! | manifests new, stored configuration old                           | `kubeadm upgrade apply` once more              |
//! | manifests new, kubelet old                                        | drain, packages, kubelet, uncordon             |
//! | kubelet package new, running kubelet old                          | restart kubelet, uncordon                      |
//! | all new, cordoned by a run of quorate                             | uncordon                                       |
//! | all new, out of a load balancer by a run of quorate               | back into the load balancers                   |

use super::node::NodeObject;
use super::objects::{self, Configuration};
use super::plane::Member;
use super::release::{self, COMPONENTS, PACKAGES, Release};
use super::report;
use crate::host::probe::{Probe, Readings};
use crate::inventory::version::KubeVersion;
use crate::inventory::{Inventory, Node, PackageSource, Role};

/// A master or worker on its way from one release to another.
#[derive(Debug, Clone)]
pub struct Standing<'a> {
    /// What the inventory says of it.
    pub node: &'a Node,
    /// What it says of itself.
    pub member: Member<'a>,
    /// What it runs.
    pub release: Release,
    /// Its Node object, if it could be read.
    pub object: Option<NodeObject>,
    /// The release of each package, in the order of [`PACKAGES`]; `None`: not installed. Preinstalled ones are not asked for.
    pub packages: Option<[Option<KubeVersion>; 3]>,
    /// The release in the stored configuration, as a master's own apiserver shows it.
    pub stored: Option<KubeVersion>,
}

/// Everything that a [`Standing`] is judged by, with what the masters say of the whole cluster.
#[must_use]
pub fn probes(inventory: &Inventory, node: &Node) -> Vec<Probe> {
    let mut probes = report::probes(node);
    probes.extend(release::probes(inventory, node));
    probes.extend(objects::probes(node));
    probes
}

impl<'a> Standing<'a> {
    /// Reads a master or worker; `None` if it was not read.
    #[must_use]
    pub fn read(inventory: &Inventory, node: &'a Node, readings: &Readings) -> Option<Self> {
        let member = Member::read(node, readings)?;
        let release = readings.script(&release::script(node)).ok()?;
        let installed = |name: &str| {
            let package = readings.package(name).ok()?;
            KubeVersion::find(package.version.as_deref()?)
        };
        Some(Self {
            node,
            object: member.node_object(),
            release: Release::parse(&release.stdout),
            packages: (inventory.packages != PackageSource::Preinstalled)
                .then(|| PACKAGES.map(installed)),
            stored: Configuration::read(node, readings)
                .and_then(|configuration| configuration.version),
            member,
        })
    }

    /// Whether `kubeadm upgrade` has nothing left to do on it.
    #[must_use]
    pub fn plane_is_at(&self, target: KubeVersion) -> bool {
        if self.release.upgrading.is_some() {
            return false;
        }
        match self.node.role {
            Role::Master => {
                let manifests = COMPONENTS
                    .iter()
                    .all(|name| self.release.manifest(name) == Some(target));
                manifests && self.stored.is_none_or(|stored| stored == target)
            }
            Role::Worker => self.release.upgraded == Some(target) || self.kubelet_is_at(target),
            Role::LoadBalancer | Role::Etcd => true,
        }
    }

    /// Whether kubelet and kubectl are installed and running at that release.
    #[must_use]
    pub fn kubelet_is_at(&self, target: KubeVersion) -> bool {
        let [_, kubelet, kubectl] = self.packages.unwrap_or([Some(target); 3]);
        kubelet == Some(target) && kubectl == Some(target) && self.running_kubelet() == Some(target)
    }

    /// Whether nothing of that release is missing.
    #[must_use]
    pub fn is_at(&self, target: KubeVersion) -> bool {
        self.plane_is_at(target) && self.kubelet_is_at(target)
    }

    /// The release that the running kubelet says.
    #[must_use]
    pub fn running_kubelet(&self) -> Option<KubeVersion> {
        KubeVersion::find(&self.object.as_ref()?.kubelet_version)
    }

    /// Whether an upgrade that was interrupted has left something on it.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        let cordoned = self
            .object
            .as_ref()
            .is_some_and(NodeObject::is_cordoned_by_us);
        self.release.upgrading.is_some() || cordoned
    }

    /// Everything on it that is not of that release, in words: what an upgrade reads back in the end.
    #[must_use]
    pub fn differences(&self, target: KubeVersion) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        let mut see = |what: &str, seen: Option<KubeVersion>| {
            if seen != Some(target) {
                let seen = seen.map_or("not known".to_owned(), |seen| seen.to_string());
                found.push(format!("{what} is {seen}"));
            }
        };
        for (name, version) in PACKAGES.iter().zip(self.packages.into_iter().flatten()) {
            see(&format!("package {name}"), version);
        }
        see("kubelet", self.running_kubelet());
        if self.node.role == Role::Master {
            see("apiserver", self.release.apiserver);
            see("the stored configuration", self.stored);
            for component in COMPONENTS {
                see(
                    &format!("the manifest of {component}"),
                    self.release.manifest(component),
                );
                let mirror = self.release.mirror(component).filter(|pod| pod.is_ready);
                see(
                    &format!("the ready pod of {component}"),
                    mirror.and_then(|pod| KubeVersion::find(&pod.image)),
                );
            }
        }
        found
    }
}
