//! In which state a master is, judged from what it and the others say. Pure.
//!
//! | state       | what was read                                                                  | what follows                         |
//! |-------------|--------------------------------------------------------------------------------|--------------------------------------|
//! | bare        | no trace of kubeadm (the CA's files may lie there already)                      | join                                 |
//! | joined      | voter of the cluster's etcd, `/readyz` 200, a Node object, no mark of a join    | nothing                              |
//! | settling    | a job of kubeadm runs, or everything is in place and is only starting           | wait                                 |
//! | half joined | files without a finished join, a learner, no longer a member                    | remove member, reset, join           |
//! | wiped       | etcd's manifest and the CA, but an empty data directory, or one of another etcd | manifests away at once, then as above |
//! | foreign     | another cluster's CA, or etcd where the inventory has it not                    | refuse                               |
//!
//! With an external etcd a master has no data to lose: it is bare, joined, settling, half joined or foreign.

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
    /// Its kubelet, which refuses a static pod: started again, it admits it, see [`super::kubelet`].
    Refused(String),
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
        let mut others = plane
            .living()
            .chain(&plane.masters)
            .filter(|master| master.node.name != own.node.name);
        if let Some(why) = foreign(own, others.find_map(|master| master.ca.as_ref())) {
            return Self::Foreign(why);
        }
        if own.is_bare() {
            return Self::Bare;
        }
        if let Some(why) = other_topology(own, plane) {
            return Self::Foreign(why);
        }
        if plane.external.is_some() {
            return with_external(own);
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

/// A master whose etcd is where the inventory has it not.
fn other_topology(own: &Member<'_>, plane: &Plane<'_>) -> Option<String> {
    let name = &own.node.name;
    match (&plane.external, own.report.has(Has::ExternalEtcd)) {
        (Some(_), _) if own.report.has(Has::EtcdManifest) => Some(format!(
            "{name} runs a stacked member of etcd, and the inventory has etcd as a cluster of its own"
        )),
        (None, true) => Some(format!(
            "{name} works with an etcd that is a cluster of its own, and the inventory has etcd stacked on the masters"
        )),
        (Some(_) | None, _) => None,
    }
}

/// A master that is not bare and whose etcd is elsewhere.
fn with_external(own: &Member<'_>) -> MasterState {
    if own.report.has(Has::Joining) {
        return MasterState::HalfJoined("a kubeadm join did not finish".to_owned());
    }
    if !own.report.has(Has::ApiserverManifest) {
        return MasterState::HalfJoined("static pod manifests are missing".to_owned());
    }
    whole(own)
}

/// A master that is not bare, while some master's etcd answers (its own, perhaps).
fn beside(own: &Member<'_>, cluster: &Cluster) -> MasterState {
    let has = |what| own.report.has(what);
    let entry = cluster.members.at(own.node.address);
    if has(Has::EtcdManifest) {
        let view = own.etcd.as_ref();
        if view.is_some_and(|view| view.is_of(&cluster.left)) {
            let why = "its etcd has the data that a restore has left behind";
            return MasterState::Wiped(why.to_owned());
        }
        if view.is_some_and(|view| !cluster.knows(view)) {
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
        let kind = match own.report.refused {
            Some(_) => Settling::Refused,
            None => Settling::Pods,
        };
        return MasterState::Settling(kind(ailment(own)));
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

#[cfg(test)]
mod tests {
    #![expect(clippy::indexing_slicing, reason = "tests")]
    use super::super::ca::samples;
    use super::super::report::Report;
    use super::super::sample::{CLUSTER, joined, learner, list, plane, started, status, unstarted};
    use super::*;
    use crate::testing;

    /// The kind of a state, without its words.
    fn kind(state: &MasterState) -> &'static str {
        match state {
            MasterState::Bare => "bare",
            MasterState::Joined => "joined",
            MasterState::Settling(_) => "settling",
            MasterState::HalfJoined(_) => "half joined",
            MasterState::Wiped(_) => "wiped",
            MasterState::Foreign(_) => "foreign",
        }
    }

    fn without(mut report: Report, things: &[Has]) -> Report {
        report.has.retain(|has| !things.contains(has));
        report
    }

    fn with(mut report: Report, thing: Has) -> Report {
        report.has.insert(thing);
        report
    }

    fn silent(report: Report) -> Report {
        Report {
            readyz: Answer::Unreachable,
            node: Answer::Unreachable,
            etcd_status: Answer::Unreachable,
            etcd_members: Answer::Absent,
            etcd_health: Answer::Absent,
            ..report
        }
    }

    fn members(report: Report, members: &[String]) -> Report {
        Report {
            etcd_members: list(members),
            ..report
        }
    }

    /// Judges the third master.
    fn third(reports: [Report; 3]) -> MasterState {
        let inventory = testing::inventory();
        let plane = plane(&inventory, reports.map(Some).into());
        let own = plane.masters.last().expect("three masters");
        MasterState::of(own, &plane)
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "one table")]
    fn what_was_read_decides_the_state() {
        let all = [1, 2, 3];
        let two = || [joined(1, &[1, 2]), joined(2, &[1, 2])];
        let three = || [joined(1, &all), joined(2, &all)];
        let listing = |last: String| {
            let list = [started(1), started(2), last];
            [
                members(joined(1, &all), &list),
                members(joined(2, &all), &list),
            ]
        };
        let refounded = || Report {
            etcd_status: status(CLUSTER, 3),
            etcd_members: list(&[started(3)]),
            ..joined(3, &all)
        };
        let bare = Report::default;
        let cases = vec![
            ("nothing on it", two(), bare(), "bare"),
            (
                "only the CAs were copied",
                two(),
                with(bare(), Has::CaKey),
                "bare",
            ),
            ("replaced, still listed", three(), bare(), "bare"),
            ("as it should be", three(), joined(3, &all), "joined"),
            (
                "an earlier join was cut off",
                two(),
                with(joined(3, &all), Has::Joining),
                "half joined",
            ),
            (
                "died before etcd",
                two(),
                silent(without(
                    joined(3, &all),
                    &[Has::EtcdManifest, Has::EtcdData],
                )),
                "half joined",
            ),
            (
                "died after member add",
                listing(unstarted(3)),
                silent(without(joined(3, &all), &[Has::EtcdData])),
                "half joined",
            ),
            (
                "never promoted",
                listing(learner(3)),
                members(joined(3, &all), &[started(1), started(2), learner(3)]),
                "half joined",
            ),
            (
                "member was removed",
                two(),
                silent(joined(3, &all)),
                "half joined",
            ),
            (
                "kubelet has no certificate",
                three(),
                Report {
                    node: Answer::Absent,
                    ..joined(3, &all)
                },
                "half joined",
            ),
            (
                "coming up after a reboot",
                three(),
                silent(joined(3, &all)),
                "settling",
            ),
            (
                "apiserver not up yet",
                three(),
                Report {
                    readyz: Answer::Http(500, String::new()),
                    ..joined(3, &all)
                },
                "settling",
            ),
            (
                "its Node was deleted",
                three(),
                Report {
                    node: Answer::Http(404, String::new()),
                    ..joined(3, &all)
                },
                "settling",
            ),
            (
                "lags behind in the member list",
                three(),
                members(joined(3, &all), &[started(1), started(3)]),
                "joined",
            ),
            (
                "data wiped, etcd down",
                three(),
                silent(without(joined(3, &all), &[Has::EtcdData])),
                "wiped",
            ),
            (
                "data wiped under a running etcd",
                three(),
                without(joined(3, &all), &[Has::EtcdData]),
                "wiped",
            ),
            (
                "founded a cluster of the same id",
                three(),
                refounded(),
                "wiped",
            ),
            (
                "founded another cluster",
                three(),
                Report {
                    etcd_status: status(5, 3),
                    ..refounded()
                },
                "wiped",
            ),
            (
                "data wiped while all are down",
                three().map(silent),
                silent(without(joined(3, &all), &[Has::EtcdData])),
                "wiped",
            ),
            (
                "all are starting",
                three().map(silent),
                silent(joined(3, &all)),
                "settling",
            ),
        ];
        for (what, [first, second], own, expected) in cases {
            let state = third([first, second, own]);
            assert_eq!(kind(&state), expected, "{what}: {state:?}");
        }
    }

    #[test]
    fn another_clusters_ca_is_foreign() {
        let inventory = testing::inventory();
        let mut plane = plane(
            &inventory,
            [1, 2, 3].map(|id| Some(joined(id, &[1, 2, 3]))).into(),
        );
        plane.masters[2].ca = Ca::parse(samples::OTHER);
        assert_eq!(kind(&MasterState::of(&plane.masters[2], &plane)), "foreign");
    }

    #[test]
    fn a_running_job_is_waited_for() {
        let inventory = testing::inventory();
        let mut plane = plane(
            &inventory,
            vec![Some(joined(1, &[1])), Some(Report::default())],
        );
        plane.masters[1].jobs.push("kubeadm-join");
        let state = MasterState::of(&plane.masters[1], &plane);
        assert_eq!(state, MasterState::Settling(Settling::Job("kubeadm-join")));
    }

    #[test]
    fn a_wiped_first_master_of_two_is_not_believed() {
        let inventory = testing::inventory();
        let refounded = joined(1, &[1]);
        let survivor = Report {
            readyz: Answer::Http(500, String::new()),
            etcd_health: Answer::Http(503, r#"{"health":"false"}"#.to_owned()),
            ..joined(2, &[1, 2])
        };
        let plane = plane(&inventory, vec![Some(refounded), Some(survivor)]);
        let states: Vec<&str> = plane
            .masters
            .iter()
            .map(|own| kind(&MasterState::of(own, &plane)))
            .collect();
        assert_eq!(states, ["wiped", "settling"]);
    }

    #[test]
    fn the_only_master_is_joined() {
        let inventory = testing::inventory();
        let plane = plane(
            &inventory,
            vec![Some(joined(1, &[1])), Some(Report::default())],
        );
        assert_eq!(
            MasterState::of(&plane.masters[0], &plane),
            MasterState::Joined
        );
    }
}
