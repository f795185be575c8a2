//! What an inventory must fulfil, one small function per rule.
//!
//! [`values`], [`kubernetes`] and [`etcd`] turn one written value into its type or say why not; [`files`] does so for paths;
//! [`hosts`] and [`networks`] judge what only shows when several values are seen together. [`Findings`] collects the
//! [`Problem`]s, so that one run names all.

use crate::input::{Place, Problem};

pub mod etcd;
pub mod files;
pub mod hosts;
pub mod kubernetes;
pub mod networks;
pub mod values;

/// What the rules found.
#[derive(Debug, Default)]
pub struct Findings {
    /// Refused.
    pub problems: Vec<Problem>,
    /// Allowed, with a word.
    pub warnings: Vec<Problem>,
}

impl Findings {
    /// Keeps the problem of a failed rule and hands on the value of a fulfilled one.
    pub fn keep<T>(&mut self, result: Result<T, Problem>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(problem) => {
                self.refuse(problem);
                None
            }
        }
    }

    /// Refuses; the same thing said twice is said once.
    pub fn refuse(&mut self, problem: Problem) {
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// Whether a problem within a place suggests this already.
    pub fn suggest(&self, help: &str, place: Place) -> bool {
        self.problems.iter().any(|problem| {
            problem.help.as_deref() == Some(help)
                && problem.place.is_some_and(|inner| place.contains(inner))
        })
    }

    /// Allows, with a word.
    pub fn warn(&mut self, problem: Problem) {
        self.warnings.push(problem);
    }
}
