//! The machine probe: as few processes as possible, everything else read by the shell itself.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use super::frame::Frames;
use crate::host::facts::{Interface, Listener, Machine};

/// The sysctl that is the boot id.
pub(crate) const BOOT_ID: &str = "kernel.random.boot_id";

/// Reads the clock before anything is printed, so that the arrival of the first line bounds it.
pub(super) const START: &str = "t=$(date +%s%N)\n";

/// The part of a probe script that reads the machine. Modules that are built in and have no parameters are only looked for
/// where the usual ones are not all loaded.
pub(super) fn script() -> &'static str {
    r#"q machine
r() { v=; IFS= read -r v 2>/dev/null <"$2"; printf '%s %s\n' "$1" "$v"; }
printf 'clock %s\n' "$t"
o=/etc/os-release
[ -e $o ] || o=/usr/lib/os-release
[ ! -e $o ] || while IFS= read -r v; do
case $v in ID=*|ID_LIKE=*|VERSION_ID=*|PRETTY_NAME=*) printf 'os %s\n' "$v";; esac
done <$o
u=$(uname -nrm)
printf 'uname %s\n' "$u"
r machine-id /etc/machine-id
[ ! -r /sys/class/dmi/id/product_uuid ] || r product-uuid /sys/class/dmi/id/product_uuid
r cpus /sys/devices/system/cpu/online
r memory /proc/meminfo
[ ! -e /proc/swaps ] || while read -r v w x y; do printf 'swap %s\n' "$x"; done </proc/swaps
stat -f -c 'disk %a %S' /var/lib
[ ! -e /sys/fs/cgroup/cgroup.controllers ] || printf 'cgroup2\n'
r init /proc/1/comm
ip -br link show 2>/dev/null | while read -r v w x y; do printf 'link %s %s\n' "${{v%%@*}}" "$x"; done
printf 'module %s\n' /sys/module/*
[ ! -d /proc/sys/net/bridge ] || printf 'module br_netfilter\n'
[ ! -e /proc/sys/net/netfilter/nf_conntrack_max ] || printf 'module nf_conntrack\n'
if [ ! -d /sys/module/overlay ] || [ ! -d /sys/module/br_netfilter ]; then
while read -r v w; do case $v$w in *overlay) printf 'module overlay\n';; esac; done </proc/filesystems
set -- $u
[ ! -r "/lib/modules/$2/modules.builtin" ] || cat "/lib/modules/$2/modules.builtin"
set --
fi
q addresses
ip -o -4 addr show 2>/dev/null
if command -v ss >/dev/null; then q listeners; ss -Hltnp; else q sockets; cat /proc/net/tcp /proc/net/tcp6 2>/dev/null; fi
q jobs
for v in /run/systemd/transient/quorate-*; do
[ ! -e "$v" ] || systemctl list-units --plain --no-legend --full 'quorate-*' 2>/dev/null
break
done
"#
}

/// Reads what the script said. The operator's clock is filled in by whoever saw the answer arrive.
pub(super) fn parse(frames: &mut Frames<'_>) -> Result<Machine, String> {
    let mut machine = Machine::default();
    let mut modules = BTreeSet::new();
    for line in frames.expect("machine")?.text().lines() {
        match line.split_once(' ') {
            Some(("module", name)) => drop(modules.insert(module(name))),
            Some((key, value)) => fact(&mut machine, key, value)?,
            None if line == "cgroup2" => machine.cgroup_v2 = true,
            None => drop(modules.insert(module(line))),
        }
    }
    machine.modules = modules.into_iter().collect();
    if machine.hostname.is_empty() || machine.clock_us == 0 {
        return Err("the machine says neither its name nor its time".to_owned());
    }
    addresses(&mut machine, &frames.expect("addresses")?.text());
    let listeners: BTreeSet<Listener> = match frames.accept("listeners") {
        Some(frame) => frame.text().lines().filter_map(listener).collect(),
        None => frames
            .expect("sockets")?
            .text()
            .lines()
            .filter_map(socket)
            .collect(),
    };
    machine.listeners = listeners.into_iter().collect();
    machine.jobs = frames
        .expect("jobs")?
        .text()
        .lines()
        .filter_map(running_unit)
        .collect();
    Ok(machine)
}

fn fact(machine: &mut Machine, key: &str, value: &str) -> Result<(), String> {
    let value = value.trim();
    match key {
        "clock" => machine.clock_us = number(value)? / 1000,
        "os" => os(machine, value),
        "uname" => {
            let mut words = value.split(' ').map(str::to_owned);
            machine.hostname = words.next().unwrap_or_default();
            machine.kernel = words.next().unwrap_or_default();
            machine.architecture = words.next().unwrap_or_default();
        }
        "machine-id" => value.clone_into(&mut machine.machine_id),
        "product-uuid" if !value.is_empty() => machine.product_uuid = Some(value.to_lowercase()),
        "cpus" => machine.cpus = cpus(value)?,
        "memory" => {
            let kilobytes = value.trim_start_matches("MemTotal:").trim_end_matches("kB");
            machine.memory = number(kilobytes.trim())? * 1024;
        }
        "swap" => machine.swap += value.parse::<u64>().unwrap_or(0) * 1024,
        "disk" => {
            let (blocks, size) = value.split_once(' ').ok_or("no free space")?;
            machine.disk_free = number(blocks)?.saturating_mul(number(size)?);
        }
        "init" => value.clone_into(&mut machine.init),
        "link" => link(machine, value),
        _ => {}
    }
    Ok(())
}

fn number(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| format!("`{}` is no number", text.escape_debug()))
}

fn os(machine: &mut Machine, line: &str) {
    let Some((key, value)) = line.split_once('=') else {
        return;
    };
    let value = value.trim_matches(['"', '\'']);
    match key {
        "ID" => value.clone_into(&mut machine.os_id),
        "ID_LIKE" => machine.os_like = value.split_whitespace().map(str::to_owned).collect(),
        "VERSION_ID" => value.clone_into(&mut machine.os_version),
        _ => value.clone_into(&mut machine.os_name),
    }
}

/// `0-3,5` are five.
fn cpus(ranges: &str) -> Result<u32, String> {
    ranges
        .split(',')
        .map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
            last.checked_sub(first)?.checked_add(1)
        })
        .sum::<Option<u32>>()
        .ok_or_else(|| format!("`{}` are no processors", ranges.escape_debug()))
}

fn link(machine: &mut Machine, value: &str) {
    let (name, mac) = value.split_once(' ').unwrap_or((value, ""));
    machine.interfaces.push(Interface {
        name: name.to_owned(),
        mac: mac.to_lowercase(),
        addresses: Vec::new(),
    });
}

/// `/sys/module/overlay` and `kernel/fs/overlayfs/overlay.ko` are `overlay`.
fn module(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.trim_end_matches(".ko").replace('-', "_")
}

/// Lines like `2: eth0    inet 10.77.0.11/24 brd …`.
fn addresses(machine: &mut Machine, text: &str) {
    for line in text.lines() {
        let mut words = line.split_whitespace().skip(1);
        let (Some(name), Some("inet"), Some(address)) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        let name = name.split('@').next().unwrap_or(name);
        let (address, prefix) = address.split_once('/').unwrap_or((address, "32"));
        let (Ok(address), Ok(prefix)) = (address.parse::<Ipv4Addr>(), prefix.parse()) else {
            continue;
        };
        let held = (address, prefix);
        match machine
            .interfaces
            .iter_mut()
            .find(|known| known.name == name)
        {
            Some(known) => known.addresses.push(held),
            None => machine.interfaces.push(Interface {
                name: name.to_owned(),
                mac: String::new(),
                addresses: vec![held],
            }),
        }
    }
}

/// Lines like `LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:(("sshd",pid=1,fd=3))`.
fn listener(line: &str) -> Option<Listener> {
    let port = line.split_whitespace().nth(3)?.rsplit(':').next()?;
    Some(Listener {
        port: port.parse().ok()?,
        process: line
            .split_once("((\"")
            .and_then(|(_, rest)| rest.split('"').next())
            .unwrap_or_default()
            .to_owned(),
    })
}

/// Lines of `/proc/net/tcp`: `0: 00000000:0016 00000000:0000 0A …`; state 0A listens.
fn socket(line: &str) -> Option<Listener> {
    let mut words = line.split_whitespace().skip(1);
    let (local, state) = (words.next()?, words.nth(1)?);
    if state != "0A" {
        return None;
    }
    Some(Listener {
        port: u16::from_str_radix(local.rsplit(':').next()?, 16).ok()?,
        process: String::new(),
    })
}

fn running_unit(line: &str) -> Option<String> {
    let mut words = line.split_whitespace();
    let name = words.next()?;
    let active = words.nth(1)?;
    matches!(
        active,
        "active" | "activating" | "deactivating" | "reloading"
    )
    .then(|| name.to_owned())
}
