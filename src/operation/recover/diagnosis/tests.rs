//! Every way in which a control plane can be broken, and what is proposed.

use super::*;
use crate::cluster::etcd_member::{Seat, Seats};
use crate::cluster::report::{Answer, Report};
use crate::cluster::restore::Past;
use crate::cluster::sample::{
    CLUSTER, external, joined, learner, list, plane, seated, started, status, unstarted,
};
use crate::testing;

fn proposed(reports: [Option<Report>; 3], nodes: &[&str]) -> Proposal {
    let inventory = testing::inventory();
    let plane = plane(&inventory, reports.into());
    let site = Site {
        inventory: &inventory,
        plane: &plane,
        nodes: Some(nodes.iter().map(|&name| name.to_owned()).collect()),
    };
    let rows = site.rows();
    assert!(rows.len() >= 3, "{rows:?}");
    site.proposal()
}

const ALL: [u64; 3] = [1, 2, 3];
const NODES: [&str; 3] = ["master1", "master2", "master3"];

fn without_quorum(number: u64) -> Report {
    let mut report = joined(number, &ALL);
    report.readyz = Answer::Unreachable;
    report.etcd_health = Answer::Http(503, "{\"health\":\"false\"}".to_owned());
    report
}

fn stopped(number: u64, things: &[Has]) -> Report {
    let mut report = joined(number, &ALL);
    report.readyz = Answer::Unreachable;
    report.etcd_status = Answer::Unreachable;
    report.has.retain(|has| !things.contains(has));
    report
}

#[test]
fn a_whole_cluster_needs_nothing() {
    let all = [1, 2, 3].map(|number| Some(joined(number, &ALL)));
    assert_eq!(proposed(all, &NODES), Proposal::Nothing);
}

#[test]
fn any_one_dead_master_is_removed_with_its_node_the_founder_too() {
    for dead in 1..=3_u64 {
        let reports = ALL.map(|number| (number != dead).then(|| joined(number, &ALL)));
        let Proposal::Remove(removals) = proposed(reports, &NODES) else {
            panic!("master{dead} is removed");
        };
        assert_eq!(removals.len(), 1);
        let removal = removals.first().expect("one");
        assert_eq!(removal.name, format!("master{dead}"));
        assert_eq!(removal.member, Some(MemberId(dead)));
        assert!(removal.has_node && removal.address.is_some());
    }
}

#[test]
fn a_master_that_only_starts_is_waited_for() {
    let mut starting = joined(2, &ALL);
    // Its RBAC rules are not read yet.
    starting.readyz = Answer::Http(403, String::new());
    let reports = [joined(1, &ALL), starting, joined(3, &ALL)].map(Some);
    let Proposal::Settle(why) = proposed(reports, &NODES) else {
        panic!("nothing else is to be done");
    };
    assert_eq!(why, "master2: its apiserver answers /readyz with 403");
}

#[test]
fn a_dead_master_of_which_nothing_is_left_is_waited_for() {
    let reports = [Some(joined(1, &[1, 2])), Some(joined(2, &[1, 2])), None];
    let nodes = ["master1", "master2"];
    assert!(matches!(
        proposed(reports.clone(), &nodes),
        Proposal::Wait(_)
    ));
    let Proposal::Remove(removals) = proposed(reports, &NODES) else {
        panic!("the Node without a member is deleted");
    };
    assert_eq!(removals.first().expect("one").member, None);
}

#[test]
fn a_master_that_answers_is_cleaned_and_joins_again() {
    let blank = Report::default();
    let wiped = stopped(3, &[Has::EtcdData]);
    let refounded = Report {
        etcd_status: status(CLUSTER, 3),
        etcd_members: list(&[started(3)]),
        ..joined(3, &ALL)
    };
    let no_manifests = stopped(3, &[Has::EtcdManifest, Has::ApiserverManifest]);
    let of_its_own = Report {
        etcd_status: status(CLUSTER + 1, 3),
        etcd_members: list(&[started(3)]),
        ..joined(3, &ALL)
    };
    let without_node = Report {
        node: Answer::Http(404, String::new()),
        ..joined(3, &ALL)
    };
    for third in [
        blank,
        wiped,
        refounded,
        of_its_own,
        no_manifests,
        without_node,
    ] {
        let reports = [Some(joined(1, &ALL)), Some(joined(2, &ALL)), Some(third)];
        assert_eq!(
            proposed(reports, &NODES),
            Proposal::Rejoin(vec!["master3".to_owned()])
        );
    }
}

#[test]
fn a_master_whose_member_was_removed_joins_again_though_its_node_is_there() {
    let two = [1, 2].map(|number| Some(joined(number, &[1, 2])));
    let [first, second] = two;
    assert_eq!(
        proposed([first, second, Some(stopped(3, &[]))], &NODES),
        Proposal::Rejoin(vec!["master3".to_owned()])
    );
}

#[test]
fn a_founding_on_an_empty_disk_is_never_joined() {
    let alone = Report {
        etcd_members: list(&[started(1)]),
        ..joined(1, &[1])
    };
    let reports = [
        Some(alone.clone()),
        Some(stopped(2, &[Has::EtcdData])),
        Some(stopped(3, &[])),
    ];
    let Proposal::Refuse(why) = proposed(reports, &["master1"]) else {
        panic!("it is refused");
    };
    assert!(
        why.contains("quorate restore") && why.contains("master2, master3"),
        "{why}"
    );
    let blank = || Some(Report::default());
    let after_recovery = proposed([Some(alone), blank(), blank()], &["master1"]);
    assert_eq!(
        after_recovery,
        Proposal::Rejoin(vec!["master2".to_owned(), "master3".to_owned()])
    );
}

#[test]
fn half_joined_learners_are_mended_whether_their_host_answers_or_not() {
    for last in [unstarted(3), learner(3)] {
        let members = list(&[started(1), started(2), last]);
        let with = |number| Report {
            etcd_members: members.clone(),
            ..joined(number, &ALL)
        };
        let silent = stopped(3, &[]);
        let answers = [Some(with(1)), Some(with(2)), Some(silent)];
        assert_eq!(
            proposed(answers, &NODES),
            Proposal::Rejoin(vec!["master3".to_owned()])
        );
        let Proposal::Remove(removals) = proposed([Some(with(1)), Some(with(2)), None], &NODES)
        else {
            panic!("the learner is removed");
        };
        assert_eq!(removals.first().expect("one").member, Some(MemberId(3)));
    }
}

#[test]
fn a_member_that_no_master_is_is_removed() {
    let reports = [1, 2, 3].map(|number| Some(joined(number, &[1, 2, 3, 9])));
    let Proposal::Remove(removals) = proposed(reports, &NODES) else {
        panic!("the stranger is removed");
    };
    let removal = removals.first().expect("one");
    assert_eq!(
        (removal.member, removal.has_node),
        (Some(MemberId(9)), false)
    );
}

#[test]
fn what_would_cost_the_quorum_is_refused_with_the_arithmetic() {
    // Four voters, one of them unknown to the inventory and dead, one host gone: two of four are healthy.
    let reports = [
        Some(joined(1, &[1, 2, 3, 9])),
        Some(joined(2, &[1, 2, 3, 9])),
        None,
    ];
    let Proposal::Refuse(why) = proposed(reports, &NODES) else {
        panic!("it is refused");
    };
    assert!(
        why.contains("only 2") && why.contains("3 must agree"),
        "{why}"
    );
    assert!(why.contains("then"), "the order is named: {why}");
}

#[test]
fn a_master_that_comes_back_with_the_data_that_was_given_up_joins_the_survivor() {
    let past = |ids: &[u64]| Past {
        made: None,
        left: ids.iter().copied().map(MemberId).collect(),
    };
    let restored = Report {
        etcd_status: status(CLUSTER + 1, 7),
        etcd_members: list(&[started(1).replace("\"ID\":\"1\"", "\"ID\":\"7\"")]),
        etcd_past: past(&[CLUSTER]),
        ..joined(1, &ALL)
    };
    let forced = Report {
        etcd_past: past(&[2, 3]),
        ..joined(1, &[1])
    };
    for survivor in [restored, forced] {
        let proposed = |others: [Report; 2]| {
            let [second, third] = others;
            proposed([Some(survivor.clone()), Some(second), Some(third)], &NODES)
        };
        let both = Proposal::Rejoin(vec!["master2".to_owned(), "master3".to_owned()]);
        let alone = [without_quorum(2), Report::default()];
        assert_eq!(proposed(alone), both);
        let with_a_quorum = [joined(2, &ALL), joined(3, &ALL)];
        assert_eq!(proposed(with_a_quorum), both);
        let silent = [stopped(2, &[]), stopped(3, &[])];
        assert_eq!(
            proposed(silent),
            both,
            "it was no founding on an empty disk"
        );
    }
}

#[test]
fn of_two_recoveries_the_later_one_counts() {
    let alone = |number: u64, made: u64| Report {
        etcd_status: status(CLUSTER + number, number),
        etcd_members: list(&[started(number)]),
        etcd_past: Past {
            made: Some(made),
            left: [MemberId(CLUSTER)].into(),
        },
        ..joined(number, &[number])
    };
    for (first, second, other) in [(10, 20, "master1"), (20, 10, "master2")] {
        let both = [Some(alone(1, first)), Some(alone(2, second)), None];
        let joins = Proposal::Rejoin(vec![other.to_owned()]);
        assert_eq!(proposed(both, &["master1", "master2"]), joins);
    }
}

#[test]
fn one_survivor_of_three_founds_anew_but_not_while_a_quorum_has_its_data() {
    let blank = || Some(Report::default());
    for others in [[None, None], [blank(), None], [blank(), blank()]] {
        let [second, third] = others;
        let survivor = proposed([Some(without_quorum(1)), second, third], &[]);
        assert_eq!(survivor, Proposal::Survivor("master1".to_owned()));
    }
    let stopped = Some(stopped(2, &[]));
    let waits = proposed([Some(without_quorum(1)), stopped, None], &[]);
    assert!(matches!(waits, Proposal::Wait(_)), "{waits:?}");
}

#[test]
fn without_any_data_a_backup_is_restored_and_never_while_a_host_might_still_have_it() {
    let blank = || Some(Report::default());
    assert_eq!(
        proposed([blank(), blank(), blank()], &[]),
        Proposal::Restore
    );
    assert!(matches!(
        proposed([blank(), blank(), None], &[]),
        Proposal::Refuse(_)
    ));
    let stopped = Some(stopped(1, &[]));
    assert!(matches!(
        proposed([stopped, blank(), blank()], &[]),
        Proposal::Wait(_)
    ));
}

#[test]
fn a_survivor_that_was_started_again_says_only_that_it_waits() {
    let waiting = |number| {
        let mut report = stopped(number, &[]);
        report.etcd_health = Answer::Http(503, "{\"health\":\"false\"}".to_owned());
        Some(report)
    };
    for others in [[None, None], [Some(Report::default()), None]] {
        let [second, third] = others;
        let alone = proposed([waiting(1), second, third], &[]);
        assert_eq!(alone, Proposal::Survivor("master1".to_owned()));
    }
    let together = proposed([waiting(1), waiting(2), None], &[]);
    assert!(matches!(together, Proposal::Wait(_)), "{together:?}");
}

#[test]
fn the_arithmetic_is_shown_before_and_after() {
    let inventory = testing::inventory();
    let reports = vec![Some(joined(1, &ALL)), Some(joined(2, &ALL)), None];
    let plane = plane(&inventory, reports);
    let site = Site {
        inventory: &inventory,
        plane: &plane,
        nodes: None,
    };
    let Proposal::Remove(removals) = site.proposal() else {
        panic!("master3 is removed");
    };
    assert_eq!(
        site.arithmetic(&removals),
        [
            "now: 3 voters, quorum 2, 2 healthy: 0 more may be lost",
            "without master3: 2 voters, quorum 2, 2 healthy: 0 more may be lost",
        ]
    );
}

/// What is proposed for an external etcd of three.
fn of_seats(spoil: impl FnOnce(&mut Seats<'_>)) -> Proposal {
    let inventory = external();
    let mut plane = seated(&inventory, CLUSTER);
    spoil(plane.external.as_mut().expect("it is external"));
    let site = Site {
        inventory: &inventory,
        plane: &plane,
        nodes: None,
    };
    site.proposal()
}

#[test]
fn a_dead_member_of_an_external_etcd_is_removed_and_a_wiped_one_joins_again() {
    assert_eq!(of_seats(|_| {}), Proposal::Nothing);
    let dead = of_seats(|seats| {
        seats.seats.pop();
        seats.unread.push("master3");
    });
    let Proposal::Remove(removals) = dead else {
        panic!("{dead:?}");
    };
    assert_eq!(removals.first().and_then(|it| it.member), Some(MemberId(3)));
    let wiped = of_seats(|seats| {
        let last = seats.seats.last_mut().expect("three");
        last.report.has.clear();
        last.etcd = None;
    });
    assert_eq!(wiped, Proposal::Rejoin(vec!["master3".to_owned()]));
}

#[test]
fn an_external_etcd_without_quorum_goes_on_with_its_only_survivor() {
    let lone = |spoil: fn(&mut Seat<'_>)| {
        of_seats(|seats| {
            seats.seats.truncate(1);
            seats.unread.extend(["master2", "master3"]);
            spoil(seats.seats.first_mut().expect("one"));
        })
    };
    let survivor = Proposal::Survivor("master1".to_owned());
    let serves = lone(|seat| seat.etcd.as_mut().expect("it answers").is_healthy = false);
    assert_eq!(serves, survivor);
    let waits = lone(|seat| {
        seat.etcd = None;
        seat.report.etcd_status = Answer::Unreachable;
        seat.report.etcd_health = Answer::Http(503, String::new());
    });
    assert_eq!(waits, survivor);
    let lost = lone(|seat| {
        seat.etcd = None;
        seat.report.has.clear();
    });
    assert!(matches!(lost, Proposal::Refuse(_)), "{lost:?}");
    let all_lost = of_seats(|seats| {
        for seat in &mut seats.seats {
            seat.etcd = None;
            seat.report.has.clear();
        }
    });
    assert_eq!(all_lost, Proposal::Restore);
}

#[test]
fn two_survivors_of_five_are_not_chosen_between_while_one_is_silent() {
    let two = of_seats(|seats| {
        seats.seats.truncate(2);
        // Of five, of whom three are lost.
        seats.unread.extend(["etcd3", "etcd4", "etcd5"]);
        for seat in &mut seats.seats {
            seat.etcd = None;
            seat.report.etcd_status = Answer::Unreachable;
            seat.report.etcd_health = Answer::Http(503, String::new());
        }
    });
    assert!(matches!(two, Proposal::Refuse(_)), "{two:?}");
}

#[test]
fn a_new_cluster_is_forced_only_where_quorum_is_lost_for_good() {
    let inventory = testing::inventory();
    let asked = |reports: [Option<Report>; 3]| {
        let plane = plane(&inventory, reports.into());
        let site = Site {
            inventory: &inventory,
            plane: &plane,
            nodes: None,
        };
        site.may_force(&site.proposal())
    };
    assert_eq!(asked([Some(without_quorum(1)), None, None]), Ok(()));
    let whole = asked([1, 2, 3].map(|number| Some(joined(number, &ALL))));
    let why = whole.expect_err("nothing is lost");
    assert!(why.contains("3 voters, quorum 2, 3 healthy"), "{why}");
    let one_dead = [Some(joined(1, &ALL)), Some(joined(2, &ALL)), None];
    let why = asked(one_dead).expect_err("two of three are a quorum");
    assert!(why.contains("quorum 2, 2 healthy"), "{why}");
    let stopped = [Some(without_quorum(1)), Some(stopped(2, &[])), None];
    assert!(asked(stopped).is_err(), "the other's data is there");
}
