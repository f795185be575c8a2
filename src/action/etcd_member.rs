//! `etcd-member`: a member of an external etcd as it should be: part of the cluster, running, with the configuration that lies
//! there. The play is rolling, so that never two members are disturbed at once.
//!
//! What is missing is added: whatever the list has at its peer URL is removed (by a survivor, after quorum was proved), data
//! that belongs to no member is moved aside, the member is added as a learner, started with `initial-cluster-state: existing`
//! and promoted when it is in sync. Each step is read off the hosts, so that running again goes on where it stopped.

use std::time::Duration;

use camino::Utf8Path;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::etcd_former;
use super::remote_file::{Mode, Wanted};
use super::{Action, ActionError, Change, Check, Context, Effect, Scope};
use crate::cluster::etcd::{self, Member, MemberId};
use crate::cluster::etcd_member::{Beginning, CONFIG, JOINING, Seat, SeatState, UNIT, UNIT_FILE};
use crate::cluster::etcd_unit;
use crate::cluster::plane::{Cluster, Etcd, Plane};
use crate::cluster::report;
use crate::cluster::survey::{self, Look};
use crate::host::Host;
use crate::host::command::Command;
use crate::host::probe::{NotProbed, Probe};

/// How long a member may take to serve again.
pub(super) const SERVES: Duration = Duration::from_secs(120);

/// How long an added member may take to copy the data and be promoted.
const IN_SYNC: Duration = Duration::from_secs(600);

/// How often to rest between two steps of an addition.
const PAUSE: Duration = Duration::from_secs(1);

/// Keeps a member in the cluster, running and current.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct EtcdMember {}

impl Action for EtcdMember {
    fn probes(&self, cx: &Context<'_>) -> Vec<Probe> {
        let mut probes = report::probes(cx.node);
        probes.push(Probe::Unit(UNIT.to_owned()));
        probes.extend([CONFIG, UNIT_FILE].map(|path| Probe::Digest(path.into())));
        probes
    }

    fn scope(&self, _cx: &Context<'_>) -> Scope {
        Scope::Cluster
    }

    fn check(&self, cx: &Context<'_>) -> Result<Check, ActionError> {
        let plane = Plane::read(cx.inventory, cx.fleet);
        let Some(own) = own(&plane, cx) else {
            return Ok(Check::Satisfied);
        };
        let name = &cx.node.name;
        Ok(match SeatState::of(own, &plane) {
            // Begins with the cluster, which is `etcd-found`'s.
            SeatState::Founding => Check::Satisfied,
            SeatState::Member => match unread_file(cx)? {
                Some(file) => Check::needed(format!("restart etcd member {name}: {file} is newer")),
                None => Check::Satisfied,
            },
            SeatState::Stopped(why) => Check::Needed(
                Change::new(format!("start etcd member {name}"))
                    .found(format!("etcd member {name} is stopped: {why}")),
            ),
            SeatState::Missing(why) => Check::Needed(
                Change::new(format!("add etcd member {name} ({})", own.peer_url()))
                    .found(format!("etcd member {name} is missing: {why}"))
                    .touching(CONFIG)
                    .without_way_back("etcd counts it as a member from here on"),
            ),
            SeatState::Foreign(why) => {
                return Err(ActionError::Unsafe {
                    why,
                    help: "find out which etcd is yours".to_owned(),
                });
            }
            SeatState::Elsewhere(why) => {
                return Err(ActionError::Unsafe {
                    why,
                    help: "put the old peer address back into the inventory; to move a member, take its host out of `etcd: hosts:`, run \
                           `quorate provision`, and put it in again with the new address"
                        .to_owned(),
                });
            }
        })
    }

    async fn apply(&self, effect: &Effect<'_>, _change: &Change) -> Result<(), ActionError> {
        let fleet = survey::survey(effect).await?;
        let plane = Plane::read(effect.cx.inventory, &fleet);
        let Some(own) = own(&plane, &effect.cx) else {
            return Ok(());
        };
        match SeatState::of(own, &plane) {
            SeatState::Missing(_) => add(effect).await,
            SeatState::Member => restart(effect).await,
            SeatState::Stopped(_)
            | SeatState::Founding
            | SeatState::Foreign(_)
            | SeatState::Elsewhere(_) => {
                start(effect).await?;
                serves(effect).await
            }
        }
    }
}

pub(super) fn own<'p, 'a>(plane: &'p Plane<'a>, cx: &Context<'_>) -> Option<&'p Seat<'a>> {
    plane.external.as_ref()?.of(&cx.node.name)
}

/// A file that the running member has not read.
fn unread_file<'f>(cx: &Context<'_>) -> Result<Option<&'f str>, NotProbed> {
    let unit = cx.facts().unit(UNIT)?;
    for path in [CONFIG, UNIT_FILE] {
        let state = cx.facts().file(Utf8Path::new(path))?.present();
        let is_newer = state.is_some_and(|state| state.modified_us > unit.changed_us);
        if is_newer || cx.fleet.is_foreseen(&cx.node.name, Utf8Path::new(path)) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

async fn start(effect: &Effect<'_>) -> Result<(), ActionError> {
    let start = etcd_unit::start(effect.cx.inventory.etcd_data_directory(), None);
    effect.host.succeed(&Command::script(start)).await?;
    Ok(())
}

/// Waits until the member is a healthy voter.
async fn serves(effect: &Effect<'_>) -> Result<(), ActionError> {
    let cx = &effect.cx;
    let what = format!("etcd member {} to be healthy", cx.node.name);
    survey::until(effect, &what, SERVES, |plane, _| {
        let state = own(plane, cx).map(|own| SeatState::of(own, plane));
        Ok(match state {
            Some(SeatState::Member) => Look::Done(()),
            state => Look::NotYet(format!("{state:?}")),
        })
    })
    .await
}

/// Restarts a member when all others are well, and lets another one lead before.
async fn restart(effect: &Effect<'_>) -> Result<(), ActionError> {
    stand_aside(effect).await?;
    restart_unit(effect).await?;
    serves(effect).await
}

/// Waits until all other members are well, and lets another one lead if this one does: then it may be disturbed. The last look
/// is at both, for a member may have gone while another one was asked to lead.
pub(super) async fn stand_aside(effect: &Effect<'_>) -> Result<(), ActionError> {
    let cx = &effect.cx;
    let name = &cx.node.name;
    let Some(heir) = others_are_well(effect, Look::Done).await? else {
        return Ok(());
    };
    (effect.note)(format!(
        "etcd member {name} leads: another one does while it restarts"
    ));
    let lead = Command::script(etcd::lead_script(heir, &cx.inventory.etcd));
    effect.host.succeed(&lead).await?;
    others_are_well(effect, |heir| match heir {
        None => Look::Done(()),
        Some(_) => Look::NotYet(format!("{name} still leads")),
    })
    .await
}

/// Waits until all other members are well and `judge` is content with who of them is to lead: nobody, if this one does not.
async fn others_are_well<T>(
    effect: &Effect<'_>,
    judge: impl Fn(Option<MemberId>) -> Look<T>,
) -> Result<T, ActionError> {
    let cx = &effect.cx;
    let former = etcd_former::healthy(effect).await?;
    let what = "the other members of etcd to be healthy and one of them to lead";
    survey::until(effect, what, SERVES, |plane, _| {
        let mut troubles = plane.troubles_beside(&cx.node.name);
        troubles.extend(etcd_former::no_spare(plane, &former));
        Ok(if troubles.is_empty() {
            judge(successor(plane, cx))
        } else {
            Look::NotYet(troubles.join("; "))
        })
    })
    .await
}

/// Restarts a member and waits until systemd says that it serves.
pub(super) async fn restart_unit(effect: &Effect<'_>) -> Result<(), ActionError> {
    let restart = Command::script(etcd_unit::restart()).deadline(SERVES);
    effect.host.succeed(&restart).await?;
    Ok(())
}

/// Who shall lead if this member leads now.
fn successor(plane: &Plane<'_>, cx: &Context<'_>) -> Option<MemberId> {
    let view = own(plane, cx)?.etcd.as_ref()?;
    let Etcd::Living(cluster) = plane.etcd() else {
        return None;
    };
    let mut voters = cluster.members.voters();
    let other = voters
        .find(|member| member.id != view.member_id && cluster.healthy.contains(&member.id))?;
    view.is_leader().then_some(other.id)
}

/// The next step of an addition.
enum Step {
    /// What the list has at the peer URL belongs to nobody any more.
    Remove(Cluster, Member),
    /// Data or marks of an earlier membership are in the way.
    Clear,
    /// The list does not have it.
    Add,
    /// It does not know yet what it begins with.
    Mark(Beginning),
    /// It is to be started, or has not come up yet.
    Start,
    /// It has no vote.
    Promote(MemberId),
    /// It is a voter, and nobody has noted it.
    Keep(Beginning),
    /// All is done.
    Done,
}

async fn add(effect: &Effect<'_>) -> Result<(), ActionError> {
    let since = tokio::time::Instant::now();
    loop {
        let fleet = survey::survey(effect).await?;
        let plane = Plane::read(effect.cx.inventory, &fleet);
        let cluster = match plane.etcd() {
            Etcd::Living(cluster) => cluster,
            Etcd::NoQuorum(_) | Etcd::Silent => return Err(no_quorum(effect)),
        };
        let Some(own) = own(&plane, &effect.cx) else {
            return Ok(());
        };
        let step = step(own, &cluster);
        let mut last = said(&step).to_owned();
        match step {
            Step::Done => return Ok(()),
            Step::Remove(cluster, member) => {
                last.extend(remove(effect, &cluster, &member).await?);
            }
            Step::Clear => clear(effect).await?,
            Step::Add => last.extend(add_learner(effect, own, &plane, &cluster).await?),
            Step::Mark(beginning) => mark(effect, &beginning).await?,
            Step::Start => {
                configure(effect, &fleet).await?;
                start(effect).await?;
                last.push_str("; its own word is in `journalctl -u etcd` there");
            }
            // Refused while it is not in sync: asked again.
            Step::Promote(id) => {
                let script = etcd::promote_script(id, &effect.cx.inventory.etcd);
                last.extend(ask(effect, &cluster, id, script).await?);
            }
            Step::Keep(beginning) => {
                let keep = Command::script(etcd_unit::keep()).stdin(beginning.to_string());
                effect.host.succeed(&keep).await?;
                open(effect).await?;
            }
        }
        if since.elapsed() > IN_SYNC {
            return Err(ActionError::Waited {
                what: format!("etcd member {} to be added", effect.cx.node.name),
                waited: IN_SYNC,
                last,
            });
        }
        effect.host.transport.rest(PAUSE).await;
    }
}

fn step(own: &Seat<'_>, cluster: &Cluster) -> Step {
    if own.is_left_behind(cluster) {
        return Step::Clear;
    }
    let entry = cluster.members.at(own.peer_address);
    match (entry, &own.joining) {
        (Some(entry), _) if entry.is_started() && !own.has_data() => {
            Step::Remove(cluster.clone(), entry.clone())
        }
        (None, _) if own.has_data() || own.joining.is_some() || own.membership.is_some() => {
            Step::Clear
        }
        (None, _) => Step::Add,
        (Some(entry), None)
            if entry.is_started() && own.membership.is_some() && !entry.is_learner =>
        {
            Step::Done
        }
        (Some(_), None) => Step::Mark(Beginning::existing(
            &cluster.members.0,
            &own.node.name,
            own.peer_address,
        )),
        // A learner does not tell what members it knows, so the others' word counts.
        (Some(entry), Some(_)) if entry.is_learner && entry.is_started() => Step::Promote(entry.id),
        (Some(_), Some(joining)) => match &own.etcd {
            Some(view) if view.is_healthy => Step::Keep(joining.clone()),
            Some(_) | None => Step::Start,
        },
    }
}

fn said(step: &Step) -> &'static str {
    match step {
        Step::Remove(..) => "what was listed in its place is removed",
        Step::Clear => "what lies there is moved aside",
        Step::Add => "it is being added",
        Step::Mark(_) | Step::Start => "it has not come up yet",
        Step::Promote(_) => "it is a learner, and was asked to be promoted",
        Step::Keep(_) | Step::Done => "it is a voter",
    }
}

async fn remove(
    effect: &Effect<'_>,
    cluster: &Cluster,
    member: &Member,
) -> Result<Option<String>, ActionError> {
    let allowed = cluster.members.safe_to_remove(member.id, &cluster.healthy);
    allowed.map_err(|why| ActionError::Unsafe {
        why: format!(
            "etcd member {} ({}) must not be removed: {why}",
            member.label(),
            member.id
        ),
        help: "bring the other members back first".to_owned(),
    })?;
    (effect.note)(format!(
        "etcd member {} ({}) of an earlier life: removed",
        member.label(),
        member.id
    ));
    ask(
        effect,
        cluster,
        member.id,
        etcd::remove_script(member.id, &effect.cx.inventory.etcd),
    )
    .await
}

async fn clear(effect: &Effect<'_>) -> Result<(), ActionError> {
    let data = effect.cx.inventory.etcd_data_directory();
    (effect.note)(format!(
        "data that belongs to no member any more is moved aside in {data}"
    ));
    effect
        .host
        .succeed(&Command::script(etcd_unit::clear(data)))
        .await?;
    Ok(())
}

/// Adds it while every other member is well: one change at a time.
async fn add_learner(
    effect: &Effect<'_>,
    own: &Seat<'_>,
    plane: &Plane<'_>,
    cluster: &Cluster,
) -> Result<Option<String>, ActionError> {
    let mut troubles = plane.own_troubles();
    if !plane.former_members(cluster).is_empty() {
        let former = etcd_former::healthy(effect).await?;
        troubles.extend(etcd_former::no_room(plane, &former));
    }
    if !troubles.is_empty() {
        return Err(ActionError::Unsafe {
            why: format!(
                "{} cannot be added to etcd now: {}",
                own.node.name,
                troubles.join("; ")
            ),
            help: "bring the other members back first: `quorate status` shows them; one that is gone for good and that the inventory \
                   has no more is removed by `quorate recover`"
                .to_owned(),
        });
    }
    let script = etcd::add_script(&own.peer_url(), &effect.cx.inventory.etcd);
    ask(effect, cluster, MemberId(0), script).await
}

async fn mark(effect: &Effect<'_>, beginning: &Beginning) -> Result<(), ActionError> {
    let file = Wanted::public(JOINING, beginning.to_string()).into_remote();
    Ok(effect.host.transport.write(&[file]).await?)
}

/// Renders its configuration with what it begins with.
async fn configure(effect: &Effect<'_>, fleet: &super::Fleet) -> Result<(), ActionError> {
    let cx = Context { fleet, ..effect.cx };
    let content = cx.templates.render("etcd/etcd.yaml", &cx)?;
    let file = Wanted {
        mode: Mode::PUBLIC,
        ..Wanted::public(CONFIG, content)
    };
    Ok(effect.host.transport.write(&[file.into_remote()]).await?)
}

/// Lets clients reach a member that has a vote now. The second member of a cluster of one, after a survivor was made one, cannot
/// be missed for that moment; open from its start it would refuse every second question until it is in sync.
async fn open(effect: &Effect<'_>) -> Result<(), ActionError> {
    configure(effect, &survey::survey(effect).await?).await?;
    restart(effect).await
}

/// Asks a healthy member of the inventory other than that one. Whether it did it shows in the next reading; the words of a refusal are for the
/// person who waits in vain.
pub(super) async fn ask(
    effect: &Effect<'_>,
    cluster: &Cluster,
    but: MemberId,
    script: crate::host::command::Script,
) -> Result<Option<String>, ActionError> {
    let survivor = survivor(effect, cluster, but).ok_or_else(|| no_quorum(effect))?;
    let output = survivor.succeed(&Command::script(script)).await?.text();
    let is_done = output.trim_end().ends_with("\n200");
    let said = crate::text::last_lines(output.as_bytes());
    Ok((!is_done).then(|| format!("; etcd of {} said: {said}", survivor.node.name)))
}

fn survivor<'a>(effect: &Effect<'a>, cluster: &Cluster, but: MemberId) -> Option<&'a Host> {
    let lives_on = |member: &Member, host: &Host| {
        host.node
            .etcd
            .is_some_and(|seat| member.is_at(seat.peer_address))
    };
    let others = cluster.healthy.iter().filter(|id| **id != but);
    others
        .filter_map(|id| cluster.members.with_id(*id))
        .find_map(|member| effect.hosts.iter().find(|host| lives_on(member, host)))
}

fn no_quorum(effect: &Effect<'_>) -> ActionError {
    ActionError::Unsafe {
        why: format!(
            "etcd has no quorum that answers, so {} cannot be added",
            effect.cx.node.name
        ),
        help: "start the members that are down, and select their hosts too (`--on`)".to_owned(),
    }
}
