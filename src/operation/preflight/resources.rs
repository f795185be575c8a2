//! What the host has: processors, memory, disk.

use super::{Examined, Severity, Verdict, unless_ignored};
use crate::inventory::{EtcdTopology, Inventory, Role};

const MEGABYTE: u64 = 1 << 20;
const GIGABYTE: u64 = 1 << 30;

/// kubeadm's own limits for a control plane.
const MASTER_CPUS: u32 = 2;
const MASTER_MEMORY: u64 = 1700 * MEGABYTE;
/// Less does not hold the system pods and their images.
const WORKER_MEMORY: u64 = 700 * MEGABYTE;
/// Images and etcd do not fit in less.
const DISK_REFUSED: u64 = 2 * GIGABYTE;
/// Logs and one upgrade's images beside the present ones.
const DISK_WARNED: u64 = 10 * GIGABYTE;
/// etcd's own limit for its database unless `quota-backend-bytes` says otherwise.
const ETCD_QUOTA: u64 = 2 * GIGABYTE;
/// The 99th percentile that etcd's authors ask of a disk.
const SYNC_WARNED_US: u64 = 10_000;

pub(super) fn judge(inventory: &Inventory, host: &Examined<'_>, verdict: &mut Verdict) {
    if host.node.role == Role::LoadBalancer {
        return;
    }
    judge_cpus(inventory, host, verdict);
    judge_memory(inventory, host, verdict);
    judge_swap(host, verdict);
    judge_disk(host, verdict);
    if inventory.runs_etcd(host.node) {
        judge_etcd_disk(inventory, host, verdict);
    }
}

fn judge_cpus(inventory: &Inventory, host: &Examined<'_>, verdict: &mut Verdict) {
    if host.node.role != Role::Master || host.machine.cpus >= MASTER_CPUS {
        return;
    }
    verdict.add(
        unless_ignored(inventory, "NumCPU"),
        host.finding(
            "cpu",
            format!(
                "{} processor; a master needs {MASTER_CPUS}",
                host.machine.cpus
            ),
            "give it more, or list `NumCPU` under `kubeadm: { ignore-preflight-errors: … }`",
        ),
    );
}

fn judge_memory(inventory: &Inventory, host: &Examined<'_>, verdict: &mut Verdict) {
    let (needed, severity) = if host.node.role == Role::Master {
        (MASTER_MEMORY, unless_ignored(inventory, "Mem"))
    } else {
        (WORKER_MEMORY, Severity::Warn)
    };
    if host.machine.memory >= needed {
        return;
    }
    verdict.add(
        severity,
        host.finding(
            "memory",
            format!(
                "{} MB of memory; it needs {}",
                host.machine.memory / MEGABYTE,
                needed / MEGABYTE
            ),
            "give it more, or list `Mem` under `kubeadm: { ignore-preflight-errors: … }`",
        ),
    );
}

fn judge_swap(host: &Examined<'_>, verdict: &mut Verdict) {
    if host.machine.swap == 0 {
        return;
    }
    verdict.warnings.push(host.finding(
        "swap",
        format!(
            "{} MB of swap are in use as such",
            host.machine.swap / MEGABYTE
        ),
        "nothing: it is switched off, now and at boot, before kubelet is started",
    ));
}

fn judge_disk(host: &Examined<'_>, verdict: &mut Verdict) {
    let free = host.machine.disk_free;
    let severity = match free {
        // A host that is at work keeps working; the run does not need the space again.
        ..DISK_REFUSED if !host.facts.joined => Severity::Refuse,
        ..DISK_WARNED => Severity::Warn,
        _ => return,
    };
    verdict.add(
        severity,
        host.finding(
            "disk",
            format!(
                "{} free for /var/lib; it should be {}",
                gigabytes(free),
                gigabytes(DISK_WARNED)
            ),
            "make room, or mount a larger file system there",
        ),
    );
}

/// Judged only while there is no member yet: a living one is `status`'s business.
fn judge_etcd_disk(inventory: &Inventory, host: &Examined<'_>, verdict: &mut Verdict) {
    let quota = inventory.etcd_quota().unwrap_or(ETCD_QUOTA);
    if let Some((free, directory)) = host
        .facts
        .etcd_space
        .as_ref()
        .filter(|(free, _)| *free < quota)
    {
        let severity = if *free < ETCD_QUOTA.min(quota) {
            Severity::Refuse
        } else {
            Severity::Warn
        };
        verdict.add(
            severity,
            host.finding(
                "etcd-disk",
                format!(
                    "{} free in {}; etcd's database may grow to {}",
                    gigabytes(*free),
                    crate::text::escape(directory),
                    gigabytes(quota)
                ),
                match inventory.etcd {
                    EtcdTopology::Stacked => {
                        "make room, or lower `kubeadm: { etcd: { quota-backend-bytes: … } }`"
                    }
                    EtcdTopology::External(_) => "make room, or lower `etcd: { quota: … }`",
                },
            ),
        );
    }
    if let Some(sync) = host
        .facts
        .sync
        .as_ref()
        .filter(|sync| sync.us > SYNC_WARNED_US)
    {
        verdict.warnings.push(host.finding(
            "etcd-latency",
            format!(
                "a small write takes {} ms to be on disk in {} ({}); etcd wants at most {} ms",
                sync.us / 1000,
                crate::text::escape(&sync.directory),
                if sync.is_p99 {
                    "99th percentile"
                } else {
                    "mean"
                },
                SYNC_WARNED_US / 1000
            ),
            format!(
                "put {} on a local SSD of its own; on a slow disk leaders change under load",
                inventory.etcd_data_directory()
            ),
        ));
    }
}

fn gigabytes(bytes: u64) -> String {
    format!(
        "{}.{} GB",
        bytes / GIGABYTE,
        bytes % GIGABYTE * 10 / GIGABYTE
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::facts::Machine;
    use crate::operation::fixture::{Site, checks};

    #[test]
    fn too_little_is_refused_on_masters_and_noted_on_workers() {
        type Change = fn(&mut Machine);
        let small: Change = |machine| machine.memory = 600 * MEGABYTE;
        let one_cpu: Change = |machine| machine.cpus = 1;
        let full: Change = |machine| machine.disk_free = GIGABYTE;
        let filling: Change = |machine| machine.disk_free = 5 * GIGABYTE;
        let swap: Change = |machine| machine.swap = GIGABYTE;
        for (host, change, refused, warned) in [
            ("master1", one_cpu, Some("cpu"), None),
            ("worker1", one_cpu, None, None),
            ("master1", small, Some("memory"), None),
            ("worker1", small, None, Some("memory")),
            ("lb1", small, None, None),
            ("master1", full, Some("disk"), None),
            ("worker1", filling, None, Some("disk")),
            ("worker1", swap, None, Some("swap")),
            ("lb1", swap, None, None),
        ] {
            let mut site = Site::new();
            change(site.machine(host));
            let verdict = site.judge();
            assert_eq!(checks(&verdict.refusals), Vec::from_iter(refused), "{host}");
            assert_eq!(checks(&verdict.warnings), Vec::from_iter(warned), "{host}");
        }
    }

    #[test]
    fn what_kubeadm_is_told_to_ignore_is_a_warning() {
        let mut site = Site::new();
        site.inventory.kubeadm.ignore_preflight_errors = vec!["numcpu".to_owned()];
        site.machine("master1").cpus = 1;
        let verdict = site.judge();
        assert!(!verdict.is_refusal());
        assert_eq!(checks(&verdict.warnings), ["cpu"]);
    }

    #[test]
    fn etcds_disk_must_hold_its_quota_and_be_quick() {
        for (said, quota, refused, warned) in [
            (
                "space 20971520 /var/lib/etcd\nsync p99 2000 /var/lib/etcd",
                None,
                None,
                None,
            ),
            ("space 1048576 /var/lib/etcd", None, Some("etcd-disk"), None),
            (
                "space 5242880 /var/lib/etcd",
                Some("8589934592"),
                None,
                Some("etcd-disk"),
            ),
            (
                "sync p99 25000 /var/lib/etcd",
                None,
                None,
                Some("etcd-latency"),
            ),
            (
                "sync mean 11000 /var/lib/etcd",
                None,
                None,
                Some("etcd-latency"),
            ),
        ] {
            let mut site = Site::new();
            site.inventory.kubeadm.etcd.extend(
                quota.map(|quota: &str| ("quota-backend-bytes".to_owned(), quota.to_owned())),
            );
            site.script("master1", &format!("joined no\n{said}\n"));
            let verdict = site.judge();
            assert_eq!(checks(&verdict.refusals), Vec::from_iter(refused), "{said}");
            assert_eq!(checks(&verdict.warnings), Vec::from_iter(warned), "{said}");
        }
    }
}
