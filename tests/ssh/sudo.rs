//! Becoming root, through a sudo and a user that exist in a mount namespace of the test's own.

use std::time::{Duration, Instant};

use quorate::host::command::{Command, Status};
use quorate::host::error::HostError;
use quorate::host::ssh::Ssh;
use quorate::host::transport::Transport as _;
use quorate::secret::SecretSource;

use crate::sshd::{Sshd, options};

const PASSWORD: &str = "open sesame";

/// `PASSWORD` as crypt(3) has it.
const HASH: &str = "$6$quorate$VhQAajAcJsEQj5Q6M2YpDjnfYW8euTDG/9QRPsXX1VrgVlGzg9ik39jIBwF4BUltzR1.A6iQvwzYpdmjkkaIR1";

/// A server that lets the user `qops` in, with these lines in its sudoers.
fn server(sudoers: &str) -> Sshd {
    Sshd::start_in_namespace(&format!("qops:{HASH}:19000:0:99999:7:::"), sudoers)
}

async fn connect(server: &Sshd, password: Option<&str>) -> Ssh {
    let mut node = server.node();
    node.ssh.user = Some("qops".to_owned());
    node.ssh.sudo_password = password.map(|password| {
        let path = server.directory.join("password");
        fs_err::write(&path, format!("{password}\n")).unwrap();
        SecretSource::File(path)
    });
    Ssh::connect(&node, &options()).await.unwrap()
}

async fn id(ssh: &Ssh) -> Result<String, HostError> {
    Ok(ssh.run(&Command::new("id").arg("-u")).await?.text())
}

#[tokio::test(flavor = "multi_thread")]
async fn sudo_without_a_password_makes_root() {
    let server = server("qops ALL=(ALL) NOPASSWD: ALL");
    let ssh = connect(&server, None).await;
    assert_eq!(id(&ssh).await.unwrap(), "0\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn sudo_that_wants_a_password_gets_it_over_standard_input() {
    let server = server("qops ALL=(ALL) ALL");
    let ssh = connect(&server, Some(PASSWORD)).await;
    assert_eq!(id(&ssh).await.unwrap(), "0\n");
    let bytes: Vec<u8> = (0..=255).cycle().take(1_000_000).collect();
    let command = Command::new("cat").stdin(bytes.clone());
    assert!(ssh.run(&command).await.unwrap().stdout == bytes);
    let outputs = futures::future::join_all((0..10).map(|_| id(&ssh))).await;
    assert!(outputs.into_iter().all(|output| output.unwrap() == "0\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_sudo_does_not_ask_for_reaches_nobody() {
    let server = server("qops ALL=(ALL) NOPASSWD: ALL");
    let ssh = connect(&server, Some(PASSWORD)).await;
    let output = ssh.run(&Command::new("cat").stdin("input")).await.unwrap();
    assert_eq!(
        (output.text().as_str(), output.stderr.as_slice()),
        ("input", &b""[..])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sudo_that_wants_a_password_and_gets_none_is_said() {
    let server = server("qops ALL=(ALL) ALL");
    let ssh = connect(&server, None).await;
    let error = id(&ssh).await.unwrap_err();
    assert!(
        matches!(&error, HostError::Sudo { reason, .. } if reason.contains("password is required")),
        "{error}"
    );
    assert!(error.is_connection());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_tried_once() {
    let server = server("qops ALL=(ALL) ALL\nDefaults:qops logfile=/run/quorate-test-sudo.log");
    let ssh = connect(&server, Some("wrong")).await;
    let error = id(&ssh).await.unwrap_err();
    assert!(
        matches!(&error, HostError::Sudo { reason, .. } if reason.contains("try again")),
        "{error}"
    );
    assert!(!error.to_string().contains("wrong"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_without_sudo_is_said() {
    let server = server("");
    for password in [None, Some(PASSWORD)] {
        let ssh = connect(&server, password).await;
        let error = id(&ssh).await.unwrap_err();
        assert!(matches!(error, HostError::Sudo { .. }), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn status_and_death_come_through_sudo() {
    let server = server("qops ALL=(ALL) NOPASSWD: ALL\nDefaults use_pty");
    let ssh = connect(&server, None).await;
    let exit = Command::new("sh").args(["-c", "exit 7"]);
    assert_eq!(ssh.run(&exit).await.unwrap().status, Status::Code(7));
    let die = Command::new("sh").args(["-c", "kill -9 $$"]);
    let status = ssh.run(&die).await.unwrap().status;
    assert!(
        matches!(status, Status::Signal | Status::Code(137)),
        "{status:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lock_is_held_through_sudo() {
    for (sudoers, password) in [
        ("NOPASSWD: ALL", None),
        ("ALL", Some(PASSWORD)),
        ("NOPASSWD: ALL", Some(PASSWORD)),
    ] {
        let server = server(&format!("qops ALL=(ALL) {sudoers}"));
        let (ssh, other) = (
            connect(&server, password).await,
            connect(&server, password).await,
        );
        let name = format!("test-{}", server.port);
        let guard = ssh.lock(&name, "anna's").await.unwrap();
        let error = other.lock(&name, "ben").await.unwrap_err();
        assert!(
            matches!(&error, HostError::Locked { owner, .. } if owner == "anna's"),
            "{error}"
        );
        drop(guard);
        let deadline = Instant::now() + Duration::from_secs(20);
        while let Err(error) = other.lock(&name, "ben").await {
            assert!(Instant::now() < deadline, "{error}");
        }
        fs_err::remove_file(format!("/run/lock/quorate-{name}.lock")).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_without_sudo_is_refused_as_such() {
    let server = server("qops ALL=(ALL) ALL");
    for password in [None, Some("wrong")] {
        let error = connect(&server, password)
            .await
            .lock("test", "anna")
            .await
            .unwrap_err();
        assert!(matches!(error, HostError::Sudo { .. }), "{error}");
    }
}
