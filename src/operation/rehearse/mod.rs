//! `quorate rehearse`: an operation on the user's own inventory, carried out on simulated hosts; no host is touched.
//!
//! The operation itself is the command's own code ([`Operation`]); only its [`Desk`](super::desk::Desk) is another one. A
//! rehearsal tells what would happen in which order, what faults do to it, and which promise broke, if one did. The tests
//! that try every fault walk the same way.

mod computer;
mod essence;
mod live;
mod operation;
mod schedule;
mod stage;
mod text;
mod trial;

use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use serde_json::json;

pub use computer::Computer;
pub use essence::essence;
pub use live::{differences, read};
pub use operation::{OPERATIONS, Operation};
pub use schedule::{every, random};
pub use stage::{End, Run, Stage, with_clock};
pub use trial::{Outcome, Reference, Search, attempt};

use super::Session;
use crate::action::Fleet;
use crate::error::Error;
use crate::host::simulated::faults::Fault;
use crate::report::{Format, eprintln, print, println};

/// What goes wrong in a rehearsal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Faults {
    /// These, in one case; maybe none.
    These(Vec<Fault>),
    /// For each seed, several at random.
    Random {
        /// The first seed.
        seed: u64,
        /// How many seeds from there on.
        count: usize,
    },
    /// Each at each call, one case after the other.
    Every,
}

/// Rehearses and tells; `live`: what was read of the real hosts, if it is to begin as they are.
pub fn rehearse(
    session: &Session,
    operation: &str,
    faults: &Faults,
    live: Option<&Fleet>,
) -> Result<(), Error> {
    let operation = Operation::find(operation).ok_or_else(|| no_operation(operation))?;
    let mut stage = Stage::new(session.clone(), operation)?;
    let reference = match live {
        None => Reference::new(&mut stage, operation)?,
        Some(fleet) => from_live(session, &mut stage, operation, fleet)?,
    };
    match faults {
        Faults::These(faults) => one(session, operation, &mut stage, &reference, faults),
        Faults::Random { seed, count: 1 } => {
            let faults = random(*seed, &reference.calls);
            one(session, operation, &mut stage, &reference, &faults)
        }
        Faults::Random { seed, count } => {
            let case = |index: usize| random(seed + index as u64, &reference.calls);
            many(session, operation, &reference, &case, *count)
        }
        Faults::Every => {
            let cases = every(&reference.calls, 1);
            let case = |index: usize| cases.get(index).cloned().unwrap_or_default();
            many(session, operation, &reference, &case, cases.len())
        }
    }
}

/// What comes of an operation that begins as the real hosts are; what the model shows otherwise is told first.
pub fn from_live(
    session: &Session,
    stage: &mut Stage,
    operation: &Operation,
    fleet: &Fleet,
) -> Result<Reference, Error> {
    if !operation.begins_anywhere {
        return Err(Error::Usage {
            message: format!(
                "--from-live: `{}` begins with what it has made of a cluster of its own",
                operation.name
            ),
        });
    }
    for line in differences(session, fleet)? {
        eprintln(&format!(
            "warning: this is not as on the real hosts: {line}"
        ));
    }
    let world = live::world(session, fleet);
    let computer = live::computer(session, stage, &world)?;
    Reference::beginning_with(stage, operation, (world, computer))
}

fn no_operation(name: &str) -> Error {
    let names: Vec<&str> = OPERATIONS.iter().map(|operation| operation.name).collect();
    Error::Usage {
        message: format!(
            "`{name}` cannot be rehearsed; what can: {}",
            names.join(", ")
        ),
    }
}

/// One case, told whole.
fn one(
    session: &Session,
    operation: &Operation,
    stage: &mut Stage,
    reference: &Reference,
    faults: &[Fault],
) -> Result<(), Error> {
    refuse_unknown_places(faults, reference)?;
    let outcome = attempt(stage, reference, faults, Search::Secrets);
    let world = stage.simulation().world();
    match session.settings.format {
        Format::Json => println(&as_json(operation, &outcome).to_string()),
        Format::Table => print(&text::case(session, operation, &outcome, &world)),
    }
    match outcome.broken {
        None => Ok(()),
        Some(_) => Err(Error::Broken { broken: 1 }),
    }
}

/// A place that no call of the undisturbed run has is a mistake of who wrote it.
fn refuse_unknown_places(faults: &[Fault], reference: &Reference) -> Result<(), Error> {
    let is_unknown =
        |fault: &&Fault| fault.is_named() && !reference.calls.iter().any(|call| fault.meets(call));
    let Some(fault) = faults.iter().find(is_unknown) else {
        return Ok(());
    };
    let mut places: Vec<String> = reference
        .calls
        .iter()
        .filter_map(|call| Some(format!("{}@{}", call.host, call.task.as_ref()?)))
        .collect();
    places.dedup();
    places.truncate(8);
    Err(Error::Usage {
        message: format!(
            "nothing is changed at the place of `{fault}`; places are as {}, … (the rehearsal without faults shows all)",
            places.join(", ")
        ),
    })
}

/// Many cases, of which only what broke is told.
fn many(
    session: &Session,
    operation: &'static Operation,
    reference: &Reference,
    case: &(dyn Fn(usize) -> Vec<Fault> + Sync),
    count: usize,
) -> Result<(), Error> {
    let begun = Instant::now();
    let broken = try_all(session, operation, reference, case, count, 8)?;
    let seconds = begun.elapsed().as_secs_f64();
    match session.settings.format {
        Format::Json => {
            let cases: Vec<_> = broken.iter().map(|case| as_json(operation, case)).collect();
            println(&json!({ "operation": operation.name, "cases": count, "seconds": seconds, "broken": cases }).to_string());
        }
        Format::Table => print(&text::cases(session, operation, count, seconds, &broken)),
    }
    match broken.len() {
        0 => Ok(()),
        broken => Err(Error::Broken { broken }),
    }
}

/// Tries cases on all processors; those that broke a promise, in order. Every `search`-th is searched for secrets.
pub fn try_all(
    session: &Session,
    operation: &'static Operation,
    reference: &Reference,
    case: &(dyn Fn(usize) -> Vec<Fault> + Sync),
    count: usize,
    search: usize,
) -> Result<Vec<Outcome>, Error> {
    let next = AtomicUsize::new(0);
    let broken = Mutex::new(Vec::new());
    let work = |mut stage: Stage| {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                return;
            }
            let search = match index % search {
                0 => Search::Secrets,
                _ => Search::Nothing,
            };
            let outcome = attempt(&mut stage, reference, &case(index), search);
            if outcome.broken.is_some()
                && let Ok(mut broken) = broken.lock()
            {
                broken.push((index, outcome));
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(2, NonZero::get);
    let stages: Result<Vec<Stage>, Error> = (0..threads)
        .map(|_| Stage::new(session.clone(), operation))
        .collect();
    let stages = stages?;
    std::thread::scope(|scope| {
        for stage in stages {
            scope.spawn(|| work(stage));
        }
    });
    let mut broken = broken.into_inner().unwrap_or_default();
    broken.sort_by_key(|(index, _)| *index);
    Ok(broken.into_iter().map(|(_, outcome)| outcome).collect())
}

fn as_json(operation: &Operation, outcome: &Outcome) -> serde_json::Value {
    let written = |faults: &[Fault]| faults.iter().map(Fault::to_string).collect::<Vec<_>>();
    let runs: Vec<String> = outcome.runs.iter().map(|run| text::end(&run.end)).collect();
    json!({
        "operation": operation.name,
        "faults": written(&outcome.faults),
        "unmet": written(&outcome.unmet),
        "runs": runs,
        "broken": outcome.broken,
    })
}
