//! `control-plane-join`: makes a master part of the control plane and its etcd.
//!
//! The states and what follows from each stand in [`MasterState`]. Whatever a dead join left is cleaned first: the member
//! that etcd still lists under the host's own peer URL (removed by a survivor, after quorum was proved), the files (`kubeadm
//! reset`), the Node object. A join begins only when every member of etcd is a started, healthy voter, and has ended only
//! when the new one is too: the play is rolling, so that never two members change at once.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Action, ActionError, Change, Check, Context, Effect, Scope};
use crate::cluster::ca::Ca;
use crate::cluster::etcd::{self, Member as EtcdMember, MemberId};
use crate::cluster::join;
use crate::cluster::kubeadm;
use crate::cluster::kubelet;
use crate::cluster::master::{MasterState, Settling};
use crate::cluster::plane::{Cluster, Etcd, Member, Plane};
use crate::cluster::report;
use crate::cluster::survey::{self, Look};
use crate::host::Host;
use crate::host::command::{Command, Script};
use crate::host::probe::Probe;
use crate::inventory::{EtcdTopology, Role};

use super::control_plane_init::{Founding, with_etcd};

/// A kubelet that was restarted may look at its static pods anew, and the apiserver be away for a moment.
const FLAPS: Duration = Duration::from_secs(60);

/// How long `kubeadm join` may take: images may have to be pulled.
const DEADLINE: Duration = Duration::from_secs(1200);

/// How long `kubeadm reset` may take.
const RESET: Duration = Duration::from_secs(300);

/// How long static pods may take to come up, after a join or a reboot.
const SETTLES: Duration = Duration::from_secs(240);

/// How long etcd may take to be whole before a join is refused.
const WHOLE: Duration = Duration::from_secs(90);

/// How often one apply may clean up and start over.
const ATTEMPTS: usize = 4;

/// Joins the control plane.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ControlPlaneJoin {}

impl Action for ControlPlaneJoin {
    fn probes(&self, cx: &Context<'_>) -> Vec<Probe> {
        report::probes(cx.node)
    }

    fn scope(&self, _cx: &Context<'_>) -> Scope {
        Scope::Cluster
    }

    fn settles_within(&self) -> Duration {
        FLAPS
    }

    fn check(&self, cx: &Context<'_>) -> Result<Check, ActionError> {
        let plane = Plane::read(cx.inventory, cx.fleet);
        let Some(own) = plane.of(&cx.node.name) else {
            return Ok(Check::Needed(change(cx)));
        };
        if is_founder(cx, &plane) {
            return Ok(Check::Satisfied);
        }
        Ok(match MasterState::of(own, &plane) {
            MasterState::Joined => Check::Satisfied,
            MasterState::Bare => Check::Needed(leftovers(cx, &plane, change(cx))),
            MasterState::Settling(what) => Check::Needed(
                Change::new(format!("wait for {} to be part of the control plane", cx.node.name))
                    .found(settling(&what)),
            ),
            MasterState::HalfJoined(why) => Check::Needed(change(cx).found(format!(
                "{} is half joined ({why}): it is reset and joins again",
                cx.node.name
            ))),
            MasterState::Wiped(why) => Check::Needed(change(cx).found(format!(
                "{} has lost its etcd data ({why}): its static pods are stopped, it is reset and joins again",
                cx.node.name
            ))),
            MasterState::Foreign(why) => return Err(foreign(cx, why)),
        })
    }

    async fn apply(&self, effect: &Effect<'_>, _change: &Change) -> Result<(), ActionError> {
        let mut last = String::new();
        for _ in 0..ATTEMPTS {
            let fleet = survey::survey(effect).await?;
            let plane = Plane::read(effect.cx.inventory, &fleet);
            let Some(own) = plane.of(&effect.cx.node.name) else {
                break;
            };
            let state = MasterState::of(own, &plane);
            last = format!("{state:?}");
            match state {
                MasterState::Joined => return Ok(()),
                MasterState::Foreign(why) => return Err(foreign(&effect.cx, why)),
                MasterState::Settling(Settling::Job(job)) => {
                    (effect.note)(format!(
                        "found a {job} of an earlier run still going: waiting for it"
                    ));
                    kubeadm::follow(effect, job, DEADLINE).await?;
                }
                MasterState::Settling(Settling::NodeGone) => {
                    (effect.note)(
                        "found no Node of this master: kubelet makes it again".to_owned(),
                    );
                    kubelet::make_node_again(effect).await?;
                }
                MasterState::Settling(Settling::Refused(why)) => {
                    (effect.note)(format!("found that {why}"));
                    kubelet::start(effect).await?;
                }
                MasterState::Settling(Settling::Pods(_)) => return settle(effect).await,
                MasterState::Bare | MasterState::HalfJoined(_) | MasterState::Wiped(_) => {
                    clean_and_join(effect, own, &state).await?;
                }
            }
        }
        Err(ActionError::Waited {
            what: "the join".to_owned(),
            waited: DEADLINE,
            last,
        })
    }
}

/// Whether this host is the one that founds, so that there is nothing to join for it.
fn is_founder(cx: &Context<'_>, plane: &Plane<'_>) -> bool {
    matches!(Founding::of(cx, plane), Ok(Founding::By(name, _)) if name == cx.node.name)
}

fn change(cx: &Context<'_>) -> Change {
    let change = Change::new(format!(
        "join {} to the control plane, {}",
        cx.node.name,
        with_etcd(cx)
    ));
    match cx.inventory.etcd {
        EtcdTopology::Stacked => change.without_way_back("etcd counts it as a member from here on"),
        EtcdTopology::External(_) => change,
    }
}

/// What a bare host's earlier life left with the others.
fn leftovers(cx: &Context<'_>, plane: &Plane<'_>, change: Change) -> Change {
    let (Etcd::Living(cluster) | Etcd::NoQuorum(cluster)) = plane.etcd() else {
        return change;
    };
    if plane.external.is_some() {
        return change;
    }
    match cluster.members.at(cx.node.address) {
        Some(member) => change.found(format!(
            "etcd lists a member {} ({}) that {} knows nothing of: it is removed",
            member.label(),
            member.id,
            cx.node.name
        )),
        None => change,
    }
}

fn settling(what: &Settling) -> String {
    match what {
        Settling::Job(job) => format!("a {job} of an earlier run is still going"),
        Settling::Refused(why) => format!("everything is in place, but {why}: it is started again"),
        Settling::Pods(why) => format!("everything is in place, but {why} yet"),
        Settling::NodeGone => "its Node object was deleted".to_owned(),
    }
}

fn foreign(cx: &Context<'_>, why: String) -> ActionError {
    ActionError::Unsafe {
        why,
        help: format!(
            "if {0} is yours to use, empty it first: `kubeadm reset -f` and `rm -rf /var/lib/etcd/*` on {0}",
            cx.node.name
        ),
    }
}

/// Cleans what earlier attempts left, waits until etcd is whole, joins, and waits until the new member is.
///
/// Nothing is touched before the others are seen to have a quorum and this host is seen to be in the same state then: what was
/// read while one of them did not answer may take a member of the cluster for a stranger. In another state, nothing is done.
async fn clean_and_join(
    effect: &Effect<'_>,
    own: &Member<'_>,
    state: &MasterState,
) -> Result<(), ActionError> {
    if effect.cx.inventory.etcd == EtcdTopology::Stacked {
        let (cluster, state_now) = living_without_us(effect).await?;
        if state_now != *state {
            return Ok(());
        }
        if matches!(state, MasterState::Wiped(_)) {
            park(effect).await?;
        }
        if let Some(member) = cluster.members.at(effect.cx.node.address) {
            remove_member(effect, &cluster, member).await?;
        }
    }
    if !own.is_bare() {
        (effect.note)(format!("resetting {}", effect.cx.node.name));
        let reset = (kubeadm::reset(effect.cx.inventory), Vec::new());
        kubeadm::run(effect, "kubeadm-reset", reset, RESET).await?;
    }
    whole(effect).await?;
    let fleet = survey::survey(effect).await?;
    let plane = Plane::read(effect.cx.inventory, &fleet);
    let (seed, ca) = seed_of(effect, &plane)?;
    join::delete_stale_node(effect, seed, &own.report.machine_id).await?;
    let applied = plane
        .of(&seed.node.name)
        .and_then(|seed| seed.applied.as_deref());
    join::join(effect, seed, ca, applied, DEADLINE).await?;
    settle(effect).await
}

/// The cluster that this host is to join, one that has a quorum in the eyes of another master, and the state in which this host
/// is beside it.
async fn living_without_us(effect: &Effect<'_>) -> Result<(Cluster, MasterState), ActionError> {
    let node = effect.cx.node;
    let is_other = |member: &MemberId, cluster: &Cluster| {
        let member = cluster.members.with_id(*member);
        member.is_some_and(|member| !member.is_at(node.address))
    };
    let what = "a living etcd on another master";
    survey::until(effect, what, SETTLES, |plane, own| {
        let Some(own) = own else {
            return Ok(Look::NotYet("it was not read".to_owned()));
        };
        Ok(match plane.etcd() {
            Etcd::Living(cluster) if cluster.healthy.iter().any(|id| is_other(id, &cluster)) => {
                let state = MasterState::of(own, plane);
                Look::Done((cluster, state))
            }
            Etcd::Living(_) => Look::NotYet(format!("only {} answers", node.name)),
            Etcd::NoQuorum(cluster) => return Err(no_quorum(effect, &cluster)),
            Etcd::Silent => Look::NotYet("no etcd member answers".to_owned()),
        })
    })
    .await
}

fn no_quorum(effect: &Effect<'_>, cluster: &Cluster) -> ActionError {
    let members: Vec<&str> = cluster.members.0.iter().map(EtcdMember::label).collect();
    ActionError::Unsafe {
        why: format!(
            "etcd has no quorum: of its members {} too few answer, so {} can neither be removed nor added",
            members.join(", "),
            effect.cx.node.name
        ),
        help: "start the masters that are down; if they are lost for good, etcd must be recovered from the survivor's data".to_owned(),
    }
}

fn seed_of<'a, 'p>(
    effect: &Effect<'a>,
    plane: &'p Plane<'_>,
) -> Result<(&'a Host, &'p Ca), ActionError> {
    let unsafe_without = |what: &str| ActionError::Unsafe {
        why: format!(
            "{} cannot join: no other master {what}",
            effect.cx.node.name
        ),
        help: "look at `quorate status`, and at kubelet's journal on the masters".to_owned(),
    };
    let seed = survey::seed(effect, plane)
        .ok_or_else(|| unsafe_without("serves the API and has a healthy etcd"))?;
    let ca = plane.ca().ok_or_else(|| unsafe_without("holds the CA"))?;
    Ok((seed, ca))
}

/// Removes an etcd member, asked of a healthy survivor, if what stays has a quorum; and waits until it is gone.
async fn remove_member(
    effect: &Effect<'_>,
    cluster: &Cluster,
    member: &EtcdMember,
) -> Result<(), ActionError> {
    cluster
        .members
        .safe_to_remove(member.id, &cluster.healthy)
        .map_err(|why| ActionError::Unsafe {
            why: format!(
                "etcd member {} ({}) must not be removed: {why}",
                member.label(),
                member.id
            ),
            help: "bring the other masters back first".to_owned(),
        })?;
    let survivor =
        survivor(effect, cluster, member.id).ok_or_else(|| no_quorum(effect, cluster))?;
    (effect.note)(format!(
        "found etcd member {} ({}) of an earlier join: removed",
        member.label(),
        member.id
    ));
    let output = survivor
        .succeed(&Command::script(etcd::remove_script(
            member.id,
            &effect.cx.inventory.etcd,
        )))
        .await?
        .text();
    let id = member.id;
    survey::until(
        effect,
        "the removal of the etcd member",
        WHOLE,
        |plane, _| {
            Ok(match plane.etcd() {
                Etcd::Living(cluster) if cluster.members.with_id(id).is_none() => Look::Done(()),
                Etcd::Living(_) | Etcd::NoQuorum(_) | Etcd::Silent => {
                    Look::NotYet(crate::text::last_lines(output.as_bytes()))
                }
            })
        },
    )
    .await
}

fn survivor<'a>(effect: &Effect<'a>, cluster: &Cluster, but: MemberId) -> Option<&'a Host> {
    let lives_on = |member: &EtcdMember, host: &Host| {
        host.node.role == Role::Master && member.is_at(host.node.address)
    };
    let healthy = cluster.healthy.iter().filter(|id| **id != but);
    healthy
        .filter_map(|id| cluster.members.with_id(*id))
        .find_map(|member| effect.hosts.iter().find(|host| lives_on(member, host)))
}

/// Waits until every etcd member is a started, healthy voter. A member that has never started and whose host runs no join
/// is what a join that died left: it is removed, since etcd accepts no second learner beside it.
async fn whole(effect: &Effect<'_>) -> Result<(), ActionError> {
    loop {
        let orphan = survey::until(
            effect,
            "etcd to be whole before a join",
            WHOLE,
            |plane, _| {
                Ok(match plane.etcd() {
                    Etcd::Living(cluster) if cluster.troubles().is_empty() => Look::Done(None),
                    Etcd::Living(cluster) => match orphan(plane, &cluster) {
                        Some(member) => Look::Done(Some((cluster.clone(), member))),
                        None => Look::NotYet(cluster.troubles().join("; ")),
                    },
                    Etcd::NoQuorum(cluster) => return Err(no_quorum(effect, &cluster)),
                    Etcd::Silent => Look::NotYet("no etcd member answers".to_owned()),
                })
            },
        )
        .await?;
        let Some((cluster, member)) = orphan else {
            return Ok(());
        };
        remove_member(effect, &cluster, &member).await?;
    }
}

/// A member that never started, of a master that was read and runs no join.
fn orphan(plane: &Plane<'_>, cluster: &Cluster) -> Option<EtcdMember> {
    if plane.external.is_some() {
        return None;
    }
    let is_orphan = |member: &&EtcdMember| {
        let host = plane
            .masters
            .iter()
            .find(|master| member.is_at(master.node.address));
        !member.is_started() && host.is_some_and(|host| host.jobs.is_empty() && host.etcd.is_none())
    };
    cluster.members.0.iter().find(is_orphan).cloned()
}

/// Waits until the host is part of the control plane; a kubelet that refuses its static pods is started again.
async fn settle(effect: &Effect<'_>) -> Result<(), ActionError> {
    let what = format!("{} to be part of the control plane", effect.cx.node.name);
    kubelet::until_admitted(effect, &what, SETTLES, |plane, own| {
        let Some(own) = own else {
            return Ok(Look::NotYet("it was not read".to_owned()));
        };
        Ok(match MasterState::of(own, plane) {
            MasterState::Joined => Look::Done(false),
            MasterState::Settling(Settling::Refused(_)) => Look::Done(true),
            MasterState::Settling(what) => Look::NotYet(settling(&what)),
            MasterState::Foreign(why) => return Err(foreign(&effect.cx, why)),
            state => Look::NotYet(format!("{state:?}")),
        })
    })
    .await
}

const PARK: &str = r#"
parked=/etc/kubernetes/quorate/parked
mkdir -p -m 700 $parked || exit 1
for manifest in /etc/kubernetes/manifests/*.yaml; do
    [ -e "$manifest" ] || continue
    mv -f "$manifest" $parked/ || exit 1
done
"#;

/// Takes the static pods away: they must not found a second cluster on an empty data directory.
async fn park(effect: &Effect<'_>) -> Result<(), ActionError> {
    (effect.note)(format!(
        "found {} without its etcd data: its static pods are stopped, their manifests lie in /etc/kubernetes/quorate/parked",
        effect.cx.node.name
    ));
    effect
        .host
        .succeed(&Command::script(Script::new("park-manifests", PARK)))
        .await?;
    Ok(())
}
