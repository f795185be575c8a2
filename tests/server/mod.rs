//! SSH servers in this process, on loopback: what they do with a request is the test's to say.

#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "each test file uses a part of it"
)]

use std::collections::HashMap;
use std::future::Future;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use quorate::inventory::{Node, Role, SshSettings};
use russh::keys::{PrivateKey, load_secret_key};
use russh::server::{self, Auth, ChannelOpenHandle, Handle, Msg, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// A request whose standard input has ended.
pub struct Asked {
    /// The script.
    pub script: String,
    pub channel: ChannelId,
    pub handle: Handle,
}

impl Asked {
    /// What marks the frames of the answer.
    pub fn nonce(&self) -> &str {
        let line = self.script.lines().find_map(|line| line.strip_prefix("n="));
        line.unwrap_or_default()
    }

    /// Ends the connection.
    pub async fn disconnect(&self) {
        let reason = russh::Disconnect::ByApplication;
        let _ = self
            .handle
            .disconnect(reason, String::new(), String::new())
            .await;
    }

    /// Prints, ends with 0 and closes.
    pub async fn answer(&self, bytes: Vec<u8>) {
        let _ = self.handle.data(self.channel, bytes).await;
        let _ = self.handle.exit_status_request(self.channel, 0).await;
        let _ = self.handle.eof(self.channel).await;
        let _ = self.handle.close(self.channel).await;
    }
}

/// What a server does with a request.
pub trait Behaviour: Send + Sync + 'static {
    fn asked(&self, asked: Asked) -> impl Future<Output = ()> + Send;
}

impl<F, R> Behaviour for F
where
    F: Fn(Asked) -> R + Send + Sync + 'static,
    R: Future<Output = ()> + Send,
{
    fn asked(&self, asked: Asked) -> impl Future<Output = ()> + Send {
        self(asked)
    }
}

/// The keys of a client and of servers, in a directory of their own.
pub struct Keys {
    pub directory: Utf8PathBuf,
    host_key: PrivateKey,
    other_host_key: PrivateKey,
    _temporary: tempfile::TempDir,
}

impl Keys {
    pub fn make() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Utf8PathBuf::from_path_buf(temporary.path().to_owned()).unwrap();
        key(&directory.join("id"));
        let host_key = key(&directory.join("host_key"));
        let other_host_key = key(&directory.join("other_host_key"));
        Self {
            directory,
            host_key,
            other_host_key,
            _temporary: temporary,
        }
    }

    /// Trusts the servers' key at these ports.
    pub fn trust(&self, ports: &[u16]) {
        let public = self.host_key.public_key().to_openssh().unwrap();
        let line = |port: &u16| format!("[127.0.0.1]:{port} {public}\n");
        let text: String = ports.iter().map(line).collect();
        fs_err::write(self.directory.join("known_hosts"), text).unwrap();
    }

    /// How a host behind that port is reached.
    pub fn settings(&self, port: u16) -> SshSettings {
        SshSettings {
            port: Some(port),
            user: Some("root".to_owned()),
            identity_files: vec![self.directory.join("id")],
            known_hosts: Some(self.directory.join("known_hosts")),
            use_config: false,
            ..SshSettings::default()
        }
    }

    /// A host behind that port.
    pub fn node(&self, name: &str, port: u16) -> Node {
        Node {
            name: name.to_owned(),
            address: Ipv4Addr::LOCALHOST,
            role: Role::Worker,
            labels: std::collections::BTreeMap::new(),
            taints: None,
            tags: Vec::new(),
            weight: 100,
            etcd: None,
            ssh: self.settings(port),
        }
    }

    /// An inventory whose hosts are all behind that port.
    pub fn inventory(&self, port: u16) -> Utf8PathBuf {
        let path = self.directory.join("inventory.yaml");
        let text = format!(
            "cluster: {{ name: hostile, kubernetes: v1.36.2 }}\n\
             vip: {{ address: 10.1.1.100 }}\n\
             ssh: {{ user: root, host: 127.0.0.1, port: {port}, identity-file: {id}, known-hosts: {known}, config: false }}\n\
             lb: {{ lb1: 10.1.1.11 }}\n\
             masters: {{ master1: 10.1.1.101 }}\n\
             workers: {{ worker1: 10.1.1.201 }}\n\
             cni: none\n",
            id = self.directory.join("id"),
            known = self.directory.join("known_hosts"),
        );
        fs_err::write(&path, text).unwrap();
        path
    }

    /// What servers with this key need.
    pub fn config(&self) -> Arc<server::Config> {
        config(self.host_key.clone())
    }

    /// The same with another key.
    pub fn changed_config(&self) -> Arc<server::Config> {
        config(self.other_host_key.clone())
    }
}

/// Makes a key.
fn key(path: &Utf8Path) -> PrivateKey {
    let output = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f", path.as_str()])
        .output();
    assert!(output.unwrap().status.success(), "ssh-keygen");
    load_secret_key(path, None).unwrap()
}

fn config(key: PrivateKey) -> Arc<server::Config> {
    Arc::new(server::Config {
        keys: vec![key],
        auth_rejection_time: Duration::ZERO,
        auth_rejection_time_initial: Some(Duration::ZERO),
        nodelay: true,
        ..server::Config::default()
    })
}

/// A server; it ends with its value.
pub struct Server {
    pub port: u16,
    answered: Arc<Mutex<Option<Instant>>>,
    config: Arc<Mutex<Arc<server::Config>>>,
    listening: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl Server {
    /// Listens; every request gets the behaviour.
    pub async fn start(config: Arc<server::Config>, behaviour: Arc<impl Behaviour>) -> Self {
        Self::start_with_delay(config, behaviour, Duration::ZERO).await
    }

    /// The same behind a link on which a round trip takes so long.
    pub async fn start_with_delay(
        config: Arc<server::Config>,
        behaviour: Arc<impl Behaviour>,
        delay: Duration,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let config = Arc::new(Mutex::new(config));
        let current = Arc::clone(&config);
        let answered = Arc::new(Mutex::new(None));
        let note = Arc::clone(&answered);
        let listening = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                let served = Served {
                    behaviour: Arc::clone(&behaviour),
                    inputs: HashMap::new(),
                    answered: Arc::clone(&note),
                };
                let config = Arc::clone(&current.lock().unwrap());
                tokio::spawn(async move {
                    let session = if delay.is_zero() {
                        server::run_stream(config, stream, served).await
                    } else {
                        server::run_stream(config, delayed(stream, delay), served).await
                    };
                    if let Ok(session) = session {
                        let _ = session.await;
                    }
                });
            }
        });
        Self {
            port,
            answered,
            config,
            listening,
        }
    }

    /// When a request was answered last.
    pub fn answered_at(&self) -> Option<Instant> {
        *self.answered.lock().unwrap()
    }

    /// Shows another key from the next connection on.
    pub fn change_key(&self, config: Arc<server::Config>) {
        *self.config.lock().unwrap() = config;
    }
}

/// What arrives is held back for half of a round trip, either way.
fn delayed(stream: TcpStream, round_trip: Duration) -> DuplexStream {
    let (near, far) = tokio::io::duplex(1 << 20);
    let (from_client, to_client) = stream.into_split();
    let (from_server, to_server) = tokio::io::split(far);
    tokio::spawn(hold_back(from_client, to_server, round_trip / 2));
    tokio::spawn(hold_back(from_server, to_client, round_trip / 2));
    near
}

async fn hold_back(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin + Send + 'static,
    delay: Duration,
) {
    let (sender, mut receiver) = mpsc::unbounded_channel::<(tokio::time::Instant, Vec<u8>)>();
    tokio::spawn(async move {
        while let Some((at, bytes)) = receiver.recv().await {
            tokio::time::sleep_until(at + delay).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
    let mut buffer = vec![0; 32 * 1024];
    while let Ok(count) = from.read(&mut buffer).await {
        let bytes = buffer.get(..count).unwrap_or_default().to_vec();
        if count == 0 || sender.send((tokio::time::Instant::now(), bytes)).is_err() {
            return;
        }
    }
}

/// One connection.
struct Served<B> {
    behaviour: Arc<B>,
    answered: Arc<Mutex<Option<Instant>>>,
    inputs: HashMap<ChannelId, Vec<u8>>,
}

impl<B: Behaviour> server::Handler for Served<B> {
    type Error = russh::Error;

    async fn auth_publickey(
        &mut self,
        _user: &str,
        _key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, russh::Error> {
        Ok(Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        self.inputs.insert(channel.id(), Vec::new());
        reply.accept().await;
        Ok(())
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        _command: &[u8],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        session.channel_success(channel)
    }

    async fn data(
        &mut self,
        channel: ChannelId,
        data: &[u8],
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        self.inputs
            .entry(channel)
            .or_default()
            .extend_from_slice(data);
        Ok(())
    }

    async fn channel_eof(
        &mut self,
        channel: ChannelId,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        let input = self.inputs.remove(&channel).unwrap_or_default();
        let asked = Asked {
            script: String::from_utf8_lossy(&input).into_owned(),
            channel,
            handle: session.handle(),
        };
        let (behaviour, answered) = (Arc::clone(&self.behaviour), Arc::clone(&self.answered));
        tokio::spawn(async move {
            behaviour.asked(asked).await;
            *answered.lock().unwrap() = Some(Instant::now());
        });
        Ok(())
    }
}
