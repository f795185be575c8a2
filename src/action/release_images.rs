//! `release-images`: the images of the release are on the host before anything is stopped.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::job::{self, Work};
use super::{Action, ActionError, Change, Check, Context, Effect};
use crate::cluster::standing::{self, Standing};
use crate::host::command::Script;
use crate::host::probe::Probe;
use crate::inventory::Role;

const DEADLINE: Duration = Duration::from_secs(30 * 60);

/// Lists the images that this host's kubeadm wants for the release `$1` (repository `$2`, or kubeadm's own) and that are not
/// there. `$3`: role; a worker runs kube-proxy and pause only. Nothing is asked while kubeadm is of another release.
macro_rules! missing {
    () => {
        r#"
release=$1 repository=$2 role=$3
wanted() {
    set -- --kubernetes-version "$release"
    [ -z "$repository" ] || set -- "$@" --image-repository "$repository"
    kubeadm config images list "$@" 2>/dev/null |
        if [ "$role" = master ]; then cat; else grep -E '/(kube-proxy|pause):'; fi
}
missing() {
    for image in $(wanted); do
        crictl inspecti "$image" >/dev/null 2>&1 || echo "$image"
    done
}
"#
    };
}

const MISSING: &str = concat!(
    missing!(),
    r#"
[ "$(kubeadm version -o short 2>/dev/null)" = "$release" ] || { echo 'another kubeadm'; exit 0; }
missing
exit 0
"#
);

const PULL: &str = concat!(
    missing!(),
    r#"
for image in $(missing); do
    echo "$image"
    crictl pull "$image" || { sleep 5; crictl pull "$image"; } || exit
done
"#
);

/// The images of the release, pulled.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ReleaseImages {}

fn script(name: &'static str, body: &'static str, cx: &Context<'_>) -> Script {
    let role = if cx.node.role == Role::Master {
        "master"
    } else {
        "worker"
    };
    Script::new(name, body)
        .arg(cx.inventory.kubernetes.to_string())
        .arg(cx.inventory.images.repository.clone().unwrap_or_default())
        .arg(role)
}

fn missing(cx: &Context<'_>) -> Script {
    script("release-images-missing", MISSING, cx)
}

impl Action for ReleaseImages {
    fn probes(&self, cx: &Context<'_>) -> Vec<Probe> {
        let mut probes = standing::probes(cx.inventory, cx.node);
        probes.push(Probe::Script(missing(cx)));
        probes
    }

    fn check(&self, cx: &Context<'_>) -> Result<Check, ActionError> {
        // A host that has the release runs its images; what the kubelet clears away later is not fetched again.
        let standing = Standing::read(cx.inventory, cx.node, cx.facts());
        if standing.is_some_and(|standing| standing.is_at(cx.inventory.kubernetes)) {
            return Ok(Check::Satisfied);
        }
        let missing = &cx.facts().script(&missing(cx))?.stdout;
        Ok(match missing.lines().count() {
            0 => Check::Satisfied,
            _ => Check::needed(format!("pull the images of {}", cx.inventory.kubernetes)),
        })
    }

    async fn apply(&self, effect: &Effect<'_>, _change: &Change) -> Result<(), ActionError> {
        let work = Work {
            what: "pulling images",
            script: script("release-images-pull", PULL, &effect.cx),
            files: Vec::new(),
            deadline: DEADLINE,
        };
        job::run(effect, work).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_posix_shell() {
        for body in [MISSING, PULL] {
            let checked = std::process::Command::new("sh")
                .args(["-n", "-c", body])
                .status();
            assert!(checked.expect("there is a shell").success(), "{body}");
        }
    }
}
