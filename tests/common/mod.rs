//! Runs operations on simulated hosts, as the commands do on real ones.

#![allow(dead_code, reason = "each test file uses its part")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use camino::{Utf8Path, Utf8PathBuf};
use quorate::engine::event::{Event, Record, RunId, RunResult};
use quorate::engine::events::{Events, Listener};
use quorate::engine::journal::Journal;
use quorate::engine::meter::Meter;
use quorate::engine::reader::Reader;
use quorate::engine::stop::Stop;
use quorate::engine::{Engine, chain};
use quorate::host::simulated::Simulation;
use quorate::host::simulated::world::World;
use quorate::operation::forecast::{Pending, forecast};
use quorate::operation::provision::follow_leftovers;
use quorate::operation::{Session, Settings, preflight};
use quorate::plan::Plan;
use quorate::playbook::Playbook;
use quorate::report::Format;
use quorate::state::cluster_dir;

static BENCHES: AtomicUsize = AtomicUsize::new(0);

/// An inventory, templates and a playbook.
pub struct Bench {
    pub session: Session,
    pub plan: Plan,
}

/// What came of a run.
#[derive(Debug)]
pub enum End {
    /// Everything holds; so many tasks changed something.
    Done { changed: usize, unchanged: usize },
    /// It ended with these errors.
    Failed(String),
    /// The operator's process died in it.
    Died,
}

/// What a run said: every event, serialised as the journal has it.
#[derive(Clone, Default)]
pub struct Said(Arc<Mutex<Vec<Record>>>);

impl Said {
    pub fn records(&self) -> Vec<Record> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub fn text(&self) -> String {
        let lines = self.records();
        let lines = lines
            .iter()
            .map(|record| serde_json::to_string(record).expect("serialises"));
        lines.collect::<Vec<_>>().join("\n")
    }
}

impl Listener for Said {
    fn on(&mut self, record: &Record) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(record.clone());
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.forget();
    }
}

impl Bench {
    /// A playbook on `tests/data/simulated.yaml`.
    pub fn new(playbook: &str) -> Self {
        Self::of("tests/data/simulated.yaml", playbook)
    }

    /// A playbook on an inventory file of the repository.
    pub fn of(inventory: &str, playbook: &str) -> Self {
        let mut session = session(&Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join(inventory));
        // What a run leaves on the operator's computer is one bench's own.
        let number = BENCHES.fetch_add(1, Ordering::Relaxed);
        session.inventory.name = format!("simulated-{}-{number}", std::process::id());
        let plan = session
            .plan(playbook)
            .unwrap_or_else(|error| panic!("{}", chain(&error)));
        Self { session, plan }
    }

    /// Takes away what runs left on the operator's computer.
    pub fn forget(&self) {
        let _ = std::fs::remove_dir_all(cluster_dir(&self.session.inventory.name));
    }

    /// One step of a playbook on all hosts that it names, as a plan of its own.
    pub fn only(&self, playbook: Playbook) -> Plan {
        Plan::new(&playbook, &self.session.inventory, &self.session.selector).expect("a plan")
    }

    /// Fresh machines.
    pub fn simulation(&self) -> Simulation {
        Simulation::new(&self.session.inventory)
    }

    /// Goes on from a world.
    pub fn simulation_of(&self, world: &World) -> Simulation {
        Simulation::of(world.snapshot(), &self.session.inventory)
    }

    /// Runs the playbook once with a new operator.
    pub async fn run(&self, simulation: &Simulation) -> (End, Said) {
        self.run_with(simulation, None).await
    }

    /// The same, into a journal.
    pub async fn run_with(&self, simulation: &Simulation, journal: Option<Journal>) -> (End, Said) {
        let said = Said::default();
        let hosts = simulation.hosts();
        let death = simulation.world().death();
        let run = self.attempt(hosts, journal, &said);
        let end = tokio::select! {
            end = run => end.unwrap_or_else(End::Failed),
            () = death.cancelled() => End::Died,
        };
        (end, said)
    }

    async fn attempt(
        &self,
        hosts: quorate::host::Hosts,
        journal: Option<Journal>,
        said: &Said,
    ) -> Result<End, String> {
        let (session, plan) = (&self.session, &self.plan);
        let meter = Arc::new(Meter::default());
        let hosts = meter.wrap(&hosts);
        let reader = Reader::new(&hosts);
        let refused = |error: quorate::error::Error| chain(&error);
        session.read(plan, &hosts, &reader).await.map_err(refused)?;
        let events = Events::new(journal, vec![Box::new(said.clone())]);
        let tell = |host: &str, what: String| {
            let host = host.to_owned();
            events
                .emit(Event::Found { host, what })
                .expect("there is no journal");
        };
        follow_leftovers(session, plan, &hosts, &reader, &tell)
            .await
            .map_err(refused)?;
        let verdict = preflight::judge(&session.inventory, &reader.fleet());
        if let Some(refusal) = verdict.refusals.first() {
            return Err(format!("preflight: {refusal}"));
        }
        forecast(session, plan, &reader.fleet()).map_err(refused)?;
        let run = RunId::new();
        let engine = Engine {
            inventory: &session.inventory,
            templates: &session.templates,
            hosts: &hosts,
            reader: &reader,
            events: &events,
            stop: &Stop::default(),
            meter: &meter,
            run: &run,
            owner: "a test",
        };
        let summary = engine.run(plan).await.map_err(|error| chain(&error))?;
        if summary.result != RunResult::Done {
            let failed = summary.failed.iter();
            let lines = failed.map(|(task, step, error)| {
                format!(
                    "{task} `{step}`: {} {}",
                    chain(error),
                    error.output().unwrap_or_default()
                )
            });
            return Err(lines.collect::<Vec<_>>().join("\n"));
        }
        if summary.changed > 0 {
            reader.distrust();
            session.read(plan, &hosts, &reader).await.map_err(refused)?;
            let left = forecast(session, plan, &reader.fleet()).map_err(refused)?;
            if !left.is_empty() {
                return Err(format!("read back: {}", shown(&left)));
            }
        }
        Ok(End::Done {
            changed: summary.changed,
            unchanged: summary.unchanged,
        })
    }
}

fn shown(left: &[Pending]) -> String {
    let lines = left
        .iter()
        .map(|task| format!("{} `{}`: {:?}", task.task, task.step, task.verdict));
    lines.collect::<Vec<_>>().join("\n")
}

fn session(inventory: &Utf8Path) -> Session {
    let settings = Settings {
        inventory: inventory.to_owned(),
        on: Vec::new(),
        format: Format::Table,
        yes: true,
        events: None,
        overlay: std::env::var("QUORATE_TEST_OVERLAY")
            .ok()
            .map(Utf8PathBuf::from),
        accept_new_host_keys: false,
    };
    Session::open(settings).unwrap_or_else(|error| panic!("{}", chain(&error)))
}

/// A runtime with its own clock, which stands still while anything can be done and leaps when all wait.
pub fn with_clock<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(future)
}

/// What must be equal of two worlds that came to the same: everything but times, ids and keys.
pub fn essence(world: &World) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for machine in world.machines.values() {
        let _ = writeln!(
            text,
            "{} on={} swap={} users={:?} modules={:?}",
            machine.name, machine.is_on, machine.swap, machine.users, machine.modules
        );
        let _ = writeln!(text, "  sysctls {:?}", machine.sysctls);
        for (name, package) in &machine.packages {
            let _ = writeln!(
                text,
                "  package {name} {} held={} configured={}",
                package.version, package.held, package.is_configured
            );
        }
        for (name, unit) in &machine.units {
            let _ = writeln!(
                text,
                "  unit {name} active={} enabled={}",
                unit.active, unit.enabled
            );
        }
        for (name, undo) in machine.undos.iter().filter(|(_, undo)| !undo.fired) {
            let _ = writeln!(text, "  undo {name} {:?}", undo.files.keys());
        }
        for (path, file) in machine.files.iter() {
            let content = if varies(path) {
                String::new()
            } else {
                String::from_utf8_lossy(&file.content).into_owned()
            };
            let _ = writeln!(
                text,
                "  file {path} {:o} {} {content:?}",
                file.mode, file.owner
            );
        }
        for pod in machine.pods.keys() {
            let _ = writeln!(text, "  pod {pod}");
        }
    }
    for cluster in world
        .etcd
        .iter()
        .filter(|cluster| cluster.members.len() > 1)
    {
        let mut members: Vec<_> = cluster
            .members
            .iter()
            .map(|member| (&member.name, &member.peer_url, member.is_learner))
            .collect();
        members.sort();
        let _ = writeln!(text, "members {members:?}");
        for (path, object) in &cluster.objects {
            let labels = object.pointer("/metadata/labels");
            let taints = object.pointer("/spec/taints");
            let conditions = object.pointer("/status/conditions/0/status");
            let _ = writeln!(text, "{path} {labels:?} {taints:?} {conditions:?}");
        }
    }
    text
}

/// Whether a file's content differs from world to world though all is the same.
fn varies(path: &str) -> bool {
    let of_founder = path.ends_with("/etcd.yaml")
        || path.ends_with("/10-quorate.conflist")
        || path.ends_with("/kubelet.conf")
        || path.ends_with("/applied");
    path.contains("/pki/")
        || path.contains("/var/lib/etcd/")
        || path.ends_with(".env")
        || path.ends_with("kubernetes-ca.crt")
        || of_founder
}

/// The last events, one line each.
pub fn tail(said: &Said) -> String {
    let text = said.text();
    let lines: Vec<String> = text
        .lines()
        .map(|line| line.chars().take(600).collect())
        .collect();
    lines
        .get(lines.len().saturating_sub(8)..)
        .unwrap_or_default()
        .join("\n")
}
