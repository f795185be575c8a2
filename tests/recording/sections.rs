//! A recording in sections: what can be compared, though hosts answer in another order every time.
//!
//! Hosts of one step are worked on side by side, so only this is the same in every run: which step follows which, what one
//! host was asked to do in a step and in which order, and what it answered to each question in the end.

use std::collections::{BTreeMap, BTreeSet};

use quorate::engine::recording::Entry;
use serde_json::Value;

/// Everything between the end of one step and the end of the next.
#[derive(Debug, Default)]
pub struct Section {
    /// `2 provision 5.1`: the run, its operation, play and step; and the host, in a rolling play.
    pub label: String,
    /// What the tasks of the step came to: `changed: found the cluster`, by task.
    pub tasks: BTreeMap<String, String>,
    /// By host.
    pub visits: BTreeMap<String, Visit>,
}

/// What one host was asked in a section.
#[derive(Debug, Default)]
pub struct Visit {
    /// What it was to do, in order, with its answers. What is asked again and again until it is so is one, with the last answer.
    pub calls: Vec<(String, Value)>,
    /// The questions that it was asked.
    pub questions: BTreeSet<String>,
    /// Its last answer to each question that it was asked until the section ended. Whether a host is asked again depends on
    /// which of the hosts that were worked on side by side ended last; who did not ask again believed the answer before.
    pub readings: BTreeMap<String, Value>,
}

/// Cuts a recording into sections. `is_rolling` tells whether a play has one host at a time.
pub fn sections(entries: &[Entry], is_rolling: &dyn Fn(&str, usize) -> bool) -> Vec<Section> {
    let labels = labels(entries, is_rolling);
    let mut sections: Vec<Section> = Vec::new();
    let mut changes: BTreeMap<&str, &str> = BTreeMap::new();
    for (entry, label) in entries.iter().zip(labels) {
        if sections.last().is_none_or(|last| last.label != label) {
            sections.push(Section {
                label,
                ..Section::default()
            });
        }
        let section = sections.last_mut().expect("there is one");
        match entry {
            Entry::Probe { host, answers } => {
                let visit = section.visits.entry(host.clone()).or_default();
                visit.questions.extend(answers.keys().cloned());
                visit.readings.extend(answers.clone());
            }
            Entry::Call {
                host,
                asked,
                answer,
            } => {
                let visit = section.visits.entry(host.clone()).or_default();
                if visit.calls.last().is_some_and(|(last, _)| last == asked) {
                    visit.calls.pop();
                }
                visit.calls.push((asked.clone(), answer.clone()));
            }
            Entry::Run { .. } => {}
            Entry::Began { task, change } => {
                // Where the operator keeps it is the operator's affair.
                let change = change.split(" into /").next().unwrap_or_default();
                changes.insert(task, change);
            }
            Entry::Ended { task, outcome, .. } => {
                let change = changes.remove(task.as_str()).unwrap_or_default();
                let came_to = format!("{outcome}: {change}");
                section.tasks.insert(task.clone(), came_to);
            }
        }
    }
    carry_forward(&mut sections);
    sections
}

/// Gives every section the answers of earlier ones, where a host was not asked again.
fn carry_forward(sections: &mut [Section]) {
    let mut known: BTreeMap<String, BTreeMap<String, Value>> = BTreeMap::new();
    for section in sections {
        for (host, visit) in &section.visits {
            let known = known.entry(host.clone()).or_default();
            known.extend(visit.readings.clone());
        }
        for (host, known) in &known {
            let visit = section.visits.entry(host.clone()).or_default();
            visit.readings.clone_from(known);
        }
    }
}

/// The section of each entry: that of the next step to end.
fn labels(entries: &[Entry], is_rolling: &dyn Fn(&str, usize) -> bool) -> Vec<String> {
    let mut run = 0;
    let mut operation = "";
    let mut places: Vec<(usize, &str)> = Vec::new();
    for entry in entries {
        if let Entry::Run { operation: begun } = entry {
            run += 1;
            operation = begun;
        }
        places.push((run, operation));
    }
    let mut label = "in the end".to_owned();
    let mut labels: Vec<String> = Vec::new();
    for (entry, (run, operation)) in entries.iter().zip(places).rev() {
        match entry {
            Entry::Ended { task, .. } => {
                label = format!(
                    "{run} {operation} {}",
                    step(task, &|play| is_rolling(operation, play))
                );
            }
            Entry::Run { .. } => {
                labels.push(label);
                label = format!("before {run} {operation}");
                continue;
            }
            _ => {}
        }
        labels.push(label.clone());
    }
    labels.reverse();
    labels
}

/// `5.1` of `5.1@master1`, or all of it.
fn step(task: &str, is_rolling: &dyn Fn(usize) -> bool) -> String {
    let play = task.split('.').next().and_then(|play| play.parse().ok());
    let step = task.split('@').next().unwrap_or_default();
    if play.is_some_and(is_rolling) {
        task
    } else {
        step
    }
    .to_owned()
}
