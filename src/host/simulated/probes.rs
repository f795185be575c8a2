//! Probes, answered from the model.

use std::net::Ipv4Addr;

use super::machine::Machine;
use super::scripts;
use super::world::World;
use crate::cluster::load_balancer::API_BACKEND;
use crate::host::command::Status;
use crate::host::facts::{Interface, Listener, Machine as Facts};
use crate::host::probe::{PackageReading, Probe, Readings, ScriptReading};

impl World {
    /// Reads everything that is asked for. A script that is not known is an error.
    pub(super) fn read(&mut self, host: &str, probes: &[Probe]) -> Result<Readings, String> {
        let mut readings = Readings::default();
        for probe in probes {
            match probe {
                Probe::Machine => readings.machine = Some(self.facts(host)),
                Probe::File(path) => {
                    let reading = self.machine(host).files.reading(path, true);
                    readings.files.insert(path.to_string(), reading);
                }
                Probe::Digest(path) => {
                    let reading = self.machine(host).files.reading(path, false);
                    // The content, if it was asked for too, says all that the digest says.
                    readings.files.entry(path.to_string()).or_insert(reading);
                }
                Probe::Package(name) => {
                    let reading = self.machine(host).package_reading(name);
                    readings.packages.insert(name.clone(), reading);
                }
                Probe::Unit(name) => {
                    let reading = self.unit_reading(host, name);
                    readings.units.insert(name.clone(), reading);
                }
                Probe::Sysctl(name) => {
                    let value = self.machine(host).sysctls.get(name).cloned();
                    readings.sysctls.insert(name.clone(), value);
                }
                Probe::Script(script) => {
                    let (status, stdout) = scripts::probe(self, host, script)?;
                    let reading = ScriptReading {
                        status: Status::Code(status),
                        stdout,
                    };
                    readings.scripts.insert(script.clone(), reading);
                }
            }
        }
        Ok(readings)
    }

    fn facts(&mut self, host: &str) -> Facts {
        let (now, vip) = (self.now, self.vip);
        let machine = self.machine(host);
        let mut facts = machine.facts.clone().unwrap_or_else(|| usual(machine));
        facts.machine_id.clone_from(&machine.machine_id);
        facts.swap = machine.swap;
        facts.clock_us = now + machine.clock_ahead_us;
        facts.clock_error_us = 1000;
        facts.operator_clock_us = now;
        facts.boot_id = format!("{}-{}", machine.name, machine.boots);
        facts.listeners = listeners(machine);
        facts.modules = machine.modules.iter().cloned().collect();
        facts.jobs = machine.running_units();
        let address = machine.address;
        for interface in &mut facts.interfaces {
            interface.addresses.retain(|(held, _)| *held != vip);
            let is_own = |(held, _): &(Ipv4Addr, u8)| *held == address;
            if machine.holds_vip && interface.addresses.iter().any(is_own) {
                interface.addresses.push((vip, 24));
            }
        }
        facts
    }
}

/// What a machine is unless it is like a real one.
fn usual(machine: &Machine) -> Facts {
    Facts {
        os_id: "debian".to_owned(),
        os_version: "12".to_owned(),
        os_name: "Debian GNU/Linux 12 (bookworm)".to_owned(),
        kernel: "6.1.0-9-amd64".to_owned(),
        architecture: "x86_64".to_owned(),
        product_uuid: Some(machine.machine_id.clone()),
        hostname: machine.name.clone(),
        cpus: 4,
        memory: 8 << 30,
        disk_free: 100 << 30,
        cgroup_v2: true,
        interfaces: std::iter::once(machine.address)
            .chain(machine.peer_address)
            .zip(0..)
            .map(|(address, number)| Interface {
                name: format!("eth{number}"),
                mac: mac(address),
                addresses: vec![(address, 24)],
            })
            .collect(),
        init: "systemd".to_owned(),
        ..Facts::default()
    }
}

impl Machine {
    fn package_reading(&self, name: &str) -> PackageReading {
        let installed = self
            .packages
            .get(name)
            .filter(|package| package.is_configured);
        installed.map_or_else(PackageReading::default, |package| PackageReading {
            version: Some(package.version.clone()),
            held: package.held,
        })
    }

    fn running_units(&self) -> Vec<String> {
        let jobs = self.jobs.values().filter(|job| job.status.is_none());
        let jobs = jobs.map(|job| format!("quorate-{}.service", job.name));
        let undos = self.undos.iter().filter(|(_, undo)| !undo.fired);
        let undos = undos.map(|(name, _)| format!("quorate-undo-{name}.timer"));
        jobs.chain(undos).collect()
    }
}

/// A hardware address made of the network's.
pub(super) fn mac(address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    format!("02:00:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

/// What listens on a machine.
pub(super) fn listeners(machine: &Machine) -> Vec<Listener> {
    let listener = |port: u16, process: &str| Listener {
        port,
        process: process.to_owned(),
    };
    let mut listeners = vec![listener(22, "sshd")];
    if machine.pods.contains_key("etcd") {
        listeners.extend([listener(2379, "etcd"), listener(2380, "etcd")]);
    }
    if machine.pods.contains_key("kube-apiserver") {
        listeners.push(listener(6443, "kube-apiserver"));
    }
    let configuration = machine.files.text("/etc/haproxy/haproxy.cfg");
    let is_ours = configuration.is_some_and(|text| text.contains(API_BACKEND));
    if machine.runs("haproxy") && is_ours {
        listeners.push(listener(6443, "haproxy"));
    }
    if machine.runs("kubelet") && machine.files.has("/var/lib/kubelet/config.yaml") {
        listeners.push(listener(10250, "kubelet"));
    }
    listeners
}
