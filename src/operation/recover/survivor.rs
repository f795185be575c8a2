//! Quorum is lost and one member is left: its data becomes a cluster of one.
//!
//! By restoring a snapshot of it rather than with `--force-new-cluster`, unless that is asked for: the snapshot is proved
//! before anything stops, the cluster gets a new id so that a lost member that comes back cannot join it by mistake, and
//! revisions are bumped where etcd's tool can. Either way the old data stays, and the stages are those of `restore`, so an
//! interruption at any moment is gone on from, or back with `restore --abort`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use futures::future::try_join_all;

use super::{note, read_error, witness};
use crate::cluster::etcd::{MemberId, View};
use crate::cluster::plane::Plane;
use crate::cluster::restore::Way;
use crate::cluster::snapshot::{self, From};
use crate::engine::lock;
use crate::engine::meter::Meter;
use crate::error::Error;
use crate::host::command::{Command, Script};
use crate::host::{Host, Hosts};
use crate::inventory::etcd::EtcdPlace;
use crate::operation::Session;
use crate::operation::restore::{
    Content, Source, States, after, is_concerned, lay, states, takes_part, under_way, walk,
};

/// How such a restore's id begins.
const PREFIX: &str = "survivor-";

/// Whether one was interrupted; refuses if an ordinary restore was.
pub(super) fn is_under_way(states: &States) -> Result<bool, Error> {
    let token = under_way(states);
    let mut settings = states.values().filter_map(|state| state.settings.as_ref());
    let settings = settings.find(|settings| token == Some(&settings.token));
    match settings {
        None => Ok(false),
        Some(settings) if settings.id.starts_with(PREFIX) => Ok(true),
        Some(settings) => Err(Error::refused(format!(
            "a restore is under way: go on with `quorate restore {}`, or back with `quorate restore --abort`",
            settings.id
        ))),
    }
}

/// Takes and proves the snapshot, unless the survivor's own data is to be forced, proves that the lost masters are gone for the
/// survivor, too, and lays everything; nothing stops yet.
pub(super) async fn begin(
    session: &Session,
    hosts: &Hosts,
    plane: &Plane<'_>,
    survivor: &str,
    way: Way,
) -> Result<(), Error> {
    let mut views = plane.views().into_iter();
    let view = views.find_map(|(node, view)| (node.name == survivor).then_some(view));
    let inventory = &session.inventory;
    let lock_name = format!("{}-restore", session.inventory.name);
    let _lock = lock::take(hosts, &lock_name, &lock::owner()).await?;
    let host = hosts
        .get(survivor)
        .ok_or_else(|| Error::refused(format!("{survivor} is not connected")))?;
    let run = format!("{PREFIX}{survivor}-{:08x}", rand::random::<u32>());
    if way == Way::ForceNewCluster {
        let source = Source {
            id: run,
            sha256: String::new(),
            size: 0,
            content: Content::OwnData,
            left_behind: view.map(others).unwrap_or_default(),
        };
        all_lost_are_silent(session, hosts, host).await?;
        return lay(inventory, hosts, &[host], &states(hosts).await?, &source).await;
    }
    let taken = snapshot::take_proved(host, &run, From::of(view), &|line| note(&line)).await?;
    if let Err(refused) = all_lost_are_silent(session, hosts, host).await {
        discard(host).await?;
        return Err(refused);
    }
    let view = view.or(taken.view.as_ref());
    // The safety copy: it stays when the restore is done.
    let kept = format!("/var/lib/quorate/recovered/{run}.db");
    keep(host, snapshot::PATH, &kept).await?;
    discard(host).await?;
    let source = Source {
        id: run,
        sha256: taken.sha256,
        size: taken.size,
        content: Content::OnHost(&kept),
        left_behind: view.map(|view| view.cluster_id).into_iter().collect(),
    };
    lay(inventory, hosts, &[host], &states(hosts).await?, &source).await
}

/// Refuses if a member that is to be given up answers the survivor. Asked last: a proof takes long enough for a machine to boot.
async fn all_lost_are_silent(
    session: &Session,
    hosts: &Hosts,
    survivor: &Host,
) -> Result<(), Error> {
    let is_lost = |place: &EtcdPlace<'_>| hosts.get(&place.node.name).is_none();
    let lost = session.inventory.etcd_places().into_iter().filter(is_lost);
    let silent = lost.map(async |place| {
        let node = place.node;
        let if_it_answers = "look at it with `quorate status`";
        witness::silent(&[survivor], &node.name, node.address, if_it_answers).await
    });
    try_join_all(silent).await.map(|_| ())
}

/// The members that are given up.
fn others(view: &View) -> BTreeSet<MemberId> {
    let mut others = view.members.ids();
    others.remove(&view.member_id);
    others
}

/// Nothing but the safety copy stays of the snapshot.
async fn discard(host: &Host) -> Result<(), Error> {
    let discarded = snapshot::discard(host).await;
    discarded.map_err(|source| read_error(host, source))
}

async fn keep(host: &Host, from: &str, to: &str) -> Result<(), Error> {
    let script = Script::new(
        "recover-keep",
        r#"umask 077; mkdir -p "$(dirname "$2")" && cp "$1" "$2" && sync "$2""#,
    );
    let command = Command::script(script.arg(from).arg(to));
    let kept = host.succeed(&command).await;
    kept.map(|_| ()).map_err(|source| read_error(host, source))
}

/// The hosts on which it was begun: a machine that was given back since has no part in it, and joins afterwards.
fn taking_part(hosts: &Hosts, states: &States) -> Hosts {
    let token = under_way(states);
    let takes_part = |host: &&Host| {
        let state = states.get(&host.node.name);
        state.is_some_and(|state| token.is_some_and(|token| takes_part(state, token)))
    };
    Hosts::new(hosts.iter().filter(takes_part).cloned().collect())
}

/// Walks the stages, then lets the masters that answer join.
pub(super) async fn go_on(
    session: &Session,
    hosts: &Hosts,
    meter: &Arc<Meter>,
    begun: Instant,
) -> Result<(), Error> {
    {
        let lock_name = format!("{}-restore", session.inventory.name);
        let _lock = lock::take(hosts, &lock_name, &lock::owner()).await?;
        let part = taking_part(hosts, &states(hosts).await?);
        walk(&session.narrowed_to(&part)?, &part, meter, begun).await?;
    }
    after(session, hosts, true).await?;
    let nodes = session.inventory.nodes.iter();
    for node in nodes.filter(|node| is_concerned(node) && hosts.get(&node.name).is_none()) {
        note(&format!(
            "{} does not answer: when it is back, or a new machine in its place, `quorate recover` sees to it",
            node.name
        ));
    }
    Ok(())
}
