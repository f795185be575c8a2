//! What must hold between any two events, whatever goes wrong.

use std::collections::BTreeSet;

use super::external_etcd::is_external;
use super::restore::has_apiserver;
use super::snapshot::image;
use super::world::World;
use crate::inventory::Role;

/// How everything stands that a call of ours must not harm.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    voters: Vec<(usize, u64, bool)>,
    vip_is_held: bool,
}

impl Standing {
    /// Voters that run no more, though they did before.
    pub(super) fn fallen_since(&self, before: &Self) -> Vec<(usize, u64)> {
        let ran = |(cluster, id, _): &&(usize, u64, bool)| {
            let mut earlier = before.voters.iter();
            earlier.any(|(index, known, runs)| (index, known, runs) == (cluster, id, &true))
        };
        let down = self.voters.iter().filter(|(_, _, runs)| !runs);
        let fallen = down.filter(ran);
        fallen.map(|(cluster, id, _)| (*cluster, *id)).collect()
    }
}

impl World {
    /// Notes what must never be: two holders of the virtual IP, two CAs, two etcd clusters that live.
    pub(super) fn look_for_violations(&mut self) {
        let holders = self.vip_holders().join(" and ");
        if holders.contains(" and ") {
            self.violate(format!("{holders} hold the virtual IP"));
        }
        let machines = self.machines.values();
        let cas: BTreeSet<&str> = machines
            .filter_map(|machine| machine.files.text("/etc/kubernetes/pki/ca.crt"))
            .collect();
        let cas = cas.len();
        if cas > 1 {
            self.violate(format!("{cas} CAs are there"));
        }
        self.look_at_load_balancers();
        self.look_at_cordons();
        self.look_at_files();
        // One that was given up may be back with its machine until it is stopped.
        let living = self.living_clusters();
        let living = living.filter(|cluster| !self.given_up.contains(cluster));
        let living = living.count();
        if living > 1 {
            self.violate(format!("{living} etcd clusters live"));
        }
    }

    /// The etcd clusters that have a quorum, those that were given up among them.
    pub fn living_clusters(&self) -> impl Iterator<Item = usize> {
        (0..self.etcd.len()).filter(|cluster| self.has_quorum(*cluster))
    }

    /// Never two masters out of the load balancers.
    fn look_at_load_balancers(&mut self) {
        let balancers = self.machines.values().filter(|it| it.runs("haproxy"));
        let out: BTreeSet<String> = balancers
            .flat_map(|balancer| balancer.servers_out.keys().cloned())
            .collect();
        if out.len() > 1 {
            let out: Vec<String> = out.into_iter().collect();
            self.violate(format!(
                "{} are out of the load balancers",
                out.join(" and ")
            ));
        }
    }

    /// Every file is old or new, never half, where programs look for it. Below quorate's own directories nobody does, and a
    /// master without etcd's manifest, or the apiserver's where etcd is elsewhere, is blank to everyone.
    fn look_at_files(&mut self) {
        let own = ["/var/lib/quorate/", "/run/quorate/"];
        let is_seen = |path: &&String| !own.iter().any(|own| path.starts_with(own));
        let half = self.machines.values().find_map(|machine| {
            let has_manifest = if is_external(machine) {
                has_apiserver(machine)
            } else {
                image(machine).is_some()
            };
            let is_blank = machine.role == Role::Master && !has_manifest;
            let path = machine.files.half().find(is_seen).filter(|_| !is_blank)?;
            Some(format!("{path} on {} is written by half", machine.name))
        });
        if let Some(half) = half {
            self.violate(half);
        }
    }

    /// How everything stands that a call of ours must not harm.
    pub(super) fn standing(&self) -> Standing {
        Standing {
            voters: self.voters(),
            vip_is_held: !self.vip_holders().is_empty(),
        }
    }

    /// Voters of every cluster: which cluster, which member, whether it runs.
    fn voters(&self) -> Vec<(usize, u64, bool)> {
        let mut voters = Vec::new();
        for (index, cluster) in self.etcd.iter().enumerate() {
            for member in cluster.members.iter().filter(|member| !member.is_learner) {
                let runs = self
                    .machines
                    .values()
                    .any(|machine| self.running(machine) == Some((index, member.id)));
                voters.push((index, member.id, runs));
            }
        }
        voters
    }

    /// Judges what a call of ours did: it must not stop a voter of etcd while another one is down, not cost etcd its quorum,
    /// and not leave the virtual IP without a holder while a load balancer lives that could hold it.
    ///
    /// `fallen`: voters that went while a job of ours was under way, which nobody could know when it was started.
    pub(super) fn judge(&mut self, what: &str, before: &Standing, fallen: &[(usize, u64)]) {
        self.judge_etcd(what, &before.voters, fallen);
        if before.vip_is_held && self.vip_holders().is_empty() {
            let living = self
                .machines
                .values()
                .filter(|machine| machine.role == Role::LoadBalancer && machine.is_up());
            if living.count() > 1 {
                self.violate(format!("`{what}` left the virtual IP without a holder"));
            }
        }
    }

    fn judge_etcd(&mut self, what: &str, before: &[(usize, u64, bool)], fallen: &[(usize, u64)]) {
        let after = self.voters();
        for cluster in 0..self.etcd.len() {
            if self.given_up.contains(&cluster) {
                continue;
            }
            let of = |list: &[(usize, u64, bool)]| -> Vec<(u64, bool)> {
                let own = list.iter().filter(|(index, _, _)| *index == cluster);
                let has_fallen = |id: u64| fallen.contains(&(cluster, id));
                own.map(|(_, id, runs)| (*id, *runs || has_fallen(*id)))
                    .collect()
            };
            let (old, new) = (of(before), of(&after));
            let has_quorum = |list: &[(u64, bool)]| {
                list.iter().filter(|(_, runs)| *runs).count() > list.len() / 2
            };
            let stopped = |(id, runs): &&(u64, bool)| {
                *runs && new.iter().any(|(other, runs)| other == id && !runs)
            };
            let was_down = old.iter().any(|(_, runs)| !runs);
            if old.iter().any(|member| stopped(&member)) && was_down {
                self.violate(format!("`{what}` stopped a second etcd member"));
            }
            // Before learners (1.29), the second member of a cluster has a vote before it runs: kubeadm's own way.
            let grows = new.len() > old.len() && self.release.minor < 29;
            // The second member of a cluster of one is restarted when it has a vote, to open to clients: no third can stand in.
            let opens = new.len() == 2 && what.starts_with("etcd-restart");
            if has_quorum(&old) && !has_quorum(&new) && !grows && !opens && old.len() > 1 {
                self.violate(format!("`{what}` cost etcd its quorum"));
            }
        }
    }

    /// Notes a violation, once.
    pub(super) fn violate(&mut self, what: String) {
        if !self.violations.contains(&what) {
            self.violations.push(what);
        }
    }
}
