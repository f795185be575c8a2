//! Clocks of the hosts against each other.
//!
//! etcd complains when two members' clocks differ by more than a second, leases and events are stamped with them, and a
//! certificate is not valid before the clock of its maker (kubeadm backdates its CAs by five minutes, kubelet's are not). So a
//! second is refused, a quarter of one is worth a warning. What matters is the offset between hosts, not whether some
//! daemon claims to be in step; and only what is left after the uncertainty of both measurements counts.

use super::{Examined, Finding, Severity, Verdict};

/// Microseconds from which a difference is refused.
const REFUSED_US: i64 = 1_000_000;
/// Microseconds from which it is a warning.
const WARNED_US: i64 = 250_000;

pub(super) fn judge(hosts: &[Examined<'_>], verdict: &mut Verdict) {
    let behind = hosts.iter().min_by_key(|host| latest(host));
    let ahead = hosts.iter().max_by_key(|host| earliest(host));
    let Some((behind, ahead)) = behind.zip(ahead) else {
        return;
    };
    let apart = earliest(ahead).saturating_sub(latest(behind));
    let severity = match apart {
        REFUSED_US.. => Severity::Refuse,
        WARNED_US.. => Severity::Warn,
        _ => return,
    };
    verdict.add(
        severity,
        Finding {
            host: format!("{},{}", ahead.node.name, behind.node.name),
            check: "clock",
            what: format!(
                "the clock of {} is at least {} ms ahead of that of {}",
                ahead.node.name,
                apart / 1000,
                behind.node.name
            ),
            help: "run chrony or systemd-timesyncd on every host, against the same servers, and wait until `timedatectl` says synchronized".to_owned(),
        },
    );
}

/// The least that the host's clock can be ahead of ours.
fn earliest(host: &Examined<'_>) -> i64 {
    host.machine.clock_offset_us().saturating_sub(error(host))
}

/// The most that it can be.
fn latest(host: &Examined<'_>) -> i64 {
    host.machine.clock_offset_us().saturating_add(error(host))
}

fn error(host: &Examined<'_>) -> i64 {
    i64::try_from(host.machine.clock_error_us).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::indexing_slicing, reason = "tests")]
    use crate::operation::fixture::{Site, checks};

    /// Offset of one host, microseconds, error of its reading, and what is said.
    #[test]
    fn counts_only_what_the_measurement_cannot_explain() {
        for (offset, error, refused, warned) in [
            (0, 5_000, false, false),
            (200_000, 5_000, false, false),
            (300_000, 5_000, false, true),
            (300_000, 100_000, false, false),
            (1_200_000, 5_000, true, false),
            (1_200_000, 400_000, false, true),
        ] {
            let mut site = Site::new();
            site.machine("master2").clock_us += offset;
            site.machine("master2").clock_error_us = error;
            let verdict = site.judge();
            assert_eq!(checks(&verdict.refusals).contains(&"clock"), refused);
            assert_eq!(checks(&verdict.warnings).contains(&"clock"), warned);
        }
    }

    #[test]
    fn names_who_is_ahead_of_whom() {
        let mut site = Site::new();
        site.machine("lb1").clock_us -= 3_000_000;
        let verdict = site.judge();
        assert!(
            verdict.refusals[0]
                .what
                .ends_with("ms ahead of that of lb1")
        );
    }
}
