//! A sample site for tests: the inventory of [`crate::testing`] and healthy, bare machines for it.

use std::collections::BTreeMap;

use super::preflight::{self, Finding, Verdict};
use crate::action::Fleet;
use crate::host::facts::{Interface, Machine};
use crate::host::probe::{FileState, Probe, Readings};
use crate::inventory::{Inventory, Node};

/// An inventory with what was read of each host.
pub(crate) struct Site {
    pub inventory: Inventory,
    machines: BTreeMap<String, Machine>,
    scripts: BTreeMap<String, String>,
    authorities: BTreeMap<String, String>,
}

impl Site {
    /// Two load balancers, three masters and a worker with nothing on them.
    pub(crate) fn new() -> Self {
        let inventory = crate::testing::inventory();
        let machines = inventory
            .nodes
            .iter()
            .map(|node| (node.name.clone(), machine(node)))
            .collect();
        Self {
            inventory,
            machines,
            scripts: BTreeMap::new(),
            authorities: BTreeMap::new(),
        }
    }

    /// One machine, to be changed.
    pub(crate) fn machine(&mut self, host: &str) -> &mut Machine {
        self.machines.get_mut(host).expect("a host of the sample")
    }

    /// What preflight's script says on a host.
    pub(crate) fn script(&mut self, host: &str, said: &str) {
        self.scripts.insert(host.to_owned(), said.to_owned());
    }

    /// The CA certificate on a host.
    pub(crate) fn ca(&mut self, host: &str, pem: &str) {
        self.authorities.insert(host.to_owned(), pem.to_owned());
    }

    /// Leaves a host out, as `--on` does.
    pub(crate) fn forget(&mut self, host: &str) {
        self.machines.remove(host);
    }

    /// Preflight's verdict.
    pub(crate) fn judge(&self) -> Verdict {
        preflight::judge(&self.inventory, &self.fleet())
    }

    /// What was read.
    pub(crate) fn fleet(&self) -> Fleet {
        let mut fleet = Fleet::default();
        for node in &self.inventory.nodes {
            if let Some(machine) = self.machines.get(&node.name) {
                fleet.update(&node.name, self.readings(node, machine));
            }
        }
        fleet
    }

    fn readings(&self, node: &Node, machine: &Machine) -> Readings {
        let mut readings = Readings::default().with_machine(machine.clone());
        for probe in preflight::probes(&self.inventory, node) {
            readings = match probe {
                Probe::Script(script) => {
                    let said = self
                        .scripts
                        .get(&node.name)
                        .map_or("joined no\nend\n", String::as_str);
                    readings.with_script(script, 0, said)
                }
                Probe::File(path) => match self.authorities.get(&node.name) {
                    Some(pem) => readings.with_file(path, FileState::regular(pem.as_str())),
                    None => readings.without_file(path),
                },
                _ => readings,
            };
        }
        readings
    }
}

/// The names of the checks that found something, sorted as found, each with its host's first finding only once.
pub(crate) fn checks(findings: &[Finding]) -> Vec<&'static str> {
    findings.iter().map(|finding| finding.check).collect()
}

fn machine(node: &Node) -> Machine {
    let last = node.address.octets()[3];
    Machine {
        hostname: node.name.clone(),
        machine_id: format!("4f6c{last:028x}"),
        memory: 8 << 30,
        disk_free: 50 << 30,
        clock_us: 1_795_000_000_000_000,
        operator_clock_us: 1_795_000_000_000_000,
        clock_error_us: 5_000,
        interfaces: vec![Interface {
            name: "eth0".to_owned(),
            mac: format!("52:54:00:00:00:{last:02x}"),
            addresses: vec![(node.address, 24)],
        }],
        ..crate::testing::debian()
    }
}
