//! In which state a master is, judged from what it and the others say. Pure.
//!
//! | state       | what was read                                                                  | what follows                         |
//! |-------------|--------------------------------------------------------------------------------|--------------------------------------|
//! | bare        | no trace of kubeadm (the CA's files may lie there already)                      | join                                 |
//! | joined      | voter of the cluster's etcd, `/readyz` 200, a Node object, no mark of a join    | nothing                              |
//! | settling    | a job of kubeadm runs, or everything is in place and is only starting           | wait                                 |
//! | half joined | files without a finished join, a learner, no longer a member                    | remove member, reset, join           |
//! | wiped       | etcd's manifest and the CA, but an empty data directory, or one of another etcd | manifests away at once, then as above |
//! | foreign     | another cluster's CA                                                            | refuse                               |

use super::ca::Ca;
use super::etcd::Member as EtcdMember;
use super::plane::{Cluster, Etcd, Member, Plane, ailment};
use super::report::{Answer, Has};

/// The state of a master.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MasterState {
    /// Nothing was done yet.
    Bare,
    /// Part of the control plane.
    Joined,
    /// Will become `Joined` by itself: wait.
    Settling(Settling),
    /// A join did not finish; why that is known.
    HalfJoined(String),
    /// Its etcd data is gone or of another cluster: its manifests must not start again.
    Wiped(String),
    /// It holds another cluster's CA.
    Foreign(String),
}

/// What is awaited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settling {
    /// A job of an earlier run.
    Job(&'static str),
    /// Its static pods.
    Pods(String),
    /// Its Node object, which somebody deleted: kubelet makes it when it starts.
    NodeGone,
}

impl MasterState {
    /// Judges a master among the others.
    #[must_use]
    pub fn of(own: &Member<'_>, plane: &Plane<'_>) -> Self {
        if let Some(job) = own.jobs.first() {
            return Self::Settling(Settling::Job(job));
        }
        let others = plane
            .living()
            .chain(&plane.masters)
            .filter(|master| master.node.name != own.node.name);
        if let Some(why) = foreign(own, others.filter_map(|master| master.ca.as_ref()).next()) {
            return Self::Foreign(why);
        }
        if own.is_bare() {
            return Self::Bare;
        }
        match plane.etcd() {
            Etcd::Living(cluster) | Etcd::NoQuorum(cluster) => beside(own, &cluster),
            Etcd::Silent => alone(own, plane),
        }
    }
}

fn foreign(own: &Member<'_>, cluster: Option<&Ca>) -> Option<String> {
    let (own_ca, cluster) = (own.ca.as_ref()?, cluster?);
    (!own_ca.is(cluster)).then(|| {
        format!(
            "{} holds the CA {}…, the other masters {}…",
            own.node.name,
            own_ca.short(),
            cluster.short()
        )
    })
}

/// A master that is not bare, while some master's etcd answers (its own, perhaps).
fn beside(own: &Member<'_>, cluster: &Cluster) -> MasterState {
    let has = |what| own.report.has(what);
    let entry = cluster.members.at(own.node.address);
    if has(Has::EtcdManifest) {
        if own.etcd.as_ref().is_some_and(|view| !cluster.knows(view)) {
            return MasterState::Wiped("its etcd is not a member of the cluster's".to_owned());
        }
        if !has(Has::EtcdData) && entry.is_some_and(EtcdMember::is_started) {
            return MasterState::Wiped("its etcd data directory is empty".to_owned());
        }
    }
    if has(Has::Joining) {
        return MasterState::HalfJoined("a kubeadm join did not finish".to_owned());
    }
    if !has(Has::EtcdManifest) || !has(Has::ApiserverManifest) {
        return MasterState::HalfJoined("static pod manifests are missing".to_owned());
    }
    match entry {
        None => MasterState::HalfJoined("etcd does not list it as a member".to_owned()),
        Some(member) if !member.is_started() => {
            MasterState::HalfJoined("its etcd member has never started".to_owned())
        }
        Some(member) if member.is_learner => {
            MasterState::HalfJoined("its etcd member was never promoted".to_owned())
        }
        Some(_) => whole(own),
    }
}

/// A master that is not bare, while no etcd answers: all are starting, or none will.
fn alone(own: &Member<'_>, plane: &Plane<'_>) -> MasterState {
    let has = |what| own.report.has(what);
    let others_have_data = plane
        .masters
        .iter()
        .any(|master| master.node.name != own.node.name && master.report.has(Has::EtcdData));
    if has(Has::EtcdManifest) && !has(Has::EtcdData) && others_have_data {
        return MasterState::Wiped("its etcd data directory is empty".to_owned());
    }
    if has(Has::Joining) {
        return MasterState::HalfJoined("a kubeadm join did not finish".to_owned());
    }
    whole(own)
}

/// A master whose etcd member is right.
fn whole(own: &Member<'_>) -> MasterState {
    if !own.is_living() {
        return MasterState::Settling(Settling::Pods(ailment(own)));
    }
    match &own.report.node {
        Answer::Http(200, _) => MasterState::Joined,
        Answer::Http(404, _) => MasterState::Settling(Settling::NodeGone),
        Answer::Absent => MasterState::HalfJoined("its kubelet never got a certificate".to_owned()),
        Answer::Http(..) | Answer::Unreachable => {
            MasterState::Settling(Settling::Pods("its Node cannot be read".to_owned()))
        }
    }
}
