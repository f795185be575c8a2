//! A trial restore on this computer, with Debian's etcd and a snapshot of one that runs here.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that meets something else may panic, and says it shortly"
)]

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use quorate::cluster::snapshot::here::Tools;
use quorate::cluster::snapshot::{Contents, SnapshotError, is_proved};
use serde_json::Value;

/// Debian's programs.
fn programs() -> Utf8PathBuf {
    let script = Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/etcd/programs.sh");
    let said = Command::new(script)
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(said.status.success(), "etcd's programs");
    Utf8PathBuf::from(String::from_utf8(said.stdout).unwrap().trim())
}

/// An etcd that only this test reaches, with some keys in it.
struct Etcd {
    child: Child,
    directory: tempfile::TempDir,
    programs: Utf8PathBuf,
}

impl Etcd {
    const CLIENTS: &str = "unix://own:1";

    fn start(programs: &Utf8Path) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let child = Command::new(programs.join("etcd"))
            .args(["--data-dir", "data", "--listen-peer-urls", "unix://own:2"])
            .args([
                "--listen-client-urls",
                Self::CLIENTS,
                "--advertise-client-urls",
                Self::CLIENTS,
            ])
            .args([
                "--initial-advertise-peer-urls",
                "unix://own:2",
                "--initial-cluster",
                "default=unix://own:2",
            ])
            .current_dir(directory.path())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let etcd = Self {
            child,
            directory,
            programs: programs.to_owned(),
        };
        let since = Instant::now();
        while !etcd.ctl(&["endpoint", "health"]).status.success() {
            assert!(since.elapsed() < Duration::from_secs(60), "it serves");
        }
        for key in 0..50 {
            let put = etcd.ctl(&["put", &format!("/registry/{key}"), "value"]);
            assert!(put.status.success(), "{put:?}");
        }
        etcd
    }

    fn ctl(&self, words: &[&str]) -> std::process::Output {
        Command::new(self.programs.join("etcdctl"))
            .args(["--endpoints", Self::CLIENTS])
            .args(words)
            .env("ETCDCTL_API", "3")
            .current_dir(self.directory.path())
            .output()
            .unwrap()
    }

    /// Saves a snapshot; its revision and what the living member holds there.
    fn save(&self, file: &Utf8Path) -> (u64, Contents) {
        assert!(
            self.ctl(&["snapshot", "save", file.as_str()])
                .status
                .success()
        );
        let json = |words: &[&str]| -> Value {
            serde_json::from_slice(&self.ctl(&[words, &["-w", "json"]].concat()).stdout).unwrap()
        };
        let status = json(&["snapshot", "status", file.as_str()]);
        let revision = status["revision"].as_u64().unwrap();
        let held = json(&["endpoint", "hashkv", &format!("--rev={revision}")]);
        let contents = Contents {
            hash: held[0]["HashKV"]["hash"].as_u64().unwrap(),
            compacted: held[0]["HashKV"]["compact_revision"].as_i64().unwrap(),
            keys: 50,
        };
        (revision, contents)
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_snapshot_is_restored_here_and_a_damaged_one_is_refused() {
    let programs = programs();
    let etcd = Etcd::start(&programs);
    let directory = tempfile::tempdir().unwrap();
    let directory = Utf8Path::from_path(directory.path()).unwrap();
    let file = directory.join("snapshot.db");
    let (revision, contents) = etcd.save(&file);
    let version = etcd.ctl(&["version"]);
    let version = String::from_utf8(version.stdout).unwrap();
    let version = version.lines().next().unwrap().rsplit(' ').next().unwrap();
    let tools = Tools::find(programs.as_std_path().as_os_str(), version).await;
    let tools = tools.expect("they are of that minor");

    let found = tools.trial(directory, &file, revision).await.unwrap();
    assert_eq!(found, contents);
    let again = tools.trial(directory, &file, revision).await.unwrap();
    assert_eq!(again, contents, "what the first left is in nobody's way");

    // What was written after the snapshot is not what it holds: another revision, another hash.
    etcd.ctl(&["put", "/registry/after", "value"]);
    let (later, more) = etcd.save(&directory.join("later.db"));
    assert!(later > revision);
    let differs = is_proved("x", 1, &more, &found);
    assert!(
        matches!(differs, Err(SnapshotError::Differs { .. })),
        "{differs:?}"
    );

    let whole = std::fs::read(&file).unwrap();
    for at in [whole.len() / 3, whole.len() / 2, whole.len() - 40] {
        let mut damaged = whole.clone();
        *damaged.get_mut(at).unwrap() ^= 1;
        std::fs::write(&file, damaged).unwrap();
        let refused = tools.trial(directory, &file, revision).await;
        let refused = refused.expect_err("a flipped byte");
        assert!(refused.output().unwrap().contains("sha256"), "{refused:?}");
    }
    std::fs::write(&file, whole.get(..whole.len() / 2).unwrap()).unwrap();
    assert!(
        tools.trial(directory, &file, revision).await.is_err(),
        "cut off"
    );
}

#[tokio::test]
async fn another_minor_or_missing_programs_are_not_used() {
    let programs = programs();
    let path = programs.as_std_path().as_os_str();
    assert_eq!(Tools::find(path, "3.9.1").await, None);
    assert_eq!(Tools::find(path, "").await, None);
    assert_eq!(Tools::find("/nowhere".as_ref(), "3.4.23").await, None);
}
