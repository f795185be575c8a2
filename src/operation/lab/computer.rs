//! What the computer itself can and cannot do.

use camino::Utf8Path;
use fs_err as fs;

use super::cgroup;
use super::error::LabError;
use super::inventory::{CgroupVersion, Computer, KernelConfig, OomScore};
use super::tool::succeeds;

/// Refuses where no lab can run.
pub(super) fn check_computer() -> Result<(), LabError> {
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
    if !has("apt-get") {
        return unfit("it has no apt-get; the recipes are written for Debian 12");
    }
    Ok(())
}

/// Raises what the kernel counts per user: all hosts' daemons are the same root to it, and the kubelets, containerds and
/// kube-proxies of six hosts need more inotify instances than the 128 that it grants one user.
pub(super) fn raise_limits() -> Result<(), LabError> {
    for (limit, least) in [
        ("max_user_instances", 8192),
        ("max_user_watches", 1_048_576),
    ] {
        let path = format!("/proc/sys/fs/inotify/{limit}");
        let now = fs::read_to_string(&path).map_err(LabError::file("read", &path))?;
        if now.trim().parse::<u32>().is_ok_and(|now| now < least) {
            fs::write(&path, least.to_string()).map_err(LabError::file("raise", &path))?;
        }
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

/// Whether this computer lets a process lower its OOM score; where not, containerd must not try.
fn may_lower_oom_score() -> bool {
    const CAP_SYS_RESOURCE: u64 = 1 << 24;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & CAP_SYS_RESOURCE != 0)
}

/// Whether a tool is there.
fn has(program: &str) -> bool {
    succeeds("sh", &["-c", &format!("command -v {program}")])
}

/// What the inventory must say about this computer.
pub(super) fn describe() -> Computer {
    Computer {
        cgroups: if cgroup::is_unified() {
            CgroupVersion::V2
        } else {
            CgroupVersion::V1
        },
        oom_score: if may_lower_oom_score() {
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
