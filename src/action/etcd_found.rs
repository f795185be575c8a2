//! `etcd-found`: the first start of an external etcd, all members together; and any later start of so many that those which run
//! are no quorum.
//!
//! With a static list of members one alone never serves: it waits for a quorum. So every host of the play starts its member
//! and then waits for its own to be healthy. A host is known as a member ([`MEMBERSHIP`]) only after that; until then its mark
//! of a founding says what was begun, and running again goes on.
//!
//! [`MEMBERSHIP`]: crate::cluster::etcd::MEMBERSHIP

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Action, ActionError, Change, Check, Context, Effect, Scope};
use crate::cluster::etcd::{MEMBERSHIP, View};
use crate::cluster::etcd_member::{Beginning, FOUNDING, Seat, SeatState};
use crate::cluster::etcd_unit;
use crate::cluster::plane::{Etcd, Plane};
use crate::cluster::report;
use crate::cluster::survey::{self, Look};
use crate::host::command::Command;
use crate::host::probe::Probe;

/// How long a quorum may take to come about: every host installs and starts at its own pace.
const HEALTHY: Duration = Duration::from_secs(180);

/// Starts etcd for the first time.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct EtcdFound {}

impl Action for EtcdFound {
    fn probes(&self, cx: &Context<'_>) -> Vec<Probe> {
        report::probes(cx.node)
    }

    fn scope(&self, _cx: &Context<'_>) -> Scope {
        Scope::Cluster
    }

    fn check(&self, cx: &Context<'_>) -> Result<Check, ActionError> {
        let plane = Plane::read(cx.inventory, cx.fleet);
        let Some(own) = own(&plane, cx) else {
            return Ok(Check::Satisfied);
        };
        let name = &own.node.name;
        match SeatState::of(own, &plane) {
            SeatState::Founding => {}
            SeatState::Foreign(why) => return Err(foreign(cx, why)),
            SeatState::Stopped(why) if !matches!(plane.etcd(), Etcd::Living(_)) => {
                let change = Change::new(format!("start etcd member {name} with all others"));
                return Ok(Check::Needed(change.found(format!(
                    "etcd has no quorum, and member {name} is stopped: {why}"
                ))));
            }
            // The last is refused by `etcd-member`.
            SeatState::Member
            | SeatState::Stopped(_)
            | SeatState::Missing(_)
            | SeatState::Elsewhere(_) => {
                return Ok(Check::Satisfied);
            }
        }
        refuse_unread(&plane)?;
        let change = Change::new(format!(
            "start etcd member {name} ({}) with all others",
            own.peer_url()
        ))
        .touching(MEMBERSHIP);
        Ok(Check::Needed(if own.is_founding {
            change.found(format!(
                "the first start of etcd on {name} did not finish: it goes on"
            ))
        } else {
            change
        }))
    }

    async fn apply(&self, effect: &Effect<'_>, _change: &Change) -> Result<(), ActionError> {
        let cx = &effect.cx;
        let data = cx.inventory.etcd_data_directory();
        let plane = Plane::read(cx.inventory, cx.fleet);
        let is_member = own(&plane, cx).is_some_and(|own| own.membership.is_some());
        let start = etcd_unit::start(data, if is_member { None } else { Some(FOUNDING) });
        effect.host.succeed(&Command::script(start)).await?;
        survey::until(effect, "etcd to have a quorum", HEALTHY, |plane, _| {
            let view = own(plane, cx).and_then(|own| own.etcd.as_ref());
            Ok(if view.is_some_and(serves) {
                Look::Done(())
            } else {
                Look::NotYet(awaited(plane))
            })
        })
        .await?;
        if is_member {
            return Ok(());
        }
        let beginning = Beginning::read(cx.facts()).unwrap_or_else(|| Beginning::new(cx.inventory));
        let keep = Command::script(etcd_unit::keep()).stdin(beginning.to_string());
        effect.host.succeed(&keep).await?;
        Ok(())
    }
}

fn own<'p, 'a>(plane: &'p Plane<'a>, cx: &Context<'_>) -> Option<&'p Seat<'a>> {
    plane.external.as_ref()?.of(&cx.node.name)
}

/// Whether a member is part of a cluster with a quorum and is known to the others.
fn serves(view: &View) -> bool {
    view.is_healthy
        && view
            .members
            .with_id(view.member_id)
            .is_some_and(crate::cluster::etcd::Member::is_started)
}

fn awaited(plane: &Plane<'_>) -> String {
    let seats = plane.external.iter().flat_map(|seats| &seats.seats);
    let silent: Vec<&str> = seats
        .filter(|seat| seat.etcd.is_none())
        .map(|seat| seat.node.name.as_str())
        .collect();
    format!("no answer from etcd on {}", silent.join(", "))
}

/// A host that was not read might be a member of a cluster that was founded already.
fn refuse_unread(plane: &Plane<'_>) -> Result<(), ActionError> {
    let seats = plane.external.as_ref();
    let unread = seats
        .filter(|seats| !seats.is_founded())
        .and_then(|seats| seats.unread.first());
    match unread {
        None => Ok(()),
        Some(name) => Err(ActionError::Unsafe {
            why: format!(
                "no member of etcd was found, and {name} could not be asked: it might be one"
            ),
            help: format!(
                "bring {name} back, or take it out of the inventory if it is lost for good"
            ),
        }),
    }
}

fn foreign(cx: &Context<'_>, why: String) -> ActionError {
    ActionError::Unsafe {
        why,
        help: format!(
            "if that data is worth nothing, move it away on {}: `mv {} /root/`",
            cx.node.name,
            cx.inventory.etcd_data_directory().join("member")
        ),
    }
}
