//! `load-balancers-leave`: a master gets no connections while it is upgraded.

use std::time::Duration;

use futures::future::join_all;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Action, ActionError, Change, Check, Context, Effect, Scope};
use crate::cluster::load_balancer::{self, Place};
use crate::cluster::standing::{self, Standing};
use crate::host::command::Command;
use crate::host::probe::Probe;
use crate::inventory::Role;

/// What the scripts need beside the time that connections are given.
const MARGIN: Duration = Duration::from_secs(60);

/// Takes a master that is to be upgraded out of every load balancer, through HAProxy's runtime socket.
///
/// New connections go elsewhere at once; those that are there may end by themselves for a while, then they are cut: a watch
/// that comes back finds another master. The last master that a load balancer has is never taken out of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LoadBalancersLeave {
    /// How long connections may last, in seconds.
    pub patience: u64,
}

impl Action for LoadBalancersLeave {
    fn probes(&self, cx: &Context<'_>) -> Vec<Probe> {
        match cx.node.role {
            Role::LoadBalancer => Place::probes(),
            Role::Master => standing::probes(cx.inventory, cx.node),
            Role::Worker | Role::Etcd => Vec::new(),
        }
    }

    fn scope(&self, _cx: &Context<'_>) -> Scope {
        Scope::Fleet
    }

    fn check(&self, cx: &Context<'_>) -> Result<Check, ActionError> {
        let standing = Standing::read(cx.inventory, cx.node, cx.facts());
        if standing.is_some_and(|standing| standing.is_at(cx.inventory.kubernetes)) {
            return Ok(Check::Satisfied);
        }
        if cx.inventory.with_role(Role::Master).count() < 2 {
            return Ok(Check::Satisfied);
        }
        let mut from = Vec::new();
        for balancer in cx.inventory.with_role(Role::LoadBalancer) {
            let Some(place) = Place::read(&cx.node.name, cx.fleet.of(&balancer.name)) else {
                continue;
            };
            if place.is_out() && place.taken_out_by.is_some() {
                continue;
            }
            if place.others_up == 0 {
                return Err(last_one(cx, &balancer.name));
            }
            from.push(balancer.name.as_str());
        }
        if from.is_empty() {
            return Ok(Check::Satisfied);
        }
        Ok(Check::needed(format!(
            "take {} out of {}",
            cx.node.name,
            from.join(" and ")
        )))
    }

    async fn apply(&self, effect: &Effect<'_>, _change: &Change) -> Result<(), ActionError> {
        let patience = Duration::from_secs(self.patience);
        let script = load_balancer::leave(&effect.cx.node.name, &effect.run.to_string(), patience);
        let command = Command::script(script).deadline(patience + MARGIN);
        let balancers = effect
            .hosts
            .iter()
            .filter(|host| host.node.role == Role::LoadBalancer);
        let leaves = balancers
            .map(async |host| Ok::<_, ActionError>((host, host.succeed(&command).await?.text())));
        for left in join_all(leaves).await {
            let (host, cut) = left?;
            let cut = crate::text::escape(cut.trim());
            (effect.note)(format!(
                "{}: connections that had not ended: {cut}",
                host.node.name
            ));
        }
        Ok(())
    }
}

fn last_one(cx: &Context<'_>, balancer: &str) -> ActionError {
    ActionError::Unsafe {
        why: format!(
            "{balancer} has no other master that is up: without {} nobody would answer there",
            cx.node.name
        ),
        help:
            "bring another master up (`quorate status` says what is wrong), then run the same again"
                .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::probe::Readings;
    use crate::testing::World;

    fn check(servers: &[(&str, &str)], marks: &str) -> Result<Check, String> {
        let text: Vec<String> = servers
            .iter()
            .map(|(name, state)| format!("haproxy_server_status{{proxy=\"kube_apiserver\",server=\"{name}\",state=\"{state}\"}} 1\n"))
            .collect();
        let mut world = World::new("master1");
        let readings = Readings::default()
            .with_script(load_balancer::script(), 0, &text.concat())
            .with_script(load_balancer::marks(), 0, marks);
        world.fleet.update("lb1", readings);
        LoadBalancersLeave { patience: 5 }
            .check(&world.cx())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_master_leaves_unless_it_is_the_last_one() {
        let needed = Ok(Check::needed("take master1 out of lb1"));
        assert_eq!(check(&[("master1", "UP"), ("master2", "UP")], ""), needed);
        assert_eq!(
            check(&[("master1", "DRAIN"), ("master2", "UP")], "master1 a\n"),
            needed
        );
        assert_eq!(
            check(&[("master1", "MAINT"), ("master2", "UP")], "master1 a\n"),
            Ok(Check::Satisfied)
        );
        let refused =
            check(&[("master1", "UP"), ("master2", "DOWN")], "").expect_err("nobody would answer");
        assert!(
            refused.starts_with("lb1 has no other master that is up"),
            "{refused}"
        );
    }
}
