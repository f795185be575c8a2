//! What a plan would change, judged from readings alone: the same checks as the run, made once in order.

use std::collections::HashMap;

use serde::Serialize;

use super::Session;
use crate::action::{Action as _, Change, Check, Fleet};
use crate::engine::event::TaskId;
use crate::error::Error;
use crate::inventory::Node;
use crate::plan::Plan;

/// One task that would not leave its host as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct Pending {
    /// The task.
    pub task: TaskId,
    /// Play.
    pub play: String,
    /// Step.
    pub step: String,
    /// What would happen.
    pub verdict: Verdict,
}

impl Pending {
    /// What would happen, one line.
    #[must_use]
    pub fn summary(&self) -> &str {
        match &self.verdict {
            Verdict::Change(change) => &change.summary,
            Verdict::Unknown { .. } => &self.step,
        }
    }
}

/// What would happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// This change.
    Change(Change),
    /// Not to be known before something else has happened.
    Unknown {
        /// What.
        until: String,
    },
}

/// Judges every task in order; changes foreseen for a host are taken into account by its later tasks.
pub fn forecast(session: &Session, plan: &Plan, fleet: &Fleet) -> Result<Vec<Pending>, Error> {
    let mut fleet = fleet.clone();
    let nodes = session.inventory.nodes.iter();
    let nodes: HashMap<&str, &Node> = nodes.map(|node| (node.name.as_str(), node)).collect();
    let mut pending = Vec::new();
    for play in &plan.plays {
        for (index, step) in play.steps.iter().enumerate() {
            let hosts = play.hosts.iter();
            for node in hosts.filter_map(|name| nodes.get(name.as_str()).copied()) {
                let check = step.action.check(&session.context(node, &fleet));
                let check = check.map_err(|source| Error::Judge {
                    step: step.name.clone(),
                    host: node.name.clone(),
                    source,
                })?;
                let verdict = match check {
                    Check::Satisfied => continue,
                    Check::Needed(change) => {
                        fleet.foresee(&node.name, &change.touches);
                        Verdict::Change(change)
                    }
                    Check::Unknown { until } => Verdict::Unknown { until },
                };
                pending.push(Pending {
                    task: play.task(index, &node.name),
                    play: play.name.clone(),
                    step: step.name.clone(),
                    verdict,
                });
            }
        }
    }
    Ok(pending)
}
