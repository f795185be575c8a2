//! A snapshot of etcd, taken on a master and proved there by restoring it.
//!
//! [`take`] saves it beside etcd's data, [`prove`] restores it into a scratch etcd that nothing can reach and compares what
//! that serves with what the living member held at the same revision; only then is it worth keeping. Both run as jobs, with
//! the programs of etcd's own image (of the host's own etcd where systemd runs it), so nothing has to be installed and the
//! tool is always of the cluster's own minor.
//!
//! What is compared: the hash over every key and every version of it since the last compaction (etcd's `HashKV`, the
//! same that etcd's own corruption check compares between members), and the number of keys. `snapshot status` alone is no
//! proof: it returns 0 for a file with a flipped byte.

pub mod here;
mod rank;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::etcd::View;
use super::report::{Answer, Report};
use crate::host::Host;
use crate::host::command::{Command, Script};
use crate::host::error::HostError;
use crate::host::job::Job;

pub use rank::{Best, best};

/// How long saving or restoring may take: some gigabytes on a slow disk.
const DEADLINE: Duration = Duration::from_secs(30 * 60);

/// How often a snapshot is taken anew because etcd was compacted between saving it and asking for its hash.
const ATTEMPTS: u32 = 3;

/// Where a snapshot lies on the host that took it.
pub const PATH: &str = "/var/lib/quorate/snapshot/snapshot.db";

const SAVE: &str = concat!(
    include_str!("image.sh"),
    include_str!("scratch.sh"),
    include_str!("save.sh")
);
const TRIAL: &str = concat!(
    include_str!("image.sh"),
    include_str!("scratch.sh"),
    include_str!("trial.sh")
);
const SAVE_EXTERNAL: &str = concat!(
    include_str!("external.sh"),
    include_str!("scratch.sh"),
    include_str!("save.sh")
);
const TRIAL_EXTERNAL: &str = concat!(
    include_str!("external.sh"),
    include_str!("scratch.sh"),
    include_str!("trial.sh")
);

/// Saving and trying, with the programs that the host's etcd runs from: its image's, or its own.
fn bodies(host: &Host) -> [&'static str; 2] {
    match host.node.etcd {
        None => [SAVE, TRIAL],
        Some(_) => [SAVE_EXTERNAL, TRIAL_EXTERNAL],
    }
}

/// A snapshot on the host that took it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// SHA-256 of the file, computed there, lower-case hexadecimal.
    pub sha256: String,
    /// Bytes.
    pub size: u64,
    /// The revision that it holds.
    pub revision: u64,
    /// What the living member held at that revision.
    pub contents: Contents,
    /// The image whose programs made it.
    pub image: String,
    /// What the member says of itself where it was made to serve for this; its only member is itself then.
    pub view: Option<View>,
}

/// What a snapshot is taken of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// The member that serves.
    Living,
    /// A copy of the data of one that does not. A member that starts while there is no quorum never does: etcd serves
    /// clients from the moment on which it has joined (`ReadyNotify`), and one without a quorum fails its liveness probe, so
    /// that kubelet starts it again (after 80 s with kubeadm's manifest; seen with 3.4.23).
    Data,
}

/// What an etcd holds at a revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Contents {
    /// `HashKV` at the revision.
    pub hash: u64,
    /// The revision up to which old versions are gone; hashes compare only where this is equal. -1: nothing was compacted.
    pub compacted: i64,
    /// Keys.
    pub keys: u64,
}

impl From {
    /// What it is taken of where a member says this of itself.
    #[must_use]
    pub fn of(view: Option<&View>) -> Self {
        match view {
            Some(_) => Self::Living,
            None => Self::Data,
        }
    }
}

/// A snapshot could not be taken or proved.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The host.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The job on the host ended badly.
    #[error("{what} failed on {host}")]
    Job {
        /// `saving the snapshot`.
        what: &'static str,
        /// Host name.
        host: String,
        /// Last lines, escaped.
        output: String,
    },
    /// What came back is not what was saved: the snapshot is worthless.
    #[error("the snapshot of {host} is not what etcd holds: {why}")]
    Differs {
        /// Host name.
        host: String,
        /// The two.
        why: String,
    },
}

impl SnapshotError {
    /// What the host said, escaped.
    #[must_use]
    pub fn output(&self) -> Option<&str> {
        match self {
            Self::Host(error) => error.output(),
            Self::Job { output, .. } => Some(output),
            Self::Differs { .. } => None,
        }
    }
}

/// Saves a snapshot of the host's etcd at [`PATH`] and proves it by a trial restore on the same host.
///
/// Works without quorum, see [`From`]. `run` names this start among others of the same job; `note` is told what goes on.
pub async fn take_proved(
    host: &Host,
    run: &str,
    from: From,
    note: &(dyn Fn(String) + Sync),
) -> Result<Snapshot, SnapshotError> {
    let mut attempt = 1;
    loop {
        let name = &host.node.name;
        note(format!("{name}: saving a snapshot of etcd"));
        let snapshot = take(host, &format!("{run}-{attempt}"), from).await?;
        note(format!(
            "{name}: restoring it into a scratch etcd: revision {}, {} keys, {} bytes",
            snapshot.revision, snapshot.contents.keys, snapshot.size
        ));
        let trial = trial(host, &format!("{run}-{attempt}"), snapshot.revision, PATH).await?;
        if is_proved(name, attempt, &snapshot.contents, &trial)? {
            return Ok(snapshot);
        }
        attempt += 1;
    }
}

/// Whether what a trial restore holds proves the snapshot that was taken in this attempt, counted from 1. If not, it is to be
/// taken again; an error says why it is worthless.
pub fn is_proved(
    host: &str,
    attempt: u32,
    recorded: &Contents,
    found: &Contents,
) -> Result<bool, SnapshotError> {
    let differs = |why: String| SnapshotError::Differs {
        host: host.to_owned(),
        why,
    };
    match judge(recorded, found) {
        Verdict::Same => Ok(true),
        Verdict::Compacted if attempt < ATTEMPTS => Ok(false),
        Verdict::Compacted => Err(differs(format!(
            "etcd was compacted during each of {ATTEMPTS} attempts"
        ))),
        Verdict::Differs(why) => Err(differs(why)),
    }
}

/// Restores a snapshot that lies on a host into a scratch etcd there and compares what that holds with what was recorded
/// when it was taken.
pub async fn prove(
    host: &Host,
    run: &str,
    path: &str,
    revision: u64,
    recorded: &Contents,
) -> Result<(), SnapshotError> {
    let found = trial(host, run, revision, path).await?;
    match judge(recorded, &found) {
        Verdict::Same => Ok(()),
        Verdict::Compacted => Err(SnapshotError::Differs {
            host: host.node.name.clone(),
            why: format!(
                "it is compacted at {}, recorded was {}",
                found.compacted, recorded.compacted
            ),
        }),
        Verdict::Differs(why) => Err(SnapshotError::Differs {
            host: host.node.name.clone(),
            why,
        }),
    }
}

/// Removes what [`take_proved`] left on the host.
pub async fn discard(host: &Host) -> Result<(), HostError> {
    let script = Script::new("etcd-snapshot-discard", "rm -rf /var/lib/quorate/snapshot");
    host.succeed(&Command::script(script)).await.map(|_| ())
}

/// Saves a snapshot of the host's etcd at [`PATH`], unproved. `run` names this start among others of the same job.
pub async fn take(host: &Host, run: &str, from: From) -> Result<Snapshot, SnapshotError> {
    let [save, _] = bodies(host);
    let script = Script::new("etcd-snapshot-save", save);
    let script = match from {
        From::Living => script,
        From::Data => script.arg("data").arg(&host.node.name),
    };
    let text = job(host, "etcd-snapshot", "saving the snapshot", run, script).await?;
    parse_saved(&text).ok_or_else(|| garbled(host, "etcd-snapshot", &text))
}

async fn trial(
    host: &Host,
    run: &str,
    revision: u64,
    path: &str,
) -> Result<Contents, SnapshotError> {
    let [_, trial] = bodies(host);
    let script = Script::new("etcd-snapshot-trial", trial)
        .arg(revision.to_string())
        .arg(path);
    let text = job(host, "etcd-trial", "restoring the snapshot", run, script).await?;
    parse_contents(&text).ok_or_else(|| garbled(host, "etcd-trial", &text))
}

async fn job(
    host: &Host,
    name: &'static str,
    what: &'static str,
    run: &str,
    script: Script,
) -> Result<String, SnapshotError> {
    let job = Job {
        name,
        token: run.to_owned(),
        script,
        files: Vec::new(),
        deadline: DEADLINE,
    };
    let ended = host.transport.job(&job).await?;
    if ended.is_success() {
        return Ok(ended.output);
    }
    Err(SnapshotError::Job {
        what,
        host: host.node.name.clone(),
        output: crate::text::last_lines(ended.output.as_bytes()),
    })
}

fn garbled(host: &Host, during: &str, text: &str) -> SnapshotError {
    SnapshotError::Host(HostError::Garbled {
        host: host.node.name.clone(),
        during: during.to_owned(),
        reason: crate::text::last_lines(text.as_bytes()),
    })
}

/// The rest of the line that begins with this word.
fn field<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    text.lines()
        .find_map(|line| line.strip_prefix(word)?.strip_prefix(' '))
}

fn parse_saved(text: &str) -> Option<Snapshot> {
    let status: Value = serde_json::from_str(field(text, "status")?).ok()?;
    Some(Snapshot {
        sha256: field(text, "sha256")?.to_owned(),
        size: field(text, "size")?.parse().ok()?,
        revision: status.get("revision")?.as_u64().filter(|it| *it > 0)?,
        contents: parse_contents(text)?,
        image: field(text, "image")?.to_owned(),
        view: view(text),
    })
}

fn view(text: &str) -> Option<View> {
    let answer = |word: &str| Some(Answer::Http(200, field(text, word)?.to_owned()));
    View::of(&Report {
        etcd_status: answer("member-status")?,
        etcd_members: answer("member-list")?,
        ..Report::default()
    })
}

/// Reads `etcdctl endpoint hashkv -w json` and `etcdctl get -w json`; both leave out what is zero.
fn parse_contents(text: &str) -> Option<Contents> {
    let hash: Value = serde_json::from_str(field(text, "hash")?).ok()?;
    let count: Value = serde_json::from_str(field(text, "count")?).ok()?;
    let hash = hash.get(0)?.get("HashKV")?;
    let number = |value: &Value, key: &str| value.get(key).and_then(Value::as_u64).unwrap_or(0);
    Some(Contents {
        hash: number(hash, "hash"),
        compacted: hash
            .get("compact_revision")
            .and_then(Value::as_i64)
            .unwrap_or(0),
        keys: number(&count, "count"),
    })
}

enum Verdict {
    Same,
    Compacted,
    Differs(String),
}

fn judge(recorded: &Contents, found: &Contents) -> Verdict {
    if recorded == found {
        Verdict::Same
    } else if recorded.compacted != found.compacted && recorded.keys == found.keys {
        Verdict::Compacted
    } else {
        Verdict::Differs(format!(
            "hash {:08x} and {} keys were saved, hash {:08x} and {} keys came back",
            recorded.hash, recorded.keys, found.hash, found.keys
        ))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    /// As the programs of etcd 3.4.23 say it.
    const SAVED: &str = r#"status {"hash":2449349347,"revision":2417,"totalKey":1204,"totalSize":2908160}
hash [{"Endpoint":"https://127.0.0.1:2379","HashKV":{"header":{"cluster_id":9185015131129532447,"revision":2417},"hash":3981683686,"compact_revision":1667}}]
count {"header":{"revision":2417},"kvs":[{"key":"L3Jl"}],"more":true,"count":431}
image registry.k8s.io/etcd:3.4.13-0
sha256 f069bdf1f0a15e3d5753a4e5c897d8b61744dfc58f0ea85898593a396a673ff7
size 2908192
"#;

    #[test]
    fn what_was_saved_is_read() {
        let snapshot = parse_saved(SAVED).unwrap();
        assert_eq!((snapshot.revision, snapshot.size), (2417, 2_908_192));
        let contents = Contents {
            hash: 3_981_683_686,
            compacted: 1667,
            keys: 431,
        };
        assert_eq!(snapshot.contents, contents);
    }

    #[test]
    fn an_answer_that_lacks_a_line_is_no_snapshot() {
        for line in SAVED.lines() {
            let rest = SAVED.replace(line, "");
            assert_eq!(parse_saved(&rest), None, "without {line}");
        }
        let empty = SAVED.replace(
            "\"revision\":2417,\"totalKey\"",
            "\"revision\":0,\"totalKey\"",
        );
        assert_eq!(parse_saved(&empty), None, "revision 0 holds nothing");
    }

    #[test]
    fn only_the_same_hash_and_keys_at_the_same_compaction_prove_anything() {
        let saved = parse_saved(SAVED).unwrap().contents;
        assert!(matches!(judge(&saved, &saved.clone()), Verdict::Same));
        let compacted = Contents {
            hash: 1,
            compacted: 2000,
            ..saved.clone()
        };
        assert!(matches!(judge(&saved, &compacted), Verdict::Compacted));
        let hash = Contents {
            hash: 1,
            ..saved.clone()
        };
        let keys = Contents {
            keys: 430,
            ..saved.clone()
        };
        for other in [hash, keys] {
            assert!(
                matches!(judge(&saved, &other), Verdict::Differs(_)),
                "{other:?}"
            );
        }
    }
}
