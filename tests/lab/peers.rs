//! A network of its own for what etcd's members say to each other.

use std::net::Ipv4Addr;
use std::process::Command;

/// A second bridge with a cable to some hosts, which is their `eth1`. It carries the lab's mark, so that `lab down` takes it
/// away.
pub struct PeerNetwork {
    lab: String,
    hosts: Vec<String>,
    /// The third byte of its addresses, the same as of the lab's.
    subnet: u8,
}

impl PeerNetwork {
    /// Makes it; `endpoint`: an address of the lab.
    pub fn new(lab: &str, endpoint: Ipv4Addr, hosts: &[&str]) -> Self {
        let network = Self {
            lab: lab.to_owned(),
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            subnet: endpoint.octets()[2],
        };
        let bridge = network.bridge();
        let link = ["link", "add", &bridge, "type", "bridge"];
        ip(&[&link[..], &["stp_state", "0", "forward_delay", "0"]].concat());
        let mark = format!("quorate-lab:{lab}");
        ip(&["link", "set", &bridge, "alias", &mark]);
        ip(&["link", "set", &bridge, "up"]);
        for host in hosts {
            network.plug_in(host);
        }
        network
    }

    /// Gives a host that has just been booted its cable, if it is one of the network's. The old one goes with the machine, when
    /// the kernel comes to it, or now.
    pub fn plug_in(&self, host: &str) {
        if !self.hosts.iter().any(|it| it == host) {
            return;
        }
        let cable = self.cable(host);
        let old = Command::new("ip").args(["link", "delete", &cable]).output();
        old.expect("ip starts");
        let namespace = format!("qr.{}.{host}", self.lab);
        let link = ["link", "add", &cable, "type", "veth"];
        let far_end = ["peer", "name", "eth1", "netns", &namespace];
        ip(&[link, far_end].concat());
        ip(&["link", "set", &cable, "master", &self.bridge(), "up"]);
        let address = format!("{}/24", self.address(host));
        ip(&["-n", &namespace, "address", "add", &address, "dev", "eth1"]);
        ip(&["-n", &namespace, "link", "set", "eth1", "up"]);
    }

    fn bridge(&self) -> String {
        format!("qrp-{}", self.subnet)
    }

    fn cable(&self, host: &str) -> String {
        format!("qrp{}{}", self.subnet, &host[host.len() - 1..])
    }

    /// Its addresses, as an inventory names them.
    pub fn network(&self) -> String {
        format!("10.78.{}.0/24", self.subnet)
    }

    /// A host's address in it.
    pub fn address(&self, host: &str) -> String {
        format!("10.78.{}.10{}", self.subnet, &host[host.len() - 1..])
    }

    /// Sets a host's cable `up` or `down`.
    pub fn set(&self, host: &str, state: &str) {
        ip(&["link", "set", &self.cable(host), state]);
    }
}

fn ip(words: &[&str]) {
    let output = Command::new("ip").args(words).output().expect("ip starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {words:?}: {said}");
}
