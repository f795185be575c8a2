//! Hosts that mean ill, or are broken as if they did: each costs bounded time and memory, ends in an error that says what
//! was seen, and paints nothing on the terminal.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quorate::engine::chain;
use quorate::host::command::Command;
use quorate::host::error::HostError;
use quorate::host::probe::Probe;
use quorate::host::ssh::{ConnectOptions, Ssh};
use quorate::host::transport::Transport as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use crate::server::{Asked, Behaviour, Keys, Server};
use crate::sshd::options;

/// What a terminal would obey: clear the screen, set the title, report back; and the same as one 8-bit character.
const ESCAPES: &str = "\x1b[2J\x1b]0;owned\x07\x1b[6n\u{9b}31m\u{202e}";

/// How long a host is given to connect.
const PATIENCE: Duration = Duration::from_secs(2);

fn impatient() -> ConnectOptions {
    ConnectOptions {
        timeout: PATIENCE,
        ..options()
    }
}

/// Neither escape sequences nor what turns text around.
fn is_harmless(text: &str) -> bool {
    let harms = |letter: char| letter.is_control() && letter != '\n' && letter != '\t';
    !text.contains(harms) && !text.contains('\u{202e}')
}

fn shown(error: &HostError) -> String {
    let output = error.output().unwrap_or_default();
    format!(
        "{}\n{output}\n{}",
        chain(error),
        error.help().unwrap_or_default()
    )
}

/// Connects to a server that behaves so.
async fn connected(behaviour: impl Behaviour) -> (Ssh, Server, Keys) {
    let keys = Keys::make();
    let server = Server::start(keys.config(), Arc::new(behaviour)).await;
    keys.trust(&[server.port]);
    let ssh = Ssh::connect(&keys.node("host1", server.port), &impatient()).await;
    (ssh.unwrap(), server, keys)
}

/// Connects to something that is no SSH server: it sends these bytes again and again, then waits.
async fn refused(bytes: &'static [u8], times: usize) -> (HostError, Duration) {
    let keys = Keys::make();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    keys.trust(&[port]);
    let listening = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        for _ in 0..times {
            if stream.write_all(bytes).await.is_err() {
                return;
            }
        }
        std::future::pending::<()>().await;
    });
    let begun = Instant::now();
    let error = Ssh::connect(&keys.node("host1", port), &impatient()).await;
    let took = begun.elapsed();
    listening.abort();
    (error.err().expect("it is no SSH server"), took)
}

/// Resident memory of this process, bytes.
fn memory() -> u64 {
    let text = fs_err::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

#[tokio::test]
async fn a_server_that_never_speaks_is_given_up_in_time() {
    let (error, took) = refused(b"", 0).await;
    assert!(matches!(error, HostError::Unreachable { .. }), "{error:?}");
    assert!(took < PATIENCE + Duration::from_secs(2), "{took:?}");
}

#[tokio::test]
async fn garbage_instead_of_a_handshake_is_refused_in_time_and_escaped() {
    let garbage: &[&'static [u8]] = &[
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"SSH-2.0-\x1b[2J\x1b]0;owned\x07\r\n\xff\xff\xff\xff\xff",
        b"SSH-2.0-x\r\n\x7f\xff\xff\xff\x05garbage",
        &[0; 4096],
        &[0xff; 4096],
    ];
    for bytes in garbage {
        let (error, took) = refused(bytes, 1).await;
        assert!(matches!(error, HostError::Unreachable { .. }), "{error:?}");
        assert!(is_harmless(&shown(&error)), "{error:?}");
        assert!(took < PATIENCE + Duration::from_secs(2), "{took:?}");
    }
}

#[tokio::test]
async fn an_endless_greeting_is_cut() {
    let before = memory();
    let (error, took) = refused(&[b'x'; 8192], 1 << 17).await;
    assert!(matches!(error, HostError::Unreachable { .. }), "{error:?}");
    assert!(took < PATIENCE + Duration::from_secs(2), "{took:?}");
    let grown = memory().saturating_sub(before) >> 20;
    println!("an endless greeting: {took:?}, {grown} MiB");
    assert!(grown < 300, "{grown} MiB");
}

#[tokio::test]
async fn a_request_that_is_never_answered_ends_at_its_deadline() {
    let (ssh, _server, _keys) = connected(async |_: Asked| std::future::pending().await).await;
    let begun = Instant::now();
    let command = Command::new("true").deadline(Duration::from_secs(1));
    let error = ssh.run(&command).await.unwrap_err();
    assert!(matches!(error, HostError::Deadline { .. }), "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(4));
}

#[tokio::test]
async fn garbage_for_an_answer_is_called_garbage() {
    fn garbage() -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..4096_u32).map(|at| (at * 31 % 251) as u8).collect();
        bytes.extend_from_slice(ESCAPES.as_bytes());
        bytes
    }
    let (ssh, _server, _keys) =
        connected(|asked: Asked| async move { asked.answer(garbage()).await }).await;
    let error = ssh.probe(&[Probe::Machine]).await.unwrap_err();
    assert!(matches!(error, HostError::Garbled { .. }), "{error:?}");
    assert!(is_harmless(&shown(&error)), "{error:?}");
}

/// It proves that it has read the script, and then lies.
#[tokio::test]
async fn garbage_in_the_right_frame_is_called_garbage() {
    let (ssh, _server, _keys) = connected(async |asked: Asked| {
        let nonce = asked.nonce();
        let bytes = format!("{nonce}\n\n{nonce} machine\nclock {ESCAPES}\n{nonce} end\n");
        asked.answer(bytes.into_bytes()).await;
    })
    .await;
    let error = ssh.probe(&[Probe::Machine]).await.unwrap_err();
    assert!(matches!(error, HostError::Garbled { .. }), "{error:?}");
    assert!(is_harmless(&shown(&error)), "{error:?}");
}

#[tokio::test]
async fn a_connection_that_closes_in_the_middle_is_lost() {
    let (ssh, _server, _keys) = connected(async |asked: Asked| {
        let half = format!("{}\n\nhalf an answ", asked.nonce());
        let _ = asked.handle.data(asked.channel, half.into_bytes()).await;
        asked.disconnect().await;
    })
    .await;
    let begun = Instant::now();
    let error = ssh.run(&Command::new("true")).await.unwrap_err();
    assert!(matches!(error, HostError::Lost { .. }), "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(4));
}

/// Sends four gigabytes on one of the two streams, as long as anybody takes them.
async fn flood(asked: Asked, stream: u32, peak: Arc<AtomicU64>, sent: Arc<AtomicU64>) {
    let chunk = vec![b'x'; 32 * 1024];
    for number in 0..(4 << 30) / chunk.len() {
        let (handle, channel) = (&asked.handle, asked.channel);
        let went = match stream {
            0 => handle.data(channel, chunk.clone()).await,
            _ => handle.extended_data(channel, stream, chunk.clone()).await,
        };
        if went.is_err() {
            return;
        }
        sent.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        if number % 32 == 0 {
            peak.fetch_max(memory(), Ordering::Relaxed);
        }
    }
}

/// The memory is that of both ends.
#[tokio::test]
async fn gigabytes_are_cut_off_and_the_host_is_left() {
    for stream in [0, 1] {
        let (peak, sent) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (ended, mut end) = tokio::sync::mpsc::unbounded_channel();
        let counts = (Arc::clone(&peak), Arc::clone(&sent));
        let floods = move |asked: Asked| {
            let ((peak, sent), ended) = (counts.clone(), ended.clone());
            async move {
                flood(asked, stream, peak, sent).await;
                let _ = ended.send(());
            }
        };
        let (ssh, _server, _keys) = connected(floods).await;
        let (before, begun) = (memory(), Instant::now());
        let error = ssh.probe(&[Probe::Machine]).await.unwrap_err();
        let took = begun.elapsed();
        assert!(chain(&error).contains("64 MiB"), "{error:?}");
        drop(ssh);
        let left = tokio::time::timeout(Duration::from_secs(20), end.recv()).await;
        assert!(left.is_ok(), "the host goes on sending");
        let grown = peak.load(Ordering::Relaxed).saturating_sub(before) >> 20;
        let sent = sent.load(Ordering::Relaxed) >> 20;
        println!("a flood on stream {stream}: {took:?}, {sent} MiB sent, {grown} MiB of memory");
        assert!(took < Duration::from_secs(120), "{took:?}");
        assert!(grown < 400, "{grown} MiB");
        assert!(sent < 512, "{sent} MiB");
    }
}

#[tokio::test]
async fn a_changed_host_key_is_refused_before_anything_is_said() {
    let keys = Keys::make();
    let asked = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&asked);
    let count = move |_: Asked| {
        counted.fetch_add(1, Ordering::Relaxed);
        async {}
    };
    let server = Server::start(keys.changed_config(), Arc::new(count)).await;
    keys.trust(&[server.port]);
    let error = Ssh::connect(&keys.node("host1", server.port), &impatient()).await;
    let error = error.err().expect("another key is on file");
    assert!(matches!(error, HostError::ChangedKey { .. }), "{error:?}");
    assert_eq!(asked.load(Ordering::Relaxed), 0);
}

/// The key changes between two connections of one run: the second one is refused, not trusted because the first one was.
#[tokio::test]
async fn a_host_key_that_changes_under_way_is_refused() {
    let keys = Keys::make();
    let close = async |asked: Asked| {
        asked.disconnect().await;
    };
    let server = Server::start(keys.config(), Arc::new(close)).await;
    keys.trust(&[server.port]);
    let ssh = Ssh::connect(&keys.node("host1", server.port), &impatient())
        .await
        .unwrap();
    assert!(ssh.run(&Command::new("true")).await.is_err());
    server.change_key(keys.changed_config());
    let error = ssh.run(&Command::new("true")).await.unwrap_err();
    assert!(matches!(error, HostError::ChangedKey { .. }), "{error:?}");
}

/// Everything that a hostile host says, in every stream, on its way to the terminal.
#[tokio::test(flavor = "multi_thread")]
async fn escapes_do_not_reach_the_terminal() {
    let (_ssh, server, keys) = connected(async |asked: Asked| {
        let (handle, channel) = (&asked.handle, asked.channel);
        let _ = handle
            .extended_data(channel, 1, ESCAPES.as_bytes().to_vec())
            .await;
        let bytes = format!("{ESCAPES}\n{}\n{ESCAPES}\n", asked.nonce());
        asked.answer(bytes.into_bytes()).await;
    })
    .await;
    let inventory = keys.inventory(server.port);
    for arguments in [
        &["exec", "--on", "worker1", "--", "true"][..],
        &["exec", "--output", "json", "--on", "worker1", "--", "true"],
        &["plan", "--on", "worker1"],
        &["status"],
        &["provision", "--yes", "--on", "worker1"],
    ] {
        let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_quorate"))
            .args(arguments)
            .args(["-i", inventory.as_str()])
            .env("XDG_STATE_HOME", &keys.directory)
            .env("NO_COLOR", "1")
            .output()
            .await
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(!said.trim().is_empty(), "{arguments:?} said nothing");
        assert!(is_harmless(&said), "{arguments:?}: {said:?}");
    }
}
