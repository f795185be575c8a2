//! Connections: TCP or a jump host's channel, the key exchange, the host key policy, the login.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use russh::client::{self, Handle, Msg};
use russh::keys::PublicKeyOrCertificate;
use russh::{AlgorithmKind, ChannelOpenFailure, Preferred};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::process::Child;
use tokio::sync::Notify;

use super::settings::Route;
use super::{ConnectOptions, auth};
use crate::host::error::HostError;
use crate::host::host_key::{self, KnownKeys, NewHostKeys, Verdict};
use crate::text;

/// Between two keepalives, when nothing else came.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// Keepalives without an answer after which the connection is given up.
const KEEPALIVES: usize = 4;

/// The largest packet that a host may send us: each connection keeps a buffer of that size, a thousand of them a thousand.
const PACKET: u32 = 16 * 1024;

/// How long a login may take: as long as sshd's own default, since an agent may want its user to confirm or touch.
const LOGIN: Duration = Duration::from_secs(120);

/// A logged-in connection.
pub(super) struct Connection {
    handle: Handle<Client>,
    is_forsaken: AtomicBool,
    /// Told whenever a channel may have become free.
    freed: Notify,
    /// What carries it: a jump host's connection or a proxy's process.
    _carrier: Carrier,
}

#[derive(Default)]
enum Carrier {
    #[default]
    Network,
    Hop(
        #[expect(dead_code, reason = "held so that the jump host's connection lives")]
        Arc<Connection>,
    ),
    Process(
        #[expect(
            dead_code,
            reason = "held so that the proxy is killed with its connection"
        )]
        Child,
    ),
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("alive", &self.is_alive())
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// Whether requests may still be sent.
    pub(super) fn is_alive(&self) -> bool {
        !self.handle.is_closed() && !self.is_forsaken.load(Ordering::Relaxed)
    }

    /// Never use it again.
    pub(super) fn forsake(&self) {
        self.is_forsaken.store(true, Ordering::Relaxed);
    }

    /// What to say of a connection that broke.
    pub(super) fn reason_of_loss(&self) -> String {
        if self.handle.is_closed() {
            "the connection was closed".to_owned()
        } else {
            "the channel was closed before the end".to_owned()
        }
    }

    /// Opens a session channel. A server that allows fewer than we use refuses; then the next free one is waited for.
    pub(super) async fn open_session(&self) -> Result<russh::Channel<Msg>, String> {
        let mut refusals = 0;
        loop {
            let freed = self.freed.notified();
            match self.handle.channel_open_session().await {
                Ok(channel) => return Ok(channel),
                Err(russh::Error::ChannelOpenFailure(
                    ChannelOpenFailure::ConnectFailed
                    | ChannelOpenFailure::AdministrativelyProhibited
                    | ChannelOpenFailure::ResourceShortage,
                )) if refusals < 100 => {
                    refusals += 1;
                    let _ = tokio::time::timeout(Duration::from_secs(1), freed).await;
                }
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    /// Says that a channel was closed.
    pub(super) fn channel_closed(&self) {
        self.freed.notify_waiters();
    }
}

/// Judges the server's key and, for the rest, lets the library do its work.
struct Client {
    label: String,
    name: String,
    port: u16,
    known: KnownKeys,
    files: Vec<camino::Utf8PathBuf>,
    new_host_keys: NewHostKeys,
}

/// Why a handshake failed.
#[derive(Debug)]
enum Fault {
    Protocol(russh::Error),
    Host(Box<HostError>),
}

impl From<russh::Error> for Fault {
    fn from(error: russh::Error) -> Self {
        Self::Protocol(error)
    }
}

impl client::Handler for Client {
    type Error = Fault;

    async fn check_server_key(&mut self, offered: &PublicKeyOrCertificate) -> Result<bool, Fault> {
        let key = offered.public_key();
        let mut verdict = match offered {
            PublicKeyOrCertificate::PublicKey { .. } => self.known.judge(&key),
            PublicKeyOrCertificate::Certificate(certificate) => {
                self.known.judge_certificate(certificate, &self.name)
            }
        };
        let file = self.files.first().cloned().unwrap_or_default();
        if verdict == Verdict::Unknown && self.new_host_keys == NewHostKeys::Accept {
            verdict = host_key::remember(&file, &self.name, self.port, &key)
                .map_err(|error| Fault::Host(Box::new(error.of_host(&self.label))))?;
        }
        let host = self.label.clone();
        let fingerprint = host_key::fingerprint(&key);
        let error = match verdict {
            Verdict::Known => return Ok(true),
            Verdict::Unknown => HostError::UnknownKey {
                host,
                algorithm: key.algorithm().to_string(),
                fingerprint,
                known_hosts: file,
            },
            Verdict::Refused(why) => HostError::ChangedKey {
                host,
                why,
                fingerprint,
            },
        };
        Err(Fault::Host(Box::new(error)))
    }
}

/// Connects and logs in, over its jump hosts if it has any.
pub(super) fn connect<'a>(
    route: &'a Route,
    options: &'a ConnectOptions,
) -> BoxFuture<'a, Result<Arc<Connection>, HostError>> {
    async move {
        let candidates = auth::candidates(route, options).await?;
        let (stream, carrier) = reach(route, options).await?;
        let mut handle = handshake(route, options, stream).await?;
        tokio::time::timeout(LOGIN, auth::log_in(&mut handle, route, candidates))
            .await
            .map_err(|_| unreachable(route, timed_out("logging in", LOGIN)))??;
        Ok(Arc::new(Connection {
            handle,
            is_forsaken: AtomicBool::new(false),
            freed: Notify::new(),
            _carrier: carrier,
        }))
    }
    .boxed()
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

async fn reach(
    route: &Route,
    options: &ConnectOptions,
) -> Result<(Box<dyn Stream>, Carrier), HostError> {
    if let Some(via) = &route.via {
        return through(route, via, options).await;
    }
    if let Some(command) = &route.proxy_command {
        return proxy(route, command);
    }
    let connecting = TcpStream::connect((route.address.as_str(), route.port));
    let stream = tokio::time::timeout(options.timeout, connecting)
        .await
        .map_err(|_| unreachable(route, timed_out("connecting", options.timeout)))?
        .map_err(|error| unreachable(route, reason(&error)))?;
    let _ = stream.set_nodelay(true);
    Ok((Box::new(stream), Carrier::Network))
}

/// One connection to a jump host serves all hosts behind it: its sshd limits how many log in at once.
async fn through(
    route: &Route,
    via: &Route,
    options: &ConnectOptions,
) -> Result<(Box<dyn Stream>, Carrier), HostError> {
    let hop = options.shared.hop(&via.chain()).await;
    let mut slot = hop.lock().await;
    let connection = match slot.as_ref().filter(|connection| connection.is_alive()) {
        Some(connection) => Arc::clone(connection),
        None => Arc::clone(slot.insert(connect(via, options).await?)),
    };
    drop(slot);
    let opening = connection.handle.channel_open_direct_tcpip(
        route.address.clone(),
        u32::from(route.port),
        "127.0.0.1",
        0,
    );
    let channel = tokio::time::timeout(options.timeout, opening)
        .await
        .map_err(|_| unreachable(route, timed_out("connecting", options.timeout)))?
        .map_err(|error| unreachable(route, format!("the jump host cannot reach it ({error})")))?;
    Ok((Box::new(channel.into_stream()), Carrier::Hop(connection)))
}

/// The user's own ProxyCommand carries the bytes.
fn proxy(route: &Route, command: &str) -> Result<(Box<dyn Stream>, Carrier), HostError> {
    let mut child = tokio::process::Command::new("/bin/sh")
        .args(["-c", &format!("exec {command}")])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| unreachable(route, format!("failed to run its ProxyCommand: {error}")))?;
    let (Some(stdout), Some(stdin)) = (child.stdout.take(), child.stdin.take()) else {
        return Err(unreachable(
            route,
            "its ProxyCommand has no pipes".to_owned(),
        ));
    };
    Ok((
        Box::new(tokio::io::join(stdout, stdin)),
        Carrier::Process(child),
    ))
}

async fn handshake(
    route: &Route,
    options: &ConnectOptions,
    stream: Box<dyn Stream>,
) -> Result<Handle<Client>, HostError> {
    let files = &options.shared.known_files;
    let known = KnownKeys::load(files, &route.known_hosts, &route.key_name, route.key_port)
        .map_err(|error| error.of_host(&route.label))?;
    let config = Arc::new(config(&known));
    let place = known.first_place();
    let client = Client {
        label: route.label.clone(),
        name: route.key_name.clone(),
        port: route.key_port,
        known,
        files: route.known_hosts.clone(),
        new_host_keys: options.new_host_keys,
    };
    let handshake = client::connect_stream(config, stream, client);
    tokio::time::timeout(options.timeout, handshake)
        .await
        .map_err(|_| unreachable(route, timed_out("the SSH handshake", options.timeout)))?
        .map_err(|fault| match fault {
            Fault::Host(error) => *error,
            Fault::Protocol(error) => refused_handshake(route, place, &error),
        })
}

fn refused_handshake(route: &Route, place: Option<String>, error: &russh::Error) -> HostError {
    match (error, place) {
        (
            russh::Error::NoCommonAlgo {
                kind: AlgorithmKind::Key,
                theirs,
                ..
            },
            Some(place),
        ) => HostError::ChangedKey {
            host: route.label.clone(),
            why: format!("it has no key of the kind on file, {place}"),
            fingerprint: text::escape(&theirs.join(", ")),
        },
        _ => unreachable(
            route,
            format!("no SSH handshake: {}", text::escape(&error.to_string())),
        ),
    }
}

fn config(known: &KnownKeys) -> client::Config {
    let all = || {
        let without_sha1 = |algorithm: &&russh::keys::Algorithm| {
            !matches!(algorithm, russh::keys::Algorithm::Rsa { hash: None })
        };
        let algorithms = Preferred::DEFAULT.key;
        algorithms.iter().filter(without_sha1).cloned().collect()
    };
    let certificates: Vec<_> = if known.has_authority() {
        all()
    } else {
        Vec::new()
    };
    let mut keys: Vec<_> = known.algorithms().unwrap_or_else(all);
    if known.has_authority() && keys.is_empty() {
        keys = all();
    }
    client::Config {
        keepalive_interval: Some(KEEPALIVE),
        keepalive_max: KEEPALIVES,
        inactivity_timeout: None,
        nodelay: true,
        maximum_packet_size: PACKET,
        preferred: Preferred {
            key: Cow::Owned(keys),
            host_key_certificates: Cow::Owned(certificates),
            ..Preferred::DEFAULT
        },
        ..client::Config::default()
    }
}

fn timed_out(what: &str, limit: Duration) -> String {
    format!("{what} took longer than {} s", limit.as_secs_f32())
}

fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        std::io::ErrorKind::HostUnreachable => "no route to host".to_owned(),
        std::io::ErrorKind::NetworkUnreachable => "network is unreachable".to_owned(),
        std::io::ErrorKind::TimedOut => "connection timed out".to_owned(),
        _ => error.to_string(),
    }
}

pub(super) fn unreachable(route: &Route, reason: String) -> HostError {
    HostError::Unreachable {
        host: route.label.clone(),
        address: route.description(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_kept_alive_and_never_cut_for_being_idle() {
        let config = config(&KnownKeys::default());
        assert_eq!(config.keepalive_interval, Some(Duration::from_secs(15)));
        assert_eq!(config.keepalive_max, 4);
        assert_eq!(config.inactivity_timeout, None);
    }

    #[test]
    fn no_signature_with_sha1_is_negotiated() {
        let keys = config(&KnownKeys::default()).preferred.key;
        assert!(!keys.contains(&russh::keys::Algorithm::Rsa { hash: None }));
        assert!(keys.len() > 3);
    }
}
