//! etcd as a cluster of its own, real and under systemd: founded, changed, cut off, wiped, while a client asks the API.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::client::{Client, Figures};
use crate::external_lost;
use crate::harness::Lab;
use crate::peers::PeerNetwork;

/// The version that Debian 12 has.
const VERSION: &str = "3.4.23";

/// The one that the lab's own repository has beside it, see `vagrant/lab/packages.sh`.
const NEXT: &str = "3.4.24";

const CLUSTER: Duration = Duration::from_secs(300);

/// Within this the upgrade of three members is killed, or has ended.
const ROLLS: Duration = Duration::from_secs(30);

/// How long a member is watched without its peers.
const CUT: Duration = Duration::from_secs(10);

const MEMBERS: [&str; 3] = ["master1", "master2", "master3"];

/// Makes certificates that lie there anew, with the same keys and names, for ten days only.
const AGED: &str = r"
    set -e
    for path in /etc/etcd/pki/server /etc/etcd/pki/peer /etc/etcd/pki/healthcheck-client /etc/kubernetes/quorate/etcd/client; do
        openssl x509 -x509toreq -in $path.crt -signkey $path.key -copy_extensions copyall -out /root/aged.csr
        openssl x509 -req -in /root/aged.csr -CA /etc/etcd/pki/ca.crt -CAkey /etc/etcd/pki/ca.key -set_serial 77 -days 10 \
            -copy_extensions copyall -out /root/aged.crt
        cat /root/aged.crt >$path.crt
    done 2>&1";

/// The end of the certificate that a member shows, and since when its process runs.
const SHOWN: &str = r"
    openssl s_client -connect 127.0.0.1:2379 </dev/null 2>/dev/null | openssl x509 -noout -enddate
    systemctl show etcd -p ExecMainStartTimestampMonotonic";

/// Members on the masters, with a network of their own for the traffic between them; with `soak`, interrupted ten times.
pub fn on_the_masters(soak: u32) {
    let lab = Lab::up();
    let peers = lab.with_peer_network(&MEMBERS);
    let host = |host: &&str| format!("{host}: {{ peer-address: {} }}", peers.address(host));
    let hosts: Vec<String> = MEMBERS.iter().map(host).collect();
    let settings = format!("  peer-network: {}\n{}", peers.network(), mirror(&lab));
    write_etcd(&lab, &settings, &hosts);
    external_lost::a_founding_killed_at_a_random_moment_is_finished(&lab);
    founded(&lab);
    a_member_whose_peers_are_cut_off_steps_aside(&lab, peers);
    certificates_near_their_end_are_made_anew_and_nothing_restarts(&lab);
    a_changed_setting_rolls_one_member_at_a_time(&lab);
    etcd_is_upgraded_and_no_request_fails(&lab);
    kubernetes_is_upgraded_and_no_member_is_touched(&lab);
    for member in [leader(&lab.status()), follower(&lab.status())] {
        a_member_that_lost_its_data_is_added_again(&lab, &member);
    }
    a_backup_is_proved(&lab);
    a_dead_member_is_replaced(&lab, MEMBERS[super::random(MEMBERS.len())]);
    external_lost::what_is_lost_comes_back(&lab, &MEMBERS, soak);
}

/// Members on hosts of their own: what the lab booted as workers.
pub fn on_hosts_of_their_own() {
    let lab = Lab::up_with(&["--lbs", "1", "--masters", "2", "--workers", "5"]);
    let path = lab.inventory();
    let text = std::fs::read_to_string(&path).expect("the lab wrote an inventory");
    let (rest, workers) = text.split_once("workers:\n").expect("it has workers");
    let hosts: Vec<String> = workers.lines().map(|line| line.trim().to_owned()).collect();
    std::fs::write(&path, rest).expect("written");
    write_etcd(&lab, "", &hosts[..3]);
    founded(&lab);
    two_more_members_are_added_as_learners(&lab, rest, &hosts);
    two_of_five_members_leave(&lab, rest, &hosts);
    let members: Vec<String> = hosts.iter().take(3).map(|host| name_in(host)).collect();
    let members: Vec<&str> = members.iter().map(String::as_str).collect();
    external_lost::blank_machines_become_the_members_again(&lab, &members);
}

/// The name of a host's line in an inventory.
fn name_in(line: &str) -> String {
    let (name, _) = line.split_once(':').expect("a host");
    name.to_owned()
}

/// Adds `etcd:` to the lab's inventory.
fn write_etcd(lab: &Lab, settings: &str, hosts: &[String]) {
    let path = lab.inventory();
    let text = std::fs::read_to_string(&path).expect("the lab wrote an inventory");
    let etcd = format!(
        "etcd:\n  version: {VERSION}\n  quota: 1GiB\n  snapshot-count: 10000\n{settings}  hosts:\n    {}\n",
        hosts.join("\n    ")
    );
    std::fs::write(&path, format!("{text}{etcd}")).expect("written");
}

fn founded(lab: &Lab) {
    let plan = lab.must(&["plan"]);
    assert!(plan.contains("Ports between the hosts"), "{plan}");
    let begun = Instant::now();
    let summary = lab.json(&["provision", "--yes"]);
    let took = begun.elapsed();
    println!(
        "figure: an etcd of its own and a cluster on it, from bare hosts: {took:?}: {summary}"
    );
    lab.wait("the cluster to be whole", CLUSTER, is_whole);
    println!("{}", lab.must(&["status"]));
    nothing_changes(lab);
}

pub fn nothing_changes(lab: &Lab) {
    let summary = lab.json(&["provision"]);
    println!("lab: a provision that changes nothing: {summary}");
    assert_eq!(summary["changed"], 0);
}

/// Does something under the client and prints the figures.
fn under_the_client(lab: &Lab, what: &str, does: impl FnOnce()) -> Figures {
    let client = Client::start(lab.endpoint(), &lab.ca());
    let begun = Instant::now();
    does();
    let took = begun.elapsed();
    let figures = client.stop();
    println!("figure: {what}: {took:?}; {figures}");
    figures
}

pub fn is_whole(status: &Value) -> bool {
    has_members(status, MEMBERS.len())
}

/// Whether all is well, and so many members know each other.
fn has_members(status: &Value, count: usize) -> bool {
    let is_healthy = |member: &&Value| {
        let etcd = &member["etcd"];
        let known = etcd["members"].as_array().map(Vec::len);
        etcd["is_healthy"] == true && known == Some(count)
    };
    status["health"] == "ok" && members(status).filter(is_healthy).count() == count
}

fn members(status: &Value) -> impl Iterator<Item = &Value> {
    status["etcd"].as_array().into_iter().flatten()
}

pub fn leader(status: &Value) -> String {
    name_of(status, |etcd| etcd["is_leader"] == true)
}

fn follower(status: &Value) -> String {
    name_of(status, |etcd| etcd["is_leader"] == false)
}

fn name_of(status: &Value, is_so: impl Fn(&Value) -> bool) -> String {
    let found = members(status).find(|member| is_so(&member["etcd"]));
    let found = found.unwrap_or_else(|| panic!("no such member in {status:#}"));
    found["name"].as_str().expect("a name").to_owned()
}

/// Its clients still reach it, so it would refuse every third question of all apiservers.
fn a_member_whose_peers_are_cut_off_steps_aside(lab: &Lab, peers: &PeerNetwork) {
    let cut = MEMBERS[2];
    let steps_aside = |status: &Value| {
        let is_silent = |member: &Value| member["name"] == cut && member["etcd"].is_null();
        let masters = status["masters"].as_array();
        let is_ready = |master: &Value| master["apiserver"]["state"] == "ready";
        status["health"] == "degraded"
            && members(status).any(is_silent)
            && masters.is_some_and(|masters| masters.iter().all(is_ready))
    };
    under_the_client(
        lab,
        "a member's peers cut off, until it has stepped aside",
        || {
            peers.set(cut, "down");
            let status = lab.wait("the cut member to step aside", CLUSTER, steps_aside);
            println!("lab: peers of {cut} cut: {}", status["problems"]);
        },
    );
    let figures = under_the_client(lab, "the same, afterwards", || std::thread::sleep(CUT));
    assert_eq!(figures.failed, 0, "{figures}");
    under_the_client(lab, "its peers are back", || {
        peers.set(cut, "up");
        lab.wait("the cluster to be whole", CLUSTER, is_whole);
    });
    nothing_changes(lab);
}

fn certificates_near_their_end_are_made_anew_and_nothing_restarts(lab: &Lab) {
    for member in MEMBERS {
        lab.on(member, AGED);
    }
    let before: Vec<String> = MEMBERS.iter().map(|it| lab.on(it, SHOWN)).collect();
    let status = lab.status();
    let problems = status["problems"].to_string();
    assert!(
        problems.contains("`quorate provision` makes them anew"),
        "{problems}"
    );
    let figures = under_the_client(lab, "certificates of etcd made anew", || {
        let summary = lab.json(&["provision", "--yes"]);
        // Each member's own, and each apiserver's.
        assert_eq!(summary["changed"], 6, "{summary}");
    });
    assert_eq!(figures.failed, 0, "{figures}");
    lab.wait("the cluster to be whole", CLUSTER, is_whole);
    for (member, before) in MEMBERS.iter().zip(before) {
        let now = lab.on(member, SHOWN);
        let line = |text: &str, key: &str| {
            let mut lines = text.lines().map(str::to_owned);
            lines.find(|line| line.contains(key)).expect("it is said")
        };
        assert_ne!(line(&now, "notAfter"), line(&before, "notAfter"));
        assert_eq!(line(&now, "Timestamp"), line(&before, "Timestamp"));
    }
    nothing_changes(lab);
}

/// All connections are made anew here, with the certificates that were made before.
fn a_changed_setting_rolls_one_member_at_a_time(lab: &Lab) {
    edit(lab, "snapshot-count: 10000", "snapshot-count: 20000");
    under_the_client(lab, "a setting of etcd changed on three members", || {
        let summary = lab.json(&["provision", "--yes"]);
        // Each member its file and its restart.
        assert_eq!(summary["changed"], 6, "{summary}");
    });
    nothing_changes(lab);
}

/// The packages of [`NEXT`]; those of [`VERSION`] are Debian's.
fn mirror(lab: &Lab) -> String {
    let endpoint = lab.endpoint().ip().to_string();
    let (network, _) = endpoint.rsplit_once('.').expect("10.77.N.100");
    format!(
        "  packages: {{ source: mirror, url: \"http://{network}.1:8080/etcd/deb/\", key: kubernetes.asc }}\n"
    )
}

/// Since when each member's process runs; all hosts have this computer's clock.
fn processes(lab: &Lab) -> Vec<(&'static str, u64)> {
    let line = "systemctl show etcd -p ExecMainStartTimestampMonotonic";
    let since = |member: &'static str| {
        let said = lab.on(member, line);
        let (_, since) = said.trim().rsplit_once('=').expect("a time stamp");
        (member, since.parse().expect("microseconds"))
    };
    MEMBERS.into_iter().map(since).collect()
}

fn versions(status: &Value) -> Vec<&str> {
    members(status)
        .filter_map(|member| member["etcd"]["version"].as_str())
        .collect()
}

/// Interrupted once at a random moment: the members roll, the leader last, and no apiserver's client notices.
fn etcd_is_upgraded_and_no_request_fails(lab: &Lab) {
    let refused = lab.quorate(&["upgrade", "--etcd-to", "3.4.22", "--yes"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(5), "{said}");
    assert!(said.contains("etcd has no way back"), "{said}");
    let leads = leader(&lab.status());
    println!(
        "lab: {}",
        lab.must(&["upgrade", "--etcd-to", NEXT, "--check"])
    );
    assert_eq!(
        versions(&lab.status()),
        [VERSION; 3],
        "a check changes nothing"
    );
    let before = processes(lab);
    let figures = under_the_client(
        lab,
        &format!("etcd {VERSION} → {NEXT} on three members, killed once"),
        || {
            let words = ["upgrade", "--etcd-to", NEXT, "--yes"];
            lab.killed(&words, ROLLS);
            lab.again(&words);
        },
    );
    assert_eq!(figures.failed, 0, "{figures}");
    let status = lab.wait("the cluster to be whole", CLUSTER, is_whole);
    assert_eq!(versions(&status), [NEXT; 3]);
    let after = processes(lab);
    assert!(
        before.iter().zip(&after).all(|(old, new)| old.1 < new.1),
        "{before:?} {after:?}"
    );
    let last = after.iter().max_by_key(|(_, since)| *since);
    assert_eq!(
        last.map(|(member, _)| *member),
        Some(leads.as_str()),
        "the leader is the last: {after:?}"
    );
    let again = lab.json(&["upgrade", "--etcd-to", NEXT]);
    println!("lab: an upgrade of etcd with nothing to do: {again}");
    assert_eq!(again["result"], "unchanged");
    edit(
        lab,
        &format!("version: {VERSION}"),
        &format!("version: {NEXT}"),
    );
    nothing_changes(lab);
}

fn kubernetes_is_upgraded_and_no_member_is_touched(lab: &Lab) {
    super::upgrade::name_service_is_ready(lab);
    let before = processes(lab);
    let (from, to) = (super::upgrade::FROM, super::upgrade::TO);
    let what = format!("{from} → {to} on masters that carry an etcd of its own");
    let figures = under_the_client(lab, &what, || {
        lab.must(&["upgrade", "--to", to, "--yes"]);
    });
    assert_eq!(figures.failed, 0, "{figures}");
    assert_eq!(processes(lab), before, "no member of etcd was restarted");
    edit(lab, from, to);
    lab.wait("the cluster to be whole", CLUSTER, is_whole);
    nothing_changes(lab);
}

/// Changes the inventory.
fn edit(lab: &Lab, old: &str, new: &str) {
    let path = lab.inventory();
    let text = std::fs::read_to_string(&path).expect("an inventory");
    assert!(text.contains(old), "{old} in {text}");
    std::fs::write(&path, text.replace(old, new)).expect("written");
}

fn a_member_that_lost_its_data_is_added_again(lab: &Lab, member: &str) {
    lab.on(
        member,
        "systemctl stop etcd && rm -rf /var/lib/etcd-external/member",
    );
    under_the_client(lab, &format!("wiped {member} added again"), || {
        lab.must(&["provision", "--yes"]);
    });
    lab.wait("the cluster to be whole", CLUSTER, is_whole);
    nothing_changes(lab);
}

fn a_backup_is_proved(lab: &Lab) {
    super::backup::backup(lab, &["--plaintext"]);
    lab.must(&["backup", "verify", "--all"]);
}

fn a_dead_member_is_replaced(lab: &Lab, member: &str) {
    under_the_client(lab, &format!("{member} dead, removed, replaced"), || {
        lab.fault("kill", member);
        lab.wait("the loss to be seen", CLUSTER, |status| !is_whole(status));
        let diagnosed = lab.json(&["recover", "--plan"]);
        assert_eq!(diagnosed["proposal"]["kind"], "remove", "{diagnosed:#}");
        lab.must(&["recover", "--yes"]);
        lab.replace(member);
        lab.must(&["recover", "--yes"]);
        lab.wait("the cluster to be whole", CLUSTER, is_whole);
    });
    nothing_changes(lab);
}

/// With the list of members each apiserver starts anew, one after the other.
fn two_more_members_are_added_as_learners(lab: &Lab, rest: &str, hosts: &[String]) {
    std::fs::write(lab.inventory(), rest).expect("written");
    write_etcd(lab, "", hosts);
    under_the_client(lab, "three members made five", || {
        lab.must(&["provision", "--yes"]);
    });
    lab.wait("five members", CLUSTER, |status| has_members(status, 5));
    nothing_changes(lab);
}

/// The leader may be among those that leave. Their etcd ends by itself.
fn two_of_five_members_leave(lab: &Lab, rest: &str, hosts: &[String]) {
    println!("lab: {} leads", leader(&lab.status()));
    std::fs::write(lab.inventory(), rest).expect("written");
    write_etcd(lab, "", &hosts[..3]);
    let plan = lab.must(&["plan"]);
    assert!(plan.contains("NO WAY BACK"), "{plan}");
    under_the_client(lab, "five members made three", || {
        lab.must(&["provision", "--yes"]);
    });
    lab.wait("three members", CLUSTER, is_whole);
    nothing_changes(lab);
    for host in &hosts[3..] {
        let name = name_in(host);
        let words = ["lab", "ssh", "--name", lab.name(), &name];
        let ask = ["sudo", "systemctl", "is-active", "etcd"];
        let said = lab.quorate(&[&words[..], &ask[..]].concat());
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        assert_eq!(said.trim(), "inactive", "etcd of {name}");
    }
}
