//! `kubelet-config`: kubelet of a worker that has joined follows the inventory. Masters get the same with
//! [`control-plane-config`](super::control_plane_config), which stores it in the cluster.

use std::time::Duration;

use camino::Utf8Path;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Action, ActionError, Change, Check, Context, Effect};
use crate::cluster::kubelet;
use crate::host::command::Command;
use crate::host::probe::{FileState, Probe};

/// kubeadm's phase, and kubelet's restart.
const DEADLINE: Duration = Duration::from_secs(180);

/// Brings kubelet in line with the cluster's kubelet configuration, and restarts it only if that differs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct KubeletConfig {}

impl Action for KubeletConfig {
    fn probes(&self, _cx: &Context<'_>) -> Vec<Probe> {
        vec![
            Probe::Digest(kubelet::WANTED.into()),
            Probe::File(kubelet::APPLIED.into()),
        ]
    }

    fn check(&self, cx: &Context<'_>) -> Result<Check, ActionError> {
        let wanted = Utf8Path::new(kubelet::WANTED);
        let digest = cx
            .facts()
            .file(wanted)?
            .present()
            .and_then(FileState::sha256);
        let applied = cx
            .facts()
            .file(Utf8Path::new(kubelet::APPLIED))?
            .text()
            .map(str::trim);
        if applied.is_some()
            && applied == digest.as_deref()
            && !cx.fleet.is_foreseen(&cx.node.name, wanted)
        {
            return Ok(Check::Satisfied);
        }
        let summary = format!("bring kubelet of {} in line with {wanted}", cx.node.name);
        Ok(Check::Needed(
            Change::new(summary).touching(kubelet::APPLIED),
        ))
    }

    async fn apply(&self, effect: &Effect<'_>, _change: &Change) -> Result<(), ActionError> {
        let command = Command::script(kubelet::follow_and_note()).deadline(DEADLINE);
        effect.host.succeed(&command).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::probe::Readings;
    use crate::testing::World;

    fn check(applied: Option<&str>) -> Check {
        let readings =
            Readings::default().with_file(kubelet::WANTED, FileState::regular("maxPods: 200\n"));
        let readings = match applied {
            Some(text) => readings.with_file(kubelet::APPLIED, FileState::regular(text)),
            None => readings.without_file(kubelet::APPLIED),
        };
        let world = World::new("worker1").reading(readings);
        KubeletConfig {}.check(&world.cx()).expect("it was probed")
    }

    #[test]
    fn it_follows_until_the_digest_is_noted() {
        let digest = crate::text::sha256("maxPods: 200\n");
        assert_eq!(check(Some(&format!("{digest}\n"))), Check::Satisfied);
        for other in [None, Some(""), Some("0123\n")] {
            assert!(matches!(check(other), Check::Needed(_)), "{other:?}");
        }
    }
}
