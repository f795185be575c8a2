//! Jobs: long work that survives the loss of the connection.
//!
//! Anything that may run longer than a few seconds (package installs, `kubeadm`, drains) is started on the host as a
//! transient systemd unit `quorate-<name>.service` and then followed. After a reconnect, or in a later run, the same unit is
//! found and followed again; it is never started twice.

use std::time::Duration;

use super::command::Script;

/// A piece of long work.
#[derive(Debug, Clone)]
pub struct Job {
    /// Kebab-case, one per kind of work and host: `kubeadm-join`. While a unit of that name runs, it is followed instead of
    /// another being started.
    pub name: &'static str,
    /// Tells this start from an earlier, finished one of the same name: run id and task id.
    pub token: String,
    /// What runs, as root, under `sh`, with `$QUORATE_JOB` as its private directory (0700, on a tmpfs).
    pub script: Script,
    /// Files laid into `$QUORATE_JOB` (0600) before it starts and removed when it has ended: join material, configurations.
    pub files: Vec<(String, Vec<u8>)>,
    /// How long it may take before it is reported as stuck (it is left running).
    pub deadline: Duration,
}

/// How a job ended.
#[derive(Debug, Clone)]
pub struct JobOutput {
    /// Exit code of the script; `None` when the unit vanished without leaving one (a reboot, a kill).
    pub status: Option<i32>,
    /// Standard output and error together; at most the last 64 KiB.
    pub output: String,
    /// Whether it was already running, or had already run under this token, when it was asked for.
    pub followed: bool,
}

impl JobOutput {
    /// Whether it returned 0.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.status == Some(0)
    }
}
