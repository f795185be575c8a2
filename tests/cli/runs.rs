//! What earlier runs left behind.

use crate::{Quorate, repository};

/// A run that failed and one that died, of a quorate whose journal has this format's version 1.
const RUNS: [&str; 2] = [
    "01a1fde95ab876e5803368d87773b4c1",
    "01a1fde971bc7013a475c4d0515d66b3",
];

fn with_runs() -> Quorate {
    let quorate = Quorate::new();
    for run in RUNS {
        let journal = fs_err::read_to_string(repository(&format!("tests/cli/{run}.jsonl")));
        let place = format!("state/quorate/minimal/runs/{run}/journal.jsonl");
        quorate.write(&place, &journal.unwrap());
    }
    quorate
}

fn runs(quorate: &Quorate, arguments: &[&str]) -> crate::Outcome {
    let inventory = repository("inventory/minimal.yaml");
    let common = ["-i", inventory.as_str()];
    quorate.run(&[&["runs"], arguments, &common].concat())
}

#[test]
fn a_cluster_without_runs_says_so() {
    let quorate = Quorate::new();
    let outcome = runs(&quorate, &["list"]).ended_with(0);
    assert_eq!(outcome.stdout, "No runs of minimal are on this computer\n");
    let json = runs(&quorate, &["list", "-o", "json"]).ended_with(0).json();
    assert_eq!(json["runs"], serde_json::json!([]));
    let stderr = runs(&quorate, &["show", "last"]).refused_with(2);
    assert!(stderr.contains("no runs of minimal are on this computer"));
}

#[test]
fn runs_are_listed_oldest_first() {
    insta::assert_snapshot!(runs(&with_runs(), &["list"]).ended_with(0).stdout);
}

#[test]
fn a_run_is_shown_as_a_time_line() {
    let quorate = with_runs();
    let failed = runs(&quorate, &["show", "7773b4c1"]).ended_with(0).stdout;
    insta::assert_snapshot!("time_line_of_a_failed_run", failed);
    assert!(failed.lines().all(|line| line.chars().count() <= 80));
    let died = runs(&quorate, &["show"]).ended_with(0).stdout;
    insta::assert_snapshot!("time_line_of_a_run_that_died", died);
}

#[test]
fn an_id_must_be_known() {
    let stderr = runs(&with_runs(), &["show", "beef"]).refused_with(2);
    assert!(
        stderr.contains("no run of minimal ends in `beef`; `quorate runs list` shows them"),
        "{stderr}"
    );
}
