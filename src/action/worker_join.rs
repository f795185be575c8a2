//! `worker-join`: makes a worker part of the cluster, through the virtual IP.
//!
//! | what was read                                                     | what follows     |
//! |-------------------------------------------------------------------|------------------|
//! | no trace of kubeadm                                               | join             |
//! | the cluster's CA, and its Node answers                            | nothing          |
//! | a job of kubeadm runs, or the API does not answer it              | wait             |
//! | a mark of a join, no certificate, no Node                         | reset and join   |
//! | another CA, and that cluster does not answer                      | reset and join   |
//! | another CA, and its Node lives in that cluster                    | refuse           |

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Action, ActionError, Change, Check, Context, Effect};
use crate::cluster::ca::Ca;
use crate::cluster::join;
use crate::cluster::kubeadm;
use crate::cluster::plane::{Member, Plane};
use crate::cluster::report::{self, Answer, Has};
use crate::cluster::survey::{self, Look};
use crate::host::probe::Probe;

/// How long `kubeadm join` may take: images may have to be pulled.
const DEADLINE: Duration = Duration::from_secs(900);

/// How long `kubeadm reset` may take.
const RESET: Duration = Duration::from_secs(300);

/// How long the Node may take to answer.
const SETTLES: Duration = Duration::from_secs(120);

/// Joins as a worker.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct WorkerJoin {}

/// The state of a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum WorkerState {
    /// Nothing was done yet.
    Bare,
    /// Part of the cluster.
    Joined,
    /// A job of an earlier run is still going.
    Job(&'static str),
    /// Everything is in place, but the API does not answer it.
    Waiting,
    /// A join did not finish; why that is known.
    HalfJoined(String),
    /// It belongs to another cluster that lives.
    Foreign(String),
}

impl WorkerState {
    /// Judges a worker by what it says and the cluster's CA, as far as that is known.
    pub(crate) fn of(own: &Member<'_>, cluster: Option<&Ca>) -> Self {
        if let Some(job) = own.jobs.first() {
            return Self::Job(job);
        }
        // kubeadm takes its bootstrap-kubelet.conf back when a join fails and leaves the CA, which the next join refuses.
        if own.is_bare() && own.ca.is_none() && !own.report.has(Has::Joining) {
            return Self::Bare;
        }
        let is_others = match (&own.ca, cluster) {
            (Some(own), Some(cluster)) => !own.is(cluster),
            _ => false,
        };
        match &own.report.node {
            Answer::Http(200, _) if is_others => Self::Foreign(format!(
                "{} is a Node of another cluster, which answers it",
                own.node.name
            )),
            _ if is_others => Self::HalfJoined("it holds the CA of another cluster".to_owned()),
            _ if own.report.has(Has::Joining) => {
                Self::HalfJoined("a kubeadm join did not finish".to_owned())
            }
            Answer::Http(200, _) => Self::Joined,
            Answer::Http(404, _) => Self::HalfJoined("the cluster has no Node of it".to_owned()),
            Answer::Http(401 | 403, _) => {
                Self::HalfJoined("the cluster does not know its certificate".to_owned())
            }
            Answer::Absent => Self::HalfJoined("its kubelet never got a certificate".to_owned()),
            Answer::Http(..) | Answer::Unreachable => Self::Waiting,
        }
    }
}

impl Action for WorkerJoin {
    fn probes(&self, cx: &Context<'_>) -> Vec<Probe> {
        report::probes(cx.node)
    }

    fn check(&self, cx: &Context<'_>) -> Result<Check, ActionError> {
        let name = &cx.node.name;
        let join = || Change::new(format!("join {name} to the cluster {}", cx.inventory.name));
        let Some(own) = Member::read(cx.node, cx.facts()) else {
            return Ok(Check::Needed(join()));
        };
        let cluster = cx.fleet.cluster_ca(cx.inventory);
        Ok(match WorkerState::of(&own, cluster) {
            WorkerState::Joined => Check::Satisfied,
            WorkerState::Bare => Check::Needed(join()),
            WorkerState::Job(job) => {
                Check::Needed(join().found(format!("a {job} of an earlier run is still going")))
            }
            WorkerState::Waiting => Check::Needed(
                Change::new(format!("wait for the API to answer {name}"))
                    .found(format!("{name} has joined, but the API does not answer it")),
            ),
            WorkerState::HalfJoined(why) => Check::Needed(join().found(format!(
                "{name} is half joined ({why}): it is reset and joins again"
            ))),
            WorkerState::Foreign(why) => return Err(foreign(cx, why)),
        })
    }

    async fn apply(&self, effect: &Effect<'_>, _change: &Change) -> Result<(), ActionError> {
        let mut state = look(effect).await?;
        if let WorkerState::Job(job) = state {
            (effect.note)(format!(
                "found a {job} of an earlier run still going: waiting for it"
            ));
            kubeadm::follow(effect, job, DEADLINE).await?;
            state = look(effect).await?;
        }
        match state {
            WorkerState::Joined => return Ok(()),
            WorkerState::Foreign(why) => return Err(foreign(&effect.cx, why)),
            WorkerState::Job(_) | WorkerState::Waiting => {}
            WorkerState::Bare => join_now(effect).await?,
            WorkerState::HalfJoined(why) => {
                (effect.note)(format!(
                    "found a half join ({why}): resetting {}",
                    effect.cx.node.name
                ));
                let reset = (kubeadm::reset(effect.cx.inventory), Vec::new());
                kubeadm::run(effect, "kubeadm-reset", reset, RESET).await?;
                join_now(effect).await?;
            }
        }
        survey::until(
            effect,
            "the API to answer the worker",
            SETTLES,
            |plane, own| {
                let state = own.map(|own| WorkerState::of(own, plane.ca()));
                Ok(match state {
                    Some(WorkerState::Joined) => Look::Done(()),
                    state => Look::NotYet(format!("{state:?}")),
                })
            },
        )
        .await
    }
}

async fn look(effect: &Effect<'_>) -> Result<WorkerState, ActionError> {
    let fleet = survey::survey(effect).await?;
    let plane = Plane::read(effect.cx.inventory, &fleet);
    let own = Member::read(effect.cx.node, fleet.of(&effect.cx.node.name));
    Ok(own.map_or(WorkerState::Bare, |own| WorkerState::of(&own, plane.ca())))
}

async fn join_now(effect: &Effect<'_>) -> Result<(), ActionError> {
    let fleet = survey::survey(effect).await?;
    let plane = Plane::read(effect.cx.inventory, &fleet);
    let own = Member::read(effect.cx.node, fleet.of(&effect.cx.node.name));
    let machine = own.map(|own| own.report.machine_id).unwrap_or_default();
    let no_master = || ActionError::Unsafe {
        why: format!(
            "{} cannot join: no master serves the API",
            effect.cx.node.name
        ),
        help: "select the masters too (`--on`), and look at `quorate status`".to_owned(),
    };
    let seed = survey::seed(effect, &plane).ok_or_else(no_master)?;
    let ca = plane.ca().ok_or_else(no_master)?;
    join::delete_stale_node(effect, seed, &machine).await?;
    join::join(effect, seed, ca, None, DEADLINE).await?;
    Ok(())
}

fn foreign(cx: &Context<'_>, why: String) -> ActionError {
    ActionError::Unsafe {
        why,
        help: format!(
            "if it shall leave that cluster, drain it there, then run `kubeadm reset -f` on {}",
            cx.node.name
        ),
    }
}
