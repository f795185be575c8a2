//! `control-plane-config`: certificates, manifests and the stored configuration follow `cluster.yaml`, on one master after the
//! other, and only where they differ.
//!
//! `/etc/kubernetes/quorate/applied` holds the digest of the configuration that is in force; `kubeadm init` and `join` write it
//! too. When `cluster.yaml` differs, [`candidates`] says what kubeadm would write now. A manifest that differs replaces
//! the old one; if its component does not come back healthy, the old one is put back. The ConfigMap `kubeadm-config`, which
//! later joins and upgrades read, is written by the last master: until then a join still gets what the others run.

use std::time::Duration;

use camino::Utf8Path;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::control_plane_whole::whole;
use super::{Action, ActionError, Change, Check, Context, Effect, Scope};
use crate::cluster::candidates::{self, Candidates, Source, Turn};
use crate::cluster::join::{Token, extras};
use crate::cluster::kubelet;
use crate::cluster::plane::Plane;
use crate::cluster::report;
use crate::cluster::survey;
use crate::host::command::{Command, Script};
use crate::host::probe::Probe;
use crate::inventory::Role;

const CONFIG: &str = "/etc/kubernetes/quorate/cluster.yaml";

/// How long one of kubeadm's phases, or kubelet's restart of one component, may take.
const STEP: Duration = Duration::from_secs(180);

/// Brings the control plane of a master in line with the shared configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ControlPlaneConfig {}

impl Action for ControlPlaneConfig {
    fn probes(&self, cx: &Context<'_>) -> Vec<Probe> {
        let mut probes = report::probes(cx.node);
        probes.push(Probe::Digest(CONFIG.into()));
        probes
    }

    fn scope(&self, _cx: &Context<'_>) -> Scope {
        Scope::Cluster
    }

    fn check(&self, cx: &Context<'_>) -> Result<Check, ActionError> {
        let plane = Plane::read(cx.inventory, cx.fleet);
        let own = plane.of(&cx.node.name);
        // A bare host gets the configuration with its init or join.
        if own.is_none_or(crate::cluster::plane::Member::is_bare) {
            return Ok(Check::Satisfied);
        }
        let applied = own.and_then(|own| own.applied.as_deref());
        let wanted = wanted(cx);
        let will_change = cx.fleet.is_foreseen(&cx.node.name, Utf8Path::new(CONFIG));
        if applied.is_some() && applied == wanted.as_deref() && !will_change {
            return Ok(Check::Satisfied);
        }
        Ok(Check::needed(format!(
            "bring the control plane of {} in line with {CONFIG}",
            cx.node.name
        )))
    }

    async fn apply(&self, effect: &Effect<'_>, _change: &Change) -> Result<(), ActionError> {
        // Nothing is restarted before the control plane is whole, or two members would be away at once.
        whole(effect).await?;
        let candidates = make(effect).await?;
        if !candidates.names.is_empty() {
            replace_certificate(effect, &candidates).await?;
        }
        for component in &candidates.components {
            replace(effect, component).await?;
        }
        run(effect, candidates::store_kubelet()).await?;
        run(effect, kubelet::follow()).await?;
        let turn = turn(effect).await?;
        run(effect, candidates::store(turn)).await?;
        whole(effect).await
    }
}

/// The digest of the configuration that shall be in force.
fn wanted(cx: &Context<'_>) -> Option<String> {
    cx.facts()
        .file(Utf8Path::new(CONFIG))
        .ok()?
        .present()?
        .sha256()
}

async fn run(effect: &Effect<'_>, script: Script) -> Result<String, ActionError> {
    let command = Command::script(script).deadline(STEP);
    Ok(effect.host.succeed(&command).await?.text())
}

/// Makes the candidates. The InitConfiguration wants a token; this one is never made known to the cluster.
async fn make(effect: &Effect<'_>) -> Result<Candidates, ActionError> {
    let cx = &effect.cx;
    let extras = extras(cx.inventory, Role::Master, &Token::generate(), None);
    let config = cx.templates.render_with("kubeadm/init.yaml", cx, extras)?;
    let command = Command::script(candidates::make())
        .stdin(config)
        .deadline(STEP);
    let output = effect.host.succeed(&command).await?;
    Ok(Candidates::parse(&output.text()))
}

async fn replace_certificate(
    effect: &Effect<'_>,
    candidates: &Candidates,
) -> Result<(), ActionError> {
    let names: Vec<&str> = candidates.names.iter().map(String::as_str).collect();
    (effect.note)(format!(
        "apiserver certificate: adding {}",
        names.join(", ")
    ));
    run(effect, candidates::replace_certificate()).await?;
    let address = effect.cx.node.address.to_string();
    run(effect, candidates::serves(&address, &candidates.names)).await?;
    Ok(())
}

/// Replaces one component and waits until it is healthy; puts the old manifest back if it does not get there.
async fn replace(effect: &Effect<'_>, component: &str) -> Result<(), ActionError> {
    (effect.note)(format!("restarting {component} with its new flags"));
    let replaced = run(effect, candidates::replace(component, Source::Candidate)).await;
    let healthy = match replaced {
        Ok(_) => healthy(effect, component).await,
        Err(error) => Err(error),
    };
    let Err(error) = healthy else {
        return Ok(());
    };
    (effect.note)(format!(
        "{component} did not come back: its old manifest is put back"
    ));
    run(effect, candidates::replace(component, Source::Backup)).await?;
    Err(error)
}

async fn healthy(effect: &Effect<'_>, component: &str) -> Result<(), ActionError> {
    match component {
        "kube-controller-manager" => run(effect, candidates::healthy(10257)).await.map(drop),
        "kube-scheduler" => run(effect, candidates::healthy(10259)).await.map(drop),
        _ => whole(effect).await,
    }
}

/// Whether the other masters all have this configuration already.
async fn turn(effect: &Effect<'_>) -> Result<Turn, ActionError> {
    let fleet = survey::survey(effect).await?;
    let plane = Plane::read(effect.cx.inventory, &fleet);
    let wanted = wanted(&effect.cx);
    let mut others = plane
        .masters
        .iter()
        .filter(|master| master.node.name != effect.cx.node.name);
    let all = plane.unread.is_empty() && others.all(|other| other.applied == wanted);
    Ok(if all { Turn::Last } else { Turn::Earlier })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::report::Report;
    use crate::cluster::sample;
    use crate::host::probe::{FileContent, FileState, Readings};
    use crate::testing::World;

    fn check(report: &Report, applied: Option<&str>) -> Check {
        let mut world = World::new("master1");
        let script = report::script(world.inventory.node("master1").expect("a master"));
        let config = FileState {
            content: FileContent::Sha256("new".to_owned()),
            ..FileState::regular("")
        };
        let readings = Readings::default()
            .with_script(script, 0, &report.to_string())
            .with_file(CONFIG, config);
        world.fleet.update(
            "master1",
            match applied {
                Some(digest) => {
                    readings.with_file(report::APPLIED, FileState::regular(format!("{digest}\n")))
                }
                None => readings.without_file(report::APPLIED),
            },
        );
        ControlPlaneConfig {}
            .check(&world.cx())
            .expect("everything was read")
    }

    #[test]
    fn a_master_follows_the_shared_configuration() {
        let joined = sample::joined(1, &[1]);
        assert_eq!(check(&joined, Some("new")), Check::Satisfied);
        assert!(matches!(check(&joined, Some("old")), Check::Needed(_)));
        assert!(matches!(check(&joined, None), Check::Needed(_)));
        assert_eq!(check(&Report::default(), None), Check::Satisfied);
    }
}
