//! A recording: what was asked of hosts and what they answered, as lines of JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::host::command::Status;
use crate::host::probe::{FileContent, FileReading, FileState, Probe, Readings, ScriptReading};

/// The mode bits of everybody else: a file with one of them holds no secret.
const EVERYBODYS: u32 = 0o044;

/// One line of a recording.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "what")]
pub enum Entry {
    /// A call that reads: each question with its answer.
    Probe {
        /// Host.
        host: String,
        /// By question, `unit kubelet`, as [`question`] says it.
        answers: BTreeMap<String, Value>,
    },
    /// Any other call.
    Call {
        /// Host.
        host: String,
        /// `run`, `write`, `job`, `disarm` or `lock`, and what is asked.
        asked: String,
        /// What came back.
        answer: Value,
    },
    /// A run began.
    Run {
        /// `provision`.
        operation: String,
    },
    /// A change was about to be made.
    Began {
        /// Task, `5.1@master2`.
        task: String,
        /// What would change.
        change: String,
    },
    /// A task ended.
    Ended {
        /// Task.
        task: String,
        /// The step's name.
        step: String,
        /// `unchanged`, `changed` or `failed`.
        outcome: String,
    },
}

/// What a probe asks, in words. Two scripts of one name with the same arguments (one for each family of Linux) are one question,
/// of which the last answer counts.
#[must_use]
pub fn question(probe: &Probe) -> String {
    match probe {
        Probe::Machine => "machine".to_owned(),
        Probe::File(path) => format!("file {path}"),
        Probe::Digest(path) => format!("digest {path}"),
        Probe::Package(name) => format!("package {name}"),
        Probe::Unit(name) => format!("unit {name}"),
        Probe::Sysctl(name) => format!("sysctl {name}"),
        Probe::Script(script) => {
            let words =
                std::iter::once(script.name).chain(script.arguments.iter().map(String::as_str));
            format!("script {}", words.collect::<Vec<_>>().join(" "))
        }
    }
}

/// Each probe's question with its answer; `masked` takes secrets out of a text.
pub(super) fn answers(
    probes: &[Probe],
    readings: &Readings,
    masked: &dyn Fn(&[u8]) -> String,
) -> BTreeMap<String, Value> {
    let answer = |probe| (question(probe), answer(probe, readings, masked));
    probes.iter().map(answer).collect()
}

fn answer(probe: &Probe, readings: &Readings, masked: &dyn Fn(&[u8]) -> String) -> Value {
    match probe {
        Probe::Machine => json!(readings.machine().ok()),
        Probe::File(path) | Probe::Digest(path) => {
            let state = readings.file(path).ok().and_then(FileReading::present);
            state.map_or(Value::Null, |state| file(state, masked))
        }
        Probe::Package(name) => json!(readings.package(name).ok()),
        Probe::Unit(name) => json!(readings.unit(name).ok()),
        Probe::Sysctl(name) => json!(readings.sysctl(name).ok().flatten()),
        Probe::Script(script) => readings.script(script).map_or(Value::Null, |reading| {
            json!({
                "status": code(reading.status),
                "stdout": masked(reading.stdout.as_bytes()),
            })
        }),
    }
}

fn file(state: &FileState, masked: &dyn Fn(&[u8]) -> String) -> Value {
    let (kind, content) = match &state.content {
        FileContent::Directory => ("directory", String::new()),
        FileContent::Other => ("other", String::new()),
        // Its digest would tell whoever guesses it that a short secret is right.
        FileContent::Bytes(_) | FileContent::Sha256(_) if !is_everybodys(state.mode) => {
            ("private", String::new())
        }
        FileContent::Bytes(bytes) => ("text", masked(bytes)),
        FileContent::Sha256(digest) => ("sha256", digest.clone()),
    };
    json!({
        "mode": format!("{:o}", state.mode),
        "owner": format!("{}:{}", state.owner, state.group),
        kind: content,
    })
}

/// Whether others than the owner may read a file: it holds no secret.
pub(super) fn is_everybodys(mode: u32) -> bool {
    mode & EVERYBODYS != 0
}

pub(super) fn code(status: Status) -> Value {
    match status {
        Status::Code(code) => json!(code),
        Status::Signal => json!("signal"),
    }
}

/// The readings that were recorded as these answers to these probes; what was not recorded was not read.
#[must_use]
pub fn readings(probes: &[Probe], answers: &BTreeMap<String, Value>) -> Readings {
    let mut readings = Readings::default();
    for probe in probes {
        let Some(answer) = answers.get(&question(probe)) else {
            continue;
        };
        let answer = answer.clone();
        match probe {
            Probe::Machine => readings.machine = serde_json::from_value(answer).ok(),
            Probe::File(path) | Probe::Digest(path) => {
                readings
                    .files
                    .insert(path.to_string(), file_reading(&answer));
            }
            Probe::Package(name) => {
                let package = serde_json::from_value(answer).unwrap_or_default();
                readings.packages.insert(name.clone(), package);
            }
            Probe::Unit(name) => {
                let unit = serde_json::from_value(answer).unwrap_or_default();
                readings.units.insert(name.clone(), unit);
            }
            Probe::Sysctl(name) => {
                let value = answer.as_str().map(str::to_owned);
                readings.sysctls.insert(name.clone(), value);
            }
            Probe::Script(script) => {
                readings
                    .scripts
                    .insert(script.clone(), script_reading(&answer));
            }
        }
    }
    readings
}

fn script_reading(answer: &Value) -> ScriptReading {
    let code = answer.get("status").and_then(Value::as_i64);
    ScriptReading {
        status: code
            .and_then(|code| i32::try_from(code).ok())
            .map_or(Status::Signal, Status::Code),
        stdout: text(answer, "stdout"),
    }
}

fn file_reading(answer: &Value) -> FileReading {
    if answer.is_null() {
        return FileReading::Absent;
    }
    let owner = text(answer, "owner");
    let (owner, group) = owner.split_once(':').unwrap_or((&owner, ""));
    let has = |key: &str| answer.get(key).is_some();
    let content = if has("directory") {
        FileContent::Directory
    } else if has("other") {
        FileContent::Other
    } else if has("sha256") {
        FileContent::Sha256(text(answer, "sha256"))
    } else {
        FileContent::Bytes(text(answer, "text").into_bytes().into())
    };
    FileReading::Present(FileState {
        mode: u32::from_str_radix(&text(answer, "mode"), 8).unwrap_or_default(),
        owner: owner.to_owned(),
        group: group.to_owned(),
        size: text(answer, "text").len() as u64,
        modified_us: 0,
        content,
    })
}

fn text(answer: &Value, key: &str) -> String {
    let text = answer.get(key).and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}
