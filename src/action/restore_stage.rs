//! `restore-stage`: brings a host one stage further in a restore that `quorate restore` has begun on it.
//!
//! How far it is stands on the host itself, see [`restore`], so a run that was interrupted is simply walked again.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::job::{self, Work};
use super::{Action, ActionError, Change, Check, Context, Effect};
use crate::cluster::restore::{self, Part, Progress, Runner, Stage};
use crate::host::probe::Probe;

/// How long a stage may take: restoring some gigabytes on a slow disk.
const DEADLINE: Duration = Duration::from_secs(30 * 60);

/// Reaches a stage.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RestoreStage {
    /// The stage.
    pub reach: Stage,
}

impl Action for RestoreStage {
    fn probes(&self, _cx: &Context<'_>) -> Vec<Probe> {
        vec![Probe::Script(restore::state_script())]
    }

    fn check(&self, cx: &Context<'_>) -> Result<Check, ActionError> {
        let reading = cx.facts().script(&restore::state_script())?;
        let progress = Progress::parse(&reading.stdout);
        let name = &cx.node.name;
        let Some(settings) = &progress.settings else {
            return Err(ActionError::Unsafe {
                why: format!("no restore was begun on {name}"),
                help: "begin one with `quorate restore ID`".to_owned(),
            });
        };
        if progress.is_aborting {
            return Err(ActionError::Unsafe {
                why: format!(
                    "the restore of {} on {name} is being taken back",
                    settings.id
                ),
                help: "finish that first: `quorate restore --abort`".to_owned(),
            });
        }
        if progress.is_past(self.reach) {
            return Ok(Check::Satisfied);
        }
        let what = match self.reach {
            Stage::Stopped => {
                let mut what = Vec::new();
                if settings.has_control_plane {
                    what.push("stop the control plane's static pods, their manifests aside");
                }
                if settings.runner == Runner::Systemd && settings.part != Part::Client {
                    what.push("stop etcd, so that no boot starts it either");
                }
                what.join(" and ")
            }
            Stage::Aside => format!(
                "move etcd's data aside to {}/quorate-old-{}",
                settings.data, settings.token
            ),
            Stage::Restored => format!("restore {} as etcd member {}", settings.id, settings.name),
            Stage::Etcd => "start etcd on the restored data".to_owned(),
            Stage::Apiserver => "start the apiserver".to_owned(),
            Stage::Finished if settings.has_control_plane => {
                "start the controllers and restart kubelet".to_owned()
            }
            Stage::Finished => "end the restore".to_owned(),
        };
        Ok(Check::Needed(Change::new(what)))
    }

    async fn apply(&self, effect: &Effect<'_>, _change: &Change) -> Result<(), ActionError> {
        let work = Work {
            what: "restoring",
            script: restore::stage_script(self.reach, Runner::of(&effect.cx.inventory.etcd)),
            files: Vec::new(),
            deadline: DEADLINE,
        };
        job::run(effect, work).await.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::command::Status;
    use crate::host::probe::{Readings, ScriptReading};
    use crate::testing::World;

    const SETTINGS: &str = "set id x\nset token t\nset role member\nset name master1\nset address 10.1.1.101\n\
                            set peer-url u\nset initial-cluster c\nset sha256 s\n";

    fn check(said: &str, reach: Stage) -> Result<Check, ActionError> {
        let mut readings = Readings::default();
        let reading = ScriptReading {
            status: Status::Code(0),
            stdout: said.to_owned(),
        };
        readings.scripts.insert(restore::state_script(), reading);
        let sample = World::new("master1").reading(readings);
        RestoreStage { reach }.check(&sample.cx())
    }

    #[test]
    fn a_stage_that_is_reached_is_left_alone_and_the_next_is_needed() {
        let said = format!("{SETTINGS}mark stopped\nmark aside\n");
        assert_eq!(
            check(&said, Stage::Aside).expect("judged"),
            Check::Satisfied
        );
        assert!(matches!(
            check(&said, Stage::Restored),
            Ok(Check::Needed(_))
        ));
    }

    #[test]
    fn nothing_is_touched_where_no_restore_was_begun_or_it_is_taken_back() {
        let aborting = format!("{SETTINGS}mark stopped\nmark abort\n");
        for said in ["", "mark stopped\n", &aborting] {
            for reach in Stage::ALL {
                let verdict = check(said, reach);
                assert!(
                    matches!(verdict, Err(ActionError::Unsafe { .. })),
                    "{said}: {verdict:?}"
                );
            }
        }
    }
}
