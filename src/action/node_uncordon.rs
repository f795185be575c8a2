//! `node-uncordon`: a cordon of quorate is taken back; anybody else's stays.

use std::io::IsTerminal as _;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Action, ActionError, Change, Check, Context, Effect};
use crate::cluster::api::{self, Request};
use crate::cluster::node;
use crate::cluster::plane::{self, Plane};
use crate::cluster::report;
use crate::cluster::survey;
use crate::host::probe::Probe;

/// Lets pods come to a Node again that a run of quorate cordoned, after a person has said yes where that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NodeUncordon {
    /// Hosts before whose uncordon a person is asked.
    #[serde(default)]
    pub confirm: Vec<String>,
}

impl Action for NodeUncordon {
    fn probes(&self, cx: &Context<'_>) -> Vec<Probe> {
        report::probes(cx.node)
    }

    fn check(&self, cx: &Context<'_>) -> Result<Check, ActionError> {
        let object = plane::own_object(cx.node, cx.facts());
        Ok(match object {
            Some(object) if object.cordoned_by.is_some() => {
                Check::needed(format!("uncordon {}", cx.node.name))
            }
            Some(_) | None => Check::Satisfied,
        })
    }

    async fn apply(&self, effect: &Effect<'_>, _change: &Change) -> Result<(), ActionError> {
        let name = &effect.cx.node.name;
        if self.confirm.contains(name) {
            agree(name.clone()).await?;
        }
        let fleet = survey::survey(effect).await?;
        let plane = Plane::read(effect.cx.inventory, &fleet);
        let master = survey::any(effect, &plane)?;
        let path = format!("/api/v1/nodes/{name}");
        api::succeed(master, &path, Request::MergePatch(&node::uncordon()), 200).await?;
        Ok(())
    }
}

/// Asks the person at the terminal; without one, the run stops here.
async fn agree(name: String) -> Result<(), ActionError> {
    let paused = ActionError::Unsafe {
        why: format!(
            "{name} is upgraded and still cordoned: the run stops here, as it was told to"
        ),
        help: format!("look at {name}; then run the same without pausing there"),
    };
    if !std::io::stdin().is_terminal() {
        return Err(paused);
    }
    crate::report::eprint(&format!(
        "{name} is upgraded and still cordoned. Only `yes` goes on: "
    ));
    let answer = tokio::task::spawn_blocking(|| {
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).map(|_| answer)
    });
    match answer.await {
        Ok(Ok(answer)) if answer.trim() == "yes" => Ok(()),
        _ => Err(paused),
    }
}
