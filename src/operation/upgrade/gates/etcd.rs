//! etcd: every member a healthy voter of one cluster, no alarm, and a version from which the next one is safe.

use super::{Site, finding};
use crate::cluster::plane::{Etcd, Plane};
use crate::inventory::etcd::{EtcdVersion, NotAccepted};
use crate::inventory::version::KubeVersion;
use crate::inventory::{EtcdTopology, Inventory};
use crate::operation::preflight::{Finding, Verdict};
use crate::operation::status::{EtcdMember, Status};

/// The minors of Kubernetes whose kubeadm is the first to bring a minor of etcd.
const BRINGS: [(u16, u16); 2] = [(34, 6), (37, 7)];

pub(super) fn judge(site: &Site<'_>, target: KubeVersion, verdict: &mut Verdict) {
    let is_stacked = site.inventory.etcd == EtcdTopology::Stacked;
    let members = Members {
        inventory: site.inventory,
        plane: &site.plane,
        status: &site.status,
        // An upgrade of a master disturbs no etcd but its own.
        is_under_way: &|host| is_stacked && site.is_under_way(host),
    };
    members.judge(verdict);
    let refusals = members.running().into_iter().filter_map(|(host, version)| {
        if is_stacked {
            old_for_kubeadm(host, version, target)
        } else {
            old_for_kubernetes(host, version, target)
        }
    });
    verdict.refusals.extend(refusals);
}

/// The members of etcd, stacked or external, as they were read.
pub(in crate::operation::upgrade) struct Members<'s, 'a> {
    pub(in crate::operation::upgrade) inventory: &'a Inventory,
    pub(in crate::operation::upgrade) plane: &'s Plane<'a>,
    pub(in crate::operation::upgrade) status: &'s Status,
    /// Whether an interrupted upgrade left the member of a host in the middle: then it need not be well.
    pub(in crate::operation::upgrade) is_under_way: &'s dyn Fn(&str) -> bool,
}

impl<'s> Members<'s, '_> {
    /// Every place of the inventory has a started, healthy voter of one cluster, nothing else has one, and none reports an
    /// alarm.
    pub(in crate::operation::upgrade) fn judge(&self, verdict: &mut Verdict) {
        self.whole(verdict);
        self.of_one_cluster(verdict);
        self.alarms(verdict);
    }

    /// The version that each member which answers runs, by host.
    pub(in crate::operation::upgrade) fn running(&self) -> Vec<(&'s str, EtcdVersion)> {
        let members = self.answering();
        let version = |(host, member): (&'s str, &EtcdMember)| {
            Some((host, EtcdVersion::find(&member.version)?))
        };
        members.filter_map(version).collect()
    }

    fn answering(&self) -> impl Iterator<Item = (&'s str, &'s EtcdMember)> {
        let status = self.status;
        let stacked = status
            .masters
            .iter()
            .filter_map(|master| Some((master.name.as_str(), master.etcd.as_ref()?)));
        let external = status
            .etcd
            .iter()
            .filter_map(|seat| Some((seat.name.as_str(), seat.etcd.as_ref()?)));
        stacked.chain(external)
    }

    fn whole(&self, verdict: &mut Verdict) {
        let cluster = match self.plane.etcd() {
            Etcd::Living(cluster) => cluster,
            Etcd::NoQuorum(_) | Etcd::Silent => {
                verdict.refusals.push(finding(
                    "all",
                    "etcd",
                    self.plane.troubles().join("; "),
                    "bring etcd back first: see `quorate status`",
                ));
                return;
            }
        };
        let places = self.inventory.etcd_places();
        let is_excused = |trouble: &String| {
            let mut hosts = places.iter().map(|place| place.node.name.as_str());
            hosts.any(|host| {
                trouble.starts_with(&format!("etcd member {host} ")) && (self.is_under_way)(host)
            })
        };
        let troubles = cluster.troubles().into_iter();
        for trouble in troubles.filter(|trouble| !is_excused(trouble)) {
            verdict.refusals.push(finding(
                "all",
                "etcd",
                trouble,
                "`quorate provision` mends a join that died; see `quorate status`",
            ));
        }
        let members = cluster.members.0.iter();
        for stranger in members.filter(|it| !places.iter().any(|own| it.is_at(own.peer_address))) {
            verdict.refusals.push(finding(
                "all",
                "etcd",
                format!(
                    "etcd has a member that is not in the inventory: {}",
                    crate::text::escape(stranger.label())
                ),
                "add its host to the inventory, or remove the member if the host is gone for good",
            ));
        }
        // A master that is no member of a stacked etcd is no Node either, which another gate tells.
        let external = places.iter().filter(|place| place.node.etcd.is_some());
        for place in external.filter(|own| cluster.members.at(own.peer_address).is_none()) {
            verdict.refusals.push(finding(
                &place.node.name,
                "etcd",
                "it is in the inventory and no member of etcd",
                "`quorate provision` adds it, or take it out of the inventory",
            ));
        }
    }

    fn of_one_cluster(&self, verdict: &mut Verdict) {
        let Etcd::Living(cluster) = self.plane.etcd() else {
            return;
        };
        let views = self.plane.views().into_iter();
        for (node, _) in views.filter(|(_, view)| !cluster.knows(view)) {
            verdict.refusals.push(finding(
                &node.name,
                "etcd",
                "its etcd belongs to another cluster than the others'",
                "do not upgrade: `quorate provision` lets it join again",
            ));
        }
    }

    fn alarms(&self, verdict: &mut Verdict) {
        for (host, member) in self.answering() {
            for alarm in &member.alarms {
                verdict.refusals.push(finding(
                    host,
                    "etcd-alarm",
                    format!("etcd reports: {alarm}"),
                    "for NOSPACE: compact and defragment, then disarm; for CORRUPT: replace the member",
                ));
            }
        }
    }
}

/// What kubeadm brings must not meet a member that is too old for it.
fn old_for_kubeadm(host: &str, version: EtcdVersion, target: KubeVersion) -> Option<Finding> {
    let (least, brings) = too_old(version, target)?;
    Some(finding(
        host,
        "etcd-version",
        format!(
            "its etcd {version} must be {least} or later before kubeadm brings etcd 3.{brings}"
        ),
        "upgrade to the newest patch of the present minor first: it brings a later etcd",
    ))
}

/// Where kubeadm brings none, the target must accept what runs.
fn old_for_kubernetes(host: &str, version: EtcdVersion, target: KubeVersion) -> Option<Finding> {
    let refused = version.accepted_by(Some(target)).err()?;
    let help = match &refused {
        NotAccepted::TooOld { oldest, .. } => {
            format!("bring etcd to {oldest} or later first: `quorate upgrade --etcd-to {oldest}`")
        }
        NotAccepted::Unspoken { .. } => "see `quorate status`".to_owned(),
    };
    Some(finding(host, "etcd-version", refused.to_string(), help))
}

/// The least version that may meet what the target's kubeadm brings next, if this one is older; and the minor that it brings.
fn too_old(version: EtcdVersion, target: KubeVersion) -> Option<(EtcdVersion, u16)> {
    let brought = BRINGS
        .into_iter()
        .filter(|(first, _)| target.minor >= *first);
    let (_, next) = brought
        .into_iter()
        .find(|(_, minor)| *minor > version.minor)?;
    let least = EtcdVersion::least_before(next)?;
    (version < least).then_some((least, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etcd_is_crossed_only_from_a_safe_patch() {
        let target = |minor| KubeVersion { minor, patch: 0 };
        let cases = [
            ("3.5.24", 33, None),
            ("3.5.24", 34, Some("3.5.26")),
            ("3.5.26", 34, None),
            ("3.4.23", 34, Some("3.5.26")),
            ("3.6.8", 36, None),
            ("3.6.8", 37, Some("3.6.11")),
            ("3.6.11", 37, None),
            ("3.5.21", 37, Some("3.5.26")),
        ];
        for (version, minor, expected) in cases {
            let version = EtcdVersion::find(version).expect("a version");
            let least = too_old(version, target(minor)).map(|(least, _)| least.to_string());
            assert_eq!(least.as_deref(), expected, "{version} to 1.{minor}");
        }
    }
}
