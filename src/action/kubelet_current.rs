//! `kubelet-current`: the kubelet that runs is the one that is installed, and its Node is ready.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Action, ActionError, Change, Check, Context, Effect, service};
use crate::cluster::node::NodeObject;
use crate::cluster::plane::Member;
use crate::cluster::report;
use crate::cluster::survey::{self, Look};
use crate::host::command::Command;
use crate::host::probe::Probe;
use crate::inventory::version::KubeVersion;
use crate::inventory::{Cni, Inventory};

/// How long a kubelet may take to register anew and be ready.
const READY: Duration = Duration::from_secs(300);

/// Restarts kubelet if the Node says another release than the target, and waits until the Node says the target and is ready.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct KubeletCurrent {}

impl Action for KubeletCurrent {
    fn probes(&self, cx: &Context<'_>) -> Vec<Probe> {
        report::probes(cx.node)
    }

    fn check(&self, cx: &Context<'_>) -> Result<Check, ActionError> {
        let own = Member::read(cx.node, cx.facts());
        let object = own.and_then(|own| own.node_object());
        Ok(match object.map(|node| lacks(cx.inventory, &node)) {
            Some(None) => Check::Satisfied,
            Some(Some(lack)) => Check::Needed(
                Change::new(format!(
                    "run kubelet {} on {}",
                    cx.inventory.kubernetes, cx.node.name
                ))
                .found(lack),
            ),
            None => Check::needed(format!(
                "run kubelet {} on {}",
                cx.inventory.kubernetes, cx.node.name
            )),
        })
    }

    async fn apply(&self, effect: &Effect<'_>, _change: &Change) -> Result<(), ActionError> {
        let inventory = effect.cx.inventory;
        let restart = Command::script(service::run("kubelet", "restart"));
        effect.host.succeed(&restart).await?;
        let what = format!(
            "the Node {} to be ready with kubelet {}",
            effect.cx.node.name, inventory.kubernetes
        );
        survey::until_own(effect, &what, READY, |own| {
            match own
                .and_then(Member::node_object)
                .map(|node| lacks(inventory, &node))
            {
                Some(None) => Look::Done(()),
                Some(Some(lack)) => Look::NotYet(lack),
                None => Look::NotYet("it cannot be read".to_owned()),
            }
        })
        .await
    }
}

/// What its Node lacks, if anything.
fn lacks(inventory: &Inventory, node: &NodeObject) -> Option<String> {
    if KubeVersion::find(&node.kubelet_version) != Some(inventory.kubernetes) {
        return Some(format!(
            "kubelet {} runs",
            crate::text::escape(&node.kubelet_version)
        ));
    }
    let waits_for_others = inventory.cni == Cni::None && node.ready.waits_for_network();
    (!node.ready.is_true && !waits_for_others).then(|| {
        format!(
            "the Node is not ready: {}",
            crate::text::escape(&node.ready.why)
        )
    })
}
