//! The lab as a test sees it: real hosts that go away with the value.

use std::cell::OnceCell;
use std::hash::{Hash as _, Hasher as _};
use std::net::{IpAddr, SocketAddr};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use camino::Utf8PathBuf;
use serde_json::Value;

use crate::peers::PeerNetwork;

/// Time between two questions about the cluster's state.
const POLL: Duration = Duration::from_secs(2);

/// A wait that is told, with what it was for.
const NOTABLE: Duration = Duration::from_secs(15);

/// Where a run that is not waited for says what it says.
const STARTED: &str = "started.stderr";

/// A running lab, with its own state directory and its own home for quorate's state.
pub struct Lab {
    name: String,
    _directory: tempfile::TempDir,
    state: Utf8PathBuf,
    home: Utf8PathBuf,
    peers: OnceCell<PeerNetwork>,
}

impl Lab {
    /// Boots two load balancers, three masters and a worker.
    ///
    /// The lab's name tells this checkout from others on the computer; what a killed run of this checkout left is removed.
    pub fn up() -> Self {
        Self::up_with(&[])
    }

    /// The same with further arguments of `lab up`, how many hosts there are for example.
    pub fn up_with(arguments: &[&str]) -> Self {
        let mut hasher = std::hash::DefaultHasher::new();
        env!("CARGO_MANIFEST_DIR").hash(&mut hasher);
        let name = format!("test-{:04x}", hasher.finish() & 0xffff);
        let directory = tempfile::tempdir().expect("a temporary directory");
        let base = Utf8PathBuf::from_path_buf(directory.path().to_owned()).expect("UTF-8");
        let (state, home) = (base.join("lab"), base.join("state"));
        let lab = Self {
            name,
            _directory: directory,
            state,
            home,
            peers: OnceCell::new(),
        };
        lab.quorate(&["lab", "down", "--name", &lab.name]);
        let up = [
            "lab",
            "up",
            "--name",
            &lab.name,
            "--state-dir",
            lab.state.as_str(),
        ];
        lab.must(&[&up[..], arguments].concat());
        lab
    }

    /// Makes a second network of these hosts, which stay in it whenever they are booted.
    pub fn with_peer_network(&self, hosts: &[&str]) -> &PeerNetwork {
        let IpAddr::V4(endpoint) = self.endpoint().ip() else {
            panic!("a lab speaks IPv4");
        };
        self.peers
            .get_or_init(|| PeerNetwork::new(&self.name, endpoint, hosts))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Quorate as it is run here, to be run.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
        command
            .args(words)
            .env("XDG_STATE_HOME", &self.home)
            .env("QUORATE_INVENTORY", self.inventory());
        command.stdin(Stdio::null());
        command
    }

    /// The inventory that the lab wrote.
    pub fn inventory(&self) -> Utf8PathBuf {
        self.state.join("inventory.yaml")
    }

    /// Runs quorate.
    pub fn quorate(&self, words: &[&str]) -> Output {
        self.command(words).output().expect("quorate starts")
    }

    /// Runs quorate and insists on success; its standard output.
    pub fn must(&self, words: &[&str]) -> String {
        let output = self.quorate(words);
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert!(
            output.status.success(),
            "quorate {words:?}: {}\n{out}\n{err}",
            output.status
        );
        out.into_owned()
    }

    /// Starts quorate and does not wait for it.
    pub fn start(&self, words: &[&str]) -> Child {
        let said = std::fs::File::create(self.state.join(STARTED)).expect("writable");
        self.command(words)
            .stdout(Stdio::null())
            .stderr(said)
            .spawn()
            .expect("quorate starts")
    }

    /// What the run that was started last has said so far on standard error.
    pub fn started_said(&self) -> String {
        std::fs::read_to_string(self.state.join(STARTED)).unwrap_or_default()
    }

    /// Starts quorate and kills it with SIGKILL at a random moment within `limit`, unless it has ended before. What it began on
    /// the hosts goes on there, as it does when the operator's computer dies.
    pub fn killed(&self, words: &[&str], limit: Duration) {
        let moment = Duration::from_millis(200 + super::random(millis(limit)) as u64);
        let mut run = self.start(words);
        let started = Instant::now();
        while started.elapsed() < moment && run.try_wait().expect("waits").is_none() {
            std::thread::sleep(Duration::from_millis(20));
        }
        let ended = run.try_wait().expect("waits");
        if ended.is_none() {
            run.kill().expect("kill -9");
            run.wait().expect("it ends");
        }
        println!(
            "lab: `{}` {} after {:?}",
            words.join(" "),
            ended.map_or("killed with SIGKILL".to_owned(), |it| format!(
                "had ended with {it}"
            )),
            started.elapsed()
        );
    }

    /// Runs quorate after one that was killed, whose lock ends with its connections, and insists on success. Its standard output.
    pub fn again(&self, words: &[&str]) -> String {
        let started = Instant::now();
        loop {
            let run = self.quorate(words);
            let said = String::from_utf8_lossy(&run.stderr).into_owned();
            if run.status.success() {
                println!(
                    "lab: run again, `{}` was done in {:?}",
                    words.join(" "),
                    started.elapsed()
                );
                return String::from_utf8_lossy(&run.stdout).into_owned();
            }
            assert!(said.contains("holds the cluster's lock"), "{said}");
            assert!(started.elapsed() < Duration::from_secs(90), "{said}");
        }
    }

    /// The fields of OpenSSH's client for a host of the inventory.
    pub fn ssh(&self, host: &str) -> Command {
        let loaded = quorate::inventory::Inventory::load(&self.inventory()).expect("an inventory");
        let node = loaded.inventory.node(host).expect("a host").clone();
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "none", "-l", "ops", "-i"])
            .arg(self.state.join("id_ed25519"))
            .args(["-o", "IdentitiesOnly=yes", "-o", "LogLevel=ERROR", "-o"])
            .arg(format!(
                "UserKnownHostsFile={}",
                self.state.join("known_hosts")
            ))
            .arg(node.address.to_string());
        ssh
    }

    /// Runs quorate with `--output json`; the object on the last line.
    pub fn json(&self, words: &[&str]) -> Value {
        let text = self.must(&[words, &["--output", "json"]].concat());
        last_object(&text)
    }

    /// The state of the cluster, whatever it is.
    pub fn status(&self) -> Value {
        last_object(&String::from_utf8_lossy(
            &self.quorate(&["status", "--output", "json"]).stdout,
        ))
    }

    /// A fault: `cut`, `heal`, `kill`.
    pub fn fault(&self, verb: &str, host: &str) {
        self.must(&["lab", verb, "--name", &self.name, host]);
    }

    /// Boots a host that was killed, with its disk.
    pub fn boot(&self, host: &str) {
        self.booted(&[host]);
    }

    /// Boots a host as a replaced machine: an empty disk.
    pub fn replace(&self, host: &str) {
        self.booted(&["--fresh", host]);
    }

    fn booted(&self, words: &[&str]) {
        let boot = ["lab", "boot", "--name", &self.name];
        self.must(&[&boot[..], words].concat());
        if let (Some(peers), Some(host)) = (self.peers.get(), words.last()) {
            peers.plug_in(host);
        }
    }

    /// Runs a shell line on one host through SSH.
    pub fn on(&self, host: &str, line: &str) -> String {
        self.must(&["exec", "--on", host, "--", line])
    }

    /// Waits for a condition on the cluster's state. It is asked for every two seconds: the asking costs the same processors on
    /// which the cluster runs and is measured.
    pub fn wait(
        &self,
        what: &str,
        limit: Duration,
        mut is_so: impl FnMut(&Value) -> bool,
    ) -> Value {
        let started = Instant::now();
        let mut problems = String::new();
        loop {
            let asked = Instant::now();
            let status = self.status();
            if is_so(&status) {
                if started.elapsed() > NOTABLE {
                    println!(
                        "lab: {what}: after {:?}; until then {problems}",
                        started.elapsed()
                    );
                }
                return status;
            }
            problems = status["problems"].to_string();
            assert!(
                started.elapsed() < limit,
                "{what}: not within {limit:?}; last:\n{status:#}"
            );
            std::thread::sleep(POLL.saturating_sub(asked.elapsed()));
        }
    }

    /// The virtual IP and port.
    pub fn endpoint(&self) -> SocketAddr {
        let text = std::fs::read_to_string(self.inventory()).expect("the lab wrote an inventory");
        let address = text
            .split_once("vip:")
            .and_then(|(_, rest)| rest.split_once("address:"))
            .and_then(|(_, rest)| {
                rest.split(|c: char| c != '.' && c != ' ' && !c.is_ascii_digit())
                    .next()
            })
            .expect("a virtual IP");
        format!("{}:6443", address.trim())
            .parse()
            .expect("an address")
    }

    /// The cluster's CA certificates.
    pub fn ca(&self) -> Vec<u8> {
        self.quorate(&[
            "lab",
            "ssh",
            "--name",
            &self.name,
            "master1",
            "sudo",
            "cat",
            "/etc/kubernetes/pki/ca.crt",
        ])
        .stdout
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let down = self.quorate(&["lab", "down", "--name", &self.name]);
        if !down.status.success() {
            eprintln!("lab down: {}", String::from_utf8_lossy(&down.stderr));
        }
    }
}

fn millis(time: Duration) -> usize {
    usize::try_from(time.as_millis()).expect("a short time")
}

/// The object on the last line that is one.
pub fn last_object(text: &str) -> Value {
    let line = text.lines().rev().find(|line| line.starts_with('{'));
    line.and_then(|line| serde_json::from_str(line).ok())
        .unwrap_or_else(|| panic!("no JSON object in:\n{text}"))
}
