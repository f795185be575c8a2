//! Logging in to a host, and waiting until that works.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use camino::Utf8Path;
use fs_err as fs;

use super::error::LabError;
use super::record::{Process, Record};
use super::tool::{finish, wait_for};
use super::topology::Host;

const BOOT_WITHIN: Duration = Duration::from_secs(120);
const BANNER_WITHIN: Duration = Duration::from_secs(2);

/// Waits until sshd answers and the operator may log in.
pub(super) fn wait_for_login(
    record: &Record,
    host: &Host,
    process: Process,
) -> Result<(), LabError> {
    wait_for(&format!("{} was not up", host.name), BOOT_WITHIN, || {
        if !process.is_alive() {
            return Err(format!(
                "systemd-nspawn ended: {}",
                last_console_line(record, host)
            ));
        }
        banner(host)?;
        ssh(record, host, &["true"]).map_err(|error| error.to_string())?;
        Ok(())
    })
}

/// Waits until a machine that was made by us is up: systemd says `running`.
pub(super) fn wait_until_up(
    record: &Record,
    host: &Host,
    process: Process,
) -> Result<(), LabError> {
    wait_for_login(record, host, process)?;
    let said = system_state(record, host)?;
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

fn system_state(record: &Record, host: &Host) -> Result<String, LabError> {
    let ask = ["systemctl", "is-system-running", "--wait", "||", "true"];
    Ok(ssh(record, host, &ask)?.trim().to_owned())
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
