//! etcd as a cluster of its own, real and under systemd: founded, changed, cut off, wiped, while a client asks the API.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::client::Client;
use crate::harness::Lab;

/// The version that Debian 12 has.
const VERSION: &str = "3.4.23";

const CLUSTER: Duration = Duration::from_secs(300);

/// How long a member is watched without its peers.
const CUT: Duration = Duration::from_secs(10);

const MEMBERS: [&str; 3] = ["master1", "master2", "master3"];

/// Members on the masters, with a network of their own for the traffic between them.
pub fn on_the_masters() {
    let lab = Lab::up();
    let peers = PeerNetwork::new(&lab, &MEMBERS);
    let host = |host: &&str| format!("    {host}: {{ peer-address: {} }}", peers.address(host));
    let hosts: Vec<String> = MEMBERS.iter().map(host).collect();
    write_etcd(
        &lab,
        &format!(
            "  peer-network: {}\n  hosts:\n{}\n",
            peers.network(),
            hosts.join("\n")
        ),
    );
    founded(&lab);
    a_member_whose_peers_are_cut_off_is_reported_and_clients_are_served(&lab, &peers);
    a_changed_setting_rolls_one_member_at_a_time(&lab);
    a_member_that_lost_its_data_is_added_again(&lab);
}

/// Members on hosts of their own: what the lab booted as workers.
pub fn on_hosts_of_their_own() {
    let lab = Lab::up_with(&["--lbs", "1", "--masters", "1", "--workers", "3"]);
    let path = lab.inventory();
    let text = std::fs::read_to_string(&path).expect("the lab wrote an inventory");
    let (rest, workers) = text.split_once("workers:\n").expect("it has workers");
    let hosts: Vec<String> = workers.lines().map(|line| format!("  {line}")).collect();
    std::fs::write(&path, rest).expect("written");
    write_etcd(&lab, &format!("  hosts:\n{}\n", hosts.join("\n")));
    founded(&lab);
}

/// Adds `etcd:` to the lab's inventory.
fn write_etcd(lab: &Lab, members: &str) {
    let path = lab.inventory();
    let text = std::fs::read_to_string(&path).expect("the lab wrote an inventory");
    let etcd =
        format!("etcd:\n  version: {VERSION}\n  quota: 1GiB\n  snapshot-count: 10000\n{members}");
    std::fs::write(&path, format!("{text}{etcd}")).expect("written");
}

fn founded(lab: &Lab) {
    let plan = lab.must(&["plan"]);
    assert!(plan.contains("Ports between the hosts"), "{plan}");
    let summary = lab.json(&["provision", "--yes"]);
    println!("lab: provisioned with an etcd of its own: {summary}");
    lab.wait("the cluster to be whole", CLUSTER, is_whole);
    println!("{}", lab.must(&["status"]));
    nothing_changes(lab);
}

fn nothing_changes(lab: &Lab) {
    let summary = lab.json(&["provision"]);
    println!("lab: a provision that changes nothing: {summary}");
    assert_eq!(summary["changed"], 0);
}

fn is_whole(status: &Value) -> bool {
    let members = status["etcd"].as_array();
    let is_healthy = |member: &Value| {
        let etcd = &member["etcd"];
        etcd["is_healthy"] == true && etcd["members"].as_array().is_some_and(|all| all.len() == 3)
    };
    status["health"] == "ok"
        && members.is_some_and(|members| members.len() == 3 && members.iter().all(is_healthy))
}

fn a_member_whose_peers_are_cut_off_is_reported_and_clients_are_served(
    lab: &Lab,
    peers: &PeerNetwork,
) {
    let client = Client::start(lab.endpoint(), &lab.ca());
    peers.set(MEMBERS[2], "down");
    let status = lab.wait("the cut member to be reported", CLUSTER, |status| {
        status["health"] == "degraded"
    });
    println!("lab: peers of {} cut: {}", MEMBERS[2], status["problems"]);
    std::thread::sleep(CUT);
    peers.set(MEMBERS[2], "up");
    lab.wait("the cluster to be whole", CLUSTER, is_whole);
    let figures = client.stop();
    println!("lab: a member's peer network cut: {figures}");
}

fn a_changed_setting_rolls_one_member_at_a_time(lab: &Lab) {
    let path = lab.inventory();
    let text = std::fs::read_to_string(&path).expect("an inventory");
    std::fs::write(
        &path,
        text.replace("snapshot-count: 10000", "snapshot-count: 20000"),
    )
    .expect("written");
    let client = Client::start(lab.endpoint(), &lab.ca());
    let begun = Instant::now();
    let summary = lab.json(&["provision", "--yes"]);
    println!(
        "lab: a setting of etcd changed in {:?}: {summary}",
        begun.elapsed()
    );
    println!("lab: meanwhile {}", client.stop());
    // Each member its file and its restart.
    assert_eq!(summary["changed"], 6);
    nothing_changes(lab);
}

fn a_member_that_lost_its_data_is_added_again(lab: &Lab) {
    lab.on(
        MEMBERS[1],
        "systemctl stop etcd && rm -rf /var/lib/etcd-external/member",
    );
    let client = Client::start(lab.endpoint(), &lab.ca());
    let begun = Instant::now();
    let summary = lab.json(&["provision", "--yes"]);
    println!(
        "lab: a wiped member was added again in {:?}: {summary}",
        begun.elapsed()
    );
    println!("lab: meanwhile {}", client.stop());
    lab.wait("the cluster to be whole", CLUSTER, is_whole);
    nothing_changes(lab);
}

/// A second bridge with a cable to some hosts, which is their `eth1`. It carries the lab's mark, so that `lab down` takes it
/// away.
struct PeerNetwork {
    subnet: u8,
}

impl PeerNetwork {
    fn new(lab: &Lab, hosts: &[&str]) -> Self {
        let endpoint = lab.endpoint().ip().to_string();
        let subnet = endpoint
            .split('.')
            .nth(2)
            .and_then(|part| part.parse().ok());
        let network = Self {
            subnet: subnet.expect("10.77.N.100"),
        };
        let bridge = network.bridge();
        ip(&[
            "link",
            "add",
            &bridge,
            "type",
            "bridge",
            "stp_state",
            "0",
            "forward_delay",
            "0",
        ]);
        ip(&[
            "link",
            "set",
            &bridge,
            "alias",
            &format!("quorate-lab:{}", lab.name()),
        ]);
        ip(&["link", "set", &bridge, "up"]);
        for host in hosts {
            let cable = network.cable(host);
            let namespace = format!("qr.{}.{host}", lab.name());
            ip(&[
                "link", "add", &cable, "type", "veth", "peer", "name", "eth1", "netns", &namespace,
            ]);
            ip(&["link", "set", &cable, "master", &bridge, "up"]);
            let address = format!("{}/24", network.address(host));
            ip(&["-n", &namespace, "address", "add", &address, "dev", "eth1"]);
            ip(&["-n", &namespace, "link", "set", "eth1", "up"]);
        }
        network
    }

    fn bridge(&self) -> String {
        format!("qrp-{}", self.subnet)
    }

    fn cable(&self, host: &str) -> String {
        format!("qrp{}{}", self.subnet, &host[host.len() - 1..])
    }

    fn network(&self) -> String {
        format!("10.78.{}.0/24", self.subnet)
    }

    fn address(&self, host: &str) -> String {
        format!("10.78.{}.10{}", self.subnet, &host[host.len() - 1..])
    }

    fn set(&self, host: &str, state: &str) {
        ip(&["link", "set", &self.cable(host), state]);
    }
}

fn ip(words: &[&str]) {
    let output = Command::new("ip").args(words).output().expect("ip starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {words:?}: {said}");
}
