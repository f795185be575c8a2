//! One machine.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::files::Files;
use super::jobs::RunningJob;
use super::packages::Package;
use super::pods::Pod;
use super::undo::ArmedUndo;
use super::units::Unit;
use super::world::World;
use crate::host::facts::Machine as Facts;
use crate::inventory::version::KubeVersion;
use crate::inventory::{Node, Role};

/// How long a machine takes to boot.
const BOOT_US: u64 = 20_000_000;

/// A modelled machine.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a state of its own, as on a real machine"
)]
pub struct Machine {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its address in the network of etcd's members, if that is another one.
    pub peer_address: Option<Ipv4Addr>,
    /// What it is for.
    pub role: Role,
    /// `/etc/machine-id`.
    pub machine_id: String,
    /// Whether it has power.
    pub is_on: bool,
    /// Times it has booted.
    pub boots: u32,
    /// When a boot that is under way ends.
    pub boots_at: Option<u64>,
    /// Its files.
    pub files: Files,
    /// Packages that were ever installed.
    pub packages: BTreeMap<String, Package>,
    /// Whether dpkg was interrupted.
    pub is_dpkg_interrupted: bool,
    /// Units.
    pub units: BTreeMap<String, Unit>,
    /// Sysctls in force.
    pub sysctls: BTreeMap<String, String>,
    /// Loaded modules.
    pub modules: BTreeSet<String>,
    /// Bytes of active swap.
    pub swap: u64,
    /// Users beside root.
    pub users: BTreeSet<String>,
    /// Jobs of quorate, running or ended since boot.
    pub jobs: BTreeMap<String, RunningJob>,
    /// Armed undos.
    pub undos: BTreeMap<String, ArmedUndo>,
    /// Locks held on it.
    pub locks: BTreeMap<String, Lock>,
    /// Static pods that run.
    pub pods: BTreeMap<String, Pod>,
    /// Whether its keepalived holds the virtual IP.
    pub holds_vip: bool,
    /// Servers that were taken out of its running HAProxy, with their state.
    pub servers_out: BTreeMap<String, &'static str>,
    /// Whether its disk is slow.
    pub is_slow: bool,
    /// Whether its disk is full.
    pub is_full: bool,
    /// What a real one said of itself, where this one is like it.
    pub facts: Option<Facts>,
    /// How far its clock is ahead of the others', microseconds.
    pub clock_ahead_us: u64,
    /// Whether kubelet has registered its Node since it started: it does so once.
    pub is_registered: bool,
    /// Whether kubelet found etcd's manifest when it started and has yet to judge whether it admits that pod.
    pub judges_etcd: bool,
    /// Whether it did not: a kubelet that starts while it has no Node may refuse, until it is started again.
    pub refuses_etcd: bool,
    /// The release of the kubelet that was started last; another one may be installed since.
    pub kubelet: Option<KubeVersion>,
}

/// A held lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// What the holder wrote.
    pub owner: String,
    /// Whose it is.
    pub operator: u64,
    /// Which guard holds it.
    pub guard: u64,
}

impl Machine {
    /// A Debian 12 as it was installed, with swap.
    #[must_use]
    pub fn bare(node: &Node, now: u64) -> Self {
        let mut machine = Self {
            name: node.name.clone(),
            address: node.address,
            peer_address: node
                .etcd
                .map(|seat| seat.peer_address)
                .filter(|address| *address != node.address),
            role: node.role,
            machine_id: crate::text::hex(node.name.as_bytes()),
            is_on: true,
            boots: 1,
            boots_at: None,
            files: Files::default(),
            packages: BTreeMap::new(),
            is_dpkg_interrupted: false,
            units: BTreeMap::new(),
            sysctls: sysctls(),
            modules: BTreeSet::new(),
            swap: 1 << 30,
            users: BTreeSet::new(),
            jobs: BTreeMap::new(),
            undos: BTreeMap::new(),
            locks: BTreeMap::new(),
            pods: BTreeMap::new(),
            holds_vip: false,
            servers_out: BTreeMap::new(),
            is_slow: false,
            is_full: false,
            facts: None,
            clock_ahead_us: 0,
            is_registered: false,
            judges_etcd: false,
            refuses_etcd: false,
            kubelet: None,
        };
        let hosts = "127.0.0.1 localhost\n";
        machine.files.put("/etc/hosts", hosts, 0o644, now);
        machine.files.put(
            "/etc/fstab",
            "/dev/vda1 / ext4 defaults 0 1\n/dev/vda2 none swap sw 0 0\n",
            0o644,
            now,
        );
        machine.files.put(
            "/etc/apt/sources.list",
            "deb http://mirror.example/debian bookworm main\n",
            0o644,
            now,
        );
        machine
    }

    /// Whether it answers.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.is_on && self.boots_at.is_none()
    }

    pub(super) fn boots_by(&self, now: u64) -> bool {
        self.is_on && self.boots_at.is_some_and(|at| at <= now)
    }

    /// When something happens on it by itself, next.
    pub(super) fn next_due(&self, settled: u64) -> Option<u64> {
        if !self.is_on {
            return None;
        }
        if let Some(at) = self.boots_at {
            return Some(at);
        }
        let jobs = self
            .jobs
            .values()
            .filter(|job| job.status.is_none())
            .map(|job| job.due);
        let undos = self
            .undos
            .values()
            .filter(|undo| !undo.fired)
            .map(|undo| undo.due);
        let pods = self
            .pods
            .values()
            .flat_map(|pod| pod.comes_up_at().into_iter().chain(pod.ends_at()))
            .filter(|at| *at > settled);
        jobs.chain(undos).chain(pods).min()
    }
}

fn sysctls() -> BTreeMap<String, String> {
    [
        ("net.ipv4.ip_forward", "0"),
        ("net.bridge.bridge-nf-call-iptables", ""),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect()
}

impl World {
    /// Cuts a machine's power for as long as a boot takes.
    pub fn reboot(&mut self, host: &str) {
        let now = self.now;
        let machine = self.machine(host);
        machine.power_off();
        machine.is_on = true;
        machine.boots_at = Some(now + BOOT_US);
        self.settle();
    }

    /// Cuts a machine's power for good.
    pub fn power_off(&mut self, host: &str) {
        self.machine(host).power_off();
        self.settle();
    }

    /// Switches a machine on.
    pub fn power_on(&mut self, host: &str) {
        self.machine(host).is_on = true;
        self.boot(host);
        self.settle();
    }

    pub(super) fn boot(&mut self, host: &str) {
        let now = self.now;
        let machine = self.machine(host);
        machine.boots += 1;
        machine.boots_at = None;
        machine.load_at_boot();
        let enabled: Vec<String> = machine
            .units
            .iter()
            .filter(|(_, unit)| unit.enabled)
            .map(|(name, _)| name.clone())
            .collect();
        for unit in enabled {
            // A service that does not come up stays down, as on a real host.
            let _ = self.systemctl(host, "start", &unit, now);
        }
    }

    /// Puts an empty machine of the same name and address in a machine's place.
    pub fn replace(&mut self, host: &str, node: &Node) {
        let mut blank = Machine::bare(node, self.now);
        blank.machine_id = format!("{:032x}", self.number());
        *self.machine(host) = blank;
        self.settle();
    }
}

impl Machine {
    fn power_off(&mut self) {
        self.is_on = false;
        self.boots_at = None;
        self.jobs.clear();
        self.undos.clear();
        self.locks.clear();
        self.pods.clear();
        self.modules.clear();
        self.sysctls = sysctls();
        self.swap = 0;
        self.holds_vip = false;
        self.servers_out.clear();
        self.start_kubelet();
        self.files.remove_below("/run");
        for unit in self.units.values_mut() {
            unit.active = false;
        }
    }

    /// A kubelet starts: the one that is installed now, and it has yet to register its Node.
    pub(super) fn start_kubelet(&mut self) {
        let installed = self.packages.get("kubelet");
        self.kubelet = installed.and_then(|package| KubeVersion::find(&package.version));
        self.is_registered = false;
        self.judges_etcd = self.files.has("/etc/kubernetes/manifests/etcd.yaml");
        self.refuses_etcd = false;
    }

    fn load_at_boot(&mut self) {
        for path in self.files.list("/etc/modules-load.d") {
            let text = self.files.text(&path).unwrap_or_default().to_owned();
            for name in text
                .lines()
                .map(str::trim)
                .filter(|line| !line.is_empty() && !line.starts_with('#'))
            {
                self.load_module(name);
            }
        }
        for path in self.files.list("/etc/sysctl.d") {
            self.apply_sysctls(&path);
        }
        let fstab = self.files.text("/etc/fstab").unwrap_or_default();
        let swaps = |line: &str| {
            !line.trim_start().starts_with('#') && line.split_whitespace().nth(2) == Some("swap")
        };
        self.swap = if fstab.lines().any(swaps) { 1 << 30 } else { 0 };
    }

    /// `modprobe`.
    pub(super) fn load_module(&mut self, name: &str) {
        self.modules.insert(name.to_owned());
        if name == "br_netfilter" {
            for sysctl in ["iptables", "ip6tables"] {
                let name = format!("net.bridge.bridge-nf-call-{sysctl}");
                self.sysctls.entry(name).or_insert_with(|| "0".to_owned());
            }
        }
    }

    /// `sysctl -p FILE`.
    pub(super) fn apply_sysctls(&mut self, path: &str) {
        let text = self.files.text(path).unwrap_or_default().to_owned();
        for line in text
            .lines()
            .filter(|line| !line.trim_start().starts_with(['#', ';']))
        {
            if let Some((name, value)) = line.split_once('=') {
                let name = name.trim().trim_start_matches('-');
                if !name.starts_with("net.bridge.") || self.modules.contains("br_netfilter") {
                    self.sysctls
                        .insert(name.to_owned(), value.trim().to_owned());
                }
            }
        }
    }
}
