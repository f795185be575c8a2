//! Backups, restore and recovery, on the cluster that the other parts leave behind.

use std::process::Child;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::harness::Lab;
use super::{CLUSTER, is_whole, measure, random, report};

const KUBECTL: &str = "kubectl --kubeconfig /etc/kubernetes/admin.conf";

/// Masters killed with their disks; `all` of them in turn, or one.
pub fn the_worst_day(lab: &Lab, soak: u32) {
    a_backup_is_proved_listed_and_sealed(lab);
    a_lost_cluster_comes_back_with_every_write_before_the_snapshot(lab);
    let masters = ["master1", "master2", "master3"];
    let killed = if soak > 0 {
        masters.to_vec()
    } else {
        vec![masters[random(masters.len())]]
    };
    for master in killed {
        a_dead_master_is_replaced(lab, master);
    }
    for _ in 0..soak.clamp(1, 10) {
        a_restore_killed_at_a_random_moment_goes_on(lab);
    }
    if soak > 0 {
        a_survivor_carries_on(lab);
        everything_lost_comes_back_on_blank_machines(lab);
    }
}

/// A key pair of age in files: recipient text, identity file.
fn keys(lab: &Lab) -> (String, String) {
    let key = age::x25519::Identity::generate();
    let path = lab.inventory().with_file_name("age-identity");
    let secret = age::secrecy::ExposeSecret::expose_secret(&key.to_string()).to_owned();
    std::fs::write(&path, secret).expect("written");
    (key.to_public().to_string(), path.into_string())
}

fn backup(lab: &Lab, words: &[&str]) -> Value {
    let started = Instant::now();
    let taken = lab.json(&[&["backup"], words].concat());
    println!(
        "figure: backup of {} keys, {} bytes stored: {:?}",
        taken["etcd"]["contents"]["keys"],
        taken["stored-size"],
        started.elapsed()
    );
    taken
}

fn a_backup_is_proved_listed_and_sealed(lab: &Lab) {
    let (recipient, identity) = keys(lab);
    let open = lab.quorate(&["backup"]);
    assert_eq!(
        open.status.code(),
        Some(5),
        "no backup in the open by mistake"
    );
    let metrics = lab.inventory().with_file_name("backup.prom");
    let taken = backup(
        lab,
        &[
            "--recipient",
            &recipient,
            "--metrics-file",
            metrics.as_str(),
        ],
    );
    let id = taken["id"].as_str().expect("an id");
    assert!(
        taken["verified"]["how"]
            .as_str()
            .unwrap()
            .contains("scratch etcd")
    );
    assert_eq!(taken["missing-hosts"], Value::Array(Vec::new()));
    let listed = lab.json(&["backup", "list"]);
    assert_eq!(listed["backups"][0]["id"], id);
    lab.must(&["backup", "verify", "--identity", &identity]);
    let text = std::fs::read_to_string(metrics).expect("metrics");
    assert!(
        text.contains("quorate_backup_last_run_success{") && text.contains("} 1\n"),
        "{text}"
    );
    let left = lab.on(
        "masters",
        "ls -A /var/lib/quorate/snapshot 2>/dev/null || true",
    );
    assert!(left.trim().is_empty(), "nothing stays on the hosts: {left}");

    // A flipped byte: found by verify, refused by restore, the cluster untouched.
    let file = format!("{}/snapshot.db.zst.age", taken["place"].as_str().unwrap());
    let whole = std::fs::read(&file).expect("the snapshot");
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    std::fs::write(&file, damaged).expect("written");
    for words in [
        vec!["backup", "verify"],
        vec!["restore", id, "--identity", &identity, "--confirm", "x"],
    ] {
        let refused = lab.quorate(&words);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(5), "{words:?}: {said}");
        assert!(said.contains("is damaged"), "{said}");
    }
    std::fs::write(&file, whole).expect("written");
    lab.must(&["backup", "verify", "--identity", &identity]);
    lab.wait("the cluster untouched", Duration::from_secs(30), is_whole);
}

/// A client that writes numbered ConfigMaps until it is told to stop, and notes which were acknowledged.
struct Writer {
    child: Child,
}

impl Writer {
    const LOG: &'static str = "/root/acknowledged";

    fn start(lab: &Lab) -> Self {
        let line = format!(
            "rm -f {log}; i=0; while [ ! -e {log}.stop ]; do i=$((i + 1)); \
             {KUBECTL} create configmap numbered-$i --from-literal=n=$i >/dev/null 2>&1 && echo $i >>{log}; done; rm {log}.stop",
            log = Self::LOG
        );
        Self {
            child: lab.start(&["exec", "--on", "worker1", "--", &line]),
        }
    }

    fn acknowledged(lab: &Lab) -> Vec<u64> {
        let said = lab.on("worker1", &format!("cat {} 2>/dev/null || true", Self::LOG));
        numbers(&said)
    }

    fn stop(mut self, lab: &Lab) {
        lab.on("worker1", &format!("touch {}.stop", Self::LOG));
        self.child.wait().expect("it ends");
    }
}

/// The numbers at the ends of lines.
fn numbers(text: &str) -> Vec<u64> {
    let digits = |line: &str| {
        line.rsplit(['-', ' '])
            .next()
            .and_then(|text| text.trim().parse().ok())
    };
    text.lines().filter_map(digits).collect()
}

fn stored(lab: &Lab) -> Vec<u64> {
    numbers(&lab.on(
        "master1",
        &format!("{KUBECTL} get configmaps -o name | grep numbered- || true"),
    ))
}

fn destroy_all_data(lab: &Lab) {
    // The pods first, or the founder's would make an empty cluster before the others are gone.
    lab.on(
        "masters",
        "rm -rf /var/lib/etcd/member && pkill -KILL -x etcd",
    );
}

fn a_lost_cluster_comes_back_with_every_write_before_the_snapshot(lab: &Lab) {
    // The worker has no admin.conf: it borrows one for the test.
    let admin = lab.on("master1", "base64 -w0 /etc/kubernetes/admin.conf");
    let admin = admin.rsplit(' ').next().expect("a word").trim().to_owned();
    lab.on(
        "worker1",
        &format!("echo {admin} | base64 -d >/etc/kubernetes/admin.conf"),
    );

    let writer = Writer::start(lab);
    let started = Instant::now();
    while Writer::acknowledged(lab).len() < 5 {
        assert!(started.elapsed() < CLUSTER, "the client writes");
    }
    let before = Writer::acknowledged(lab);
    backup(lab, &["--plaintext"]);
    let at_backup = Writer::acknowledged(lab).len();
    while Writer::acknowledged(lab).len() < at_backup + 3 {
        assert!(started.elapsed() < CLUSTER, "the client writes on");
    }
    destroy_all_data(lab);
    let disaster = Writer::acknowledged(lab);

    // A refusal ends with 5, and says what was found all the same.
    let diagnosed = lab.quorate(&["recover", "--plan", "--output", "json"]);
    let diagnosed = String::from_utf8_lossy(&diagnosed.stdout).into_owned();
    let diagnosed: Value = serde_json::from_str(&diagnosed).expect("an object");
    let kind = diagnosed["proposal"]["kind"].as_str().unwrap().to_owned();
    assert!(
        ["restore", "refuse", "wait"].contains(&kind.as_str()),
        "{diagnosed:#}"
    );
    let begun = Instant::now();
    let name = cluster(lab);
    let restored = lab.quorate(&["restore", "latest", "--confirm", &name]);
    let said = String::from_utf8_lossy(&restored.stderr).into_owned();
    assert!(restored.status.success(), "{said}");
    // A founder that kubelet started again on its empty disk makes etcd younger than the backup: then all of it goes.
    assert!(
        ["will be lost", "is lost", "will be replaced"]
            .iter()
            .any(|words| said.contains(words)),
        "the loss is shown: {said}"
    );
    lab.wait("the endpoint to be ready", CLUSTER, |status| {
        status["virtual_ip"]["is_ready"] == true
    });
    let rto = begun.elapsed();
    println!(
        "figure: RTO, from the command to /readyz through the virtual IP: {rto:?} (bar 120 s)"
    );
    writer.stop(lab);
    let there = stored(lab);
    let lost: Vec<u64> = before
        .iter()
        .filter(|number| !there.contains(number))
        .copied()
        .collect();
    println!(
        "figure: RPO: {} writes acknowledged before the backup, {} of them lost; {} of {} acknowledged by the disaster are there",
        before.len(),
        lost.len(),
        disaster
            .iter()
            .filter(|number| there.contains(number))
            .count(),
        disaster.len()
    );
    assert!(lost.is_empty(), "lost: {lost:?}");
    assert!(rto < Duration::from_secs(120), "{rto:?}");
    lab.on("worker1", "rm -f /etc/kubernetes/admin.conf");
    lab.wait("the cluster whole", CLUSTER, is_whole);
}

fn cluster(lab: &Lab) -> String {
    lab.status()["cluster"].as_str().expect("a name").to_owned()
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

fn a_restore_killed_at_a_random_moment_goes_on(lab: &Lab) {
    lab.on(
        "master1",
        &format!("{KUBECTL} delete configmap before-the-kill --ignore-not-found"),
    );
    lab.on(
        "master1",
        &format!("{KUBECTL} create configmap before-the-kill --from-literal=a=b"),
    );
    backup(lab, &["--plaintext"]);
    let name = cluster(lab);
    let words = ["restore", "latest", "--confirm", &name];
    let mut run = lab.start(&words);
    let moment = Duration::from_millis(500 + random(40_000) as u64);
    let started = Instant::now();
    while started.elapsed() < moment && run.try_wait().expect("waits").is_none() {
        std::thread::sleep(Duration::from_millis(20));
    }
    run.kill().expect("kill -9");
    run.wait().expect("it ends");
    println!(
        "lab: restore killed with SIGKILL after {:?}",
        started.elapsed()
    );
    // Its lock ends with its connections.
    let again = Instant::now();
    loop {
        let second = lab.quorate(&words);
        if second.status.success() {
            break;
        }
        let said = String::from_utf8_lossy(&second.stderr).into_owned();
        assert!(said.contains("holds the cluster's lock"), "{said}");
        assert!(again.elapsed() < Duration::from_secs(60), "{said}");
    }
    println!("lab: run again, it was done in {:?}", again.elapsed());
    lab.wait("the cluster whole", CLUSTER, is_whole);
    let there = lab.on(
        "master1",
        &format!("{KUBECTL} get configmap before-the-kill -o name"),
    );
    assert!(there.contains("before-the-kill"));
}

fn a_survivor_carries_on(lab: &Lab) {
    lab.on(
        "master1",
        &format!("{KUBECTL} create configmap held-by-all --from-literal=a=b"),
    );
    for master in ["master2", "master3"] {
        lab.fault("kill", master);
    }
    for master in ["master2", "master3"] {
        lab.replace(master);
    }
    let diagnosed = lab.json(&["recover", "--plan"]);
    assert_eq!(diagnosed["proposal"]["kind"], "survivor", "{diagnosed:#}");
    let begun = Instant::now();
    let name = cluster(lab);
    let mut run = lab.start(&["recover", "--yes", "--confirm", &name]);
    lab.wait("the endpoint to be ready", CLUSTER, |status| {
        status["virtual_ip"]["is_ready"] == true
    });
    let back = begun.elapsed();
    println!("figure: quorum lost: service back in {back:?} (bar 180 s)");
    assert!(run.wait().expect("it ends").success());
    assert!(back < Duration::from_secs(180), "{back:?}");
    lab.wait("the cluster whole", CLUSTER * 2, is_whole);
    let there = lab.on(
        "master1",
        &format!("{KUBECTL} get configmap held-by-all -o name"),
    );
    assert!(there.contains("held-by-all"));
}

fn everything_lost_comes_back_on_blank_machines(lab: &Lab) {
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
    let there = lab.on(
        "master1",
        &format!("{KUBECTL} get configmap held-by-all -o name"),
    );
    assert!(there.contains("held-by-all"));
}
