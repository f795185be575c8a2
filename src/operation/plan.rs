//! `quorate plan`: what `provision` would change, with a unified diff per file, secrets masked. Changes nothing.

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::json;

use super::forecast::{Pending, Verdict, forecast};
use super::{Session, preflight};
use crate::engine::meter::Meter;
use crate::engine::reader::Reader;
use crate::error::Error;
use crate::report::Format;

/// Reads, judges, prints. `Error::Pending` if `exit_code` asks for it and something would change.
pub async fn plan(session: &Session, exit_code: bool) -> Result<(), Error> {
    let plan = session.plan("provision")?;
    let meter = Arc::new(Meter::default());
    let hosts = session.connect_all(&plan, &meter).await?;
    let reader = Reader::new(&hosts);
    session.read(&plan, &hosts, &reader).await?;
    preflight::refuse(&session.inventory, &reader.fleet())?;
    let pending = forecast(session, &plan, &reader.fleet())?;
    match session.settings.format {
        Format::Json => crate::report::println(&format!(
            "{}",
            json!({ "plan": plan.digest, "tasks": plan.tasks(), "pending": pending })
        )),
        Format::Table => crate::report::print(&text(&pending, plan.tasks())),
    }
    if exit_code && !pending.is_empty() {
        Err(Error::Pending)
    } else {
        Ok(())
    }
}

/// The plan for people: in order, by play, a line per change and its diff.
fn text(pending: &[Pending], tasks: usize) -> String {
    if pending.is_empty() {
        return format!("Nothing to change: all {tasks} tasks hold\n");
    }
    let mut text = String::new();
    let mut play = "";
    for task in pending {
        if task.play != play {
            play = &task.play;
            let _ = writeln!(text, "\n{play}");
        }
        write_task(&mut text, task);
    }
    let hosts: std::collections::BTreeSet<&str> =
        pending.iter().map(|task| task.task.host.as_str()).collect();
    let _ = writeln!(
        text,
        "\n{} of {tasks} tasks would change {} hosts",
        pending.len(),
        hosts.len()
    );
    text
}

fn write_task(text: &mut String, task: &Pending) {
    match &task.verdict {
        Verdict::Unknown { until } => {
            let _ = writeln!(
                text,
                "  ? {}: {}: known when {until}",
                task.task.host, task.step
            );
        }
        Verdict::Change(change) => {
            let _ = writeln!(text, "  ~ {}: {}", task.task.host, change.summary);
            for found in &change.found {
                let _ = writeln!(text, "      found: {found}");
            }
            for line in change.diff.iter().flat_map(|diff| diff.lines()) {
                let _ = writeln!(text, "      {}", crate::text::escape(line));
            }
        }
    }
}
