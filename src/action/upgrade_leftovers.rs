//! `upgrade-leftovers`: when a host has its release, what kubeadm's upgrades keep in `/etc/kubernetes/tmp` goes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Action, ActionError, Change, Check, Context, Effect};
use crate::cluster::standing::{self, Standing};
use crate::host::command::{Command, Script};
use crate::host::probe::Probe;

const REMOVE: &str = "
rm -rf /etc/kubernetes/tmp/* || exit 1
rm -f /etc/kubernetes/quorate/upgraded
";

/// Copies of etcd's data, of manifests and of kubelet's configuration that kubeadm made for the case that it fails; nothing
/// of a host whose upgrade is not complete.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct UpgradeLeftovers {}

impl Action for UpgradeLeftovers {
    fn probes(&self, cx: &Context<'_>) -> Vec<Probe> {
        standing::probes(cx.inventory, cx.node)
    }

    fn check(&self, cx: &Context<'_>) -> Result<Check, ActionError> {
        let Some(standing) = Standing::read(cx.inventory, cx.node, cx.facts()) else {
            return Ok(Check::Satisfied);
        };
        let left = &standing.release.leftovers;
        if left.is_empty() && standing.release.upgraded.is_none() {
            return Ok(Check::Satisfied);
        }
        if !standing.is_at(cx.inventory.kubernetes) {
            return Ok(Check::Unknown {
                until: format!("{} has {}", cx.node.name, cx.inventory.kubernetes),
            });
        }
        let mut change = Change::new(format!("remove what the upgrade left on {}", cx.node.name));
        change.found = left
            .iter()
            .map(|path| format!("left by kubeadm: {path}"))
            .collect();
        Ok(Check::Needed(change))
    }

    async fn apply(&self, effect: &Effect<'_>, _change: &Change) -> Result<(), ActionError> {
        let remove = Script::new("upgrade-leftovers-remove", REMOVE);
        effect.host.succeed(&Command::script(remove)).await?;
        Ok(())
    }
}
