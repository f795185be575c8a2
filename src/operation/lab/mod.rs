//! The lab: real hosts for a real cluster on one computer, without virtual machines, Docker or the internet.
//!
//! Each host is a Debian server booted by `systemd-nspawn` on a network of its own: systemd runs, sshd listens, a
//! virtual address really moves, a cable can be pulled ([`cut`]) and the power can fail ([`kill`]). [`up`] writes an
//! inventory, a key and known hosts that `quorate provision` takes as they are.
//!
//! | concern | file |
//! | --- | --- |
//! | names, addresses, counts | `topology` |
//! | what is built once and cached | `artifacts`, and the recipes in `vagrant/lab` |
//! | bridge, namespaces, cables, the way out | `network` |
//! | disks | `disk` |
//! | booting, power | `machine` |
//! | logging in, waiting until that works | `login` |
//! | what the computer can do | `computer` |
//! | cgroups, and finding what a killed run left | `cgroup`, `gate`, `clear` |
//! | package repository and registry | `service` |
//! | who may touch a lab, and what it consists of | `record` |
//! | inventory, key, known hosts | `inventory`, `state` |
//!
//! # What one must know about such hosts
//!
//! - They share the computer's kernel, clock and page cache: [`kill`] loses processes, not writes, and a time that is
//!   set anywhere is set everywhere. `vm.*` and `kernel.*` sysctls that a host sets (the kubelet does) are the
//!   computer's own. To the kernel all their daemons are one user: `up` raises the inotify limits (128 instances are too
//!   few; kube-proxy then dies of `too many open files`).
//! - They share its disk: the inventory tells the kubelets not to evict pods because others filled it.
//! - Debian puts `127.0.1.1 NAME` into `/etc/hosts`; the lab does, too.
//! - The bridge CNI gives pods a network per node. Pods of other nodes, cluster DNS among them, are reached only where
//!   nodes have routes to each other's pod networks; what has no route is rejected at the bridge.
//! - kubeadm 1.20 adds an etcd member as a voter at once: from the first master's second neighbour on, etcd has no
//!   leader for some seconds, and apiservers of that version may leave watches that were open then silent until they
//!   time out, five to ten minutes later (kubernetes/kubernetes issue 97294). A Service made in that time reaches
//!   kube-proxy and DNS late; nodes and pods do not suffer.
//! - No preflight error needs ignoring where the kernel shows `/proc/config.gz`.
//!
//! # What it costs
//!
//! On two cores: the first build 12 minutes (Kubernetes 10 of them, root file system 1, the rest 1 to 2) and 1.7 GB of
//! cache; after that six hosts with SSH, repository and registry in 2.5 s, one host's reboot in 0.7 s. On them, by
//! hand: packages on four hosts at once 17 s, `kubeadm init` 22 s, joining a master 28 s, joining a worker 9 s.

use camino::Utf8PathBuf;

mod artifacts;
mod cgroup;
mod clear;
mod computer;
mod disk;
mod error;
mod gate;
mod inventory;
mod list;
mod login;
mod machine;
mod network;
mod record;
mod service;
mod state;
mod tool;
mod topology;
mod up;

pub use error::LabError;
pub use inventory::Content;
pub use list::{HostState, HostStatus, list};
pub use topology::{Host, HostRole, LabName, Subnet, Topology};
pub use up::up;

use clear::clear;
use computer::check_computer;
use disk::Disk;
use login::wait_for_login;
use network::Cable;
use record::{Lock, Record};
use service::Stock;
use state::write_known_hosts;
use up::{power_on, wait_for_all};

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

/// What a host finds when it boots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootFrom {
    /// The disk that it had.
    ItsDisk,
    /// An empty disk: the machine was replaced, with a new machine-id and a new host key.
    EmptyDisk,
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

/// The OpenSSH command that logs in to a host; the caller runs it.
pub fn ssh(
    name: &LabName,
    host: &str,
    words: &[String],
) -> Result<std::process::Command, LabError> {
    let mut record = Record::must_load(name)?;
    let host = record.machine(host)?.host.clone();
    let mut ssh = login::ssh_command(&record.state_dir, &host);
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
    power_on(&mut record, host)?;
    write_known_hosts(&record)?;
    let machine = record.machine(host)?.clone();
    match (from, machine.process) {
        (BootFrom::EmptyDisk, _) => wait_for_all(&record, &[machine]),
        // What lies on its disk may have services that cannot start any more.
        (BootFrom::ItsDisk, Some(process)) => wait_for_login(&record, &machine.host, process),
        (BootFrom::ItsDisk, None) => Ok(()),
    }
}

/// One line on standard error.
fn say(text: &str) {
    crate::report::eprintln(text);
}

fn set_cable(name: &LabName, host: &str, cable: Cable) -> Result<(), LabError> {
    let mut record = Record::must_load(name)?;
    let machine = record.machine(host)?;
    if !machine::runs(machine.process) {
        return Err(LabError::NoPower {
            lab: name.to_string(),
            host: host.to_owned(),
        });
    }
    network::set_cable(&machine.host, cable)
}
