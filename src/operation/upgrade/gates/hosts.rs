//! What each host must have: room for kubeadm's copy of etcd, certificates that last, a container runtime and cgroups that
//! the target's kubelet takes, and the settings that the inventory asks for.

use camino::Utf8Path;

use super::{Site, finding};
use crate::cluster::etcd_pki;
use crate::inventory::Inventory;
use crate::inventory::version::KubeVersion;
use crate::operation::preflight::Verdict;

/// An upgrade of a large cluster takes days.
const CERTIFICATE_DAYS: i64 = 7;

pub(super) fn judge(site: &Site<'_>, target: KubeVersion, verdict: &mut Verdict) {
    room(site, verdict);
    certificates(site, verdict);
    containerd(site, target, verdict);
    cgroups(site, target, verdict);
    settings(site, target, verdict);
}

/// kubeadm copies etcd's whole data directory before it touches it.
fn room(site: &Site<'_>, verdict: &mut Verdict) {
    for standing in &site.standings {
        let Some((free, data)) = standing.release.etcd_space else {
            continue;
        };
        if free < data * 2 {
            verdict.refusals.push(finding(
                &standing.node.name,
                "disk",
                format!(
                    "{} MB are free for /etc/kubernetes/tmp, where kubeadm copies etcd's {} MB to",
                    free / 1024,
                    data / 1024
                ),
                format!("make room for {} MB, or defragment etcd", data * 2 / 1024),
            ));
        }
    }
}

fn certificates(site: &Site<'_>, verdict: &mut Verdict) {
    let soon = |days: i64| days < CERTIFICATE_DAYS;
    for certificate in site
        .status
        .certificates
        .iter()
        .filter(|it| soon(it.days) && !(it.renews_itself && it.days >= 0))
    {
        let when = match certificate.days {
            ..0 => "has expired".to_owned(),
            days => format!("expires in {days} days"),
        };
        let help = if certificate.is_ca {
            "a CA is not renewed by an upgrade: replace it first".to_owned()
        } else if etcd_pki::is_renewed(&certificate.file) {
            "`quorate provision` makes it anew, and nothing is restarted".to_owned()
        } else {
            format!(
                "`kubeadm certs renew all` on {} first, then restart its control plane",
                certificate.host
            )
        };
        verdict.refusals.push(finding(
            &certificate.host,
            "certificate",
            format!("{} {when}", certificate.file),
            help,
        ));
    }
}

/// The least containerd of each line that Kubernetes is tested with; kubelets from 1.26 on speak CRI v1 only.
fn least_containerd(target: KubeVersion, major: u64, minor: u64) -> Option<[u64; 3]> {
    match (target.minor, major, minor) {
        (36.., ..=1, _) | (36.., 2, 0..2) => Some([2, 2, 0]),
        (34..=35, ..=1, _) => Some([1, 7, 28]),
        (35, 2, 0..=1) => Some([2, 1, 5]),
        (34, 2, 0) => Some([2, 0, 6]),
        (34, 2, 1) => Some([2, 1, 3]),
        (26..=33, ..=1, _) => Some([1, 6, 0]),
        _ => None,
    }
}

fn containerd(site: &Site<'_>, target: KubeVersion, verdict: &mut Verdict) {
    for node in &site.status.nodes {
        let mut parts = node
            .containerd
            .trim_start_matches('v')
            .split(['.', '-', '~', '+'])
            .map(|part| part.parse().ok());
        let mut part = || parts.next().flatten();
        let (Some(major), Some(minor), Some(patch)) = (part(), part(), part()) else {
            continue;
        };
        let Some(least) =
            least_containerd(target, major, minor).filter(|least| [major, minor, patch] < *least)
        else {
            continue;
        };
        let [least_major, least_minor, least_patch] = least;
        verdict.refusals.push(finding(
            &node.name,
            "containerd",
            format!("{target} wants containerd {least_major}.{least_minor}.{least_patch} or later, and it runs {}", node.containerd),
            "upgrade containerd first",
        ));
    }
}

/// From 1.35 on kubelet refuses cgroup v1 unless it is told not to.
fn cgroups(site: &Site<'_>, target: KubeVersion, verdict: &mut Verdict) {
    if target.minor < 35 || accepts_cgroup_v1(site.inventory) {
        return;
    }
    for standing in &site.standings {
        let machine = site.fleet.of(&standing.node.name).machine();
        if machine.is_ok_and(|machine| !machine.cgroup_v2) {
            verdict.refusals.push(finding(
                &standing.node.name,
                "cgroup",
                format!("it has cgroup v1, with which kubelet {target} does not start"),
                "boot it with cgroup v2, or say `kubelet: { failCgroupV1: false }` and `kubeadm: { ignore-preflight-errors: [SystemVerification] }`",
            ));
        }
    }
}

fn accepts_cgroup_v1(inventory: &Inventory) -> bool {
    inventory.kubelet.get("failCgroupV1") == Some(&serde_json::Value::Bool(false))
}

/// An upgrade brings a release and nothing else: settings that wait for `provision` are not taken along unseen.
fn settings(site: &Site<'_>, target: KubeVersion, verdict: &mut Verdict) {
    // In the middle of an upgrade masters have the settings of one release or of another.
    let mut releases: Vec<KubeVersion> = site
        .standings
        .iter()
        .flat_map(|standing| {
            [
                standing.stored,
                standing.release.manifest("kube-apiserver"),
                standing.running_kubelet(),
                Some(target),
            ]
        })
        .flatten()
        .collect();
    releases.sort_unstable();
    releases.dedup();
    for master in &site.plane.masters {
        let Some(applied) = &master.applied else {
            continue;
        };
        let renders = |release: KubeVersion| {
            let inventory = Inventory {
                kubernetes: release,
                ..site.inventory.clone()
            };
            let text = site.templates.render(
                "kubeadm/cluster.yaml",
                &site.context(master.node, &inventory),
            );
            text.is_ok_and(|text| crate::text::sha256(text) == *applied)
        };
        if !releases.iter().copied().any(renders) {
            verdict.refusals.push(finding(
                &master.node.name,
                "settings",
                "the inventory has settings of the control plane that are not in force on it",
                "`quorate provision` with the present release in the inventory first, or take them back",
            ));
        }
    }
}

/// The file of kubelet's flags is read by the script; its name is for messages.
pub(super) fn kubelet_flags_file(site: &Site<'_>, host: &str) -> &'static Utf8Path {
    let is_debian = site.fleet.of(host).machine().is_ok_and(|machine| {
        crate::os::Family::of(machine).is_some_and(|family| family.name == "Debian")
    });
    Utf8Path::new(if is_debian {
        "/etc/default/kubelet"
    } else {
        "/etc/sysconfig/kubelet"
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containerd_has_a_least_version_per_line() {
        let target = |minor| KubeVersion { minor, patch: 0 };
        for (minor, containerd, least) in [
            (20, (1, 6), None),
            (30, (1, 6), Some([1, 6, 0])),
            (34, (1, 7), Some([1, 7, 28])),
            (35, (2, 1), Some([2, 1, 5])),
            (36, (1, 7), Some([2, 2, 0])),
            (36, (2, 1), Some([2, 2, 0])),
            (36, (2, 3), None),
        ] {
            assert_eq!(
                least_containerd(target(minor), containerd.0, containerd.1),
                least,
                "1.{minor} {containerd:?}"
            );
        }
    }
}
