//! The transport that carries everything over SSH: one connection per host, one channel per request.
//!
//! [`settings`] says how to reach a host, [`session`] opens the connection (through jump hosts, past the host key policy),
//! [`auth`] logs in, [`channel`] carries one script and its answer. This folder and the key types it lends to
//! [`host_key`](super::host_key) are the only places that know the SSH library.
//!
//! What is executed on the host is one of six constant strings ([`channel::Boot`]); the script with everything in it
//! travels over standard input.

mod auth;
mod channel;
mod lock;
mod session;
mod settings;
mod shared;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use backon::BackoffBuilder as _;
use camino::Utf8PathBuf;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::{Mutex, Semaphore};

use super::command::{Command, Output, Status};
use super::error::HostError;
use super::file::RemoteFile;
use super::host_key::NewHostKeys;
use super::job::{Job, JobOutput};
use super::probe::{Probe, Readings};
use super::shell::job::{Answer, End, Mode};
use super::shell::probe::Questions;
use super::shell::{self, Nonce, Request};
use super::transport::{LockGuard, Transport};
use crate::inventory::Node;
use crate::secret::Secret;
use crate::text;
use channel::{Become, Exchange};
use session::Connection;
use settings::Route;
pub use shared::Shared;

/// Key types, for the host key policy.
pub(crate) mod key {
    pub(crate) use russh::keys::ssh_key::certificate::CertType;
    pub(crate) use russh::keys::{Algorithm, Certificate, HashAlg, PublicKey};
}

/// Requests that run at once on one host; sshd's own limit is ten sessions, and the cluster's lock holds one.
const CHANNELS: usize = 8;

/// How long reading may take.
const PROBE_DEADLINE: Duration = Duration::from_secs(60);

/// How long writing files and their checks may take.
const WRITE_DEADLINE: Duration = Duration::from_secs(180);

/// How much longer than a job's own deadline its follower is waited for.
const GRACE: Duration = Duration::from_secs(10);

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
    channels: Semaphore,
}

/// The way to a host, and the connection while there is one.
struct Link {
    route: Route,
    options: ConnectOptions,
    root: Become,
    connection: Mutex<Option<Arc<Connection>>>,
}

impl Link {
    /// The connection, made anew if it was lost.
    async fn connection(&self) -> Result<Arc<Connection>, HostError> {
        let mut slot = self.connection.lock().await;
        if let Some(connection) = slot.as_ref().filter(|connection| connection.is_alive()) {
            return Ok(Arc::clone(connection));
        }
        *slot = None;
        let connection = session::connect(&self.route, &self.options).await?;
        *slot = Some(Arc::clone(&connection));
        Ok(connection)
    }

    fn host(&self) -> String {
        self.route.label.clone()
    }

    /// Why no root shell spoke.
    fn no_root(&self, during: &str, stderr: &[u8]) -> HostError {
        let said = text::last_lines(stderr);
        match &self.root {
            Become::AlreadyRoot => {
                self.garbled(during, format!("no shell answered: {}", last_line(&said)))
            }
            Become::Sudo | Become::SudoWithPassword(_) => HostError::Sudo {
                host: self.host(),
                user: self.route.user.clone(),
                reason: last_line(&said.replace(channel::PROMPT, "")),
            },
        }
    }

    fn lost(&self, during: &str, reason: String) -> HostError {
        HostError::Lost {
            host: self.host(),
            during: during.to_owned(),
            reason,
        }
    }

    fn garbled(&self, during: &str, reason: String) -> HostError {
        HostError::Garbled {
            host: self.host(),
            during: during.to_owned(),
            reason,
        }
    }
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
        let connection = session::connect(&route, options).await?;
        Ok(Self {
            link: Arc::new(Link {
                route,
                options: options.clone(),
                root,
                connection: Mutex::new(Some(connection)),
            }),
            channels: Semaphore::new(CHANNELS),
        })
    }

    /// Carries one script. A connection that is found dead before anything was sent is replaced once.
    async fn exchange(
        &self,
        during: &str,
        request: &Request,
        deadline: Duration,
    ) -> Result<Exchange, HostError> {
        let _permit = self.channels.acquire().await;
        let mut exchange = Exchange::default();
        let mut attempt = 0;
        loop {
            attempt += 1;
            let connection = self.link.connection().await?;
            let work = channel::carry(&connection, &self.link.root, request, &mut exchange);
            match tokio::time::timeout(deadline, work).await {
                Ok(Ok(())) => break,
                Ok(Err(reason)) if attempt == 1 => {
                    tracing::debug!(
                        host = self.link.route.label,
                        reason,
                        "connection found dead"
                    );
                    connection.forsake();
                }
                Ok(Err(reason)) => return Err(self.link.lost(during, reason)),
                Err(_) => {
                    // The server keeps a session for what still runs there; a new connection has all of its sessions.
                    connection.forsake();
                    return Err(HostError::Deadline {
                        host: self.link.host(),
                        what: during.to_owned(),
                        deadline,
                        last: text::last_lines(&exchange.tail()),
                    });
                }
            }
        }
        if exchange.lost.is_some() {
            let slot = self.link.connection.lock().await;
            slot.iter().for_each(|connection| connection.forsake());
        }
        Ok(exchange)
    }

    /// Carries one script to its end and returns what it printed after the line that proves a root shell.
    async fn answer(
        &self,
        during: &str,
        request: &Request,
        deadline: Duration,
    ) -> Result<Answered, HostError> {
        let exchange = self.exchange(during, request, deadline).await?;
        self.accept(during, request, exchange)
    }

    fn accept(
        &self,
        during: &str,
        request: &Request,
        mut exchange: Exchange,
    ) -> Result<Answered, HostError> {
        if exchange.is_too_large {
            return Err(self
                .link
                .garbled(during, "it is longer than 64 MiB".to_owned()));
        }
        if let Some(reason) = exchange.lost {
            return Err(self.link.lost(during, reason));
        }
        let mark = format!("{}\n", request.nonce.as_str());
        let Some(at) = shell::frame::find(&exchange.stdout, mark.as_bytes()) else {
            return Err(self.link.no_root(during, &exchange.stderr));
        };
        Ok(Answered {
            stdout: exchange.stdout.split_off(at + mark.len()),
            stderr: exchange.stderr,
            status: exchange.status.unwrap_or(Status::Signal),
            sent: exchange.sent_at,
            arrived: exchange.first_line_at,
        })
    }

    async fn read(&self, probes: &[Probe]) -> Result<(Readings, Vec<Utf8PathBuf>), HostError> {
        let questions = Questions::of(probes);
        let during = "probe";
        let mut tries = 0;
        loop {
            tries += 1;
            let request = questions.compile(Nonce::random());
            let answered = self.answer(during, &request, PROBE_DEADLINE).await?;
            match shell::reading::parse(&questions, &request.nonce, &answered.stdout) {
                Ok((mut readings, large)) => {
                    if let Some(machine) = &mut readings.machine {
                        let (middle, error) = answered.clock();
                        machine.operator_clock_us = middle;
                        machine.clock_error_us = error;
                    }
                    return Ok((readings, large));
                }
                Err(reason) if tries == 1 => {
                    tracing::debug!(host = self.link.route.label, reason, "reading again");
                }
                Err(reason) => return Err(self.link.garbled(during, reason)),
            }
        }
    }

    async fn write_files(&self, files: &[RemoteFile]) -> Result<(), HostError> {
        let request = shell::file::compile(Nonce::random(), files);
        let during = match files {
            [file] => format!("write {}", file.path),
            _ => format!("write {} files", files.len()),
        };
        let answered = self.answer(&during, &request, WRITE_DEADLINE).await?;
        let verdict = shell::file::parse(&request.nonce, &answered.stdout)
            .map_err(|reason| self.link.garbled(&during, reason))?;
        verdict.map_err(|refusal| self.refusal(files, refusal, &answered.stderr))
    }

    fn refusal(
        &self,
        files: &[RemoteFile],
        refusal: shell::file::Refusal,
        stderr: &[u8],
    ) -> HostError {
        let path = |index: usize| {
            files
                .get(index)
                .map(|file| file.path.clone())
                .unwrap_or_default()
        };
        match refusal {
            shell::file::Refusal::Check {
                file,
                status,
                output,
            } => HostError::FileRefused {
                host: self.link.host(),
                path: path(file),
                check: files
                    .get(file)
                    .and_then(|file| file.check.as_ref())
                    .map(|check| check.join(" "))
                    .unwrap_or_default(),
                status: status.to_string(),
                output: text::last_lines(&output),
            },
            shell::file::Refusal::Step { file, step } => HostError::Command {
                host: self.link.host(),
                command: format!("write {}", path(file)),
                status: format!("an error: failed to {step}"),
                output: text::last_lines(stderr),
            },
        }
    }

    /// Starts or follows until the end or the deadline, over as many connections as it takes.
    async fn follow(&self, job: &Job) -> Result<JobOutput, HostError> {
        let began = Instant::now();
        let mut mode = Mode::Start;
        let mut was_followed = false;
        let mut was_reached = false;
        let mut delays = reconnect_delays();
        loop {
            let left = job.deadline.saturating_sub(began.elapsed());
            let request = shell::job::compile(Nonce::random(), job, mode, left);
            let during = format!("job {}", job.name);
            let error = match self.exchange(&during, &request, left + GRACE).await {
                Ok(exchange) => {
                    was_reached = true;
                    delays = reconnect_delays();
                    let started = shell::job::was_started(&request.nonce, &exchange.stdout);
                    match self.accept(&during, &request, exchange) {
                        Ok(answered) => {
                            let mut output = self.ended(job, &request.nonce, &answered)?;
                            output.followed &= mode == Mode::Start || was_followed;
                            return Ok(output);
                        }
                        Err(error) => {
                            if let (Some(followed), Mode::Start) = (started, mode) {
                                mode = Mode::Follow;
                                was_followed = followed;
                            }
                            error
                        }
                    }
                }
                Err(error) => error,
            };
            let delay = delays.next().unwrap_or(Duration::from_secs(5));
            if !(was_reached && may_pass(&error)) || began.elapsed() + delay >= job.deadline {
                return Err(error);
            }
            tracing::debug!(host = self.link.route.label, job = job.name, %error, "following again");
            tokio::time::sleep(delay).await;
        }
    }

    fn ended(&self, job: &Job, nonce: &Nonce, answered: &Answered) -> Result<JobOutput, HostError> {
        let during = format!("job {}", job.name);
        let Answer {
            end,
            followed,
            output,
        } = shell::job::parse(nonce, &answered.stdout)
            .map_err(|reason| self.link.garbled(&during, reason))?;
        let status = match end {
            End::Exited(status) => Some(status),
            End::Vanished => None,
            End::Running => {
                return Err(HostError::Deadline {
                    host: self.link.host(),
                    what: during,
                    deadline: job.deadline,
                    last: text::last_lines(&output),
                });
            }
            End::NotStarted => {
                return Err(HostError::Command {
                    host: self.link.host(),
                    command: format!("systemd-run --unit=quorate-{}", job.name),
                    status: "an error".to_owned(),
                    output: text::last_lines(&output),
                });
            }
        };
        Ok(JobOutput {
            status,
            output: String::from_utf8_lossy(&output).into_owned(),
            followed,
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
            let answered = self.answer(&during, &request, PROBE_DEADLINE).await?;
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

/// What a script printed, and when.
struct Answered {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    status: Status,
    sent: Option<SystemTime>,
    arrived: Option<SystemTime>,
}

impl Answered {
    /// Middle of the time in which the host read its clock, and half its length, microseconds.
    fn clock(&self) -> (u64, u64) {
        let microseconds = |time: Option<SystemTime>| {
            time.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok())
                .map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(0))
        };
        let (sent, arrived) = (microseconds(self.sent), microseconds(self.arrived));
        let error = arrived.saturating_sub(sent) / 2;
        (sent + error, error)
    }
}

/// The script that reads these probes, for measurements: what another client has to run to read the same.
#[must_use]
pub fn probe_script(probes: &[Probe]) -> String {
    Questions::of(probes).compile(Nonce::random()).text
}

/// Whether an error may pass by itself while a host reboots or a network heals; a host that boots refuses logins at first.
fn may_pass(error: &HostError) -> bool {
    matches!(
        error,
        HostError::Lost { .. } | HostError::Unreachable { .. } | HostError::LoginRefused { .. }
    )
}

fn reconnect_delays() -> impl Iterator<Item = Duration> {
    backon::ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(250))
        .with_max_delay(Duration::from_secs(5))
        .without_max_times()
        .with_jitter()
        .build()
}

fn last_line(text: &str) -> String {
    text.lines().last().unwrap_or("it said nothing").to_owned()
}
