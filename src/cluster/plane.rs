//! The control plane as its masters report it: who holds the CA, which etcd is the cluster's, who lives. Pure.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8Path;

use super::ca::Ca;
use super::etcd::{Member as EtcdMember, MemberId, Members, View, quorum};
use super::etcd_member::Seats;
use super::node::NodeObject;
use super::report::{self, Answer, Has, Report};
use crate::action::Fleet;
use crate::host::probe::Readings;
use crate::inventory::{Inventory, Node, Role};

/// One host of the cluster, as read.
#[derive(Debug, Clone)]
pub struct Member<'a> {
    /// What the inventory says of it.
    pub node: &'a Node,
    /// What it says of itself.
    pub report: Report,
    /// The CA whose certificate it holds.
    pub ca: Option<Ca>,
    /// The jobs of kubeadm that run on it.
    pub jobs: Vec<&'static str>,
    /// The digest of the configuration in force on it.
    pub applied: Option<String>,
    /// What its etcd says.
    pub etcd: Option<View>,
}

impl<'a> Member<'a> {
    /// Reads a master or worker; `None` if its report was not read.
    #[must_use]
    pub fn read(node: &'a Node, readings: &Readings) -> Option<Self> {
        let output = readings.script(&report::script(node)).ok()?;
        let report = Report::parse(&output.stdout);
        let file = |path| readings.file(Utf8Path::new(path)).ok();
        Some(Self {
            node,
            ca: file(report::CA).and_then(|file| Ca::parse(file.text()?)),
            jobs: running(readings),
            applied: file(report::APPLIED)
                .and_then(|file| file.text())
                .map(|text| text.trim().to_owned()),
            etcd: View::of(&report),
            report,
        })
    }

    /// Whether its apiserver serves and its etcd has a quorum. Where etcd is external the apiserver's word is enough: it
    /// looks after etcd itself.
    #[must_use]
    pub fn is_living(&self) -> bool {
        let has_quorum = || self.etcd.as_ref().is_some_and(|view| view.is_healthy);
        self.report.readyz.is_ok() && (self.report.has(Has::ExternalEtcd) || has_quorum())
    }

    /// Its own Node object, if the cluster has one that it may read.
    #[must_use]
    pub fn node_object(&self) -> Option<NodeObject> {
        object_in(&self.report)
    }

    /// Whether kubeadm or a cluster has left anything on it.
    #[must_use]
    pub fn is_bare(&self) -> bool {
        let traces = [
            Has::KubeletConf,
            Has::BootstrapConf,
            Has::AdminConf,
            Has::ApiserverCert,
            Has::ApiserverManifest,
            Has::EtcdManifest,
            Has::EtcdData,
        ];
        !traces.iter().any(|trace| self.report.has(*trace))
    }
}

/// The Node object of a host, as [`Member::node_object`] has it, without the rest of what the host says.
#[must_use]
pub fn own_object(node: &Node, readings: &Readings) -> Option<NodeObject> {
    let output = readings.script(&report::script(node)).ok()?;
    object_in(&Report::parse(&output.stdout))
}

fn object_in(report: &Report) -> Option<NodeObject> {
    NodeObject::parse(report.node.body()?)
}

fn running(readings: &Readings) -> Vec<&'static str> {
    let runs = |job: &&str| {
        readings
            .unit(&report::unit_of(job))
            .is_ok_and(|unit| unit.active || unit.state.contains("activating"))
    };
    report::JOBS.into_iter().filter(runs).collect()
}

/// All masters of the inventory that were read, in its order.
#[derive(Debug, Clone)]
pub struct Plane<'a> {
    /// Those read.
    pub masters: Vec<Member<'a>>,
    /// The names of those that were not.
    pub unread: Vec<&'a str>,
    /// The members of an external etcd; `None`: it is stacked, and the masters' own.
    pub external: Option<Seats<'a>>,
}

/// Which etcd is the cluster's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Etcd {
    /// No member answers.
    Silent,
    /// One answers, but has no quorum.
    NoQuorum(Cluster),
    /// It lives.
    Living(Cluster),
}

/// An etcd cluster, as its members see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Its id.
    pub id: MemberId,
    /// Its members.
    pub members: Members,
    /// Those that answered as healthy themselves.
    pub healthy: BTreeSet<MemberId>,
    /// What its data has left behind when it was restored, see [`super::restore::left_behind`].
    pub left: BTreeSet<MemberId>,
}

impl<'a> Plane<'a> {
    /// Puts the readings together.
    #[must_use]
    pub fn read(inventory: &'a Inventory, fleet: &Fleet) -> Self {
        let mut plane = Self {
            masters: Vec::new(),
            unread: Vec::new(),
            external: inventory
                .etcd
                .external()
                .map(|_| Seats::read(inventory, fleet)),
        };
        for node in inventory.with_role(Role::Master) {
            match Member::read(node, fleet.of(&node.name)) {
                Some(master) => plane.masters.push(master),
                None => plane.unread.push(&node.name),
            }
        }
        plane
    }

    /// The master of that name.
    #[must_use]
    pub fn of(&self, name: &str) -> Option<&Member<'a>> {
        self.masters.iter().find(|master| master.node.name == name)
    }

    /// The masters that serve the cluster: those whose data a restore has left behind do not.
    pub fn living(&self) -> impl Iterator<Item = &Member<'a>> {
        let left = self.left_behind();
        let is_left = move |master: &Member<'_>| {
            let view = master.etcd.as_ref();
            view.is_some_and(|view| view.is_of(&left))
        };
        let serving = self.masters.iter().filter(|master| master.is_living());
        serving.filter(move |master| !is_left(master))
    }

    /// The CA of the cluster: that of a living master, else that of any master; the first in order.
    #[must_use]
    pub fn ca(&self) -> Option<&Ca> {
        self.living()
            .chain(&self.masters)
            .find_map(|master| master.ca.as_ref())
    }

    /// What each member of etcd says, with its host.
    #[must_use]
    pub fn views(&self) -> Vec<(&'a Node, &View)> {
        match &self.external {
            None => self
                .masters
                .iter()
                .filter_map(|master| Some((master.node, master.etcd.as_ref()?)))
                .collect(),
            Some(seats) => seats
                .seats
                .iter()
                .filter_map(|seat| Some((seat.node, seat.etcd.as_ref()?)))
                .collect(),
        }
    }

    /// The cluster's etcd, with the views of all members weighed against each other.
    ///
    /// Members that say the same (cluster, member ids) support one view. The view that most members support wins, and among
    /// equals the larger, *even if it has no quorum*: a host whose data was wiped and that then founded a cluster of its own
    /// is healthy in its own eyes, with the same cluster id and member id as before (etcd derives both from the first
    /// member's URL), so neither ids nor health can tell it from the real one, but its list is shorter.
    ///
    /// Before that, views are set aside that a restore has left behind: a master that was lost when the survivor's data
    /// became a cluster of one, and that comes back with its old disk, knows more members than the cluster has, and two of
    /// them even have a quorum. And the data that a restore has made last counts before all: a survivor whose data became a
    /// cluster of one may be lost itself, and be back after another one's did.
    #[must_use]
    pub fn etcd(&self) -> Etcd {
        let left = self.left_behind();
        let mut views: BTreeMap<(MemberId, BTreeSet<MemberId>), Vec<&View>> = BTreeMap::new();
        let current = self.views().into_iter().map(|(_, view)| view);
        for view in current.filter(|view| !view.is_of(&left)) {
            views
                .entry((view.cluster_id, view.members.ids()))
                .or_default()
                .push(view);
        }
        let best = views
            .iter()
            .max_by_key(|((_, ids), views)| (made(views), views.len(), ids.len()));
        let Some(((id, _), views)) = best else {
            return Etcd::Silent;
        };
        let members = views
            .first()
            .map(|view| view.members.clone())
            .unwrap_or_default();
        let healthy: BTreeSet<_> = views
            .iter()
            .filter(|view| view.is_healthy)
            .map(|view| view.member_id)
            .collect();
        let cluster = Cluster {
            id: *id,
            members,
            healthy,
            left,
        };
        if cluster.healthy.is_empty() {
            Etcd::NoQuorum(cluster)
        } else {
            Etcd::Living(cluster)
        }
    }

    /// What the data of any member has left behind.
    fn left_behind(&self) -> BTreeSet<MemberId> {
        let views = self.views().into_iter();
        views
            .flat_map(|(_, view)| view.past.left.iter().copied())
            .collect()
    }

    /// What keeps the cluster's etcd from being whole, in words.
    #[must_use]
    pub fn troubles(&self) -> Vec<String> {
        match self.etcd() {
            Etcd::Living(cluster) => cluster.troubles(),
            Etcd::NoQuorum(_) => vec!["etcd has no quorum".to_owned()],
            Etcd::Silent => vec!["no etcd member answers".to_owned()],
        }
    }

    /// What keeps those members of etcd from being healthy voters that the inventory has, in words. Where etcd is stacked all
    /// count: kubeadm asks every one.
    #[must_use]
    pub fn own_troubles(&self) -> Vec<String> {
        match self.etcd() {
            Etcd::Living(cluster) => cluster.troubles_of(|member| !self.is_former(member)),
            Etcd::NoQuorum(_) | Etcd::Silent => self.troubles(),
        }
    }

    /// The members of an external etcd that the inventory has not, or not any more.
    #[must_use]
    pub fn former_members(&self, cluster: &Cluster) -> Vec<EtcdMember> {
        let members = cluster.members.0.iter();
        members
            .filter(|member| self.is_former(member))
            .cloned()
            .collect()
    }

    fn is_former(&self, member: &EtcdMember) -> bool {
        let seats = self.external.as_ref();
        seats.is_some_and(|seats| !seats.places.iter().any(|place| member.is_at(*place)))
    }

    /// What keeps the etcd members of all *other* hosts from being healthy voters: while there is any, this host's member
    /// must not be stopped. Those that the inventory has no more are not counted, see [`Self::former_members`].
    #[must_use]
    pub fn troubles_beside(&self, host: &str) -> Vec<String> {
        match self.etcd() {
            Etcd::Living(cluster) | Etcd::NoQuorum(cluster) => {
                cluster.troubles_of(|member| member.name != host && !self.is_former(member))
            }
            Etcd::Silent if self.places() > 1 => {
                vec!["no etcd member answers".to_owned()]
            }
            Etcd::Silent => Vec::new(),
        }
    }

    /// Hosts that answer and have etcd's data, and its manifest where it is stacked.
    #[must_use]
    pub fn with_data(&self) -> Vec<&'a Node> {
        if let Some(seats) = &self.external {
            let seats = seats.seats.iter().filter(|seat| seat.has_data());
            return seats.map(|seat| seat.node).collect();
        }
        let has = |master: &&Member<'a>| {
            master.report.has(Has::EtcdData) && master.report.has(Has::EtcdManifest)
        };
        let masters = self.masters.iter().filter(has);
        masters.map(|master| master.node).collect()
    }

    /// Those of them on which etcd does not serve.
    #[must_use]
    pub fn silent_with_data(&self) -> Vec<&'a Node> {
        let views = self.views();
        let serves = |node: &Node| views.iter().any(|(it, _)| it.name == node.name);
        let mut hosts = self.with_data();
        hosts.retain(|node| !serves(node));
        hosts
    }

    /// Whether etcd on that host runs and says that it sees no leader, though it may not serve yet.
    #[must_use]
    pub fn is_waiting(&self, name: &str) -> bool {
        let seats = self.external.iter().flat_map(|seats| &seats.seats);
        let seats = seats.map(|seat| (seat.node, &seat.report));
        let masters = self.masters.iter().map(|own| (own.node, &own.report));
        let mut reports = masters.chain(seats).filter(|(node, _)| node.name == name);
        reports.any(|(_, report)| is_waiting(report))
    }

    /// Of those on which etcd does not serve, the ones of which more may be known in a moment: while there is no quorum, and
    /// unless kubelet refuses etcd or too few have data to be one and etcd says so itself.
    #[must_use]
    pub fn starting(&self) -> Vec<&'a Node> {
        if matches!(self.etcd(), Etcd::Living(_)) {
            return Vec::new();
        }
        let is_refused = |node: &Node| {
            let master = self.of(&node.name);
            master.is_some_and(|master| master.report.refused.is_some())
        };
        let may_have_quorum = self.may_have_quorum();
        let is_known = |node: &Node| !may_have_quorum && self.is_waiting(&node.name);
        let mut hosts = self.silent_with_data();
        hosts.retain(|node| !is_refused(node) && !is_known(node));
        hosts
    }

    /// Whether enough hosts answer and have data to be a quorum, if all places of etcd in the inventory have a vote.
    #[must_use]
    pub fn may_have_quorum(&self) -> bool {
        self.with_data().len() >= quorum(self.places())
    }

    /// How many places etcd has in the inventory.
    fn places(&self) -> usize {
        match &self.external {
            Some(seats) => seats.seats.len() + seats.unread.len(),
            None => self.masters.len() + self.unread.len(),
        }
    }

    /// Whether any master has ever been part of a cluster.
    #[must_use]
    pub fn is_founded(&self) -> bool {
        self.masters
            .iter()
            .any(|master| master.ca.is_some() || master.report.has(Has::EtcdData))
    }
}

impl Cluster {
    /// Whether a member's view is one of this cluster: the same id, and it knows others of it (or there are none).
    ///
    /// A member that lags behind knows some; one that founded a cluster of its own knows none, and one whose data was left
    /// behind knows those that are gone.
    #[must_use]
    pub fn knows(&self, view: &View) -> bool {
        let (own, all) = (view.members.ids(), self.members.ids());
        let shares_others = own.intersection(&all).any(|id| *id != view.member_id);
        view.cluster_id == self.id && (own == all || shares_others) && !view.is_of(&self.left)
    }

    /// Every member that is not a started, healthy voter, in words.
    #[must_use]
    pub fn troubles(&self) -> Vec<String> {
        self.troubles_of(|_| true)
    }

    fn troubles_of(&self, counts: impl Fn(&EtcdMember) -> bool) -> Vec<String> {
        let trouble = |member: &EtcdMember| {
            let label = member.label();
            if !member.is_started() {
                Some(format!("etcd member {label} has never started"))
            } else if member.is_learner {
                Some(format!("etcd member {label} is still a learner"))
            } else if self.healthy.contains(&member.id) {
                None
            } else {
                Some(format!("etcd member {label} does not answer as healthy"))
            }
        };
        let members = self.members.0.iter().filter(|member| counts(member));
        members.filter_map(trouble).collect()
    }
}

/// When the last of the data was made that these say to be theirs, if a restore has made any.
fn made(views: &[&View]) -> Option<u64> {
    views.iter().filter_map(|view| view.past.made).max()
}

/// In a few words, for messages: `its apiserver does not answer`.
#[must_use]
pub fn ailment(master: &Member<'_>) -> String {
    if let Some(refused) = &master.report.refused {
        return format!("its kubelet refuses {}", crate::text::escape(refused));
    }
    match (&master.report.readyz, &master.etcd) {
        (_, None) if is_waiting(&master.report) => "its etcd waits for a quorum".to_owned(),
        (_, None) if master.report.has(Has::EtcdManifest) => "its etcd does not answer".to_owned(),
        (_, Some(view)) if !view.is_healthy => "its etcd has no quorum".to_owned(),
        (Answer::Unreachable, _) => "its apiserver does not answer".to_owned(),
        (Answer::Http(code, _), _) if *code != 200 => {
            format!("its apiserver answers /readyz with {code}")
        }
        (Answer::Absent, _) => "it has no apiserver".to_owned(),
        (Answer::Http(..), _) => "its apiserver answers".to_owned(),
    }
}

/// Whether etcd runs and serves nobody yet: it was started while there was no quorum.
fn is_waiting(report: &Report) -> bool {
    report.etcd_status == Answer::Unreachable
        && matches!(report.etcd_health, Answer::Http(code, _) if code != 200)
}
