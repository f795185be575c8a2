//! A host's disk: a layer of its own on the shared root file system, and what makes it that host's.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;

use super::error::LabError;
use super::record::Record;
use super::tool::{finish, run};
use super::topology::{Host, LabName};

const DISKS: &str = "/var/lib/quorate-lab";

/// Directories that must not lie on overlayfs: containerd puts overlays there itself, etcd wants a real disk.
const REAL_DISK: [&str; 3] = ["containerd", "kubelet", "etcd"];

/// The directory that holds the disks of all hosts of a lab.
pub(super) fn disks(lab: &LabName) -> Utf8PathBuf {
    Utf8Path::new(DISKS).join(lab.as_str())
}

/// A host's disk.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    directory: Utf8PathBuf,
    base: Utf8PathBuf,
}

impl Disk {
    /// The disk of a host of that lab, formatted or not.
    pub(super) fn of(record: &Record, host: &Host) -> Self {
        Self {
            directory: disks(&record.name).join(&host.name),
            base: record.base.clone(),
        }
    }

    /// Where the host's root file system is while it is mounted.
    pub(super) fn root(&self) -> Utf8PathBuf {
        self.directory.join("root")
    }

    /// Whether the host was installed on it.
    pub(super) fn is_formatted(&self) -> bool {
        self.directory.join("upper/etc/machine-id").exists()
    }

    /// Removes everything that was ever written on it.
    pub(super) fn wipe(&self) -> Result<(), LabError> {
        self.unmount()?;
        match fs::remove_dir_all(&self.directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(LabError::file("remove", &self.directory)(error))
            }
            _ => Ok(()),
        }
    }

    /// Mounts the host's layer on the shared root file system, unless it is mounted.
    pub(super) fn mount(&self) -> Result<(), LabError> {
        for part in ["upper", "work", "root"].iter().chain(&REAL_DISK) {
            let path = self.directory.join(part);
            fs::create_dir_all(&path).map_err(LabError::file("create", &path))?;
        }
        if mounts_below(&self.directory).contains(&self.root()) {
            return Ok(());
        }
        let layers = format!(
            "lowerdir={},upperdir={}/upper,workdir={}/work",
            self.base, self.directory, self.directory
        );
        let root = self.root();
        run(
            "mount a host's disk",
            "mount",
            &["-t", "overlay", "quorate-lab", "-o", &layers, root.as_str()],
        )
        .map(drop)
    }

    /// Unmounts it, if it is mounted.
    pub(super) fn unmount(&self) -> Result<(), LabError> {
        unmount_below(&self.directory).map(drop)
    }

    /// What `systemd-nspawn` mounts from beside the layer.
    pub(super) fn binds(&self) -> impl Iterator<Item = String> {
        REAL_DISK
            .map(|part| format!("--bind={}:/var/lib/{part}", self.directory.join(part)))
            .into_iter()
    }
}

/// Unmounts everything below a directory, last mounted first; returns how much there was.
pub(super) fn unmount_below(directory: &Utf8Path) -> Result<usize, LabError> {
    let mut points = mounts_below(directory);
    points.reverse();
    for point in &points {
        run("unmount a host's disk", "umount", &[point])?;
    }
    Ok(points.len())
}

fn mounts_below(directory: &Utf8Path) -> Vec<Utf8PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .map(Utf8PathBuf::from)
        .filter(|point| point.starts_with(directory))
        .collect()
}

/// Installs the host on its mounted disk: who it is, who may log in, and where names are resolved.
pub(super) fn install(record: &Record, host: &Host, disk: &Disk) -> Result<(), LabError> {
    let root = disk.root();
    let id = run("draw a machine-id", "systemd-id128", &["new"])?;
    write(&root, "etc/hostname", &format!("{}\n", host.name), 0o644)?;
    write(
        &root,
        "etc/hosts",
        &format!("127.0.0.1 localhost\n127.0.1.1 {}\n", host.name),
        0o644,
    )?;
    write(&root, "etc/resolv.conf", &resolvers(), 0o644)?;
    make_host_key(&root)?;
    let key = record.state_dir.join("id_ed25519.pub");
    let key = fs::read_to_string(&key).map_err(LabError::file("read", &key))?;
    write(&root, "home/ops/.ssh/authorized_keys", &key, 0o600)?;
    let authorized = root.join("home/ops/.ssh/authorized_keys");
    let reference = format!("--reference={}", root.join("home/ops/.ssh"));
    run(
        "give the operator his keys",
        "chown",
        &[reference.as_str(), authorized.as_str()],
    )?;
    // Last, because it is what makes the disk count as installed.
    write(&root, "etc/machine-id", &id, 0o444)
}

/// The computer's own name servers; a lab host asks whom the computer asks.
fn resolvers() -> String {
    let own = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    own.lines()
        .filter(|line| line.starts_with("nameserver"))
        .flat_map(|line| [line, "\n"])
        .collect()
}

fn make_host_key(root: &Utf8Path) -> Result<(), LabError> {
    let key = root.join("etc/ssh/ssh_host_ed25519_key");
    let mut keygen = Command::new("ssh-keygen");
    keygen.args([
        "-q",
        "-t",
        "ed25519",
        "-N",
        "",
        "-C",
        "",
        "-f",
        key.as_str(),
    ]);
    finish("make a host key", &mut keygen).map(drop)
}

/// The line of `known_hosts` for a host, from its mounted disk.
pub(super) fn known_host(host: &Host, disk: &Disk) -> Result<String, LabError> {
    let path = disk.root().join("etc/ssh/ssh_host_ed25519_key.pub");
    let key = fs::read_to_string(&path).map_err(LabError::file("read", &path))?;
    Ok(format!("{} {}\n", host.address, key.trim()))
}

fn write(root: &Utf8Path, path: &str, text: &str, mode: u32) -> Result<(), LabError> {
    let path = root.join(path);
    fs::remove_file(&path).or_else(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Ok(()),
        _ => Err(LabError::file("replace", &path)(error)),
    })?;
    fs::write(&path, text)
        .and_then(|()| fs::set_permissions(&path, Permissions::from_mode(mode)))
        .map_err(LabError::file("write", &path))
}
