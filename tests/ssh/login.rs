//! Who is let in, and with what.

use camino::{Utf8Path, Utf8PathBuf};
use quorate::host::command::Command;
use quorate::host::error::HostError;
use quorate::host::ssh::{ConnectOptions, Ssh};
use quorate::host::transport::Transport as _;
use quorate::secret::SecretSource;

use crate::sshd::{Sshd, keygen, options, succeed};

/// Connects with this identity file and sees that requests work.
async fn log_in(server: &Sshd, identity: &Utf8Path) -> Result<(), HostError> {
    let mut node = server.node();
    node.ssh.identity_files = vec![identity.to_owned()];
    let ssh = Ssh::connect(&node, &options()).await?;
    ssh.run(&Command::new("true")).await.map(|_| ())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_key_logs_in() {
    let server = Sshd::start();
    for kind in ["ed25519", "ecdsa", "rsa"] {
        let key = server.directory.join(kind);
        keygen(&key, kind, "");
        server.authorize(&key.with_extension("pub"));
        log_in(&server, &key).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_the_server_does_not_know_is_refused() {
    let server = Sshd::start();
    let key = server.directory.join("stranger");
    keygen(&key, "ed25519", "");
    let error = log_in(&server, &key).await.unwrap_err();
    let HostError::LoginRefused { user, tried, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!((user.as_str(), tried.as_str()), ("root", key.as_str()));
    assert!(error.is_connection());
    assert!(error.help().unwrap().contains("~root/.ssh/authorized_keys"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_or_broken_identity_is_named() {
    let server = Sshd::start();
    let broken = server.directory.join("broken");
    fs_err::write(&broken, "no key").unwrap();
    for path in [server.directory.join("missing"), broken] {
        let error = log_in(&server, &path).await.unwrap_err();
        assert!(
            matches!(&error, HostError::Identity { path: named, .. } if *named == path),
            "{error}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_key_is_opened_with_its_passphrase() {
    let server = Sshd::start();
    let (key, passphrase) = (
        server.directory.join("locked"),
        server.directory.join("passphrase"),
    );
    keygen(&key, "ed25519", "open sesame");
    server.authorize(&key.with_extension("pub"));
    let error = log_in(&server, &key).await.unwrap_err();
    assert!(
        matches!(&error, HostError::Identity { reason, .. } if reason.contains("encrypted")),
        "{error}"
    );
    let mut node = server.node();
    node.ssh.identity_files = vec![key];
    node.ssh.passphrase = Some(SecretSource::File(passphrase.clone()));
    let error = Ssh::connect(&node, &options()).await.err().unwrap();
    assert!(
        matches!(&error, HostError::Identity { .. }),
        "no such file: {error}"
    );
    fs_err::write(&passphrase, "wrong\n").unwrap();
    let error = Ssh::connect(&node, &options()).await.err().unwrap();
    assert!(
        matches!(&error, HostError::Identity { reason, .. } if reason.contains("does not fit")),
        "{error}"
    );
    fs_err::write(&passphrase, "open sesame\n").unwrap();
    Ssh::connect(&node, &options()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_read_once_for_all_hosts() {
    let server = Sshd::start();
    let key = server.directory.join("locked");
    keygen(&key, "ed25519", "open sesame");
    server.authorize(&key.with_extension("pub"));
    let count = server.directory.join("count");
    let script = format!("echo read >>{count}; echo open sesame");
    let nodes: Vec<_> = (0..5)
        .map(|_| {
            let mut node = server.node();
            node.ssh.identity_files = vec![key.clone()];
            let words = ["sh", "-c", &script].map(str::to_owned).to_vec();
            node.ssh.passphrase = Some(SecretSource::Command(words));
            std::sync::Arc::new(node)
        })
        .collect();
    let (_, errors) = quorate::host::Hosts::connect(&nodes, &options()).await;
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(fs_err::read_to_string(count).unwrap(), "read\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_beside_the_key_logs_in() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| Utf8PathBuf::from_path_buf(directory.path().join(name)).unwrap();
    keygen(&path("ca"), "ed25519", "");
    let server = Sshd::start_with(&format!("TrustedUserCAKeys {}.pub", path("ca")));
    for kind in ["ed25519", "rsa"] {
        keygen(&path(kind), kind, "");
        log_in(&server, &path(kind)).await.unwrap_err();
        let public = format!("{}.pub", path(kind));
        succeed(
            "ssh-keygen",
            &[
                "-q",
                "-s",
                path("ca").as_str(),
                "-I",
                "id",
                "-n",
                "root",
                "-V",
                "-1h:+1h",
                &public,
            ],
        );
        log_in(&server, &path(kind)).await.unwrap();
    }
}

/// A running ssh-agent, ended by its id.
struct Agent {
    process: std::process::Child,
    socket: Utf8PathBuf,
}

impl Agent {
    fn start(directory: &Utf8Path, keys: &[&Utf8Path]) -> Self {
        let socket = directory.join("agent");
        let process = std::process::Command::new("ssh-agent")
            .args(["-D", "-a", socket.as_str()])
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("ssh-agent is needed for this test");
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            std::thread::yield_now();
        }
        for key in keys {
            let added = std::process::Command::new("ssh-add")
                .args(["-q", key.as_str()])
                .env("SSH_AUTH_SOCK", &socket)
                .status()
                .unwrap();
            assert!(added.success());
        }
        Self { process, socket }
    }

    fn options(&self) -> ConnectOptions {
        ConnectOptions {
            agent: Some(self.socket.clone()),
            ..options()
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_logs_in_with_any_kind_of_key() {
    let server = Sshd::start();
    for kind in ["ed25519", "rsa"] {
        let key = server.directory.join(kind);
        keygen(&key, kind, "");
        server.authorize(&key.with_extension("pub"));
        let agent = Agent::start(&server.directory, &[&key]);
        let mut node = server.node();
        node.ssh.identity_files.clear();
        Ssh::connect(&node, &agent.options()).await.unwrap();
        node.ssh.identity_files = vec![format!("{key}.pub").into()];
        Ssh::connect(&node, &agent.options()).await.unwrap();
        drop(agent);
        fs_err::remove_file(server.directory.join("agent")).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_key_that_the_agent_holds_needs_no_passphrase() {
    let server = Sshd::start();
    let key = server.directory.join("key");
    keygen(&key, "ed25519", "");
    let agent = Agent::start(&server.directory, &[&key]);
    succeed(
        "ssh-keygen",
        &["-q", "-p", "-N", "secret", "-f", key.as_str()],
    );
    server.authorize(&key.with_extension("pub"));
    let mut node = server.node();
    node.ssh.identity_files = vec![key];
    Ssh::connect(&node, &agent.options()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_to_offer_is_said() {
    let server = Sshd::start();
    let mut node = server.node();
    node.ssh.identity_files.clear();
    let error = Ssh::connect(&node, &options()).await.err().unwrap();
    assert!(
        matches!(&error, HostError::LoginRefused { tried, .. } if tried.contains("no agent")),
        "{error}"
    );
}
