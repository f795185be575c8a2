//! Files that people write: read with places, judged in one go.
//!
//! A YAML file becomes a [`Tree`] whose every node knows its place; [`Tree::read`] fills serde types from it. A value that
//! does not fit becomes a [`Problem`] and the reading goes on, so that one run names every mistake of a file. Fields that
//! may fail on their own are a [`Field`]; the rules that follow point at their places.
//!
//! *Why not a YAML crate's own serde support:* serde stops at the first error, and `deny_unknown_fields` names one key. The
//! events of the parser underneath carry exact spans; a deserializer over a tree of them is short and can go on.

use std::ops::Range;
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};

mod deserialize;
mod field;
mod report;
mod suggest;
mod tree;

pub use field::{AnyScalar, Entries, Field, Given, Shorthand};
pub use report::{Colour, Severity};
pub use suggest::{did_you_mean, one_of, question};
pub use tree::{Key, Kind, Node, Tree};

/// Where something stands: a range of bytes in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Place {
    /// Everything: what a file's top level lies in.
    pub const EVERYWHERE: Self = Self {
        start: 0,
        end: usize::MAX,
    };

    /// Whether another place lies within this one.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.start <= other.start && other.end <= self.end
    }

    /// The place as a range.
    #[must_use]
    pub fn range(self) -> Range<usize> {
        self.start..self.end
    }
}

/// One mistake: what is wrong, where, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong: a lower-case fragment.
    pub message: String,
    /// Where; `None` when the file as a whole is meant.
    pub place: Option<Place>,
    /// What to write instead.
    pub help: Option<String>,
    /// Another place that explains it, with a word for it (`first here`).
    pub related: Option<(Place, String)>,
    /// Whether the text at the place is a secret, which no report may show.
    pub is_secret: bool,
}

impl Problem {
    /// A mistake at a place.
    pub fn at(place: Place, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            place: Some(place),
            help: None,
            related: None,
            is_secret: false,
        }
    }

    /// A mistake of the file as a whole.
    pub fn whole(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            place: None,
            help: None,
            related: None,
            is_secret: false,
        }
    }

    /// Adds what to write instead.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Hides the text at the place from every report.
    #[must_use]
    pub fn secret(mut self) -> Self {
        self.is_secret = true;
        self
    }

    /// Adds another place that explains it.
    #[must_use]
    pub fn related(mut self, place: Place, label: impl Into<String>) -> Self {
        self.related = Some((place, label.into()));
        self
    }
}

/// The text of a file under the name that messages use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its path as the user gave it.
    pub path: Utf8PathBuf,
    /// Its text.
    pub text: Arc<str>,
}

impl Source {
    /// Reads a file; one that cannot be read or is not UTF-8 is an input error like any other.
    pub fn read(path: &Utf8Path) -> Result<Self, InputErrors> {
        let refuse = |message: String| InputErrors {
            source: Self::new(path, ""),
            problems: vec![Problem::whole(message)],
        };
        let bytes = fs_err::read(path).map_err(|error| refuse(error.to_string()))?;
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Self::new(path, &text)),
            Err(error) => Err(refuse(format!(
                "{path} is not UTF-8: byte {} is no part of a character",
                error.utf8_error().valid_up_to()
            ))),
        }
    }

    /// A text that is at hand already.
    #[must_use]
    pub fn new(path: &Utf8Path, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            text: Arc::from(text),
        }
    }

    /// Puts stars over a place; every other place stays where it is.
    fn hide(&mut self, place: Place) {
        let stars = |(offset, letter): (usize, char)| {
            let is_hidden = place.range().contains(&offset) && letter != '\n';
            if is_hidden {
                "*".repeat(letter.len_utf8())
            } else {
                letter.to_string()
            }
        };
        let text: String = self.text.char_indices().map(stars).collect();
        self.text = Arc::from(text);
    }

    /// Line and column of a byte, both from 1; columns count characters.
    #[must_use]
    pub fn line_and_column(&self, offset: usize) -> (usize, usize) {
        let before = self.text.get(..report::boundary(&self.text, offset));
        let before = before.unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before.get(line_start..).unwrap_or_default().chars().count();
        (before.matches('\n').count() + 1, column + 1)
    }
}

/// Everything that is wrong with one file; exit code 3.
///
/// `Display` is the full report without colour: each mistake with file, line, column, the text under a caret and what to
/// write instead. [`InputErrors::render`] is the same with a choice of colour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputErrors {
    /// The file.
    pub source: Source,
    /// The mistakes, in the order of the file.
    pub problems: Vec<Problem>,
}

impl InputErrors {
    /// Puts the mistakes into the order of the file and hides the secrets in it.
    #[must_use]
    pub fn new(mut source: Source, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| problem.place.map_or(0, |place| place.start));
        for place in problems.iter().filter(|problem| problem.is_secret) {
            source.hide(place.place.unwrap_or_default());
        }
        Self { source, problems }
    }
}

impl std::error::Error for InputErrors {}

/// Something that is allowed but deserves a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The file.
    pub source: Source,
    /// What, where, and what would be better.
    pub problem: Problem,
}

#[cfg(test)]
mod tests;
