//! Fresh readings of the masters and the members of etcd, for decisions that must not rest on what was read a minute ago.

use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;

use super::plane::{Member, Plane};
use super::report;
use crate::action::{ActionError, Effect, Fleet};
use crate::host::Host;
use crate::inventory::Role;

/// How long to rest between two looks at something that is awaited.
const PAUSE: Duration = Duration::from_secs(1);

/// Reads all masters and members of etcd that are connected, at once, and the host of the effect if it may join. One that
/// does not answer is left out, but the effect's own host must answer.
pub async fn survey(effect: &Effect<'_>) -> Result<Fleet, ActionError> {
    let (own, mut fleet) = futures::join!(read(effect.host), masters(effect));
    fleet.update(&effect.host.node.name, own?);
    Ok(fleet)
}

/// Reads all masters and members of etcd that are connected but the effect's own host, at once. One that does not answer is
/// left out.
pub async fn masters(effect: &Effect<'_>) -> Fleet {
    let counts = |host: &&Host| host.node.role == Role::Master || host.node.etcd.is_some();
    let others = effect
        .hosts
        .iter()
        .filter(counts)
        .filter(|host| host.node.name != effect.host.node.name);
    let read = others.map(async |host| (host.node.name.clone(), read(host).await));
    let mut fleet = Fleet::default();
    for (name, readings) in join_all(read).await {
        if let Ok(readings) = readings {
            fleet.update(&name, readings);
        }
    }
    fleet
}

async fn read(host: &Host) -> Result<crate::host::probe::Readings, crate::host::error::HostError> {
    host.transport.probe(&report::probes(&host.node)).await
}

/// What a look found.
pub enum Look<T> {
    /// What was awaited.
    Done(T),
    /// Not yet; what was seen instead.
    NotYet(String),
}

/// Looks again and again at the masters until `judge` is content, at most for `limit`.
pub async fn until<T>(
    effect: &Effect<'_>,
    what: &str,
    limit: Duration,
    mut judge: impl FnMut(&Plane<'_>, Option<&Member<'_>>) -> Result<Look<T>, ActionError>,
) -> Result<T, ActionError> {
    let since = Instant::now();
    loop {
        let fleet = survey(effect).await?;
        let plane = Plane::read(effect.cx.inventory, &fleet);
        let own = Member::read(effect.cx.node, fleet.of(&effect.cx.node.name));
        let last = match judge(&plane, own.as_ref())? {
            Look::Done(found) => return Ok(found),
            Look::NotYet(last) => last,
        };
        if since.elapsed() >= limit {
            return Err(ActionError::Waited {
                what: what.to_owned(),
                waited: limit,
                last,
            });
        }
        effect.host.transport.rest(PAUSE).await;
    }
}

/// Looks again and again at the effect's own host until `judge` is content, at most for `limit`.
pub async fn until_own<T>(
    effect: &Effect<'_>,
    what: &str,
    limit: Duration,
    mut judge: impl FnMut(Option<&Member<'_>>) -> Look<T>,
) -> Result<T, ActionError> {
    let since = Instant::now();
    loop {
        let readings = read(effect.host).await?;
        let own = Member::read(effect.cx.node, &readings);
        let last = match judge(own.as_ref()) {
            Look::Done(found) => return Ok(found),
            Look::NotYet(last) => last,
        };
        if since.elapsed() >= limit {
            return Err(ActionError::Waited {
                what: what.to_owned(),
                waited: limit,
                last,
            });
        }
        effect.host.transport.rest(PAUSE).await;
    }
}

/// The connected host of a living master, the first in order.
pub fn any<'a>(effect: &Effect<'a>, plane: &Plane<'_>) -> Result<&'a Host, ActionError> {
    plane
        .living()
        .find_map(|master| effect.hosts.get(&master.node.name))
        .ok_or_else(|| ActionError::Unsafe {
            why: "no master serves the API".to_owned(),
            help: "select the masters too (`--on`), and look at `quorate status`".to_owned(),
        })
}

/// The connected host of a living master other than the effect's own, the first in order.
#[must_use]
pub fn seed<'a>(effect: &Effect<'a>, plane: &Plane<'_>) -> Option<&'a Host> {
    plane
        .living()
        .filter(|master| master.node.name != effect.cx.node.name)
        .find_map(|master| effect.hosts.get(&master.node.name))
}
