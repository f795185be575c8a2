//! A plan of which nothing is left to do.

use std::time::Duration;

use super::event::{Event, Outcome, RunResult};
use super::{Engine, EngineError, Summary, batches};
use crate::plan::Plan;

impl Engine<'_> {
    /// Tells of a plan whose every task was judged to hold, from what the reader knows. None is judged again: a verdict is a
    /// pure function of the readings, which are the same.
    pub fn tell_held(&self, plan: &Plan) -> Result<Summary, EngineError> {
        for play in &plan.plays {
            self.events.emit(Event::PlayStarted {
                play: play.number,
                name: play.name.clone(),
                tasks: play.tasks(),
            })?;
            for (index, host) in batches(play).into_iter().flatten() {
                let Some(step) = play.steps.get(index) else {
                    continue;
                };
                self.events.emit(Event::TaskFinished {
                    task: play.task(index, host),
                    step: step.name.clone(),
                    outcome: Outcome::Unchanged,
                    duration_ms: 0,
                    waited_ms: 0,
                })?;
            }
        }
        Ok(Summary {
            result: RunResult::Done,
            changed: 0,
            unchanged: plan.tasks(),
            failed: Vec::new(),
            duration: Duration::ZERO,
            own: Duration::ZERO,
        })
    }
}
