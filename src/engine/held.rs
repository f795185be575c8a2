//! A plan of which nothing is left to do.

use super::event::{Event, Outcome};
use super::{Engine, EngineError, Summary, batches};
use crate::plan::Plan;

impl Engine<'_> {
    /// Tells of a plan whose every task was judged to hold, from what the reader knows. None is judged again: a verdict is a
    /// pure function of the readings, which are the same.
    pub fn tell_held(&self, plan: &Plan) -> Result<Summary, EngineError> {
        for play in &plan.plays {
            self.tell_play(play)?;
            let tasks = batches(play).into_iter().flatten();
            self.events.emit_all(tasks.filter_map(|(index, host)| {
                Some(Event::TaskFinished {
                    task: play.task(index, host),
                    step: play.steps.get(index)?.name.clone(),
                    outcome: Outcome::Unchanged,
                    duration_ms: 0,
                    waited_ms: 0,
                })
            }))?;
        }
        Ok(Summary {
            unchanged: plan.tasks(),
            ..Summary::default()
        })
    }
}
