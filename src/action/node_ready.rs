//! `node-ready`: the host's Node is ready. Where the inventory leaves the pod network to somebody else, a Node that only waits
//! for that network is accepted.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Action, ActionError, Change, Check, Context, Effect};
use crate::cluster::node::NodeObject;
use crate::cluster::plane::{self, Member};
use crate::cluster::report;
use crate::cluster::survey::{self, Look};
use crate::host::probe::Probe;
use crate::inventory::Cni;

/// How long a Node may take to be ready: its pod network may have to be pulled.
const READY: Duration = Duration::from_secs(300);

/// Waits until the host's Node is ready.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NodeReady {}

impl Action for NodeReady {
    fn probes(&self, cx: &Context<'_>) -> Vec<Probe> {
        report::probes(cx.node)
    }

    fn check(&self, cx: &Context<'_>) -> Result<Check, ActionError> {
        Ok(match plane::own_object(cx.node, cx.facts()) {
            Some(node) if is_ready(&cx.inventory.cni, &node) => Check::Satisfied,
            Some(node) => Check::Needed(
                Change::new(format!("wait for the Node {} to be ready", cx.node.name)).found(
                    format!("it is not ready: {}", crate::text::escape(&node.ready.why)),
                ),
            ),
            None => Check::needed(format!("see the Node {} ready", cx.node.name)),
        })
    }

    async fn apply(&self, effect: &Effect<'_>, _change: &Change) -> Result<(), ActionError> {
        let cni = &effect.cx.inventory.cni;
        let what = format!("the Node {} to be ready", effect.cx.node.name);
        let node = survey::until_own(effect, &what, READY, |own| {
            match own.and_then(Member::node_object) {
                Some(node) if is_ready(cni, &node) => Look::Done(node),
                Some(node) => Look::NotYet(crate::text::escape(&node.ready.why)),
                None => Look::NotYet("it cannot be read".to_owned()),
            }
        })
        .await?;
        if !node.ready.is_true {
            (effect.note)(format!(
                "the Node {} waits for a pod network, which this inventory leaves to somebody else",
                effect.cx.node.name
            ));
        }
        Ok(())
    }
}

fn is_ready(cni: &Cni, node: &NodeObject) -> bool {
    node.ready.is_true || (*cni == Cni::None && node.ready.waits_for_network())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::node::Ready;

    #[test]
    fn waiting_for_somebody_elses_network_is_ready_enough() {
        let node = |is_true, why: &str| NodeObject {
            ready: Ready {
                is_true,
                why: why.to_owned(),
            },
            ..NodeObject::default()
        };
        let network = "KubeletNotReady: runtime network not ready: NetworkReady=false";
        assert!(is_ready(&Cni::Bridge, &node(true, "")));
        assert!(is_ready(&Cni::None, &node(false, network)));
        assert!(!is_ready(&Cni::Bridge, &node(false, network)));
        assert!(!is_ready(
            &Cni::None,
            &node(false, "NodeStatusUnknown: Kubelet stopped posting")
        ));
    }
}
