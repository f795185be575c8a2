//! `node-drain`: the pods of a Node move elsewhere before its kubelet is replaced.

use std::collections::BTreeSet;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{Action, ActionError, Change, Check, Context, Effect};
use crate::cluster::api::{self, Request};
use crate::cluster::drain::{self, Eviction};
use crate::cluster::node::{self, NodeObject};
use crate::cluster::plane::Plane;
use crate::cluster::pod::{Kind, Pod};
use crate::cluster::standing::{self, Standing};
use crate::cluster::survey;
use crate::host::error::HostError;
use crate::host::probe::Probe;

/// Time between two looks at the pods that are still there.
const PAUSE: Duration = Duration::from_secs(1);

/// How long pods that have only just come, from a Node that was drained before perhaps, may take to start before they are asked
/// to go again; half of the drain's time at most.
const ARRIVAL: Duration = Duration::from_secs(60);

/// How long a pod may take to end after it was deleted against its budget, its grace period included.
const FORCED: Duration = Duration::from_secs(5 * 60);

/// How often a Node may have changed between being read and being cordoned.
const CONFLICTS: usize = 8;

/// Cordons a Node whose kubelet is to be replaced and evicts its pods, but for static ones and those of DaemonSets.
///
/// Pods that have only just come are given time to start first: a service whose replicas all moved together is there for a while
/// before they move again, and a kubelet of 1.20 was seen to take 80 s to end a pod that it had not started yet.
///
/// The cordon carries the run's id in an annotation: only such a cordon is taken back. Data in `emptyDir` volumes goes with
/// its pod.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NodeDrain {
    /// What to do with pods that nobody would make again.
    #[serde(default)]
    pub bare_pods: BarePods,
    /// What to do when pods do not leave in time.
    #[serde(default)]
    pub blocked: Blocked,
    /// How long the pods may take to leave, in seconds.
    pub timeout: u64,
}

/// What to do with pods that have no controller.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum BarePods {
    /// Do not begin.
    #[default]
    Stop,
    /// Evict them: they are gone for good.
    Delete,
}

/// What to do when a budget does not let pods go in time.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Blocked {
    /// Stop the run there.
    #[default]
    Stop,
    /// Wait as long as it takes.
    Wait,
    /// Delete the pods against their budget.
    Force,
}

impl Action for NodeDrain {
    fn probes(&self, cx: &Context<'_>) -> Vec<Probe> {
        standing::probes(cx.inventory, cx.node)
    }

    fn check(&self, cx: &Context<'_>) -> Result<Check, ActionError> {
        let needed = |pods: String| Check::needed(format!("drain {}{pods}", cx.node.name));
        let Some(standing) = Standing::read(cx.inventory, cx.node, cx.facts()) else {
            return Ok(needed(String::new()));
        };
        if standing.kubelet_is_at(cx.inventory.kubernetes) {
            return Ok(Check::Satisfied);
        }
        let is_cordoned = standing
            .object
            .as_ref()
            .is_some_and(node::NodeObject::is_cordoned_by_us);
        let leaving = standing.release.leaving().count();
        if is_cordoned && standing.release.pods.is_some() && leaving == 0 {
            return Ok(Check::Satisfied);
        }
        Ok(match standing.release.pods {
            Some(_) => needed(format!(
                " of {}",
                crate::report::lines::count(leaving, "pod")
            )),
            None => needed(String::new()),
        })
    }

    async fn apply(&self, effect: &Effect<'_>, _change: &Change) -> Result<(), ActionError> {
        cordon(effect).await?;
        Draining {
            action: self,
            effect,
            since: Instant::now(),
            told: BTreeSet::new(),
        }
        .run()
        .await
    }
}

/// Cordons the Node unless somebody else has. kubelet changes its Node every few seconds: then it is looked at again.
async fn cordon(effect: &Effect<'_>) -> Result<(), ActionError> {
    let fleet = survey::survey(effect).await?;
    let plane = Plane::read(effect.cx.inventory, &fleet);
    let master = survey::any(effect, &plane)?;
    let name = &effect.cx.node.name;
    let path = format!("/api/v1/nodes/{name}");
    for _ in 0..CONFLICTS {
        let object = api::succeed(master, &path, Request::Get, 200).await?;
        let object = NodeObject::parse(&object.body).ok_or_else(|| HostError::Garbled {
            host: master.node.name.clone(),
            during: format!("GET {path}"),
            reason: "it is no Node".to_owned(),
        })?;
        if object.is_cordoned && object.cordoned_by.is_none() {
            return Err(ActionError::Unsafe {
                why: format!("somebody has cordoned {name} since this run began"),
                help: "a cordon that quorate took over would be undone in the end: ask who cordoned it, uncordon it, then run the same again".to_owned(),
            });
        }
        let patch = node::cordon(&effect.run.to_string(), &object);
        let response = api::succeed(master, &path, Request::MergePatch(&patch), 409).await?;
        if response.code != 409 {
            return Ok(());
        }
    }
    Err(ActionError::Unsafe {
        why: format!("the Node {name} changes faster than it can be cordoned"),
        help: format!(
            "find out who changes it (`kubectl get node {name} --watch`), then run the same again"
        ),
    })
}

/// A drain under way.
struct Draining<'a> {
    action: &'a NodeDrain,
    effect: &'a Effect<'a>,
    since: Instant,
    told: BTreeSet<String>,
}

impl Draining<'_> {
    async fn run(mut self) -> Result<(), ActionError> {
        loop {
            let refused = match self.round().await? {
                Round::Empty => return Ok(()),
                Round::Left(refused) => refused,
            };
            for line in &refused {
                if self.told.insert(line.clone()) {
                    (self.effect.note)(line.clone());
                }
            }
            if self.since.elapsed() > Duration::from_secs(self.action.timeout) {
                match self.action.blocked {
                    Blocked::Wait => {}
                    Blocked::Stop => return Err(self.stuck(&refused)),
                    Blocked::Force if self.since.elapsed() > self.limit() + FORCED => {
                        return Err(self.stuck(&refused));
                    }
                    Blocked::Force => self.force().await?,
                }
            }
            self.effect.host.transport.rest(PAUSE).await;
        }
    }

    fn limit(&self) -> Duration {
        Duration::from_secs(self.action.timeout)
    }

    /// Asks every pod that is still there to go, when all that came lately have had time to start.
    async fn round(&self) -> Result<Round, ActionError> {
        let (master, pods) = self.look().await?;
        if pods.is_empty() {
            return Ok(Round::Empty);
        }
        if let Some(bare) = pods
            .iter()
            .find(|pod| pod.kind == Kind::Bare && self.action.bare_pods == BarePods::Stop)
        {
            return Err(bare_pod(&self.effect.cx.node.name, bare));
        }
        let arriving = pods
            .iter()
            .filter(|pod| pod.is_starting && !pod.is_terminating)
            .map(|pod| format!("{} has only just come: it may start first", pod.label()));
        let arriving: Vec<String> = arriving.collect();
        if !arriving.is_empty() && self.since.elapsed() < ARRIVAL.min(self.limit() / 2) {
            return Ok(Round::Left(arriving));
        }
        let mut refused = Vec::new();
        for pod in &pods {
            if pod.is_terminating {
                refused.push(format!("{} is ending", pod.label()));
                continue;
            }
            if let Eviction::Refused(why) =
                drain::evict(master, pod, self.effect.cx.inventory.kubernetes).await?
            {
                refused.push(format!("{} of {} stays: {why}", pod.label(), pod.made_by()));
            }
        }
        Ok(Round::Left(refused))
    }

    async fn force(&self) -> Result<(), ActionError> {
        let (master, pods) = self.look().await?;
        for pod in pods.iter().filter(|pod| !pod.is_terminating) {
            (self.effect.note)(format!(
                "{} is deleted against its budget, as --blocked-pods force says",
                pod.label()
            ));
            drain::delete(master, pod).await?;
        }
        Ok(())
    }

    /// The pods that have to go, and the master that said so.
    async fn look(&self) -> Result<(&crate::host::Host, Vec<Pod>), ActionError> {
        let fleet = survey::survey(self.effect).await?;
        let plane = Plane::read(self.effect.cx.inventory, &fleet);
        let master = survey::any(self.effect, &plane)?;
        let node = &self.effect.cx.node.name;
        let Some(pods) = drain::pods_on(master, node).await? else {
            return Err(ActionError::Unsafe {
                why: format!("{} does not list the pods on {node}", master.node.name),
                help: "see `quorate status`, then run the same again".to_owned(),
            });
        };
        Ok((master, pods.into_iter().filter(Pod::must_leave).collect()))
    }

    fn stuck(&self, refused: &[String]) -> ActionError {
        let node = &self.effect.cx.node.name;
        ActionError::Unsafe {
            why: format!(
                "the pods on {node} did not leave within {} s: {}",
                self.since.elapsed().as_secs(),
                refused.join("; ")
            ),
            help: format!(
                "{node} stays cordoned by this run and works on; make room for the pods, or say `--blocked-pods wait` or `force`, and run the same again"
            ),
        }
    }
}

enum Round {
    /// Nothing has to go any more.
    Empty,
    /// Pods are still there; why.
    Left(Vec<String>),
}

fn bare_pod(node: &str, pod: &Pod) -> ActionError {
    ActionError::Unsafe {
        why: format!(
            "{} on {node} has no controller that would make it again",
            pod.label()
        ),
        help: "move it, or say `--bare-pods delete` to lose it, and run the same again".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{release, report};
    use crate::host::probe::Readings;
    use crate::testing::World;
    use serde_json::json;

    fn check(node: &serde_json::Value, pods: &serde_json::Value) -> Check {
        let world = World::new("worker1");
        let report = report::script(world.cx().node);
        let release = release::script(world.cx().node);
        let readings = Readings::default()
            .with_script(report, 0, &format!("node 200 {node}\n"))
            .with_script(
                release,
                0,
                &format!("pods 200 {}\n", json!({ "items": pods })),
            );
        let readings = release::PACKAGES.iter().fold(readings, |readings, name| {
            readings.with_package(name, "1.35.1-1.1")
        });
        NodeDrain {
            bare_pods: BarePods::Stop,
            blocked: Blocked::Stop,
            timeout: 60,
        }
        .check(&world.reading(readings).cx())
        .expect("it was read")
    }

    #[test]
    fn a_node_is_drained_when_it_is_cordoned_and_nothing_has_to_leave() {
        let node = |spec: serde_json::Value, annotations: serde_json::Value| json!({ "metadata": { "name": "worker1", "annotations": annotations }, "spec": spec, "status": { "nodeInfo": { "kubeletVersion": "v1.35.1" } } });
        let ours = || {
            node(
                json!({ "unschedulable": true }),
                json!({ "quorate/cordoned-by": "01a1" }),
            )
        };
        let theirs = node(json!({ "unschedulable": true }), json!({}));
        let daemon = json!({ "metadata": { "namespace": "a", "name": "d", "ownerReferences": [{ "kind": "DaemonSet", "name": "d", "controller": true }] } });
        let web = json!({ "metadata": { "namespace": "a", "name": "w", "ownerReferences": [{ "kind": "ReplicaSet", "name": "w", "controller": true }] } });
        assert_eq!(check(&ours(), &json!([daemon])), Check::Satisfied);
        assert_eq!(
            check(&ours(), &json!([daemon, web])),
            Check::needed("drain worker1 of 1 pod")
        );
        assert_eq!(
            check(&theirs, &json!([])),
            Check::needed("drain worker1 of 0 pods")
        );
        assert_eq!(
            check(&node(json!({}), json!({})), &json!([])),
            Check::needed("drain worker1 of 0 pods")
        );
    }
}
