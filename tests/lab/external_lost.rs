//! An etcd of its own on its worst days: all data lost, quorum lost, machines lost, and every operation killed on the way.

use std::time::{Duration, Instant};

use crate::CLUSTER;
use crate::backup::{backup, cluster, is_there, what_is_interrupted_goes_on, write};
use crate::external::{is_whole, leader, nothing_changes};
use crate::harness::Lab;
use crate::recover::a_recovery_killed_at_a_random_moment_goes_on;

/// From the command to `/readyz` through the virtual IP after all data was lost.
const RTO: Duration = Duration::from_secs(120);

/// The same after quorum was lost.
const SURVIVOR: Duration = Duration::from_secs(180);

/// Everything that is lost and comes back where three hosts run members; with `soak`, interrupted ten times.
pub fn what_is_lost_comes_back(lab: &Lab, members: &[&str], soak: u32) {
    all_data_comes_back(lab);
    what_is_interrupted_goes_on(lab, "etcd", is_whole, soak);
    for _ in 0..soak.clamp(1, 10) {
        a_recovery_killed_at_a_random_moment_goes_on(lab, members, is_whole);
    }
    a_survivor_carries_on(lab, members, false);
    a_survivor_carries_on(lab, members, true);
    nothing_changes(lab);
}

/// A provision from bare hosts that is killed, and the one that finishes it.
pub fn a_founding_killed_at_a_random_moment_is_finished(lab: &Lab) {
    let words = ["provision", "--yes"];
    lab.killed(&words, Duration::from_secs(100));
    lab.again(&words);
    lab.wait("the cluster whole", CLUSTER, is_whole);
}

fn destroy_all_data(lab: &Lab) {
    lab.on(
        "etcd",
        "rm -rf /var/lib/etcd-external/member && systemctl kill -s KILL etcd",
    );
}

fn until_ready(lab: &Lab) {
    lab.wait("the endpoint to be ready", CLUSTER, |status| {
        status["virtual_ip"]["is_ready"] == true
    });
}

fn until_not_ready(lab: &Lab) {
    lab.wait("the loss to be felt", CLUSTER, |status| {
        status["virtual_ip"]["is_ready"] != true
    });
}

fn all_data_comes_back(lab: &Lab) {
    write(lab, "before-the-backup");
    backup(lab, &["--plaintext"]);
    write(lab, "after-the-backup");
    let name = cluster(lab);
    destroy_all_data(lab);
    until_not_ready(lab);
    let diagnosed = lab.json(&["recover", "--plan"]);
    assert_eq!(diagnosed["proposal"]["kind"], "restore", "{diagnosed:#}");
    let begun = Instant::now();
    lab.must(&["restore", "latest", "--confirm", &name]);
    until_ready(lab);
    let rto = begun.elapsed();
    println!(
        "figure: an etcd of its own, all data destroyed: from `restore` to /readyz through the virtual IP: {rto:?} (bar 120 s)"
    );
    assert!(rto <= RTO, "{rto:?}");
    lab.wait("the cluster whole", CLUSTER, is_whole);
    assert!(is_there(lab, "before-the-backup") && !is_there(lab, "after-the-backup"));
    nothing_changes(lab);
}

/// Two of three killed, one with its disk; the other comes back with what it knew. The survivor's etcd is found as it serves
/// on, or (`is_late`) after it was started anew, without a quorum: it serves nobody.
fn a_survivor_carries_on(lab: &Lab, members: &[&str], is_late: bool) {
    let held = format!("held-by-all-{is_late}");
    write(lab, &held);
    println!("lab: {} leads", leader(&lab.status()));
    let [survivor, with_disk, without_disk] = members else {
        panic!("three members");
    };
    let name = cluster(lab);
    for lost in [with_disk, without_disk] {
        lab.fault("kill", lost);
    }
    let mut words = vec!["recover", "--yes", "--confirm", &name];
    if is_late {
        lab.on(survivor, "systemctl restart --no-block etcd");
    } else {
        words.push("--force-new-cluster");
    }
    until_not_ready(lab);
    let diagnosed = lab.json(&["recover", "--plan"]);
    assert_eq!(diagnosed["proposal"]["kind"], "survivor", "{diagnosed:#}");
    let begun = Instant::now();
    let mut run = lab.start(&words);
    until_ready(lab);
    let back = begun.elapsed();
    let words = words.join(" ");
    println!(
        "figure: an etcd of its own, quorum lost, `{words}`: service back in {back:?} (bar 180 s)"
    );
    assert!(
        run.wait().expect("it ends").success(),
        "{}",
        lab.started_said()
    );
    assert!(back <= SURVIVOR, "{back:?}");
    lab.boot(with_disk);
    lab.replace(without_disk);
    let begun = Instant::now();
    lab.must(&["recover", "--yes"]);
    println!(
        "figure: one that was given up with its old disk, and a blank one: members again in {:?}",
        begun.elapsed()
    );
    lab.wait("the cluster whole", CLUSTER, is_whole);
    assert!(is_there(lab, &held));
}

/// The members' machines are replaced by blank ones: etcd, its CA and its certificates come back from the backup.
pub fn blank_machines_become_the_members_again(lab: &Lab, members: &[&str]) {
    write(lab, "held-by-the-backup");
    backup(lab, &["--plaintext"]);
    let name = cluster(lab);
    for member in members {
        lab.fault("kill", member);
    }
    for member in members {
        lab.replace(member);
    }
    let begun = Instant::now();
    lab.must(&["restore", "latest", "--confirm", &name]);
    println!(
        "figure: an etcd of its own, all members' machines blank: restored in {:?}",
        begun.elapsed()
    );
    lab.wait("the cluster whole", CLUSTER, is_whole);
    assert!(is_there(lab, "held-by-the-backup"));
    nothing_changes(lab);
}
