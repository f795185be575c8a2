//! Releases: no way back, no minor skipped, no component too far behind, packages for every hop, a configuration that the
//! target's kubeadm reads.

use super::{Hops, Site, finding};
use crate::inventory::PackageSource;
use crate::inventory::version::KubeVersion;
use crate::operation::preflight::Verdict;

pub(super) fn judge(site: &Site<'_>, target: KubeVersion, hops: &Hops, verdict: &mut Verdict) {
    packages(site, hops, verdict);
    downgrade(site, target, verdict);
    apiservers(site, verdict);
    kubelets(site, hops, verdict);
    configuration(site, target, verdict);
}

fn packages(site: &Site<'_>, hops: &Hops, verdict: &mut Verdict) {
    if site.inventory.packages == PackageSource::Preinstalled {
        verdict.refusals.push(finding(
            "all",
            "packages",
            "the inventory says that the tools are preinstalled: quorate cannot bring them to another release",
            "name the repository that has them: `packages: upstream`, or a mirror",
        ));
    }
    for (host, missing) in &hops.missing {
        verdict.refusals.push(finding(
            host,
            "packages",
            format!("its package repository does not offer {}", missing.join(", ")),
            "see that the host reaches the repository of that minor, and that the release exists there",
        ));
    }
}

/// Nothing runs a later release than the target, for kubeadm has no way back.
fn downgrade(site: &Site<'_>, target: KubeVersion, verdict: &mut Verdict) {
    for standing in &site.standings {
        let seen = [
            standing.stored,
            standing.release.manifest("kube-apiserver"),
            standing.running_kubelet(),
        ];
        let Some(newest) = seen
            .into_iter()
            .flatten()
            .max()
            .filter(|newest| *newest > target)
        else {
            continue;
        };
        verdict.refusals.push(finding(
            &standing.node.name,
            "downgrade",
            format!("it runs {newest}, which is later than {target}: Kubernetes has no way back"),
            format!("say `--to {newest}` or later"),
        ));
    }
    if site
        .standings
        .iter()
        .all(|standing| standing.stored.is_none() && standing.release.apiserver.is_none())
    {
        verdict.refusals.push(finding(
            "all",
            "version",
            "no master says which release the cluster has",
            "see `quorate status`: the API must answer before it can be upgraded",
        ));
    }
}

/// Apiservers are at most one minor apart.
fn apiservers(site: &Site<'_>, verdict: &mut Verdict) {
    let releases = || {
        site.standings
            .iter()
            .filter_map(|standing| standing.release.manifest("kube-apiserver"))
    };
    let (Some(oldest), Some(newest)) = (releases().min(), releases().max()) else {
        return;
    };
    if newest.minor > oldest.minor + 1 {
        verdict.refusals.push(finding(
            "all",
            "skew",
            format!("apiservers run {oldest} and {newest}: they may be one minor apart"),
            format!("bring the older ones to a minor before {newest} by hand first"),
        ));
    }
}

/// No kubelet is too far behind the control plane of the first hop; later hops take the kubelets along.
fn kubelets(site: &Site<'_>, hops: &Hops, verdict: &mut Verdict) {
    let Some(first) = hops.releases.first() else {
        return;
    };
    let behind = if first.minor < 25 { 2 } else { 3 };
    for standing in &site.standings {
        let Some(kubelet) = standing.running_kubelet() else {
            continue;
        };
        if kubelet.minor + behind < first.minor {
            verdict.refusals.push(finding(
                &standing.node.name,
                "skew",
                format!("kubelet {kubelet} would be more than {behind} minors behind {first}"),
                "bring this kubelet forward first, one minor at a time",
            ));
        }
    }
    let proxy = site
        .objects
        .proxy
        .filter(|proxy| proxy.minor + behind < first.minor);
    if let Some(proxy) = proxy {
        verdict.refusals.push(finding(
            "all",
            "skew",
            format!("kube-proxy {proxy} would be more than {behind} minors behind {first}"),
            "run `kubeadm init phase addon kube-proxy` for the present release first",
        ));
    }
}

/// The stored configuration is in an API that the target's kubeadm, or the one before it that rewrites it, still reads.
fn configuration(site: &Site<'_>, target: KubeVersion, verdict: &mut Verdict) {
    if target.kubeadm_api().is_none() {
        verdict.refusals.push(finding(
            "all",
            "kubeadm-api",
            format!("quorate speaks no kubeadm of {target}"),
            "use v1.20 or later",
        ));
    }
    let Some(stored) = &site.objects.configuration else {
        verdict.refusals.push(finding(
            "all",
            "kubeadm-api",
            "the stored configuration (ConfigMap kube-system/kubeadm-config) cannot be read",
            "see `quorate status`; kubeadm upgrades nothing without it",
        ));
        return;
    };
    let last_reader = match stored.api.as_str() {
        "v1beta1" => 21,
        "v1beta2" => 26,
        "v1beta3" => 36,
        _ => return,
    };
    let next = stored
        .version
        .map_or(target.minor, |stored| stored.minor + 1)
        .min(target.minor);
    if next > last_reader {
        verdict.refusals.push(finding(
            "all",
            "kubeadm-api",
            format!(
                "the stored configuration is of {}, which kubeadm reads until v1.{last_reader}",
                stored.api
            ),
            "bring it forward with `kubeadm config migrate` of an earlier kubeadm",
        ));
    }
}
