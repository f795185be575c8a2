//! `no-join-material`: nothing that lets a host join is left behind.
//!
//! Every join deletes its own token, so this finds only what a run that was killed left: quorate's bootstrap tokens (known by
//! their name alone), the Secret `kubeadm-certs` with the cluster's CA keys, and configurations of jobs that ended.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Action, ActionError, Change, Check, Context, Effect, Scope};
use crate::cluster::api::{self, Request};
use crate::cluster::join::TOKEN_PREFIX;
use crate::cluster::plane::Plane;
use crate::cluster::report::{self, Answer};
use crate::host::command::{Command, Script};
use crate::host::probe::Probe;

const SECRETS: &str = "/api/v1/namespaces/kube-system/secrets";
const CERTS: &str = "kubeadm-certs";

/// Private directories of kubeadm's jobs whose unit no longer runs.
const FILES: &str = r"
for job in kubeadm-init kubeadm-join; do
    directory=/run/quorate/jobs/$job/private
    if [ -d $directory ] && ! systemctl is-active --quiet quorate-$job.service; then
        echo $directory
    fi
done
exit 0
";

const REMOVE: &str = r#"
for directory in "$@"; do
    rm -rf -- "$directory" || exit 1
done
"#;

/// Removes join material.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NoJoinMaterial {}

impl Action for NoJoinMaterial {
    fn probes(&self, cx: &Context<'_>) -> Vec<Probe> {
        let mut probes = report::probes(cx.node);
        probes.push(Probe::Script(files()));
        probes.push(Probe::Script(secrets(cx)));
        probes
    }

    fn scope(&self, _cx: &Context<'_>) -> Scope {
        Scope::Cluster
    }

    fn check(&self, cx: &Context<'_>) -> Result<Check, ActionError> {
        let found = Found::read(cx)?;
        let things: Vec<&String> = found.secrets.iter().chain(&found.directories).collect();
        if things.is_empty() {
            return Ok(Check::Satisfied);
        }
        let change = Change::new("remove join material of a run that was cut off");
        Ok(Check::Needed(
            things.into_iter().fold(change, |change, thing| {
                change.found(format!("{thing} was left on {}", cx.node.name))
            }),
        ))
    }

    async fn apply(&self, effect: &Effect<'_>, _change: &Change) -> Result<(), ActionError> {
        let found = Found::read(&effect.cx)?;
        for name in found.secrets {
            api::succeed(
                effect.host,
                &format!("{SECRETS}/{name}"),
                Request::Delete,
                404,
            )
            .await?;
        }
        if !found.directories.is_empty() {
            let script = Script::new("join-material-remove", REMOVE);
            let command = found
                .directories
                .into_iter()
                .fold(Command::script(script), Command::arg);
            effect.host.succeed(&command).await?;
        }
        Ok(())
    }
}

fn files() -> Script {
    Script::new("join-material", FILES)
}

fn secrets(cx: &Context<'_>) -> Script {
    api::question(cx.node, SECRETS)
}

/// What was left.
struct Found {
    secrets: Vec<String>,
    directories: Vec<String>,
}

impl Found {
    /// Each host answers for its own files, the first master that serves for the cluster's Secrets.
    fn read(cx: &Context<'_>) -> Result<Self, ActionError> {
        let plane = Plane::read(cx.inventory, cx.fleet);
        let is_first = plane
            .living()
            .next()
            .is_some_and(|first| first.node.name == cx.node.name);
        let answer = Answer::of(&cx.facts().script(&secrets(cx))?.stdout);
        let directories = &cx.facts().script(&files())?.stdout;
        Ok(Self {
            secrets: if is_first { names(&answer) } else { Vec::new() },
            directories: directories.lines().map(str::to_owned).collect(),
        })
    }
}

/// The Secrets that let a host join.
fn names(answer: &Answer) -> Vec<String> {
    let list: Option<Value> = answer
        .body()
        .and_then(|body| serde_json::from_str(body).ok());
    let items = list.as_ref().and_then(|list| list.get("items")?.as_array());
    let is_material = |name: &&str| {
        *name == CERTS || name.starts_with(&format!("bootstrap-token-{TOKEN_PREFIX}"))
    };
    let names = items.into_iter().flatten();
    names
        .filter_map(|item| item.pointer("/metadata/name")?.as_str())
        .filter(is_material)
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_quorates_tokens_and_uploaded_keys_are_join_material() {
        let names = [
            "bootstrap-token-abcdef",
            "bootstrap-token-quo7f2",
            "kubeadm-certs",
            "quo",
        ];
        let items: Vec<Value> = names
            .iter()
            .map(|name| serde_json::json!({ "metadata": { "name": name } }))
            .collect();
        let body = serde_json::json!({ "items": items }).to_string();
        assert_eq!(
            super::names(&Answer::Http(200, body)),
            ["bootstrap-token-quo7f2", "kubeadm-certs"]
        );
        assert!(super::names(&Answer::Http(403, "{}".to_owned())).is_empty());
        assert!(super::names(&Answer::Http(200, "{".to_owned())).is_empty());
    }
}
