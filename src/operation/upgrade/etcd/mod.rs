//! `quorate upgrade --etcd-to X.Y.Z`: an etcd of its own to another version, one member at a time, the leader last.
//!
//! One reading of the members' hosts says what each runs, what the gates refuse and what is left to do; so an upgrade that was
//! interrupted is continued by the same command, with some members new and some old. Success is reported only after every
//! member said its version.

pub mod gates;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use futures::future::join_all;
use serde_json::json;

use super::super::Session;
use super::super::consent::agree;
use super::super::forecast::forecast;
use super::super::provision::{Work, carry_out, etcd_leader_last, follow_leftovers};
use super::{Intent, read, refuse, snapshot};
use crate::action::{Fleet, etcd_others};
use crate::cluster::etcd_member::SeatState;
use crate::cluster::plane::Plane;
use crate::engine::meter::Meter;
use crate::engine::reader::Reader;
use crate::error::Error;
use crate::host::Hosts;
use crate::host::probe::Probe;
use crate::inventory::EtcdTopology;
use crate::inventory::etcd::{EtcdPackages, EtcdVersion};
use crate::os::Family;
use crate::plan::Plan;
use crate::report::{Format, eprintln, println};
use gates::{Offered, Site};

/// Reads, gates, plans, asks, takes a snapshot, upgrades one member after the other, reads back.
pub async fn upgrade_etcd(session: &Session, to: EtcdVersion, intent: Intent) -> Result<(), Error> {
    let begun = Instant::now();
    if !session.settings.on.is_empty() {
        let message = "--on: an upgrade of etcd is of all its members; what is at its version already is passed over";
        return Err(Error::Usage {
            message: message.to_owned(),
        });
    }
    let target = at(session, to)?;
    let mut plan = target.plan("upgrade-etcd")?;
    let meter = Arc::new(Meter::default());
    let hosts = target.connect_all(&plan, &meter).await?;
    let reader = Reader::new(&hosts);
    read(&target, &plan, &hosts, &reader, gates::probes).await?;
    let tell = |host: &str, what: String| eprintln(&format!("{host}: found: {what}"));
    follow_leftovers(&target, &plan, &hosts, &reader, &tell).await?;
    read(&target, &plan, &hosts, &reader, gates::probes).await?;
    let fleet = reader.fleet();
    if forecast(&target, &plan, &fleet).is_ok_and(|pending| pending.is_empty()) {
        told(session, to, "unchanged", begun);
        return Ok(());
    }

    let offered = offered(&target, &hosts, &fleet).await;
    let site = Site::read(&target.inventory, &target.templates, &fleet);
    refuse(&site.judge(to, &offered))?;
    etcd_leader_last(&mut plan, &site.plane);
    begun_first(&mut plan, &site);
    eprintln(&text(&plan, &site, to));
    if intent == Intent::Check {
        return Ok(());
    }
    let look = format!("quorate upgrade --etcd-to {to} --check");
    agree(session, "Upgrade etcd? Only `yes` goes on: ", &look)?;
    snapshot::before_etcd(&hosts, &site.plane, to).await?;
    let work = Work {
        operation: "upgrade",
        plan: &plan,
        hosts: &hosts,
        reader: &reader,
        meter: &meter,
        begun,
        holds: false,
    };
    carry_out(&target, &work).await?;
    read_back(&target, &plan, &hosts, to).await?;
    told(session, to, "upgraded", begun);
    Ok(())
}

/// The session for a version of etcd: its playbook sees that one. Refuses an etcd that kubeadm upgrades.
fn at(session: &Session, to: EtcdVersion) -> Result<Session, Error> {
    let mut session = session.clone();
    match &mut session.inventory.etcd {
        EtcdTopology::External(etcd) => etcd.version = to,
        EtcdTopology::Stacked => {
            return Err(Error::refused(
                "--etcd-to is for an etcd of its own (`etcd:` in the inventory), and here it is stacked on the masters: kubeadm \
                 brings the version that goes with a release of Kubernetes. Say `quorate upgrade --to vX.Y.Z`",
            ));
        }
    }
    Ok(session)
}

/// What the repositories of every host offer whose packages are to be replaced; a host that could not be asked is left out.
async fn offered(session: &Session, hosts: &Hosts, fleet: &Fleet) -> Offered {
    let Some(etcd) = session.inventory.etcd.external() else {
        return Offered::new();
    };
    let mirror = match &etcd.packages {
        EtcdPackages::Preinstalled => return Offered::new(),
        EtcdPackages::Distribution => None,
        EtcdPackages::Mirror { url, .. } => Some(url.as_str()),
    };
    let asked = hosts.iter().map(async |host| {
        let cx = session.context(&host.node, fleet);
        if etcd_others(&cx, etcd).is_ok_and(|others| others.is_empty()) {
            return None;
        }
        let family = Family::judged(&cx).ok()?;
        let script = family.offered_etcd(mirror, &etcd.version.to_string());
        let probe = [Probe::Script(script.clone())];
        let readings = host.transport.probe(&probe).await.ok()?;
        let said = &readings.script(&script).ok()?.stdout;
        let line = |line: &str| {
            let (name, version) = line.split_once(' ')?;
            Some((name.to_owned(), version.trim().to_owned()))
        };
        Some((
            host.node.name.clone(),
            said.lines().filter_map(line).collect(),
        ))
    });
    join_all(asked)
        .await
        .into_iter()
        .flatten()
        .collect::<BTreeMap<_, _>>()
}

/// A member that an interrupted upgrade left in the middle takes its turn before all others, who would wait for it in vain if
/// it is stopped; one that leads is well.
fn begun_first(plan: &mut Plan, site: &Site<'_>) {
    let goes_first = |host: &str| site.is_under_way(host) && !site.leads(host);
    for play in &mut plan.plays {
        play.hosts.sort_by_key(|host| !goes_first(host));
    }
}

/// What each member has in front of it, in the order of their turns.
fn text(plan: &Plan, site: &Site<'_>, to: EtcdVersion) -> String {
    let mut lines = vec![format!(
        "Upgrade of etcd of {} to {to}:",
        site.inventory.name
    )];
    for host in plan.plays.iter().flat_map(|play| &play.hosts) {
        let what = match site.running(host) {
            Some(version) if version == to => "has it already".to_owned(),
            Some(version) => format!("{version} → {to}"),
            None => format!("stopped; {to}"),
        };
        let continued = if site.is_under_way(host) {
            " (continued)"
        } else {
            ""
        };
        let leads = if site.leads(host) { ", leads" } else { "" };
        lines.push(format!("  {host}: {what}{leads}{continued}"));
    }
    lines.join("\n")
}

/// Asks every member once more.
async fn read_back(
    session: &Session,
    plan: &Plan,
    hosts: &Hosts,
    to: EtcdVersion,
) -> Result<(), Error> {
    let reader = Reader::new(hosts);
    read(session, plan, hosts, &reader, gates::probes).await?;
    let fleet = reader.fleet();
    let plane = Plane::read(&session.inventory, &fleet);
    let seats = plane.external.iter().flat_map(|seats| &seats.seats);
    let differences = seats.filter_map(|seat| {
        let running = seat
            .etcd
            .as_ref()
            .map(|view| crate::text::escape(&view.version));
        let state = SeatState::of(seat, &plane);
        let is_right = running.as_deref() == Some(to.to_string().as_str());
        (!is_right || state != SeatState::Member).then(|| {
            let running = running.unwrap_or_else(|| "nothing that answers".to_owned());
            format!("{}: etcd is {running}, {state:?}", seat.node.name)
        })
    });
    let differences: Vec<String> = differences.collect();
    for line in &differences {
        eprintln(&format!("read back: {line}"));
    }
    match differences.len() {
        0 => Ok(()),
        failed => Err(Error::Failed { failed }),
    }
}

fn told(session: &Session, to: EtcdVersion, result: &str, begun: Instant) {
    let members = session.inventory.etcd_places().len();
    let seconds = begun.elapsed().as_secs_f64();
    let is_written = session
        .inventory
        .etcd
        .external()
        .is_some_and(|etcd| etcd.version == to);
    let write = if is_written {
        String::new()
    } else {
        format!(". Write `etcd: {{ version: {to} }}` into the inventory")
    };
    match session.settings.format {
        Format::Json => println(
            &json!({ "operation": "upgrade", "result": result, "etcd": to, "members": members, "duration_s": seconds }).to_string(),
        ),
        Format::Table if result == "unchanged" => println(&format!(
            "Nothing to upgrade: all {members} members of etcd run {to} ({seconds:.2} s){write}"
        )),
        Format::Table => println(&format!(
            "All {members} members of etcd run {to}, read back from each ({seconds:.0} s){write}"
        )),
    }
}
