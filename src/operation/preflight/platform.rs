//! What the host runs: distribution, init, kernel, cgroups, containerd.

use semver::Version;

use super::{Examined, Severity, Verdict, is_ignored, unless_ignored};
use crate::inventory::Inventory;
use crate::inventory::version::KubeVersion;
use crate::os::{FAMILIES, Family};

/// From this minor on kubelet refuses to start on cgroup v1 unless it is told not to.
const CGROUP_V1_REFUSED: u16 = 35;
/// From this minor on cgroup v1 gets no more than repairs.
const CGROUP_V1_DISCOURAGED: u16 = 31;
/// From this minor on kubelet speaks CRI v1 only.
const CRI_V1: u16 = 26;
/// From this minor on kubelet asks the runtime for its cgroup driver and has no other way.
const RUNTIME_CONFIG: u16 = 38;

pub(super) fn judge(inventory: &Inventory, host: &Examined<'_>, verdict: &mut Verdict) {
    judge_system(host, verdict);
    if !host.node.role.is_node() {
        return;
    }
    judge_modules(host, verdict);
    judge_cgroups(inventory, host, verdict);
    judge_containerd(inventory, host, verdict);
}

fn judge_system(host: &Examined<'_>, verdict: &mut Verdict) {
    let machine = host.machine;
    if Family::of(machine).is_none() {
        let name = [&machine.os_name, &machine.os_id]
            .into_iter()
            .find(|name| !name.is_empty())
            .map_or("unknown", String::as_str);
        let known: Vec<&str> = FAMILIES.iter().map(|family| family.name).collect();
        verdict.refusals.push(host.finding(
            "os",
            format!("the operating system is {}", crate::text::escape(name)),
            format!("use a distribution of these families: {}", known.join(", ")),
        ));
    }
    if machine.init != "systemd" {
        verdict.refusals.push(host.finding(
            "init",
            format!("process 1 is `{}`", crate::text::escape(&machine.init)),
            "boot the host with systemd: services and long jobs run under it",
        ));
    }
}

fn judge_modules(host: &Examined<'_>, verdict: &mut Verdict) {
    let missing: Vec<&str> = host
        .facts
        .missing_modules
        .iter()
        .filter(|module| !host.machine.modules.contains(module))
        .map(String::as_str)
        .collect();
    if missing.is_empty() {
        return;
    }
    verdict.refusals.push(host.finding(
        "kernel-modules",
        format!(
            "the kernel {} has no {}",
            crate::text::escape(&host.machine.kernel),
            missing.join(", ")
        ),
        "install the package with the modules of the running kernel, or boot the kernel that is installed",
    ));
}

fn judge_cgroups(inventory: &Inventory, host: &Examined<'_>, verdict: &mut Verdict) {
    let version = inventory.kubernetes;
    if host.machine.cgroup_v2 || version.minor < CGROUP_V1_DISCOURAGED {
        return;
    }
    if version.minor < CGROUP_V1_REFUSED {
        verdict.warnings.push(host.finding(
            "cgroup",
            "the host uses cgroup v1, which Kubernetes only repairs since 1.31 and refuses from 1.35 on",
            "boot with `systemd.unified_cgroup_hierarchy=1` before the next upgrades",
        ));
        return;
    }
    let is_allowed = inventory
        .kubelet
        .get("failCgroupV1")
        .is_some_and(|value| value == false)
        && is_ignored(inventory, "SystemVerification");
    let severity = if is_allowed {
        Severity::Warn
    } else {
        Severity::Refuse
    };
    verdict.add(
        severity,
        host.finding(
            "cgroup",
            format!("the host uses cgroup v1, on which kubelet {version} does not start"),
            "boot with `systemd.unified_cgroup_hierarchy=1`, or set `kubelet: { failCgroupV1: false }` and `ignore-preflight-errors: [SystemVerification]`",
        ),
    );
}

fn judge_containerd(inventory: &Inventory, host: &Examined<'_>, verdict: &mut Verdict) {
    let Some(containerd) = host.facts.containerd.as_deref().and_then(version_in) else {
        return;
    };
    let version = inventory.kubernetes;
    let Some((severity, needs)) = containerd_misfit(version, &containerd) else {
        return;
    };
    let severity = if severity == Severity::Refuse {
        unless_ignored(inventory, "SystemVerification")
    } else {
        severity
    };
    verdict.add(
        severity,
        host.finding(
            "containerd",
            format!("containerd {containerd} is installed; Kubernetes {version} {needs}"),
            "name a newer package in `containerd: { package: … }` or install one before",
        ),
    );
}

/// What is wrong with that containerd under that Kubernetes; the older refusals are facts, the newer lists are
/// containerd's own support matrix, outside of which things mostly work.
fn containerd_misfit(
    kubernetes: KubeVersion,
    containerd: &Version,
) -> Option<(Severity, &'static str)> {
    let older = |major, minor, patch| *containerd < Version::new(major, minor, patch);
    match kubernetes.minor {
        RUNTIME_CONFIG.. if older(2, 0, 0) => {
            Some((Severity::Refuse, "needs containerd 2.0 or newer"))
        }
        CRI_V1.. if older(1, 6, 0) => Some((Severity::Refuse, "needs containerd 1.6 or newer")),
        36.. if older(2, 2, 0) => Some((Severity::Warn, "is supported on 2.2 and newer")),
        35 if !is_supported(containerd, &[(1, 7, 28), (2, 1, 5), (2, 2, 0)]) => Some((
            Severity::Warn,
            "is supported on 1.7.28, 2.1.5, 2.2 and newer",
        )),
        34 if !is_supported(containerd, &[(1, 7, 28), (2, 0, 6), (2, 1, 3)]) => Some((
            Severity::Warn,
            "is supported on 1.7.28, 2.0.6, 2.1.3 and newer",
        )),
        _ => None,
    }
}

/// Whether the version is a later patch of one of these, or newer than the last.
fn is_supported(version: &Version, floors: &[(u64, u64, u64)]) -> bool {
    let floor = |&(major, minor, patch): &(u64, u64, u64)| Version::new(major, minor, patch);
    floors.iter().map(floor).any(|floor| {
        *version >= floor && (version.major, version.minor) == (floor.major, floor.minor)
    }) || floors
        .last()
        .map(floor)
        .is_some_and(|last| *version >= last)
}

/// The first `X.Y.Z` in a text like `github.com/containerd/containerd 1.6.20~ds1 …`.
fn version_in(text: &str) -> Option<Version> {
    text.split_whitespace().find_map(|word| {
        let word = word.trim_start_matches('v');
        let end = word
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(word.len());
        Version::parse(word.get(..end)?).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::fixture::{Site, checks};

    #[test]
    fn unknown_systems_and_other_inits_are_refused() {
        let mut site = Site::new();
        site.machine("worker1").os_id = "alpine".to_owned();
        site.machine("lb1").init = "init".to_owned();
        assert_eq!(checks(&site.judge().refusals), ["init", "os"]);
        site.machine("worker1").os_like = vec!["debian".to_owned()];
        assert_eq!(checks(&site.judge().refusals), ["init"]);
    }

    #[test]
    fn a_module_is_missing_only_if_it_can_neither_be_loaded_nor_is_there() {
        let mut site = Site::new();
        site.script("worker1", "joined no\nmodule br_netfilter no\n");
        assert_eq!(checks(&site.judge().refusals), [""; 0]);
        site.machine("worker1").modules.clear();
        assert_eq!(checks(&site.judge().refusals), ["kernel-modules"]);
    }

    /// Kubernetes, what the inventory allows, refused, warned.
    #[test]
    fn cgroup_v1_is_judged_by_the_kubernetes_version() {
        for (version, allowed, refused, warned) in [
            ("v1.20.2", false, false, false),
            ("v1.33.0", false, false, true),
            ("v1.36.2", false, true, false),
            ("v1.36.2", true, false, true),
        ] {
            let mut site = Site::new();
            site.inventory.kubernetes = version.parse().expect("a version");
            site.machine("worker1").cgroup_v2 = false;
            if allowed {
                site.inventory.kubelet =
                    serde_json::from_str(r#"{"failCgroupV1": false}"#).expect("JSON");
                site.inventory.kubeadm.ignore_preflight_errors =
                    vec!["SystemVerification".to_owned()];
            }
            let verdict = site.judge();
            assert_eq!(verdict.is_refusal(), refused, "{version}");
            assert_eq!(!verdict.warnings.is_empty(), warned, "{version}");
        }
    }

    #[test]
    fn containerd_is_judged_by_the_kubernetes_version() {
        use Severity::{Refuse, Warn};
        for (kubernetes, containerd, expected) in [
            ("v1.20.2", "1.4.13", None),
            ("v1.26.0", "1.5.18", Some(Refuse)),
            ("v1.33.0", "1.6.20", None),
            ("v1.34.1", "1.7.27", Some(Warn)),
            ("v1.34.1", "1.7.28", None),
            ("v1.34.1", "2.0.5", Some(Warn)),
            ("v1.34.1", "2.3.0", None),
            ("v1.35.0", "2.1.4", Some(Warn)),
            ("v1.35.0", "2.1.5", None),
            ("v1.36.2", "1.6.20", Some(Warn)),
            ("v1.36.2", "2.2.0", None),
            ("v1.38.0", "1.7.28", Some(Refuse)),
        ] {
            let misfit = containerd_misfit(
                kubernetes.parse().expect("a version"),
                &containerd.parse().expect("a version"),
            );
            assert_eq!(
                misfit.map(|(severity, _)| severity),
                expected,
                "{kubernetes} on {containerd}"
            );
        }
    }

    #[test]
    fn finds_the_version_in_what_distributions_print() {
        for (text, version) in [
            (
                "github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u1",
                "1.6.20",
            ),
            (
                "containerd.io v2.2.0 1c4457e00facac03ce1d75f7b6777a7a851e5c41",
                "2.2.0",
            ),
        ] {
            assert_eq!(version_in(text), version.parse().ok());
        }
        assert_eq!(version_in("unknown"), None);
    }
}
