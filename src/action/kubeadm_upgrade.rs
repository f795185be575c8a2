//! `kubeadm-upgrade`: `kubeadm upgrade apply` on the master that comes first, `kubeadm upgrade node` on every other host.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Action, ActionError, Change, Check, Context, Effect, Scope};
use crate::cluster::kubeadm;
use crate::cluster::objects::Objects;
use crate::cluster::standing::{self, Standing};
use crate::cluster::survey::{self, Look};
use crate::host::probe::Probe;
use crate::inventory::Role;

/// kubeadm waits five minutes for each of four static pods.
const DEADLINE: Duration = Duration::from_secs(30 * 60);

/// How long another master may take to come back.
const OTHERS: Duration = Duration::from_secs(240);

/// Brings the control plane of a master, or the kubelet configuration of a worker, to the release.
///
/// It runs as a job that survives the connection, and marks the host until it has ended well. Whether it has to be `apply` is
/// read from the stored configuration, so a run that was cut off before kubeadm stored it does `apply` again.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct KubeadmUpgrade {}

impl Action for KubeadmUpgrade {
    fn probes(&self, cx: &Context<'_>) -> Vec<Probe> {
        standing::probes(cx.inventory, cx.node)
    }

    fn scope(&self, _cx: &Context<'_>) -> Scope {
        Scope::Fleet
    }

    fn check(&self, cx: &Context<'_>) -> Result<Check, ActionError> {
        let target = cx.inventory.kubernetes;
        let standing = Standing::read(cx.inventory, cx.node, cx.facts());
        if standing
            .as_ref()
            .is_some_and(|standing| standing.plane_is_at(target))
        {
            return Ok(Check::Satisfied);
        }
        let what = if cx.node.role == Role::Master {
            "the control plane"
        } else {
            "the configuration"
        };
        let mut change = Change::new(format!(
            "bring {what} of {} to {target} (kubeadm upgrade {})",
            cx.node.name,
            verb(cx).name()
        ));
        if let Some(cut_off) = standing.and_then(|standing| standing.release.upgrading) {
            change = change.found(format!(
                "a kubeadm upgrade to {cut_off} on {} did not finish: it is done again",
                cx.node.name
            ));
        }
        Ok(Check::Needed(change))
    }

    async fn apply(&self, effect: &Effect<'_>, _change: &Change) -> Result<(), ActionError> {
        if effect.cx.node.role == Role::Master {
            others_are_well(effect).await?;
        }
        let script = kubeadm::upgrade(effect.cx.inventory, verb(&effect.cx));
        let followed =
            kubeadm::run(effect, "kubeadm-upgrade", (script, Vec::new()), DEADLINE).await?;
        if followed {
            (effect.note)("followed a kubeadm upgrade that was under way".to_owned());
        }
        Ok(())
    }
}

/// kubeadm restarts this master's etcd: no other member may be away then, and one may have gone since the last step. A job
/// that runs already is followed at once.
async fn others_are_well(effect: &Effect<'_>) -> Result<(), ActionError> {
    let name = &effect.cx.node.name;
    survey::until(
        effect,
        "every other etcd member to be healthy",
        OTHERS,
        |plane, own| {
            let is_under_way = own.is_some_and(|own| !own.jobs.is_empty());
            let troubles = if is_under_way {
                Vec::new()
            } else {
                plane.troubles_beside(name)
            };
            Ok(if troubles.is_empty() {
                Look::Done(())
            } else {
                Look::NotYet(troubles.join("; "))
            })
        },
    )
    .await
}

/// `apply` until the cluster has stored the release.
fn verb(cx: &Context<'_>) -> kubeadm::Upgrade {
    let stored = Objects::read(cx.inventory, cx.fleet)
        .configuration
        .and_then(|configuration| configuration.version);
    match cx.node.role {
        Role::Master if stored != Some(cx.inventory.kubernetes) => kubeadm::Upgrade::Apply,
        Role::Master | Role::Worker | Role::LoadBalancer | Role::Etcd => kubeadm::Upgrade::Node,
    }
}
