//! What every action promises, on simulated hosts: a bare host needs it, applying it is proved by its own check, and applying
//! it again changes nothing. The actions come from the provision playbook, so a new one is covered or fails here.

mod common;

use std::collections::BTreeMap;

use common::{Bench, End, Run, tail, with_clock};
use quorate::action::AnyAction;
use quorate::engine::event::{Event, Outcome};
use quorate::engine::reader::Reader;
use quorate::operation::forecast::forecast;

/// Holds on a simulated host before anything was done, by its nature.
const HOLDS_AT_FIRST: &[(&str, &str)] = &[
    (
        "control-plane-config",
        "a bare host gets the configuration with its init or join",
    ),
    ("no-join-material", "there is none before a join"),
    ("registries", "the inventory names none"),
];

fn name(action: &AnyAction) -> String {
    let yaml = serde_json::to_value(action).expect("serialises");
    let fields = yaml.as_object().expect("an externally tagged enum");
    fields.keys().next().expect("one").clone()
}

/// An etcd of its own.
const EXTERNAL: &str = "tests/data/simulated-external.yaml";

#[test]
fn a_bare_host_needs_every_action() {
    let known: Vec<&str> = HOLDS_AT_FIRST.iter().map(|(name, _)| *name).collect();
    let bench = Bench::new("provision");
    assert_eq!(holding(&bench), known, "what holds on a bare host");
    // Members that begin with the cluster are `etcd-found`'s, and none is of the inventory no more.
    let with_member = [
        "control-plane-config",
        "etcd-former",
        "etcd-member",
        "no-join-material",
        "registries",
    ];
    assert_eq!(holding(&Bench::on(EXTERNAL, "provision")), with_member);
}

/// The actions that hold before anything was done.
fn holding(bench: &Bench) -> Vec<String> {
    let simulation = bench.simulation();
    let hosts = simulation.hosts();
    let reader = Reader::new(&hosts);
    let pending = with_clock(async {
        bench
            .session()
            .read(&bench.plan, &hosts, &reader)
            .await
            .expect("read");
        forecast(bench.session(), &bench.plan, &reader.fleet()).expect("judged")
    });
    let mut needed: BTreeMap<String, bool> = BTreeMap::new();
    for play in &bench.plan.plays {
        for (index, step) in play.steps.iter().enumerate() {
            let is_pending = pending
                .iter()
                .any(|task| task.task.play == play.number && task.task.step == index + 1);
            *needed.entry(name(&step.action)).or_default() |= is_pending;
        }
    }
    let holds = needed.into_iter().filter(|(_, needed)| !needed);
    holds.map(|(name, _)| name).collect()
}

#[test]
fn what_was_applied_is_proved_and_not_applied_again() {
    proved_once(&Bench::new("provision"));
    proved_once(&Bench::on(EXTERNAL, "provision"));
}

fn proved_once(bench: &Bench) {
    with_clock(async {
        let first = bench.run().await;
        assert!(
            matches!(first.end, End::Done { .. }),
            "{:?}\n{}",
            first.end,
            tail(&first)
        );
        let second = bench.run().await;
        assert!(
            matches!(second.end, End::Done { changed: 0, .. }),
            "{:?}\n{}",
            second.end,
            tail(&second)
        );
        let (first, second) = (outcomes(&first), outcomes(&second));
        for play in &bench.plan.plays {
            for (index, step) in play.steps.iter().enumerate() {
                for host in &play.hosts {
                    let task = play.task(index, host).to_string();
                    let action = name(&step.action);
                    assert!(
                        first.contains_key(&task),
                        "`{action}` ({task}) was not tried"
                    );
                    assert_eq!(
                        second.get(&task),
                        Some(&Outcome::Unchanged),
                        "`{action}` ({task}) was done again"
                    );
                }
            }
        }
    });
}

#[test]
fn every_action_changed_something_somewhere() {
    // Nothing registers a registry, leaves join material or changes the configuration in a clean run, and a simulated Node is
    // ready at once.
    let known = [
        "control-plane-config",
        "no-join-material",
        "node-ready",
        "registries",
    ];
    assert_eq!(idle(&Bench::new("provision")), known);
    // Nor does a member go missing, or out of the inventory.
    let with_member = [
        "control-plane-config",
        "etcd-former",
        "etcd-member",
        "no-join-material",
        "node-ready",
        "registries",
    ];
    assert_eq!(idle(&Bench::on(EXTERNAL, "provision")), with_member);
}

/// The actions that changed nothing in a clean run.
fn idle(bench: &Bench) -> Vec<String> {
    let run = with_clock(bench.run());
    assert!(matches!(run.end, End::Done { .. }), "{:?}", run.end);
    let outcomes = outcomes(&run);
    let mut changed: BTreeMap<String, bool> = BTreeMap::new();
    for play in &bench.plan.plays {
        for (index, step) in play.steps.iter().enumerate() {
            let is_changed = play.hosts.iter().any(|host| {
                outcomes.get(&play.task(index, host).to_string()) == Some(&Outcome::Changed)
            });
            *changed.entry(name(&step.action)).or_default() |= is_changed;
        }
    }
    let idle = changed.into_iter().filter(|(_, changed)| !changed);
    idle.map(|(name, _)| name).collect()
}

fn outcomes(run: &Run) -> BTreeMap<String, Outcome> {
    let finished = run.events().filter_map(|event| match event {
        Event::TaskFinished { task, outcome, .. } => Some((task.to_string(), outcome.clone())),
        _ => None,
    });
    finished.collect()
}
