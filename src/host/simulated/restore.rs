//! A restore on a master: what `restore/*.sh` do, stage by stage, and the way back.

use super::etcd::{DATA, data};
use super::jobs::{End, Step, Work};
use super::kubeadm::MANIFESTS;
use super::machine::Machine;
use super::scripts::Ended;
use super::snapshot::{agreement, files_of, image};
use super::world::World;
use crate::cluster::restore::{DIRECTORY, LEFT_BEHIND, Past, SETTINGS, SNAPSHOT, Settings, Stage};
use crate::host::command::Script;

const MEMBER: &str = "/var/lib/etcd/member";
const NEW: &str = "/var/lib/etcd/quorate-new";
const PODS: [&str; 4] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
];

/// What `restore-unpack` leaves as it is.
const KEPT: [&str; 4] = [
    "/etc/machine-id",
    "/etc/containerd/",
    "/etc/kubernetes/quorate/joining",
    "/etc/kubernetes/quorate/founding",
];

/// The steps of a stage, or of one back.
pub(super) fn steps(script: &Script) -> Option<Vec<Step>> {
    Some(match (script.name, script.argument(0)) {
        ("restore-data", _) => vec![check, make, name, |world, work| {
            mark(world, work, "restored")
        }],
        ("restore-stage", "stopped") => {
            vec![give_up, park, |world, work| mark(world, work, "stopped")]
        }
        ("restore-stage", "aside") => vec![aside, |world, work| mark(world, work, "aside")],
        ("restore-stage", "etcd") => vec![start_etcd, etcd_serves, |world, work| {
            mark(world, work, "etcd")
        }],
        ("restore-stage", "apiserver") => vec![start_apiserver, api_serves, |world, work| {
            mark(world, work, "apiserver")
        }],
        ("restore-stage", "finished") => vec![start_controllers, |world, work| {
            world.machine(&work.host).files.remove(SNAPSHOT);
            mark(world, work, "finished")
        }],
        ("restore-stage", "abort-stop") => vec![|world, work| mark(world, work, "abort"), park],
        ("restore-stage", "abort-data") => vec![put_back],
        ("restore-stage", "abort-start") => vec![start_all, etcd_serves, api_serves, put_away],
        _ => return None,
    })
}

/// Runs a command script; `None`: it is not known here.
pub(super) fn run(world: &mut World, host: &str, script: &Script) -> Option<Ended> {
    let done = (0, String::new(), String::new());
    let now = world.now;
    Some(match script.name {
        "restore-state" => (0, state(world.machine(host)), String::new()),
        "restore-clear" => {
            clear(world.machine(host), now);
            done
        }
        "restore-unpack" => {
            unpack(world, host, script.argument(0));
            done
        }
        // The door waits.
        "restore-wait" => done,
        "etcd-agreement" => match agreement(world, host) {
            Some(text) => (0, text, String::new()),
            None => (1, String::new(), "etcd does not answer\n".to_owned()),
        },
        "etcd-member-probe" => (0, probed(world, script.argument(0)), String::new()),
        _ => return None,
    })
}

/// What `state.sh` prints.
pub(super) fn state(machine: &Machine) -> String {
    let settings = machine.files.text(SETTINGS).unwrap_or_default();
    let mut text: String = settings
        .lines()
        .map(|line| format!("set {line}\n"))
        .collect();
    let marks = Stage::ALL
        .map(Stage::name)
        .into_iter()
        .chain(["abort", "rebuilt"]);
    for mark in marks.filter(|mark| machine.files.has(&format!("{DIRECTORY}/{mark}"))) {
        text.push_str(&format!("mark {mark}\n"));
    }
    if let Some(file) = machine.files.get(SNAPSHOT) {
        text.push_str(&format!("snapshot {}\n", file.content.len()));
    }
    if let Some(image) = image(machine) {
        text.push_str(&format!("image {image}\n"));
    }
    text
}

fn settings(machine: &Machine) -> Option<Settings> {
    Settings::parse(machine.files.text(SETTINGS)?)
}

/// Puts what a finished restore left away, and makes room for the next.
fn clear(machine: &mut Machine, now: u64) {
    let rebuilt = format!("{DIRECTORY}/rebuilt");
    let is_rebuilt = machine.files.has(&rebuilt);
    if machine.files.has(&format!("{DIRECTORY}/finished"))
        && let Some(settings) = settings(machine)
    {
        let kept = format!("/var/lib/quorate/restored/{}", settings.token);
        machine.files.move_below(DIRECTORY, &kept);
    }
    machine.files.remove_below(DIRECTORY);
    if is_rebuilt {
        machine.files.put(rebuilt, "", 0o644, now);
    }
}

/// The files of a blank machine, its manifests out of kubelet's sight.
fn unpack(world: &mut World, host: &str, tar: &str) {
    let now = world.now;
    let machine = world.machine(host);
    machine
        .files
        .put(format!("{DIRECTORY}/rebuilt"), "", 0o644, now);
    let tar = machine.files.remove(tar).map(|file| file.content);
    for (path, file) in files_of(&tar.unwrap_or_default(), now) {
        if KEPT.iter().any(|kept| path.starts_with(kept)) {
            continue;
        }
        let parked = path
            .strip_prefix(MANIFESTS)
            .map(|name| format!("{DIRECTORY}/manifests{name}"));
        machine.files.insert(parked.unwrap_or(path), file);
    }
    let _ = world.systemctl(host, "enable", "kubelet", now);
    let _ = world.systemctl(host, "restart", "kubelet", now);
}

/// How many of six probes of etcd's ports find somebody there.
fn probed(world: &World, address: &str) -> String {
    let answers = world.machines.values().any(|machine| {
        machine.is_up()
            && machine.address.to_string() == address
            && machine.pods.contains_key("etcd")
    });
    if answers { "6\n" } else { "0\n" }.to_owned()
}

fn mark(world: &mut World, work: &Work, name: &str) -> End {
    world.put(work, &format!("{DIRECTORY}/{name}"), "", 0o644);
    End::Done
}

/// Whatever the cluster on this master holds is given up, and what only machines hold that are lost: the person said so.
fn give_up(world: &mut World, work: &Work) -> End {
    let machine = world.machine(&work.host);
    if settings(machine).is_none() {
        return End::Fails("there is no restore on this host".to_owned());
    }
    let own = data(machine).map(|(cluster, _)| cluster);
    let lost = (0..world.etcd.len()).filter(|cluster| !world.has_quorum(*cluster));
    let given_up: Vec<usize> = lost.chain(own).collect();
    world.given_up.extend(given_up);
    End::Done
}

fn park(world: &mut World, work: &Work) -> End {
    let now = world.now;
    let files = &mut world.machine(&work.host).files;
    for pod in PODS {
        files.rename(
            &format!("{MANIFESTS}/{pod}.yaml"),
            &format!("{DIRECTORY}/manifests/{pod}.yaml"),
        );
    }
    // A blank machine has none, and nothing to stop.
    let _ = world.systemctl(&work.host, "start", "kubelet", now);
    End::Done
}

fn back(world: &mut World, work: &Work, pod: &str) {
    world.machine(&work.host).files.rename(
        &format!("{DIRECTORY}/manifests/{pod}.yaml"),
        &format!("{MANIFESTS}/{pod}.yaml"),
    );
}

fn old(token: &str) -> String {
    format!("/var/lib/etcd/quorate-old-{token}")
}

/// `mv -T`, which does not go over a directory that holds something.
fn rename(machine: &mut Machine, from: &str, to: &str) -> End {
    if machine.files.has(to) {
        return End::Fails(format!(
            "mv: cannot move '{from}' to '{to}': Directory not empty"
        ));
    }
    machine.files.move_below(from, to);
    End::Done
}

fn aside(world: &mut World, work: &Work) -> End {
    let machine = world.machine(&work.host);
    let Some(settings) = settings(machine) else {
        return End::Fails("there is no restore on this host".to_owned());
    };
    if !machine.files.has(MEMBER) {
        return End::Done;
    }
    if settings.part == crate::cluster::restore::Part::Member {
        return rename(machine, MEMBER, &old(&settings.token));
    }
    machine.files.remove_below(&format!("{DIRECTORY}/old"));
    machine
        .files
        .move_below(MEMBER, &format!("{DIRECTORY}/old"));
    End::Done
}

fn check(world: &mut World, work: &Work) -> End {
    let machine = world.machine(&work.host);
    let wanted = settings(machine).map(|settings| settings.sha256);
    let found = machine
        .files
        .get(SNAPSHOT)
        .map(|file| crate::text::sha256(&file.content));
    if wanted.is_none() || wanted != found {
        return End::Fails(format!("{SNAPSHOT} is not the snapshot of the backup"));
    }
    End::Done
}

/// This member's data, beside etcd's.
fn make(world: &mut World, work: &Work) -> End {
    let machine = world.machine(&work.host);
    if machine.files.has(MEMBER) {
        return End::Done;
    }
    machine.files.remove_below(NEW);
    let settings = settings(machine);
    let (Some(settings), Some(saved)) = (settings, world.saved_in(&work.host, SNAPSHOT)) else {
        return End::Fails("snapshot file integrity check failed".to_owned());
    };
    let (cluster, member) = world.found_of_snapshot(&settings, saved);
    let started = world
        .etcd
        .get(cluster)
        .is_some_and(|cluster| cluster.started.contains(&member));
    if started {
        world.violate(format!(
            "etcd of {} was set back behind what it had agreed to",
            work.host
        ));
    }
    let path = |path: &str| path.replace(MEMBER, &format!("{NEW}/member"));
    world.put(work, &path(DATA), format!("{cluster} {member}"), 0o600);
    let past = Past {
        made: Some(world.clock_of(&work.host)),
        left: settings.left_behind,
    };
    world.put(work, &path(LEFT_BEHIND), past.to_string(), 0o644);
    End::Done
}

/// It gets its name when it is whole.
fn name(world: &mut World, work: &Work) -> End {
    let machine = world.machine(&work.host);
    if machine.files.has(MEMBER) {
        return End::Done;
    }
    rename(machine, &format!("{NEW}/member"), MEMBER)
}

fn start_etcd(world: &mut World, work: &Work) -> End {
    back(world, work, "etcd");
    End::Done
}

fn etcd_serves(world: &mut World, work: &Work) -> End {
    let machine = world.machine(&work.host).clone();
    match world.running(&machine) {
        Some((cluster, _)) if world.has_quorum(cluster) => End::Done,
        _ => End::Waits("gave up waiting: etcd_serves".to_owned()),
    }
}

fn start_apiserver(world: &mut World, work: &Work) -> End {
    back(world, work, "kube-apiserver");
    End::Done
}

fn api_serves(world: &mut World, work: &Work) -> End {
    let machine = world.machine(&work.host).clone();
    if world.serves(&machine) {
        End::Done
    } else {
        End::Waits("gave up waiting: api_serves".to_owned())
    }
}

fn start_controllers(world: &mut World, work: &Work) -> End {
    let now = world.now;
    let part = settings(world.machine(&work.host)).map(|settings| settings.part);
    if part == Some(crate::cluster::restore::Part::Member) {
        back(world, work, "kube-controller-manager");
        back(world, work, "kube-scheduler");
        if let Err(why) = world.systemctl(&work.host, "restart", "kubelet", now) {
            return End::Fails(why);
        }
    }
    End::Done
}

/// The old data in its place again.
fn put_back(world: &mut World, work: &Work) -> End {
    let machine = world.machine(&work.host);
    let token = settings(machine)
        .map(|settings| settings.token)
        .unwrap_or_default();
    let (old, copy) = (old(&token), format!("{DIRECTORY}/old"));
    if machine.files.has(&old) {
        machine.files.remove_below(NEW);
        let discarded = format!("/var/lib/etcd/quorate-discarded-{token}");
        machine.files.move_below(MEMBER, &discarded);
        machine.files.move_below(&old, MEMBER);
    } else if machine.files.has(&copy) && !machine.files.has(MEMBER) {
        machine.files.copy_below(&copy, MEMBER);
    }
    End::Done
}

fn start_all(world: &mut World, work: &Work) -> End {
    let now = world.now;
    for pod in PODS {
        back(world, work, pod);
    }
    match world.systemctl(&work.host, "restart", "kubelet", now) {
        Ok(()) => End::Done,
        Err(why) => End::Fails(why),
    }
}

fn put_away(world: &mut World, work: &Work) -> End {
    let machine = world.machine(&work.host);
    let token = settings(machine)
        .map(|settings| settings.token)
        .unwrap_or_default();
    let kept = format!("/var/lib/quorate/restored/aborted-{token}");
    rename(machine, DIRECTORY, &kept)
}
