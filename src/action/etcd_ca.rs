//! `etcd-ca`: the CA of an external etcd on every member's host, made once.
//!
//! The play is rolling: the first host makes it if no host holds one, the others take it from one that does. A second CA is
//! never made: not while a host cannot be read, and not where etcd was founded already.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Action, ActionError, Change, Check, Context, Effect, Scope};
use crate::cluster::etcd_member::{CA, CA_KEY, Seat, Seats};
use crate::cluster::etcd_pki;
use crate::cluster::report;
use crate::cluster::survey;
use crate::host::command::Command;
use crate::host::probe::Probe;

const DEADLINE: Duration = Duration::from_secs(120);

/// Holds etcd's CA.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct EtcdCa {}

/// Where a host's CA comes from.
#[derive(Debug, PartialEq, Eq)]
enum Origin {
    /// It is there.
    Here,
    /// From the host of that name.
    From(String),
    /// It is made.
    Made,
}

impl Action for EtcdCa {
    fn probes(&self, cx: &Context<'_>) -> Vec<Probe> {
        report::probes(cx.node)
    }

    fn scope(&self, _cx: &Context<'_>) -> Scope {
        Scope::Cluster
    }

    fn check(&self, cx: &Context<'_>) -> Result<Check, ActionError> {
        let seats = Seats::read(cx.inventory, cx.fleet);
        Ok(match origin(&seats, &cx.node.name)? {
            Origin::Here => Check::Satisfied,
            Origin::From(host) => Check::Needed(
                Change::new(format!("take etcd's CA from {host}"))
                    .touching(CA)
                    .touching(CA_KEY),
            ),
            Origin::Made => Check::Needed(change(cx, &seats)),
        })
    }

    async fn apply(&self, effect: &Effect<'_>, _change: &Change) -> Result<(), ActionError> {
        let fleet = survey::survey(effect).await?;
        let seats = Seats::read(effect.cx.inventory, &fleet);
        let command = match origin(&seats, &effect.cx.node.name)? {
            Origin::Here => return Ok(()),
            Origin::Made => {
                let configuration = effect
                    .cx
                    .templates
                    .render("etcd/kubeadm.yaml", &effect.cx)?;
                Command::script(etcd_pki::make_ca()).stdin(configuration)
            }
            Origin::From(host) => {
                let holder = effect.hosts.get(&host).ok_or_else(|| unread(&host))?;
                let ca = etcd_pki::read_ca(holder).await?;
                Command::script(etcd_pki::place_ca()).stdin(ca.expose())
            }
        };
        effect.host.succeed(&command.deadline(DEADLINE)).await?;
        Ok(())
    }
}

/// In a forecast every host would make it; only the first does.
fn change(cx: &Context<'_>, seats: &Seats<'_>) -> Change {
    let first = seats.seats.first().map_or("", |seat| &seat.node.name);
    if first == cx.node.name {
        return Change::new(format!("make etcd's CA on {first}"))
            .touching(CA)
            .touching(CA_KEY)
            .without_way_back("all certificates of etcd hang on it from here on");
    }
    Change::new(format!("take etcd's CA from {first}"))
        .touching(CA)
        .touching(CA_KEY)
}

fn origin(seats: &Seats<'_>, own: &str) -> Result<Origin, ActionError> {
    refuse_two(seats)?;
    if seats.of(own).is_some_and(|seat| seat.ca.is_some()) {
        return Ok(Origin::Here);
    }
    if let Some((holder, _)) = seats.ca() {
        return Ok(Origin::From(holder.node.name.clone()));
    }
    if let Some(name) = seats.unread.first() {
        return Err(unread(name));
    }
    let has_lived = |seat: &&Seat<'_>| seat.membership.is_some() || seat.has_data();
    if let Some(seat) = seats.seats.iter().find(has_lived) {
        return Err(ActionError::Unsafe {
            why: format!(
                "{} was a member of etcd, and no host holds its CA ({CA} and its key)",
                seat.node.name
            ),
            help: format!("restore {CA} and {CA_KEY} on one of the members from a backup"),
        });
    }
    Ok(Origin::Made)
}

fn refuse_two(seats: &Seats<'_>) -> Result<(), ActionError> {
    let Some((first, ca)) = seats.ca() else {
        return Ok(());
    };
    let is_other = |seat: &&Seat<'_>| seat.ca.as_ref().is_some_and(|other| !other.is(ca));
    let Some(other) = seats.seats.iter().find(is_other) else {
        return Ok(());
    };
    Err(ActionError::Unsafe {
        why: format!(
            "{} and {} hold different CAs of etcd",
            first.node.name, other.node.name
        ),
        help: format!(
            "find out which etcd is yours, and on the host that belongs to the other move /etc/etcd and its data away; {CA} is the certificate"
        ),
    })
}

fn unread(name: &str) -> ActionError {
    ActionError::Unsafe {
        why: format!(
            "no CA of etcd was found, and {name} could not be asked: it might hold one, and a second must not be made"
        ),
        help: format!("bring {name} back, or take it out of the inventory if it is lost for good"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::ca::{Ca, samples};
    use crate::cluster::sample::{CLUSTER, external, seated};

    fn with(spoil: impl FnOnce(&mut Seats<'_>)) -> Result<Origin, String> {
        let inventory = external();
        let mut seats = seated(&inventory, CLUSTER)
            .external
            .expect("it is external");
        spoil(&mut seats);
        origin(&seats, "master2").map_err(|error| error.to_string())
    }

    fn bare(seat: &mut Seat<'_>) {
        seat.ca = None;
        seat.membership = None;
        seat.report.has.clear();
    }

    #[test]
    fn it_is_made_once_and_taken_from_whoever_holds_it() {
        assert_eq!(with(|_| {}), Ok(Origin::Here));
        let first_of_all = with(|seats| seats.seats.iter_mut().for_each(bare));
        assert_eq!(first_of_all, Ok(Origin::Made));
        let blank = with(|seats| seats.seats.iter_mut().skip(1).take(1).for_each(bare));
        assert_eq!(blank, Ok(Origin::From("master1".to_owned())));
    }

    #[test]
    fn a_second_one_is_never_made() {
        let lost = with(|seats| seats.seats.iter_mut().for_each(|seat| seat.ca = None));
        assert!(lost.is_err_and(|why| why.contains("was a member")));
        let unread = with(|seats| {
            seats.seats.iter_mut().for_each(bare);
            seats.unread.push("etcd9");
        });
        assert!(unread.is_err_and(|why| why.contains("etcd9 could not be asked")));
        let two = with(|seats| {
            seats
                .seats
                .iter_mut()
                .take(1)
                .for_each(|seat| seat.ca = Ca::parse(samples::OTHER));
        });
        assert!(two.is_err_and(|why| why.contains("different CAs")));
    }
}
