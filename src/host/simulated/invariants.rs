//! What must hold between any two events, whatever goes wrong.

use std::collections::BTreeSet;

use super::machine::Machine;
use super::world::World;
use crate::inventory::Role;

/// How everything stands that a call of ours must not harm.
pub(super) struct Standing {
    voters: Vec<(usize, u64, bool)>,
    vip_is_held: bool,
}

impl World {
    /// Notes what must never be: two holders of the virtual IP, two CAs, two etcd clusters that live.
    pub(super) fn look_for_violations(&mut self) {
        let holders = self.vip_holders().join(" and ");
        if holders.contains(" and ") {
            self.violate(format!("{holders} hold the virtual IP"));
        }
        let ca = |machine: &Machine| {
            machine
                .files
                .text("/etc/kubernetes/pki/ca.crt")
                .map(str::to_owned)
        };
        let cas: BTreeSet<String> = self.machines.values().filter_map(ca).collect();
        if cas.len() > 1 {
            self.violate(format!("{} CAs are there", cas.len()));
        }
        let living = (0..self.etcd.len())
            .filter(|cluster| self.has_quorum(*cluster))
            .count();
        if living > 1 {
            self.violate(format!("{living} etcd clusters live"));
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
    pub(super) fn judge(&mut self, what: &str, before: &Standing) {
        self.judge_etcd(what, &before.voters);
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

    fn judge_etcd(&mut self, what: &str, before: &[(usize, u64, bool)]) {
        let after = self.voters();
        for cluster in 0..self.etcd.len() {
            if self.given_up.contains(&cluster) {
                continue;
            }
            let of = |list: &[(usize, u64, bool)]| -> Vec<(u64, bool)> {
                let own = list.iter().filter(|(index, _, _)| *index == cluster);
                own.map(|(_, id, runs)| (*id, *runs)).collect()
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
            if has_quorum(&old) && !has_quorum(&new) && !grows && old.len() > 1 {
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
