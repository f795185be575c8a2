//! Backups, restore and recovery, on the cluster that the other parts leave behind.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use camino::Utf8Path;
use quorate::backup::manifest::Manifest;
use serde_json::Value;

use super::harness::{Lab, last_object};
use super::{CLUSTER, is_whole};

pub const KUBECTL: &str = "kubectl --kubeconfig /etc/kubernetes/admin.conf";

/// Everything that a backup and a restore promise; with `soak`, interrupted ten times.
pub fn what_is_kept_comes_back(lab: &Lab, soak: u32) {
    a_backup_is_proved_listed_and_sealed(lab);
    a_backup_is_proved_on_this_computer_if_it_can_be(lab);
    what_does_not_fit_is_refused_and_the_cluster_untouched(lab);
    a_scheduled_backup_runs_from_systemd(lab);
    a_lost_cluster_comes_back_with_every_write_before_the_snapshot(lab);
    what_is_interrupted_goes_on(lab, "masters", is_whole, soak);
}

/// Backups and restores that are killed, taken back, or begun on one member; `members`: the hosts that run etcd, as `--on` takes
/// them; with `soak`, ten times what can be.
pub fn what_is_interrupted_goes_on(
    lab: &Lab,
    members: &str,
    is_whole: fn(&Value) -> bool,
    soak: u32,
) {
    for _ in 0..soak.clamp(1, 10) {
        a_backup_killed_at_a_random_moment_leaves_nothing_half(lab);
    }
    for _ in 0..soak.clamp(1, 10) {
        a_restore_killed_at_a_random_moment_goes_on(lab, is_whole);
    }
    a_restore_is_taken_back(lab, members, is_whole);
    a_restore_on_one_member_is_joined_by_the_others(lab, is_whole);
}

/// A key pair of age in files: recipient text, identity file.
fn keys(lab: &Lab) -> (String, String) {
    let key = age::x25519::Identity::generate();
    let path = lab.inventory().with_file_name("age-identity");
    let secret = age::secrecy::ExposeSecret::expose_secret(&key.to_string()).to_owned();
    std::fs::write(&path, secret).expect("written");
    (key.to_public().to_string(), path.into_string())
}

pub fn backup(lab: &Lab, words: &[&str]) -> Value {
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

/// With Debian's etcd in `PATH`, which is of the same minor as the lab's.
fn a_backup_is_proved_on_this_computer_if_it_can_be(lab: &Lab) {
    let script = Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/etcd/programs.sh");
    let programs = Command::new(script).output().expect("etcd's programs");
    let programs = String::from_utf8(programs.stdout).expect("a directory");
    let path = std::env::var("PATH").expect("a PATH");
    let output = lab
        .command(&["backup", "--plaintext", "--output", "json"])
        .env("PATH", format!("{}:{path}", programs.trim()))
        .output()
        .expect("quorate starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let taken = last_object(&String::from_utf8_lossy(&output.stdout));
    let on = taken["verified"]["on"].as_str().unwrap();
    assert!(on.starts_with("this computer"), "{on}");
    lab.must(&["backup", "verify"]);
    let state = lab.inventory().with_file_name("../state/quorate");
    let left = Command::new("find")
        .args([state.as_str(), "-name", ".scratch-*"])
        .output()
        .expect("find");
    assert!(
        left.stdout.is_empty(),
        "no unsealed snapshot stays: {left:?}"
    );
}

/// Whole backups that are of something else: refused by name, and nothing is touched for them.
fn what_does_not_fit_is_refused_and_the_cluster_untouched(lab: &Lab) {
    let taken = backup(lab, &["--plaintext"]);
    let path = format!("{}/manifest.json", taken["place"].as_str().unwrap());
    let whole = std::fs::read(&path).expect("the manifest");
    let manifest = Manifest::parse("x", &whole).expect("it is whole");
    let of_cluster = Manifest {
        cluster: "another".to_owned(),
        ..manifest.clone()
    };
    let of_ca = Manifest {
        ca: "sha256:0".to_owned(),
        ..manifest.clone()
    };
    let mut of_minor = manifest.clone();
    "3.5.1".clone_into(&mut of_minor.etcd.version);
    let mut without_pki = manifest.clone();
    without_pki
        .objects
        .retain(|it| !it.name.starts_with("master"));
    let before = lab.on("masters", UNTOUCHED);
    let id = manifest.id.to_string();
    for (unfit, words) in [
        (of_cluster, "it is of the cluster another"),
        (of_ca, "the backup is of another"),
        (of_minor, "only the same minor can restore it"),
        (without_pki, "the CA keys are missing"),
    ] {
        std::fs::write(&path, unfit.to_bytes()).expect("written");
        let refused = lab.quorate(&["restore", &id, "--confirm", &cluster(lab)]);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(5), "{words}: {said}");
        assert!(said.contains(words), "{words}: {said}");
    }
    std::fs::write(&path, whole).expect("written");
    assert_eq!(before, lab.on("masters", UNTOUCHED), "nothing was touched");
}

/// What a restore would change first: its directory, and the processes of the control plane.
const UNTOUCHED: &str =
    "ls -A /var/lib/quorate/restore 2>/dev/null; pgrep -x 'etcd|kube-apiserver|kubelet'";

/// quorate on a host of its own, a worker here, as an operator would set it up: the timer is there, and what it starts works
/// without a shell's environment.
fn a_scheduled_backup_runs_from_systemd(lab: &Lab) {
    let program = env!("CARGO_BIN_EXE_quorate");
    let source = Utf8Path::new(env!("CARGO_MANIFEST_DIR"));
    let inventory = lab.inventory();
    let directory = inventory.parent().expect("a directory");
    let mut tar = Command::new("tar")
        .args(["--create", "--absolute-names", program])
        // A debug build reads its templates where it was built.
        .args([source.join("templates"), source.join("playbooks")])
        .args(
            [
                "inventory.yaml",
                "id_ed25519",
                "known_hosts",
                "kubernetes.asc",
            ]
            .map(|it| directory.join(it)),
        )
        .stdout(Stdio::piped())
        .spawn()
        .expect("tar");
    let unpacked = lab
        .ssh("worker1")
        .args(["sudo", "tar", "--extract", "--absolute-names"])
        .stdin(tar.stdout.take().expect("piped"))
        .status()
        .expect("ssh");
    assert!(tar.wait().expect("it ends").success() && unpacked.success());
    let words = "backup schedule --every 6h --plaintext --install";
    let said = lab.on(
        "worker1",
        &format!("{program} {words} --inventory {inventory}"),
    );
    assert!(said.contains("OnUnitActiveSec=21600s"), "{said}");
    assert!(said.contains("QuorateBackupMissing"), "{said}");
    let unit = format!("quorate-backup-{}", cluster(lab));
    let units = format!("systemd-analyze verify /etc/systemd/system/{unit}.*");
    lab.on("worker1", &units);
    let timers = lab.on("worker1", "systemctl list-timers --all --no-legend");
    assert!(timers.contains(&format!("{unit}.timer")), "{timers}");
    lab.on("worker1", &format!("systemctl start {unit}.service"));
    let listed = lab.on(
        "worker1",
        &format!("{program} backup list --output json --inventory {inventory}"),
    );
    assert!(listed.contains("\"verified\""), "{listed}");
    let removed = format!(
        "systemctl disable --now {unit}.timer; rm -rf /etc/systemd/system/{unit}.* /root/.local/state/quorate {program} {directory}"
    );
    lab.on("worker1", &removed);
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

pub fn cluster(lab: &Lab) -> String {
    lab.status()["cluster"].as_str().expect("a name").to_owned()
}

/// Makes a ConfigMap of that name.
pub fn write(lab: &Lab, name: &str) {
    let line = format!("{KUBECTL} create configmap {name} --from-literal=a=b");
    lab.on("master1", &line);
}

/// Whether there is a ConfigMap of that name.
pub fn is_there(lab: &Lab, name: &str) -> bool {
    let line = format!("{KUBECTL} get configmap {name} -o name --ignore-not-found");
    lab.on("master1", &line).contains(name)
}

/// Killed, and run again: every backup that is listed is whole, and nothing stays anywhere of the one that is not.
fn a_backup_killed_at_a_random_moment_leaves_nothing_half(lab: &Lab) {
    lab.killed(&["backup", "--plaintext"], Duration::from_millis(1200));
    let whole = |listed: &Value| {
        let backups = listed["backups"].as_array().expect("a list").clone();
        assert!(backups.iter().all(|it| it["id"].is_string()), "{listed:#}");
        backups.len()
    };
    let before = whole(&lab.json(&["backup", "list"]));
    lab.again(&["backup", "--plaintext"]);
    let listed = lab.json(&["backup", "list"]);
    assert_eq!(whole(&listed), before + 1);
    lab.must(&["backup", "verify"]);
    let place = Utf8Path::new(listed["backups"][0]["place"].as_str().unwrap());
    let entries = std::fs::read_dir(place.parent().unwrap()).expect("the store");
    let growing = entries.filter(|it| {
        let name = it.as_ref().unwrap().file_name();
        name.to_string_lossy().starts_with(".growing-")
    });
    assert_eq!(growing.count(), 0, "what was half written is cleared");
    let left = lab.on(
        "masters",
        "ls -A /var/lib/quorate/snapshot 2>/dev/null || true",
    );
    assert!(
        !left.contains("snapshot.db"),
        "nothing stays on the hosts: {left}"
    );
}

/// Killed within its first 20 seconds, and run again.
fn a_restore_killed_at_a_random_moment_goes_on(lab: &Lab, is_whole: fn(&Value) -> bool) {
    write(lab, "before-the-kill");
    backup(lab, &["--plaintext"]);
    let name = cluster(lab);
    let words = ["restore", "latest", "--confirm", &name];
    lab.killed(&words, Duration::from_secs(20));
    lab.again(&words);
    lab.wait("the cluster whole", CLUSTER, is_whole);
    assert!(is_there(lab, "before-the-kill"));
    lab.on(
        "master1",
        &format!("{KUBECTL} delete configmap before-the-kill"),
    );
}

/// Interrupted when every member has put its data aside: `--abort` puts it back, with what was written after the backup.
/// `members`: which hosts they are, as `--on` takes it.
fn a_restore_is_taken_back(lab: &Lab, members: &str, is_whole: fn(&Value) -> bool) {
    backup(lab, &["--plaintext"]);
    write(lab, "after-the-backup");
    let name = cluster(lab);
    let mut run = lab.start(&["restore", "latest", "--confirm", &name]);
    let started = Instant::now();
    // An earlier restore has left all its marks.
    let aside = "cd /var/lib/quorate/restore && test -e aside -a ! -e finished";
    while !lab
        .quorate(&["exec", "--on", members, "--", aside])
        .status
        .success()
    {
        assert!(started.elapsed() < CLUSTER, "the data is put aside");
    }
    run.kill().expect("kill -9");
    run.wait().expect("it ends");
    let begun = Instant::now();
    lab.again(&["restore", "--abort"]);
    println!(
        "figure: a restore on the {members} taken back in {:?}",
        begun.elapsed()
    );
    lab.wait("the cluster whole", CLUSTER, is_whole);
    assert!(is_there(lab, "after-the-backup"), "the old data is back");
    let nothing = lab.quorate(&["restore", "--abort"]);
    assert_eq!(nothing.status.code(), Some(5), "nothing is under way");
}

/// `--single`: one member has the data, the others join it.
fn a_restore_on_one_member_is_joined_by_the_others(lab: &Lab, is_whole: fn(&Value) -> bool) {
    write(lab, "before-the-single");
    backup(lab, &["--plaintext"]);
    write(lab, "after-the-single");
    let begun = Instant::now();
    lab.must(&["restore", "latest", "--single", "--confirm", &cluster(lab)]);
    println!(
        "figure: restored on one member and joined by the others in {:?}",
        begun.elapsed()
    );
    let status = lab.wait("the cluster whole", CLUSTER, is_whole);
    assert_eq!(status["masters"].as_array().map(Vec::len), Some(3));
    assert!(is_there(lab, "before-the-single") && !is_there(lab, "after-the-single"));
}
