//! What is wrong with the control plane, and the one safe way to mend it. Pure.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use crate::cluster::etcd::{Member as EtcdMember, MemberId, quorum};
use crate::cluster::etcd_member::SeatState;
use crate::cluster::master::{MasterState, Settling};
use crate::cluster::plane::{Cluster, Etcd, Plane};
use crate::cluster::report::Has;
use crate::cluster::snapshot;
use crate::inventory::etcd::EtcdPlace;
use crate::inventory::{EtcdTopology, Inventory, Node, Role};

/// What was read.
pub struct Site<'a> {
    /// The cluster as it should be.
    pub inventory: &'a Inventory,
    /// The masters that answer.
    pub plane: &'a Plane<'a>,
    /// Names of Node objects, if an apiserver told.
    pub nodes: Option<BTreeSet<String>>,
}

/// One master: inventory, etcd and Node side by side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its name in the inventory, or what etcd calls a member that the inventory does not know.
    pub name: String,
    /// What is so of the host.
    pub host: String,
    /// Its member.
    pub member: Option<MemberId>,
    /// What is so of the member.
    pub etcd: String,
    /// Whether there is a Node of that name; `None`: nobody could tell.
    pub node: Option<bool>,
}

/// The one safe way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proposal {
    /// All is well.
    Nothing,
    /// Everything is in place and only starting, or a job of an earlier run is still going: it is waited for.
    Settle(String),
    /// It needs a hand that is not ours.
    Wait(String),
    /// These masters answer: what is left of them is cleaned and they join again.
    Rejoin(Vec<String>),
    /// Members whose hosts do not answer are removed, one after the other, in this order.
    Remove(Vec<Removal>),
    /// Quorum is lost: this survivor's data becomes a cluster of one, and the others join it.
    Survivor(String),
    /// No data is left.
    Restore,
    /// Nothing is safe.
    Refuse(String),
}

/// A member to remove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// The master that it was, or what etcd calls it.
    pub name: String,
    /// Its id; `None`: only a Node is left of it.
    pub member: Option<MemberId>,
    /// Its address, to be probed from the survivors.
    pub address: Option<std::net::Ipv4Addr>,
    /// Whether there is a Node to delete.
    pub has_node: bool,
}

impl Site<'_> {
    /// All masters, then members and Nodes that nobody knows.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        let cluster = self.cluster();
        let has_node = |name: &str| self.nodes.as_ref().map(|nodes| nodes.contains(name));
        let mut rows = Vec::new();
        for node in self.inventory.with_role(Role::Master) {
            let member = cluster
                .as_ref()
                .and_then(|it| it.members.at(own_peer(node)));
            let host = self.plane.of(&node.name).map_or_else(
                || "does not answer".to_owned(),
                |own| in_words(&MasterState::of(own, self.plane)),
            );
            rows.push(Row {
                name: node.name.clone(),
                host,
                member: member.map(|member| member.id),
                etcd: vote(cluster.as_ref(), member),
                node: has_node(&node.name),
            });
        }
        rows.extend(self.seat_rows(cluster.as_ref()));
        for member in self.strangers() {
            rows.push(Row {
                name: member.label().to_owned(),
                host: "not in the inventory".to_owned(),
                member: Some(member.id),
                etcd: vote(cluster.as_ref(), Some(&member)),
                node: has_node(&member.name),
            });
        }
        rows
    }

    /// The members of an external etcd that are not on masters, which have their rows.
    fn seat_rows(&self, cluster: Option<&Cluster>) -> Vec<Row> {
        let places = self.inventory.etcd_places().into_iter();
        let elsewhere = places.filter(|place| place.node.role != Role::Master);
        let row = |place: EtcdPlace<'_>| {
            let name = &place.node.name;
            let member = cluster.and_then(|it| it.members.at(place.peer_address));
            let seats = self.plane.external.as_ref();
            let seat = seats.and_then(|seats| seats.of(name));
            Row {
                name: name.clone(),
                host: seat.map_or_else(
                    || "does not answer".to_owned(),
                    |own| seat_in_words(&SeatState::of(own, self.plane)),
                ),
                member: member.map(|member| member.id),
                etcd: vote(cluster, member),
                node: None,
            }
        };
        elsewhere.map(row).collect()
    }

    /// The arithmetic of quorum as it is, and as it will be without those that are removed.
    #[must_use]
    pub fn arithmetic(&self, without: &[Removal]) -> Vec<String> {
        let Some(cluster) = self.cluster() else {
            return vec!["no etcd member answers".to_owned()];
        };
        let voters: BTreeSet<MemberId> = cluster.members.voters().map(|it| it.id).collect();
        let healthy = voters.intersection(&cluster.healthy).count();
        let mut lines = vec![line("now", voters.len(), healthy)];
        let mut left = voters.clone();
        for removal in without {
            if removal.member.is_some_and(|id| left.remove(&id)) {
                let healthy = left.intersection(&cluster.healthy).count();
                lines.push(line(
                    &format!("without {}", removal.name),
                    left.len(),
                    healthy,
                ));
            }
        }
        lines
    }

    /// The one safe way.
    #[must_use]
    pub fn proposal(&self) -> Proposal {
        match self.plane.etcd() {
            Etcd::Living(cluster) => self.with_quorum(&cluster),
            Etcd::NoQuorum(cluster) => self.without_quorum(&cluster),
            Etcd::Silent => self.silent(),
        }
    }

    /// Refuses `--force-new-cluster` wherever anything less will do, with the arithmetic.
    pub fn may_force(&self, proposal: &Proposal) -> Result<(), String> {
        if let Proposal::Survivor(name) = proposal {
            let mut views = self.plane.views().into_iter();
            let answers = views.any(|(node, _)| node.name == *name);
            return if answers {
                Ok(())
            } else {
                Err(format!(
                    "--force-new-cluster must know whom it gives up, and etcd on {name} does not say: leave it out, and a copy of its \
                     data will be made to serve"
                ))
            };
        }
        Err(format!(
            "--force-new-cluster makes one member forget all others, and here quorum is not lost for good ({}): leave it out",
            self.arithmetic(&[]).join(", ")
        ))
    }

    fn cluster(&self) -> Option<Cluster> {
        match self.plane.etcd() {
            Etcd::Living(cluster) | Etcd::NoQuorum(cluster) => Some(cluster),
            Etcd::Silent => None,
        }
    }

    /// Members that live at no address that the inventory has for one.
    fn strangers(&self) -> Vec<EtcdMember> {
        let places = self.inventory.etcd_places();
        let known = |member: &EtcdMember| {
            let mut places = places.iter();
            places.any(|place| member.is_at(place.peer_address))
        };
        let members = self.cluster().map(|cluster| cluster.members.0);
        let members = members.unwrap_or_default().into_iter();
        members.filter(|member| !known(member)).collect()
    }

    fn with_quorum(&self, cluster: &Cluster) -> Proposal {
        let gone = self.gone(cluster);
        if !gone.is_empty() {
            return in_safe_order(cluster, gone);
        }
        if let Some(why) = self.founded_anew(cluster) {
            return Proposal::Refuse(why);
        }
        let mut rejoin = Vec::new();
        let mut settle = Vec::new();
        for own in &self.plane.masters {
            match MasterState::of(own, self.plane) {
                MasterState::Joined => {}
                MasterState::Settling(Settling::NodeGone | Settling::Refused(_))
                | MasterState::Bare
                | MasterState::HalfJoined(_)
                | MasterState::Wiped(_) => rejoin.push(own.node.name.clone()),
                MasterState::Settling(what) => {
                    settle.push(format!("{}: {}", own.node.name, settling(&what)));
                }
                MasterState::Foreign(why) => return Proposal::Refuse(why),
            }
        }
        for seat in self.plane.external.iter().flat_map(|seats| &seats.seats) {
            match SeatState::of(seat, self.plane) {
                SeatState::Member => {}
                SeatState::Foreign(why) | SeatState::Elsewhere(why) => {
                    return Proposal::Refuse(why);
                }
                SeatState::Founding | SeatState::Stopped(_) | SeatState::Missing(_) => {
                    rejoin.push(seat.node.name.clone());
                }
            }
        }
        rejoin.dedup();
        if !rejoin.is_empty() {
            return Proposal::Rejoin(rejoin);
        }
        if !settle.is_empty() {
            return Proposal::Settle(settle.join("; "));
        }
        match self.unread().as_slice() {
            [] => Proposal::Nothing,
            gone => Proposal::Wait(format!(
                "{} does not answer, and nothing is left of it in the cluster: give it back (a new machine will do), then run this again",
                gone.join(", ")
            )),
        }
    }

    /// A cluster that too few masters are members of, while others were, and that no restore has made: it may be a founding on
    /// an empty disk, whose only member is healthy in its own eyes. Joining the others to it would seal the loss of everything.
    fn founded_anew(&self, cluster: &Cluster) -> Option<String> {
        let masters = self.inventory.with_role(Role::Master).count();
        let were_members: Vec<&str> = self
            .plane
            .masters
            .iter()
            .filter(|master| cluster.members.at(master.node.address).is_none())
            .filter(|master| master.report.has(Has::EtcdManifest))
            .map(|master| master.node.name.as_str())
            .collect();
        let is_small = cluster.members.0.len() < quorum(masters) && cluster.left.is_empty();
        (is_small && !were_members.is_empty()).then(|| {
            let members: Vec<&str> = cluster.members.0.iter().map(EtcdMember::label).collect();
            format!(
                "etcd's only members are {}, though {} once were too: it looks like a founding on an empty disk. Restore a backup \
                 (`quorate restore latest`); only if what it holds is right, join the others with `quorate provision`",
                members.join(", "),
                were_members.join(", ")
            )
        })
    }

    /// Members and Nodes of hosts that do not answer, and members that no host of the inventory is.
    fn gone(&self, cluster: &Cluster) -> Vec<Removal> {
        let has_node = |name: &str| {
            self.nodes
                .as_ref()
                .is_some_and(|nodes| nodes.contains(name))
        };
        let mut gone: Vec<Removal> = self
            .unread()
            .into_iter()
            .filter_map(|name| self.inventory.node(name))
            .map(|node| Removal {
                name: node.name.clone(),
                member: cluster.members.at(own_peer(node)).map(|member| member.id),
                address: Some(node.address),
                // Nobody is harmed by the Node of a master that never had a member, and nobody has probed that it is gone.
                has_node: has_node(&node.name) && self.inventory.runs_etcd(node),
            })
            .filter(|removal| removal.member.is_some() || removal.has_node)
            .collect();
        gone.extend(self.strangers().into_iter().map(|member| Removal {
            name: member.label().to_owned(),
            member: Some(member.id),
            address: address(&member),
            has_node: false,
        }));
        gone
    }

    /// Masters and members of etcd that do not answer, each once.
    #[must_use]
    pub fn unread(&self) -> Vec<&str> {
        let seats = self.plane.external.iter().flat_map(|seats| &seats.unread);
        let all: BTreeSet<&str> = self.plane.unread.iter().chain(seats).copied().collect();
        all.into_iter().collect()
    }

    fn without_quorum(&self, cluster: &Cluster) -> Proposal {
        let voters = cluster.members.voters().count();
        let with_data = self.with_data();
        if with_data.len() >= quorum(voters) {
            return Proposal::Wait(format!(
                "{} of {voters} members have their data ({}): start their etcd instead of giving any of it up; look at `journalctl -u {}` there",
                with_data.len(),
                with_data.join(", "),
                self.unit()
            ));
        }
        let silent = self.plane.silent_with_data();
        match (silent.first(), snapshot::best(self.plane)) {
            (Some(silent), Some(answering)) => {
                Proposal::Refuse(unranked(&silent.name, &answering.node.name))
            }
            (None, Some(survivor)) => Proposal::Survivor(survivor.node.name.clone()),
            (_, None) => {
                Proposal::Refuse("no member that answers belongs to the cluster".to_owned())
            }
        }
    }

    fn silent(&self) -> Proposal {
        match self.with_data().as_slice() {
            [] if self.unread().is_empty() => Proposal::Restore,
            [] => Proposal::Refuse(format!(
                "no host that answers has etcd's data, and {} does not answer: bring it back if it can be, else take it out \
                 of the way and restore a backup",
                self.unread().join(", ")
            )),
            [survivor] if self.lacks_quorum() && self.plane.is_waiting(survivor) => {
                Proposal::Survivor((*survivor).to_owned())
            }
            [one, other, ..] if self.lacks_quorum() => Proposal::Refuse(unranked(one, other)),
            with_data => Proposal::Wait(format!(
                "etcd runs nowhere, but its data is there on {}: start it; look at `journalctl -u {}` there",
                with_data.join(", "),
                self.unit()
            )),
        }
    }

    /// Whether too few hosts have data for a quorum of their etcd.
    fn lacks_quorum(&self) -> bool {
        !self.plane.may_have_quorum()
    }

    /// Names of those that answer and have data.
    fn with_data(&self) -> Vec<&str> {
        let hosts = self.plane.with_data().into_iter();
        hosts.map(|node| node.name.as_str()).collect()
    }

    /// The unit that runs etcd.
    fn unit(&self) -> &'static str {
        match self.inventory.etcd {
            EtcdTopology::Stacked => "kubelet",
            EtcdTopology::External(_) => "etcd",
        }
    }
}

/// The removals in an order in which each leaves a quorum of healthy voters; those that cost no vote first.
fn in_safe_order(cluster: &Cluster, mut gone: Vec<Removal>) -> Proposal {
    let is_voter = |removal: &Removal| {
        let member = removal.member.and_then(|id| cluster.members.with_id(id));
        member.is_some_and(|member| !member.is_learner)
    };
    gone.sort_by_key(|removal| (is_voter(removal), removal.name.clone()));
    let mut left = cluster.members.clone();
    for removal in &gone {
        let Some(id) = removal.member else { continue };
        if let Err(why) = left.safe_to_remove(id, &cluster.healthy) {
            let order: Vec<&str> = gone.iter().map(|removal| removal.name.as_str()).collect();
            return Proposal::Refuse(format!(
                "removing {} is not safe: {why}. Bring a master back first; after that the safe order is {}",
                removal.name,
                order.join(", then ")
            ));
        }
        left.0.retain(|member| member.id != id);
    }
    Proposal::Remove(gone)
}

/// Two survivors of which one says nothing.
fn unranked(silent: &str, other: &str) -> String {
    format!(
        "etcd has lost its quorum, {silent} and {other} both have data, and etcd on {silent} does not serve, so nobody can tell whose \
         is newer: a member that was started without a quorum never does. Back both up, switch off the one whose data is to be given \
         up, then run this again"
    )
}

fn line(when: &str, voters: usize, healthy: usize) -> String {
    let needed = quorum(voters);
    match healthy.checked_sub(needed) {
        Some(spare) => format!(
            "{when}: {voters} voters, quorum {needed}, {healthy} healthy: {spare} more may be lost"
        ),
        None => format!("{when}: {voters} voters, quorum {needed}, {healthy} healthy: no quorum"),
    }
}

fn vote(cluster: Option<&Cluster>, member: Option<&EtcdMember>) -> String {
    let (Some(cluster), Some(member)) = (cluster, member) else {
        return "no member".to_owned();
    };
    let kind = if member.is_learner {
        "learner"
    } else {
        "voter"
    };
    let state = if !member.is_started() {
        "never started"
    } else if cluster.healthy.contains(&member.id) {
        "healthy"
    } else {
        "silent"
    };
    format!("{kind}, {state}")
}

fn address(member: &EtcdMember) -> Option<std::net::Ipv4Addr> {
    let url = member.peer_urls.first()?;
    url.strip_prefix("https://")?
        .rsplit_once(':')?
        .0
        .parse()
        .ok()
}

fn in_words(state: &MasterState) -> String {
    match state {
        MasterState::Bare => "blank".to_owned(),
        MasterState::Joined => "joined".to_owned(),
        MasterState::Settling(what) => settling(what),
        MasterState::HalfJoined(why) => format!("half joined: {why}"),
        MasterState::Wiped(why) => format!("lost its data: {why}"),
        MasterState::Foreign(why) => format!("foreign: {why}"),
    }
}

/// Where the other members reach a host's own, if it has one.
fn own_peer(node: &Node) -> std::net::Ipv4Addr {
    node.etcd.map_or(node.address, |seat| seat.peer_address)
}

fn seat_in_words(state: &SeatState) -> String {
    match state {
        SeatState::Founding => "was never started".to_owned(),
        SeatState::Member => "a member".to_owned(),
        SeatState::Stopped(why) => format!("stopped: {why}"),
        SeatState::Missing(why) => format!("missing: {why}"),
        SeatState::Foreign(why) | SeatState::Elsewhere(why) => format!("foreign: {why}"),
    }
}

fn settling(what: &Settling) -> String {
    match what {
        Settling::Job(job) => format!("{job} runs"),
        Settling::Pods(why) | Settling::Refused(why) => why.clone(),
        Settling::NodeGone => "its Node is gone".to_owned(),
    }
}
