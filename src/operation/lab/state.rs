//! What `up` leaves for others: the directory with inventory, key and known hosts.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use fs_err as fs;

use super::disk::{self, Disk};
use super::error::LabError;
use super::inventory::{self, Content};
use super::record::{Record, write_private};
use super::service::Stock;
use super::{computer, tool};

/// The lab's own key pair, in a directory that only its owner may enter.
pub(super) fn write_key(record: &Record) -> Result<(), LabError> {
    let directory = &record.state_dir;
    fs::create_dir_all(directory).map_err(LabError::file("create", directory))?;
    fs::set_permissions(directory, Permissions::from_mode(0o700))
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

pub(super) fn write_state(
    record: &Record,
    content: Content,
    stock: Option<&Stock>,
) -> Result<(), LabError> {
    let directory = &record.state_dir;
    if let Some(stock) = stock {
        let place = directory.join("kubernetes.asc");
        fs::copy(stock.key(), &place).map_err(LabError::file("write", &place))?;
    }
    write_known_hosts(record)?;
    let text = inventory::write(record, content, computer::describe());
    write_private(&directory.join("inventory.yaml"), &text)
}

/// Writes the host keys. The disk of a machine that is off is not mounted: its line stays as it was.
pub(super) fn write_known_hosts(record: &Record) -> Result<(), LabError> {
    let path = record.state_dir.join("known_hosts");
    let earlier = fs::read_to_string(&path).unwrap_or_default();
    let lines = record.machines.iter().filter_map(|machine| {
        let disk = Disk::of(record, &machine.host);
        if !disk.is_formatted() {
            return None;
        }
        if disk.root().join("etc/ssh").exists() {
            return Some(disk::known_host(&machine.host, &disk));
        }
        let begin = format!("{} ", machine.host.address);
        let line = earlier.lines().find(|line| line.starts_with(&begin))?;
        Some(Ok(format!("{line}\n")))
    });
    let text = lines.collect::<Result<String, LabError>>()?;
    write_private(&path, &text)
}
