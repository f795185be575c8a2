//! The journal: one JSON object per line, on disk before the world changes.
//!
//! An intent log, not a debug log. A task's start is flushed to disk before it is applied; if that fails the engine stops
//! before changing anything. What a crash left half written is the last line, and is ignored on reading.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;

use camino::{Utf8Path, Utf8PathBuf};

use super::event::{Event, FORMAT, Record, RunId, TaskId};
use crate::state;

/// Longest line that is read; a longer one is damage.
const LONGEST_LINE: usize = 8 << 20;

/// What every line says that tells of a task's start.
const STARTED: &str = r#""task-started""#;

/// An open journal.
#[derive(Debug)]
pub struct Journal {
    path: Utf8PathBuf,
    file: File,
}

/// The journal cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[error("failed to {doing} the journal {path}")]
pub struct JournalError {
    /// `write`, `read`, `create`.
    pub doing: &'static str,
    /// File.
    pub path: Utf8PathBuf,
    /// Why.
    #[source]
    pub source: std::io::Error,
}

impl Journal {
    /// Creates the journal of a run: `<cluster dir>/runs/<run>/journal.jsonl`.
    pub fn create(cluster: &str, run: &RunId) -> Result<Self, JournalError> {
        let directory = runs_dir(cluster).join(run.to_string());
        let path = path_of(cluster, run);
        let failed = |source| JournalError {
            doing: "create",
            path: path.clone(),
            source,
        };
        state::make_private_dir(&directory).map_err(failed)?;
        let file = std::fs::OpenOptions::new()
            .create_new(true)
            .append(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        Ok(Self { path, file })
    }

    /// Appends records in one write; they are on disk when this returns if `durable`.
    pub fn append(&mut self, records: &[Record], durable: bool) -> Result<(), JournalError> {
        let failed = |source| JournalError {
            doing: "write",
            path: self.path.clone(),
            source,
        };
        let mut lines = Vec::new();
        for record in records {
            serde_json::to_writer(&mut lines, record).map_err(|error| failed(error.into()))?;
            lines.push(b'\n');
        }
        self.file.write_all(&lines).map_err(failed)?;
        if durable {
            self.file.sync_data().map_err(failed)
        } else {
            Ok(())
        }
    }
}

/// The directory of a cluster's runs.
#[must_use]
pub fn runs_dir(cluster: &str) -> Utf8PathBuf {
    state::cluster_dir(cluster).join("runs")
}

/// The runs of a cluster that left a journal, oldest first.
#[must_use]
pub fn runs(cluster: &str) -> Vec<RunId> {
    let Ok(entries) = std::fs::read_dir(runs_dir(cluster)) else {
        return Vec::new();
    };
    let mut runs: Vec<RunId> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    runs.sort();
    runs
}

/// Reads a run's journal. A damaged line ends the reading: nothing behind it can be trusted.
pub fn read(cluster: &str, run: &RunId) -> Result<Vec<Record>, JournalError> {
    read_file(&path_of(cluster, run))
}

fn path_of(cluster: &str, run: &RunId) -> Utf8PathBuf {
    let directory = runs_dir(cluster).join(run.to_string());
    directory.join("journal.jsonl")
}

/// Reads a journal file.
pub fn read_file(path: &Utf8Path) -> Result<Vec<Record>, JournalError> {
    let failed = |source| JournalError {
        doing: "read",
        path: path.to_owned(),
        source,
    };
    let reader = BufReader::new(File::open(path).map_err(failed)?);
    let mut records = Vec::new();
    for line in reader.lines() {
        let Ok(line) = line else { break };
        let Some(record) = parse(&line) else { break };
        records.push(record);
    }
    Ok(records)
}

fn parse(line: &str) -> Option<Record> {
    if line.len() > LONGEST_LINE {
        return None;
    }
    serde_json::from_str::<Record>(line)
        .ok()
        .filter(|record| record.v <= FORMAT)
}

/// [`interrupted`] of a run; nothing of one whose journal cannot be read. Where no task began, as in nearly all runs, its
/// lines, one for each task of each host, are not parsed.
#[must_use]
pub fn interrupted_in(cluster: &str, run: &RunId) -> Vec<(TaskId, String)> {
    let text = std::fs::read(path_of(cluster, run)).unwrap_or_default();
    if !String::from_utf8_lossy(&text).contains(STARTED) {
        return Vec::new();
    }
    interrupted(&read(cluster, run).unwrap_or_default())
}

/// The tasks that were started and never ended: what a run was doing when it died.
#[must_use]
pub fn interrupted(records: &[Record]) -> Vec<(TaskId, String)> {
    let mut open: Vec<(TaskId, String)> = Vec::new();
    for record in records {
        match &record.event {
            Event::TaskStarted { task, step, .. } => open.push((task.clone(), step.clone())),
            Event::TaskFinished { task, .. } => open.retain(|(started, _)| started != task),
            _ => {}
        }
    }
    open
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::Change;
    use crate::engine::event::Outcome;
    use crate::testing::torture::torture_text;

    fn record(event: Event) -> Record {
        Record {
            v: FORMAT,
            at: jiff::Timestamp::UNIX_EPOCH,
            event,
        }
    }

    fn task() -> TaskId {
        TaskId {
            play: 3,
            step: 1,
            host: "master2".to_owned(),
        }
    }

    fn started() -> Record {
        record(Event::TaskStarted {
            task: task(),
            step: "Join".to_owned(),
            change: Change::new("join"),
        })
    }

    fn finished() -> Record {
        let outcome = Outcome::Changed;
        record(Event::TaskFinished {
            task: task(),
            step: "Join".to_owned(),
            outcome,
            duration_ms: 1,
            waited_ms: 1,
        })
    }

    #[test]
    fn no_line_makes_the_parser_panic() {
        let lines: Vec<String> = [started(), finished()]
            .iter()
            .map(|it| serde_json::to_string(it).expect("serialises"))
            .collect();
        let good: Vec<&str> = lines.iter().map(String::as_str).collect();
        torture_text("journal lines", &good, |line| {
            let _ = parse(line);
        });
    }

    #[test]
    fn a_started_task_without_an_end_was_interrupted() {
        assert_eq!(interrupted(&[started()]), vec![(task(), "Join".to_owned())]);
        let line = serde_json::to_string(&started()).expect("serialises");
        assert!(line.contains(STARTED), "{line}");
        assert!(interrupted(&[started(), finished()]).is_empty());
    }

    #[test]
    fn a_journal_cut_after_any_byte_reads_as_its_whole_records() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path =
            Utf8PathBuf::from_path_buf(directory.path().join("journal.jsonl")).expect("UTF-8");
        let lines: Vec<String> = [started(), finished()]
            .iter()
            .map(|it| serde_json::to_string(it).expect("serialises"))
            .collect();
        let whole = format!("{}\n{}\n", lines.join("\n"), lines.join("\n"));
        for cut in 0..=whole.len() {
            std::fs::write(&path, whole.as_bytes().get(..cut).expect("within")).expect("written");
            let expected = whole
                .get(..cut)
                .expect("ASCII")
                .lines()
                .filter(|line| lines.iter().any(|whole| whole == line))
                .count();
            assert_eq!(
                read_file(&path).expect("readable").len(),
                expected,
                "cut at byte {cut}"
            );
        }
    }
}
