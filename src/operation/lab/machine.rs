//! One host: a disk of its own on the shared root file system, and systemd booted on it by `systemd-nspawn`.

use std::fs::Permissions;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;

use super::cgroup::{self, Cgroup};
use super::error::LabError;
use super::gate;
use super::network;
use super::record::{Process, Record};
use super::tool::{finish, run, succeeds, wait_for};
use super::topology::{Host, LabName};

const DISKS: &str = "/var/lib/quorate-lab";
const BOOT_WITHIN: Duration = Duration::from_secs(120);
const BANNER_WITHIN: Duration = Duration::from_secs(2);

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

    fn binds(&self) -> impl Iterator<Item = String> {
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

/// Waits until the host is up: sshd answers, the operator may log in, and systemd says `running`.
pub(super) fn wait_until_up(
    record: &Record,
    host: &Host,
    process: Process,
) -> Result<(), LabError> {
    let mut said = String::new();
    wait_for(&format!("{} was not up", host.name), BOOT_WITHIN, || {
        if !process.is_alive() {
            return Err(format!(
                "systemd-nspawn ended: {}",
                last_console_line(record, host)
            ));
        }
        banner(host)?;
        said = system_state(record, host)?;
        Ok(())
    })?;
    if said == "running" {
        return Ok(());
    }
    let failed = ssh(
        record,
        host,
        &["systemctl", "--failed", "--plain", "--no-legend"],
    )
    .unwrap_or_default();
    Err(LabError::Late {
        what: format!("{} did not boot cleanly", host.name),
        seconds: BOOT_WITHIN.as_secs(),
        last: format!("{said}: {}", failed.trim()),
    })
}

fn last_console_line(record: &Record, host: &Host) -> String {
    let log = Record::directory(&record.name).join(format!("{}.console.log", host.name));
    let log = fs::read_to_string(log).unwrap_or_default();
    log.lines()
        .last()
        .unwrap_or("(nothing on its console)")
        .to_owned()
}

/// sshd's greeting.
fn banner(host: &Host) -> Result<(), String> {
    let address = SocketAddr::from((host.address, 22));
    let stream =
        TcpStream::connect_timeout(&address, BANNER_WITHIN).map_err(|error| error.to_string())?;
    stream
        .set_read_timeout(Some(BANNER_WITHIN))
        .map_err(|error| error.to_string())?;
    let mut line = String::new();
    BufReader::new(stream)
        .read_line(&mut line)
        .map_err(|error| error.to_string())?;
    if line.starts_with("SSH-") {
        Ok(())
    } else {
        Err(format!("port 22 said `{}`", line.trim()))
    }
}

fn system_state(record: &Record, host: &Host) -> Result<String, String> {
    ssh(
        record,
        host,
        &["systemctl", "is-system-running", "--wait", "||", "true"],
    )
    .map(|state| state.trim().to_owned())
    .map_err(|error| error.to_string())
}

fn ssh(record: &Record, host: &Host, words: &[&str]) -> Result<String, LabError> {
    let mut ssh = ssh_command(&record.state_dir, host);
    ssh.args(["-o", "ConnectTimeout=5", "-o", "BatchMode=yes"])
        .arg(host.address.to_string())
        .args(words);
    finish("log in", &mut ssh)
}

/// OpenSSH's client with the lab's key and known hosts and nobody's own settings; the caller adds address and command.
pub(super) fn ssh_command(state_dir: &Utf8Path, host: &Host) -> Command {
    let mut ssh = Command::new("ssh");
    ssh.args(["-F", "none", "-l", "ops", "-i"])
        .arg(state_dir.join("id_ed25519"))
        .args([
            "-o",
            "IdentitiesOnly=yes",
            "-o",
            "LogLevel=ERROR",
            "-o",
            "StrictHostKeyChecking=yes",
            "-o",
        ])
        .arg(format!(
            "UserKnownHostsFile={}",
            state_dir.join("known_hosts")
        ))
        .args(["-o", &format!("HostKeyAlias={}", host.address)]);
    ssh
}

/// Ends the host like a power cut: every process at once, nothing written back, its disk kept.
pub(super) fn kill(
    record: &Record,
    host: &Host,
    process: Option<Process>,
    disk: &Disk,
) -> Result<(), LabError> {
    if let Some(process) = process {
        super::record::kill(process);
    }
    Cgroup::of(&record.name, &host.name).destroy()?;
    disk.unmount()
}

/// What a host is doing.
pub(super) fn runs(process: Option<Process>) -> bool {
    process.is_some_and(Process::is_alive)
}

/// Whether this computer lets a process lower its OOM score; where not, containerd must not try.
pub(super) fn may_lower_oom_score() -> bool {
    const CAP_SYS_RESOURCE: u64 = 1 << 24;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & CAP_SYS_RESOURCE != 0)
}

/// Whether a tool is there.
pub(super) fn has(program: &str) -> bool {
    succeeds("sh", &["-c", &format!("command -v {program}")])
}
