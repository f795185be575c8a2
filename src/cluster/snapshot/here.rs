//! A trial restore on this computer, where it has etcd's programs of the cluster's own minor.
//!
//! The scratch etcd listens on sockets in a directory that nobody else may enter: what it serves is every Secret.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use camino::Utf8Path;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use super::{Contents, SnapshotError, parse_contents};
use crate::cluster::etcd::minor;

/// How long one program may take: restoring some gigabytes on a slow disk.
const DEADLINE: Duration = Duration::from_secs(15 * 60);

/// How long the scratch etcd may take to serve.
const SERVES: Duration = Duration::from_secs(120);

/// Sockets in the directory that it runs in.
const CLIENTS: &str = "unix://clients:1";
const PEERS: &str = "unix://peers:1";
const SOCKETS: [&str; 2] = ["clients:1", "peers:1"];

/// etcd's programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tools {
    etcd: PathBuf,
    etcdctl: PathBuf,
    /// For files of snapshots.
    utility: PathBuf,
}

impl Tools {
    /// The programs in the directories of `path`, as `PATH` names them, if all are there and of the minor of `version`: a
    /// snapshot is restored by what made it.
    pub async fn find(path: &OsStr, version: &str) -> Option<Self> {
        let wanted = minor(version)?;
        let of_minor = async |name: &str, ask: &str| {
            let mut programs = std::env::split_paths(path).map(|directory| directory.join(name));
            let program = programs.find(|program| program.is_file())?;
            let said = Command::new(&program)
                .arg(ask)
                .env_clear()
                .env("ETCDCTL_API", "3")
                .stdin(Stdio::null())
                .output()
                .await
                .ok()?;
            let said = String::from_utf8_lossy(&said.stdout).into_owned();
            (minor(said.lines().next()?.rsplit(' ').next()?)? == wanted).then_some(program)
        };
        let etcdctl = of_minor("etcdctl", "version").await?;
        let utility = match of_minor("etcdutl", "version").await {
            Some(utility) => utility,
            // Before etcdutl, etcdctl restored; 3.5 has both.
            None if ["3.4", "3.5"].contains(&wanted.as_str()) => etcdctl.clone(),
            None => return None,
        };
        Some(Self {
            etcd: of_minor("etcd", "--version").await?,
            etcdctl,
            utility,
        })
    }

    /// Restores the snapshot `file` into a scratch etcd in `directory`, which must be private, and says what it holds at a
    /// revision.
    pub async fn trial(
        &self,
        directory: &Utf8Path,
        file: &Utf8Path,
        revision: u64,
    ) -> Result<Contents, SnapshotError> {
        let data = directory.join("scratch");
        // What an earlier attempt left: etcd takes over neither data nor sockets.
        let _ = std::fs::remove_dir_all(&data);
        for socket in SOCKETS {
            let _ = std::fs::remove_file(directory.join(socket));
        }
        let mut restore = program(&self.utility, directory);
        restore
            .args(["snapshot", "restore", file.as_str()])
            .args(["--data-dir", data.as_str(), "--name", "scratch"])
            .args(["--initial-cluster", &format!("scratch={PEERS}")])
            .args(["--initial-advertise-peer-urls", PEERS]);
        succeed("restoring the snapshot", restore).await?;
        let log = directory.join("scratch.log");
        let mut etcd = self
            .serve(directory, &data, &log)
            .map_err(|error| failed("starting the scratch etcd", error.to_string()))?;
        self.await_health(directory, &mut etcd, &log).await?;
        let at = format!("--rev={revision}");
        let mut hash = self.etcdctl(directory, "120s");
        hash.args(["endpoint", "hashkv", &at, "-w", "json"]);
        let hash = succeed("asking the scratch etcd for its hash", hash).await?;
        let mut keys = self.etcdctl(directory, "120s");
        keys.args([
            "get",
            "",
            "--from-key",
            "--keys-only",
            "--limit=1",
            &at,
            "-w",
            "json",
        ]);
        let keys = succeed("counting the scratch etcd's keys", keys).await?;
        let _ = etcd.kill().await;
        parse_contents(&format!("hash {}\ncount {}\n", hash.trim(), keys.trim()))
            .ok_or_else(|| failed("reading the scratch etcd", format!("{hash}{keys}")))
    }

    fn serve(
        &self,
        directory: &Utf8Path,
        data: &Utf8Path,
        log: &Utf8Path,
    ) -> std::io::Result<Child> {
        let mut etcd = program(&self.etcd, directory);
        etcd.args(["--name", "scratch", "--data-dir", data.as_str()])
            .args([
                "--listen-client-urls",
                CLIENTS,
                "--advertise-client-urls",
                CLIENTS,
            ])
            .args(["--listen-peer-urls", PEERS, "--log-outputs", "stderr"])
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(log)?);
        etcd.spawn()
    }

    async fn await_health(
        &self,
        directory: &Utf8Path,
        etcd: &mut Child,
        log: &Utf8Path,
    ) -> Result<(), SnapshotError> {
        let since = Instant::now();
        loop {
            let mut health = self.etcdctl(directory, "2s");
            health.args(["endpoint", "health"]);
            if health
                .output()
                .await
                .is_ok_and(|said| said.status.success())
            {
                return Ok(());
            }
            let has_ended = !matches!(etcd.try_wait(), Ok(None));
            if has_ended || since.elapsed() > SERVES {
                let said = std::fs::read(log).unwrap_or_default();
                return Err(failed(
                    "waiting for the scratch etcd to serve",
                    crate::text::last_lines(&said),
                ));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn etcdctl(&self, directory: &Utf8Path, timeout: &str) -> Command {
        let mut etcdctl = program(&self.etcdctl, directory);
        etcdctl.args(["--endpoints", CLIENTS, "--command-timeout", timeout]);
        etcdctl
    }
}

/// A program that sees nothing of what etcd's programs read in the environment, and that ends with the value.
fn program(program: &Path, directory: &Utf8Path) -> Command {
    let mut command = Command::new("nice");
    command
        .args(["-n", "10"])
        .arg(program)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("ETCDCTL_API", "3")
        .current_dir(directory)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Runs a program to its end; its standard output.
async fn succeed(what: &'static str, mut command: Command) -> Result<String, SnapshotError> {
    let ended = tokio::time::timeout(DEADLINE, command.output()).await;
    let ended = ended.map_err(|_| failed(what, format!("it took longer than {DEADLINE:?}")))?;
    let Output {
        status,
        stdout,
        stderr,
    } = ended.map_err(|error| failed(what, error.to_string()))?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).into_owned());
    }
    Err(failed(what, crate::text::last_lines(&stderr)))
}

fn failed(what: &'static str, output: String) -> SnapshotError {
    SnapshotError::Job {
        what,
        host: "this computer".to_owned(),
        output,
    }
}
