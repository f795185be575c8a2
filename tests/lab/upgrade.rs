//! An upgrade of a real cluster, interrupted twice, under a client, a writer and a watch that all use the virtual IP.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::client::Client;
use super::harness::Lab;
use super::{CLUSTER, is_whole, random};

pub const FROM: &str = "v1.20.2";
pub const TO: &str = "v1.20.3";

/// Changes of an upgrade of the lab, at least; and of one that stops before the worker gets pods again.
const CHANGES: usize = 40;
const CHANGES_TO_PAUSE: usize = 30;

/// How long the operator's link is cut. A longer cut costs the run, and the hosts give its lock away after five minutes.
const CUT: Duration = Duration::from_secs(25);

/// Writes a key of its own into one ConfigMap every 100 ms and notes what was acknowledged; and watches that ConfigMap,
/// beginning again whenever the watch ends. Both run on worker1, whose pods move but which stays up.
const LOAD: &str = r#"
set -eu
cd /root
cat >writes.sh <<'END'
cd /root
value() { sed -n "s/^ *$1: *//p" admin.conf | head -n 1; }
value client-certificate-data | base64 -d >c.crt
value client-key-data | base64 -d >c.key
value certificate-authority-data | base64 -d >ca.crt
server=$(value server)
n=0
while [ -e writing ]; do
    n=$((n + 1))
    code=$(curl -s --max-time 5 --cacert ca.crt --cert c.crt --key c.key -o /dev/null -w '%{http_code}' \
        -X PATCH -H 'Content-Type: application/merge-patch+json' -d "{\"data\":{\"k$n\":\"1\"}}" \
        "$server/api/v1/namespaces/default/configmaps/writes") || true
    if [ "$code" = 200 ]; then echo "k$n" >>acknowledged; else echo "k$n $code" >>refused; fi
    sleep 0.1
done
END
cat >watch.sh <<'END'
cd /root
while [ -e writing ]; do
    echo watch >>watches
    kubectl --kubeconfig admin.conf get configmap writes --watch -o 'jsonpath={.metadata.resourceVersion}{"\n"}' >>seen 2>/dev/null || true
    sleep 0.2
done
END
rm -f acknowledged refused watches seen
kubectl --kubeconfig admin.conf create configmap writes >/dev/null
: >writing
systemd-run --quiet --collect --unit=lab-writes-run sh /root/writes.sh
systemd-run --quiet --collect --unit=lab-watch sh /root/watch.sh
"#;

pub fn an_upgrade_is_not_noticed_whatever_interrupts_it(lab: &Lab) {
    name_service_is_ready(lab);
    nothing_to_upgrade(lab, FROM);
    a_downgrade_and_a_skipped_minor_are_refused(lab);
    start_load(lab);
    let client = Client::start(lab.endpoint(), &lab.ca());
    let began = Instant::now();
    kill_at(lab, 8 + random(12));
    cut_at(lab, 1 + random(12));
    let attempts = finish(lab);
    let figures = client.stop();
    println!(
        "figure: upgrade of 3 masters and a worker, killed once and cut off once: {figures}, {:?}",
        began.elapsed()
    );
    println!("lab: the upgrade was started {} times", attempts + 2);
    assert_eq!(figures.failed, 0, "{figures}");
    no_write_was_lost(lab);
    it_ended_well(lab);
}

/// `make soak`: interrupted once, anywhere, by a kill or by a cut in turn.
pub fn an_interrupted_upgrade_is_finished_by_the_next(lab: &Lab, round: u32) {
    name_service_is_ready(lab);
    if round.is_multiple_of(2) {
        cut_at(lab, 1 + random(CHANGES_TO_PAUSE));
    } else {
        kill_at(lab, 1 + random(CHANGES));
    }
    finish(lab);
    it_ended_well(lab);
}

/// An upgrade is refused while no replica of CoreDNS is ready, and after a host was lost that takes Kubernetes minutes: that is
/// why it comes before whatever loses masters.
pub fn name_service_is_ready(lab: &Lab) {
    lab.on(
        "master1",
        "kubectl --kubeconfig /etc/kubernetes/admin.conf -n kube-system rollout status deployment coredns --timeout 900s",
    );
}

fn it_ended_well(lab: &Lab) {
    the_inventory_follows(lab);
    let status = lab.wait("the cluster to be whole", CLUSTER, is_whole);
    every_node_runs_it_uncordoned(&status);
    kubeadm_never_ran_twice_at_once(lab);
    nothing_to_upgrade(lab, TO);
}

/// What a shell line prints on a host.
fn said(lab: &Lab, host: &str, line: &str) -> String {
    let prefix = format!("{host} | ");
    let text = lab.on(host, line);
    let lines: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix(&prefix))
        .collect();
    lines.join("\n")
}

/// One round trip per host, and nothing changes.
fn nothing_to_upgrade(lab: &Lab, release: &str) {
    let summary = lab.json(&["upgrade", "--to", release]);
    println!("lab: an upgrade with nothing to do: {summary}");
    assert_eq!(summary["result"], "unchanged");
}

fn a_downgrade_and_a_skipped_minor_are_refused(lab: &Lab) {
    for (release, reason) in [
        ("v1.20.1", "no way back"),
        ("v1.22.0", "does not offer any v1.21"),
    ] {
        let output = lab.quorate(&["upgrade", "--to", release, "--yes"]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(5), "{text}");
        assert!(text.contains(reason), "{text}");
    }
}

fn start_load(lab: &Lab) {
    let admin = said(lab, "master1", "cat /etc/kubernetes/admin.conf");
    lab.on(
        "worker1",
        &format!("cat >/root/admin.conf <<'END'\n{admin}\nEND\n{LOAD}"),
    );
}

fn start(lab: &Lab, events: &str, words: &[&str]) -> std::process::Child {
    lab.start(&[&["upgrade", "--to", TO, "--yes", "--events", events], words].concat())
}

/// Waits until a run has begun so many changes; `false`: it ended before.
fn wait_for_changes(run: &mut std::process::Child, events: &str, wanted: usize) -> bool {
    let started = Instant::now();
    loop {
        let seen = std::fs::read_to_string(events).unwrap_or_default();
        if seen.matches("\"task-started\"").count() >= wanted {
            return true;
        }
        if run.try_wait().expect("waits").is_some() {
            return false;
        }
        assert!(
            started.elapsed() < CLUSTER * 4,
            "no change {wanted} within {:?}",
            started.elapsed()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn kill_at(lab: &Lab, change: usize) {
    let events = lab.inventory().with_file_name("upgrade-killed.jsonl");
    let mut run = start(lab, events.as_str(), &[]);
    assert!(
        wait_for_changes(&mut run, events.as_str(), change),
        "it ended before its change {change}:\n{}",
        lab.started_said()
    );
    run.kill().expect("kill -9");
    run.wait().expect("it ends");
    println!("lab: the upgrade was killed with SIGKILL at its change {change}");
}

/// The operator loses every host at once for a while; the hosts keep each other. The run was told to stop before the worker
/// gets pods again.
fn cut_at(lab: &Lab, change: usize) {
    let events = lab.inventory().with_file_name("upgrade-cut.jsonl");
    let mut run = start(lab, events.as_str(), &["--pause-after", "worker1"]);
    if wait_for_changes(&mut run, events.as_str(), change) {
        let rule = "INPUT -p tcp --dport 22 -j DROP";
        let seconds = CUT.as_secs();
        let line = format!(
            "systemd-run --quiet --collect sh -c 'sleep 1; iptables -I {rule}; sleep {seconds}; iptables -D {rule}'"
        );
        lab.must(&["exec", "--", &line]);
        println!("lab: the operator's link was cut at change {change} for {CUT:?}");
    }
    let ended = run.wait().expect("it ends");
    let said = lab.started_said();
    let last = said.lines().last().unwrap_or_default();
    println!("lab: the run that was cut off ended with {ended}: {last}");
    assert!(!ended.success(), "it stops at worker1 if not before");
    let worker = |status: &Value| {
        let nodes = status["nodes"].as_array()?;
        nodes.iter().find(|node| node["name"] == "worker1").cloned()
    };
    let status = lab.wait("worker1 to be seen", CLUSTER, |status| {
        worker(status).is_some()
    });
    let worker = worker(&status).unwrap();
    let is_left = worker["kubelet"] == TO && worker["is_schedulable"] == true;
    assert!(
        !is_left,
        "nobody said that it may have pods again: {worker}"
    );
}

/// Runs it again until it succeeds; how often. Until the link is back, and until the hosts have noticed that the operator who
/// was cut off is gone, it may only say so.
fn finish(lab: &Lab) -> usize {
    let since = Instant::now();
    for attempt in 1.. {
        let output = lab.quorate(&["upgrade", "--to", TO, "--yes"]);
        if output.status.success() {
            return attempt;
        }
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let is_cut_off = output.status.code() == Some(4);
        let is_locked = output.status.code() == Some(5)
            && text.contains("another run holds the cluster's lock");
        assert!(is_cut_off || is_locked, "{}:\n{text}", output.status);
        assert!(since.elapsed() < CLUSTER, "not within {CLUSTER:?}:\n{text}");
    }
    unreachable!("the loop ends by returning or by its deadline")
}

fn no_write_was_lost(lab: &Lab) {
    let count = said(
        lab,
        "worker1",
        "cd /root; rm -f writing; while systemctl is-active --quiet lab-writes-run; do sleep 0.2; done; \
         kubectl --kubeconfig admin.conf get configmap writes -o json | grep -o '\"k[0-9]*\":' | tr -d '\":' | sort >stored; \
         sort acknowledged >wanted; comm -23 wanted stored | wc -l",
    );
    let acknowledged = said(lab, "worker1", "cat /root/acknowledged | wc -l");
    let refused = said(lab, "worker1", "cat /root/refused 2>/dev/null | wc -l");
    let watches = said(lab, "worker1", "cat /root/watches | wc -l");
    println!(
        "figure: {acknowledged} writes acknowledged, {count} of them lost, {refused} not acknowledged; the watch was begun {watches} times"
    );
    assert_eq!(count, "0", "acknowledged writes are stored");
    assert!(
        acknowledged.parse::<usize>().is_ok_and(|count| count > 100),
        "{acknowledged}"
    );
    let last = said(
        lab,
        "worker1",
        "cd /root; version=$(kubectl --kubeconfig admin.conf get configmap writes -o 'jsonpath={.metadata.resourceVersion}'); \
         tries=0; until grep -qx \"$version\" seen || [ $tries -gt 100 ]; do tries=$((tries + 1)); sleep 0.2; done; grep -cx \"$version\" seen",
    );
    assert_ne!(last, "0", "the watch has seen the last write");
}

/// With the new release in the inventory, `provision` has nothing to change.
fn the_inventory_follows(lab: &Lab) {
    let path = lab.inventory();
    let text = std::fs::read_to_string(&path).expect("readable");
    std::fs::write(&path, text.replace(FROM, TO)).expect("writable");
    let summary = lab.json(&["provision"]);
    assert_eq!(
        (&summary["changed"], &summary["failed"]),
        (&Value::from(0), &Value::from(0)),
        "{summary}"
    );
}

fn every_node_runs_it_uncordoned(status: &Value) {
    let nodes = status["nodes"].as_array().expect("a list");
    assert_eq!(nodes.len(), 4);
    for node in nodes {
        assert_eq!(
            (&node["kubelet"], &node["is_schedulable"]),
            (&Value::from(TO), &Value::from(true)),
            "{node}"
        );
    }
}

/// systemd's own record of the jobs: no two of different masters overlap.
fn kubeadm_never_ran_twice_at_once(lab: &Lab) {
    let mut spans: Vec<(f64, f64, &str)> = Vec::new();
    for master in ["master1", "master2", "master3"] {
        let text = said(
            lab,
            master,
            "journalctl -u quorate-kubeadm-upgrade --no-pager -o short-unix -q",
        );
        let mut begin = None;
        for line in text.lines() {
            let at = line
                .split_whitespace()
                .next()
                .and_then(|at| at.parse::<f64>().ok());
            match (
                line.contains("Started "),
                line.contains("Deactivated") || line.contains("Failed with"),
                begin,
            ) {
                (true, _, _) => begin = at,
                (_, true, Some(since)) => spans.push((since, at.unwrap_or(since), master)),
                _ => {}
            }
        }
    }
    println!(
        "lab: kubeadm upgrade ran {} times on the masters",
        spans.len()
    );
    spans.sort_by(|a, b| a.0.total_cmp(&b.0));
    assert!(spans.len() >= 3, "{spans:?}");
    assert!(
        spans.windows(2).all(|pair| pair[0].1 <= pair[1].0),
        "{spans:?}"
    );
}

/// The control plane of a master, by hand and without any care; back to the release before, so that it is the same work. Nothing
/// can follow it: quorate takes no release back.
pub fn the_naive_way_is_measured(lab: &Lab) {
    let version = FROM.trim_start_matches('v');
    lab.on(
        "master1",
        &format!("apt-get install -q -y --allow-downgrades --allow-change-held-packages kubeadm='{version}-*' >/dev/null 2>&1"),
    );
    let naive = super::measure(lab, || {
        lab.on("master1", &format!("kubeadm upgrade apply {FROM} --yes --force >/root/naive.log 2>&1 || {{ tail -n 5 /root/naive.log; exit 1; }}"));
    });
    println!(
        "figure: one master by the naive procedure (no drain of the load balancers, no move of the leader): {naive}"
    );
}
