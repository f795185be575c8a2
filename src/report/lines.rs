//! Plain lines: what a log or a cron mail shall hold.

use std::collections::BTreeMap;

use crate::engine::event::{Event, Outcome, Record, TaskId};
use crate::engine::events::Listener;

/// Prints a line per change, none for what held already.
#[derive(Default)]
pub struct Lines {
    summaries: BTreeMap<TaskId, String>,
}

impl Listener for Lines {
    fn on(&mut self, record: &Record) {
        if let Event::TaskStarted { task, change, .. } = &record.event {
            self.summaries.insert(task.clone(), change.summary.clone());
        }
        for line in text(&record.event, &self.summaries) {
            super::eprintln(&line);
        }
    }
}

/// The lines that tell of an event; none if it is not worth one.
#[must_use]
pub fn text(event: &Event, summaries: &BTreeMap<TaskId, String>) -> Vec<String> {
    match event {
        Event::RunStarted {
            run,
            operation,
            cluster,
            hosts,
            ..
        } => {
            vec![format!(
                "{operation} {cluster}: run {run}, {}",
                count(hosts.len(), "host")
            )]
        }
        Event::Found { host, what } => vec![format!("{host}: found: {what}")],
        Event::TaskStarted { task, change, .. } => {
            vec![format!("{}: {} …", task.host, change.summary)]
        }
        Event::Note { task, line } => vec![format!("{}: {line}", task.host)],
        Event::TaskFinished {
            task,
            step,
            outcome,
            duration_ms,
            ..
        } => finished(task, step, outcome, *duration_ms, summaries),
        Event::Interrupted { now: false } => {
            vec!["stopping after what is under way; once more cuts the connections".to_owned()]
        }
        Event::Interrupted { now: true } => vec!["connections cut".to_owned()],
        Event::PlayStarted { .. } | Event::RunFinished { .. } | Event::Unknown => Vec::new(),
    }
}

fn finished(
    task: &TaskId,
    step: &str,
    outcome: &Outcome,
    duration_ms: u64,
    summaries: &BTreeMap<TaskId, String>,
) -> Vec<String> {
    match outcome {
        Outcome::Unchanged => Vec::new(),
        Outcome::Changed => {
            let what = summaries.get(task).map_or(step, String::as_str);
            vec![format!(
                "{}: {what}: done in {}",
                task.host,
                seconds(duration_ms)
            )]
        }
        Outcome::Failed {
            error,
            output,
            help,
        } => {
            let mut lines = vec![format!("{}: {step}: failed: {error}", task.host)];
            lines.extend(
                output
                    .iter()
                    .flat_map(|text| text.lines().map(|line| format!("  | {line}"))),
            );
            lines.extend(help.iter().map(|help| format!("  help: {help}")));
            lines
        }
    }
}

/// `1 host`, `3 hosts`.
#[must_use]
pub fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

/// `12.3 s`.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "a duration for people")]
pub fn seconds(ms: u64) -> String {
    format!("{:.1} s", ms as f64 / 1000.0)
}
