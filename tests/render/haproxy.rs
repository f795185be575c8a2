//! What HAProxy makes of its configuration.

use std::process::Command;

use camino::Utf8Path;
use quorate::inventory::Role;

use crate::support::{Cluster, SAMPLES, repository, run, said, scratch};

/// `haproxy -c`, with the paths of the target host that this computer lacks moved to `directory`.
fn check(directory: &Utf8Path, config: &str, password: Option<&str>) {
    let ca = repository().join("tests/render/ca.crt");
    let config = config
        .replace("/etc/haproxy/kubernetes-ca.crt", ca.as_str())
        .replace("/run/haproxy/", &format!("{directory}/"));
    let path = directory.join("haproxy.cfg");
    std::fs::write(&path, &config).unwrap();
    let mut command = Command::new("haproxy");
    command.args(["-c", "-f", path.as_str()]);
    command.env_remove("QUORATE_STATS_PASSWORD");
    command.envs(password.map(|password| ("QUORATE_STATS_PASSWORD", password)));
    let output = run("haproxy", "haproxy", &mut command);
    let text = said(&output);
    assert!(output.status.success(), "{text}\n{config}");
    assert!(!text.contains("WARNING"), "{text}\n{config}");
}

#[test]
fn haproxy_accepts_every_sample() {
    let directory = scratch("haproxy");
    for sample in SAMPLES {
        for node in Cluster::load(sample).hosts(Role::LoadBalancer) {
            let before = Cluster::load(sample);
            let after = Cluster::load(sample).with_ca(&node.name);
            for cluster in [before, after] {
                let config = cluster.render("haproxy/haproxy.cfg", &node.name);
                check(&directory, &config, None);
                check(&directory, &config, Some("with space\"quote$dollar\\"));
            }
        }
    }
}

#[test]
fn verifies_the_apiservers_once_it_has_their_ca() {
    let sample = "inventory/ha.yaml";
    let before = Cluster::load(sample).render("haproxy/haproxy.cfg", "lb1");
    let after = Cluster::load(sample)
        .with_ca("lb1")
        .render("haproxy/haproxy.cfg", "lb1");
    assert_eq!(before.matches("check verify none").count(), 3);
    assert_eq!(after.matches("check verify none").count(), 0);
    let verified = "check verify required ca-file /etc/haproxy/kubernetes-ca.crt";
    assert_eq!(after.matches(verified).count(), 3);
}

#[test]
fn has_none_of_the_seeds_mistakes() {
    for sample in SAMPLES {
        let cluster = Cluster::load(sample);
        let vip = cluster.inventory.vip.address;
        for node in cluster.hosts(Role::LoadBalancer) {
            let config = cluster.render("haproxy/haproxy.cfg", &node.name);
            // A back-up cannot bind an address that it does not hold.
            assert!(!config.contains(&format!("bind {vip}")), "{config}");
            // An admin page for everybody.
            assert!(!config.contains("stats admin"), "{config}");
            assert!(!config.contains("bind *:"), "{config}");
            // Alive is not ready, and an open port is neither.
            assert!(config.contains("uri /readyz "), "{config}");
            assert!(!config.contains("tcp-check"), "{config}");
            // Watches would be cut every minute.
            for timeout in ["client", "server", "tunnel"] {
                assert!(
                    config.contains(&format!("timeout {timeout} 4h\n")),
                    "{config}"
                );
            }
        }
    }
}

#[test]
fn descriptors_suffice_for_the_connections() {
    let cluster = Cluster::load("tests/render/full.yaml");
    let unit = cluster.render("haproxy/override.conf", "lb1");
    let limit: u32 = unit
        .lines()
        .find_map(|line| line.strip_prefix("LimitNOFILE="))
        .unwrap()
        .parse()
        .unwrap();
    // HAProxy asked for 40032 with `maxconn 20000`.
    assert!(limit > 2 * cluster.inventory.load_balancer.max_connections + 200);
}
