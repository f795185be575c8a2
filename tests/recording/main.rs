//! The simulated hosts are held to reality: a provision, an upgrade and a recovery of the lab's real hosts were recorded
//! (`make record`), the same is carried out on simulated hosts, and every step, every command and every answer is compared.
//!
//! The recording is the truth. Where the two differ the simulation is mended, or the difference is named in `KNOWN` with the
//! reason why it does not matter; a difference that is named and does not occur any more fails the test, too.

#![expect(
    clippy::indexing_slicing,
    reason = "a test that meets something else may panic, and says it shortly"
)]

#[path = "../common/mod.rs"]
mod common;
mod compare;
mod known;
mod rehearsal;
mod sections;
mod shape;

use compare::Difference;
use known::{KNOWN, Shows};
use quorate::engine::recording::Entry;
use rehearsal::{OPERATIONS, recorded, simulated};

#[test]
fn simulated_hosts_answer_as_real_ones_did() {
    let differences = differences(&recorded(), &simulated(&recorded()));
    let is_known = |it: &&Difference| KNOWN.iter().any(|(pattern, _, _)| it.matches(pattern));
    let (known, unknown): (Vec<_>, Vec<_>) = differences.iter().partition(is_known);
    println!("recording: {} known differences", known.len());
    let stale: Vec<&str> = KNOWN
        .iter()
        .filter(|(_, shows, _)| *shows == Shows::Always)
        .map(|(pattern, _, _)| *pattern)
        .filter(|pattern| !known.iter().any(|it| it.matches(pattern)))
        .collect();
    let lines: Vec<String> = unknown.iter().map(ToString::to_string).collect();
    assert!(
        lines.is_empty(),
        "{} differences:\n{}",
        lines.len(),
        lines.join("\n")
    );
    assert!(
        stale.is_empty(),
        "known differences that do not occur any more: {stale:#?}"
    );
}

/// All operations, in their order.
fn differences(real: &[Vec<Entry>], simulated: &[Vec<Entry>]) -> Vec<Difference> {
    let both = real.iter().zip(simulated);
    OPERATIONS
        .iter()
        .zip(both)
        .flat_map(|(operation, (real, simulated))| {
            compare::all(operation, &rehearsal::cut(real), &rehearsal::cut(simulated))
        })
        .collect()
}

/// The last answer of its kind, changed: a status, a reading, a call that was not made, a task that came to something else.
#[test]
fn a_changed_answer_is_noticed() {
    let real = recorded();
    let simulated = simulated(&real);
    for (name, change) in CHANGES {
        let mut changed = real.clone();
        let is_changed = changed.iter_mut().flatten().rev().any(change);
        assert!(is_changed, "{name}: it is in the recording");
        let known = |it: &Difference| KNOWN.iter().any(|(pattern, _, _)| it.matches(pattern));
        let mut differences = differences(&changed, &simulated);
        differences.retain(|it| !known(it));
        assert!(!differences.is_empty(), "{name}: it is noticed");
    }
}

/// Changes an entry that it fits; whether it was this one.
type Change = fn(&mut Entry) -> bool;

const CHANGES: [(&str, Change); 5] = [
    ("a job that failed", |entry| match entry {
        Entry::Call { asked, answer, .. } if asked.starts_with("job kubeadm-join") => {
            answer["status"] = 1.into();
            true
        }
        _ => false,
    }),
    ("a command with another argument", |entry| match entry {
        Entry::Call { asked, .. } if asked.starts_with("run sysctls-apply") => {
            asked.push_str(".old");
            true
        }
        _ => false,
    }),
    ("an etcd member that is a learner", |entry| {
        let Entry::Probe { answers, .. } = entry else {
            return false;
        };
        answers.iter_mut().any(|(question, answer)| {
            let report = answer["stdout"].as_str().unwrap_or_default();
            let changed = report.replace(
                "\"name\":\"master3\",",
                "\"name\":\"master3\",\"isLearner\":true,",
            );
            let is_one = question.starts_with("script kubernetes-report") && changed != report;
            if is_one {
                answer["stdout"] = changed.into();
            }
            is_one
        })
    }),
    ("a server that is out", |entry| {
        let Entry::Probe { answers, .. } = entry else {
            return false;
        };
        let Some(answer) = answers.get_mut("script haproxy-servers") else {
            return false;
        };
        let metrics = answer["stdout"].as_str().unwrap_or_default();
        answer["stdout"] = metrics
            .replace("server=\"master1\"", "server=\"master9\"")
            .into();
        true
    }),
    ("a task that was not needed", |entry| match entry {
        Entry::Ended { task, outcome, .. } if task == "8.1@lb1" && outcome == "changed" => {
            "unchanged".clone_into(outcome);
            true
        }
        _ => false,
    }),
];
