//! A transport that writes down: what every remote call asked and what the host answered, and which task began and ended.
//!
//! The simulated hosts are held to it: a test compares what the lab's real hosts answered with what simulated ones do. It is
//! switched on by the environment variable [`VARIABLE`] alone and is of no use beside that test.
//!
//! Nothing secret is written. What goes to standard input, into a job's files or into a file that is not everybody's is left
//! out; an answer that holds keys by design is left out; and in every other answer the words of those, keys in PEM and
//! bootstrap tokens are masked, see [`mask`](super::mask).

use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::event::{Event, Record};
use super::events::Listener;
use super::mask::Mask;
use super::recording::{self, Entry, is_everybodys};
use crate::engine::chain;
use crate::host::command::{Command, Output};
use crate::host::error::HostError;
use crate::host::file::RemoteFile;
use crate::host::job::{Job, JobOutput};
use crate::host::probe::{Probe, Readings};
use crate::host::transport::{LockGuard, Transport};
use crate::host::{Host, Hosts};

/// Names the file to which every remote call of this process is appended, one line of JSON each.
pub const VARIABLE: &str = "QUORATE_RECORD";

/// Where entries go, and what must not be in them.
#[derive(Clone, Default)]
pub struct Recorder(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    entries: Vec<Entry>,
    file: Option<std::fs::File>,
    mask: Mask,
}

impl Recorder {
    /// The one that the environment asks for, if it does.
    pub fn from_environment() -> std::io::Result<Option<Self>> {
        let Some(path) = std::env::var_os(VARIABLE) else {
            return Ok(None);
        };
        let mut options = fs_err::OpenOptions::new();
        let file = options.create(true).append(true).open(path)?;
        let recorder = Self::default();
        recorder.with(|state| state.file = Some(file.into()));
        Ok(Some(recorder))
    }

    /// Wraps the transports of `hosts`.
    #[must_use]
    pub fn wrap(&self, hosts: &Hosts) -> Hosts {
        let recorded = |host: &Host| Host {
            node: Arc::clone(&host.node),
            transport: Arc::new(Recorded {
                inner: Arc::clone(&host.transport),
                host: host.node.name.clone(),
                recorder: self.clone(),
            }),
        };
        Hosts::new(hosts.iter().map(recorded).collect())
    }

    /// Everything so far, unless it went into a file; the next entry is the first.
    #[must_use]
    pub fn take(&self) -> Vec<Entry> {
        self.with(|state| std::mem::take(&mut state.entries))
    }

    fn write(&self, entry: Entry) {
        self.with(|state| match &mut state.file {
            // What cannot be written is missed by the test that reads it.
            Some(file) => {
                let line = serde_json::to_string(&entry).unwrap_or_default();
                let _ = writeln!(file, "{line}");
            }
            None => state.entries.push(entry),
        });
    }

    fn learn(&self, secret: &[u8]) {
        self.with(|state| state.mask.learn(&String::from_utf8_lossy(secret)));
    }

    fn masked(&self, bytes: impl AsRef<[u8]>) -> String {
        self.with(|state| state.mask.masked(&String::from_utf8_lossy(bytes.as_ref())))
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Listener for Recorder {
    fn on(&mut self, record: &Record) {
        let entry = match &record.event {
            Event::RunStarted { operation, .. } => Entry::Run {
                operation: operation.clone(),
            },
            Event::TaskStarted { task, change, .. } => Entry::Began {
                task: task.to_string(),
                change: self.masked(&change.summary),
            },
            Event::TaskFinished {
                task,
                step,
                outcome,
                ..
            } => Entry::Ended {
                task: task.to_string(),
                step: step.clone(),
                outcome: outcome.name().to_owned(),
            },
            _ => return,
        };
        self.write(entry);
    }
}

struct Recorded {
    inner: Arc<dyn Transport>,
    host: String,
    recorder: Recorder,
}

impl Recorded {
    fn note(&self, asked: String, answer: Value) {
        self.recorder.write(Entry::Call {
            host: self.host.clone(),
            asked,
            answer,
        });
    }

    /// Waits for a call and notes what came back, as `said` puts it.
    async fn noted<T>(
        &self,
        asked: String,
        call: BoxFuture<'_, Result<T, HostError>>,
        said: impl FnOnce(&T) -> Value + Send,
    ) -> Result<T, HostError> {
        let answer = call.await;
        let noted = match &answer {
            Ok(answer) => said(answer),
            Err(error) => json!({ "error": self.recorder.masked(chain(error)) }),
        };
        self.note(asked, noted);
        answer
    }
}

/// A file as it is asked to be put.
fn put(file: &RemoteFile) -> String {
    let mut words = vec![
        file.path.to_string(),
        format!("{:o}", file.mode),
        file.owner.clone(),
    ];
    if is_everybodys(file.mode) {
        words.push(crate::text::sha256(&file.content));
    }
    words.extend(
        file.check
            .iter()
            .map(|check| format!("check:{}", check.join(" "))),
    );
    words.extend(file.undo.iter().map(|undo| format!("undo:{}", undo.name)));
    words.join(" ")
}

impl Transport for Recorded {
    fn probe<'a>(&'a self, probes: &'a [Probe]) -> BoxFuture<'a, Result<Readings, HostError>> {
        Box::pin(async move {
            let answer = self.inner.probe(probes).await;
            match &answer {
                Ok(readings) => self.recorder.write(Entry::Probe {
                    host: self.host.clone(),
                    answers: recording::answers(probes, readings, &|text| {
                        self.recorder.masked(text)
                    }),
                }),
                Err(error) => {
                    let error = self.recorder.masked(chain(error));
                    self.note("probe".to_owned(), json!({ "error": error }));
                }
            }
            answer
        })
    }

    fn run<'a>(&'a self, command: &'a Command) -> BoxFuture<'a, Result<Output, HostError>> {
        self.recorder
            .learn(command.stdin.as_deref().unwrap_or_default());
        let text = |bytes: &[u8]| {
            if command.answers_with_keys() {
                self.recorder.learn(bytes);
                return Value::Null;
            }
            json!(self.recorder.masked(bytes))
        };
        let said = move |output: &Output| {
            json!({
                "status": recording::code(output.status),
                "stdout": text(&output.stdout),
                "stderr": text(&output.stderr),
            })
        };
        Box::pin(self.noted(format!("run {command}"), self.inner.run(command), said))
    }

    fn write<'a>(&'a self, files: &'a [RemoteFile]) -> BoxFuture<'a, Result<(), HostError>> {
        for file in files.iter().filter(|file| !is_everybodys(file.mode)) {
            self.recorder.learn(&file.content);
        }
        let files_asked: Vec<String> = files.iter().map(put).collect();
        let asked = format!("write {}", files_asked.join("; "));
        Box::pin(self.noted(asked, self.inner.write(files), |()| json!("written")))
    }

    fn job<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Result<JobOutput, HostError>> {
        for (_, content) in &job.files {
            self.recorder.learn(content);
        }
        let names: Vec<&str> = job.files.iter().map(|(name, _)| name.as_str()).collect();
        let script = Command::script(job.script.clone());
        let asked = format!("job {}: {script} [{}]", job.name, names.join(" "));
        let said = |output: &JobOutput| {
            json!({
                "status": output.status,
                "output": self.recorder.masked(&output.output),
                "followed": output.followed,
            })
        };
        Box::pin(self.noted(asked, self.inner.job(job), said))
    }

    fn disarm<'a>(&'a self, undo: &'a str) -> BoxFuture<'a, Result<bool, HostError>> {
        let said = |was_armed: &bool| json!(was_armed);
        Box::pin(self.noted(format!("disarm {undo}"), self.inner.disarm(undo), said))
    }

    fn lock<'a>(
        &'a self,
        name: &'a str,
        owner: &'a str,
    ) -> BoxFuture<'a, Result<LockGuard, HostError>> {
        let held = |_: &LockGuard| json!("held");
        Box::pin(self.noted(format!("lock {name}"), self.inner.lock(name, owner), held))
    }

    fn rest(&self, pause: std::time::Duration) -> BoxFuture<'_, ()> {
        self.inner.rest(pause)
    }
}
