//! The cluster's lock: one run at a time.

use super::EngineError;
use crate::host::Hosts;
use crate::host::transport::LockGuard;
use crate::inventory::Role;

/// Takes the lock on the load balancers and masters that are connected, in the order of the inventory, so that two runs
/// cannot each hold a half.
pub async fn take(
    hosts: &Hosts,
    cluster: &str,
    owner: &str,
) -> Result<Vec<LockGuard>, EngineError> {
    let mut guards = Vec::new();
    for host in hosts.iter().filter(|host| host.node.role != Role::Worker) {
        let taken = host.transport.lock(cluster, owner).await;
        guards.push(taken.map_err(EngineError::Lock)?);
    }
    Ok(guards)
}

/// Who runs this, for whoever meets the lock: `ops@desk, process 4711, since 2026-11-21T10:04:08Z`.
#[must_use]
pub fn owner() -> String {
    let name = |variable: &str| std::env::var(variable).unwrap_or_default();
    let host = fs_err::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!(
        "{}@{}, process {}, since {:.0}",
        name("USER"),
        host.trim(),
        std::process::id(),
        jiff::Timestamp::now()
    )
}
