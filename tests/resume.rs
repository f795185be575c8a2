//! Any moment may be the last: whatever goes wrong at whichever remote call, running again converges to the same hosts.
//!
//! The connection is lost at every single call, before and after its effect; reboots and dying operators are tried at some calls
//! and steps of jobs. `QUORATE_STRIDE` (default 5) says at how many: the smaller, the more.

#![expect(
    clippy::case_sensitive_file_extension_comparisons,
    clippy::filter_next,
    clippy::format_collect,
    clippy::needless_pass_by_value,
    reason = "a test that meets something else may panic, and says it shortly"
)]

mod common;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{Bench, End, Said, essence, tail, with_clock};
use quorate::host::simulated::Simulation;
use quorate::host::simulated::faults::{Fault, What, When};
use quorate::host::simulated::record::{Call, Kind};
use quorate::host::simulated::world::World;
use quorate::playbook::Playbook;

/// How often a person would run the command again after the last fault before giving up.
const RUNS: usize = 3;

/// Longer than any undo waits.
const LATER: Duration = Duration::from_secs(600);

/// What a run that nothing happens to comes to.
struct Reference {
    calls: Vec<Call>,
    essence: String,
}

#[test]
fn a_second_run_changes_nothing_and_costs_one_round_trip_per_host() {
    for playbook in Playbook::names() {
        let bench = Bench::new(&playbook);
        let simulation = bench.simulation();
        with_clock(async {
            let (end, said) = bench.run(&simulation).await;
            assert!(
                matches!(end, End::Done { .. }),
                "{playbook}: {end:?}\n{}",
                tail(&said)
            );
            nothing_changes(&bench, &simulation)
                .await
                .unwrap_or_else(|why| panic!("{playbook}: {why}"));
            let world = simulation.world();
            assert!(
                world.violations.is_empty(),
                "{playbook}: {:?}",
                world.violations
            );
        });
    }
}

#[test]
fn a_fault_at_any_remote_call_is_made_good_by_running_again() {
    for playbook in Playbook::names() {
        let began = Instant::now();
        let reference = reference(&playbook);
        let cases = cases(&reference.calls, stride());
        let failures = try_all(&playbook, &reference, &cases);
        println!(
            "{playbook}: {} calls, {} cases, {:.0} s",
            reference.calls.len(),
            cases.len(),
            began.elapsed().as_secs_f64()
        );
        assert!(
            failures.is_empty(),
            "{} of {} cases:\n{}",
            failures.len(),
            cases.len(),
            summary(&failures)
        );
    }
}

fn summary(failures: &[String]) -> String {
    failures
        .iter()
        .take(25)
        .map(|line| format!("- {line}\n"))
        .collect()
}

/// The rarer faults are tried at every so-manieth place.
fn stride() -> usize {
    std::env::var("QUORATE_STRIDE")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(5)
}

fn reference(playbook: &str) -> Reference {
    let bench = Bench::new(playbook);
    let simulation = bench.simulation();
    with_clock(async {
        let (end, said) = bench.run(&simulation).await;
        assert!(matches!(end, End::Done { .. }), "{end:?}\n{}", tail(&said));
        let mut world = simulation.world();
        world.pass(LATER);
        let calls = world.calls.clone();
        Reference {
            calls,
            essence: named(&bench, essence(&world)),
        }
    })
}

/// Without the name of the bench's cluster.
fn named(bench: &Bench, text: String) -> String {
    text.replace(&bench.session.inventory.name, "simulated")
}

/// Probes that are lost in one case. A run survives the loss of a probe, so several can be met in one.
const PROBES_AT_ONCE: usize = 8;

/// The cases: which faults are met in each.
fn cases(calls: &[Call], stride: usize) -> Vec<Vec<Fault>> {
    let (probes, effects): (Vec<&Call>, Vec<&Call>) =
        calls.iter().partition(|call| call.kind == Kind::Probe);
    let apart = probes.len().div_ceil(PROBES_AT_ONCE);
    let lost = |call: &&Call| Fault {
        call: call.number,
        when: When::Before,
        what: What::LoseConnection,
    };
    let of_probes =
        (0..apart).map(|first| probes.iter().skip(first).step_by(apart).map(lost).collect());
    let of_effects = effects.iter().flat_map(|call| faults(call, stride));
    of_probes
        .chain(of_effects.map(|fault| vec![fault]))
        .collect()
}

/// What may go wrong at a call that changes something: the connection at each, the rest at some.
fn faults(call: &Call, stride: usize) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut at = |when, what| {
        let call = call.number;
        faults.push(Fault { call, when, what });
    };
    at(When::Before, What::LoseConnection);
    at(When::After, What::LoseConnection);
    let is_tried = |offset: usize| (call.number + offset).is_multiple_of(stride);
    if is_tried(0) {
        at(When::After, What::Reboot);
    }
    if is_tried(1) {
        at(When::After, What::OperatorDies);
    }
    if is_tried(2) {
        at(When::Before, What::Reboot);
    }
    let is_kubeadms = call.what.starts_with("kubeadm");
    for step in 1..call.steps {
        let all = [What::Reboot, What::OperatorDies, What::LoseConnection];
        for (index, what) in all.into_iter().enumerate() {
            let takes_turn = (call.number + step + index).is_multiple_of(3);
            if stride == 1 || takes_turn && (is_kubeadms || is_tried(step)) {
                at(When::AfterSteps(step), what);
            }
        }
    }
    faults
}

/// Tries all cases, on all processors; what went wrong.
fn try_all(playbook: &str, reference: &Reference, cases: &[Vec<Fault>]) -> Vec<String> {
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    let work = || {
        let bench = Bench::new(playbook);
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(case) = cases.get(number) else {
                break;
            };
            if let Err(why) = with_clock(try_one(&bench, reference, case, number)) {
                let line = format!("{}: {why}", described(reference, case));
                eprintln!("{line}");
                failures.lock().expect("no panic").push(line);
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    failures.into_inner().expect("no panic")
}

fn described(reference: &Reference, case: &[Fault]) -> String {
    let one = |fault: &Fault| {
        let call = reference
            .calls
            .get(fault.call)
            .expect("a call of the reference");
        format!(
            "{:?} {:?} call {} (`{}` on {})",
            fault.what, fault.when, fault.call, call.what, call.host
        )
    };
    case.iter().map(one).collect::<Vec<_>>().join(", ")
}

async fn try_one(
    bench: &Bench,
    reference: &Reference,
    case: &[Fault],
    number: usize,
) -> Result<(), String> {
    bench.forget();
    let simulation = bench.simulation();
    simulation.world().faults = case.to_vec();
    // Searching takes longer than running; what is shown hardly depends on the fault.
    simulation.world().keeps_shown = number.is_multiple_of(8);
    let said = converge(bench, &simulation, case.len() + RUNS).await?;
    nothing_changes(bench, &simulation).await?;
    let world = simulation.world();
    invariants(&world)?;
    if world.keeps_shown {
        no_secret_was_seen(&world, &said)?;
    }
    if case.iter().all(|fault| fault.what != What::Reboot) {
        nothing_was_done_twice(&world)?;
    }
    let essence = named(bench, essence(&world));
    if essence == reference.essence {
        return Ok(());
    }
    Err(format!(
        "it came to other hosts: {}",
        difference(&reference.essence, &essence)
    ))
}

/// Runs until everything holds.
async fn converge(
    bench: &Bench,
    simulation: &Simulation,
    runs: usize,
) -> Result<Vec<Said>, String> {
    let mut all = Vec::new();
    let mut ends = Vec::new();
    for _ in 0..runs {
        let (end, said) = bench.run(simulation).await;
        all.push(said);
        if matches!(end, End::Done { .. }) {
            return Ok(all);
        }
        ends.push(format!("{end:?}"));
        // Long enough for a host to boot, too short for anything else.
        simulation.world().pass(Duration::from_secs(30));
    }
    Err(format!("not after {runs} runs: {}", ends.join(" then ")))
}

/// Much later still everything is as it was, and finding out costs one probe of each host.
async fn nothing_changes(bench: &Bench, simulation: &Simulation) -> Result<(), String> {
    simulation.world().pass(LATER);
    let before = simulation.world().calls.len();
    let (end, said) = bench.run(simulation).await;
    let world = simulation.world();
    let calls = world.calls.get(before..).unwrap_or_default();
    if !matches!(end, End::Done { changed: 0, .. }) {
        return Err(format!("the run after: {end:?}\n{}", started(&said)));
    }
    let probes_only = calls.iter().all(|call| call.kind == Kind::Probe);
    let hosts = bench.plan.hosts(&bench.session.inventory).len();
    if calls.len() != hosts || !probes_only {
        let shown: Vec<&str> = calls.iter().map(|call| call.what.as_str()).collect();
        return Err(format!(
            "the run after cost {} calls: {}",
            calls.len(),
            shown.join(", ")
        ));
    }
    Ok(())
}

fn started(said: &Said) -> String {
    let text = said.text();
    let lines = text
        .lines()
        .filter(|line| line.contains("task-started") || line.contains("found"));
    lines
        .map(|line| line.chars().take(300).collect::<String>() + "\n")
        .collect()
}

fn invariants(world: &World) -> Result<(), String> {
    if let Some(violation) = world.violations.first() {
        return Err(violation.clone());
    }
    let members = world.etcd.iter().flat_map(|cluster| &cluster.members);
    let learner = members
        .filter(|member| member.is_learner || member.name.is_empty())
        .next();
    if let Some(member) = learner {
        return Err(format!(
            "etcd member {} was left a learner or never started",
            member.peer_url
        ));
    }
    if world
        .machines
        .values()
        .any(|machine| !machine.locks.is_empty())
    {
        return Err("a lock was left".to_owned());
    }
    Ok(())
}

fn no_secret_was_seen(world: &World, said: &[Said]) -> Result<(), String> {
    assert!(
        world.secrets.len() > 5,
        "keys, tokens and passwords were made"
    );
    let journals: Vec<String> = said.iter().map(Said::text).collect();
    for secret in &world.secrets {
        if let Some(call) = world.calls.iter().find(|call| call.open.contains(secret)) {
            return Err(format!(
                "`{}` on {} shows the secret {secret}",
                call.what, call.host
            ));
        }
        if journals.iter().any(|journal| journal.contains(secret)) {
            return Err(format!("the journal shows the secret {secret}"));
        }
    }
    Ok(())
}

/// A job that goes on without its operator is followed, not done again.
fn nothing_was_done_twice(world: &World) -> Result<(), String> {
    let once = ["kubeadm-init", "kubeadm-join"];
    let twice = world
        .finished
        .iter()
        .find(|((_, job), count)| once.contains(job) && **count > 1);
    match twice {
        Some(((host, job), count)) => Err(format!("{job} was done {count} times on {host}")),
        None => Ok(()),
    }
}

fn difference(expected: &str, found: &str) -> String {
    let diff = similar::TextDiff::from_lines(expected, found);
    let changes = diff
        .iter_all_changes()
        .filter(|change| change.tag() != similar::ChangeTag::Equal);
    let lines = changes.take(8).map(|change| {
        format!(
            "{}{}",
            change.tag(),
            change.value().chars().take(160).collect::<String>()
        )
    });
    lines.collect::<Vec<_>>().join(" | ")
}
