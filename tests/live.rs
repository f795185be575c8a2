//! A rehearsal that begins as other hosts are: read as real ones would be, over the same door.

mod common;

use common::{End, stage, with_clock};
use quorate::engine::event::Event;
use quorate::operation::rehearse::{
    Operation, Reference, Search, Stage, attempt, differences, from_live, read,
};

const INVENTORY: &str = "tests/data/simulated.yaml";

/// With an etcd of its own, on two hosts beside and on a master.
const EXTERNAL: &str = "tests/data/simulated-external.yaml";

/// An operation that begins as the hosts of another stage are.
fn like(other: &Stage, operation: &str) -> (Stage, Reference) {
    like_of(INVENTORY, other, operation)
}

fn like_of(inventory: &str, other: &Stage, operation: &str) -> (Stage, Reference) {
    let fleet = with_clock(read(&other.session)).unwrap_or_else(|error| panic!("{error}"));
    let told = differences(&other.session, &fleet).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(told, Vec::<String>::new(), "the model shows what was read");
    let operation = Operation::find(operation).expect("there");
    let mut own = stage(inventory, operation.name);
    let session = own.session.clone();
    let reference = from_live(&session, &mut own, operation, &fleet);
    (own, reference.unwrap_or_else(|error| panic!("{error}")))
}

fn provisioned() -> Stage {
    provisioned_of(INVENTORY)
}

fn provisioned_of(inventory: &str) -> Stage {
    let bench = stage(inventory, "provision");
    let run = with_clock(bench.run());
    assert!(matches!(run.end, End::Done { .. }), "{:?}", run.end);
    bench
}

#[test]
fn bare_hosts_are_provisioned_as_bare_ones_are() {
    let bare = stage(INVENTORY, "provision");
    let mut usual = stage(INVENTORY, "provision");
    let operation = Operation::find("provision").expect("there");
    let expected = Reference::new(&mut usual, operation).unwrap_or_else(|error| panic!("{error}"));
    let (_, reference) = like(&bare, "provision");
    assert_eq!(reference.run.end, expected.run.end);
    assert_eq!(reference.calls.len(), expected.calls.len());
}

#[test]
fn a_cluster_is_taken_over_whole() {
    let (_, reference) = like(&provisioned(), "provision");
    assert_eq!(changed(&reference), Vec::<&str>::new());
}

fn changed(reference: &Reference) -> Vec<&str> {
    let changes = reference.run.events().filter_map(|event| match event {
        Event::TaskStarted { change, .. } => Some(change.summary.as_str()),
        _ => None,
    });
    changes.collect()
}

#[test]
fn an_etcd_of_its_own_is_taken_over_whole() {
    let (_, reference) = like_of(EXTERNAL, &provisioned_of(EXTERNAL), "provision");
    assert_eq!(changed(&reference), Vec::<&str>::new());
}

#[test]
fn what_has_an_etcd_of_its_own_keeps_every_promise_under_faults() {
    for (operation, fault) in [
        ("upgrade", "master2:power-cut@kubeadm-upgrade+4"),
        ("upgrade-etcd", "*:power-cut@#40"),
        ("backup", "*:lost@#20"),
    ] {
        let (mut stage, reference) = like_of(EXTERNAL, &provisioned_of(EXTERNAL), operation);
        let fault = fault.parse().expect("a fault");
        let outcome = attempt(&mut stage, &reference, &[fault], Search::Nothing);
        assert_eq!(outcome.broken, None, "{operation}");
    }
}

#[test]
fn a_member_of_an_etcd_of_its_own_that_does_not_answer_is_down_and_recovered_from() {
    let cluster = provisioned_of(EXTERNAL);
    cluster.simulation().world().power_off("etcd1");
    let (_, reference) = like_of(EXTERNAL, &cluster, "recover");
    let removed = |what: &str| what.starts_with("etcd-member-remove");
    assert!(reference.calls.iter().any(|it| removed(&it.what)));
}

#[test]
fn a_backup_of_it_leaves_nothing_to_do() {
    let (mut stage, reference) = like(&provisioned(), "backup");
    let outcome = attempt(&mut stage, &reference, &[], Search::Secrets);
    assert_eq!(outcome.broken, None);
}

#[test]
fn an_upgrade_of_it_keeps_every_promise_under_faults() {
    let (mut stage, reference) = like(&provisioned(), "upgrade");
    let fault = "master2:power-cut@kubeadm-upgrade+4".parse();
    let outcome = attempt(
        &mut stage,
        &reference,
        &[fault.expect("a fault")],
        Search::Nothing,
    );
    assert_eq!(outcome.broken, None);
    assert_eq!(outcome.runs.len(), 2);
}

#[test]
fn a_master_that_does_not_answer_is_down_and_recovered_from() {
    let cluster = provisioned();
    cluster.simulation().world().power_off("master3");
    let (_, reference) = like(&cluster, "recover");
    assert!(
        reference
            .calls
            .iter()
            .any(|it| it.what.starts_with("etcd-member-remove"))
    );
}
