//! What carries requests to a host.
//!
//! The methods are typed (probe, run, write, job), not "run this shell text": [`ssh`](super::ssh) turns each into one script
//! over one channel, while a simulated host answers from a model. Every side effect in quorate passes through this
//! trait, so a test can lose the connection at each of them in turn.

use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::command::{Command, Output};
use super::error::HostError;
use super::file::RemoteFile;
use super::job::{Job, JobOutput};
use super::probe::{Probe, Readings};

/// The door to one host. One call is one round trip.
pub trait Transport: Send + Sync {
    /// Reads all of `probes`; changes nothing.
    fn probe<'a>(&'a self, probes: &'a [Probe]) -> BoxFuture<'a, Result<Readings, HostError>>;

    /// Runs a command to its end. A non-zero status is an `Output`, not an error.
    fn run<'a>(&'a self, command: &'a Command) -> BoxFuture<'a, Result<Output, HostError>>;

    /// Puts files in place, all in one round trip and in this order; stops at the first whose check refuses.
    fn write<'a>(&'a self, files: &'a [RemoteFile]) -> BoxFuture<'a, Result<(), HostError>>;

    /// Starts a job or follows the one that runs, until it ends; reconnects while its deadline lasts.
    fn job<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Result<JobOutput, HostError>>;

    /// Tells the host that the changes under this undo name are well. `false`: it had fired already (the old files are back).
    fn disarm<'a>(&'a self, undo: &'a str) -> BoxFuture<'a, Result<bool, HostError>>;

    /// Takes the cluster lock on this host and holds it until the guard is dropped or the connection is gone.
    /// `owner` (who, from where, since when, run id) is what a second operator is told.
    fn lock<'a>(
        &'a self,
        name: &'a str,
        owner: &'a str,
    ) -> BoxFuture<'a, Result<LockGuard, HostError>>;

    /// Rests between two looks at what the host, or the cluster on it, is to become. It stands here so that a transport that
    /// counts takes it for what it is: waiting for the host.
    fn rest(&self, pause: Duration) -> BoxFuture<'_, ()> {
        tokio::time::sleep(pause).boxed()
    }
}

/// A held lock. Dropping it releases the lock.
pub struct LockGuard(Box<dyn std::any::Any + Send + Sync>);

impl LockGuard {
    /// Wraps whatever keeps the lock alive.
    pub fn new(holder: impl std::any::Any + Send + Sync) -> Self {
        Self(Box::new(holder))
    }
}

impl std::fmt::Debug for LockGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let _ = &self.0;
        f.write_str("LockGuard")
    }
}
