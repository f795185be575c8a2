//! One case: faults, then as many runs as a person would start, then a look at everything that must hold.

use std::time::Duration;

use super::computer::Computer;
use super::essence::{difference, essence};
use super::operation::Operation;
use super::stage::{End, Run, Stage, with_clock};
use crate::error::Error;
use crate::host::simulated::faults::{Fault, What};
use crate::host::simulated::record::Call;
use crate::host::simulated::world::World;

/// How often a person would run the command again after the last fault before giving up.
const RUNS: usize = 3;

/// How long a person waits before running it again: enough for a host to boot, too short for anything else.
const AGAIN: Duration = Duration::from_secs(30);

/// Longer than any undo waits.
const LATER: Duration = Duration::from_secs(600);

/// What a run that nothing happens to comes to.
pub struct Reference {
    /// The world that it begins with.
    pub begins: World,
    /// What the operator's computer keeps then.
    pub computer: Computer,
    /// Its remote calls.
    pub calls: Vec<Call>,
    /// The run.
    pub run: Run,
    /// The remote calls that find out that nothing is left to do.
    pub idle: Vec<Call>,
    /// What the hosts are like after it.
    essence: String,
}

/// Whether everything that was shown is searched for secrets: it takes longer than running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Search {
    /// It is.
    Secrets,
    /// It is not.
    Nothing,
}

/// What came of a case.
#[derive(Debug)]
pub struct Outcome {
    /// What went wrong in it.
    pub faults: Vec<Fault>,
    /// Of these, what was never met.
    pub unmet: Vec<Fault>,
    /// The runs, without the one that was to change nothing.
    pub runs: Vec<Run>,
    /// The promise that broke; `None`: all held.
    pub broken: Option<String>,
}

impl Reference {
    /// Runs an operation, and what must come before it, without a fault.
    pub fn new(stage: &mut Stage, operation: &Operation) -> Result<Self, Error> {
        let begins = beginning(stage, operation)?;
        Self::beginning_with(stage, operation, begins)
    }

    /// Runs an operation without a fault, beginning with this world and this on the operator's computer.
    pub fn beginning_with(
        stage: &mut Stage,
        operation: &Operation,
        (begins, computer): (World, Computer),
    ) -> Result<Self, Error> {
        stage.begin_at(begins.snapshot(), &computer);
        let run = with_clock(stage.run());
        refuse_failed(operation, &run)?;
        let calls = {
            let mut world = stage.simulation().world();
            world.pass(LATER);
            world.calls.clone()
        };
        let essence = essence(&stage.simulation().world());
        let proof = proof(operation);
        refuse_failed(proof, &with_clock(stage.run_operation(proof)))?;
        let world = stage.simulation().world();
        Ok(Self {
            begins,
            computer,
            idle: world.calls.get(calls.len()..).unwrap_or_default().to_vec(),
            calls,
            essence,
            run,
        })
    }
}

/// The operation that finds nothing left to do.
fn proof(operation: &Operation) -> &'static Operation {
    Operation::find(operation.proof).expect("a proof is one of the operations")
}

/// The world and the operator's computer that an operation begins with.
fn beginning(stage: &mut Stage, operation: &Operation) -> Result<(World, Computer), Error> {
    let mut world = World::new(&stage.session.inventory);
    let mut computer = Computer::default();
    if let Some(before) = operation.after.and_then(Operation::find) {
        let (begins, kept) = beginning(stage, before)?;
        stage.begin_at(begins, &kept);
        refuse_failed(before, &with_clock(stage.run_operation(before)))?;
        world = stage.simulation().world().snapshot();
        computer = stage.computer()?;
    }
    (operation.since)(&stage.session, &mut world);
    Ok((world, computer))
}

fn refuse_failed(operation: &Operation, run: &Run) -> Result<(), Error> {
    match &run.end {
        End::Done { .. } => Ok(()),
        End::Failed { why, code } => Err(Error::Rehearsal {
            operation: operation.name,
            why: why.clone(),
            code: *code,
        }),
        End::Died => Err(Error::Rehearsal {
            operation: operation.name,
            why: "its operator died".to_owned(),
            code: 6,
        }),
    }
}

/// Meets the faults, runs until everything holds, and looks.
pub fn attempt(
    stage: &mut Stage,
    reference: &Reference,
    faults: &[Fault],
    search: Search,
) -> Outcome {
    let mut world = reference.begins.snapshot();
    world.faults = faults.to_vec();
    world.keeps_shown = search == Search::Secrets;
    stage.begin_at(world, &reference.computer);
    with_clock(async {
        let (runs, converged) = converge(stage, faults.len() + RUNS).await;
        let unmet = stage.simulation().world().faults.clone();
        stage.simulation().world().faults.clear();
        let broken = match converged {
            Ok(()) => judge(stage, reference, faults, &runs).await.err(),
            Err(why) => Some(why),
        };
        Outcome {
            faults: faults.to_vec(),
            unmet,
            runs,
            broken,
        }
    })
}

/// Runs until everything holds.
async fn converge(stage: &Stage, limit: usize) -> (Vec<Run>, Result<(), String>) {
    let mut runs = Vec::new();
    for _ in 0..limit {
        let run = stage.run().await;
        let is_done = matches!(run.end, End::Done { .. });
        runs.push(run);
        if is_done {
            return (runs, Ok(()));
        }
        let mut world = stage.simulation().world();
        world.pass(AGAIN);
        world.mend();
    }
    let ends: Vec<String> = runs.iter().map(|run| format!("{:?}", run.end)).collect();
    let why = format!("it did not converge: {}", ends.join(" then "));
    (runs, Err(why))
}

async fn judge(
    stage: &Stage,
    reference: &Reference,
    faults: &[Fault],
    runs: &[Run],
) -> Result<(), String> {
    nothing_changes(stage, reference).await?;
    let world = stage.simulation().world();
    all_is_well(&world)?;
    no_secret_was_seen(&world, runs)?;
    if faults.iter().all(|fault| fault.what != What::Reboot) {
        nothing_was_done_twice(&world)?;
    }
    match essence(&world) {
        same if same == reference.essence => Ok(()),
        other => Err(format!(
            "it came to other hosts: {}",
            difference(&reference.essence, &other)
        )),
    }
}

/// Much later still everything is as it was, and finding out costs no call more than it must.
async fn nothing_changes(stage: &Stage, reference: &Reference) -> Result<(), String> {
    let (before, was) = {
        let mut world = stage.simulation().world();
        world.pass(LATER);
        world.mend();
        (world.calls.len(), essence(&world))
    };
    let run = stage.run_operation(proof(stage.operation())).await;
    let world = stage.simulation().world();
    let calls = world.calls.get(before..).unwrap_or_default();
    if !matches!(run.end, End::Done { changed: 0, .. }) {
        return Err(format!("the run after was not idle: {:?}", run.end));
    }
    let is = essence(&world);
    if was != is {
        return Err(format!(
            "the run after changed hosts: {}",
            difference(&was, &is)
        ));
    }
    if calls.len() != reference.idle.len() {
        let shown: Vec<&str> = calls.iter().map(|call| call.what.as_str()).collect();
        return Err(format!(
            "the run after cost {} calls: {}",
            calls.len(),
            shown.join(", ")
        ));
    }
    Ok(())
}

/// Nothing that must never be was, and nothing half done is left.
fn all_is_well(world: &World) -> Result<(), String> {
    if let Some(violation) = world.violations.first() {
        return Err(violation.clone());
    }
    let living = world
        .live_cluster()
        .and_then(|cluster| world.etcd.get(cluster));
    let mut members = living.into_iter().flat_map(|cluster| &cluster.members);
    if let Some(member) = members.find(|member| member.is_learner || member.name.is_empty()) {
        let url = &member.peer_url;
        return Err(format!(
            "etcd member {url} was left a learner or never started"
        ));
    }
    let living = world.living_clusters().count();
    if living > 1 {
        return Err(format!("{living} etcd clusters are left alive"));
    }
    let mut machines = world.machines.values();
    if let Some(machine) = machines.find(|machine| !machine.locks.is_empty()) {
        return Err(format!("a lock was left on {}", machine.name));
    }
    Ok(())
}

/// No secret is in an argument, an answer that is shown, an event or a journal.
fn no_secret_was_seen(world: &World, runs: &[Run]) -> Result<(), String> {
    if !world.keeps_shown {
        return Ok(());
    }
    let said: Vec<String> = runs.iter().map(Run::text).collect();
    for secret in &world.secrets {
        if let Some(call) = world.calls.iter().find(|call| call.open.contains(secret)) {
            return Err(format!("`{}` on {} shows a secret", call.what, call.host));
        }
        if said.iter().any(|text| text.contains(secret)) {
            return Err("the journal shows a secret".to_owned());
        }
    }
    Ok(())
}

/// A job that goes on without its operator is followed, not done again.
fn nothing_was_done_twice(world: &World) -> Result<(), String> {
    let once = ["kubeadm-init", "kubeadm-join"];
    let mut finished = world.finished.iter();
    match finished.find(|((_, job), count)| once.contains(job) && **count > 1) {
        Some(((host, job), count)) => Err(format!("{job} was done {count} times on {host}")),
        None => Ok(()),
    }
}
