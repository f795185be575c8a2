//! What a rehearsal tells people.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::operation::Operation;
use super::stage::{End, Run};
use super::trial::Outcome;
use crate::action::Change;
use crate::engine::event::{Event, Record, TaskId};
use crate::host::simulated::faults::Fault;
use crate::host::simulated::world::{BEGINNING, World};
use crate::operation::Session;
use crate::report::lines::{count, seconds};
use crate::report::table::wrapped;
use crate::text::escape;

/// What was looked at between any two calls, and at the end.
const PROMISES: &str = "one etcd cluster with one CA; never a second member disturbed, never below quorum by our doing; one \
    holder of the virtual IP, and always one while a load balancer lives; never two masters out of the load balancers; \
    nobody else's cordon undone; every file old or new, never half; no job done twice; no secret in an argument, an \
    answer, an event or a journal; no lock, learner or half-done host left; then nothing is left to do, and finding that \
    out costs no more calls than without a fault";

/// One case, whole.
pub(super) fn case(
    session: &Session,
    operation: &Operation,
    outcome: &Outcome,
    world: &World,
) -> String {
    let hosts = count(session.inventory.nodes.len(), "host");
    let name = &session.inventory.name;
    let mut text = format!(
        "{} {name} on {hosts}, simulated: no real host is touched\n",
        operation.name
    );
    for (number, run) in outcome.runs.iter().enumerate() {
        if outcome.runs.len() > 1 {
            let _ = writeln!(text, "\nRun {}", number + 1);
        }
        let mut lines = time_line(run);
        lines.extend(strikes(world, run));
        lines.sort_by_key(|(at, _)| *at);
        for (at, line) in lines {
            let at = seconds(u64::try_from(at.as_millis()).unwrap_or_default());
            let _ = writeln!(text, "{}", wrapped(&format!("{at:>9}  "), &escape(&line)));
        }
        let _ = writeln!(text, "{}", wrapped("           ", &escape(&end(&run.end))));
    }
    text.push('\n');
    for fault in &outcome.unmet {
        let _ = writeln!(text, "Never met: {fault}");
    }
    text.push_str(&verdict(outcome));
    text
}

fn verdict(outcome: &Outcome) -> String {
    let Some(why) = &outcome.broken else {
        let runs = match outcome.runs.len() {
            1 => "Converged in one run".to_owned(),
            runs => format!("Converged after {runs} runs of the same command"),
        };
        return format!("{runs}. All held: {PROMISES}\n")
            .lines()
            .map(|line| wrapped("", line) + "\n")
            .collect();
    };
    wrapped("BROKEN: ", &escape(why)) + "\n"
}

/// Many cases: only what broke.
pub(super) fn cases(
    session: &Session,
    operation: &Operation,
    tried: usize,
    took: f64,
    broken: &[Outcome],
) -> String {
    let name = operation.name;
    let mut text = format!(
        "{name} {}: {} rehearsed in {took:.1} s, {} broke a promise\n",
        session.inventory.name,
        count(tried, "case"),
        broken.len()
    );
    if broken.is_empty() {
        text.push_str(&wrapped("All held: ", PROMISES));
        text.push('\n');
    }
    for outcome in broken {
        let _ = writeln!(text, "\n{}", replay(session, operation, &outcome.faults));
        text.push_str(&verdict(outcome));
    }
    text
}

/// The command that shows a case.
#[must_use]
pub(super) fn replay(session: &Session, operation: &Operation, faults: &[Fault]) -> String {
    let (inventory, name) = (&session.settings.inventory, operation.name);
    let start = format!("quorate rehearse {name} -i {inventory}");
    faults
        .iter()
        .fold(start, |line, fault| format!("{line} --fault '{fault}'"))
}

/// How a run ended.
pub(super) fn end(end: &End) -> String {
    match end {
        End::Done {
            changed: 0,
            unchanged,
        } => format!("nothing to change: all {} hold", count(*unchanged, "task")),
        End::Done { changed, unchanged } => format!("{changed} changed, {unchanged} held already"),
        End::Failed { why, .. } => format!("ended: {why}"),
        End::Died => "ended: the operator's process died".to_owned(),
    }
}

/// What went wrong in a run, and when.
fn strikes(world: &World, run: &Run) -> Vec<(Duration, String)> {
    let strike = |(at, number, fault): &(u64, usize, Fault)| {
        let call = world.calls.get(*number)?;
        let at = Duration::from_micros(at.saturating_sub(BEGINNING));
        let line = format!(
            "!! {} (call {number}: `{}` on {})",
            fault.what, call.what, call.host
        );
        run.calls.contains(number).then_some((at, line))
    };
    world.struck.iter().filter_map(strike).collect()
}

/// What changed, in order; hosts that make the same change side by side are on one line.
fn time_line(run: &Run) -> Vec<(Duration, String)> {
    let mut lines: Vec<(Duration, String)> = Vec::new();
    let mut together: BTreeMap<String, usize> = BTreeMap::new();
    let mut step = (0, 0);
    let mut play = None;
    for (at, record) in &run.heard {
        let line = match &record.event {
            Event::PlayStarted {
                play: number, name, ..
            } => {
                play = Some(format!("{number}. {name}"));
                continue;
            }
            Event::Found { host, what } => format!("{host}: found: {what}"),
            Event::TaskStarted { task, change, .. } => {
                if let Some(name) = play.take() {
                    lines.push((*at, name));
                }
                if step != (task.play, task.step) {
                    step = (task.play, task.step);
                    together.clear();
                }
                let known = together.get(&change.summary);
                if let Some(line) = known.and_then(|index| lines.get_mut(*index)) {
                    line.1 = joined(&line.1, &task.host);
                    continue;
                }
                together.insert(change.summary.clone(), lines.len());
                started(task, change)
            }
            _ => match failed(record) {
                Some(line) => line,
                None => continue,
            },
        };
        lines.push((*at, line));
    }
    lines
}

fn started(task: &TaskId, change: &Change) -> String {
    let TaskId { play, step, host } = task;
    let line = format!("{play}.{step} {host}: {}", change.summary);
    match &change.no_way_back {
        Some(why) => format!("{line} [NO WAY BACK: {why}]"),
        None => line,
    }
}

/// The same line with one more host.
fn joined(line: &str, host: &str) -> String {
    match line.split_once(": ") {
        Some((hosts, rest)) => format!("{hosts}, {host}: {rest}"),
        None => line.to_owned(),
    }
}

fn failed(record: &Record) -> Option<String> {
    let Event::TaskFinished {
        task,
        outcome: crate::engine::event::Outcome::Failed { error, .. },
        ..
    } = &record.event
    else {
        return None;
    };
    Some(format!("{}: failed: {error}", task.host))
}
