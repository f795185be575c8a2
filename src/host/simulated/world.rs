//! Everything that the machines share, and time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::etcd::Cluster;
use super::faults::{Fault, What, When};
use super::machine::Machine;
use super::machines::Machines;
use super::record::Call;
use super::snapshot::Saved;
use crate::inventory::Inventory;
use crate::inventory::etcd::EtcdVersion;
use crate::inventory::version::KubeVersion;

/// 2026-01-01T00:00:00Z in microseconds: when every world begins.
pub const BEGINNING: u64 = 1_767_225_600_000_000;

/// The modelled cluster.
#[derive(Debug, Clone)]
pub struct World {
    /// By name.
    pub machines: Machines,
    /// Every etcd cluster that was ever founded.
    pub etcd: Vec<Cluster>,
    /// How many CAs were ever made.
    pub cas: usize,
    /// The virtual IP.
    pub vip: Ipv4Addr,
    /// The release that the cluster began with.
    pub release: KubeVersion,
    /// The releases that the package repository offers.
    pub offered: Vec<KubeVersion>,
    /// The versions of an external etcd that it offers.
    pub offered_etcd: Vec<EtcdVersion>,
    /// The version of containerd that the distribution offers.
    pub containerd: String,
    /// Where images come from.
    pub images: String,
    /// What will go wrong.
    pub faults: Vec<Fault>,
    /// What went wrong: when, and at which call.
    pub struck: Vec<(u64, usize, Fault)>,
    /// Whether everything that is shown is kept, so that it can be searched.
    pub keeps_shown: bool,
    /// Every remote call.
    pub calls: Vec<Call>,
    /// Everything that must never be and was.
    pub violations: Vec<String>,
    /// Values that must not be seen anywhere.
    pub secrets: BTreeSet<String>,
    /// Microseconds since the epoch.
    pub now: u64,
    /// Cordons that quorate did not make: of which cluster, and the Node.
    pub somebodys_cordons: BTreeSet<(usize, String)>,
    /// Every snapshot that was ever saved.
    pub saved: Vec<Saved>,
    /// The etcd clusters that a person gave up for a snapshot.
    pub given_up: BTreeSet<usize>,
    /// How often each job ended with 0, by host and name.
    pub finished: BTreeMap<(String, &'static str), usize>,
    settled: u64,
    seen: Option<Instant>,
    operators: BTreeMap<u64, CancellationToken>,
    second_operator: CancellationToken,
    doing: BTreeMap<String, String>,
    counter: u64,
}

tokio::task_local! {
    /// Ends when the operator whose work this is has died.
    static DEATH: CancellationToken;
}

/// What an operator does, however often they connect; `None`: they died of a fault.
pub async fn mortal<F: Future>(work: F) -> Option<F::Output> {
    let death = CancellationToken::new();
    tokio::select! {
        result = DEATH.scope(death.clone(), work) => Some(result),
        () = death.cancelled() => None,
    }
}

/// The repository of images: the inventory's, or that of kubeadm of its release.
fn images(inventory: &Inventory) -> String {
    let usual = match inventory.kubernetes.minor {
        ..25 => "k8s.gcr.io",
        _ => "registry.k8s.io",
    };
    let own = inventory.images.repository.as_deref();
    own.unwrap_or(usual).to_owned()
}

impl World {
    /// Bare machines.
    #[must_use]
    pub fn new(inventory: &Inventory) -> Self {
        let machine =
            |node: &crate::inventory::Node| (node.name.clone(), Machine::bare(node, BEGINNING));
        Self {
            machines: inventory.nodes.iter().map(machine).collect(),
            etcd: Vec::new(),
            cas: 0,
            vip: inventory.vip.address,
            release: inventory.kubernetes,
            offered: vec![inventory.kubernetes],
            offered_etcd: inventory
                .etcd
                .external()
                .map(|etcd| etcd.version)
                .into_iter()
                .collect(),
            containerd: "2.2.0-1".to_owned(),
            images: images(inventory),
            faults: Vec::new(),
            struck: Vec::new(),
            keeps_shown: true,
            calls: Vec::new(),
            violations: Vec::new(),
            secrets: BTreeSet::new(),
            now: BEGINNING,
            somebodys_cordons: BTreeSet::new(),
            saved: Vec::new(),
            given_up: BTreeSet::new(),
            finished: BTreeMap::new(),
            settled: BEGINNING,
            seen: None,
            operators: BTreeMap::new(),
            second_operator: CancellationToken::new(),
            doing: BTreeMap::new(),
            counter: 0,
        }
    }

    /// The same world as a beginning: nothing recorded, no operator, no fault, its own time.
    #[must_use]
    pub fn snapshot(&self) -> Self {
        let mut world = self.clone();
        world.faults.clear();
        world.struck.clear();
        world.calls.clear();
        world.seen = None;
        world.operators.clear();
        world.doing.clear();
        world.finished.clear();
        world.second_operator = CancellationToken::new();
        for machine in world.machines.values_mut() {
            machine.locks.clear();
        }
        world
    }

    /// The machine of that name.
    ///
    /// # Panics
    /// If there is none: a bug of the test.
    pub fn machine(&mut self, host: &str) -> &mut Machine {
        self.machines
            .get_mut(host)
            .expect("a machine of the inventory")
    }

    /// A fresh number.
    pub fn number(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    /// Makes everything happen that is due by now.
    pub fn advance(&mut self) {
        let instant = Instant::now();
        let passed = self.seen.map_or(Duration::ZERO, |seen| {
            instant.saturating_duration_since(seen)
        });
        self.seen = Some(instant);
        self.pass(passed);
    }

    /// Lets time pass.
    pub fn pass(&mut self, passed: Duration) {
        let until = self.now + u64::try_from(passed.as_micros()).unwrap_or(0);
        while let Some((due, host)) = self
            .machines
            .next_due(self.settled)
            .filter(|(due, _)| *due <= until)
        {
            self.now = self.now.max(due);
            self.happen(&host);
            self.settle();
        }
        self.now = until;
    }

    /// Makes what is due on a machine happen.
    fn happen(&mut self, host: &str) {
        let now = self.now;
        if self.machine(host).boots_by(now) {
            self.boot(host);
        } else if !self.fire_undo(host) {
            self.run_job_step(host);
        }
    }

    /// Brings everything that follows by itself in line: static pods, Nodes, the virtual IP.
    pub fn settle(&mut self) {
        self.settle_etcd_services();
        self.settle_pods();
        self.settle_members();
        self.settle_nodes();
        self.settle_vip();
        self.look_for_violations();
        self.settled = self.now;
    }

    /// A new operator, who dies as `mortal` says.
    pub fn new_operator(&mut self) -> u64 {
        let id = self.number();
        let death = DEATH.try_with(CancellationToken::clone);
        self.operators.insert(id, death.unwrap_or_default());
        id
    }

    /// Ends when, from now on, a second operator comes.
    #[must_use]
    pub fn second_operator(&mut self) -> CancellationToken {
        self.second_operator = CancellationToken::new();
        self.second_operator.clone()
    }

    /// Notes which task a host is busy with.
    pub(super) fn note_task(&mut self, host: &str, task: Option<String>) {
        match task {
            Some(task) => self.doing.insert(host.to_owned(), task),
            None => self.doing.remove(host),
        };
    }

    pub(super) fn task_of(&self, host: &str) -> Option<String> {
        self.doing.get(host).cloned()
    }

    pub(super) fn is_alive(&self, operator: u64) -> bool {
        self.operators
            .get(&operator)
            .is_some_and(|token| !token.is_cancelled())
    }

    /// Whether a fault waits for that call.
    pub(super) fn awaits(&self, number: usize, when: When) -> bool {
        let call = self.calls.get(number);
        let is_met =
            |fault: &Fault| fault.when == when && call.is_some_and(|call| fault.meets(call));
        self.faults.iter().any(is_met)
    }

    /// Takes the fault that is to be met, if there is one.
    pub(super) fn meets(&mut self, number: usize, when: When) -> Option<What> {
        let call = self.calls.get(number)?;
        let is_met = |fault: &Fault| fault.when == when && fault.meets(call);
        let index = self.faults.iter().position(is_met)?;
        let fault = self.faults.remove(index);
        let what = fault.what;
        self.struck.push((self.now, number, fault));
        Some(what)
    }

    pub(super) fn strike(&mut self, what: What, host: &str, operator: u64) {
        match what {
            What::LoseConnection => self
                .machine(host)
                .locks
                .retain(|_, lock| lock.operator != operator),
            What::Reboot => self.reboot(host),
            What::OperatorDies => self.kill_operator(operator),
            What::SlowDisk => self.machine(host).is_slow = true,
            What::FullDisk => self.machine(host).is_full = true,
            What::ApiserverDies => {
                self.machine(host).pods.remove("kube-apiserver");
                self.settle();
            }
            What::ClockJumps => self.jump_clock(host),
            What::BudgetBlocks => self.block_budgets(),
            What::Cordon => self.cordon_by_hand(host),
            What::SecondOperator => self.second_operator.cancel(),
        }
    }

    fn kill_operator(&mut self, operator: u64) {
        if let Some(token) = self.operators.get(&operator) {
            token.cancel();
        }
        let dead: Vec<u64> = self
            .operators
            .iter()
            .filter(|(_, token)| token.is_cancelled())
            .map(|(id, _)| *id)
            .collect();
        for machine in self.machines.values_mut() {
            machine
                .locks
                .retain(|_, lock| !dead.contains(&lock.operator));
        }
    }
}
