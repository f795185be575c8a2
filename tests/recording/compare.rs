//! What differs between two recordings.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

use super::sections::{Section, Visit};
use super::shape;

/// One difference.
#[derive(Debug)]
pub struct Difference {
    /// `provision | 1 provision 5.1@master1 | master1 | unit kubelet /active`.
    place: String,
    real: String,
    simulated: String,
}

impl Difference {
    /// Whether its place is as a pattern has it, in which `*` stands for anything.
    pub fn matches(&self, pattern: &str) -> bool {
        is_like(&self.place, pattern)
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            place,
            real,
            simulated,
        } = self;
        write!(
            f,
            "{place}\n    recorded:  {real}\n    simulated: {simulated}"
        )
    }
}

fn is_like(text: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let mut last = None;
    for part in parts {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
        last = Some(part);
    }
    rest.is_empty() || last.is_some_and(|last| last.is_empty() || text.ends_with(last))
}

/// Everything that differs between a real recording and a simulated one of an operation.
pub fn all(operation: &str, real: &[Section], simulated: &[Section]) -> Vec<Difference> {
    let mut found = Found(Vec::new());
    let labels = |sections: &[Section]| {
        let labels: Vec<Value> = sections.iter().map(|it| it.label.clone().into()).collect();
        Value::from(labels)
    };
    found.unless_equal(
        format!("{operation} | steps"),
        &labels(real),
        &labels(simulated),
    );
    for real in real {
        let same = simulated.iter().find(|it| it.label == real.label);
        if let Some(simulated) = same {
            found.section(&format!("{operation} | {}", real.label), real, simulated);
        }
    }
    found.0
}

struct Found(Vec<Difference>);

impl Found {
    fn section(&mut self, place: &str, real: &Section, simulated: &Section) {
        let tasks: BTreeSet<&String> = real.tasks.keys().chain(simulated.tasks.keys()).collect();
        for task in tasks {
            let came_to = |section: &Section| section.tasks.get(task).cloned().into();
            self.unless_equal(
                format!("{place} | task {task}"),
                &came_to(real),
                &came_to(simulated),
            );
        }
        let hosts: BTreeSet<&String> = real.visits.keys().chain(simulated.visits.keys()).collect();
        for host in hosts {
            let none = Visit::default();
            let real = real.visits.get(host).unwrap_or(&none);
            let simulated = simulated.visits.get(host).unwrap_or(&none);
            self.visit(&format!("{place} | {host}"), real, simulated);
        }
    }

    fn visit(&mut self, place: &str, real: &Visit, simulated: &Visit) {
        let asked = |visit: &Visit| {
            Value::from(
                visit
                    .calls
                    .iter()
                    .map(|(asked, _)| shape::asked(asked))
                    .collect::<Vec<_>>(),
            )
        };
        let (was, is) = (asked(real), asked(simulated));
        if was == is {
            for ((asked, real), (_, simulated)) in real.calls.iter().zip(&simulated.calls) {
                let (real, simulated) = (shape::call(asked, real), shape::call(asked, simulated));
                self.unless_equal(format!("{place} | {asked} "), &real, &simulated);
            }
        } else {
            self.unless_equal(format!("{place} | calls"), &was, &is);
        }
        for question in real.questions.union(&simulated.questions) {
            let shape = |visit: &Visit| match visit.readings.get(question) {
                Some(answer) => shape::reading(question, answer),
                None => Value::from("was never asked"),
            };
            let place = format!("{place} | {question} ");
            self.unless_equal(place, &shape(real), &shape(simulated));
        }
    }

    /// Notes where two values differ, field by field.
    fn unless_equal(&mut self, place: String, real: &Value, simulated: &Value) {
        if let (Value::Object(real), Value::Object(simulated)) = (real, simulated) {
            let keys: BTreeSet<&String> = real.keys().chain(simulated.keys()).collect();
            for key in keys {
                let field = |fields: &serde_json::Map<String, Value>| {
                    fields.get(key).cloned().unwrap_or(Value::from("(none)"))
                };
                self.unless_equal(format!("{place}/{key}"), &field(real), &field(simulated));
            }
        } else if real != simulated {
            self.0.push(Difference {
                place,
                real: real.to_string(),
                simulated: simulated.to_string(),
            });
        }
    }
}
