//! A real sshd on a loopback port, with keys and files of its own, ended with its value.

#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "each test file uses a part of it"
)]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use quorate::host::host_key::NewHostKeys;
use quorate::host::ssh::ConnectOptions;
use quorate::inventory::{Node, Role, SshSettings};

/// A running server.
pub struct Sshd {
    child: Child,
    pub port: u16,
    pub directory: Utf8PathBuf,
    _temporary: tempfile::TempDir,
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let sessions = self.sessions();
        let _ = self.child.kill();
        let _ = self.child.wait();
        for session in sessions {
            kill(session);
        }
    }
}

/// Runs a program that must succeed.
pub fn succeed(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("`{program}` is needed for this test: {error}"));
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

pub fn keygen(path: &Utf8Path, kind: &str, passphrase: &str) {
    succeed(
        "ssh-keygen",
        &[
            "-q",
            "-t",
            kind,
            "-N",
            passphrase,
            "-C",
            "test",
            "-f",
            path.as_str(),
        ],
    );
}

pub fn kill(process: u32) {
    let _ = Command::new("kill")
        .args(["-9", &process.to_string()])
        .stderr(Stdio::null())
        .status();
}

impl Sshd {
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// Starts with further lines of configuration.
    pub fn start_with(lines: &str) -> Self {
        let (temporary, directory) = Self::prepare();
        Self::start_in(temporary, directory, lines, &[])
    }

    /// Starts in a mount namespace of its own, where a user `qops` and a sudoers file exist that the computer knows
    /// nothing of.
    pub fn start_in_namespace(shadow: &str, sudoers: &str) -> Self {
        let (temporary, directory) = Self::prepare();
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs_err::set_permissions(&directory, open).unwrap();
        let passwd = fs_err::read_to_string("/etc/passwd").unwrap();
        let shadows = fs_err::read_to_string("/etc/shadow").unwrap();
        let files = [
            (
                "passwd",
                format!("{passwd}qops:x:4242:4242::/:/bin/sh\n"),
                0o644,
            ),
            ("shadow", format!("{shadows}{shadow}\n"), 0o600),
            (
                "sudoers",
                format!("Defaults env_reset,!lecture\nroot ALL=(ALL) ALL\n{sudoers}\n"),
                0o440,
            ),
        ];
        let mut script = String::from("set -e\n");
        for (name, text, mode) in files {
            let path = directory.join(name);
            fs_err::write(&path, text).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
            fs_err::set_permissions(&path, mode).unwrap();
            let bind = format!("mount --bind {path} /etc/{name}\n");
            script.push_str(&bind);
        }
        script.push_str("exec \"$@\"");
        let wrapper = [
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            &script,
            "sh",
        ];
        Self::start_in(temporary, directory, "", &wrapper)
    }

    fn prepare() -> (tempfile::TempDir, Utf8PathBuf) {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Utf8PathBuf::from_path_buf(temporary.path().to_owned()).unwrap();
        keygen(&directory.join("host_key"), "ed25519", "");
        keygen(&directory.join("id"), "ed25519", "");
        fs_err::copy(directory.join("id.pub"), directory.join("authorized_keys")).unwrap();
        (temporary, directory)
    }

    /// Starts on a directory that holds `host_key` and `authorized_keys`, under `wrapper`, which must end in `exec`.
    fn start_in(
        temporary: tempfile::TempDir,
        directory: Utf8PathBuf,
        lines: &str,
        wrapper: &[&str],
    ) -> Self {
        fs_err::create_dir_all("/run/sshd").unwrap();
        let config = directory.join("sshd_config");
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let text = format!(
            "{lines}\nListenAddress 127.0.0.1\nPort {port}\nHostKey {directory}/host_key\nPidFile none\nUsePAM no\nStrictModes no\n\
             AuthorizedKeysFile {directory}/authorized_keys\nPasswordAuthentication no\nPermitRootLogin yes\nMaxStartups 200\n"
        );
        fs_err::write(&config, text).unwrap();
        let server = ["/usr/sbin/sshd", "-D", "-e", "-f", config.as_str()];
        let words = [wrapper, server.as_slice()].concat();
        let (program, arguments) = words.split_first().unwrap();
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("sshd is needed for this test: install openssh-server");
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut seen = String::new();
        loop {
            let mut line = String::new();
            assert!(log.read_line(&mut line).unwrap() > 0, "sshd ended: {seen}");
            if line.contains("Server listening") {
                break;
            }
            seen.push_str(&line);
        }
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self {
            child,
            port,
            directory,
            _temporary: temporary,
        }
    }

    pub fn host_key(&self) -> String {
        let key = fs_err::read_to_string(self.directory.join("host_key.pub")).unwrap();
        key.split(' ').take(2).collect::<Vec<_>>().join(" ")
    }

    pub fn authorize(&self, public: &Utf8Path) {
        let all = self.directory.join("authorized_keys");
        let mut text = fs_err::read_to_string(&all).unwrap();
        text.push_str(&fs_err::read_to_string(public).unwrap());
        fs_err::write(all, text).unwrap();
    }

    /// Writes a known_hosts file for this server.
    pub fn known_hosts(&self) -> Utf8PathBuf {
        self.known_hosts_with(&format!("[127.0.0.1]:{} {}\n", self.port, self.host_key()))
    }

    pub fn known_hosts_with(&self, text: &str) -> Utf8PathBuf {
        let path = self.directory.join("known_hosts");
        fs_err::write(&path, text).unwrap();
        path
    }

    /// How to log in as root with the server's own key.
    pub fn settings(&self) -> SshSettings {
        SshSettings {
            port: Some(self.port),
            user: Some("root".to_owned()),
            identity_files: vec![self.directory.join("id")],
            known_hosts: Some(self.known_hosts()),
            ..SshSettings::default()
        }
    }

    pub fn node(&self) -> Node {
        node("host1", self.settings())
    }

    /// Processes that serve connections.
    pub fn sessions(&self) -> Vec<u32> {
        children(self.child.id())
    }
}

/// Child processes.
pub fn children(process: u32) -> Vec<u32> {
    fs_err::read_to_string(format!("/proc/{process}/task/{process}/children"))
        .unwrap_or_default()
        .split_whitespace()
        .map(|id| id.parse().unwrap())
        .collect()
}

pub fn node(name: &str, ssh: SshSettings) -> Node {
    Node {
        name: name.to_owned(),
        address: Ipv4Addr::LOCALHOST,
        role: Role::Master,
        labels: BTreeMap::new(),
        taints: None,
        tags: Vec::new(),
        weight: 100,
        etcd: None,
        ssh,
    }
}

/// Options without an agent and without the user's home.
pub fn options() -> ConnectOptions {
    ConnectOptions {
        new_host_keys: NewHostKeys::Refuse,
        timeout: Duration::from_secs(20),
        agent: None,
        home: None,
        ..ConnectOptions::default()
    }
}
