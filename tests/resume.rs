//! Any moment may be the last: whatever goes wrong at whichever remote call, running again converges to the same hosts.
//!
//! Every operation that can be rehearsed is tried. The connection is lost at every single call, before and after its effect;
//! power cuts and dying operators are tried at some calls and steps of jobs. `QUORATE_STRIDE` (default 5) says at how many:
//! the smaller, the more. `QUORATE_SEEDS` says how many schedules of several random faults are tried beside (default 100).
//! `make rehearse` tries all of it with the release build.

mod common;

use std::time::Instant;

use common::{Bench, End, session, stage, with_clock};
use quorate::host::command::{Command, Script};
use quorate::host::simulated::faults::Fault;
use quorate::operation::rehearse::{
    OPERATIONS, Operation, Outcome, Reference, Search, attempt, every, random, try_all,
};

const INVENTORY: &str = "tests/data/simulated.yaml";

/// etcd as a cluster of its own.
const EXTERNAL: &str = "tests/data/simulated-external.yaml";

/// Every operation on the stacked topology, and those that know the external one.
fn scenes() -> impl Iterator<Item = (&'static Operation, &'static str)> {
    let stacked = OPERATIONS.iter().map(|operation| (operation, INVENTORY));
    let provision = Operation::find("provision").map(|operation| (operation, EXTERNAL));
    stacked.chain(provision)
}

fn number(variable: &str, default: usize) -> usize {
    let value = std::env::var(variable).ok();
    value.and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn reference(operation: &Operation, inventory: &str) -> Reference {
    let mut stage = stage(inventory, operation.name);
    Reference::new(&mut stage, operation).unwrap_or_else(|error| panic!("{error}"))
}

/// Tries cases and fails with what broke, each with the command that replays it.
fn try_cases(
    (operation, inventory): (&'static Operation, &str),
    reference: &Reference,
    what: &str,
    case: &(dyn Fn(usize) -> Vec<Fault> + Sync),
    count: usize,
) {
    let began = Instant::now();
    let broken = try_all(&session(inventory), operation, reference, case, count, 8)
        .unwrap_or_else(|error| panic!("{error}"));
    println!(
        "{} {inventory}: {count} cases of {what}, {} calls, {:.0} s",
        operation.name,
        reference.calls.len(),
        began.elapsed().as_secs_f64()
    );
    let shown: Vec<String> = broken
        .iter()
        .take(25)
        .map(|it| shown(operation, inventory, it))
        .collect();
    assert!(
        broken.is_empty(),
        "{} of {count} cases:\n{}",
        broken.len(),
        shown.join("\n")
    );
}

fn shown(operation: &Operation, inventory: &str, outcome: &Outcome) -> String {
    let start = format!("quorate rehearse {} -i {inventory}", operation.name);
    let command = outcome
        .faults
        .iter()
        .fold(start, |line, fault| format!("{line} --fault '{fault}'"));
    let why = outcome.broken.as_deref().unwrap_or_default();
    format!("{command}\n    {why}")
}

#[test]
fn a_run_without_faults_keeps_every_promise() {
    for (operation, inventory) in scenes() {
        let reference = reference(operation, inventory);
        let mut stage = stage(inventory, operation.name);
        let outcome = attempt(&mut stage, &reference, &[], Search::Secrets);
        assert_eq!(outcome.broken, None, "{}", operation.name);
        assert_eq!(outcome.runs.len(), 1, "{}", operation.name);
        let world = stage.simulation().world();
        assert!(
            world.secrets.len() > 5,
            "keys, tokens and passwords were made"
        );
    }
}

#[test]
fn a_fault_at_any_remote_call_is_made_good_by_running_again() {
    for (operation, inventory) in scenes() {
        let reference = reference(operation, inventory);
        let cases = every(&reference.calls, number("QUORATE_STRIDE", 5));
        let case = |index: usize| cases.get(index).cloned().unwrap_or_default();
        try_cases(
            (operation, inventory),
            &reference,
            "one fault",
            &case,
            cases.len(),
        );
    }
}

#[test]
fn several_faults_at_random_are_made_good_by_running_again() {
    for (operation, inventory) in scenes() {
        let reference = reference(operation, inventory);
        let case = |index: usize| random(index as u64, &reference.calls);
        let count = number("QUORATE_SEEDS", 100);
        try_cases(
            (operation, inventory),
            &reference,
            "several faults",
            &case,
            count,
        );
    }
}

/// A check that cannot fail proves nothing: a broken world is called broken.
#[test]
fn a_broken_promise_is_noticed() {
    let operation = Operation::find("provision").expect("there");
    let mut reference = reference(operation, INVENTORY);
    let mut stage = stage(INVENTORY, operation.name);
    let violation = "two of something".to_owned();
    reference.begins.violations.push(violation.clone());
    let outcome = attempt(&mut stage, &reference, &[], Search::Nothing);
    assert_eq!(outcome.broken, Some(violation));
}

/// Provisions, lets something be done to a host, and returns what was noted as broken.
fn noted(done: impl AsyncFnOnce(&Bench)) -> Vec<String> {
    let bench = Bench::new("provision");
    with_clock(async {
        let run = bench.run().await;
        assert!(matches!(run.end, End::Done { .. }), "{:?}", run.end);
        done(&bench).await;
    });
    let mut world = bench.simulation().world();
    world.settle();
    world.violations.clone()
}

async fn call(bench: &Bench, host: &str, command: Command) {
    let hosts = bench.simulation().hosts();
    let host = hosts.get(host).expect("a host of the inventory");
    host.transport.run(&command).await.expect("it answers");
}

/// A check that cannot fail proves nothing: each of the world's own is made to.
#[test]
fn each_invariant_notices_its_breach() {
    let stop = |unit: &str| Command::new("systemctl").arg("stop").arg(unit);
    let violations = noted(async |bench| {
        call(bench, "lb1", stop("haproxy")).await;
        call(bench, "lb2", stop("haproxy")).await;
    });
    assert!(
        violations.iter().any(|it| it.contains("without a holder")),
        "{violations:?}"
    );

    let violations = noted(async |bench| {
        bench.simulation().world().power_off("master2");
        let park = Command::script(Script::new("park-manifests", ""));
        call(bench, "master3", park).await;
    });
    for breach in ["stopped a second etcd member", "cost etcd its quorum"] {
        assert!(
            violations.iter().any(|it| it.contains(breach)),
            "{violations:?}"
        );
    }

    let violations = noted(async |bench| {
        let mut world = bench.simulation().world();
        let now = world.now;
        let path = "/etc/kubernetes/pki/ca.crt";
        world
            .machine("master3")
            .files
            .put(path, "another", 0o644, now);
    });
    assert!(
        violations.iter().any(|it| it.contains("CAs")),
        "{violations:?}"
    );
}

/// Two operators start the same operation at the same time: one holds the lock, the other one is told so, and all is well.
#[test]
fn a_second_operator_is_refused_while_the_first_one_works() {
    let operation = Operation::find("provision").expect("there");
    let reference = reference(operation, INVENTORY);
    let mut stage = stage(INVENTORY, operation.name);
    let fault = "master1:second-operator@kubeadm-init"
        .parse()
        .expect("a fault");
    let outcome = attempt(&mut stage, &reference, &[fault], Search::Secrets);
    assert_eq!(outcome.broken, None);
    assert!(outcome.unmet.is_empty(), "{:?}", outcome.unmet);
}

#[test]
fn an_operator_who_dies_is_noticed_as_dead() {
    let operation = Operation::find("provision").expect("there");
    let reference = reference(operation, INVENTORY);
    let mut stage = stage(INVENTORY, operation.name);
    let fault: Fault = "master1:operator-dies@kubeadm-init+3"
        .parse()
        .expect("a fault");
    stage.begin(reference.begins.snapshot());
    stage.simulation().world().faults = vec![fault];
    let run = with_clock(stage.run());
    assert_eq!(run.end, End::Died);
}
