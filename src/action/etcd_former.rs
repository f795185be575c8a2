//! `etcd-former`: members of an external etcd that the inventory has no more are removed from it.
//!
//! # Why so late
//! It comes after the apiservers have heard of the members that stay: then none of them asks a member that goes. One host of the
//! play does it for all, one removal after the other, each only while every member that stays is a healthy voter and the
//! arithmetic of quorum allows it. Those without a vote go first, then the silent, the leader last and only after it has handed
//! leadership to one that stays.
//!
//! A member that goes is a host that nobody is connected to: its health is asked by a member that stays, through its client URL.
//! When it is removed its etcd ends by itself; what is to be done on its host is said.

use std::collections::BTreeSet;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::etcd_member::ask;
use super::{Action, ActionError, Change, Check, Context, Effect, Scope};
use crate::cluster::etcd::{self, Member, MemberId};
use crate::cluster::etcd_former;
use crate::cluster::plane::{Cluster, Etcd, Plane};
use crate::cluster::report;
use crate::cluster::survey::{self, Look};
use crate::host::Host;
use crate::host::command::Command;
use crate::host::probe::Probe;

/// How long the members that stay may take to be well, and etcd to agree to a removal or on another leader.
const AGREES: Duration = Duration::from_secs(120);

/// How long a member that goes may take to answer, all of them together.
const ANSWERS: Duration = Duration::from_secs(30);

/// Removes members of an external etcd that the inventory has no more.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct EtcdFormer {}

impl Action for EtcdFormer {
    fn probes(&self, cx: &Context<'_>) -> Vec<Probe> {
        report::probes(cx.node)
    }

    fn scope(&self, _cx: &Context<'_>) -> Scope {
        Scope::Cluster
    }

    fn check(&self, cx: &Context<'_>) -> Result<Check, ActionError> {
        let plane = Plane::read(cx.inventory, cx.fleet);
        let Etcd::Living(cluster) = plane.etcd() else {
            return Ok(Check::Satisfied);
        };
        let former = plane.former_members(&cluster);
        if former.is_empty() || !is_first(&plane, cx) {
            return Ok(Check::Satisfied);
        }
        let names: Vec<String> = former.iter().map(in_words).collect();
        let what = match names.len() {
            1 => "remove an etcd member that the inventory has not",
            _ => "remove etcd members that the inventory has not, one after the other",
        };
        Ok(Check::Needed(
            Change::new(format!("{what}: {}", names.join(", "))).without_way_back(
                "etcd forgets them, and what comes back in their places comes as new members",
            ),
        ))
    }

    async fn apply(&self, effect: &Effect<'_>, _change: &Change) -> Result<(), ActionError> {
        while let Some(next) = next(effect).await? {
            if next.leads {
                hand_over(effect, &next).await?;
            }
            remove(effect, &next).await?;
        }
        Ok(())
    }
}

/// The host that does it: the first that was read, so that a plan shows it once.
fn is_first(plane: &Plane<'_>, cx: &Context<'_>) -> bool {
    let seats = plane.external.iter().flat_map(|seats| &seats.seats);
    let mut seats = seats.map(|seat| &seat.node.name);
    seats.next() == Some(&cx.node.name)
}

fn in_words(member: &Member) -> String {
    let urls = member.peer_urls.join(" ");
    crate::text::escape(&format!("{} ({}, {urls})", member.label(), member.id))
}

/// The member that goes next.
struct Next {
    member: Member,
    leads: bool,
    cluster: Cluster,
}

/// Waits until all that stay are well, and chooses; `None`: all are gone.
async fn next(effect: &Effect<'_>) -> Result<Option<Next>, ActionError> {
    let what = "the members of etcd that stay to be healthy";
    let found = survey::until(effect, what, AGREES, |plane, _| {
        let Etcd::Living(cluster) = plane.etcd() else {
            return Ok(Look::NotYet(plane.troubles().join("; ")));
        };
        let troubles = missing(plane, &cluster);
        Ok(if troubles.is_empty() {
            let leader = plane.views().iter().find_map(|(_, view)| view.leader);
            let former = plane.former_members(&cluster);
            Look::Done((cluster, leader, former))
        } else {
            Look::NotYet(troubles.join("; "))
        })
    })
    .await?;
    let (mut cluster, leader, mut former) = found;
    let living = ask_health(effect, &cluster, &former).await?;
    cluster.healthy.extend(&living);
    former.sort_by_key(|member| {
        let leads = leader == Some(member.id);
        (leads, living.contains(&member.id), !member.is_learner)
    });
    let Some(member) = former.into_iter().next() else {
        return Ok(None);
    };
    let allowed = cluster.members.safe_to_remove(member.id, &cluster.healthy);
    allowed.map_err(|why| ActionError::Unsafe {
        why: format!(
            "etcd member {} must not be removed: {why}",
            in_words(&member)
        ),
        help: "bring the other members back first: `quorate status` shows them".to_owned(),
    })?;
    Ok(Some(Next {
        leads: leader == Some(member.id),
        member,
        cluster,
    }))
}

/// What the members that stay lack.
fn missing(plane: &Plane<'_>, cluster: &Cluster) -> Vec<String> {
    let mut troubles = plane.own_troubles();
    let places = plane.external.iter().flat_map(|seats| &seats.places);
    let unlisted = places.filter(|place| cluster.members.at(**place).is_none());
    troubles.extend(unlisted.map(|place| format!("etcd has no member at {place} yet")));
    troubles
}

/// Lets a member that stays lead. Only the leader can hand leadership over, so it is asked through its client URL.
async fn hand_over(effect: &Effect<'_>, next: &Next) -> Result<(), ActionError> {
    let label = in_words(&next.member);
    let successor = next.cluster.members.voters().find(|member| {
        let lives_here = |host: &Host| lives_on(member, host);
        next.cluster.healthy.contains(&member.id) && effect.hosts.iter().any(lives_here)
    });
    let (Some(successor), Some(url)) = (successor, next.member.client_urls.first()) else {
        return Err(leads(&label, "there is nobody to lead instead"));
    };
    (effect.note)(format!("etcd member {label} leads: another one does from now on"));
    let script = etcd_former::lead_script(successor.id, url, &effect.cx.inventory.etcd);
    let said = effect.host.succeed(&Command::script(script)).await?.text();
    let id = next.member.id;
    let moved = survey::until(effect, "another leader of etcd", AGREES, |plane, _| {
        let leader = plane.views().iter().find_map(|(_, view)| view.leader);
        Ok(match leader {
            Some(leader) if leader != id => Look::Done(()),
            _ => Look::NotYet("it has not moved".to_owned()),
        })
    })
    .await;
    moved.map_err(|_| leads(&label, &crate::text::last_lines(said.as_bytes())))
}

fn leads(label: &str, said: &str) -> ActionError {
    ActionError::Unsafe {
        why: format!("etcd member {label} leads and does not hand leadership over, so it is not removed: {said}"),
        help: "stop it on its host (`systemctl stop etcd`), so that another one leads, and run this again".to_owned(),
    }
}

fn lives_on(member: &Member, host: &Host) -> bool {
    let seat = host.node.etcd;
    seat.is_some_and(|seat| member.is_at(seat.peer_address))
}

async fn remove(effect: &Effect<'_>, next: &Next) -> Result<(), ActionError> {
    let Next {
        member, cluster, ..
    } = next;
    let script = etcd::remove_script(member.id, &effect.cx.inventory.etcd);
    let refusal = ask(effect, cluster, member.id, script).await?;
    let label = in_words(member);
    let id = member.id;
    let what = format!("etcd member {label} to be removed");
    survey::until(effect, &what, AGREES, |plane, _| {
        Ok(match plane.etcd() {
            Etcd::Living(cluster) if cluster.members.with_id(id).is_none() => Look::Done(()),
            _ => Look::NotYet(format!(
                "it is still listed{}",
                refusal.as_deref().unwrap_or_default()
            )),
        })
    })
    .await?;
    (effect.note)(format!(
        "etcd member {label} is removed: its etcd ends by itself. On its host `systemctl disable --now etcd-watch etcd` keeps it from \
         being tried again; its data stays there until you remove it"
    ));
    Ok(())
}

/// Which of the members that the inventory has no more are healthy; asked of the hosts that stay, and of nobody where there is
/// none.
pub(super) async fn healthy(effect: &Effect<'_>) -> Result<BTreeSet<MemberId>, ActionError> {
    let fleet = survey::survey(effect).await?;
    let plane = Plane::read(effect.cx.inventory, &fleet);
    let Etcd::Living(cluster) = plane.etcd() else {
        return Ok(BTreeSet::new());
    };
    ask_health(effect, &cluster, &plane.former_members(&cluster)).await
}

async fn ask_health(
    effect: &Effect<'_>,
    cluster: &Cluster,
    former: &[Member],
) -> Result<BTreeSet<MemberId>, ActionError> {
    let urls: Vec<&str> = former
        .iter()
        .flat_map(|member| &member.client_urls)
        .map(String::as_str)
        .collect();
    let is_member = |host: &&Host| {
        let members = cluster.healthy.iter();
        let mut members = members.filter_map(|id| cluster.members.with_id(*id));
        members.any(|member| lives_on(member, host))
    };
    let asked = effect.hosts.iter().find(is_member);
    let Some(host) = asked.filter(|_| !urls.is_empty()) else {
        return Ok(BTreeSet::new());
    };
    let script = etcd_former::health_script(&urls, &effect.cx.inventory.etcd);
    let said = host.succeed(&Command::script(script).deadline(ANSWERS)).await?;
    let text = said.text();
    let healthy: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("healthy "))
        .collect();
    let answers = |member: &&Member| {
        let mut urls = member.client_urls.iter();
        urls.any(|url| healthy.contains(url.as_str()))
    };
    Ok(former.iter().filter(answers).map(|it| it.id).collect())
}

/// Why a member must not be stopped while members that the inventory has no more have a vote: those that would be left.
pub(super) fn no_spare(plane: &Plane<'_>, former: &BTreeSet<MemberId>) -> Option<String> {
    lacks(plane, former, 1)
}

/// Why none may be added meanwhile.
pub(super) fn no_room(plane: &Plane<'_>, former: &BTreeSet<MemberId>) -> Option<String> {
    lacks(plane, former, 0)
}

fn lacks(plane: &Plane<'_>, former: &BTreeSet<MemberId>, spare: usize) -> Option<String> {
    let Etcd::Living(cluster) = plane.etcd() else {
        return None;
    };
    let strangers = plane.former_members(&cluster);
    if strangers.is_empty() {
        return None;
    }
    if let Some(learner) = strangers.iter().find(|member| member.is_learner) {
        return Some(format!("etcd has a learner already, {}", in_words(learner)));
    }
    let healthy = cluster.healthy.union(former).copied().collect();
    let tolerance = cluster.members.tolerance(&healthy);
    let names: Vec<String> = strangers.iter().map(in_words).collect();
    tolerance.is_none_or(|left| left < spare).then(|| {
        format!(
            "of {} votes that etcd counts {} are healthy, since it has members that the inventory has not: {}",
            cluster.members.voters().count(),
            healthy.len(),
            names.join(", ")
        )
    })
}
