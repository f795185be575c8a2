//! Requests: commands, probes, files, and what happens when the connection breaks.

use std::time::{Duration, Instant};

use crate::connect;
use crate::sshd::{Sshd, children, kill};
use quorate::host::command::{Command, Script, Status};
use quorate::host::error::HostError;
use quorate::host::file::RemoteFile;
use quorate::host::probe::{FileContent, FileReading, Probe};
use quorate::host::transport::Transport as _;

#[tokio::test(flavor = "multi_thread")]
async fn runs_a_program_and_returns_its_outputs_and_status() {
    let server = Sshd::start();
    let ssh = connect(&server).await;
    let script = Script::new("three", "echo out; echo err >&2; exit $1").arg("3");
    let output = ssh.run(&Command::script(script)).await.unwrap();
    assert_eq!(output.status, Status::Code(3));
    assert_eq!(output.stdout, b"out\n");
    assert_eq!(output.stderr, b"err\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_death_by_signal() {
    let server = Sshd::start();
    let ssh = connect(&server).await;
    let command = Command::new("sh").args(["-c", "kill -9 $$"]);
    let output = ssh.run(&command).await.unwrap();
    assert_eq!(output.status, Status::Signal);
}

#[tokio::test(flavor = "multi_thread")]
async fn carries_eight_mebibytes_both_ways() {
    let server = Sshd::start();
    let ssh = connect(&server).await;
    let bytes: Vec<u8> = (0..8 * 1024 * 1024_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let output = ssh
        .run(&Command::new("cat").stdin(bytes.clone()))
        .await
        .unwrap();
    assert_eq!(output.status, Status::Code(0));
    assert!(output.stdout == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_calls_share_eight_channels() {
    let server = Sshd::start();
    let ssh = connect(&server).await;
    let commands: Vec<Command> = (0..20)
        .map(|index| Command::new("echo").arg(index.to_string()))
        .collect();
    let outputs = futures::future::join_all(commands.iter().map(|command| ssh.run(command))).await;
    for (index, output) in outputs.into_iter().enumerate() {
        assert_eq!(output.unwrap().text(), format!("{index}\n"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_files_sysctls_scripts_and_the_machine() {
    let server = Sshd::start();
    let ssh = connect(&server).await;
    let file = server.directory.join("it's a file");
    fs_err::write(&file, "two\nlines, no newline at the end").unwrap();
    let script = Script::new("args", "printf '%s|' \"$@\"; exit 4")
        .arg("a b")
        .arg("");
    let probes = [
        Probe::Machine,
        Probe::File(file.clone()),
        Probe::File("/nonexistent".into()),
        Probe::File("/etc".into()),
        Probe::Digest(file.clone()),
        Probe::Digest(server.directory.join("id")),
        Probe::Package("openssh-server".to_owned()),
        Probe::Package("no-such-package".to_owned()),
        Probe::Unit("ssh.service".to_owned()),
        Probe::Sysctl("net.ipv4.ip_forward".to_owned()),
        Probe::Sysctl("no.such.thing".to_owned()),
        Probe::Script(script.clone()),
    ];
    let readings = ssh.probe(&probes).await.unwrap();
    assert_eq!(readings.machine().unwrap().boot_id.len(), 36);
    let state = readings.file(&file).unwrap().present().unwrap();
    assert_eq!(
        state.content,
        FileContent::Bytes(b"two\nlines, no newline at the end".as_slice().into())
    );
    assert_eq!(
        (state.owner.as_str(), state.group.as_str()),
        ("root", "root")
    );
    assert!(
        readings
            .machine()
            .unwrap()
            .clock_us
            .abs_diff(state.modified_us)
            < 60_000_000
    );
    assert_eq!(
        *readings.file("/nonexistent".into()).unwrap(),
        FileReading::Absent
    );
    assert_eq!(
        readings
            .file("/etc".into())
            .unwrap()
            .present()
            .unwrap()
            .content,
        FileContent::Directory
    );
    assert!(matches!(
        readings
            .file(&server.directory.join("id"))
            .unwrap()
            .present()
            .unwrap()
            .content,
        FileContent::Sha256(_)
    ));
    assert!(
        readings
            .package("openssh-server")
            .unwrap()
            .version
            .is_some()
    );
    assert!(
        readings
            .package("no-such-package")
            .unwrap()
            .version
            .is_none()
    );
    assert!(matches!(
        readings.sysctl("net.ipv4.ip_forward").unwrap(),
        Some("0" | "1")
    ));
    assert_eq!(readings.sysctl("no.such.thing").unwrap(), None);
    let script = readings.script(&script).unwrap();
    assert_eq!(
        (script.status, script.stdout.as_str()),
        (Status::Code(4), "a b||")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_a_file_that_its_check_accepts() {
    let server = Sshd::start();
    let ssh = connect(&server).await;
    let path = server.directory.join("new/dir/file.conf");
    let mut file = RemoteFile {
        path: path.clone(),
        content: b"hello\n".to_vec(),
        mode: 0o640,
        owner: "root:daemon".to_owned(),
        check: Some(vec![
            "grep".to_owned(),
            "-q".to_owned(),
            "hello".to_owned(),
            "{}".to_owned(),
        ]),
        undo: None,
    };
    ssh.write(std::slice::from_ref(&file)).await.unwrap();
    assert_eq!(fs_err::read(&path).unwrap(), b"hello\n");
    file.content = b"bye\n".to_vec();
    let error = ssh.write(&[file]).await.unwrap_err();
    assert!(matches!(error, HostError::FileRefused { .. }), "{error}");
    assert_eq!(fs_err::read(&path).unwrap(), b"hello\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_is_kept() {
    let server = Sshd::start();
    let ssh = connect(&server).await;
    let command = Command::new("sleep")
        .arg("60")
        .deadline(Duration::from_millis(300));
    let error = ssh.run(&command).await.unwrap_err();
    assert!(matches!(error, HostError::Deadline { .. }), "{error}");
}

/// Waits until the file exists.
async fn until_exists(path: &camino::Utf8Path) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !path.exists() {
        assert!(Instant::now() < deadline, "{path} did not appear");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_connection_is_a_loss_and_the_next_request_connects_again() {
    let server = Sshd::start();
    let ssh = connect(&server).await;
    let flag = server.directory.join("started");
    let script = Script::new("wait", "touch \"$1\"; sleep 60").arg(flag.as_str());
    let command = Command::script(script);
    let (lost, ()) = tokio::join!(ssh.run(&command), async {
        until_exists(&flag).await;
        for session in server.sessions() {
            children(session).into_iter().for_each(kill);
            kill(session);
        }
    });
    let error = lost.unwrap_err();
    assert!(matches!(error, HostError::Lost { .. }), "{error}");
    assert!(error.help().unwrap().contains("run the same command again"));
    let output = ssh.run(&Command::new("echo").arg("back")).await.unwrap();
    assert_eq!(output.text(), "back\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_died_idle_is_replaced_without_a_word() {
    let server = Sshd::start();
    let ssh = connect(&server).await;
    for session in server.sessions() {
        children(session).into_iter().for_each(kill);
        kill(session);
    }
    let output = ssh.run(&Command::new("echo").arg("back")).await.unwrap();
    assert_eq!(output.text(), "back\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_gone_is_unreachable() {
    let server = Sshd::start();
    let ssh = connect(&server).await;
    drop(server);
    let error = loop {
        match ssh.run(&Command::new("true")).await.unwrap_err() {
            HostError::Lost { .. } => {}
            error => break error,
        }
    };
    assert!(
        matches!(&error, HostError::Unreachable { reason, .. } if reason == "connection refused"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_allows_one_session_gets_one_at_a_time() {
    let server = Sshd::start_with("MaxSessions 1");
    let ssh = connect(&server).await;
    let commands: Vec<Command> = (0..5)
        .map(|index| Command::new("echo").arg(index.to_string()))
        .collect();
    let outputs = futures::future::join_all(commands.iter().map(|command| ssh.run(command))).await;
    for (index, output) in outputs.into_iter().enumerate() {
        assert_eq!(output.unwrap().text(), format!("{index}\n"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_over_64_mebibytes_is_refused() {
    let server = Sshd::start();
    let ssh = connect(&server).await;
    let command = Command::new("head").args(["-c", "70000000", "/dev/zero"]);
    let error = ssh.run(&command).await.unwrap_err();
    assert!(matches!(error, HostError::Garbled { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_shell_that_chatters_does_no_harm() {
    let server =
        Sshd::start_with("ForceCommand echo noise; echo more >&2; eval \"$SSH_ORIGINAL_COMMAND\"");
    let ssh = connect(&server).await;
    let output = ssh.run(&Command::new("echo").arg("answer")).await.unwrap();
    assert_eq!(output.text(), "answer\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_gives_no_shell_is_garbled_with_what_it_said() {
    let server = Sshd::start_with("ForceCommand echo This account is not available >&2; exit 1");
    let ssh = connect(&server).await;
    let error = ssh.run(&Command::new("true")).await.unwrap_err();
    assert!(
        matches!(&error, HostError::Garbled { reason, .. } if reason.contains("not available")),
        "{error:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_over_one_mebibyte_is_read_as_its_digest() {
    let server = Sshd::start();
    let ssh = connect(&server).await;
    let path = server.directory.join("large");
    fs_err::write(&path, vec![b'x'; 3_000_000]).unwrap();
    let readings = ssh.probe(&[Probe::File(path.clone())]).await.unwrap();
    let state = readings.file(&path).unwrap().present().unwrap();
    assert!(matches!(state.content, FileContent::Sha256(_)));
    assert_eq!(state.size, 3_000_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_seen_in_the_process_list() {
    let secret = format!("s3cret-{}", uuid::Uuid::now_v7());
    let server = Sshd::start();
    let ssh = connect(&server).await;
    let (started, go) = (
        server.directory.join("started"),
        server.directory.join("go"),
    );
    let wait = "touch \"$1\"; until [ -e \"$2\" ]; do sleep 0.05; done";
    let command = Command::script(
        Script::new("wait", wait)
            .arg(started.as_str())
            .arg(go.as_str()),
    )
    .stdin(secret.clone());
    let file = RemoteFile {
        path: server.directory.join("secret"),
        content: secret.clone().into_bytes(),
        mode: 0o600,
        owner: "root:root".to_owned(),
        check: Some(
            ["sh", "-c", wait, "sh", &format!("{started}2"), go.as_str()]
                .map(str::to_owned)
                .to_vec(),
        ),
        undo: None,
    };
    let look = async {
        until_exists(&started).await;
        until_exists(&server.directory.join("started2")).await;
        let seen = processes_that_show(&secret);
        fs_err::write(&go, "").unwrap();
        seen
    };
    let files = [file];
    let (run, write, seen) = tokio::join!(ssh.run(&command), ssh.write(&files), look);
    run.unwrap();
    write.unwrap();
    assert_eq!(seen, Vec::<String>::new());
}

/// Command lines and environments that hold the text, plainly or as base64.
fn processes_that_show(text: &str) -> Vec<String> {
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD.encode(text);
    let mut seen = Vec::new();
    for process in fs_err::read_dir("/proc").unwrap().flatten() {
        for file in ["cmdline", "environ"] {
            let bytes = fs_err::read(process.path().join(file)).unwrap_or_default();
            let content = String::from_utf8_lossy(&bytes).into_owned();
            if content.contains(text) || content.contains(&encoded) {
                seen.push(content);
            }
        }
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn what_passed_its_deadline_holds_up_nobody() {
    let server = Sshd::start_with("MaxSessions 1");
    let ssh = connect(&server).await;
    for _ in 0..3 {
        let command = Command::new("sleep")
            .arg("20")
            .deadline(Duration::from_millis(300));
        let error = ssh.run(&command).await.unwrap_err();
        assert!(matches!(error, HostError::Deadline { .. }), "{error}");
    }
    assert_eq!(
        ssh.run(&Command::new("echo").arg("next"))
            .await
            .unwrap()
            .text(),
        "next\n"
    );
}
