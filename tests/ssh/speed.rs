//! What the transport costs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use quorate::host::Hosts;
use quorate::host::probe::Probe;
use quorate::inventory::{Inventory, Node};

use crate::sshd::{Sshd, options};

/// What a run that changes nothing costs beside the OpenSSH client doing the same. Against ten sshds on loopback, or a lab:
/// `QUORATE_LAB=.lab cargo test --release --test ssh -- --ignored --nocapture measures`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn measures_connect_and_probe_beside_openssh() {
    let server = Sshd::start();
    let nodes: Vec<Arc<Node>> = match std::env::var("QUORATE_LAB") {
        Ok(lab) => Inventory::load(&Utf8PathBuf::from(lab).join("inventory.yaml"))
            .unwrap()
            .inventory
            .nodes
            .into_iter()
            .map(Arc::new)
            .collect(),
        Err(_) => (0..10).map(|_| Arc::new(server.node())).collect(),
    };
    let probes = typical_probes();
    let script = server.directory.join("script");
    fs_err::write(&script, quorate::host::ssh::probe_script(&probes)).unwrap();
    println!(
        "{} hosts, milliseconds: quorate connected, in all, own CPU; OpenSSH in all, its CPU",
        nodes.len()
    );
    for _ in 0..9 {
        let (wall, cpu) = (Instant::now(), own_cpu());
        let (hosts, errors) = Hosts::connect(&nodes, &options()).await;
        assert!(errors.is_empty(), "{errors:?}");
        let connected = wall.elapsed();
        let reads = hosts.iter().map(|host| host.transport.probe(&probes));
        for readings in futures::future::join_all(reads).await {
            readings.unwrap();
        }
        let (all, cpu) = (wall.elapsed(), own_cpu().saturating_sub(cpu));
        let (wall, its_cpu) = (Instant::now(), children_cpu());
        let clients: Vec<_> = nodes.iter().map(|node| openssh(node, &script)).collect();
        for mut client in clients {
            assert!(client.wait().unwrap().success());
        }
        let its_cpu = children_cpu().saturating_sub(its_cpu);
        let times = [connected, all, cpu, wall.elapsed(), its_cpu];
        println!("{:?}", times.map(|time| time.as_millis()));
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

fn openssh(node: &Node, script: &Utf8Path) -> std::process::Child {
    let user = node.ssh.user.as_deref().unwrap();
    let known_hosts = format!(
        "UserKnownHostsFile={}",
        node.ssh.known_hosts.as_ref().unwrap()
    );
    let shell = if user == "root" {
        "/bin/sh -s"
    } else {
        "sudo -n /bin/sh -s"
    };
    std::process::Command::new("ssh")
        .args([
            "-F",
            "none",
            "-T",
            "-p",
            &node.ssh.port.unwrap_or(22).to_string(),
        ])
        .args(["-o", &known_hosts, "-o", "IdentitiesOnly=yes"])
        .args(["-i", node.ssh.identity_files.first().unwrap().as_str()])
        .args([&format!("{user}@{}", node.address), shell])
        .stdin(fs_err::File::open(script).unwrap().into_parts().0)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap()
}

/// User and system time of this process.
fn own_cpu() -> Duration {
    cpu(11)
}

/// User and system time of the children that were waited for, the server excluded.
fn children_cpu() -> Duration {
    cpu(13)
}

fn cpu(field: usize) -> Duration {
    let stat = fs_err::read_to_string("/proc/self/stat").unwrap();
    let (_, after_name) = stat.rsplit_once(')').unwrap();
    let fields = after_name.split_whitespace().skip(field).take(2);
    let ticks: u64 = fields.map(|word| word.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}
