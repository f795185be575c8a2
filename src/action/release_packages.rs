//! `release-packages`: packages of the release that the cluster is being brought to, on a host that is part of it.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::job::{self, Work};
use super::{Action, ActionError, Change, Check, Context, Effect};
use crate::host::probe::Probe;
use crate::inventory::version::KubeVersion;
use crate::os::Family;

const DEADLINE: Duration = Duration::from_secs(30 * 60);

/// Some of kubeadm, kubelet and kubectl at the release, held there.
///
/// Unlike `kubernetes-packages` it replaces what a member of a cluster runs, so it belongs into an upgrade, after the gates
/// and in the order that the project prescribes: kubeadm first, kubelet after the control plane and the drain.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ReleasePackages {
    /// Which packages.
    pub names: Vec<String>,
}

impl Action for ReleasePackages {
    fn probes(&self, _cx: &Context<'_>) -> Vec<Probe> {
        let packages = self.names.iter().map(|name| Probe::Package(name.clone()));
        std::iter::once(Probe::Machine).chain(packages).collect()
    }

    fn check(&self, cx: &Context<'_>) -> Result<Check, ActionError> {
        let target = cx.inventory.kubernetes;
        let mut others = Vec::new();
        for name in &self.names {
            let version = cx.facts().package(name)?.version.as_deref();
            if version.and_then(KubeVersion::find) != Some(target) {
                let is = version.map_or("absent".to_owned(), crate::text::escape);
                others.push(format!("{name} (it is {is})"));
            }
        }
        if others.is_empty() {
            return Ok(Check::Satisfied);
        }
        Ok(Check::needed(format!(
            "install {} of {}",
            target.plain(),
            others.join(", ")
        )))
    }

    async fn apply(&self, effect: &Effect<'_>, _change: &Change) -> Result<(), ActionError> {
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        let release = effect.cx.inventory.kubernetes.plain();
        let work = Work {
            what: "installing packages of the release",
            script: Family::judged(&effect.cx)?.install_release(&release, &names),
            files: Vec::new(),
            deadline: DEADLINE,
        };
        job::run(effect, work).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::probe::Readings;
    use crate::testing::World;

    #[test]
    fn a_member_of_a_cluster_gets_the_release() {
        let action = ReleasePackages {
            names: vec!["kubeadm".to_owned()],
        };
        let verdict = |readings| {
            action
                .check(&World::new("master1").reading(readings).cx())
                .expect("it was read")
        };
        let old = Readings::default().with_held_package("kubeadm", "1.35.4-1.1");
        assert_eq!(
            verdict(old),
            Check::needed("install 1.36.2 of kubeadm (it is 1.35.4-1.1)")
        );
        assert_eq!(
            verdict(Readings::default().with_held_package("kubeadm", "1.36.2-2.1")),
            Check::Satisfied
        );
    }
}
