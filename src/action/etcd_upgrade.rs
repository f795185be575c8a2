//! `etcd-upgrade`: a member of an external etcd at the inventory's version: its packages, and the process that runs. The play is
//! rolling, so that never two members are disturbed at once.
//!
//! Installing is part of it: Debian's package restarts the member when it is replaced (its `postinst`), so the others must be
//! well, and another one must lead, before the package manager is asked. What the host shows decides what is left to do, so
//! that running again goes on where it stopped.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::etcd_member::{self, SERVES, own};
use super::{Action, ActionError, Change, Check, Context, Effect, Scope, etcd_packages};
use crate::cluster::etcd_member::{Seat, SeatState};
use crate::cluster::plane::Plane;
use crate::cluster::report;
use crate::cluster::survey::{self, Look};
use crate::host::probe::Probe;
use crate::inventory::etcd::EtcdVersion;

/// Brings a member to the inventory's version.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct EtcdUpgrade {}

impl Action for EtcdUpgrade {
    fn probes(&self, cx: &Context<'_>) -> Vec<Probe> {
        let mut probes = etcd_packages::probes(cx);
        probes.extend(report::probes(cx.node));
        probes
    }

    fn scope(&self, _cx: &Context<'_>) -> Scope {
        Scope::Cluster
    }

    fn check(&self, cx: &Context<'_>) -> Result<Check, ActionError> {
        let Some(etcd) = cx.inventory.etcd.external() else {
            return Ok(Check::Satisfied);
        };
        let plane = Plane::read(cx.inventory, cx.fleet);
        let Some(own) = own(&plane, cx) else {
            return Ok(Check::Satisfied);
        };
        let (name, target) = (&cx.node.name, etcd.version);
        let stopped = match SeatState::of(own, &plane) {
            SeatState::Member => None,
            SeatState::Stopped(why) => Some(why),
            SeatState::Founding => return Err(no_member(name, "it was never started")),
            SeatState::Missing(why) | SeatState::Foreign(why) | SeatState::Elsewhere(why) => {
                return Err(no_member(name, &why));
            }
        };
        let installing = etcd_packages::pending(cx, etcd)?;
        Ok(match (stopped, running(own), installing) {
            (Some(why), _, _) => Check::Needed(
                Change::new(format!("start etcd member {name} with {target}"))
                    .found(format!("etcd member {name} is stopped: {why}")),
            ),
            (None, Some(version), None) if version == target => Check::Satisfied,
            (None, Some(version), Some(change)) if version == target => Check::Needed(change),
            (None, version, _) => Check::Needed(replacing(name, version, target)),
        })
    }

    async fn apply(&self, effect: &Effect<'_>, _change: &Change) -> Result<(), ActionError> {
        let Some(etcd) = effect.cx.inventory.etcd.external() else {
            return Ok(());
        };
        etcd_member::stand_aside(effect).await?;
        if etcd_packages::pending(&effect.cx, etcd)?.is_some() {
            etcd_packages::install(effect, etcd).await?;
        }
        let fleet = survey::survey(effect).await?;
        let plane = Plane::read(effect.cx.inventory, &fleet);
        if serving(&plane, &effect.cx) != Some(etcd.version) {
            etcd_member::restart_unit(effect).await?;
        }
        serves_at(effect, etcd.version).await
    }
}

fn no_member(name: &str, why: &str) -> ActionError {
    ActionError::Unsafe {
        why: format!("etcd member {name} cannot be upgraded: {why}"),
        help: "`quorate provision` mends it first".to_owned(),
    }
}

fn replacing(name: &str, version: Option<EtcdVersion>, target: EtcdVersion) -> Change {
    let from = version.map_or("an unknown version".to_owned(), |it| it.to_string());
    let change = Change::new(format!("bring etcd member {name} from {from} to {target}"));
    if version.is_some_and(|version| version.minor != target.minor) {
        return change.without_way_back(format!(
            "once all members have it, etcd does not go back to {from}"
        ));
    }
    change
}

/// The version that a member says it runs.
fn running(seat: &Seat<'_>) -> Option<EtcdVersion> {
    EtcdVersion::find(&seat.etcd.as_ref()?.version)
}

/// The version with which this host's member serves, as a healthy voter.
fn serving(plane: &Plane<'_>, cx: &Context<'_>) -> Option<EtcdVersion> {
    let own = own(plane, cx)?;
    running(own).filter(|_| SeatState::of(own, plane) == SeatState::Member)
}

async fn serves_at(effect: &Effect<'_>, target: EtcdVersion) -> Result<(), ActionError> {
    let cx = &effect.cx;
    let what = format!("etcd member {} to be healthy with {target}", cx.node.name);
    survey::until(effect, &what, SERVES, |plane, _| {
        if serving(plane, cx) == Some(target) {
            return Ok(Look::Done(()));
        }
        let seat = own(plane, cx);
        let state = seat.map(|own| SeatState::of(own, plane));
        Ok(Look::NotYet(format!(
            "{state:?}, version {:?}",
            seat.and_then(running).map(|version| version.to_string())
        )))
    })
    .await
}
