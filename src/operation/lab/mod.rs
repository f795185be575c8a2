//! The lab: real hosts for a real cluster on one computer, without virtual machines, Docker or the internet.
//!
//! Each host is a Debian server booted by `systemd-nspawn` on a network of its own: systemd runs, sshd listens, a
//! virtual address really moves, a cable can be pulled ([`cut`]) and the power can fail ([`kill`]). [`up`] writes an
//! inventory, a key and known hosts that `quorate provision` takes as they are.
//!
//! | concern | where |
//! | --- | --- |
//! | names, addresses, counts | [`topology`] |
//! | what is built once and cached | [`artifacts`] and the recipes in `vagrant/lab` |
//! | bridge, namespaces, cables, the way out | [`network`] |
//! | disks and booting | [`machine`] |
//! | cgroups, and finding what a killed run left | [`cgroup`] |
//! | package repository and registry | [`service`] |
//! | who may touch a lab, and what it consists of | [`record`] |

use std::fmt;
use std::thread;

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use serde::Serialize;

mod artifacts;
mod cgroup;
mod error;
mod gate;
mod inventory;
mod machine;
mod network;
mod record;
mod service;
mod tool;
mod topology;

pub use error::LabError;
pub use inventory::Content;
pub use topology::{Host, HostRole, LabName, Subnet, Topology};

use cgroup::Cgroup;
use inventory::{CgroupVersion, Computer, KernelConfig, OomScore};
use machine::Disk;
use network::Cable;
use record::{Lock, Machine, Phase, Record};
use service::Stock;

/// What `up` shall bring about.
#[derive(Debug, Clone)]
pub struct LabOptions {
    /// The lab's name.
    pub name: LabName,
    /// Where inventory, key and known hosts are written.
    pub state_dir: Utf8PathBuf,
    /// How many hosts of each kind.
    pub topology: Topology,
    /// Whether it serves Kubernetes, or has hosts only.
    pub content: Content,
}

/// A host's condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostState {
    /// Booted, its cable in.
    Running,
    /// Booted, its cable out.
    Cut,
    /// Without power.
    Stopped,
}

/// A host of a lab as it is now.
#[derive(Debug, Clone, Serialize)]
pub struct HostStatus {
    /// The lab it belongs to.
    pub lab: LabName,
    /// The host itself.
    pub host: Host,
    /// Its condition.
    pub state: HostState,
    /// The pid of its `systemd-nspawn`.
    pub pid: Option<u32>,
    /// The network namespace it lives in.
    pub namespace: String,
    /// Where the lab's inventory is.
    pub inventory: Utf8PathBuf,
}

/// What a host finds when it boots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootFrom {
    /// The disk that it had.
    ItsDisk,
    /// An empty disk: the machine was replaced, with a new machine-id and a new host key.
    EmptyDisk,
}

/// Boots a lab, or boots what is down of one that is there; clears first what a killed run left.
///
/// Returns the path of the inventory.
pub fn up(options: &LabOptions) -> Result<Utf8PathBuf, LabError> {
    options.topology.check()?;
    check_computer()?;
    artifacts::prepare_computer()?;
    let base = artifacts::get(artifacts::Artifact::Rootfs)?.join("root");
    let stock = match options.content {
        Content::Kubernetes => Some(Stock::prepare()?),
        Content::HostsOnly => None,
    };
    let _lock = Lock::lab(&options.name)?;
    match living(options)? {
        Some(record) => wake(record)?,
        None => start(options, base, stock.as_ref())?,
    }
    Ok(options.state_dir.join("inventory.yaml"))
}

/// Builds everything that `up` takes from the cache, so that the next `up` takes seconds.
pub fn warm() -> Result<(), LabError> {
    check_computer()?;
    artifacts::get(artifacts::Artifact::Rootfs)?;
    Stock::prepare().map(drop)
}

/// Stops a lab and removes all that belongs to it except its state directory. Doing it twice is no error.
pub fn down(name: &LabName) -> Result<(), LabError> {
    check_computer()?;
    let _lock = Lock::lab(name)?;
    say(&format!("Lab {name}: removed {}", clear(name)?));
    Ok(())
}

/// The hosts of one lab, or of all.
pub fn list(name: Option<&LabName>) -> Result<Vec<HostStatus>, LabError> {
    let names = name.map_or_else(Record::names, |name| vec![name.clone()]);
    let mut hosts = Vec::new();
    for name in names {
        let record = Record::must_load(&name)?;
        hosts.extend(
            record
                .machines
                .iter()
                .map(|machine| status(&record, machine)),
        );
    }
    Ok(hosts)
}

/// The OpenSSH command that logs in to a host; the caller runs it.
pub fn ssh(
    name: &LabName,
    host: &str,
    words: &[String],
) -> Result<std::process::Command, LabError> {
    let mut record = Record::must_load(name)?;
    let host = record.machine(host)?.host.clone();
    let mut ssh = machine::ssh_command(&record.state_dir, &host);
    ssh.arg(host.address.to_string()).args(words);
    Ok(ssh)
}

/// Pulls a host's cable out: it runs on, but nobody reaches it and it reaches nobody.
pub fn cut(name: &LabName, host: &str) -> Result<(), LabError> {
    set_cable(name, host, Cable::Pulled)
}

/// Puts a host's cable back in.
pub fn heal(name: &LabName, host: &str) -> Result<(), LabError> {
    set_cable(name, host, Cable::Plugged)
}

/// Ends a host like a power cut. Its disk is kept for [`boot`].
pub fn kill(name: &LabName, host: &str) -> Result<(), LabError> {
    let _lock = Lock::lab(name)?;
    let mut record = Record::must_load(name)?;
    let machine = record.machine(host)?.clone();
    let disk = Disk::of(&record, &machine.host);
    machine::kill(&record, &machine.host, machine.process, &disk)?;
    record.machine(host)?.process = None;
    record.save()
}

/// Boots a host that has no power, and puts its cable in.
pub fn boot(name: &LabName, host: &str, from: BootFrom) -> Result<(), LabError> {
    let _lock = Lock::lab(name)?;
    let mut record = Record::must_load(name)?;
    let machine = record.machine(host)?.clone();
    if machine::runs(machine.process) && from == BootFrom::ItsDisk {
        return network::set_cable(&machine.host, Cable::Plugged);
    }
    let disk = Disk::of(&record, &machine.host);
    machine::kill(&record, &machine.host, machine.process, &disk)?;
    if from == BootFrom::EmptyDisk {
        disk.wipe()?;
    }
    network::set_cable(&machine.host, Cable::Plugged)?;
    power_on(&mut record, host)?;
    write_known_hosts(&record)?;
    let machine = record.machine(host)?.clone();
    wait_for_all(&record, &[machine])
}

/// One line on standard error.
fn say(text: &str) {
    crate::report::eprintln(text);
}

fn check_computer() -> Result<(), LabError> {
    let unfit = |reason: &str| {
        Err(LabError::Unfit {
            reason: reason.to_owned(),
        })
    };
    if !cfg!(target_os = "linux") {
        return unfit("it is not Linux, and the lab is made of Linux namespaces");
    }
    if !is_root() {
        return unfit("you are not root, who alone may make network namespaces and mounts");
    }
    if !machine::has("apt-get") {
        return unfit("it has no apt-get; the recipes are written for Debian 12");
    }
    Ok(())
}

fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let uids = status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))
        .unwrap_or_default();
    uids.split_whitespace().nth(1) == Some("0")
}

/// The lab of that name, if it runs and is what is asked for. One that died counts as none.
fn living(options: &LabOptions) -> Result<Option<Record>, LabError> {
    let Some(record) = Record::load(&options.name)? else {
        return Ok(None);
    };
    let name = record.name.to_string();
    let services_run = record
        .services
        .iter()
        .all(|service| service.process.is_alive());
    let some_host_runs = record
        .machines
        .iter()
        .any(|machine| machine::runs(machine.process));
    if record.phase == Phase::Starting || !services_run || !some_host_runs {
        return Ok(None);
    }
    if record.state_dir != absolute(&options.state_dir)? {
        return Err(LabError::Elsewhere {
            name,
            state_dir: record.state_dir,
        });
    }
    if record.topology != options.topology
        || record.services.is_empty() != (options.content == Content::HostsOnly)
    {
        let hosts: Vec<_> = record
            .machines
            .iter()
            .map(|machine| machine.host.name.as_str())
            .collect();
        return Err(LabError::OtherHosts {
            name,
            hosts: hosts.join(", "),
        });
    }
    Ok(Some(record))
}

fn absolute(path: &Utf8Path) -> Result<Utf8PathBuf, LabError> {
    camino::absolute_utf8(path).map_err(LabError::file("find", path))
}

/// Boots the hosts that are down and puts all cables in.
fn wake(mut record: Record) -> Result<(), LabError> {
    let down: Vec<String> = record
        .machines
        .iter()
        .filter(|machine| !machine::runs(machine.process))
        .map(|machine| machine.host.name.clone())
        .collect();
    say(&format!(
        "Lab {} is up already; hosts to boot again: {}",
        record.name,
        down.len()
    ));
    for machine in &record.machines {
        network::set_cable(&machine.host, Cable::Plugged)?;
    }
    for name in down {
        power_on(&mut record, &name)?;
    }
    wait_for_all(&record, &record.machines)
}

fn start(options: &LabOptions, base: Utf8PathBuf, stock: Option<&Stock>) -> Result<(), LabError> {
    let left = clear(&options.name)?;
    if left != Cleared::default() {
        say(&format!(
            "Lab {}: cleared what an earlier run left: {left}",
            options.name
        ));
    }
    let mut record = claim(options, base)?;
    write_key(&record)?;
    network::open(&record.name, record.subnet)?;
    if let Some(stock) = stock {
        record.services = service::start(&record, stock)?;
        record.save()?;
    }
    say(&format!(
        "Lab {}: booting {} hosts on {}",
        record.name,
        record.machines.len(),
        record.subnet.network()
    ));
    for host in record.machines.clone() {
        network::plug(&record.name, record.subnet, &host.host)?;
        power_on(&mut record, &host.host.name)?;
    }
    write_state(&record, options.content, stock)?;
    wait_for_all(&record, &record.machines)?;
    record.phase = Phase::Ready;
    record.save()
}

/// Takes a subnet and writes the record that says so, under the lock that all labs share.
fn claim(options: &LabOptions, base: Utf8PathBuf) -> Result<Record, LabError> {
    let _lock = Lock::subnets()?;
    let directory = Record::directory(&options.name);
    fs::create_dir_all(&directory).map_err(LabError::file("create", &directory))?;
    let others = Record::names()
        .iter()
        .filter_map(|name| Record::load(name).ok().flatten())
        .collect::<Vec<_>>();
    let promised: Vec<Subnet> = others.iter().map(|record| record.subnet).collect();
    let subnet = network::free_subnet(&promised)?;
    let machine = |host| Machine {
        host,
        process: None,
    };
    let record = Record {
        format: 1,
        name: options.name.clone(),
        subnet,
        state_dir: absolute(&options.state_dir)?,
        phase: Phase::Starting,
        topology: options.topology,
        base,
        machines: options
            .topology
            .hosts(subnet)
            .into_iter()
            .map(machine)
            .collect(),
        services: Vec::new(),
    };
    record.save()?;
    Ok(record)
}

/// Mounts a host's disk, installs the host if the disk is new, boots it and writes its process down.
fn power_on(record: &mut Record, host: &str) -> Result<(), LabError> {
    let machine = record.machine(host)?.clone();
    let disk = Disk::of(record, &machine.host);
    disk.mount()?;
    if !disk.is_formatted() {
        machine::install(record, &machine.host, &disk)?;
    }
    let process = machine::boot(record, &machine.host, &disk)?;
    record.machine(host)?.process = Some(process);
    record.save()
}

fn wait_for_all(record: &Record, machines: &[Machine]) -> Result<(), LabError> {
    thread::scope(|scope| {
        let waits: Vec<_> = machines
            .iter()
            .filter_map(|machine| machine.process.map(|process| (machine, process)))
            .map(|(machine, process)| {
                scope.spawn(move || machine::wait_until_up(record, &machine.host, process))
            })
            .collect();
        waits
            .into_iter()
            .try_for_each(|wait| wait.join().expect("waiting does not panic"))
    })
}

/// The lab's own key pair, in a directory that only its owner may enter.
fn write_key(record: &Record) -> Result<(), LabError> {
    use std::os::unix::fs::PermissionsExt;

    let directory = &record.state_dir;
    fs::create_dir_all(directory).map_err(LabError::file("create", directory))?;
    fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700))
        .map_err(LabError::file("protect", directory))?;
    let key = directory.join("id_ed25519");
    for old in [key.clone(), directory.join("id_ed25519.pub")] {
        let _ = fs::remove_file(old);
    }
    let comment = format!("quorate lab {}", record.name);
    let arguments = [
        "-q",
        "-t",
        "ed25519",
        "-N",
        "",
        "-C",
        &comment,
        "-f",
        key.as_str(),
    ];
    tool::run("make the lab's key", "ssh-keygen", &arguments).map(drop)
}

fn write_state(record: &Record, content: Content, stock: Option<&Stock>) -> Result<(), LabError> {
    let directory = &record.state_dir;
    if let Some(stock) = stock {
        let place = directory.join("kubernetes.asc");
        fs::copy(stock.key(), &place).map_err(LabError::file("write", &place))?;
    }
    write_known_hosts(record)?;
    let text = inventory::write(record, content, computer());
    record::write_private(&directory.join("inventory.yaml"), &text)
}

fn write_known_hosts(record: &Record) -> Result<(), LabError> {
    let lines = record.machines.iter().filter_map(|machine| {
        let disk = Disk::of(record, &machine.host);
        disk.is_formatted()
            .then(|| machine::known_host(&machine.host, &disk))
    });
    let text = lines.collect::<Result<String, LabError>>()?;
    record::write_private(&record.state_dir.join("known_hosts"), &text)
}

fn computer() -> Computer {
    Computer {
        cgroups: if cgroup::is_unified() {
            CgroupVersion::V2
        } else {
            CgroupVersion::V1
        },
        oom_score: if machine::may_lower_oom_score() {
            OomScore::Free
        } else {
            OomScore::Restricted
        },
        kernel_config: if Utf8Path::new("/proc/config.gz").exists() {
            KernelConfig::Shown
        } else {
            KernelConfig::Hidden
        },
    }
}

/// Removes all that a lab of that name has on this computer, recorded or not.
fn clear(name: &LabName) -> Result<Cleared, LabError> {
    let mut cleared = Cleared::default();
    if let Ok(Some(record)) = Record::load(name) {
        record
            .machines
            .iter()
            .filter_map(|machine| machine.process)
            .for_each(record::kill);
        record
            .services
            .iter()
            .for_each(|service| record::kill(service.process));
    }
    for cgroup in Cgroup::left_by(name) {
        cleared.processes += cgroup.destroy()?;
    }
    let disks = machine::disks(name);
    cleared.mounts = machine::unmount_below(&disks)?;
    cleared.network = network::clear(name)?;
    for directory in [disks, Record::directory(name)] {
        if directory.exists() {
            fs::remove_dir_all(&directory).map_err(LabError::file("remove", &directory))?;
            cleared.directories += 1;
        }
    }
    Ok(cleared)
}

/// How much of a lab there was.
#[derive(Debug, Default, PartialEq, Eq)]
struct Cleared {
    processes: usize,
    mounts: usize,
    network: network::Cleared,
    directories: usize,
}

impl fmt::Display for Cleared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [
            (self.processes, "processes"),
            (self.mounts, "mounts"),
            (self.network.namespaces, "namespaces"),
            (self.network.links, "interfaces"),
            (self.network.rules, "firewall rules"),
            (self.directories, "directories"),
        ];
        let words: Vec<String> = counts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        f.write_str(if words.is_empty() {
            "nothing, there was nothing"
        } else {
            ""
        })?;
        f.write_str(&words.join(", "))
    }
}

fn set_cable(name: &LabName, host: &str, cable: Cable) -> Result<(), LabError> {
    let mut record = Record::must_load(name)?;
    let host = record.machine(host)?.host.clone();
    network::set_cable(&host, cable)
}

fn status(record: &Record, machine: &Machine) -> HostStatus {
    let process = machine.process.filter(|process| process.is_alive());
    let state = match (process, network::cable(&machine.host)) {
        (None, _) => HostState::Stopped,
        (Some(_), Cable::Pulled) => HostState::Cut,
        (Some(_), Cable::Plugged) => HostState::Running,
    };
    HostStatus {
        lab: record.name.clone(),
        host: machine.host.clone(),
        state,
        pid: process.map(|process| process.pid),
        namespace: network::namespace(&record.name, &machine.host.name),
        inventory: record.state_dir.join("inventory.yaml"),
    }
}
