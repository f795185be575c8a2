//! Which containerd a host has: its configuration file looks different in 1.x, 2.0 and later.

use crate::host::command::Script;
use crate::host::probe::{Probe, Readings};
use crate::inventory::Containerd;
use crate::inventory::version::KubeVersion;

/// The version of containerd, as far as its configuration depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContainerdVersion {
    /// The `1` of 1.7.28.
    pub major: u16,
    /// The `7` of 1.7.28.
    pub minor: u16,
}

impl ContainerdVersion {
    /// What was read of a host, if containerd is there and was read.
    #[must_use]
    pub fn read(settings: &Containerd, facts: &Readings) -> Option<Self> {
        match probe(settings) {
            Probe::Package(name) => Self::of(facts.package(&name).ok()?.version.as_deref()?),
            Probe::Script(script) => facts
                .script(&script)
                .ok()?
                .success()?
                .split_whitespace()
                .nth(2)
                .and_then(Self::of),
            _ => None,
        }
    }

    /// For a host that has none yet: 2.2 from Kubernetes 1.36, which needs it, else 1.7. A file for 1.x is also understood
    /// by 2.x, not the other way round.
    #[must_use]
    pub fn assumed(kubernetes: KubeVersion) -> Self {
        if kubernetes.minor >= 36 {
            Self { major: 2, minor: 2 }
        } else {
            Self { major: 1, minor: 7 }
        }
    }

    /// Reads a package's or the program's own version: `1.6.20~ds1-1+deb12u3`, `2:2.1.4-1`, `v2.0.0`.
    fn of(text: &str) -> Option<Self> {
        let version = text.rsplit_once(':').map_or(text, |(_, rest)| rest);
        let mut numbers = version
            .trim_start_matches('v')
            .split(|each: char| !each.is_ascii_digit())
            .map(str::parse);
        Some(Self {
            major: numbers.next()?.ok()?,
            minor: numbers.next()?.ok()?,
        })
    }
}

/// The package if quorate installs one, else the program itself.
pub(super) fn probe(settings: &Containerd) -> Probe {
    if settings.package.is_empty() {
        Probe::Script(Script::new("containerd-version", "containerd --version"))
    } else {
        Probe::Package(settings.package.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_versions_as_packages_and_programs_say_them() {
        for (text, expected) in [
            ("1.6.20~ds1-1+deb12u3", Some((1, 6))),
            ("2:2.1.4-1", Some((2, 1))),
            ("v2.0.0", Some((2, 0))),
            ("1.7.28-1~debian.12~bookworm", Some((1, 7))),
            ("", None),
            ("unknown", None),
        ] {
            let read = ContainerdVersion::of(text).map(|version| (version.major, version.minor));
            assert_eq!(read, expected, "of {text:?}");
        }
    }
}
