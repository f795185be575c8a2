//! The drains, foretold: budgets that would stop one for good, and pods that nobody would make again.

use std::collections::BTreeMap;

use super::{Site, finding};
use crate::action::{BarePods, Blocked};
use crate::cluster::budget;
use crate::cluster::pod::{Kind, Pod};
use crate::operation::preflight::{Finding, Verdict};

pub(super) fn judge(site: &Site<'_>, verdict: &mut Verdict) {
    for standing in site
        .standings
        .iter()
        .filter(|standing| standing.release.pods.is_none())
    {
        verdict.refusals.push(finding(
            &standing.node.name,
            "pods",
            "the pods on it cannot be listed, so its drain cannot be foretold",
            "see `journalctl -u kubelet` there",
        ));
    }
    budgets(site, verdict);
    bare_pods(site, verdict);
}

fn budgets(site: &Site<'_>, verdict: &mut Verdict) {
    let Some(budgets) = &site.objects.budgets else {
        verdict.refusals.push(finding(
            "all",
            "budgets",
            "the PodDisruptionBudgets cannot be listed",
            "see `quorate status`",
        ));
        return;
    };
    let pods: BTreeMap<String, Vec<Pod>> = site
        .standings
        .iter()
        .filter(|standing| !standing.kubelet_is_at(site.inventory.kubernetes))
        .map(|standing| {
            (
                standing.node.name.clone(),
                standing.release.pods.clone().unwrap_or_default(),
            )
        })
        .collect();
    let order: Vec<&str> = site
        .standings
        .iter()
        .map(|standing| standing.node.name.as_str())
        .collect();
    let nodes = site.objects.nodes.clone().unwrap_or_default();
    for blocked in budget::foretell(&order, &pods, &nodes, budgets) {
        let what = format!(
            "budget {} would stop its drain: {}; pods of {}: {}",
            blocked.budget,
            blocked.why,
            blocked.owners.join(", "),
            blocked.pods.join(", ")
        );
        let help = "give its owner another replica or the budget more room; or say `--blocked-pods wait` or `--blocked-pods force`";
        add(
            verdict,
            finding(&blocked.node, "budgets", what, help),
            site.policies.blocked == Blocked::Stop,
        );
    }
}

fn bare_pods(site: &Site<'_>, verdict: &mut Verdict) {
    for standing in site
        .standings
        .iter()
        .filter(|standing| !standing.kubelet_is_at(site.inventory.kubernetes))
    {
        let bare: Vec<String> = standing
            .release
            .leaving()
            .filter(|pod| pod.kind == Kind::Bare)
            .map(Pod::label)
            .collect();
        if bare.is_empty() {
            continue;
        }
        let what = format!("nobody would make these pods again: {}", bare.join(", "));
        let help = "give them a controller, or say `--bare-pods delete` to lose them";
        add(
            verdict,
            finding(&standing.node.name, "bare-pods", what, help),
            site.policies.bare_pods == BarePods::Stop,
        );
    }
}

/// What the person allows is a warning.
fn add(verdict: &mut Verdict, finding: Finding, refuses: bool) {
    if refuses {
        verdict.refusals.push(finding);
    } else {
        verdict.warnings.push(finding);
    }
}
