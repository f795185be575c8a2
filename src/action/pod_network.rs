//! `pod-network`: what gives pods their network.
//!
//! The built-in bridge is a file on every node with the range that the cluster gave it. A manifest is applied once, through
//! the first master that serves, and its digest kept in the ConfigMap `kube-system/quorate-pod-network`, so that it is
//! applied again when it changes and only then.

use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Action, ActionError, Change, Check, Context, Effect, Scope};
use crate::cluster::api::{self, Request};
use crate::cluster::plane::{self, Member, Plane};
use crate::cluster::report::{self, Answer};
use crate::cluster::survey::{self, Look};
use crate::host::command::{Command, Script};
use crate::host::file::RemoteFile;
use crate::host::probe::Probe;
use crate::inventory::{Cni, Role};

/// The bridge's configuration on each node.
const CONFLIST: &str = "/etc/cni/net.d/10-quorate.conflist";

const CONFIG_MAPS: &str = "/api/v1/namespaces/kube-system/configmaps";
const NAME: &str = "quorate-pod-network";

/// How long the controller manager may take to give a node its range.
const RANGE: Duration = Duration::from_secs(120);

/// How long applying a manifest may take.
const APPLY: Duration = Duration::from_secs(180);

/// Gives pods their network.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PodNetwork {}

impl Action for PodNetwork {
    fn probes(&self, cx: &Context<'_>) -> Vec<Probe> {
        let mut probes = report::probes(cx.node);
        match cx.inventory.cni {
            Cni::None => probes.clear(),
            Cni::Bridge => probes.push(Probe::File(CONFLIST.into())),
            Cni::Manifest { .. } if cx.node.role == Role::Master => {
                probes.push(Probe::Script(api::question(cx.node, &path())));
            }
            Cni::Manifest { .. } => {}
        }
        probes
    }

    fn scope(&self, cx: &Context<'_>) -> Scope {
        match cx.inventory.cni {
            Cni::Manifest { .. } if cx.node.role == Role::Master => Scope::Cluster,
            Cni::Manifest { .. } | Cni::Bridge | Cni::None => Scope::Host,
        }
    }

    fn check(&self, cx: &Context<'_>) -> Result<Check, ActionError> {
        match &cx.inventory.cni {
            Cni::None => Ok(Check::Satisfied),
            Cni::Bridge => check_bridge(cx),
            Cni::Manifest { origin, content } => {
                check_manifest(cx, origin, &digest(origin, content.as_deref()))
            }
        }
    }

    async fn apply(&self, effect: &Effect<'_>, _change: &Change) -> Result<(), ActionError> {
        match &effect.cx.inventory.cni {
            Cni::None => Ok(()),
            Cni::Bridge => write_bridge(effect).await,
            Cni::Manifest { origin, content } => {
                apply_manifest(effect, origin, content.as_deref()).await
            }
        }
    }
}

fn path() -> String {
    format!("{CONFIG_MAPS}/{NAME}")
}

/// Of a manifest its text; of a URL the URL, since only the cluster fetches it.
fn digest(origin: &str, content: Option<&str>) -> String {
    crate::text::sha256(content.unwrap_or(origin))
}

fn check_bridge(cx: &Context<'_>) -> Result<Check, ActionError> {
    let node = plane::own_object(cx.node, cx.facts());
    let needed = || Change::new("configure the bridge plug-in").touching(CONFLIST);
    let Some(cidr) = node.and_then(|node| node.pod_cidr) else {
        return Ok(Check::Needed(needed()));
    };
    let held = cx.facts().file(Utf8Path::new(CONFLIST))?;
    let wanted = bridge(cx, &cidr)?;
    if held.text() == Some(&wanted) {
        return Ok(Check::Satisfied);
    }
    Ok(Check::Needed(
        Change::new(format!("configure the bridge plug-in for {cidr}")).touching(CONFLIST),
    ))
}

fn bridge(cx: &Context<'_>, cidr: &str) -> Result<String, ActionError> {
    Ok(cx
        .templates
        .render_with("cni/bridge.conflist", cx, json!({ "pod_cidr": cidr }))?)
}

async fn write_bridge(effect: &Effect<'_>) -> Result<(), ActionError> {
    let what = format!(
        "the cluster to give {} a range of pod addresses",
        effect.cx.node.name
    );
    let cidr = survey::until_own(effect, &what, RANGE, |own| {
        match own
            .and_then(Member::node_object)
            .and_then(|node| node.pod_cidr)
        {
            Some(cidr) => Look::Done(cidr),
            None => Look::NotYet("its Node has none".to_owned()),
        }
    })
    .await?;
    let file = RemoteFile {
        path: Utf8PathBuf::from(CONFLIST),
        content: bridge(&effect.cx, &cidr)?.into_bytes(),
        mode: 0o644,
        owner: "root:root".to_owned(),
        check: None,
        undo: None,
    };
    effect.host.transport.write(&[file]).await?;
    if had_another(&effect.cx) {
        let renew = Script::new("bridge-renew", RENEW).arg(gateway(&cidr));
        effect.host.succeed(&Command::script(renew)).await?;
    }
    Ok(())
}

/// Whether a configuration was there before: that of an earlier range, or of an earlier life of the node.
fn had_another(cx: &Context<'_>) -> bool {
    let held = cx.facts().file(Utf8Path::new(CONFLIST));
    held.is_ok_and(|file| file.present().is_some())
}

/// Removes the bridge of an earlier range: the plug-in refuses one with another address, and makes it anew.
const RENEW: &str = r#"
gateway=$1
held=$(ip -o -4 address show dev cni0 2>/dev/null) || exit 0
case $held in
""|*" $gateway/"*) exit 0 ;;
esac
ip link delete cni0
"#;

/// The address that the plug-in gives the bridge: the first of the range.
fn gateway(cidr: &str) -> String {
    let network = cidr.parse::<ipnetwork::Ipv4Network>();
    network
        .ok()
        .and_then(|network| network.nth(1))
        .map_or_else(String::new, |first| first.to_string())
}

/// Only the first master that serves applies; before any does, the first of all (it will be the one).
fn check_manifest(cx: &Context<'_>, origin: &str, digest: &str) -> Result<Check, ActionError> {
    let plane = Plane::read(cx.inventory, cx.fleet);
    let first = plane.living().chain(&plane.masters).next();
    if first.is_none_or(|first| first.node.name != cx.node.name) {
        return Ok(Check::Satisfied);
    }
    let reading = cx.facts().script(&api::question(cx.node, &path()))?;
    let applied = match Answer::of(&reading.stdout) {
        Answer::Http(200, body) => serde_json::from_str::<Value>(&body)
            .ok()
            .and_then(|map| Some(map.pointer("/data/sha256")?.as_str()? == digest))
            .unwrap_or(false),
        Answer::Http(..) | Answer::Absent | Answer::Unreachable => false,
    };
    Ok(if applied {
        Check::Satisfied
    } else {
        Check::needed(format!("apply the pod network's manifest {origin}"))
    })
}

async fn apply_manifest(
    effect: &Effect<'_>,
    origin: &str,
    content: Option<&str>,
) -> Result<(), ActionError> {
    let kubectl = Command::new("kubectl")
        .args([
            "--kubeconfig",
            "/etc/kubernetes/admin.conf",
            "apply",
            "--server-side",
            "--force-conflicts",
            "-f",
        ])
        .deadline(APPLY);
    let command = match content {
        Some(text) => kubectl.arg("-").stdin(text),
        None => kubectl.arg(origin),
    };
    effect.host.succeed(&command).await?;
    let map = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": NAME, "namespace": "kube-system" },
        "data": { "origin": origin, "sha256": digest(origin, content) },
    });
    let path = format!("{}?fieldManager=quorate&force=true", path());
    api::succeed(effect.host, &path, Request::Apply(&map), 200).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bridge_has_the_first_address_of_its_range() {
        assert_eq!(gateway("10.244.3.0/24"), "10.244.3.1");
        assert_eq!(gateway("nonsense"), "");
    }

    #[test]
    fn a_url_is_known_by_its_name_and_a_file_by_its_text() {
        assert_eq!(
            digest("https://a/b.yaml", None),
            digest("https://a/b.yaml", None)
        );
        assert_ne!(digest("a.yaml", Some("x")), digest("a.yaml", Some("y")));
        assert_eq!(digest("a.yaml", Some("x")), digest("b.yaml", Some("x")));
    }
}
