//! One host: systemd booted on its disk by `systemd-nspawn`, and its end.

use fs_err as fs;

use super::cgroup::{self, Cgroup};
use super::disk::Disk;
use super::error::LabError;
use super::gate;
use super::network;
use super::record::{self, Process, Record};
use super::topology::Host;

/// Boots the host on its mounted disk and returns its supervisor.
pub(super) fn boot(record: &Record, host: &Host, disk: &Disk) -> Result<Process, LabError> {
    let console = Record::directory(&record.name).join(format!("{}.console.log", host.name));
    let log = fs::File::create(&console)
        .map_err(LabError::file("create", &console))?
        .into_file();
    let err = log.try_clone().map_err(LabError::file("open", &console))?;
    let mut gate = gate::command();
    gate.arg("setsid")
        .args(nspawn(record, host, disk))
        .stdout(log)
        .stderr(err);
    if !cgroup::is_unified() {
        gate.env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "0");
    }
    // The kubelet sets vm.* and kernel.* sysctls and stops when it may not.
    gate.env("SYSTEMD_NSPAWN_API_VFS_WRITABLE", "yes");
    gate::open(
        &Cgroup::of(&record.name, &host.name),
        &mut gate,
        "systemd-nspawn",
    )
    .map(|child| Process::of(&child))
}

fn nspawn(record: &Record, host: &Host, disk: &Disk) -> Vec<String> {
    let mut words: Vec<String> = [
        "systemd-nspawn",
        "--quiet",
        "--boot",
        "--register=no",
        "--keep-unit",
        "--capability=all",
        "--system-call-filter=@known",
        "--console=passive",
        "--resolv-conf=off",
        "--timezone=off",
        "--link-journal=no",
        "--bind=/dev/kmsg",
    ]
    .map(str::to_owned)
    .into();
    words.push(format!("--directory={}", disk.root()));
    words.push(format!("--machine={}.{}", record.name, host.name));
    words.push(format!("--hostname={}", host.name));
    words.push(format!(
        "--network-namespace-path=/run/netns/{}",
        network::namespace(&record.name, &host.name)
    ));
    words.extend(disk.binds());
    words
}

/// Ends the host like a power cut: every process and its network at once, nothing written back, its disk kept.
pub(super) fn kill(
    record: &Record,
    host: &Host,
    process: Option<Process>,
    disk: &Disk,
) -> Result<(), LabError> {
    if let Some(process) = process {
        record::kill(process);
    }
    Cgroup::of(&record.name, &host.name).destroy()?;
    network::unplug(&record.name, host)?;
    disk.unmount()
}

/// What a host is doing.
pub(super) fn runs(process: Option<Process>) -> bool {
    process.is_some_and(Process::is_alive)
}
