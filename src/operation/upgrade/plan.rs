//! What a hop walks, in which order, and how it is shown before anybody says yes.

use std::fmt::Write as _;

use super::Policies;
use super::gates::{Hops, Site};
use crate::action::{AnyAction, Fleet};
use crate::cluster::etcd::View;
use crate::cluster::load_balancer::Place;
use crate::cluster::standing::Standing;
use crate::error::Error;
use crate::inventory::Role;
use crate::inventory::version::KubeVersion;
use crate::operation::Session;
use crate::plan::Plan;
use crate::playbook::Strategy;
use crate::report::lines::count;

/// The plan of one hop, with the person's policies in its steps.
pub fn of_hop(session: &Session, policies: &Policies) -> Result<Plan, Error> {
    let mut plan = session.plan("upgrade-hop")?;
    let workers = session.inventory.with_role(Role::Worker).count();
    let is_worker = |name: &String| {
        session
            .inventory
            .node(name)
            .is_some_and(|node| node.role == Role::Worker)
    };
    for play in &mut plan.plays {
        if play.strategy == Strategy::Rolling && play.hosts.iter().all(is_worker) {
            play.at_once = policies.at_once.of(workers);
        }
        for step in &mut play.steps {
            match &mut step.action {
                AnyAction::NodeDrain(drain) => {
                    drain.bare_pods = policies.bare_pods;
                    drain.blocked = policies.blocked;
                    drain.timeout = policies.drain_timeout;
                }
                AnyAction::NodeUncordon(uncordon) => {
                    uncordon.confirm.clone_from(&policies.pause_after);
                }
                _ => {}
            }
        }
    }
    Ok(plan)
}

/// Masters take their turns in this order: the one that an earlier run left in the middle, those that follow, the one that
/// leads etcd. So leadership moves once, and never two are away.
pub fn order_masters(plan: &mut Plan, session: &Session, fleet: &Fleet) {
    let turn = |name: &String| {
        let node = session.inventory.node(name)?;
        let standing = Standing::read(&session.inventory, node, fleet.of(name))?;
        let taken_out = session
            .inventory
            .with_role(Role::LoadBalancer)
            .filter_map(|balancer| Place::read(name, fleet.of(&balancer.name)))
            .any(|place| place.taken_out_by.is_some());
        let leads = |view: &View| view.leader == Some(view.member_id);
        Some(
            match (
                standing.is_under_way() || taken_out,
                standing.member.etcd.as_ref().is_some_and(leads),
            ) {
                (true, _) => 0,
                (false, false) => 1,
                (false, true) => 2,
            },
        )
    };
    let is_master = |name: &String| {
        session
            .inventory
            .node(name)
            .is_some_and(|node| node.role == Role::Master)
    };
    for play in plan
        .plays
        .iter_mut()
        .filter(|play| play.strategy == Strategy::Rolling)
    {
        if play.hosts.iter().all(is_master) {
            play.hosts.sort_by_key(|name| turn(name).unwrap_or(1));
        }
    }
}

/// The hops, and what each host has in front of it.
pub(super) fn text(site: &Site<'_>, hops: &Hops, target: KubeVersion) -> String {
    let path: Vec<String> = site
        .begins_at()
        .into_iter()
        .chain(hops.releases.iter().copied())
        .map(|release| release.to_string())
        .collect();
    let mut text = format!("Upgrade of {}: {}\n", site.inventory.name, path.join(" → "));
    for standing in &site.standings {
        let drain = || format!("drain of {}, kubelet", pods(standing));
        let what = match (standing.plane_is_at(target), standing.kubelet_is_at(target)) {
            (true, true) => "has it already".to_owned(),
            (false, _) if standing.node.role == Role::Master => {
                format!("control plane, {}", drain())
            }
            (_, _) => drain(),
        };
        let under_way = if site.is_under_way(&standing.node.name) {
            " (continued)"
        } else {
            ""
        };
        let _ = writeln!(text, "  {}: {what}{under_way}", standing.node.name);
    }
    let places = site.inventory.etcd_places();
    let external = places.iter().filter(|place| place.node.etcd.is_some());
    let names: Vec<&str> = external.map(|place| place.node.name.as_str()).collect();
    if !names.is_empty() {
        let _ = writeln!(text, "  etcd on {}: stays as it is", names.join(", "));
    }
    text.trim_end().to_owned()
}

fn pods(standing: &Standing<'_>) -> String {
    count(standing.release.leaving().count(), "pod")
}
