//! What two worlds are compared by.

use std::fmt::Write as _;

use camino::Utf8Path;

use crate::host::simulated::world::World;

/// What must be equal of two worlds that came to the same: everything but times, ids and keys.
#[must_use]
pub fn essence(world: &World) -> String {
    let mut text = String::new();
    for machine in world.machines.values() {
        let _ = writeln!(
            text,
            "{} on={} swap={} users={:?} modules={:?}",
            machine.name, machine.is_on, machine.swap, machine.users, machine.modules
        );
        let _ = writeln!(text, "  sysctls {:?}", machine.sysctls);
        for (name, package) in &machine.packages {
            let _ = writeln!(
                text,
                "  package {name} {} held={} configured={}",
                package.version, package.held, package.is_configured
            );
        }
        for (name, unit) in &machine.units {
            let _ = writeln!(
                text,
                "  unit {name} active={} enabled={}",
                unit.active, unit.enabled
            );
        }
        for (name, undo) in machine.undos.iter().filter(|(_, undo)| !undo.fired) {
            let _ = writeln!(text, "  undo {name} {:?}", undo.files.keys());
        }
        let files = machine.files.iter().filter(|(path, _)| !is_kept(path));
        for (path, file) in files {
            let content = if varies(path) {
                String::new()
            } else {
                String::from_utf8_lossy(&file.content).into_owned()
            };
            let _ = writeln!(
                text,
                "  file {path} {:o} {} {content:?}",
                file.mode, file.owner
            );
        }
        for (name, pod) in &machine.pods {
            let version = pod.version.map(|version| version.to_string());
            let _ = writeln!(text, "  pod {name} {}", version.unwrap_or_default());
        }
    }
    let living = world
        .live_cluster()
        .and_then(|cluster| world.etcd.get(cluster));
    if let Some(cluster) = living {
        let mut members: Vec<_> = cluster
            .members
            .iter()
            .map(|member| (&member.name, &member.peer_url, member.is_learner))
            .collect();
        members.sort();
        let _ = writeln!(text, "members {members:?}");
        for (path, object) in &cluster.objects {
            let labels = object.pointer("/metadata/labels");
            let taints = object.pointer("/spec/taints");
            let conditions = object.pointer("/status/conditions/0/status");
            let _ = writeln!(text, "{path} {labels:?} {taints:?} {conditions:?}");
        }
    }
    text
}

/// Whether a file is a safety copy, or scratch that the next snapshot on its host takes the place of: how many there are
/// depends on how often something was begun.
fn is_kept(path: &str) -> bool {
    let places = [
        "/var/lib/quorate/snapshot/",
        "/var/lib/quorate/upgrade/",
        "/var/lib/quorate/recovered/",
        "/var/lib/quorate/restored/",
        "/var/lib/quorate/restore/",
        "/etc/kubernetes/quorate/parked/",
    ];
    places.iter().any(|place| path.starts_with(place)) || path.contains("/quorate-old-")
}

/// Whether a file's content differs from world to world though all is the same.
fn varies(path: &str) -> bool {
    let of_founder = path.ends_with("/etcd.yaml")
        || path.ends_with("/10-quorate.conflist")
        || path.ends_with("/kubelet.conf")
        || path.ends_with("/admin.conf")
        || path.ends_with("/controller-manager.conf")
        || path.ends_with("/scheduler.conf")
        || path.ends_with("/applied");
    path.contains("/pki/")
        || path.contains("/var/lib/etcd")
        || path.ends_with("/quorate/etcd/ca.crt")
        || path.ends_with("/quorate/etcd/client.crt")
        || path.ends_with("/quorate/etcd/client.key")
        || Utf8Path::new(path).extension() == Some("env")
        || path.ends_with("kubernetes-ca.crt")
        || of_founder
}

/// The first lines that differ.
#[must_use]
pub fn difference(expected: &str, found: &str) -> String {
    let diff = similar::TextDiff::from_lines(expected, found);
    let changes = diff
        .iter_all_changes()
        .filter(|change| change.tag() != similar::ChangeTag::Equal);
    let lines = changes.take(8).map(|change| {
        let text: String = change.value().chars().take(160).collect();
        format!("{}{}", change.tag(), text.trim_end())
    });
    lines.collect::<Vec<_>>().join(" | ")
}
