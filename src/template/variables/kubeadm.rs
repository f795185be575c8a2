//! What kubeadm is told beside the plain values of the inventory.

use serde::Serialize;

use crate::inventory::etcd::EtcdPlace;
use crate::inventory::version::KubeadmApi;
use crate::inventory::{Inventory, Node};

/// One etcd member as it must exist in the end, and the certificates that kubeadm makes for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct EtcdMember {
    /// Member name: the node's name.
    pub name: String,
    /// Where clients reach it.
    pub client_url: String,
    /// Where the other members reach it.
    pub peer_url: String,
    /// Names and addresses in its server certificate.
    pub server_sans: Vec<String>,
    /// Names and addresses in its peer certificate.
    pub peer_sans: Vec<String>,
}

/// The members that etcd must have in the end, whatever its topology.
#[must_use]
pub fn etcd_members(inventory: &Inventory) -> Vec<EtcdMember> {
    let places = inventory.etcd_places().into_iter();
    places.map(|place| EtcdMember::of(&place)).collect()
}

/// The member on a host, if it has one.
#[must_use]
pub fn etcd_member(inventory: &Inventory, node: &Node) -> Option<EtcdMember> {
    let places = inventory.etcd_places().into_iter();
    let mut own = places.filter(|place| place.node.name == node.name);
    own.next().map(|place| EtcdMember::of(&place))
}

impl EtcdMember {
    /// As kubeadm's certificate phases make it.
    fn of(place: &EtcdPlace<'_>) -> Self {
        let node = place.node;
        let own = [
            node.name.clone(),
            "localhost".to_owned(),
            node.address.to_string(),
        ];
        let loopback = ["127.0.0.1", "::1"].map(str::to_owned);
        let peer = (place.peer_address != node.address).then(|| place.peer_address.to_string());
        let server_sans = [&own[..], &loopback[..]].concat();
        Self {
            name: node.name.clone(),
            client_url: place.client_url(),
            peer_url: place.peer_url(),
            peer_sans: server_sans.iter().cloned().chain(peer).collect(),
            server_sans,
        }
    }
}

/// The phases to skip, by the command that knows them: kubeadm refuses the name of a phase that the command has not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct SkipPhases {
    /// Phases of `kubeadm init`.
    pub init: Vec<String>,
    /// Phases of `kubeadm join`.
    pub join: Vec<String>,
}

/// Top-level phases of `kubeadm join`, of all supported versions together.
const JOIN_PHASES: [&str; 8] = [
    "preflight",
    "control-plane-prepare",
    "check-etcd",
    "kubelet-start",
    "etcd-join",
    "kubelet-wait-bootstrap",
    "control-plane-join",
    "wait-control-plane",
];

/// Those of them that `kubeadm init` has too.
const SHARED_PHASES: [&str; 3] = ["preflight", "kubelet-start", "wait-control-plane"];

impl SkipPhases {
    pub(super) fn of(phases: &[String]) -> Self {
        let top = |phase: &String| phase.split('/').next().unwrap_or_default().to_owned();
        let pick = |wanted: &dyn Fn(&str) -> bool| {
            phases
                .iter()
                .filter(|phase| wanted(&top(phase)))
                .cloned()
                .collect()
        };
        let is_join = |phase: &str| JOIN_PHASES.contains(&phase);
        Self {
            init: pick(&|phase| !is_join(phase) || SHARED_PHASES.contains(&phase)),
            join: pick(&is_join),
        }
    }
}

/// What `kubeadm init` and `kubeadm join` must be told by flag, because their configuration cannot say it: the phases to
/// skip before v1beta3, and to ignore `all` preflight errors, which kubeadm takes from the command line only.
///
/// All of them may stand beside `--config`. `command` is `init` or `join`.
#[must_use]
pub fn kubeadm_flags(inventory: &Inventory, command: &str) -> Vec<String> {
    let mut flags = Vec::new();
    if ignores_all(inventory) {
        flags.push("--ignore-preflight-errors=all".to_owned());
    }
    if inventory.kubernetes.kubeadm_api() == Some(KubeadmApi::V1Beta2) {
        let SkipPhases { init, join } = SkipPhases::of(&inventory.kubeadm.skip_phases);
        let phases = if command == "join" { join } else { init };
        if !phases.is_empty() {
            flags.push(format!("--skip-phases={}", phases.join(",")));
        }
    }
    flags
}

/// Preflight errors to ignore that may stand in the configuration: none if `all` are ignored by flag, since kubeadm
/// refuses `all` beside others.
pub(super) fn ignored_in_configuration(inventory: &Inventory) -> Vec<String> {
    if ignores_all(inventory) {
        Vec::new()
    } else {
        inventory.kubeadm.ignore_preflight_errors.clone()
    }
}

fn ignores_all(inventory: &Inventory) -> bool {
    inventory
        .kubeadm
        .ignore_preflight_errors
        .iter()
        .any(|error| error.eq_ignore_ascii_case("all"))
}

/// A taint in the form of kubeadm's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct Taint {
    /// `node-role.kubernetes.io/control-plane`.
    pub key: String,
    /// Often there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// `NoSchedule`.
    pub effect: String,
}

/// A node's taints, from `key[=value]:effect`.
pub(super) fn taints(node: &Node) -> Option<Vec<Taint>> {
    let taints = node.taints.as_ref()?;
    Some(taints.iter().map(|taint| Taint::of(taint)).collect())
}

impl Taint {
    fn of(text: &str) -> Self {
        let (rest, effect) = text.rsplit_once(':').unwrap_or((text, "NoSchedule"));
        let (key, value) = match rest.split_once('=') {
            Some((key, value)) => (
                key,
                Some(value.to_owned()).filter(|value| !value.is_empty()),
            ),
            None => (rest, None),
        };
        Self {
            key: key.to_owned(),
            value,
            effect: effect.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_each_command_only_phases_that_it_knows() {
        let words = |phases: &[&str]| phases.iter().map(ToString::to_string).collect::<Vec<_>>();
        let phases = SkipPhases::of(&words(&[
            "addon/kube-proxy",
            "preflight",
            "control-plane-join/mark-control-plane",
        ]));
        assert_eq!(phases.init, ["addon/kube-proxy", "preflight"]);
        assert_eq!(
            phases.join,
            ["preflight", "control-plane-join/mark-control-plane"]
        );
    }

    #[test]
    fn takes_taints_apart() {
        for (text, key, value, effect) in [
            (
                "dedicated=gpu:NoExecute",
                "dedicated",
                Some("gpu"),
                "NoExecute",
            ),
            (
                "example.com/x:NoSchedule",
                "example.com/x",
                None,
                "NoSchedule",
            ),
            ("x=:PreferNoSchedule", "x", None, "PreferNoSchedule"),
        ] {
            let expected = Taint {
                key: key.to_owned(),
                value: value.map(str::to_owned),
                effect: effect.to_owned(),
            };
            assert_eq!(Taint::of(text), expected, "of {text}");
        }
    }
}
