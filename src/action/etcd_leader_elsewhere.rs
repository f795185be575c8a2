//! `etcd-leader-elsewhere`: before a master is disturbed, another one leads etcd, so that no write waits for an election.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Action, ActionError, Change, Check, Context, Effect, Scope};
use crate::cluster::etcd::{self, MemberId};
use crate::cluster::plane::{Etcd, Plane};
use crate::cluster::standing::{self, Standing};
use crate::host::command::Command;
use crate::host::error::HostError;
use crate::host::probe::Probe;
use crate::inventory::{EtcdTopology, Inventory};

/// A new leader is known to all within a few heartbeats.
const SETTLES: Duration = Duration::from_secs(15);

/// Another healthy voter leads etcd while this master is upgraded. A master that needs no upgrade may lead, and so may the
/// only one there is. Where etcd is a cluster of its own no upgrade of a master stops a member, not even one on the same host:
/// there the step has nothing to do.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct EtcdLeaderElsewhere {}

impl Action for EtcdLeaderElsewhere {
    fn probes(&self, cx: &Context<'_>) -> Vec<Probe> {
        standing::probes(cx.inventory, cx.node)
    }

    fn concerns(&self, inventory: &Inventory) -> bool {
        inventory.etcd == EtcdTopology::Stacked
    }

    fn scope(&self, _cx: &Context<'_>) -> Scope {
        Scope::Cluster
    }

    fn settles_within(&self) -> Duration {
        SETTLES
    }

    fn check(&self, cx: &Context<'_>) -> Result<Check, ActionError> {
        let standing = Standing::read(cx.inventory, cx.node, cx.facts());
        if standing.is_some_and(|standing| standing.is_at(cx.inventory.kubernetes)) {
            return Ok(Check::Satisfied);
        }
        let plane = Plane::read(cx.inventory, cx.fleet);
        Ok(match successor(&plane, &cx.node.name) {
            Some((_, name)) => {
                Check::needed(format!("let {name} lead etcd instead of {}", cx.node.name))
            }
            None => Check::Satisfied,
        })
    }

    async fn apply(&self, effect: &Effect<'_>, _change: &Change) -> Result<(), ActionError> {
        let plane = Plane::read(effect.cx.inventory, effect.cx.fleet);
        let Some((id, _)) = successor(&plane, &effect.cx.node.name) else {
            return Ok(());
        };
        let command = Command::script(etcd::lead_script(id, &effect.cx.inventory.etcd));
        let output = effect.host.succeed(&command).await?.text();
        if output.trim_end().ends_with("200") {
            return Ok(());
        }
        Err(ActionError::Host(HostError::Command {
            host: effect.host.node.name.clone(),
            command: command.to_string(),
            status: "an answer other than 200".to_owned(),
            output: crate::text::last_lines(output.as_bytes()),
        }))
    }
}

/// Who shall lead if that master leads now: a healthy voter, the first in the order of the member list.
fn successor(plane: &Plane<'_>, master: &str) -> Option<(MemberId, String)> {
    let own = plane.of(master)?.etcd.as_ref()?;
    if own.leader != Some(own.member_id) {
        return None;
    }
    let Etcd::Living(cluster) = plane.etcd() else {
        return None;
    };
    let mut voters = cluster.members.voters();
    let other =
        voters.find(|member| member.id != own.member_id && cluster.healthy.contains(&member.id))?;
    Some((other.id, crate::text::escape(other.label())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::sample::{joined, plane};
    use crate::testing::inventory;

    #[test]
    fn only_a_leader_with_a_healthy_follower_gives_way() {
        let inventory = inventory();
        let plane = plane(
            &inventory,
            [1, 2, 3].map(|id| Some(joined(id, &[1, 2, 3]))).into(),
        );
        assert_eq!(
            successor(&plane, "master1").map(|(id, _)| id),
            Some(MemberId(2))
        );
        assert_eq!(successor(&plane, "master2"), None);
        let alone = crate::cluster::sample::plane(&inventory, vec![Some(joined(1, &[1]))]);
        assert_eq!(successor(&alone, "master1"), None);
    }
}
