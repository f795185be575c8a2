//! etcd: every member a healthy voter of one cluster, no alarm, and a version from which the next one is safe.

use super::{Site, finding};
use crate::cluster::plane::Etcd;
use crate::inventory::version::KubeVersion;
use crate::operation::preflight::Verdict;

/// kubeadm of this minor brings etcd 3.6, which no member before 3.5.26 may meet: it could bring removed members back.
const BRINGS_3_6: (u16, [u64; 3]) = (34, [3, 5, 26]);

/// kubeadm of this minor brings etcd 3.7, which no member before 3.6.11 may meet.
const BRINGS_3_7: (u16, [u64; 3]) = (37, [3, 6, 11]);

pub(super) fn judge(site: &Site<'_>, target: KubeVersion, verdict: &mut Verdict) {
    members(site, verdict);
    cluster_ids(site, verdict);
    alarms(site, verdict);
    versions(site, target, verdict);
}

fn members(site: &Site<'_>, verdict: &mut Verdict) {
    let cluster = match site.plane.etcd() {
        Etcd::Living(cluster) => cluster,
        Etcd::NoQuorum(_) | Etcd::Silent => {
            verdict.refusals.push(finding(
                "all",
                "etcd",
                site.plane.troubles().join("; "),
                "bring etcd back first: see `quorate status`",
            ));
            return;
        }
    };
    let is_under_way = |trouble: &String| {
        site.standings.iter().any(|standing| {
            trouble.starts_with(&format!("etcd member {} ", standing.node.name))
                && site.is_under_way(&standing.node.name)
        })
    };
    for trouble in cluster
        .troubles()
        .into_iter()
        .filter(|trouble| !is_under_way(trouble))
    {
        verdict.refusals.push(finding(
            "all",
            "etcd",
            trouble,
            "`quorate provision` mends a join that died; see `quorate status`",
        ));
    }
    let strangers = cluster.members.0.iter().filter(|member| {
        !site
            .plane
            .masters
            .iter()
            .any(|master| member.is_at(master.node.address))
    });
    for stranger in strangers {
        verdict.refusals.push(finding(
            "all",
            "etcd",
            format!(
                "etcd has a member that is no master of the inventory: {}",
                crate::text::escape(stranger.label())
            ),
            "add its host to the inventory, or remove the member if the host is gone for good",
        ));
    }
}

fn cluster_ids(site: &Site<'_>, verdict: &mut Verdict) {
    let Etcd::Living(cluster) = site.plane.etcd() else {
        return;
    };
    let of_others = site.plane.masters.iter().filter(|master| {
        master
            .etcd
            .as_ref()
            .is_some_and(|view| !cluster.knows(view))
    });
    for master in of_others {
        verdict.refusals.push(finding(
            &master.node.name,
            "etcd",
            "its etcd belongs to another cluster than the others'",
            "do not upgrade: `quorate provision` lets it join again",
        ));
    }
}

fn alarms(site: &Site<'_>, verdict: &mut Verdict) {
    for master in &site.status.masters {
        for alarm in master.etcd.iter().flat_map(|etcd| &etcd.alarms) {
            verdict.refusals.push(finding(
                &master.name,
                "etcd-alarm",
                format!("etcd reports: {alarm}"),
                "for NOSPACE: compact and defragment, then disarm; for CORRUPT: replace the member",
            ));
        }
    }
}

fn versions(site: &Site<'_>, target: KubeVersion, verdict: &mut Verdict) {
    for master in &site.status.masters {
        let Some(version) = master.etcd.as_ref().and_then(|etcd| numbers(&etcd.version)) else {
            continue;
        };
        if let Some((least, brings)) = too_old(version, target) {
            let [major, minor, patch] = least;
            verdict.refusals.push(finding(
                &master.name,
                "etcd-version",
                format!("its etcd {} must be {major}.{minor}.{patch} or later before kubeadm brings etcd {brings}", dotted(version)),
                "upgrade to the newest patch of the present minor first: it brings a later etcd",
            ));
        }
    }
}

/// The least version that may meet what the target's kubeadm brings, if this one is older.
fn too_old(version: [u64; 3], target: KubeVersion) -> Option<([u64; 3], &'static str)> {
    let (first, least) = BRINGS_3_7;
    let [_, minor, _] = version;
    if target.minor >= first && minor == 6 && version < least {
        return Some((least, "3.7"));
    }
    let (first, least) = BRINGS_3_6;
    (target.minor >= first && version < least).then_some((least, "3.6"))
}

fn numbers(version: &str) -> Option<[u64; 3]> {
    let mut parts = version.split(['.', '-']).map(str::parse);
    Some([
        parts.next()?.ok()?,
        parts.next()?.ok()?,
        parts.next()?.ok()?,
    ])
}

fn dotted([major, minor, patch]: [u64; 3]) -> String {
    format!("{major}.{minor}.{patch}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etcd_is_crossed_only_from_a_safe_patch() {
        let target = |minor| KubeVersion { minor, patch: 0 };
        let cases = [
            ("3.5.24", 33, None),
            ("3.5.24", 34, Some([3, 5, 26])),
            ("3.5.26", 34, None),
            ("3.4.23", 34, Some([3, 5, 26])),
            ("3.6.8", 36, None),
            ("3.6.8", 37, Some([3, 6, 11])),
            ("3.6.11", 37, None),
            ("3.5.21", 37, Some([3, 5, 26])),
        ];
        for (version, minor, expected) in cases {
            let least =
                too_old(numbers(version).expect("numbers"), target(minor)).map(|(least, _)| least);
            assert_eq!(least, expected, "{version} to 1.{minor}");
        }
    }
}
