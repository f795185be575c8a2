//! Events: what happened, as types. The journal is the first listener, the screen the last. Imports nothing of quorate but
//! [`Change`].

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::action::Change;

/// Format version of a journal line.
pub const FORMAT: u32 = 1;

/// A run's id: a UUID v7, so that ids sort by time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(String);

impl RunId {
    /// A new id for a run that starts now.
    #[must_use]
    pub fn new() -> Self {
        Self(uuid::Uuid::now_v7().simple().to_string())
    }
}

impl Default for RunId {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RunId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        uuid::Uuid::try_parse(text).map(|id| Self(id.simple().to_string()))
    }
}

/// A task's place in its plan and its host: `3.2@master1` is the second step of the third play.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskId {
    /// Play, from 1.
    pub play: usize,
    /// Step in the play, from 1.
    pub step: usize,
    /// Host name.
    pub host: String,
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}@{}", self.play, self.step, self.host)
    }
}

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Format version.
    pub v: u32,
    /// When.
    pub at: Timestamp,
    /// What.
    pub event: Event,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    rename_all = "kebab-case",
    tag = "kind",
    rename_all_fields = "kebab-case"
)]
pub enum Event {
    /// The first event of a run.
    RunStarted {
        /// Its id.
        run: RunId,
        /// `provision`.
        operation: String,
        /// Cluster name.
        cluster: String,
        /// Hosts that take part.
        hosts: Vec<String>,
        /// Digest of the plan.
        plan: String,
        /// Tasks in the plan.
        tasks: usize,
    },
    /// Something half done or strange was found.
    Found {
        /// Host.
        host: String,
        /// What, one line.
        what: String,
    },
    /// A play begins.
    PlayStarted {
        /// Its number, from 1.
        play: usize,
        /// Its name.
        name: String,
        /// Tasks in it.
        tasks: usize,
    },
    /// A change is about to be made; on disk before it is.
    TaskStarted {
        /// The task.
        task: TaskId,
        /// The step's name.
        step: String,
        /// What will change.
        change: Change,
    },
    /// A line of progress.
    Note {
        /// The task.
        task: TaskId,
        /// One line.
        line: String,
    },
    /// A task has ended.
    TaskFinished {
        /// The task.
        task: TaskId,
        /// The step's name.
        step: String,
        /// How.
        outcome: Outcome,
        /// How long it took.
        duration_ms: u64,
        /// Of that, how long a remote call was awaited.
        waited_ms: u64,
    },
    /// The person asked to stop.
    Interrupted {
        /// Whether connections are cut at once (second Ctrl-C).
        now: bool,
    },
    /// The last event of a run.
    RunFinished {
        /// How.
        result: RunResult,
        /// Tasks that changed something.
        changed: usize,
        /// Tasks that held already.
        unchanged: usize,
        /// Tasks that failed.
        failed: usize,
        /// Wall time of the run.
        duration_ms: u64,
        /// Of that, the time during which no host was waited for: quorate's own share.
        own_ms: u64,
    },
    /// Written by a newer quorate.
    #[serde(other)]
    Unknown,
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It held already.
    Unchanged,
    /// It was changed and proved.
    Changed,
    /// It failed.
    Failed {
        /// The error and its causes, one line.
        error: String,
        /// What the host said, last lines.
        output: Option<String>,
        /// What to do.
        help: Option<String>,
    },
}

impl Outcome {
    /// In one word, as it is written.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::Changed => "changed",
            Self::Failed { .. } => "failed",
        }
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunResult {
    /// Everything holds.
    #[default]
    Done,
    /// A task failed.
    Failed,
    /// The person stopped it.
    Interrupted,
}
