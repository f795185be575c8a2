//! What an inventory must fulfil, one small function per rule.
//!
//! [`values`] turns one written value into its type or says why not; [`files`] does so for paths; [`whole`] judges what
//! only shows when several values are seen together. A rule returns its [`Problem`]; [`Findings`] collects them, so
//! that one run names all.

use crate::input::Problem;

pub mod files;
pub mod kubernetes;
pub mod values;
pub mod whole;

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

    /// Allows, with a word.
    pub fn warn(&mut self, problem: Problem) {
        self.warnings.push(problem);
    }
}
