//! The shape of an answer: what quorate's own readers make of it, without what differs from one cluster to the next though
//! all is the same (ids, times, keys, where things happen to be).

use std::collections::{BTreeMap, BTreeSet};

use quorate::cluster::etcd::View;
use quorate::cluster::load_balancer;
use quorate::cluster::node::NodeObject;
use quorate::cluster::release::Release;
use quorate::cluster::report::{Answer, Report};
use quorate::cluster::{cert, pod};
use serde_json::{Value, json};

/// The ports that quorate looks for: SSH's, of etcd, of the apiserver and of kubelet.
const PORTS: [u64; 5] = [22, 2379, 2380, 6443, 10250];

/// Kernel modules that quorate loads.
const MODULES: [&str; 2] = ["overlay", "br_netfilter"];

/// What was asked without ids that are made by chance: of members, runs and tokens, revisions, digests of what holds such.
pub fn asked(text: &str) -> String {
    let is_by_chance = |word: &str| {
        let (kind, _) = text.split_once(' ').unwrap_or((text, ""));
        let is_digest = word.len() == 64;
        let is_id = word.len() > 15 && word.bytes().all(|c| c.is_ascii_hexdigit());
        let is_number = kind == "run" || kind == "job";
        let has_chance = ["-ca.crt ", ".conflist "];
        (is_id && (!is_digest || has_chance.iter().any(|path| text.contains(path))))
            || (is_number && word.bytes().all(|c| c.is_ascii_digit()))
    };
    let word = |word: &str| match word.split_once("bootstrap-token-") {
        Some((before, _)) => format!("{before}bootstrap-token-#"),
        None if is_by_chance(word) => "#".to_owned(),
        None => word.to_owned(),
    };
    let words: Vec<String> = text.split(' ').map(word).collect();
    words.join(" ")
}

/// The shape of a host's answer to a question.
pub fn reading(question: &str, answer: &Value) -> Value {
    let (kind, what) = question.split_once(' ').unwrap_or((question, ""));
    match kind {
        "machine" => machine(answer),
        "file" | "digest" => file(what, answer),
        "package" => package(what, answer),
        "unit" => {
            json!({ "exists": answer["exists"], "active": answer["active"], "enabled": answer["enabled"] })
        }
        "script" => script(what, answer),
        _ => answer.clone(),
    }
}

/// The shape of what came of a call.
pub fn call(asked: &str, answer: &Value) -> Value {
    let (kind, what) = asked.split_once(' ').unwrap_or((asked, ""));
    if let Some(error) = answer.get("error") {
        return json!({ "error": words(error.as_str().unwrap_or_default()) });
    }
    match kind {
        // Its output is for people.
        "job" => json!({ "status": answer["status"], "followed": answer["followed"] }),
        "run" => script(what, answer),
        _ => answer.clone(),
    }
}

fn machine(answer: &Value) -> Value {
    let listeners = answer["listeners"].as_array().into_iter().flatten();
    let listens = |port: &u64| listeners.clone().any(|it| it["port"] == *port);
    let modules = answer["modules"].as_array().into_iter().flatten();
    let has = |module: &&str| modules.clone().any(|it| it == *module);
    let fields = [
        "os_id",
        "os_like",
        "os_version",
        "architecture",
        "hostname",
        "cpus",
        "swap",
        "cgroup_v2",
        "init",
        "jobs",
    ];
    let mut shape: BTreeMap<&str, Value> = fields.map(|name| (name, answer[name].clone())).into();
    let ports: Vec<u64> = PORTS.into_iter().filter(listens).collect();
    let modules: Vec<&str> = MODULES.into_iter().filter(has).collect();
    shape.insert("listens", json!(ports));
    shape.insert("modules", json!(modules));
    json!(shape)
}

fn file(path: &str, answer: &Value) -> Value {
    let made_by_chance = path.contains("/pki/")
        || path.ends_with("-ca.crt")
        || path.ends_with(".conflist")
        || path.ends_with("/applied");
    let text = answer["text"].as_str().unwrap_or_default();
    let of_package = ["/etc/haproxy/haproxy.cfg", "/etc/containerd/config.toml"].contains(&path)
        && !text.is_empty()
        && !text.contains("Written by quorate");
    let mut shape = answer.clone();
    for kind in ["text", "sha256"] {
        if (made_by_chance || of_package) && !shape[kind].is_null() {
            shape[kind] = json!(if of_package {
                "the package's"
            } else {
                "varies"
            });
        }
    }
    shape
}

fn package(name: &str, answer: &Value) -> Value {
    let version = answer["version"].as_str();
    let is_release = ["kubeadm", "kubelet", "kubectl"].contains(&name);
    let version = version.map(|version| {
        let upstream = version.split('-').next().unwrap_or_default();
        if is_release { upstream } else { "installed" }
    });
    json!({ "version": version, "held": answer["held"] })
}

fn script(what: &str, answer: &Value) -> Value {
    let name = what.split(' ').next().unwrap_or_default();
    let stdout = answer["stdout"].as_str().unwrap_or_default();
    let read = match name {
        "kubernetes-report" => report(stdout),
        "kubernetes-release" => release(stdout),
        "kubernetes-api-read" => api(what, &Answer::of(stdout)),
        "kubernetes-api" | "etcd-member-remove" => sent(what, stdout),
        "haproxy-servers" => servers(stdout),
        "preflight" | "status" => sorted(stdout),
        // What matters is whether any is missing.
        "release-images-missing" => json!(stdout.trim().is_empty()),
        // The one says what is for people, the other how many connections are left to wait for.
        "kubelet-follow" | "haproxy-server-leave" => Value::Null,
        "certificates" => json!(
            cert::parse(stdout)
                .iter()
                .map(|it| it.file.clone())
                .collect::<Vec<_>>()
        ),
        _ => words(stdout),
    };
    let mut shape = json!({ "status": answer["status"], "said": read });
    if answer["status"] != 0 {
        shape["stderr"] = words(answer["stderr"].as_str().unwrap_or_default());
    }
    shape
}

/// Lines that come as they are ready, without what the disk takes.
fn sorted(text: &str) -> Value {
    let line = |line: &str| match line.split_once("p99 ") {
        Some((before, _)) => format!("{before}p99"),
        None => line.to_owned(),
    };
    let lines = text.lines().filter(|line| !line.starts_with("space "));
    json!(lines.map(line).collect::<BTreeSet<_>>())
}

/// A text in lines, without numbers that are times, ids or sizes.
fn words(text: &str) -> Value {
    let is_number = |word: &str| {
        let hex = word.trim_start_matches("0x");
        hex.len() > 5 && hex.bytes().all(|c| c.is_ascii_hexdigit())
    };
    let line = |line: &str| {
        let words = line
            .split(' ')
            .map(|word| if is_number(word) { "#" } else { word });
        words.collect::<Vec<_>>().join(" ")
    };
    let lines: Vec<String> = text.trim_end().lines().map(line).collect();
    json!(lines)
}

fn report(stdout: &str) -> Value {
    let report = Report::parse(stdout);
    let node = report.node.body().and_then(NodeObject::parse);
    json!({
        "has": report.has.iter().map(|has| format!("{has:?}")).collect::<Vec<_>>(),
        "readyz": status(&report.readyz),
        "node": { "answer": status(&report.node), "object": node.map(|node| self::node(&node)) },
        "etcd": { "answer": status(&report.etcd_status), "view": View::of(&report).map(|view| self::view(&view)) },
    })
}

fn status(answer: &Answer) -> String {
    match answer {
        Answer::Absent => "absent".to_owned(),
        Answer::Unreachable => "unreachable".to_owned(),
        Answer::Http(code, _) => code.to_string(),
    }
}

fn node(node: &NodeObject) -> Value {
    let taints = node
        .taints
        .iter()
        .filter(|it| !it.is_systems())
        .map(|it| format!("{}={}:{}", it.key, it.value, it.effect));
    json!({
        "name": node.name,
        "labels": node.labels,
        "labels-given": node.labels_given,
        "taints": taints.collect::<BTreeSet<_>>(),
        "cordoned": node.is_cordoned,
        "cordoned-by-us": node.cordoned_by.is_some(),
        "has-pod-cidr": node.pod_cidr.is_some(),
        "kubelet": node.kubelet_version,
        "ready": node.ready.is_true,
    })
}

fn view(view: &View) -> Value {
    let mut members: Vec<Value> = view
        .members
        .0
        .iter()
        .map(|it| json!({ "name": it.name, "peer": it.peer_urls, "client": it.client_urls, "learner": it.is_learner }))
        .collect();
    members.sort_by_key(ToString::to_string);
    json!({
        "members": members,
        "is-member": view.members.with_id(view.member_id).is_some(),
        "has-leader": view.leader.is_some_and(|leader| view.members.with_id(leader).is_some()),
        "healthy": view.is_healthy,
    })
}

fn release(stdout: &str) -> Value {
    let release = Release::parse(stdout);
    json!({
        "upgrading": release.upgrading.map(|it| it.to_string()),
        "upgraded": release.upgraded.map(|it| it.to_string()),
        "manifests": release.manifests,
        "apiserver": release.apiserver.map(|it| it.to_string()),
        "has-leftovers": !release.leftovers.is_empty(),
        "kubelet-flags": release.kubelet_flags,
        "pods": release.pods.map(|pods| self::pods(&pods)),
    })
}

/// Pods by who made them: their names end by chance.
fn pods(pods: &[pod::Pod]) -> Value {
    let shape = |pod: &pod::Pod| {
        let own = (pod.kind == pod::Kind::Static).then_some(&pod.name);
        let owner = own.or(pod.owner.as_ref()).unwrap_or(&pod.name);
        (
            format!("{} {:?}", owner, pod.kind),
            json!({ "image": pod.image, "ready": pod.is_ready }),
        )
    };
    json!(pods.iter().map(shape).collect::<BTreeMap<_, _>>())
}

/// What a read of the API showed: an object's kind and name, or those of a list.
fn api(what: &str, answer: &Answer) -> Value {
    let body: Value = answer
        .body()
        .and_then(|body| serde_json::from_str(body).ok())
        .unwrap_or_default();
    json!({ "answer": status(answer), "object": object(what, &body) })
}

/// What the API said of a change: its body, and its status on the last line.
fn sent(what: &str, stdout: &str) -> Value {
    let (body, code) = stdout.trim_end().rsplit_once('\n').unwrap_or(("", stdout));
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    json!({ "answer": code, "object": object(what, &body) })
}

fn object(what: &str, body: &Value) -> Value {
    if let Some(node) = NodeObject::of(body).filter(|_| what.contains("/nodes/")) {
        return self::node(&node);
    }
    if what.contains("/pods")
        && let Some(pods) = pod::Pod::parse_list(&body.to_string())
    {
        return self::pods(&pods);
    }
    if let Some(items) = body["items"].as_array() {
        let mut names: Vec<&str> = items
            .iter()
            .filter_map(|it| it["metadata"]["name"].as_str())
            .collect();
        names.sort_unstable();
        // Of secrets quorate looks for join tokens alone.
        let is_looked_for =
            |name: &&str| !what.contains("/secrets") || name.starts_with("bootstrap-token-");
        names.retain(is_looked_for);
        return json!({ "items": names });
    }
    let name = body["metadata"]["name"].as_str();
    json!({ "name": name.map(asked), "reason": body["reason"] })
}

fn servers(stdout: &str) -> Value {
    let servers = load_balancer::parse(stdout);
    json!(
        servers
            .iter()
            .map(|it| (format!("{}/{}", it.backend, it.name), it.state.clone()))
            .collect::<BTreeMap<_, _>>()
    )
}
