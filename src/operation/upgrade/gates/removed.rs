//! Flags and feature gates that the target no longer knows: its component would exit at once.

use super::hosts::kubelet_flags_file;
use super::{Site, finding};
use crate::inventory::version::KubeVersion;
use crate::operation::preflight::Verdict;

/// A flag and the minor that lost it.
type Lost = (&'static str, u16);

const API_SERVER: &[Lost] = &[
    ("insecure-port", 24),
    ("insecure-bind-address", 24),
    ("port", 24),
    ("address", 24),
];
const CONTROLLER_MANAGER: &[Lost] = &[("port", 24), ("address", 24)];
const SCHEDULER: &[Lost] = &[("port", 24), ("address", 24)];
const KUBELET: &[Lost] = &[
    ("network-plugin", 24),
    ("cni-conf-dir", 24),
    ("cni-bin-dir", 24),
    ("container-runtime", 27),
    ("pod-infra-container-image", 35),
];

/// kubeadm's own feature gates and the minor that no longer knows them.
const KUBEADM_GATES: &[Lost] = &[
    ("UpgradeAddonsBeforeControlPlane", 31),
    ("EtcdLearnerMode", 33),
    ("WaitForAllControlPlaneComponents", 35),
    ("ControlPlaneKubeletLocalMode", 36),
    ("NodeLocalCRISocket", 37),
    ("PublicKeysECDSA", 37),
];

pub(super) fn judge(site: &Site<'_>, target: KubeVersion, verdict: &mut Verdict) {
    let kubeadm = &site.inventory.kubeadm;
    for (component, flags, lost) in [
        ("kube-apiserver", &kubeadm.api_server, API_SERVER),
        (
            "kube-controller-manager",
            &kubeadm.controller_manager,
            CONTROLLER_MANAGER,
        ),
        ("kube-scheduler", &kubeadm.scheduler, SCHEDULER),
    ] {
        for (flag, minor) in lost
            .iter()
            .filter(|(flag, minor)| target.minor >= *minor && flags.contains_key(*flag))
        {
            verdict.refusals.push(finding(
                "all",
                "removed-flag",
                format!("{component} has lost --{flag} in v1.{minor}, and the inventory sets it"),
                "take it out of the inventory and run `quorate provision` first",
            ));
        }
    }
    kubelet_flags(site, target, verdict);
    kubeadm_gates(site, target, verdict);
}

fn kubelet_flags(site: &Site<'_>, target: KubeVersion, verdict: &mut Verdict) {
    for standing in &site.standings {
        let words: Vec<&str> = standing.release.kubelet_flags.split_whitespace().collect();
        let sets = |flag: &str| {
            words.iter().any(|word| {
                word.trim_matches(['"', '\''])
                    .trim_start_matches('-')
                    .split('=')
                    .next()
                    == Some(flag)
            })
        };
        for (flag, minor) in KUBELET
            .iter()
            .filter(|(flag, minor)| target.minor >= *minor && sets(flag))
        {
            let file = kubelet_flags_file(site, &standing.node.name);
            verdict.refusals.push(finding(
                &standing.node.name,
                "removed-flag",
                format!("kubelet has lost --{flag} in v1.{minor}, and {file} sets it"),
                format!("take it out of {file}"),
            ));
        }
    }
}

fn kubeadm_gates(site: &Site<'_>, target: KubeVersion, verdict: &mut Verdict) {
    let Some(configuration) = &site.objects.configuration else {
        return;
    };
    let gates = configuration
        .text
        .lines()
        .skip_while(|line| !line.starts_with("featureGates:"))
        .skip(1)
        .take_while(|line| line.starts_with(' '))
        .filter_map(|line| line.split(':').next())
        .map(str::trim);
    for gate in gates {
        let Some((_, minor)) = KUBEADM_GATES
            .iter()
            .find(|(name, minor)| *name == gate && target.minor >= *minor)
        else {
            continue;
        };
        verdict.refusals.push(finding(
            "all",
            "feature-gate",
            format!("kubeadm has lost the feature gate {gate} in v1.{minor}, and the stored configuration sets it"),
            "take it out with `kubectl -n kube-system edit configmap kubeadm-config`",
        ));
    }
}
