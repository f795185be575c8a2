//! `quorate runs`: what earlier runs did, from their journals.

use std::fmt::Write as _;

use serde_json::json;

use crate::engine::event::{Event, Outcome, Record, RunId};
use crate::engine::{EngineError, journal};
use crate::error::Error;
use crate::report::lines::{count, seconds};
use crate::report::table::{table, wrapped};
use crate::report::{Format, print, println};
use crate::text::escape;

/// Letters of a run's id that are shown: its end is random, its beginning a time.
const SHOWN: usize = 12;

/// Lists the runs of a cluster, newest last.
pub fn list(cluster: &str, format: Format) {
    let rows: Vec<Row> = journal::runs(cluster)
        .iter()
        .map(|run| Row::read(cluster, run))
        .collect();
    match format {
        Format::Json => {
            let rows: Vec<_> = rows.iter().map(Row::json).collect();
            println(&json!({ "cluster": cluster, "runs": rows }).to_string());
        }
        Format::Table => {
            let rows = rows.into_iter().map(Row::cells).collect();
            let header = ["run", "started", "operation", "result", "changed"];
            let nothing = || format!("No runs of {cluster} are on this computer");
            println(&table(&header, rows).unwrap_or_else(nothing));
        }
    }
}

/// Shows one run as a time line. `run` may be the end of an id that is unambiguous, or `last`.
pub fn show(cluster: &str, run: &str, format: Format) -> Result<(), Error> {
    let run = find(cluster, run)?;
    let records = journal::read(cluster, &run).map_err(EngineError::from)?;
    match format {
        Format::Json => {
            for record in &records {
                println(&json!(record).to_string());
            }
        }
        Format::Table => print(&time_line(&records)),
    }
    Ok(())
}

struct Row {
    run: String,
    started: String,
    operation: String,
    result: String,
    changed: usize,
}

impl Row {
    fn read(cluster: &str, run: &RunId) -> Self {
        let records = journal::read(cluster, run).unwrap_or_default();
        let mut row = Self {
            run: run.to_string(),
            started: records
                .first()
                .map_or_else(String::new, |record| format!("{:.0}", record.at)),
            operation: String::new(),
            result: "died".to_owned(),
            changed: 0,
        };
        for record in &records {
            match &record.event {
                Event::RunStarted { operation, .. } => row.operation.clone_from(operation),
                Event::TaskFinished {
                    outcome: Outcome::Changed,
                    ..
                } => row.changed += 1,
                Event::RunFinished { result, .. } => {
                    row.result = format!("{result:?}").to_lowercase();
                }
                _ => {}
            }
        }
        row
    }

    fn cells(self) -> Vec<String> {
        let id = self.run.get(self.run.len().saturating_sub(SHOWN)..);
        let id = id.unwrap_or(&self.run).to_owned();
        let changed = self.changed.to_string();
        vec![id, self.started, self.operation, self.result, changed]
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "run": self.run, "started": self.started, "operation": self.operation, "result": self.result,
            "changed": self.changed,
        })
    }
}

fn find(cluster: &str, wanted: &str) -> Result<RunId, Error> {
    let runs = journal::runs(cluster);
    let usage = |message: String| Error::Usage { message };
    if wanted == "last" {
        return runs
            .last()
            .cloned()
            .ok_or_else(|| usage(format!("no runs of {cluster} are on this computer")));
    }
    let matching: Vec<&RunId> = runs
        .iter()
        .filter(|run| run.to_string().ends_with(wanted))
        .collect();
    match matching[..] {
        [run] => Ok(run.clone()),
        [] => Err(usage(format!(
            "no run of {cluster} ends in `{wanted}`; `quorate runs list` shows them"
        ))),
        _ => Err(usage(format!(
            "{} runs of {cluster} end in `{wanted}`: write more of the id",
            matching.len()
        ))),
    }
}

fn time_line(records: &[Record]) -> String {
    let mut text = String::new();
    let Some(first) = records.first() else {
        return text;
    };
    let mut held = 0;
    for record in records {
        let since = record.at.duration_since(first.at).as_millis();
        let at = seconds(u64::try_from(since).unwrap_or_default());
        let Some(line) = line(&record.event) else {
            held += 1;
            continue;
        };
        let _ = writeln!(text, "{}", wrapped(&format!("{at:>9}  "), &escape(&line)));
    }
    let mut last = vec![format!("{} held already", count(held, "task"))];
    for (task, step) in journal::interrupted(records) {
        last.push(format!("{}: `{step}` was interrupted", task.host));
    }
    for line in last {
        let _ = writeln!(text, "{}", wrapped(&" ".repeat(11), &escape(&line)));
    }
    text
}

/// `None`: a task that held already.
fn line(event: &Event) -> Option<String> {
    Some(match event {
        Event::RunStarted {
            operation,
            cluster,
            hosts,
            ..
        } => format!("{operation} {cluster}, {}", count(hosts.len(), "host")),
        Event::Found { host, what } => format!("{host}: found: {what}"),
        Event::PlayStarted { name, .. } => format!("-- {name}"),
        Event::TaskStarted { task, change, .. } => format!("{}: {} …", task.host, change.summary),
        Event::Note { task, line } => format!("{}: {line}", task.host),
        Event::TaskFinished {
            outcome: Outcome::Unchanged,
            ..
        } => return None,
        Event::TaskFinished {
            task,
            step,
            outcome: Outcome::Changed,
            duration_ms,
            ..
        } => {
            format!("{}: {step}: done in {}", task.host, seconds(*duration_ms))
        }
        Event::TaskFinished {
            task,
            step,
            outcome: Outcome::Failed { error, .. },
            ..
        } => {
            format!("{}: {step}: failed: {error}", task.host)
        }
        Event::Interrupted { now } => format!(
            "stopped by the person{}",
            if *now { ", connections cut" } else { "" }
        ),
        Event::RunFinished {
            result,
            duration_ms,
            ..
        } => format!("{result:?} after {}", seconds(*duration_ms)).to_lowercase(),
        Event::Unknown => "something a newer quorate wrote".to_owned(),
    })
}
