//! What the transport costs.

use std::time::Duration;

use quorate::host::probe::Probe;

use crate::sshd::{Sshd, options};

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
            own_cpu().saturating_sub(cpu)
        );
    }
    let script = server.directory.join("script");
    fs_err::write(&script, quorate::host::ssh::probe_script(&probes)).unwrap();
    for round in 0..5 {
        let (wall, cpu) = (std::time::Instant::now(), children_cpu());
        let clients: Vec<_> = nodes.iter().map(|_| openssh(&server, &script)).collect();
        for mut client in clients {
            assert!(client.wait().unwrap().success());
        }
        println!(
            "OpenSSH, 10 hosts, round {round}: {:?} in all, {:?} of the clients' CPU",
            wall.elapsed(),
            children_cpu().saturating_sub(cpu)
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
