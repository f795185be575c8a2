//! Lost masters: dead ones, half-lost ones, quorum lost, everything lost.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::backup::{KUBECTL, backup, cluster, is_there, write};
use super::harness::Lab;
use super::{CLUSTER, is_whole, measure, member_id, random, report};

const MASTERS: [&str; 3] = ["master1", "master2", "master3"];

/// One dead master, or each in turn with `soak`; then what is half lost, and a survivor.
pub fn what_is_lost_is_replaced(lab: &Lab, soak: u32) {
    let killed = if soak > 0 {
        MASTERS.to_vec()
    } else {
        vec![MASTERS[random(MASTERS.len())]]
    };
    for master in killed {
        a_dead_master_is_replaced(lab, master);
    }
    what_is_half_lost_is_mended(lab);
    for _ in 0..soak.clamp(1, 10) {
        a_recovery_killed_at_a_random_moment_goes_on(lab, &MASTERS, is_whole);
    }
    a_survivor_carries_on(lab, false);
    a_survivor_carries_on(lab, true);
    if soak > 0 {
        everything_lost_comes_back_on_blank_machines(lab);
    }
}

fn a_dead_master_is_replaced(lab: &Lab, master: &str) {
    let figures = measure(lab, || {
        lab.fault("kill", master);
        lab.wait("the loss to be seen", CLUSTER, |status| !is_whole(status));
        let diagnosed = lab.json(&["recover", "--plan"]);
        assert_eq!(diagnosed["proposal"]["kind"], "remove", "{diagnosed:#}");
        assert_eq!(diagnosed["proposal"]["hosts"][0], master);
        let begun = Instant::now();
        lab.must(&["recover", "--yes"]);
        println!("figure: {master} dead: removed in {:?}", begun.elapsed());
        lab.replace(master);
        let begun = Instant::now();
        lab.must(&["recover", "--yes"]);
        lab.wait("the cluster whole", CLUSTER, is_whole);
        let took = begun.elapsed();
        println!("figure: {master} replaced: a voter again in {took:?} (bar 180 s)");
        assert!(took < Duration::from_secs(180), "{took:?}");
    });
    report(
        "one master dead, removed, replaced, joined again",
        &figures,
        Duration::from_secs(2),
        Duration::ZERO,
    );
    let again = lab.json(&["recover", "--plan"]);
    assert_eq!(again["proposal"]["kind"], "nothing", "{again:#}");
}

/// A member without a Node, a Node without a member, and a master that founded a cluster of its own on an empty disk.
fn what_is_half_lost_is_mended(lab: &Lab) {
    lab.on("master1", &format!("{KUBECTL} delete node master2"));
    joins_again(lab, "a member without a Node");

    let own = member_id(&lab.status(), "master3");
    let own = u64::from_str_radix(&own, 16).expect("an id in hexadecimal");
    let pki = "/etc/kubernetes/pki/etcd";
    let remove = format!(
        "curl -sS --fail --cacert {pki}/ca.crt --cert {pki}/healthcheck-client.crt --key {pki}/healthcheck-client.key \
         -d '{{\"ID\":\"{own}\"}}' https://127.0.0.1:2379/v3/cluster/member/remove"
    );
    lab.on("master1", &remove);
    lab.wait("the loss to be seen", CLUSTER, |status| !is_whole(status));
    joins_again(lab, "a Node without a member");

    // As the founder's manifest is for ever: on an empty disk, its etcd is a cluster of its own.
    let before = member_id(&lab.status(), "master2");
    let founds = r#"
        manifest=/etc/kubernetes/manifests/etcd.yaml
        url=$(sed -n 's/.*--initial-advertise-peer-urls=//p' $manifest)
        sed -e "s,--initial-cluster=.*,--initial-cluster=master2=$url," \
            -e 's,--initial-cluster-state=existing,--initial-cluster-state=new,' $manifest >/root/etcd.yaml
        rm -rf /var/lib/etcd/member
        mv /root/etcd.yaml $manifest
        pkill -KILL -x etcd"#;
    lab.on("master2", founds);
    lab.wait("its own cluster to be founded", CLUSTER, |status| {
        let masters = status["masters"].as_array().into_iter().flatten();
        let mut members = masters.filter(|it| it["name"] == "master2");
        members.any(|it| it["etcd"]["members"].as_array().map(Vec::len) == Some(1))
    });
    joins_again(lab, "a master that founded a cluster of its own");
    assert_ne!(member_id(&lab.status(), "master2"), before);
}

fn joins_again(lab: &Lab, what: &str) {
    let diagnosed = lab.json(&["recover", "--plan"]);
    assert_eq!(
        diagnosed["proposal"]["kind"], "rejoin",
        "{what}: {diagnosed:#}"
    );
    let begun = Instant::now();
    lab.must(&["recover", "--yes"]);
    println!("figure: {what}: mended in {:?}", begun.elapsed());
    lab.wait("the cluster whole", CLUSTER, is_whole);
}

/// Killed while a dead one of these is removed, and again while its replacement joins.
pub fn a_recovery_killed_at_a_random_moment_goes_on(
    lab: &Lab,
    members: &[&str],
    is_whole: fn(&Value) -> bool,
) {
    let member = members[random(members.len())];
    lab.fault("kill", member);
    lab.wait("the loss to be seen", CLUSTER, |status| !is_whole(status));
    lab.killed(&["recover", "--yes"], Duration::from_secs(12));
    // It may have been done with the removal: then only the machine is missing.
    if settled(lab) == "remove" {
        lab.again(&["recover", "--yes"]);
    }
    assert_eq!(settled(lab), "wait");
    lab.replace(member);
    lab.killed(&["recover", "--yes"], Duration::from_secs(70));
    // Also where the control plane is whole: the rest of what brings a Node up may not have been done.
    lab.again(&["recover", "--yes"]);
    lab.wait("the cluster whole", CLUSTER, is_whole);
    assert_eq!(settled(lab), "nothing");
}

/// What is proposed when nothing is only starting.
fn settled(lab: &Lab) -> String {
    let begun = Instant::now();
    loop {
        let diagnosed = lab.json(&["recover", "--plan"]);
        let kind = diagnosed["proposal"]["kind"].as_str().expect("a word");
        if kind != "settle" {
            return kind.to_owned();
        }
        assert!(begun.elapsed() < CLUSTER, "{diagnosed:#}");
    }
}

/// Two of three killed, one with its disk; the other comes back with what it knew. The survivor's etcd is found as it serves
/// on, or (`is_late`) after its liveness probe has ended it: it was started again without a quorum and serves nobody.
fn a_survivor_carries_on(lab: &Lab, is_late: bool) {
    let held = format!("held-by-all-{is_late}");
    write(lab, &held);
    for master in ["master2", "master3"] {
        lab.fault("kill", master);
    }
    let mut words = vec!["recover", "--yes", "--confirm"];
    let name = cluster(lab);
    words.push(&name);
    if is_late {
        lab.wait("the survivor's etcd to be started again", CLUSTER, |it| {
            etcd_of(it, "master1").is_null()
        });
        let diagnosed = lab.json(&["recover", "--plan"]);
        assert_eq!(diagnosed["proposal"]["kind"], "survivor", "{diagnosed:#}");
        let saved = backup(lab, &["--plaintext"]);
        assert_eq!(saved["etcd"]["had-quorum"], false, "a survivor is enough");
    } else {
        words.push("--force-new-cluster");
    }
    let begun = Instant::now();
    let mut run = lab.start(&words);
    lab.wait("the endpoint to be ready", CLUSTER, |status| {
        status["virtual_ip"]["is_ready"] == true
    });
    let back = begun.elapsed();
    let words = words.join(" ");
    println!("figure: quorum lost, `{words}`: service back in {back:?} (bar 180 s)");
    assert!(run.wait().expect("it ends").success());
    assert!(back < Duration::from_secs(180), "{back:?}");
    lab.boot("master2");
    lab.replace("master3");
    joins_again(
        lab,
        "one that was given up with its old disk, and a blank one",
    );
    assert!(is_there(lab, &held));
}

fn etcd_of<'a>(status: &'a Value, master: &str) -> &'a Value {
    let masters = status["masters"].as_array();
    let found = masters.and_then(|all| all.iter().find(|it| it["name"] == master));
    &found.unwrap_or_else(|| panic!("{master} answers: {status:#}"))["etcd"]
}

fn everything_lost_comes_back_on_blank_machines(lab: &Lab) {
    write(lab, "held-by-the-backup");
    backup(lab, &["--plaintext"]);
    let masters = ["master1", "master2", "master3"];
    for master in masters {
        lab.fault("kill", master);
    }
    for master in masters {
        lab.replace(master);
    }
    let diagnosed = lab.json(&["recover", "--plan"]);
    assert_eq!(diagnosed["proposal"]["kind"], "restore", "{diagnosed:#}");
    let begun = Instant::now();
    lab.must(&["restore", "latest", "--confirm", &cluster(lab)]);
    println!(
        "figure: three blank masters: restored in {:?}",
        begun.elapsed()
    );
    lab.wait("the cluster whole", CLUSTER, is_whole);
    assert!(is_there(lab, "held-by-the-backup"));
}
