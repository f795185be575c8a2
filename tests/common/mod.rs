//! Runs operations on simulated hosts, as the commands do on real ones.

#![allow(dead_code, reason = "each test file uses its part")]

use camino::{Utf8Path, Utf8PathBuf};
use quorate::engine::chain;
use quorate::host::simulated::Simulation;
use quorate::operation::rehearse::{Operation, Stage};
use quorate::operation::{Session, Settings};
use quorate::plan::Plan;
use quorate::report::Format;

pub use quorate::operation::rehearse::{End, Run, with_clock};

/// An operation before simulated hosts.
pub struct Bench {
    pub stage: Stage,
    pub plan: Plan,
}

impl Bench {
    /// An operation on `tests/data/simulated.yaml`, with bare hosts; the plan is that of the playbook of the same name.
    pub fn new(operation: &str) -> Self {
        Self::on("tests/data/simulated.yaml", operation)
    }

    /// The same with another inventory.
    pub fn on(inventory: &str, operation: &str) -> Self {
        let stage = stage(inventory, operation);
        let plan = stage
            .session
            .plan(operation)
            .unwrap_or_else(|error| panic!("{}", chain(&error)));
        Self { stage, plan }
    }

    /// The session.
    pub fn session(&self) -> &Session {
        &self.stage.session
    }

    /// The hosts.
    pub fn simulation(&self) -> &Simulation {
        self.stage.simulation()
    }

    /// Runs the operation once, with a new operator.
    pub async fn run(&self) -> Run {
        self.stage.run().await
    }
}

/// A stage with bare hosts of an inventory file of the repository.
pub fn stage(inventory: &str, operation: &str) -> Stage {
    let operation = Operation::find(operation).expect("it can be rehearsed");
    Stage::new(session(inventory), operation).unwrap_or_else(|error| panic!("{}", chain(&error)))
}

/// An inventory file of the repository, loaded.
pub fn session(inventory: &str) -> Session {
    let settings = Settings {
        inventory: Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join(inventory),
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

/// The last events, one line each.
pub fn tail(run: &Run) -> String {
    let text = run.text();
    let lines: Vec<String> = text
        .lines()
        .map(|line| line.chars().take(600).collect())
        .collect();
    lines
        .get(lines.len().saturating_sub(8)..)
        .unwrap_or_default()
        .join("\n")
}
