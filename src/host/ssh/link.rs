//! The link to one host: its connection, made anew when it was lost, and requests carried over it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{Mutex, Semaphore};

use super::ConnectOptions;
use super::channel::{self, Become, Exchange};
use super::session::{self, Connection};
use super::settings::Route;
use crate::host::command::Status;
use crate::host::error::HostError;
use crate::host::shell::{self, Request};
use crate::text;

/// Requests that run at once on one host; sshd's own limit is ten sessions, and the cluster's lock holds one.
const CHANNELS: usize = 8;

/// The way to a host, and the connection while there is one.
pub(super) struct Link {
    pub(super) route: Route,
    options: ConnectOptions,
    pub(super) root: Become,
    connection: Mutex<Option<Arc<Connection>>>,
    channels: Semaphore,
}

impl Link {
    /// Connects.
    pub(super) async fn open(
        route: Route,
        options: &ConnectOptions,
        root: Become,
    ) -> Result<Self, HostError> {
        let connection = session::connect(&route, options).await?;
        Ok(Self {
            route,
            options: options.clone(),
            root,
            connection: Mutex::new(Some(connection)),
            channels: Semaphore::new(CHANNELS),
        })
    }

    /// The connection, made anew if it was lost.
    pub(super) async fn connection(&self) -> Result<Arc<Connection>, HostError> {
        let mut slot = self.connection.lock().await;
        if let Some(connection) = slot.as_ref().filter(|connection| connection.is_alive()) {
            return Ok(Arc::clone(connection));
        }
        *slot = None;
        let connection = session::connect(&self.route, &self.options).await?;
        *slot = Some(Arc::clone(&connection));
        Ok(connection)
    }

    pub(super) fn host(&self) -> String {
        self.route.label.clone()
    }

    /// Why no root shell spoke.
    pub(super) fn no_root(&self, during: &str, stderr: &[u8]) -> HostError {
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

    pub(super) fn lost(&self, during: &str, reason: String) -> HostError {
        HostError::Lost {
            host: self.host(),
            during: during.to_owned(),
            reason,
        }
    }

    pub(super) fn garbled(&self, during: &str, reason: String) -> HostError {
        HostError::Garbled {
            host: self.host(),
            during: during.to_owned(),
            reason,
        }
    }

    /// Carries one script. A connection that is found dead before anything was sent is replaced once.
    pub(super) async fn exchange(
        &self,
        during: &str,
        request: &Request,
        deadline: Duration,
    ) -> Result<Exchange, HostError> {
        let _permit = self.channels.acquire().await;
        let mut exchange = Exchange::default();
        for is_last in [false, true] {
            let connection = self.connection().await?;
            let work = channel::carry(&connection, &self.root, request, &mut exchange);
            match tokio::time::timeout(deadline, work).await {
                Ok(Ok(())) => {
                    // Who floods us goes on sending on a connection that lives.
                    if exchange.lost.is_some() || exchange.is_too_large {
                        connection.forsake();
                    }
                    break;
                }
                Ok(Err(reason)) if is_last => return Err(self.lost(during, reason)),
                Ok(Err(reason)) => {
                    tracing::debug!(host = self.route.label, reason, "connection found dead");
                    connection.forsake();
                }
                Err(_) => {
                    // The server keeps a session for what still runs there; a new connection has all of its sessions.
                    connection.forsake();
                    return Err(HostError::Deadline {
                        host: self.host(),
                        what: during.to_owned(),
                        deadline,
                        last: text::last_lines(&exchange.tail()),
                    });
                }
            }
        }
        Ok(exchange)
    }

    /// Carries one script to its end and returns what it printed after the line that proves a root shell.
    pub(super) async fn answer(
        &self,
        during: &str,
        request: &Request,
        deadline: Duration,
    ) -> Result<Answered, HostError> {
        let exchange = self.exchange(during, request, deadline).await?;
        self.accept(during, request, exchange)
    }

    pub(super) fn accept(
        &self,
        during: &str,
        request: &Request,
        mut exchange: Exchange,
    ) -> Result<Answered, HostError> {
        if exchange.is_too_large {
            return Err(self.garbled(during, "it is longer than 64 MiB".to_owned()));
        }
        if let Some(reason) = exchange.lost {
            return Err(self.lost(during, reason));
        }
        let mark = format!("{}\n", request.nonce.as_str());
        let Some(at) = shell::frame::find(&exchange.stdout, mark.as_bytes()) else {
            return Err(self.no_root(during, &exchange.stderr));
        };
        exchange.stdout.drain(..at + mark.len());
        Ok(Answered {
            stdout: exchange.stdout,
            stderr: exchange.stderr,
            status: exchange.status.unwrap_or(Status::Signal),
            sent: exchange.sent_at,
            arrived: exchange.first_line_at,
        })
    }
}

/// What a script printed, and when.
pub(super) struct Answered {
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
    pub(super) status: Status,
    sent: Option<SystemTime>,
    arrived: Option<SystemTime>,
}

impl Answered {
    /// Middle of the time in which the host read its clock, and half its length, microseconds.
    pub(super) fn clock(&self) -> (u64, u64) {
        let microseconds = |time: Option<SystemTime>| {
            time.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok())
                .map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(0))
        };
        let (sent, arrived) = (microseconds(self.sent), microseconds(self.arrived));
        let error = arrived.saturating_sub(sent) / 2;
        (sent + error, error)
    }
}

fn last_line(text: &str) -> String {
    text.lines().last().unwrap_or("it said nothing").to_owned()
}
