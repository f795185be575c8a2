//! Booting a lab.

use std::thread;

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;

use super::artifacts::{self, Artifact};
use super::clear::{Cleared, clear};
use super::computer::{check_computer, raise_limits};
use super::disk::{self, Disk};
use super::error::LabError;
use super::inventory::Content;
use super::login::wait_until_up;
use super::machine;
use super::network::{self, Cable};
use super::record::{Lock, Machine, Phase, Record};
use super::service::{self, Stock};
use super::state::{write_key, write_state};
use super::topology::Subnet;
use super::{LabOptions, say};

/// Boots a lab, or boots what is down of one that is there; clears first what a killed run left.
///
/// Returns the path of the inventory.
pub fn up(options: &LabOptions) -> Result<Utf8PathBuf, LabError> {
    options.topology.check()?;
    check_computer()?;
    artifacts::prepare_computer()?;
    let base = artifacts::get(Artifact::Rootfs)?.join("root");
    let stock = match options.content {
        Content::Kubernetes => Some(Stock::prepare()?),
        Content::HostsOnly => None,
    };
    raise_limits()?;
    let _lock = Lock::lab(&options.name)?;
    match living(options)? {
        Some(record) => wake(record)?,
        None => start(options, base, stock.as_ref())?,
    }
    Ok(options.state_dir.join("inventory.yaml"))
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
    let running = |machine: &&Machine| machine::runs(machine.process);
    for machine in record.machines.iter().filter(running) {
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

/// Mounts a host's disk, installs the host if the disk is new, plugs it in, boots it and writes its process down.
pub(super) fn power_on(record: &mut Record, host: &str) -> Result<(), LabError> {
    let machine = record.machine(host)?.clone();
    let disk = Disk::of(record, &machine.host);
    disk.mount()?;
    if !disk.is_formatted() {
        disk::install(record, &machine.host, &disk)?;
    }
    network::unplug(&record.name, &machine.host)?;
    network::plug(&record.name, record.subnet, &machine.host)?;
    let process = machine::boot(record, &machine.host, &disk)?;
    record.machine(host)?.process = Some(process);
    record.save()
}

pub(super) fn wait_for_all(record: &Record, machines: &[Machine]) -> Result<(), LabError> {
    thread::scope(|scope| {
        let waits: Vec<_> = machines
            .iter()
            .filter_map(|machine| machine.process.map(|process| (machine, process)))
            .map(|(machine, process)| {
                scope.spawn(move || wait_until_up(record, &machine.host, process))
            })
            .collect();
        waits
            .into_iter()
            .try_for_each(|wait| wait.join().expect("waiting does not panic"))
    })
}
