//! What Keepalived makes of its configuration, and whether the address would move.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use camino::Utf8Path;
use quorate::inventory::Role;

use crate::support::{Cluster, SAMPLES, run, said, scratch};

const SCRIPT: &str = "/usr/local/libexec/quorate/check_haproxy";

/// The words behind a keyword that stands once in the file.
fn setting<'a>(config: &'a str, keyword: &str) -> Vec<&'a str> {
    let lines: Vec<Vec<&str>> = config
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|words| words.first() == Some(&keyword))
        .collect();
    assert_eq!(lines.len(), 1, "`{keyword}` in {config}");
    lines[0][1..].to_vec()
}

fn number(config: &str, keyword: &str) -> f64 {
    setting(config, keyword)[0].parse().unwrap()
}

/// `keepalived -t` in a network namespace that has the interface, with the check script in a place of ours.
fn check(directory: &Utf8Path, config: &str) -> (Option<i32>, String) {
    let interface = setting(config, "interface")[0];
    let config = config.replace(SCRIPT, directory.join("check_haproxy").as_str());
    let path = directory.join("keepalived.conf");
    std::fs::write(&path, &config).unwrap();
    let script = "ip link add \"$1\" type veth peer name other && exec keepalived -t -f \"$2\"";
    let is_root = Utf8Path::new("/root").read_dir_utf8().is_ok();
    let mut command = Command::new("unshare");
    command.arg(if is_root { "-n" } else { "-rn" }).args([
        "sh",
        "-c",
        script,
        "sh",
        interface,
        path.as_str(),
    ]);
    let output = run("unshare", "util-linux", &mut command);
    let text = said(&output);
    assert_ne!(
        output.status.code(),
        Some(127),
        "{text}: install with `apt-get install keepalived iproute2`"
    );
    (output.status.code(), format!("{text}\n{config}"))
}

fn install_script(directory: &Utf8Path, content: &str) {
    let path = directory.join("check_haproxy");
    std::fs::write(&path, content).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
}

#[test]
fn keepalived_accepts_every_sample() {
    let directory = scratch("keepalived");
    for sample in SAMPLES {
        let cluster = Cluster::load(sample);
        for node in cluster.hosts(Role::LoadBalancer) {
            install_script(
                &directory,
                &cluster.render("keepalived/check_haproxy", &node.name),
            );
            let config = cluster.render("keepalived/keepalived.conf", &node.name);
            let (status, text) = check(&directory, &config);
            assert_eq!(status, Some(0), "{sample}: {text}");
        }
    }
}

/// Without this, the test above would prove nothing.
#[test]
fn keepalived_refuses_the_seeds_mistakes() {
    let directory = scratch("keepalived-seed");
    let cluster = Cluster::load("inventory/ha.yaml");
    let good = cluster.render("keepalived/keepalived.conf", "lb1");
    install_script(
        &directory,
        &cluster.render("keepalived/check_haproxy", "lb1"),
    );
    for (right, wrong) in [
        ("state BACKUP", "state MASTER"),
        ("virtual_router_id", "virtual_router_id 300 #"),
        (SCRIPT, "/nowhere/check_haproxy"),
        (
            "advert_int",
            "authentication {\n auth_type PASS\n auth_pass mypassword\n }\n advert_int",
        ),
    ] {
        let (status, text) = check(&directory, &good.replace(right, wrong));
        assert_ne!(status, Some(0), "{wrong}: {text}");
    }
}

#[test]
fn the_address_moves_when_the_check_fails() {
    for sample in SAMPLES {
        let cluster = Cluster::load(sample);
        let mut priorities = Vec::new();
        for node in cluster.hosts(Role::LoadBalancer) {
            let config = cluster.render("keepalived/keepalived.conf", &node.name);
            // Weight 0: a failing check means FAULT, which gives the address away whatever the priorities. With any other
            // weight the address moves only if the weight is larger than the gap and preemption is on.
            assert_eq!(setting(&config, "weight"), ["0"]);
            assert_eq!(setting(&config, "state"), ["BACKUP"]);
            assert_eq!(setting(&config, "nopreempt"), [""; 0]);
            assert_eq!(setting(&config, "check_haproxy"), [""; 0]);
            assert_eq!(setting(&config, "script"), [format!("\"{SCRIPT}\"")]);
            assert!(!config.contains('`'), "no shell runs a script: {config}");
            assert!(!config.contains("auth_pass"), "VRRPv3 has none: {config}");
            let id: u8 = setting(&config, "virtual_router_id")[0].parse().unwrap();
            assert!(id != 0 && id != 51, "{id}");
            priorities.push(setting(&config, "priority")[0].parse::<u8>().unwrap());
        }
        let mut distinct = priorities.clone();
        distinct.dedup();
        assert_eq!(priorities, distinct, "{sample}");
        assert!(priorities.is_sorted_by(|first, second| first > second));
        assert!(
            priorities
                .iter()
                .all(|priority| (1..255).contains(priority))
        );
    }
}

/// The bars: 1.5 s when the holder's link is cut, 2 s when HAProxy stops on it.
#[test]
fn the_address_moves_in_time() {
    let cluster = Cluster::load("inventory/ha.yaml");
    let holder = cluster.render("keepalived/keepalived.conf", "lb1");
    let backup = cluster.render("keepalived/keepalived.conf", "lb2");
    let script = cluster.render("keepalived/check_haproxy", "lb1");
    let advert = number(&backup, "advert_int");
    let skew = advert * (256.0 - number(&backup, "priority")) / 256.0;
    let missed = 3.0 * advert + skew;
    assert!(missed < 1.0, "a dead holder is missed after {missed} s");

    let pause: f64 = script
        .lines()
        .find_map(|line| line.strip_prefix("sleep "))
        .unwrap()
        .parse()
        .unwrap();
    // Stopped just after a check: an interval, `fall - 1` more, the second look of the last; then the holder says goodbye
    // and the back-up waits for the skew only.
    let seen = number(&holder, "interval") * number(&holder, "fall") + pause;
    assert!(
        seen + skew < 1.5,
        "a stopped HAProxy costs {} s",
        seen + skew
    );

    let answer: f64 = script
        .split_once("--max-time ")
        .and_then(|(_, rest)| rest.split_whitespace().next())
        .unwrap()
        .parse()
        .unwrap();
    let longest = 2.0 * answer + pause;
    assert!(longest < number(&holder, "timeout"), "killed in mid-look");
}

#[test]
fn every_load_balancer_hears_of_all_others() {
    for sample in SAMPLES {
        let cluster = Cluster::load(sample);
        let all = cluster.hosts(Role::LoadBalancer);
        for node in &all {
            let config = cluster.render("keepalived/keepalived.conf", &node.name);
            if all.len() == 1 {
                // It has no peer to name.
                assert!(!config.contains("unicast"), "{config}");
                continue;
            }
            let (_, rest) = config.split_once("unicast_peer {").unwrap();
            let peers: Vec<&str> = rest.split_once('}').unwrap().0.split_whitespace().collect();
            let others: Vec<String> = all
                .iter()
                .filter(|other| other.name != node.name)
                .map(|other| other.address.to_string())
                .collect();
            assert_eq!(peers, others);
            let own = node.address.to_string();
            assert_eq!(setting(&config, "unicast_src_ip"), [own]);
        }
    }
}

#[test]
fn the_check_is_a_posix_script() {
    let directory = scratch("check");
    let script = Cluster::load("inventory/ha.yaml").render("keepalived/check_haproxy", "lb1");
    install_script(&directory, &script);
    let path = directory.join("check_haproxy");
    let output = run("sh", "dash", Command::new("sh").args(["-n", path.as_str()]));
    assert!(output.status.success(), "{}", said(&output));
}
