//! This computer as a host that `provision` may change: an sshd in namespaces of its own, whose process 1 it is under the name
//! of systemd, behind an address that exists nowhere else. quorate runs beside it, in the same network.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use crate::sshd::{children, keygen};
use crate::{Outcome, Quorate};

/// A network, a host name and /run that end with the process.
const SETTING: &str = "\
ip link add eth0 type veth peer name cable
ip address add 10.9.1.201/24 dev eth0
ip address add 10.9.1.100/32 dev lo
for link in cable lo eth0; do ip link set $link up; done
hostname worker1
mount -t tmpfs tmpfs /run
mkdir /run/sshd
exec ./systemd -D -e -f sshd_config
";

const INVENTORY: &str = "\
cluster: { name: here, kubernetes: v1.30.2 }
vip: { address: 10.9.1.100, managed: false }
ssh: { user: root, identity-file: id, known-hosts: known_hosts, config: false }
masters: { master1: 10.9.1.101 }
workers: { worker1: 10.9.1.201 }
cni: none
";

/// A host under way.
pub struct Machine {
    pub quorate: Quorate,
    child: Child,
    first: u32,
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Process 1 of the namespace goes with it, and everything else there with that.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Machine {
    pub fn boot() -> Self {
        let quorate = Quorate::new();
        let directory = &quorate.directory;
        keygen(&directory.join("host_key"), "ed25519", "");
        keygen(&directory.join("id"), "ed25519", "");
        fs_err::copy("/usr/sbin/sshd", directory.join("systemd")).unwrap();
        let key = fs_err::read_to_string(directory.join("host_key.pub")).unwrap();
        quorate
            .write("inventory.yaml", INVENTORY)
            .write("known_hosts", &format!("10.9.1.201 {key}"))
            .write(
                "sshd_config",
                &format!(
                    "ListenAddress 10.9.1.201\nHostKey {directory}/host_key\nPidFile none\nUsePAM no\nStrictModes no\n\
                     AuthorizedKeysFile {directory}/id.pub\nPermitRootLogin yes\n"
                ),
            );
        let script = SETTING.replace("./", &format!("{directory}/"));
        let script = script.replace("-f sshd", &format!("-f {directory}/sshd"));
        let mut child = Command::new("unshare")
            .args(["--net", "--pid", "--uts", "--mount", "--fork"])
            .args(["--kill-child", "--mount-proc", "sh", "-ec", &script])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("Server listening") {
            let more = log.read_line(&mut line).unwrap();
            assert!(more > 0, "the machine did not boot: {line}");
        }
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        let first = children(child.id())[0];
        Self {
            quorate,
            child,
            first,
        }
    }

    /// A playbook with one file after another; each must be accepted by its command.
    pub fn playbook(&self, files: &[(&str, &str)]) {
        let directory = &self.quorate.directory;
        let steps: String = files
            .iter()
            .map(|(name, check)| {
                let check = serde_json::json!(["sh", "-c", check, "sh", directory, "{}"]);
                format!(
                    "      - name: Write {name}\n        do: {{ template: {{ src: containerd/crictl.yaml, dest: {directory}/{name}, check: {check} }} }}\n"
                )
            })
            .collect();
        self.quorate
            .write("overlay/templates/containerd/crictl.yaml", "content\n")
            .write(
                "overlay/playbooks/provision.yaml",
                &format!("name: Files\nplays:\n  - name: Some files\n    hosts: workers\n    steps:\n{steps}"),
            );
    }

    /// quorate where the machine can be reached, under its own process id.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        crate::isolate(&mut command, &self.quorate.directory);
        command
            .arg(format!("--net=/proc/{}/ns/net", self.first))
            .arg(env!("CARGO_BIN_EXE_quorate"))
            .args(words)
            .args(["--on", "worker1", "--overlay", "overlay"]);
        command
    }

    pub fn run(&self, words: &[&str]) -> Outcome {
        self.quorate.outcome(self.command(words).output().unwrap())
    }

    pub fn has(&self, name: &str) -> bool {
        self.quorate.directory.join(name).exists()
    }
}
