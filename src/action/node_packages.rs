//! `node-packages`: containerd and the programs that kubelet and kube-proxy call.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::packages;
use super::{Action, ActionError, Change, Check, Context, Effect};
use crate::host::probe::Probe;
use crate::inventory::Cni;

/// What kubelet, kube-proxy and kubeadm's preflight look for.
const TOOLS: &[&str] = &[
    "conntrack",
    "socat",
    "ebtables",
    "ethtool",
    "iptables",
    "curl",
    "ca-certificates",
];

/// The packages of a master or worker, the container runtime as the inventory names it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NodePackages {}

impl Action for NodePackages {
    fn probes(&self, cx: &Context<'_>) -> Vec<Probe> {
        packages::probes(&names(cx), cx)
    }

    fn check(&self, cx: &Context<'_>) -> Result<Check, ActionError> {
        packages::check(&names(cx), cx)
    }

    async fn apply(&self, effect: &Effect<'_>, _change: &Change) -> Result<(), ActionError> {
        packages::install(&names(&effect.cx), effect).await
    }
}

fn names(cx: &Context<'_>) -> Vec<String> {
    let runtime = Some(cx.inventory.containerd.package.as_str()).filter(|name| !name.is_empty());
    let plugins = (cx.inventory.cni == Cni::Bridge).then_some("containernetworking-plugins");
    let all = runtime
        .into_iter()
        .chain(TOOLS.iter().copied())
        .chain(plugins);
    all.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::World;

    #[test]
    fn the_inventory_names_the_runtime_and_the_network() {
        let mut world = World::new("master1");
        let plugins = "containernetworking-plugins".to_owned();
        assert!(names(&world.cx()).contains(&"containerd".to_owned()));
        assert!(!names(&world.cx()).contains(&plugins));
        world.inventory.containerd.package = String::new();
        world.inventory.cni = Cni::Bridge;
        assert!(!names(&world.cx()).contains(&"containerd".to_owned()));
        assert!(names(&world.cx()).contains(&plugins));
    }
}
