//! `kubernetes-packages`: kubeadm, kubelet and kubectl at the exact version, held there.

use std::time::Duration;

use camino::Utf8Path;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::job::{self, Work};
use super::{Action, ActionError, Change, Check, Context, Effect, service};
use crate::host::command::{Command, Script};
use crate::host::probe::{NotProbed, Probe};
use crate::inventory::PackageSource;
use crate::os::{Family, Hold};

const NAMES: &[&str] = &["kubeadm", "kubelet", "kubectl"];

/// What a host of an external etcd needs: kubeadm makes its certificates.
const ETCD_NAMES: &[&str] = &["kubeadm"];
const UNIT: &str = "kubelet";

/// A host that has this belongs to a cluster.
const MEMBERSHIP: &str = "/etc/kubernetes/kubelet.conf";

const DEADLINE: Duration = Duration::from_secs(30 * 60);

/// What the tools say of their versions, each in a line of its own; an absent tool says nothing.
const VERSIONS: &str = r#"
echo "kubeadm $(kubeadm version -o short 2>/dev/null | head -n 1)"
echo "kubelet $(kubelet --version 2>/dev/null | head -n 1)"
echo "kubectl $(kubectl version --client 2>/dev/null | head -n 1)"
"#;

fn names(cx: &Context<'_>) -> &'static [&'static str] {
    if cx.node.role.is_node() {
        NAMES
    } else {
        ETCD_NAMES
    }
}

/// The three tools at the inventory's version, held, and kubelet enabled; kubeadm alone on a host of etcd's own.
///
/// Another version is replaced only on a host that is not part of a cluster yet: changing a cluster's version is what
/// `quorate upgrade` does. Preinstalled tools are only looked at.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct KubernetesPackages {}

impl Action for KubernetesPackages {
    fn probes(&self, cx: &Context<'_>) -> Vec<Probe> {
        let kubelet = Probe::Unit(UNIT.to_owned());
        if cx.inventory.packages == PackageSource::Preinstalled {
            return vec![kubelet, Probe::Script(versions())];
        }
        let packages = names(cx)
            .iter()
            .map(|name| Probe::Package((*name).to_owned()));
        [Probe::Machine, kubelet, Probe::Digest(MEMBERSHIP.into())]
            .into_iter()
            .chain(packages)
            .collect()
    }

    fn check(&self, cx: &Context<'_>) -> Result<Check, ActionError> {
        let installing = match cx.inventory.packages {
            PackageSource::Preinstalled => verify(cx)?,
            PackageSource::Upstream | PackageSource::Mirror { .. } => installing(cx)?,
        };
        let wants_kubelet = cx.node.role.is_node();
        let enabling =
            (wants_kubelet && !cx.facts().unit(UNIT)?.enabled).then(|| "enable kubelet".to_owned());
        let all: Vec<String> = installing.into_iter().chain(enabling).collect();
        if all.is_empty() {
            return Ok(Check::Satisfied);
        }
        Ok(Check::needed(all.join(", ")))
    }

    async fn apply(&self, effect: &Effect<'_>, _change: &Change) -> Result<(), ActionError> {
        if effect.cx.inventory.packages != PackageSource::Preinstalled {
            install(effect).await?;
        }
        if effect.cx.node.role.is_node() {
            let enable = Command::script(service::run(UNIT, "enable"));
            effect.host.succeed(&enable).await?;
        }
        Ok(())
    }
}

async fn install(effect: &Effect<'_>) -> Result<(), ActionError> {
    if installing(&effect.cx)?.is_none() {
        return Ok(());
    }
    let family = Family::judged(&effect.cx)?;
    let release = effect.cx.inventory.kubernetes.plain();
    let work = Work {
        what: "installing kubeadm, kubelet and kubectl",
        script: family.install_release(&release, names(&effect.cx)),
        files: Vec::new(),
        deadline: DEADLINE,
    };
    job::run(effect, work).await.map(drop)
}

/// What the package manager would have to do.
fn installing(cx: &Context<'_>) -> Result<Option<String>, ActionError> {
    let family = Family::judged(cx)?;
    let wanted = cx.inventory.kubernetes.plain();
    let mut others = Vec::new();
    let mut unheld = Vec::new();
    for name in names(cx) {
        let package = cx.facts().package(name)?;
        match &package.version {
            Some(held) if is_release(held, &wanted) => {
                if family.hold == Hold::Mark && !package.held {
                    unheld.push(*name);
                }
            }
            Some(held) => {
                refuse_in_cluster(name, held, cx)?;
                others.push(format!("{name} (it is {})", crate::text::escape(held)));
            }
            None => others.push((*name).to_owned()),
        }
    }
    if !others.is_empty() {
        return Ok(Some(format!("install {wanted} of {}", others.join(", "))));
    }
    Ok((!unheld.is_empty()).then(|| format!("hold {}", unheld.join(", "))))
}

/// Whether a package version, revision and all, is of this release.
fn is_release(version: &str, release: &str) -> bool {
    version
        .strip_prefix(release)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

fn refuse_in_cluster(name: &str, held: &str, cx: &Context<'_>) -> Result<(), ActionError> {
    if !is_member(cx)? {
        return Ok(());
    }
    let (host, version) = (&cx.node.name, cx.inventory.kubernetes);
    Err(ActionError::Unsafe {
        why: format!(
            "{host} is part of a cluster with {name} {}, and the inventory wants {version}",
            crate::text::escape(held)
        ),
        help: format!(
            "run `quorate upgrade --to {version}`, or name in the inventory the version that the cluster runs"
        ),
    })
}

fn is_member(cx: &Context<'_>) -> Result<bool, NotProbed> {
    let kubeconfig = cx.facts().file(Utf8Path::new(MEMBERSHIP))?;
    Ok(kubeconfig.present().is_some())
}

fn versions() -> Script {
    Script::new("kubernetes-versions", VERSIONS)
}

/// Refuses preinstalled tools of another version; there is never anything to install.
fn verify(cx: &Context<'_>) -> Result<Option<String>, ActionError> {
    let said = &cx.facts().script(&versions())?.stdout;
    let wanted = cx.inventory.kubernetes.to_string();
    let wrong: Vec<String> = names(cx)
        .iter()
        .filter_map(|name| match version_of(name, said) {
            Some(held) if held == wanted => None,
            Some(held) => Some(format!("{name} {held}")),
            None => Some(format!("no {name}")),
        })
        .collect();
    if wrong.is_empty() {
        return Ok(None);
    }
    let host = &cx.node.name;
    Err(ActionError::Unsafe {
        why: format!(
            "{host} should have the tools of {wanted} preinstalled and has {}",
            wrong.join(", ")
        ),
        help: format!("install them on {host}, or let quorate do it: `packages: upstream`"),
    })
}

/// The first version in what a tool said: `v1.36.2` of `Kubernetes v1.36.2`, or of a Go struct.
fn version_of(name: &str, said: &str) -> Option<String> {
    let line = said.lines().find_map(|line| line.strip_prefix(name))?;
    let start = line.find("v1.")?;
    let rest = line.get(start..)?;
    let end = rest.find(|character: char| !character.is_ascii_alphanumeric() && character != '.');
    rest.get(..end.unwrap_or(rest.len())).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::probe::{FileState, Readings, UnitReading};
    use crate::testing::{World, rocky};

    fn enabled() -> Readings {
        let unit = UnitReading {
            exists: true,
            enabled: true,
            ..UnitReading::default()
        };
        Readings::default()
            .with_unit(UNIT, unit)
            .without_file(MEMBERSHIP)
    }

    fn held(version: &str) -> Readings {
        NAMES.iter().fold(enabled(), |readings, name| {
            readings.with_held_package(name, version)
        })
    }

    fn verdict(readings: Readings) -> Result<Option<String>, String> {
        let world = World::new("master1").reading(readings);
        match (KubernetesPackages {}).check(&world.cx()) {
            Ok(Check::Needed(change)) => Ok(Some(change.summary)),
            Ok(Check::Satisfied | Check::Unknown { .. }) => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn any_package_revision_of_the_release_will_do() {
        for version in ["1.36.2-1.1", "1.36.2-150500.2.1", "1.36.2"] {
            assert_eq!(verdict(held(version)), Ok(None), "{version}");
        }
    }

    #[test]
    fn what_is_missing_is_installed() {
        let readings = held("1.36.2-1.1")
            .without_package("kubelet")
            .with_unit(UNIT, UnitReading::default());
        let summary = "install 1.36.2 of kubelet, enable kubelet".to_owned();
        assert_eq!(verdict(readings), Ok(Some(summary)));
    }

    #[test]
    fn another_version_is_replaced_before_the_host_joins() {
        let readings = held("1.36.2-1.1").with_held_package("kubectl", "1.36.20-1.1");
        let summary = "install 1.36.2 of kubectl (it is 1.36.20-1.1)".to_owned();
        assert_eq!(verdict(readings), Ok(Some(summary)));
    }

    #[test]
    fn another_version_in_a_cluster_is_refused() {
        let readings = held("1.35.4-1.1").with_file(MEMBERSHIP, FileState::regular(""));
        let why =
            "master1 is part of a cluster with kubeadm 1.35.4-1.1, and the inventory wants v1.36.2";
        assert_eq!(verdict(readings), Err(why.to_owned()));
    }

    #[test]
    fn a_missing_hold_is_set_where_packages_are_marked() {
        let unheld = || held("1.36.2-1.1").with_package("kubeadm", "1.36.2-1.1");
        assert_eq!(verdict(unheld()), Ok(Some("hold kubeadm".to_owned())));
        assert_eq!(verdict(unheld().with_machine(rocky())), Ok(None));
    }

    #[test]
    fn preinstalled_tools_are_verified_only() {
        let verdict = |said: &str| {
            let readings = enabled().with_script(versions(), 0, said);
            let mut world = World::new("master1").reading(readings);
            world.inventory.packages = PackageSource::Preinstalled;
            let verdict = KubernetesPackages {}.check(&world.cx());
            verdict.map_err(|error| error.to_string())
        };
        let said = "kubeadm v1.36.2\nkubelet Kubernetes v1.36.2\nkubectl Client Version: v1.36.2\n";
        assert_eq!(verdict(said), Ok(Check::Satisfied));
        let said = "kubeadm v1.36.2\nkubelet \n\
                    kubectl Client Version: version.Info{Major:\"1\", GitVersion:\"v1.20.2\", Go:\"x\"}\n";
        let why = "master1 should have the tools of v1.36.2 preinstalled and has no kubelet, kubectl v1.20.2";
        assert_eq!(verdict(said), Err(why.to_owned()));
    }
}
