//! systemd, as far as services go.

use super::load_balancer;
use super::machine::Machine;
use super::world::World;
use crate::host::probe::UnitReading;

/// A service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Unit {
    /// Whether it runs.
    pub active: bool,
    /// Whether it starts at boot.
    pub enabled: bool,
    /// Last change of its state.
    pub changed_us: u64,
    /// How often it was started.
    pub starts: u32,
}

/// The unit's name without `.service`.
pub(super) fn short(unit: &str) -> &str {
    unit.strip_suffix(".service").unwrap_or(unit)
}

impl Machine {
    /// A unit that no package has brought is there from the moment that its file is.
    fn read_own_unit(&mut self, unit: &str) {
        let file = format!("/etc/systemd/system/{unit}.service");
        if self.files.has(&file) {
            self.units.entry(unit.to_owned()).or_default();
        }
    }
}

impl World {
    /// `systemctl VERB UNIT`; what it says when it fails.
    pub fn systemctl(
        &mut self,
        host: &str,
        verb: &str,
        unit: &str,
        now: u64,
    ) -> Result<(), String> {
        let unit = short(unit);
        let waits = unit == "etcd" && !super::external_etcd::may_start(self.machine(host));
        let refusal = load_balancer::refuses_to_run(unit, &self.machine(host).files);
        let machine = self.machine(host);
        machine.read_own_unit(unit);
        let Some(state) = machine.units.get_mut(unit) else {
            return Err(format!("Unit {unit}.service not found."));
        };
        let starts_before = state.starts;
        match verb {
            "enable" => state.enabled = true,
            "disable" => state.enabled = false,
            "stop" => state.active = false,
            "start" if state.active => {}
            // A condition that does not hold is no failure.
            "start" | "restart" if waits => state.active = false,
            "start" | "restart" | "reload" | "reload-or-restart" => {
                state.changed_us = now;
                if verb == "reload" && !state.active {
                    return Err(format!("{unit}.service is not active, cannot reload."));
                }
                state.active = refusal.is_none();
                state.starts += u32::from(matches!(verb, "start" | "restart"));
                if let Some(why) = refusal {
                    return Err(why);
                }
            }
            _ => return Err(format!("the simulation does not know `systemctl {verb}`")),
        }
        if unit == "etcd" && state.starts > starts_before {
            machine.pods.remove(unit);
        }
        if unit == "haproxy" && verb != "enable" {
            machine.servers_out.clear();
        }
        if unit == "kubelet" && state.starts > starts_before {
            machine.start_kubelet();
        }
        self.settle();
        Ok(())
    }

    /// What a probe reads of a unit.
    pub(super) fn unit_reading(&mut self, host: &str, name: &str) -> UnitReading {
        let machine = self.machine(host);
        let unit = short(name);
        if let Some(job) = unit
            .strip_prefix("quorate-")
            .and_then(|job| machine.jobs.get(job))
        {
            return transient(job.status.is_none());
        }
        let is_undo = |(name, undo): (&String, &super::undo::ArmedUndo)| {
            !undo.fired && unit == format!("quorate-undo-{name}.timer")
        };
        if machine.undos.iter().any(is_undo) {
            return transient(true);
        }
        let Some(state) = machine.units.get(unit) else {
            return UnitReading {
                state: "inactive/dead".to_owned(),
                ..UnitReading::default()
            };
        };
        // Until kubeadm has configured it, kubelet exits and is started again every few seconds.
        let loops =
            unit == "kubelet" && state.active && !machine.files.has("/var/lib/kubelet/config.yaml");
        UnitReading {
            exists: true,
            active: state.active && !loops,
            enabled: state.enabled,
            state: match (state.active, loops) {
                (true, false) => "active/running",
                (_, true) => "activating/auto-restart",
                (false, false) => "inactive/dead",
            }
            .to_owned(),
            changed_us: state.changed_us,
        }
    }
}

fn transient(runs: bool) -> UnitReading {
    if !runs {
        return UnitReading {
            state: "inactive/dead".to_owned(),
            ..UnitReading::default()
        };
    }
    UnitReading {
        exists: true,
        active: true,
        enabled: false,
        state: "active/running".to_owned(),
        changed_us: 0,
    }
}
