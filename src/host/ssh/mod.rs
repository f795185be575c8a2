//! The transport that carries everything over SSH: one connection per host, one channel per request.
//!
//! [`settings`] says how to reach a host, [`session`] opens the connection (through jump hosts, past the host key policy),
//! [`auth`] logs in, [`channel`] carries one script and its answer; [`link`] puts them together, [`requests`], [`follow`] and
//! [`lock`] stand on it. This folder and the key types it lends to
//! [`host_key`](super::host_key) are the only places that know the SSH library.
//!
//! What is executed on the host is one of six constant strings ([`channel::Boot`]); the script with everything in it
//! travels over standard input.

mod auth;
mod channel;
mod config;
mod follow;
mod link;
mod lock;
mod requests;
mod session;
mod settings;
mod shared;

use std::sync::Arc;
use std::time::Duration;

use camino::Utf8PathBuf;
use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::command::{Command, Output};
use super::error::HostError;
use super::file::RemoteFile;
use super::host_key::NewHostKeys;
use super::job::{Job, JobOutput};
use super::probe::{Probe, Readings};
use super::shell::probe::Questions;
use super::shell::{self, Nonce};
use super::transport::{LockGuard, Transport};
use crate::inventory::Node;
use crate::secret::Secret;
use channel::Become;
use link::Link;
use requests::PROBE_DEADLINE;
pub use shared::Shared;

/// Key types, for the host key policy.
pub(crate) mod key {
    pub(crate) use russh::keys::ssh_key::certificate::CertType;
    pub(crate) use russh::keys::{Algorithm, Certificate, HashAlg, PublicKey};
}

/// What applies to all connections of a run.
///
/// Clones share what was learnt: secrets that were asked for, keys that were read, connections to jump hosts.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// What to do with host keys that no file knows.
    pub new_host_keys: NewHostKeys,
    /// How long connecting and the handshake may take, each, on every hop.
    pub timeout: Duration,
    /// The agent's socket; by default `SSH_AUTH_SOCK`.
    pub agent: Option<Utf8PathBuf>,
    /// The user's home directory, where `.ssh` is; by default `HOME`.
    pub home: Option<Utf8PathBuf>,
    /// The OpenSSH configuration to consult instead of the user's and the system's.
    pub config: Option<Utf8PathBuf>,
    /// What the connections have learnt; a fresh one unless options are cloned.
    pub shared: Arc<Shared>,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        let path = |name| {
            std::env::var(name)
                .ok()
                .filter(|value| !value.is_empty())
                .map(Utf8PathBuf::from)
        };
        Self {
            new_host_keys: NewHostKeys::Refuse,
            timeout: Duration::from_secs(10),
            agent: path("SSH_AUTH_SOCK"),
            home: path("HOME"),
            config: None,
            shared: Arc::default(),
        }
    }
}

/// A host reached over SSH.
///
/// A request whose connection breaks ends in [`HostError::Lost`], since nobody knows whether it took effect; the next one
/// connects again. Only [`job`](Transport::job) reconnects by itself. What passes its deadline is left running on the host.
pub struct Ssh {
    link: Arc<Link>,
}

impl Ssh {
    /// Connects and logs in. Whether sudo works is seen by the first request.
    pub async fn connect(node: &Node, options: &ConnectOptions) -> Result<Self, HostError> {
        let route = settings::resolve(node, options).await?;
        let root = match (&*route.user, &node.ssh.sudo_password) {
            ("root", _) => Become::AlreadyRoot,
            (_, None) => Become::Sudo,
            (user, Some(source)) => {
                let what = format!("sudo password of {user}");
                let password = options.shared.secret(source, &what).await;
                Become::SudoWithPassword(Secret::clone(&password.map_err(|reason| {
                    HostError::Secret {
                        host: node.name.clone(),
                        what,
                        reason,
                    }
                })?))
            }
        };
        let link = Link::open(route, options, root).await?;
        Ok(Self {
            link: Arc::new(link),
        })
    }
}

impl Transport for Ssh {
    fn probe<'a>(&'a self, probes: &'a [Probe]) -> BoxFuture<'a, Result<Readings, HostError>> {
        async move {
            if probes.is_empty() {
                return Ok(Readings::default());
            }
            let (mut readings, large) = self.read(probes).await?;
            if !large.is_empty() {
                let digests: Vec<Probe> = large.into_iter().map(Probe::Digest).collect();
                readings.update(self.read(&digests).await?.0);
            }
            Ok(readings)
        }
        .boxed()
    }

    fn run<'a>(&'a self, command: &'a Command) -> BoxFuture<'a, Result<Output, HostError>> {
        async move {
            let request = shell::program::compile(Nonce::random(), command);
            let answered = self
                .link
                .answer(&command.to_string(), &request, command.deadline)
                .await?;
            Ok(Output {
                status: answered.status,
                stdout: answered.stdout,
                stderr: answered.stderr,
            })
        }
        .boxed()
    }

    fn write<'a>(&'a self, files: &'a [RemoteFile]) -> BoxFuture<'a, Result<(), HostError>> {
        async move {
            if files.is_empty() {
                return Ok(());
            }
            self.write_files(files).await
        }
        .boxed()
    }

    fn job<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Result<JobOutput, HostError>> {
        self.follow(job).boxed()
    }

    fn disarm<'a>(&'a self, undo: &'a str) -> BoxFuture<'a, Result<bool, HostError>> {
        async move {
            let request = shell::undo::disarm(Nonce::random(), undo);
            let during = format!("disarm {undo}");
            let answered = self.link.answer(&during, &request, PROBE_DEADLINE).await?;
            shell::undo::parse(&request.nonce, &answered.stdout)
                .map_err(|reason| self.link.garbled(&during, reason))
        }
        .boxed()
    }

    fn lock<'a>(
        &'a self,
        name: &'a str,
        owner: &'a str,
    ) -> BoxFuture<'a, Result<LockGuard, HostError>> {
        self.hold(name, owner).boxed()
    }
}

/// The script that reads these probes, for measurements: what another client has to run to read the same.
#[must_use]
pub fn probe_script(probes: &[Probe]) -> String {
    Questions::of(probes).compile(Nonce::random()).text
}
