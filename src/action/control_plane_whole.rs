//! `control-plane-whole`: this master serves and every etcd member is a healthy voter, before anything else is disturbed.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Action, ActionError, Change, Check, Context, Effect, Scope};
use crate::cluster::kubelet;
use crate::cluster::plane::{Member, Plane};
use crate::cluster::report;
use crate::cluster::survey::Look;
use crate::host::probe::Probe;
use crate::inventory::EtcdTopology;

/// How long static pods may take to be back.
const WHOLE: Duration = Duration::from_secs(240);

/// Waits until the control plane is whole.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ControlPlaneWhole {}

impl Action for ControlPlaneWhole {
    fn probes(&self, cx: &Context<'_>) -> Vec<Probe> {
        report::probes(cx.node)
    }

    fn scope(&self, cx: &Context<'_>) -> Scope {
        match cx.inventory.etcd {
            EtcdTopology::Stacked => Scope::Cluster,
            // Its members may be on hosts that take no part in the play.
            EtcdTopology::External(_) => Scope::Fleet,
        }
    }

    fn check(&self, cx: &Context<'_>) -> Result<Check, ActionError> {
        let plane = Plane::read(cx.inventory, cx.fleet);
        let troubles = troubles(&plane, plane.of(&cx.node.name));
        if troubles.is_empty() {
            return Ok(Check::Satisfied);
        }
        let mut change = Change::new(format!(
            "wait for the control plane of {} to be whole",
            cx.node.name
        ));
        change.found = troubles;
        Ok(Check::Needed(change))
    }

    async fn apply(&self, effect: &Effect<'_>, _change: &Change) -> Result<(), ActionError> {
        whole(effect).await
    }
}

/// Waits until every etcd member is a healthy voter and this master serves; a kubelet that refuses its static pods is started
/// again.
///
/// # Errors
/// It is not so within four minutes, or kubelet goes on refusing.
pub(super) async fn whole(effect: &Effect<'_>) -> Result<(), ActionError> {
    let what = "the control plane to be whole";
    kubelet::until_admitted(effect, what, WHOLE, |plane, own| {
        let troubles = troubles(plane, own);
        Ok(if troubles.is_empty() {
            Look::Done(false)
        } else if own.is_some_and(|own| own.report.refused.is_some()) {
            Look::Done(true)
        } else {
            Look::NotYet(troubles.join("; "))
        })
    })
    .await
}

/// What is wrong with etcd, and with this master.
fn troubles(plane: &Plane<'_>, own: Option<&Member<'_>>) -> Vec<String> {
    // Members that the inventory has no more are removed when no apiserver asks them any more.
    let mut troubles = plane.own_troubles();
    match own {
        Some(own) if own.is_living() => {}
        Some(own) => troubles.push(crate::cluster::plane::ailment(own)),
        None => troubles.push("it was not read".to_owned()),
    }
    troubles
}
