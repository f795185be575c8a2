//! Snapshots of etcd: saved beside it, tried, sent piece by piece, and the files of a host as a tar.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::etcd;
use super::external_etcd;
use super::files::File;
use super::jobs::{End, Step, Work};
use super::kubeadm::value_of;
use super::machine::Machine;
use super::scripts::Ended;
use super::world::World;
use crate::cluster::snapshot::PATH;
use crate::host::command::Script;

/// What a snapshot holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Saved {
    /// The revision of the key space.
    pub revision: u64,
    /// Kubernetes' objects, by path.
    pub objects: BTreeMap<String, Value>,
}

/// What `backup-files` takes of a host.
const OF_HOST: [&str; 14] = [
    "/etc/kubernetes/",
    "/var/lib/kubelet/config.yaml",
    "/var/lib/kubelet/kubeadm-flags.env",
    "/var/lib/kubelet/instance-config.yaml",
    "/var/lib/kubelet/pki/",
    "/etc/default/kubelet",
    "/etc/containerd/",
    "/etc/haproxy/",
    "/etc/keepalived/",
    "/etc/systemd/system/haproxy.service.d/",
    "/etc/systemd/system/keepalived.service.d/",
    "/etc/etcd/",
    "/etc/systemd/system/etcd.service",
    "/etc/machine-id",
];

/// What it leaves out of that.
const COPIES: [&str; 2] = ["/etc/kubernetes/tmp/", "/etc/kubernetes/quorate/backup/"];

/// The steps of the jobs that save and try snapshots.
pub(super) fn steps(script: &str) -> Option<Vec<Step>> {
    Some(match script {
        "etcd-snapshot-save" => vec![clear, save],
        "etcd-snapshot-trial" => vec![restore_aside, compare],
        _ => return None,
    })
}

/// Runs a command script; `None`: it is not known here.
pub(super) fn run(world: &mut World, host: &str, script: &Script, stdin: &[u8]) -> Option<Ended> {
    let now = world.now;
    let machine = world.machine(host);
    Some(match script.name {
        "etcd-snapshot-discard" => {
            machine.files.remove_below("/var/lib/quorate/snapshot");
            said(String::new())
        }
        "upgrade-snapshot-keep" => {
            if machine.files.has(script.argument(1)) {
                machine.files.remove(script.argument(0));
            } else {
                machine.files.rename(script.argument(0), script.argument(1));
            }
            said(String::new())
        }
        "recover-keep" => copy(machine, script.argument(0), script.argument(1)),
        "file-part-read" => part(
            machine,
            script.argument(0),
            script.argument(1),
            script.argument(2),
        ),
        "file-part-write" => {
            write_part(machine, script.argument(0), script.argument(1), stdin, now)
        }
        "file-sha256" => match machine.files.get(script.argument(0)) {
            Some(file) => said(format!("{}\n", crate::text::sha256(&file.content))),
            None => missing(script.argument(0)),
        },
        "backup-files" => said(String::from_utf8_lossy(&tar_of(machine)).into_owned()),
        _ => return None,
    })
}

fn said(text: String) -> Ended {
    (0, text, String::new())
}

fn missing(path: &str) -> Ended {
    (
        1,
        String::new(),
        format!("{path}: No such file or directory"),
    )
}

/// `cp`.
pub(super) fn copy(machine: &mut Machine, from: &str, to: &str) -> Ended {
    match machine.files.get(from).cloned() {
        Some(file) => {
            machine.files.insert(to, file);
            said(String::new())
        }
        None => missing(from),
    }
}

fn mebibytes(text: &str) -> usize {
    text.parse::<usize>().unwrap_or_default() << 20
}

fn part(machine: &Machine, path: &str, skip: &str, count: &str) -> Ended {
    let Some(file) = machine.files.get(path) else {
        return missing(path);
    };
    let piece = file.content.iter().skip(mebibytes(skip));
    let piece: Vec<u8> = piece.take(mebibytes(count)).copied().collect();
    said(String::from_utf8_lossy(&piece).into_owned())
}

/// `dd conv=notrunc` at a place in a file.
fn write_part(machine: &mut Machine, path: &str, seek: &str, piece: &[u8], now: u64) -> Ended {
    let mut content = machine
        .files
        .get(path)
        .map(|file| file.content.clone())
        .unwrap_or_default();
    let at = mebibytes(seek);
    content.resize(content.len().max(at + piece.len()), 0);
    for (byte, new) in content.iter_mut().skip(at).zip(piece) {
        *byte = *new;
    }
    machine.files.put(path, content, 0o600, now);
    said(String::new())
}

fn tar_of(machine: &Machine) -> Vec<u8> {
    let is_taken = |path: &str| {
        OF_HOST.iter().any(|taken| path.starts_with(taken))
            && !COPIES.iter().any(|copies| path.starts_with(copies))
    };
    let mut builder = tar::Builder::new(Vec::new());
    for (path, file) in machine.files.iter().filter(|(path, _)| is_taken(path)) {
        let mut header = tar::Header::new_gnu();
        header.set_size(file.content.len() as u64);
        header.set_mode(file.mode);
        let name = path.trim_start_matches('/');
        // Memory takes whatever is written to it.
        let _ = builder.append_data(&mut header, name, file.content.as_slice());
    }
    builder.into_inner().unwrap_or_default()
}

/// The files of a tar, by absolute path.
pub(super) fn files_of(tar: &[u8], now: u64) -> BTreeMap<String, File> {
    use std::io::Read as _;
    let mut archive = tar::Archive::new(tar);
    let mut files = BTreeMap::new();
    for mut entry in archive.entries().into_iter().flatten().flatten() {
        let path = entry
            .path()
            .map(|path| format!("/{}", path.to_string_lossy()))
            .unwrap_or_default();
        let mode = entry.header().mode().unwrap_or(0o600);
        let mut content = Vec::new();
        if entry.read_to_end(&mut content).is_ok() {
            let owner = "root:root".to_owned();
            files.insert(
                path,
                File {
                    content,
                    mode,
                    owner,
                    modified_us: now,
                },
            );
        }
    }
    files
}

/// The image that the manifest of a machine's etcd names, in place or parked.
pub(super) fn image(machine: &Machine) -> Option<String> {
    let places = [
        "/etc/kubernetes/manifests/etcd.yaml",
        "/var/lib/quorate/restore/manifests/etcd.yaml",
    ];
    let mut texts = places
        .into_iter()
        .filter_map(|path| machine.files.text(path));
    value_of(texts.next()?, "image:")
}

/// What a machine's etcd runs from: its image, or a package of its own.
fn programs(world: &World, host: &str) -> Option<String> {
    let machine = world.machines.get(host)?;
    image(machine).or_else(|| {
        let version = world.programs(host)?;
        let is_service = machine.files.has(crate::cluster::etcd_member::CONFIG);
        is_service.then(|| format!("etcd {version}"))
    })
}

fn clear(world: &mut World, work: &Work) -> End {
    let programs = programs(world, &work.host);
    let machine = world.machine(&work.host);
    machine.files.remove_below("/var/lib/quorate/snapshot");
    if programs.is_none() {
        return End::Fails("no manifest of etcd names its image".to_owned());
    }
    let data = external_etcd::data_path(machine);
    if machine.files.has(&data) {
        End::Done
    } else {
        End::Fails(format!("stat: cannot statx '{data}'"))
    }
}

fn save(world: &mut World, work: &Work) -> End {
    let machine = world.machine(&work.host).clone();
    let is_copy = work.arguments.first().is_some_and(|from| from == "data");
    let member = if is_copy {
        etcd::data(&machine)
    } else {
        world.serving(&machine)
    };
    let Some((cluster, own)) = member else {
        return End::Fails("dial tcp 127.0.0.1:2379: connect: connection refused".to_owned());
    };
    let Some(state) = world.etcd.get(cluster) else {
        return End::Fails("etcd has no storage".to_owned());
    };
    let saved = Saved {
        revision: state.revision,
        objects: state.objects.clone(),
    };
    let number = world.saved.len();
    let file = format!("etcd's snapshot {number}\n");
    let of_itself = if is_copy {
        alone(world, (cluster, own))
    } else {
        String::new()
    };
    let text = format!(
        "{of_itself}status {}\n{}image {}\nsha256 {}\nsize {}\n",
        json!({ "revision": saved.revision }),
        contents(&saved),
        programs(world, &work.host).unwrap_or_default(),
        crate::text::sha256(&file),
        file.len()
    );
    world.saved.push(saved);
    world.put(work, PATH, file, 0o600);
    world.say(&work.host, "etcd-snapshot", text);
    End::Done
}

/// What a member says of itself that was made a cluster of one.
fn alone(world: &World, data: etcd::Data) -> String {
    let status = world.etcd_status(data).unwrap_or_default();
    let members = world.etcd_members(data).unwrap_or_default();
    let mut members: Value = serde_json::from_str(&members).unwrap_or_default();
    if let Some(members) = members["members"].as_array_mut() {
        members.retain(|member| member["ID"] == json!(data.1.to_string()));
    }
    format!("member-status {status}\nmember-list {members}\n")
}

/// What etcd's programs say of a key space: its hash, and how many keys it has.
fn contents(saved: &Saved) -> String {
    let hash = json!([{ "HashKV": { "hash": hash(&saved.objects), "compact_revision": -1 } }]);
    let count = json!({ "count": saved.objects.len() });
    format!("hash {hash}\ncount {count}\n")
}

/// `HashKV` of what is stored.
fn hash(objects: &BTreeMap<String, Value>) -> u32 {
    let text = serde_json::to_string(objects).unwrap_or_default();
    let digest = crate::text::sha256(text);
    let digits = digest.get(..8).unwrap_or_default();
    u32::from_str_radix(digits, 16).unwrap_or_default()
}

/// What each voter of the etcd on this host holds, as `etcdctl endpoint hashkv --cluster` says it.
pub(super) fn agreement(world: &World, host: &str) -> Option<String> {
    let asked = world.machines.get(host)?;
    let (number, _) = world.running(asked)?;
    let cluster = world.etcd.get(number)?;
    let held = world.machines.values().filter_map(|machine| {
        let (_, own) = world
            .running(machine)
            .filter(|(other, _)| *other == number)?;
        let member = cluster.members.iter().find(|member| member.id == own)?;
        let header = json!({ "cluster_id": cluster.id, "member_id": member.id });
        let hash =
            json!({ "header": header, "hash": hash(&cluster.objects), "compact_revision": -1 });
        let endpoint = member.peer_url.replace(":2380", ":2379");
        (!member.is_learner).then(|| json!({ "Endpoint": endpoint, "HashKV": hash }))
    });
    Some(format!("hash {}\n", held.collect::<Value>()))
}

impl World {
    /// What a file holds, if it is a whole snapshot.
    pub(super) fn saved_in(&self, host: &str, path: &str) -> Option<Saved> {
        let text = self.machines.get(host)?.files.text(path)?;
        let number = text.strip_prefix("etcd's snapshot ")?.strip_suffix('\n')?;
        self.saved.get(number.parse::<usize>().ok()?).cloned()
    }
}

fn restore_aside(world: &mut World, work: &Work) -> End {
    let path = work.arguments.get(1).cloned().unwrap_or_default();
    if programs(world, &work.host).is_none() {
        return End::Fails("no manifest of etcd names its image".to_owned());
    }
    match world.saved_in(&work.host, &path) {
        Some(_) => End::Done,
        None => End::Fails("snapshot file integrity check failed".to_owned()),
    }
}

fn compare(world: &mut World, work: &Work) -> End {
    let path = work.arguments.get(1).cloned().unwrap_or_default();
    let Some(saved) = world.saved_in(&work.host, &path) else {
        return End::Fails("the scratch etcd does not serve".to_owned());
    };
    world.say(&work.host, "etcd-trial", contents(&saved));
    End::Done
}
