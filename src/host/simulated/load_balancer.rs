//! HAProxy, Keepalived and the virtual IP.

use super::files::Files;
use super::machine::Machine;
use super::world::World;
use crate::inventory::Role;

const HAPROXY: &str = "/etc/haproxy/haproxy.cfg";
const KEEPALIVED: &str = "/etc/keepalived/keepalived.conf";

/// Why a service would not run with these files.
pub(super) fn refuses_to_run(unit: &str, files: &Files) -> Option<String> {
    match unit {
        "haproxy" => refuses(files, files.text(HAPROXY).unwrap_or_default()),
        "keepalived" if !files.has(KEEPALIVED) => Some(format!("{KEEPALIVED} is missing")),
        _ => None,
    }
}

/// Why `haproxy -c` would refuse a configuration: a CA that it names is missing.
pub(super) fn refuses(files: &Files, configuration: &str) -> Option<String> {
    let mut words = configuration
        .split_whitespace()
        .skip_while(|word| *word != "ca-file");
    let path = words.nth(1)?;
    (!files.has(path)).then(|| format!("unable to load CA file '{path}'"))
}

/// What keepalived's configuration says, as far as it decides who holds the address.
#[derive(PartialEq)]
struct Vrrp {
    router: String,
    peers: Vec<String>,
}

fn vrrp(machine: &Machine) -> Option<Vrrp> {
    let text = machine.files.text(KEEPALIVED)?;
    let word_after = |key: &str| {
        let mut words = text.split_whitespace();
        words.find(|word| *word == key);
        words.next().map(str::to_owned)
    };
    let peers = text
        .split_once("unicast_peer {")
        .and_then(|(_, rest)| rest.split('}').next())
        .unwrap_or_default();
    Some(Vrrp {
        router: word_after("virtual_router_id")?,
        peers: peers.split_whitespace().map(str::to_owned).collect(),
    })
}

impl Machine {
    pub(super) fn runs(&self, unit: &str) -> bool {
        self.is_up() && self.units.get(unit).is_some_and(|unit| unit.active)
    }

    /// Whether its keepalived may hold the address: its check of the local HAProxy succeeds.
    fn may_hold_vip(&self) -> bool {
        self.role == Role::LoadBalancer
            && self.runs("keepalived")
            && self.runs("haproxy")
            && self.files.has("/usr/local/libexec/quorate/check_haproxy")
    }
}

impl World {
    /// Lets the load balancers agree on who holds the address: nobody preempts, and a holder is heard by its peers only.
    pub(super) fn settle_vip(&mut self) {
        let balancers = self.machines.values();
        let balancers = balancers.filter(|machine| machine.role == Role::LoadBalancer);
        let names: Vec<String> = balancers.map(|machine| machine.name.clone()).collect();
        for name in &names {
            let may = self.machines.get(name).is_some_and(Machine::may_hold_vip);
            let machine = self.machine(name);
            machine.holds_vip &= may;
        }
        for name in names {
            let takes = self.machines.get(&name).is_some_and(|machine| {
                !machine.holds_vip && machine.may_hold_vip() && !self.hears_holder(machine)
            });
            if takes {
                self.machine(&name).holds_vip = true;
            }
        }
    }

    fn hears_holder(&self, machine: &Machine) -> bool {
        let Some(own) = vrrp(machine) else {
            return false;
        };
        self.machines.values().any(|other| {
            let heard = || {
                vrrp(other).is_some_and(|vrrp| {
                    vrrp.router == own.router && vrrp.peers.contains(&machine.address.to_string())
                })
            };
            other.name != machine.name && other.holds_vip && heard()
        })
    }

    /// The names of those that hold the address.
    #[must_use]
    pub fn vip_holders(&self) -> Vec<&str> {
        let holders = self.machines.values().filter(|machine| machine.holds_vip);
        holders.map(|machine| machine.name.as_str()).collect()
    }

    /// The first master that serves, if the virtual IP leads to one.
    pub(super) fn behind_vip(&self) -> Option<&Machine> {
        let configured = |machine: &&Machine| {
            machine.holds_vip
                && machine
                    .files
                    .text(HAPROXY)
                    .is_some_and(|text| text.contains("6443"))
        };
        let balancer = self.machines.values().find(configured)?;
        let mut masters = self
            .machines
            .values()
            .filter(|machine| !balancer.servers_out.contains_key(&machine.name));
        masters.find(|machine| self.serves(machine))
    }
}

pub(super) fn vip_answers(world: &mut World, host: &str) -> String {
    let machine = world.machine(host).clone();
    let mut lines = Vec::new();
    if machine.holds_vip {
        lines.push("holds".to_owned());
    }
    let armed = machine.undos.iter().filter(|(_, undo)| !undo.fired);
    lines.extend(armed.map(|(name, _)| format!("armed {name}")));
    lines.push(format!("answer {}", answer_of_vip(world, &machine)));
    lines.join("\n") + "\n"
}

fn answer_of_vip(world: &World, machine: &Machine) -> &'static str {
    const CA: &str = "/etc/haproxy/kubernetes-ca.crt";
    if !machine.packages.contains_key("curl") {
        return "absent";
    }
    if world.vip_holders().is_empty() {
        return "unreachable";
    }
    let Some(master) = world.behind_vip() else {
        return "connected";
    };
    let shown = master.files.text("/etc/kubernetes/pki/ca.crt");
    match machine.files.text(CA) {
        Some(trusted) if Some(trusted) != shown => "untrusted",
        _ => "200",
    }
}
