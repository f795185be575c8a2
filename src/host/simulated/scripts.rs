//! What is known by name: read-only scripts and commands.
//!
//! Whoever gives an action a new script adds a line here; until then every test that meets it fails and names it.

use std::time::Duration;

use super::jobs::End;
use super::machine::Machine;
use super::report::{api, api_read, report};
use super::world::World;
use super::{
    candidates, external_etcd, kubeadm, kubelet, load_balancer, preflight, restore, snapshot,
    upgrade,
};
use crate::host::command::Script;
use crate::host::file::RemoteFile;

/// Exit code and standard output.
type Said = (i32, String);

/// Exit code, standard output, standard error.
pub(super) type Ended = (i32, String, String);

fn unknown<T>(what: &str) -> Result<T, String> {
    Err(format!("the simulation does not know {what}"))
}

/// The units that a script waits for.
pub(super) fn waits_for(script: &Script) -> Vec<String> {
    match script.name {
        "wait-for-units" => script.arguments.clone(),
        "restore-wait" => ["stage", "data"]
            .map(|job| format!("quorate-restore-{job}.service"))
            .into(),
        _ => Vec::new(),
    }
}

/// How long a script looks before what it says is true.
pub(super) fn looks_for(script: &Script) -> Duration {
    Duration::from_secs(match script.name {
        "etcd-member-probe" => 6,
        _ => 0,
    })
}

/// Answers a read-only script.
pub(super) fn probe(world: &mut World, host: &str, script: &Script) -> Result<Said, String> {
    let machine = world.machine(host);
    Ok(match script.name {
        "kubernetes-report" => (0, report(world, host).to_string()),
        "etcd-report" => (0, external_etcd::report(world, host).to_string()),
        "etcd-versions" => (0, external_etcd::versions(world, host)),
        "etcd-releases-offered" => (0, external_etcd::offered(world, script)),
        "kubernetes-api-read" => (0, api_read(world, host, script.argument(1))),
        // While the family of a host is not known, it is asked for those of all families.
        "kubernetes-repository-listings" if script.body.contains("/etc/yum.repos.d/") => {
            (0, String::new())
        }
        "kubernetes-repository-listings" => (0, listings(machine)),
        "registry-files" => (0, registry_files(machine, script.argument(0))),
        // A job's private directory goes with its unit.
        "swap-units" | "join-material" => (0, String::new()),
        "vip-answers" => (0, load_balancer::vip_answers(world, host)),
        "system-user" if machine.users.contains(script.argument(0)) => (
            0,
            format!(
                "{}:x:999:997::/nonexistent:/usr/sbin/nologin\n",
                script.argument(0)
            ),
        ),
        "system-user" => (2, String::new()),
        "restore-state" => (0, restore::state(world, host)),
        "containerd-version" => {
            containerd_says(machine).map_or((127, String::new()), |said| (0, format!("{said}\n")))
        }
        "preflight" => (
            0,
            preflight::preflight(world, host, script.arguments.get(5..).unwrap_or_default()),
        ),
        name => match upgrade::probe(world, host, script) {
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
    let argument = |index| script.argument(index);
    let machine = world.machine(host);
    let done = Ok((0, String::new(), String::new()));
    match script.name {
        "service-run" => Ok(service(world, host, argument(0), argument(1), now)),
        "kernel-modules-load" => {
            script
                .arguments
                .iter()
                .for_each(|name| machine.load_module(name));
            done
        }
        "sysctls-apply" => {
            machine.apply_sysctls(argument(0));
            done
        }
        "system-user-make" => {
            machine.users.insert(argument(0).to_owned());
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
        "kubernetes-api" => Ok(api(world, host, [argument(1), argument(2)], stdin)),
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
            let _ = start_kubelet(world, host);
            match kubeadm::mark_node(world, host) {
                End::Done => done,
                End::Waits(why) | End::Fails(why) => Ok((1, String::new(), why)),
            }
        }
        "kubelet-start" => Ok(match start_kubelet(world, host) {
            Ok(()) => (0, String::new(), String::new()),
            Err(why) => (1, String::new(), why),
        }),
        "kubeconfig-fetch" => Ok(kubeconfig(machine)),
        "control-plane-candidates" => Ok(candidates::make(world, host)),
        "control-plane-certificate" => Ok(candidates::replace_certificate(world, host)),
        "control-plane-replace" => Ok(candidates::replace(world, host, argument(0), argument(1))),
        "control-plane-names" => {
            let names = script.arguments.get(1..).unwrap_or_default();
            Ok(candidates::serves(world, host, names))
        }
        "kubelet-follow" => Ok(kubelet::follow(world, host, argument(0), argument(1))),
        "control-plane-store" => Ok(candidates::store(world, host, argument(0))),
        // For units the door waits.
        "bridge-renew"
        | "control-plane-component-healthy"
        | "control-plane-store-kubelet"
        | "wait-for-units" => done,
        name => external_etcd::run(world, host, script, stdin)
            .or_else(|| upgrade::run(world, host, script))
            .or_else(|| snapshot::run(world, host, script, stdin))
            .or_else(|| restore::run(world, host, script))
            .map_or_else(|| unknown(&format!("script `{name}`")), Ok),
    }
}

/// Starts kubelet, and again while it refuses etcd.
fn start_kubelet(world: &mut World, host: &str) -> Result<(), String> {
    let now = world.now;
    world.systemctl(host, "restart", "kubelet", now)?;
    if world.machine(host).refuses_etcd {
        world.systemctl(host, "restart", "kubelet", now)?;
    }
    Ok(())
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
        ["cp", "--", from, to] => Ok(snapshot::copy(world.machine(host), from, to)),
        ["rm", "-f", "--", path] => {
            world.machine(host).files.remove(path);
            Ok((0, String::new(), String::new()))
        }
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

/// What `containerd --version` prints, if it is installed: upstream's version, and the package's.
pub(super) fn containerd_says(machine: &Machine) -> Option<String> {
    let version = &machine.packages.get("containerd")?.version;
    let upstream = version.split('-').next().unwrap_or_default();
    let program = "containerd github.com/containerd/containerd";
    Some(format!("{program} {upstream} {version}"))
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
