//! What is known by name: read-only scripts, commands and the jobs that are not kubeadm's.
//!
//! Whoever gives an action a new script adds a line here; until then every test that meets it fails and names it.

use serde_json::Value;

use super::candidates;
use super::etcd::DATA;
use super::jobs::{End, Step, Work};
use super::kubeadm;
use super::kubelet;
use super::load_balancer;
use super::machine::Machine;
use super::pods::node_path;
use super::world::World;
use crate::cluster::report::{Answer, Has, Report};
use crate::host::command::{Body, Command, Script};
use crate::host::file::RemoteFile;
use crate::inventory::Role;

/// Exit code and standard output.
type Said = (i32, String);

/// Exit code, standard output, standard error.
pub(super) type Ended = (i32, String, String);

fn unknown<T>(what: &str) -> Result<T, String> {
    Err(format!("the simulation does not know {what}"))
}

/// Whether a command's output holds keys by design: it goes from there into a job's private files and nowhere else.
pub(super) fn answers_with_keys(command: &Command) -> bool {
    match &command.body {
        Body::Script(script) => {
            ["control-plane-pki", "etcd-ca-read", "kubeconfig-fetch"].contains(&script.name)
        }
        Body::Program(_) => false,
    }
}

/// Answers a read-only script.
pub(super) fn probe(world: &mut World, host: &str, script: &Script) -> Result<Said, String> {
    let argument = |index: usize| {
        script
            .arguments
            .get(index)
            .map(String::as_str)
            .unwrap_or_default()
    };
    let machine = world.machine(host);
    Ok(match script.name {
        "kubernetes-report" => (0, report(world, host).to_string()),
        "etcd-report" => (0, super::external_etcd::report(world, host).to_string()),
        "kubernetes-api-read" => (0, api_read(world, host, argument(1))),
        "kubernetes-repository-listings" => (0, listings(machine)),
        "registry-files" => (0, registry_files(machine, argument(0))),
        // A job's private directory goes with its unit.
        "swap-units" | "join-material" => (0, String::new()),
        "vip-answers" => (0, vip_answers(world, host)),
        "system-user" if machine.users.contains(argument(0)) => (
            0,
            format!("{}:x:999:999::/:/usr/sbin/nologin\n", argument(0)),
        ),
        "system-user" => (2, String::new()),
        "containerd-version" => (127, String::new()),
        "preflight" => (
            0,
            preflight(world, host, script.arguments.get(5..).unwrap_or_default()),
        ),
        name => match super::upgrade::probe(world, host, name, &script.arguments) {
            Some(said) => (0, said),
            None => return unknown(&format!("script `{name}`")),
        },
    })
}

/// Runs a command script.
pub(super) fn run(
    world: &mut World,
    host: &str,
    script: &Script,
    stdin: &[u8],
) -> Result<Ended, String> {
    let now = world.now;
    let argument = |index: usize| script.arguments.get(index).cloned().unwrap_or_default();
    let machine = world.machine(host);
    let done = Ok((0, String::new(), String::new()));
    match script.name {
        "service-run" => Ok(service(world, host, &argument(0), &argument(1), now)),
        "kernel-modules-load" => {
            script
                .arguments
                .iter()
                .for_each(|name| machine.load_module(name));
            done
        }
        "sysctls-apply" => {
            machine.apply_sysctls(&argument(0));
            done
        }
        "system-user-make" => {
            machine.users.insert(argument(0));
            done
        }
        "registry-files-remove" => {
            for registry in script.arguments.iter().skip(1) {
                machine
                    .files
                    .remove_below(&format!("{}/{registry}", argument(0)));
            }
            done
        }
        "kubernetes-api" => Ok(api(world, host, [&argument(1), &argument(2)], stdin)),
        "control-plane-pki" => Ok(pki(machine, &script.arguments)),
        "etcd-member-remove" => {
            let id = argument(1)
                .parse()
                .map_err(|_| "the id is no number".to_owned())?;
            Ok(match world.remove_member(host, id) {
                Ok(()) => (0, "{}\n200\n".to_owned(), String::new()),
                Err(why) => (
                    0,
                    format!("{{\"message\":\"{why}\"}}\n500\n"),
                    String::new(),
                ),
            })
        }
        "park-manifests" => {
            for path in machine.files.list("/etc/kubernetes/manifests") {
                let name = path.rsplit('/').next().unwrap_or_default();
                machine
                    .files
                    .rename(&path, &format!("/etc/kubernetes/quorate/parked/{name}"));
            }
            done
        }
        "control-plane-node-again" => {
            let _ = world.systemctl(host, "restart", "kubelet", now);
            match kubeadm::mark_node(world, host) {
                End::Done => done,
                End::Waits(why) | End::Fails(why) => Ok((1, String::new(), why)),
            }
        }
        "kubeconfig-fetch" => Ok(kubeconfig(machine)),
        "control-plane-candidates" => Ok(candidates::make(world, host)),
        "control-plane-certificate" => Ok(candidates::replace_certificate(world, host)),
        "control-plane-replace" => Ok(candidates::replace(world, host, &argument(0), &argument(1))),
        "control-plane-names" => {
            let names = script.arguments.get(1..).unwrap_or_default();
            Ok(candidates::serves(world, host, names))
        }
        "kubelet-follow" => Ok(kubelet::follow(world, host, &argument(0), &argument(1))),
        "control-plane-store" => Ok(candidates::store(world, host, &argument(0))),
        // For units the door waits.
        "bridge-renew"
        | "control-plane-component-healthy"
        | "control-plane-store-kubelet"
        | "wait-for-units" => done,
        name => super::external_etcd::run(world, host, script, stdin)
            .or_else(|| super::upgrade::run(world, host, name, &script.arguments))
            .map_or_else(|| unknown(&format!("script `{name}`")), Ok),
    }
}

/// Runs a program.
pub(super) fn program(world: &mut World, host: &str, words: &[String]) -> Result<Ended, String> {
    let now = world.now;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["systemctl", verb, unit] => Ok(match world.systemctl(host, verb, unit, now) {
            Ok(()) => (0, String::new(), String::new()),
            Err(why) => (1, String::new(), why),
        }),
        ["kubectl", "--kubeconfig", _, "apply", ..] => Ok(apply_manifest(world, host)),
        ["cat", path] => Ok(match world.machine(host).files.text(path) {
            Some(text) => (0, text.to_owned(), String::new()),
            None => (1, String::new(), "No such file or directory".to_owned()),
        }),
        _ => unknown(&format!("program `{}`", words.first().unwrap_or(&""))),
    }
}

/// Judges a new file by the command that is to judge it.
pub(super) fn check_file(
    world: &mut World,
    host: &str,
    check: &[String],
    file: &RemoteFile,
) -> Result<(), String> {
    let content = String::from_utf8_lossy(&file.content);
    let machine = world.machine(host);
    let words = check.join(" ");
    let Some(program) = ["haproxy", "keepalived"]
        .into_iter()
        .find(|program| words.contains(&format!("{program} -")))
    else {
        return unknown(&format!("the check `{words}`"));
    };
    if !machine.packages.contains_key(program) {
        return Err(format!("{program}: not found"));
    }
    load_balancer::refuses(&machine.files, &content).map_or(Ok(()), Err)
}

/// The steps of the jobs that are not kubeadm's.
pub(super) fn job_steps(script: &str) -> Option<Vec<Step>> {
    let steps: Vec<Step> = match script {
        "packages-install" => vec![unpack, configure],
        "etcd-packages-install" => vec![unpack_etcd, configure, hold],
        "kubernetes-packages-install" => vec![unpack_kubernetes, configure, hold],
        "kubernetes-repository-refresh" => vec![|_, _| End::Done],
        "kubernetes-key-fetch" => vec![fetch_key],
        "swap-off" => vec![swap_off],
        _ => return super::upgrade::job_steps(script),
    };
    Some(steps)
}

fn version_of(package: &str) -> &'static str {
    match package {
        "containerd" => "2.2.0-1",
        "haproxy" => "2.6.12-1+deb12u1",
        "keepalived" => "1:2.2.7-1+b2",
        _ => "1.0-1",
    }
}

fn unpack(world: &mut World, work: &Work) -> End {
    let machine = world.machine(&work.host);
    machine.is_dpkg_interrupted = true;
    for name in &work.arguments {
        machine.unpack(name, version_of(name));
    }
    End::Done
}

fn unpack_kubernetes(world: &mut World, work: &Work) -> End {
    if !world.lists_kubernetes(&work.host) {
        return End::Fails("E: Unable to locate package kubeadm".to_owned());
    }
    let machine = world.machine(&work.host);
    machine.is_dpkg_interrupted = true;
    let release = work.arguments.first().cloned().unwrap_or_default();
    for name in work.arguments.iter().skip(1) {
        machine.unpack(name, &format!("{release}-1.1"));
    }
    End::Done
}

fn unpack_etcd(world: &mut World, work: &Work) -> End {
    let machine = world.machine(&work.host);
    machine.is_dpkg_interrupted = true;
    let release = work.arguments.first().cloned().unwrap_or_default();
    for name in work.arguments.iter().skip(1) {
        machine.unpack(name, &format!("{release}-4+b4"));
    }
    End::Done
}

fn configure(world: &mut World, work: &Work) -> End {
    world.configure_packages(&work.host);
    End::Done
}

fn hold(world: &mut World, work: &Work) -> End {
    let machine = world.machine(&work.host);
    for name in work.arguments.iter().skip(1) {
        if let Some(package) = machine.packages.get_mut(name) {
            package.held = true;
        }
    }
    End::Done
}

fn fetch_key(world: &mut World, work: &Work) -> End {
    let now = world.now;
    let path = work.arguments.get(1).cloned().unwrap_or_default();
    let text = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n";
    world.machine(&work.host).files.put(path, text, 0o644, now);
    End::Done
}

fn swap_off(world: &mut World, work: &Work) -> End {
    world.machine(&work.host).swap = 0;
    End::Done
}

fn service(world: &mut World, host: &str, unit: &str, verb: &str, now: u64) -> Ended {
    let verbs = ["enable", verb];
    let verbs = verbs.iter().take(if verb == "enable" { 1 } else { 2 });
    for verb in verbs {
        if let Err(why) = world.systemctl(host, verb, unit, now) {
            return (1, String::new(), why);
        }
    }
    (0, String::new(), String::new())
}

fn listings(machine: &Machine) -> String {
    let lists = machine.files.list("/etc/apt/sources.list.d");
    lists.iter().map(|path| format!("{path}\n")).collect()
}

fn registry_files(machine: &Machine, directory: &str) -> String {
    let below = |path: &str| path.starts_with(directory) && path.ends_with("/hosts.toml");
    let files = machine.files.iter().filter(|(path, _)| below(path));
    files.map(|(path, _)| format!("{path}\n")).collect()
}

/// What `preflight.sh` prints; `targets` are `name,address,port…`.
fn preflight(world: &mut World, host: &str, targets: &[String]) -> String {
    let machine = world.machine(host).clone();
    let is_joined = match machine.role {
        Role::LoadBalancer => {
            machine.runs("haproxy") && machine.files.has("/etc/keepalived/keepalived.conf")
        }
        Role::Master | Role::Worker => machine.files.has("/etc/kubernetes/kubelet.conf"),
        Role::Etcd => machine.files.has(crate::cluster::etcd::MEMBERSHIP),
    };
    let mut lines = vec![format!("joined {}", if is_joined { "yes" } else { "no" })];
    let configurations = ["/etc/kubernetes/admin.conf", "/etc/kubernetes/kubelet.conf"];
    let server = configurations
        .iter()
        .find_map(|path| machine.files.text(path)?.split_once("server: "));
    lines.extend(
        server.map(|(_, rest)| format!("endpoint {}", rest.lines().next().unwrap_or_default())),
    );
    if machine.role.is_node() && machine.files.has(DATA) {
        lines.push("etcd-data yes".to_owned());
    }
    if !is_joined {
        lines.extend(preflight_of_bare(world, &machine, targets));
    }
    lines.push("end\n".to_owned());
    lines.join("\n")
}

fn preflight_of_bare(world: &World, machine: &Machine, targets: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    if machine.role == Role::LoadBalancer {
        let holder = world
            .machines
            .values()
            .find(|other| other.holds_vip && other.name != machine.name);
        lines.push(holder.map_or("vip silent".to_owned(), |holder| {
            format!("vip answered {}", super::probes::mac(holder))
        }));
        lines.push("listened yes".to_owned());
    } else if machine.role.is_node() {
        lines.extend(["overlay", "br_netfilter"].map(|module| format!("module {module} yes")));
    }
    if let Some(package) = machine
        .packages
        .get("containerd")
        .filter(|package| package.is_configured)
    {
        lines.push(format!(
            "containerd github.com/containerd/containerd {}",
            package.version
        ));
    }
    for target in targets {
        let mut words = target.split(',');
        let name = words.next().unwrap_or_default();
        let is_up = world.machines.get(name).is_some_and(Machine::is_up);
        let verdict = if is_up { "closed" } else { "blocked" };
        lines.extend(
            words
                .skip(1)
                .map(|port| format!("reach {name} {port} {verdict}")),
        );
    }
    if matches!(machine.role, Role::Master | Role::Etcd) {
        lines.extend([
            "space 104857600 /var/lib/etcd".to_owned(),
            "sync p99 900 /var/lib/etcd".to_owned(),
        ]);
    }
    lines
}

/// The body of an answer, on one line.
pub(super) fn answer((code, body): (u16, String)) -> Answer {
    Answer::Http(code, body.replace('\n', ""))
}

pub(super) fn report(world: &mut World, host: &str) -> Report {
    let clock = i64::try_from(world.now / 1_000_000).unwrap_or_default();
    let machine = world.machine(host).clone();
    let mut report = Report {
        has: traces(&machine),
        clock,
        machine_id: machine.machine_id.clone(),
        readyz: readyz(world, &machine),
        node: own_node(world, &machine),
        ..Report::default()
    };
    let can_ask = [
        "/etc/kubernetes/manifests/etcd.yaml",
        "/etc/kubernetes/pki/etcd/healthcheck-client.crt",
    ];
    if !can_ask.iter().all(|path| machine.files.has(path)) {
        return report;
    }
    answers_of_etcd(world, &machine, &mut report);
    report
}

/// What a machine's etcd answers.
pub(super) fn answers_of_etcd(world: &World, machine: &Machine, report: &mut Report) {
    report.etcd_status = Answer::Unreachable;
    if let Some(data) = world.running(machine) {
        let ok = |body: Option<String>| Answer::Http(200, body.unwrap_or_default());
        report.etcd_status = ok(world.etcd_status(data));
        report.etcd_members = ok(world.etcd_members(data));
        report.etcd_health = if world.has_quorum(data.0) {
            Answer::Http(200, "{\"health\":\"true\"}".to_owned())
        } else {
            Answer::Http(503, "{\"health\":\"false\"}".to_owned())
        };
    }
}

fn traces(machine: &Machine) -> std::collections::BTreeSet<Has> {
    let traces = [
        (Has::KubeletConf, "/etc/kubernetes/kubelet.conf"),
        (Has::BootstrapConf, "/etc/kubernetes/bootstrap-kubelet.conf"),
        (Has::AdminConf, "/etc/kubernetes/admin.conf"),
        (Has::CaKey, "/etc/kubernetes/pki/ca.key"),
        (Has::ApiserverCert, "/etc/kubernetes/pki/apiserver.crt"),
        (
            Has::ApiserverManifest,
            "/etc/kubernetes/manifests/kube-apiserver.yaml",
        ),
        (Has::EtcdManifest, "/etc/kubernetes/manifests/etcd.yaml"),
        (Has::EtcdData, DATA),
        (Has::Founding, "/etc/kubernetes/quorate/founding"),
        (Has::Joining, "/etc/kubernetes/quorate/joining"),
    ];
    let there = traces
        .into_iter()
        .filter(|(_, path)| machine.files.has(path));
    let mut has: std::collections::BTreeSet<Has> = there.map(|(has, _)| has).collect();
    if has.contains(&Has::ApiserverManifest) && super::external_etcd::is_external(machine) {
        has.insert(Has::ExternalEtcd);
    }
    if !machine.packages.contains_key("curl") {
        has.insert(Has::NoCurl);
    }
    has
}

fn readyz(world: &World, machine: &Machine) -> Answer {
    let files = [
        "/etc/kubernetes/pki/ca.crt",
        "/etc/kubernetes/manifests/kube-apiserver.yaml",
    ];
    if !files.iter().all(|path| machine.files.has(path)) {
        return Answer::Absent;
    }
    if world.serves(machine) {
        Answer::Http(200, "ok".to_owned())
    } else {
        Answer::Unreachable
    }
}

fn own_node(world: &mut World, machine: &Machine) -> Answer {
    let files = [
        "/var/lib/kubelet/pki/kubelet-client-current.pem",
        "/etc/kubernetes/pki/ca.crt",
        "/etc/kubernetes/kubelet.conf",
    ];
    if !files.iter().all(|path| machine.files.has(path)) {
        return Answer::Absent;
    }
    let store = world
        .store_seen_by(machine)
        .or_else(|| world.store_of(machine));
    match store {
        Some(cluster) => answer(world.ask(cluster, "GET", &node_path(&machine.name), None)),
        None => Answer::Unreachable,
    }
}

fn api_read(world: &mut World, host: &str, path: &str) -> String {
    let machine = world.machine(host).clone();
    let files = [
        "/etc/kubernetes/pki/apiserver-kubelet-client.key",
        "/etc/kubernetes/manifests/kube-apiserver.yaml",
    ];
    let read = if !files.iter().all(|path| machine.files.has(path)) {
        Answer::Absent
    } else if let Some(cluster) = world.store_of(&machine) {
        let (code, body) = world.ask(cluster, "GET", path, None);
        let body = if path.contains("/secrets") {
            metadata_only(&body)
        } else {
            body
        };
        answer((code, body))
    } else {
        Answer::Unreachable
    };
    format!("{read}\n")
}

/// As the apiserver answers who asks for `PartialObjectMetadata`.
fn metadata_only(body: &str) -> String {
    let mut object: Value = serde_json::from_str(body).unwrap_or_default();
    let strip = |object: &mut Value| {
        if let Some(fields) = object.as_object_mut() {
            fields.retain(|name, _| ["metadata", "kind", "items"].contains(&name.as_str()));
        }
    };
    strip(&mut object);
    object["items"]
        .as_array_mut()
        .into_iter()
        .flatten()
        .for_each(strip);
    object.to_string()
}

fn api(world: &mut World, host: &str, [method, path]: [&str; 2], stdin: &[u8]) -> Ended {
    let machine = world.machine(host).clone();
    let Some(cluster) = world.store_of(&machine) else {
        return (7, "\n000".to_owned(), "Failed to connect".to_owned());
    };
    let body: Option<Value> = serde_json::from_slice(stdin).ok();
    let secret = body
        .as_ref()
        .and_then(|body| body.pointer("/stringData/token-secret"))
        .and_then(Value::as_str);
    if let Some(secret) = secret {
        world.secrets.insert(secret.to_owned());
    }
    let (code, body) = world.ask(cluster, method, path, body);
    let body = if method == "POST" && path.contains("/secrets") {
        metadata_only(&body)
    } else {
        body
    };
    (0, format!("{body}\n{code}"), String::new())
}

fn pki(machine: &Machine, names: &[String]) -> Ended {
    let mut text = String::new();
    for name in names {
        let Some(content) = machine.files.text(&format!("/etc/kubernetes/pki/{name}")) else {
            return (1, text, format!("cat: {name}: No such file or directory"));
        };
        text.push_str(&format!("file {name}\n{content}\n"));
    }
    (0, text, String::new())
}

fn kubeconfig(machine: &Machine) -> Ended {
    let Some(file) = machine.files.get("/etc/kubernetes/admin.conf") else {
        return (1, String::new(), "No such file or directory".to_owned());
    };
    let digest = crate::text::sha256(&file.content);
    (
        0,
        format!("{digest}\n{}", String::from_utf8_lossy(&file.content)),
        String::new(),
    )
}

/// A pod network whose manifest was applied.
fn apply_manifest(world: &mut World, host: &str) -> Ended {
    let machine = world.machine(host).clone();
    let Some(cluster) = world.store_of(&machine) else {
        return (
            1,
            String::new(),
            "The connection to the server was refused".to_owned(),
        );
    };
    let set = serde_json::json!({ "metadata": { "name": "network" } });
    world.ask(
        cluster,
        "PATCH",
        "/apis/apps/v1/namespaces/kube-system/daemonsets/network",
        Some(set),
    );
    (0, "serverside-applied\n".to_owned(), String::new())
}

fn vip_answers(world: &mut World, host: &str) -> String {
    let machine = world.machine(host).clone();
    let mut lines = Vec::new();
    if machine.holds_vip {
        lines.push("holds".to_owned());
    }
    let armed = machine.undos.iter().filter(|(_, undo)| !undo.fired);
    lines.extend(armed.map(|(name, _)| format!("armed {name}")));
    lines.push(format!("answer {}", answer_of_vip(world, &machine)));
    lines.join("\n") + "\n"
}

fn answer_of_vip(world: &World, machine: &Machine) -> &'static str {
    const CA: &str = "/etc/haproxy/kubernetes-ca.crt";
    if !machine.packages.contains_key("curl") {
        return "absent";
    }
    if world.vip_holders().is_empty() {
        return "unreachable";
    }
    let Some(master) = world.behind_vip() else {
        return "connected";
    };
    let shown = master.files.text("/etc/kubernetes/pki/ca.crt");
    match machine.files.text(CA) {
        Some(trusted) if Some(trusted) != shown => "untrusted",
        _ => "200",
    }
}
