//! `quorate recover`: lost masters, from the survivors' side.
//!
//! Nothing is asked of a master that is lost. What is wrong and the one safe way are judged purely
//! ([`diagnosis`]) and shown before anything happens; cleaning a master that answers and joining it again is the work of
//! `provision`, whose actions know every half-done state.

pub mod diagnosis;
mod remove;
mod survivor;
mod witness;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};

use super::backup::masters_with_etcd;
use super::consent::{agree, agree_by_name};
use super::provision::provision;
use super::restore::states;
use super::{Session, backup};
use crate::cluster::api::{self, Request as Ask};
use crate::cluster::plane::Plane;
use crate::cluster::restore::Way;
use crate::engine::lock;
use crate::engine::meter::Meter;
use crate::error::Error;
use crate::host::error::HostError;
use crate::host::{Host, Hosts};
use crate::inventory::{EtcdTopology, Node, Role};
use crate::report::table::{table, wrapped};
use crate::report::{Format, eprintln, println};
use diagnosis::{Proposal, Removal, Row, Site};

/// What is asked for.
pub struct Request {
    /// Only show what is wrong and what would be done.
    pub plan: bool,
    /// The cluster's name, typed before it was asked for; only where data is given up.
    pub confirm: Option<String>,
    /// What a survivor's data is made from when quorum is lost.
    pub way: Way,
}

/// Diagnoses, shows, asks, mends, and looks again until nothing is left to mend.
pub async fn recover(session: &Session, request: &Request) -> Result<(), Error> {
    let begun = Instant::now();
    let meter = Arc::new(Meter::default());
    let nodes: Vec<&Node> = session.inventory.nodes.iter().collect();
    let (hosts, errors) = session.connect(&nodes, &meter).await;
    if !hosts.iter().any(|host| host.node.role == Role::Master) {
        return Err(Error::Connect { errors });
    }
    if survivor::is_under_way(&states(&hosts).await?)? {
        if request.plan {
            println("A recovery from one survivor was interrupted: it goes on.");
            return Ok(());
        }
        return survivor::go_on(session, &hosts, &meter, begun).await;
    }
    let fleet = masters_with_etcd(session, &hosts, &|line| note(&line)).await;
    let plane = Plane::read(&session.inventory, &fleet);
    refuse_fallen_silent(&hosts, &plane)?;
    let site = Site {
        inventory: &session.inventory,
        plane: &plane,
        nodes: node_names(&hosts, &plane).await,
    };
    let proposal = site.proposal();
    show(session, &site, &proposal);
    if request.way == Way::ForceNewCluster {
        site.may_force(&proposal).map_err(Error::refused)?;
    }
    if request.plan && !matches!(proposal, Proposal::Refuse(_)) {
        return Ok(());
    }
    match &proposal {
        // A provision waits for what is starting, and a master that joined is not all of one that was interrupted.
        Proposal::Nothing | Proposal::Settle(_) => Box::pin(provision(&session.narrowed_to(&hosts)?)).await,
        Proposal::Wait(why) | Proposal::Refuse(why) => Err(Error::refused(why.clone())),
        Proposal::Restore => Err(Error::refused(
            "no data is left: give the machines back as the inventory names them, blank ones will do, and restore a backup on them \
             with `quorate restore latest --identity FILE`"
                .to_owned(),
        )),
        Proposal::Rejoin(_) => {
            agree(
                session,
                "Do that? Only `yes` goes on: ",
                "quorate recover --plan",
            )?;
            Box::pin(provision(&session.narrowed_to(&hosts)?.agreed())).await?;
            refuse_unread(&site)
        }
        Proposal::Remove(removals) => {
            agree(
                session,
                "Do that? Only `yes` goes on: ",
                "quorate recover --plan",
            )?;
            {
                let _lock = lock::take(&hosts, &session.inventory.name, &lock::owner()).await?;
                for removal in removals {
                    remove::remove(session, &hosts, removal).await?;
                }
            }
            println("Removed. When a machine takes the place, `quorate recover` joins it.");
            Ok(())
        }
        Proposal::Survivor(name) => {
            let what = format!("the other members' data is given up for {name}'s");
            agree_by_name(session, request.confirm.as_deref(), &what)?;
            survivor::begin(session, &hosts, &plane, name, request.way).await?;
            survivor::go_on(session, &hosts, &meter, begun).await
        }
    }
}

/// Not all is mended while a host does not answer.
fn refuse_unread(site: &Site<'_>) -> Result<(), Error> {
    match site.unread().as_slice() {
        [] => Ok(()),
        unread => Err(Error::refused(format!(
            "the others are well, but {} does not answer: give it back (a new machine will do), then run this again",
            unread.join(", ")
        ))),
    }
}

/// A host that answered and fell silent while it was read may be back in a moment: it must not be counted among the lost.
fn refuse_fallen_silent(hosts: &Hosts, plane: &Plane<'_>) -> Result<(), Error> {
    let seats = plane.external.iter().flat_map(|seats| &seats.unread);
    let mut unread = plane.unread.iter().chain(seats);
    let fallen = unread.find(|name| hosts.get(name).is_some());
    fallen.map_or(Ok(()), |name| {
        Err(Error::refused(format!(
            "{name} answered, and fell silent while it was read: run this again"
        )))
    })
}

/// The names of control-plane Nodes, asked of a master that serves.
async fn node_names(hosts: &Hosts, plane: &Plane<'_>) -> Option<BTreeSet<String>> {
    let master = plane
        .living()
        .find_map(|master| hosts.get(&master.node.name))?;
    let response = api::send(master, "/api/v1/nodes", Ask::Get).await.ok()?;
    let list = response.json()?;
    let names = list.get("items")?.as_array()?.iter();
    let name = |node: &Value| node.pointer("/metadata/name")?.as_str().map(str::to_owned);
    Some(names.filter_map(name).collect())
}

/// What a lost member with its old disk can still do.
fn old_disks(topology: &EtcdTopology) -> &'static str {
    match topology {
        EtcdTopology::Stacked => {
            "Should a lost master start again with its old disk, run this again at once: until then its apiserver serves what it had."
        }
        EtcdTopology::External(_) => {
            "Keep the lost hosts off until they are blank or this is run again: with their old disks they may be a quorum of the etcd \
             that was, and every apiserver would ask both."
        }
    }
}

/// One line: what would be done.
fn in_words(proposal: &Proposal, topology: &EtcdTopology) -> String {
    match proposal {
        Proposal::Nothing => {
            "The control plane is whole; if an interrupted `quorate provision` left something to do, that follows.".to_owned()
        }
        Proposal::Settle(why) => format!(
            "Nothing is lost, and what is on its way is waited for, as `quorate provision` does: {why}."
        ),
        Proposal::Wait(why) => format!("Nothing is done: {why}."),
        Proposal::Refuse(why) => format!("Refused: {why}."),
        Proposal::Restore => "All data is lost: restore a backup.".to_owned(),
        Proposal::Rejoin(names) => format!(
            "Clean {} and join again (as `quorate provision` does, on every host that answers).",
            names.join(", ")
        ),
        Proposal::Remove(removals) => {
            let words: Vec<String> = removals.iter().map(removal).collect();
            format!(
                "If they stay silent when probed from two survivors: {}.",
                words.join("; then ")
            )
        }
        Proposal::Survivor(name) => format!(
            "Quorum is lost. Take a snapshot of {name}, make it a cluster of one, and let the others that answer join it. \
             What was never replicated to {name} is lost. {}",
            old_disks(topology)
        ),
    }
}

fn removal(removal: &Removal) -> String {
    let mut parts = Vec::new();
    if let Some(id) = removal.member {
        parts.push(format!("remove etcd member {id}"));
    }
    if removal.has_node {
        parts.push("delete the Node".to_owned());
    }
    format!(
        "{} of {}",
        parts.join(" and "),
        crate::text::escape(&removal.name)
    )
}

fn show(session: &Session, site: &Site<'_>, proposal: &Proposal) {
    let removals: &[Removal] = match proposal {
        Proposal::Remove(removals) => removals,
        _ => &[],
    };
    let rows = site.rows();
    let arithmetic = site.arithmetic(removals);
    if session.settings.format == Format::Json {
        println(&as_json(session, &rows, &arithmetic, proposal).to_string());
        return;
    }
    let cells = rows.into_iter().map(cells).collect();
    let header = ["Master", "Host", "Etcd", "Member", "Node"];
    println(&table(&header, cells).unwrap_or_default());
    for line in arithmetic {
        println(&wrapped("  - ", &line));
    }
    println(&wrapped("", &in_words(proposal, &session.inventory.etcd)));
}

fn cells(row: Row) -> Vec<String> {
    vec![
        row.name,
        row.host,
        row.etcd,
        row.member.map(|id| id.to_string()).unwrap_or_default(),
        match row.node {
            Some(true) => "yes",
            Some(false) => "no",
            None => "?",
        }
        .to_owned(),
    ]
}

fn as_json(session: &Session, rows: &[Row], arithmetic: &[String], proposal: &Proposal) -> Value {
    let masters: Vec<Value> = rows
        .iter()
        .map(|row| {
            json!({
                "name": row.name,
                "host": row.host,
                "etcd": row.etcd,
                "member": row.member.map(|id| id.to_string()),
                "node": row.node,
            })
        })
        .collect();
    let (kind, names): (&str, Vec<&str>) = match proposal {
        Proposal::Nothing => ("nothing", Vec::new()),
        Proposal::Settle(_) => ("settle", Vec::new()),
        Proposal::Wait(_) => ("wait", Vec::new()),
        Proposal::Refuse(_) => ("refuse", Vec::new()),
        Proposal::Restore => ("restore", Vec::new()),
        Proposal::Rejoin(names) => ("rejoin", names.iter().map(String::as_str).collect()),
        Proposal::Remove(removals) => (
            "remove",
            removals.iter().map(|it| it.name.as_str()).collect(),
        ),
        Proposal::Survivor(name) => ("survivor", vec![name]),
    };
    json!({
        "version": 1,
        "cluster": session.inventory.name,
        "masters": masters,
        "quorum": arithmetic,
        "proposal": { "kind": kind, "hosts": names, "text": in_words(proposal, &session.inventory.etcd) },
    })
}

/// What every part of a recovery reads of the masters.
async fn plane_of<'a>(session: &'a Session, hosts: &Hosts) -> Plane<'a> {
    let fleet = backup::masters(hosts).await;
    Plane::read(&session.inventory, &fleet)
}

fn read_error(host: &Host, source: HostError) -> Error {
    Error::Read {
        host: host.node.name.clone(),
        source,
    }
}

/// Tells the person what goes on.
fn note(line: &str) {
    eprintln(line);
}
