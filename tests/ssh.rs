//! The transport against a real sshd.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod sshd;

use std::time::Duration;

use camino::Utf8PathBuf;
use quorate::host::command::{Command, Script, Status};
use quorate::host::error::HostError;
use quorate::host::file::RemoteFile;
use quorate::host::host_key::NewHostKeys;
use quorate::host::probe::{FileContent, FileReading, Probe};
use quorate::host::ssh::{ConnectOptions, Ssh};
use quorate::host::transport::Transport as _;
use sshd::{Sshd, options};

async fn connect(server: &Sshd) -> Ssh {
    Ssh::connect(&server.node(), &options()).await.unwrap()
}

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
        FileContent::Bytes(b"two\nlines, no newline at the end".to_vec())
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
async fn refuses_an_unknown_host_key_and_accepts_it_on_demand() {
    let server = Sshd::start();
    let mut node = server.node();
    let file: Utf8PathBuf = server.directory.join("empty/known_hosts");
    node.ssh.known_hosts = Some(file.clone());
    let error = Ssh::connect(&node, &options()).await.err().unwrap();
    assert!(matches!(error, HostError::UnknownKey { .. }), "{error}");
    let accepting = ConnectOptions {
        new_host_keys: NewHostKeys::Accept,
        ..options()
    };
    Ssh::connect(&node, &accepting).await.unwrap();
    Ssh::connect(&node, &options()).await.unwrap();
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

/// What a run that changes nothing costs per host, beside the OpenSSH client doing the same: `cargo test --release --test
/// ssh -- --ignored --nocapture measures`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn measures_connect_and_probe_beside_openssh() {
    let server = Sshd::start();
    let nodes: Vec<_> = (0..10)
        .map(|_| std::sync::Arc::new(server.node()))
        .collect();
    let probes = typical_probes();
    for round in 0..5 {
        let (wall, cpu) = (std::time::Instant::now(), own_cpu());
        let (hosts, errors) = quorate::host::Hosts::connect(&nodes, &options()).await;
        assert!(errors.is_empty());
        let connected = wall.elapsed();
        let reads = hosts.iter().map(|host| host.transport.probe(&probes));
        for readings in futures::future::join_all(reads).await {
            readings.unwrap();
        }
        println!(
            "quorate, 10 hosts, round {round}: {connected:?} to connect, {:?} in all, {:?} of own CPU",
            wall.elapsed(),
            own_cpu() - cpu
        );
    }
    let script = server.directory.join("script");
    fs_err::write(&script, quorate::host::ssh::probe_script(&probes)).unwrap();
    for round in 0..5 {
        let wall = std::time::Instant::now();
        let clients: Vec<_> = nodes.iter().map(|_| openssh(&server, &script)).collect();
        for mut client in clients {
            assert!(client.wait().unwrap().success());
        }
        println!(
            "OpenSSH, 10 hosts, round {round}: {:?} in all",
            wall.elapsed()
        );
    }
}

fn typical_probes() -> Vec<Probe> {
    let mut probes = vec![Probe::Machine];
    probes.extend(
        [
            "/etc/hosts",
            "/etc/fstab",
            "/etc/sysctl.conf",
            "/etc/haproxy/haproxy.cfg",
            "/etc/keepalived/keepalived.conf",
        ]
        .map(|path| Probe::File(path.into())),
    );
    probes.extend(
        ["/etc/kubernetes/admin.conf", "/etc/passwd"].map(|path| Probe::Digest(path.into())),
    );
    probes.extend(["kubeadm", "kubelet", "containerd"].map(|name| Probe::Package(name.to_owned())));
    probes
        .extend(["kubelet.service", "containerd.service"].map(|name| Probe::Unit(name.to_owned())));
    probes.extend(
        ["net.ipv4.ip_forward", "net.bridge.bridge-nf-call-iptables"]
            .map(|name| Probe::Sysctl(name.to_owned())),
    );
    probes
}

fn openssh(server: &Sshd, script: &camino::Utf8Path) -> std::process::Child {
    let known_hosts = format!("UserKnownHostsFile={}", server.known_hosts());
    std::process::Command::new("ssh")
        .args([
            "-F",
            "none",
            "-T",
            "-p",
            &server.port.to_string(),
            "-o",
            &known_hosts,
            "-o",
            "IdentitiesOnly=yes",
        ])
        .args([
            "-i",
            server.directory.join("id").as_str(),
            "root@127.0.0.1",
            "/bin/sh -s",
        ])
        .stdin(fs_err::File::open(script).unwrap().into_parts().0)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap()
}

/// User and system time of this process.
fn own_cpu() -> Duration {
    let stat = fs_err::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit_once(')').unwrap().1;
    let ticks: u64 = after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|word| word.parse::<u64>().unwrap())
        .sum();
    Duration::from_millis(ticks * 10)
}
