//! The journal: old ones stay readable, a torn one is read as far as it goes, and none is needed to run again.

#![expect(
    clippy::indexing_slicing,
    reason = "a test that meets something else may panic, and says it shortly"
)]

mod common;

use camino::{Utf8Path, Utf8PathBuf};
use common::{Bench, End, tail, with_clock};
use quorate::engine::event::{Event, FORMAT, TaskId};
use quorate::engine::journal;
use quorate::host::simulated::faults::{Fault, What, When};

/// What every quorate of format 1 may have written; never to be edited, only joined by samples of later formats.
const SAMPLE: &str = "tests/data/journal-v1.jsonl";

fn sample() -> Utf8PathBuf {
    Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join(SAMPLE)
}

#[test]
fn a_journal_of_the_first_format_is_read_whole() {
    let records = journal::read_file(&sample()).expect("readable");
    let lines = std::fs::read_to_string(sample())
        .expect("readable")
        .lines()
        .count();
    assert_eq!(records.len(), lines);
    assert!(
        records
            .iter()
            .all(|record| record.v == 1 && record.event != Event::Unknown)
    );
    assert!(journal::interrupted(&records).is_empty());
    assert_eq!(FORMAT, 1, "a new format needs a sample of its own");
}

#[test]
fn what_is_written_today_reads_as_the_sample() {
    for line in std::fs::read_to_string(sample()).expect("readable").lines() {
        let record: quorate::engine::event::Record = serde_json::from_str(line).expect("a record");
        let again: serde_json::Value = serde_json::to_value(&record).expect("serialises");
        let mut then: serde_json::Value = serde_json::from_str(line).expect("JSON");
        then["at"] = again["at"].clone();
        assert_eq!(again, then);
    }
}

#[test]
fn a_journal_cut_after_any_record_names_what_was_under_way() {
    let records = journal::read_file(&sample()).expect("readable");
    let expected = [0, 0, 0, 0, 1, 0, 0, 1, 1, 1, 0, 0];
    for (cut, expected) in expected.into_iter().enumerate() {
        let open = journal::interrupted(records.get(..cut).expect("within"));
        assert_eq!(open.len(), expected, "after {cut} records: {open:?}");
    }
}

#[test]
fn an_event_of_a_later_quorate_is_passed_over() {
    let line = r#"{"v":1,"at":"2026-11-21T10:04:08Z","event":{"kind":"member-promoted","host":"master2"}}"#;
    let record: quorate::engine::event::Record = serde_json::from_str(line).expect("a record");
    assert_eq!(record.event, Event::Unknown);
}

/// Whatever the journal holds when the operator dies, it names the tasks under way, and running again says so and does the
/// rest.
#[test]
fn a_run_that_died_with_its_journal_is_continued() {
    for call in [20, 60, 115, 170, 215, 285, 310] {
        let mut bench = Bench::new("provision");
        bench.stage.keep_journals();
        let simulation = bench.simulation();
        simulation.world().faults = vec![Fault::at(call, When::After, What::OperatorDies)];
        with_clock(async {
            let run = bench.run().await;
            assert_eq!(run.end, End::Died, "call {call}");
            let open = bench.stage.at_computer(async { interrupted(&bench) }).await;
            let struck = simulation.world().calls.get(call).cloned();
            let struck = struck.expect("it was called");
            let is_named = open.iter().any(|(task, _)| task.host == struck.host);
            assert!(struck.task.is_none() || is_named, "call {call}: {open:?}");
            let run = bench.run().await;
            assert!(
                matches!(run.end, End::Done { .. }),
                "call {call}: {:?}\n{}",
                run.end,
                tail(&run)
            );
            for (_, step) in open {
                let says = format!("was interrupted during `{step}`");
                assert!(run.text().contains(&says), "call {call}: {says}");
            }
        });
    }
}

fn interrupted(bench: &Bench) -> Vec<(TaskId, String)> {
    let cluster = &bench.session().inventory.name;
    let last = journal::runs(cluster).pop().expect("a journal");
    journal::interrupted(&journal::read(cluster, &last).expect("readable"))
}
