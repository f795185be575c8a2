//! `load-balancers-return`: a master that is well gets connections again.

use std::time::Duration;

use futures::future::join_all;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Action, ActionError, Change, Check, Context, Effect, Scope};
use crate::cluster::load_balancer::{self, Place};
use crate::cluster::plane::ailment;
use crate::cluster::survey::{self, Look};
use crate::cluster::{release, report};
use crate::host::command::Command;
use crate::host::probe::Probe;
use crate::inventory::Role;

/// How long the master may take to be ready.
const READY: Duration = Duration::from_secs(180);

/// How long HAProxy's own checks may take to see it up.
const SEEN_UP: Duration = Duration::from_secs(60);

/// Puts a master that a run of quorate took out back into every load balancer, once its own apiserver and etcd are well, and
/// sees it up there. A server that somebody else has taken out is left alone.
///
/// A master that does not get well is left out: the others go on serving.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LoadBalancersReturn {}

impl Action for LoadBalancersReturn {
    fn probes(&self, cx: &Context<'_>) -> Vec<Probe> {
        match cx.node.role {
            Role::LoadBalancer => Place::probes(),
            Role::Master => {
                let mut probes = report::probes(cx.node);
                probes.extend(release::probes(cx.inventory, cx.node));
                probes
            }
            Role::Worker | Role::Etcd => Vec::new(),
        }
    }

    fn scope(&self, _cx: &Context<'_>) -> Scope {
        Scope::Fleet
    }

    fn settles_within(&self) -> Duration {
        SEEN_UP
    }

    fn check(&self, cx: &Context<'_>) -> Result<Check, ActionError> {
        let mut into = Vec::new();
        for balancer in cx.inventory.with_role(Role::LoadBalancer) {
            let place = Place::read(&cx.node.name, cx.fleet.of(&balancer.name));
            let waits = |place: &Place| !place.is_up() && !place.is_out();
            if place.is_some_and(|place| place.taken_out_by.is_some() || waits(&place)) {
                into.push(balancer.name.as_str());
            }
        }
        if into.is_empty() {
            return Ok(Check::Satisfied);
        }
        Ok(Check::needed(format!(
            "see {} up in {}",
            cx.node.name,
            into.join(" and ")
        )))
    }

    async fn apply(&self, effect: &Effect<'_>, _change: &Change) -> Result<(), ActionError> {
        let name = &effect.cx.node.name;
        let what = format!("{name} to serve");
        let is_well = survey::until_own(effect, &what, READY, |own| match own {
            Some(own) if own.is_living() => Look::Done(()),
            Some(own) => Look::NotYet(ailment(own)),
            None => Look::NotYet("it says nothing".to_owned()),
        });
        is_well.await.map_err(|error| left_out(name, &error))?;
        let command = Command::script(load_balancer::put_back(name));
        let marked = |balancer: &&crate::host::Host| {
            let place = Place::read(name, effect.cx.fleet.of(&balancer.node.name));
            place.is_some_and(|place| place.taken_out_by.is_some())
        };
        let balancers = effect
            .hosts
            .iter()
            .filter(|host| host.node.role == Role::LoadBalancer)
            .filter(marked);
        let returns = balancers.map(|host| host.succeed(&command));
        for returned in join_all(returns).await {
            returned?;
        }
        Ok(())
    }
}

fn left_out(master: &str, error: &ActionError) -> ActionError {
    ActionError::Unsafe {
        why: format!("{master} is left out of the load balancers: {error}"),
        help: format!(
            "the other masters serve; see `journalctl -u kubelet` and `crictl ps -a` on {master}, and when it is well run the same again"
        ),
    }
}
