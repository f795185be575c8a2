//! The gates of an upgrade: everything that would make it unsafe, found before anything is changed and told all at once.
//!
//! Pure: each gate is a function over what was read. What an interrupted upgrade left (a master out of the load balancers, a
//! cordon of quorate, a kubeadm upgrade that did not finish) is no reason to refuse: the run is there to finish it.

mod drains;
pub(super) mod etcd;
mod health;
mod hosts;
mod removed;
#[cfg(test)]
mod tests;
mod versions;

use std::collections::BTreeMap;

use crate::action::{Context, Fleet};
use crate::cluster::load_balancer::Place;
use crate::cluster::objects::{self, Objects};
use crate::cluster::plane::Plane;
use crate::cluster::release;
use crate::cluster::report;
use crate::cluster::standing::Standing;
use crate::host::probe::Probe;
use crate::inventory::version::KubeVersion;
use crate::inventory::{Inventory, Node, Role};
use crate::operation::preflight::{Finding, Verdict};
use crate::operation::status::{self, Status};
use crate::operation::upgrade::Policies;
use crate::template::Templates;

/// What has to be read of a host, beside what the playbook reads.
#[must_use]
pub fn probes(inventory: &Inventory, node: &Node) -> Vec<Probe> {
    let mut probes = status::probes(inventory, node);
    match node.role {
        Role::LoadBalancer => probes.extend(Place::probes()),
        Role::Etcd => probes.extend(release::tool_probes(inventory)),
        Role::Master | Role::Worker => {
            probes.extend(report::probes(node));
            probes.extend(release::probes(inventory, node));
            probes.extend(objects::probes(node));
        }
    }
    probes
}

/// Everything that the gates look at.
pub struct Site<'a> {
    /// The cluster as it should be.
    pub inventory: &'a Inventory,
    /// The templates, overlay included.
    pub templates: &'a Templates,
    /// What was read.
    pub fleet: &'a Fleet,
    /// As `quorate status` sees it.
    pub status: Status,
    /// The masters, together.
    pub plane: Plane<'a>,
    /// Masters and workers, in the order of the inventory.
    pub standings: Vec<Standing<'a>>,
    /// What the cluster says of itself.
    pub objects: Objects,
    /// What the person allows.
    pub policies: Policies,
}

impl<'a> Site<'a> {
    /// Puts together what was read.
    #[must_use]
    pub fn read(
        inventory: &'a Inventory,
        templates: &'a Templates,
        fleet: &'a Fleet,
        policies: Policies,
    ) -> Self {
        let nodes = inventory.nodes.iter().filter(|node| node.role.is_node());
        Self {
            inventory,
            templates,
            fleet,
            status: Status::of(inventory, fleet, &[]),
            plane: Plane::read(inventory, fleet),
            standings: nodes
                .filter_map(|node| Standing::read(inventory, node, fleet.of(&node.name)))
                .collect(),
            objects: Objects::read(inventory, fleet),
            policies,
        }
    }

    /// The oldest release that the control plane or a kubelet still has: where the upgrade begins.
    #[must_use]
    pub fn begins_at(&self) -> Option<KubeVersion> {
        let planes = self
            .standings
            .iter()
            .flat_map(|standing| [standing.release.manifest("kube-apiserver"), standing.stored]);
        planes.flatten().min()
    }

    /// Whether an interrupted upgrade left a host in the middle: then it need not be well.
    #[must_use]
    pub fn is_under_way(&self, host: &str) -> bool {
        let marked =
            |standing: &Standing<'_>| standing.node.name == host && standing.is_under_way();
        self.standings.iter().any(marked) || self.is_taken_out(host)
    }

    fn is_taken_out(&self, master: &str) -> bool {
        self.inventory
            .with_role(Role::LoadBalancer)
            .any(|balancer| {
                let place = Place::read(master, self.fleet.of(&balancer.name));
                place.is_some_and(|place| place.taken_out_by.is_some())
            })
    }

    fn context(&'a self, node: &'a Node, inventory: &'a Inventory) -> Context<'a> {
        Context {
            inventory,
            node,
            templates: self.templates,
            fleet: self.fleet,
        }
    }
}

/// Judges everything. `hops`: the releases on the way, the last one the target; `None`: they could not be found.
#[must_use]
pub fn judge(site: &Site<'_>, target: KubeVersion, hops: &Hops) -> Verdict {
    let mut verdict = Verdict::default();
    versions::judge(site, target, hops, &mut verdict);
    etcd::judge(site, target, &mut verdict);
    health::judge(site, &mut verdict);
    hosts::judge(site, target, &mut verdict);
    removed::judge(site, target, &mut verdict);
    drains::judge(site, &mut verdict);
    verdict
}

/// The releases between here and the target.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hops {
    /// In this order; the last one is the target.
    pub releases: Vec<KubeVersion>,
    /// What is not to be had, by host: minors without any package, or the target itself.
    pub missing: BTreeMap<String, Vec<String>>,
}

impl Hops {
    /// One minor at a time: of those between the newest patch that every host can install.
    ///
    /// `offered`: the releases in each minor's repository, by host.
    #[must_use]
    pub fn find(
        from: KubeVersion,
        target: KubeVersion,
        offered: &BTreeMap<u16, BTreeMap<String, Vec<KubeVersion>>>,
    ) -> Self {
        let mut hops = Self::default();
        let first = if from.minor == target.minor {
            from.minor
        } else {
            from.minor + 1
        };
        for minor in first..=target.minor {
            let hosts = offered.get(&minor);
            let of_host =
                |releases: &Vec<KubeVersion>, release: KubeVersion| releases.contains(&release);
            let everywhere = |release: &KubeVersion| {
                hosts
                    .is_some_and(|hosts| hosts.values().all(|releases| of_host(releases, *release)))
            };
            let candidates = hosts
                .and_then(|hosts| hosts.values().next())
                .into_iter()
                .flatten()
                .copied();
            let release = if minor == target.minor {
                Some(target)
            } else {
                candidates.filter(everywhere).max()
            };
            for (host, releases) in hosts.into_iter().flatten() {
                match release {
                    Some(release) if of_host(releases, release) => {}
                    Some(release) => hops.lacks(host, release.to_string()),
                    None => hops.lacks(host, format!("any v1.{minor}")),
                }
            }
            hops.releases.extend(release);
        }
        hops
    }

    fn lacks(&mut self, host: &str, what: String) {
        self.missing.entry(host.to_owned()).or_default().push(what);
    }
}

pub(super) fn finding(
    host: &str,
    check: &'static str,
    what: impl Into<String>,
    help: impl Into<String>,
) -> Finding {
    Finding {
        host: host.to_owned(),
        check,
        what: what.into(),
        help: help.into(),
    }
}
