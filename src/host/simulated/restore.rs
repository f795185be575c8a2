//! A restore on a host: what `restore/*.sh` do, stage by stage, and the way back.

use super::etcd::data;
use super::jobs::{End, Step, Work};
use super::kubeadm::MANIFESTS;
use super::machine::Machine;
use super::scripts::Ended;
use super::snapshot::{agreement, files_of, image};
use super::world::World;
use crate::cluster::etcd::MEMBERSHIP;
use crate::cluster::etcd_member::UNIT;
use crate::cluster::etcd_unit::snapshot_file;
use crate::cluster::restore::{
    DIRECTORY, Part, Past, Runner, SETTINGS, SNAPSHOT, Settings, Stage, left_behind,
};
use crate::host::command::Script;

const PODS: [&str; 4] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
];

/// What `restore-unpack` leaves as it is.
const KEPT: [&str; 6] = [
    "/etc/machine-id",
    "/etc/containerd/",
    "/etc/kubernetes/quorate/joining",
    "/etc/kubernetes/quorate/founding",
    "/etc/etcd/joining",
    "/etc/etcd/founding",
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
        ("restore-stage", "abort-stop") => {
            vec![give_up, |world, work| mark(world, work, "abort"), park]
        }
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
        "restore-state" => (0, state(world, host), String::new()),
        "restore-clear" => {
            clear(world.machine(host), now);
            done
        }
        "restore-unpack" => unpack(world, host, script),
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
pub(super) fn state(world: &World, host: &str) -> String {
    let Some(machine) = world.machines.get(host) else {
        return String::new();
    };
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
    let stacked = image(machine);
    let version = machine.files.has(MEMBERSHIP).then(|| world.programs(host));
    let of_unit = version.flatten().map(|version| format!("etcd:{version}"));
    if let Some(image) = stacked.clone().or(of_unit) {
        text.push_str(&format!("image {image}\n"));
    }
    if stacked.is_none() && has_apiserver(machine) {
        text.push_str("has apiserver-only\n");
    }
    text
}

/// Where a host's etcd has its data, and new data until that is whole.
fn places(settings: &Settings) -> [String; 2] {
    ["member", "quorate-new"].map(|name| settings.data.join(name).into_string())
}

/// Whether systemd runs a member on the host.
fn has_unit(settings: &Settings) -> bool {
    settings.runner == Runner::Systemd && settings.part != Part::Client
}

/// Whether a machine has an apiserver's manifest, in place or parked.
pub(super) fn has_apiserver(machine: &Machine) -> bool {
    let places = [MANIFESTS.to_owned(), format!("{DIRECTORY}/manifests")];
    let mut manifests = places.iter().map(|it| format!("{it}/kube-apiserver.yaml"));
    manifests.any(|manifest| machine.files.has(&manifest))
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
fn unpack(world: &mut World, host: &str, script: &Script) -> Ended {
    let now = world.now;
    let machine = world.machine(host);
    machine
        .files
        .put(format!("{DIRECTORY}/rebuilt"), "", 0o644, now);
    let tar = machine.files.remove(script.argument(0));
    let tar = tar.map(|file| file.content);
    let files = files_of(&tar.unwrap_or_default(), now);
    let needed = script.arguments.iter().skip(2);
    for path in needed {
        if !files.contains_key(&format!("/{path}")) {
            let why = format!("the backup has no {path} of this host");
            return (1, String::new(), why);
        }
    }
    let is_master = files.keys().any(|path| path.starts_with(MANIFESTS));
    for (path, file) in files {
        if KEPT.iter().any(|kept| path.starts_with(kept)) {
            continue;
        }
        let parked = path
            .strip_prefix(MANIFESTS)
            .map(|name| format!("{DIRECTORY}/manifests{name}"));
        machine.files.insert(parked.unwrap_or(path), file);
    }
    if is_master {
        let _ = world.systemctl(host, "enable", "kubelet", now);
        let _ = world.systemctl(host, "restart", "kubelet", now);
    }
    (0, String::new(), String::new())
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

/// Not even a boot may start it before its data is there.
fn stop_etcd(world: &mut World, work: &Work) {
    let now = world.now;
    if settings(world.machine(&work.host)).is_some_and(|it| has_unit(&it)) {
        for unit in ["etcd-watch", UNIT] {
            for verb in ["disable", "stop"] {
                let _ = world.systemctl(&work.host, verb, unit, now);
            }
        }
    }
}

fn start_watch(world: &mut World, work: &Work) {
    let now = world.now;
    if settings(world.machine(&work.host)).is_some_and(|it| has_unit(&it)) {
        for verb in ["enable", "start"] {
            let _ = world.systemctl(&work.host, verb, "etcd-watch", now);
        }
    }
}

fn park(world: &mut World, work: &Work) -> End {
    let now = world.now;
    stop_etcd(world, work);
    let files = &mut world.machine(&work.host).files;
    for pod in PODS {
        files.rename(
            &format!("{MANIFESTS}/{pod}.yaml"),
            &format!("{DIRECTORY}/manifests/{pod}.yaml"),
        );
    }
    // A blank machine has none, and nothing to stop.
    if settings(world.machine(&work.host)).is_some_and(|it| it.has_control_plane) {
        let _ = world.systemctl(&work.host, "start", "kubelet", now);
    }
    End::Done
}

fn back(world: &mut World, work: &Work, pod: &str) {
    world.machine(&work.host).files.rename(
        &format!("{DIRECTORY}/manifests/{pod}.yaml"),
        &format!("{MANIFESTS}/{pod}.yaml"),
    );
}

fn old(settings: &Settings) -> String {
    format!("{}/quorate-old-{}", settings.data, settings.token)
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
    stop_etcd(world, work);
    let machine = world.machine(&work.host);
    let Some(settings) = settings(machine) else {
        return End::Fails("there is no restore on this host".to_owned());
    };
    let [member, _] = places(&settings);
    if !machine.files.has(&member) {
        return End::Done;
    }
    if settings.part == Part::Member || has_unit(&settings) {
        return rename(machine, &member, &old(&settings));
    }
    machine.files.remove_below(&format!("{DIRECTORY}/old"));
    machine
        .files
        .move_below(&member, &format!("{DIRECTORY}/old"));
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
    let Some(settings) = settings(machine) else {
        return End::Fails("there is no restore on this host".to_owned());
    };
    let [own, new] = places(&settings);
    if machine.files.has(&own) {
        return End::Done;
    }
    machine.files.remove_below(&new);
    let Some(saved) = world.saved_in(&work.host, SNAPSHOT) else {
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
    let path = |path: camino::Utf8PathBuf| path.as_str().replace(&own, &format!("{new}/member"));
    let data = path(snapshot_file(&settings.data));
    world.put(
        work,
        &data,
        super::etcd::data_text((cluster, member)),
        0o600,
    );
    let past = Past {
        made: Some(world.clock_of(&work.host)),
        left: settings.left_behind,
    };
    let past_file = path(left_behind(&settings.data));
    world.put(work, &past_file, past.to_string(), 0o644);
    End::Done
}

/// It gets its name when it is whole.
fn name(world: &mut World, work: &Work) -> End {
    let machine = world.machine(&work.host);
    let Some(settings) = settings(machine) else {
        return End::Fails("there is no restore on this host".to_owned());
    };
    let [member, new] = places(&settings);
    if machine.files.has(&member) {
        return End::Done;
    }
    rename(machine, &format!("{new}/member"), &member)
}

fn start_etcd(world: &mut World, work: &Work) -> End {
    let now = world.now;
    if settings(world.machine(&work.host)).is_some_and(|it| has_unit(&it)) {
        for verb in ["enable", "start"] {
            if let Err(why) = world.systemctl(&work.host, verb, UNIT, now) {
                return End::Fails(why);
            }
        }
    } else {
        back(world, work, "etcd");
    }
    End::Done
}

fn etcd_serves(world: &mut World, work: &Work) -> End {
    if !has(world, work).0 {
        return End::Done;
    }
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
    if !has(world, work).1 {
        return End::Done;
    }
    let machine = world.machine(&work.host).clone();
    if world.serves(&machine) {
        End::Done
    } else {
        End::Waits("gave up waiting: api_serves".to_owned())
    }
}

fn start_controllers(world: &mut World, work: &Work) -> End {
    let now = world.now;
    let Some(settings) = settings(world.machine(&work.host)) else {
        return End::Fails("there is no restore on this host".to_owned());
    };
    if settings.part == Part::Member {
        start_watch(world, work);
    }
    if settings.goes_through(Stage::Apiserver) {
        back(world, work, "kube-controller-manager");
        back(world, work, "kube-scheduler");
        if let Err(why) = world.systemctl(&work.host, "restart", "kubelet", now) {
            return End::Fails(why);
        }
    }
    End::Done
}

/// The old data in its place again, and what it is of given up no more.
fn put_back(world: &mut World, work: &Work) -> End {
    let machine = world.machine(&work.host);
    let Some(settings) = settings(machine) else {
        return End::Fails("there is no restore on this host".to_owned());
    };
    let (old, copy) = (old(&settings), format!("{DIRECTORY}/old"));
    let [member, new] = places(&settings);
    if machine.files.has(&old) {
        machine.files.remove_below(&new);
        let discarded = format!("{}/quorate-discarded-{}", settings.data, settings.token);
        machine.files.move_below(&member, &discarded);
        machine.files.move_below(&old, &member);
    } else if machine.files.has(&copy) && !machine.files.has(&member) {
        machine.files.copy_below(&copy, &member);
    }
    if let Some((cluster, _)) = data(machine) {
        world.given_up.remove(&cluster);
    }
    End::Done
}

fn start_all(world: &mut World, work: &Work) -> End {
    let now = world.now;
    let Some(settings) = settings(world.machine(&work.host)) else {
        return End::Fails("there is no restore on this host".to_owned());
    };
    if let failed @ End::Fails(_) = start_etcd(world, work) {
        return failed;
    }
    start_watch(world, work);
    if !settings.has_control_plane {
        return End::Done;
    }
    for pod in PODS {
        back(world, work, pod);
    }
    match world.systemctl(&work.host, "restart", "kubelet", now) {
        Ok(()) => End::Done,
        Err(why) => End::Fails(why),
    }
}

/// Whether the host is to have an etcd, and whether an apiserver.
fn has(world: &mut World, work: &Work) -> (bool, bool) {
    let settings = settings(world.machine(&work.host));
    settings.map_or((true, true), |it| {
        (it.part != Part::Client, it.has_control_plane)
    })
}

fn put_away(world: &mut World, work: &Work) -> End {
    let machine = world.machine(&work.host);
    let token = settings(machine)
        .map(|settings| settings.token)
        .unwrap_or_default();
    let kept = format!("/var/lib/quorate/restored/aborted-{token}");
    rename(machine, DIRECTORY, &kept)
}
