//! Which member a snapshot is taken from. Pure.

use std::cmp::Reverse;

use crate::cluster::etcd::View;
use crate::cluster::plane::{Cluster, Etcd, Plane};
use crate::inventory::Node;

/// A member and its host.
#[derive(Debug, Clone, Copy)]
pub struct Best<'p> {
    /// The host.
    pub node: &'p Node,
    /// What its etcd says; `None`: nothing, but its data is there.
    pub view: Option<&'p View>,
}

/// The member whose data is the best: of the cluster that the members agree on, healthy if one is, the highest term and
/// the most entries, and among equals one that does not lead.
///
/// Without quorum nobody is healthy; then the survivor with the newest log is the best there is, as Raft itself would
/// elect it: by term, then by index. If none says anything, it is the only one that has data.
#[must_use]
pub fn best<'p>(plane: &'p Plane<'_>) -> Option<Best<'p>> {
    match plane.etcd() {
        Etcd::Living(cluster) | Etcd::NoQuorum(cluster) => best_of(plane, &cluster),
        Etcd::Silent => match plane.with_data().as_slice() {
            [node] => Some(Best { node, view: None }),
            _ => None,
        },
    }
}

fn best_of<'p>(plane: &'p Plane<'_>, cluster: &Cluster) -> Option<Best<'p>> {
    let worth = |view: &View| (view.is_healthy, view.term, view.applied, view.index);
    let of_cluster = plane.views().into_iter().filter(|(_, view)| {
        let is_learner = cluster
            .members
            .with_id(view.member_id)
            .is_some_and(|member| member.is_learner);
        cluster.knows(view) && !is_learner
    });
    // A follower serves as well and has less to do; a few entries of lag are no reason to load the leader.
    let ranked = of_cluster.min_by_key(|(_, view)| {
        let (is_healthy, term, applied, index) = worth(view);
        Reverse((
            is_healthy,
            term,
            applied / NEAR,
            !view.is_leader(),
            applied,
            index,
        ))
    });
    ranked.map(|(node, view)| Best {
        node,
        view: Some(view),
    })
}

/// Entries that count as no lag while the cluster is written to.
const NEAR: u64 = 1000;

#[cfg(test)]
mod tests {
    #![expect(clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use crate::cluster::report::Answer;
    use crate::cluster::sample::{CLUSTER, joined, plane};
    use crate::testing;

    /// Status of member `member`, led by `leader`.
    fn status(member: u64, leader: u64, term: u64, applied: u64) -> Answer {
        Answer::Http(
            200,
            format!(
                r#"{{"header":{{"cluster_id":"{CLUSTER}","member_id":"{member}","revision":"7"}},"leader":"{leader}","raftTerm":"{term}","raftIndex":"{applied}","raftAppliedIndex":"{applied}"}}"#
            ),
        )
    }

    fn chosen(statuses: [Option<(Answer, bool)>; 3]) -> Option<String> {
        let inventory = testing::inventory();
        let reports = statuses.into_iter().zip(1..).map(|(status, number)| {
            let (status, is_healthy) = status?;
            let mut report = joined(number, &[1, 2, 3]);
            report.etcd_status = status;
            if !is_healthy {
                report.etcd_health = Answer::Http(503, "{\"health\":\"false\"}".to_owned());
            }
            Some(report)
        });
        let plane = plane(&inventory, reports.collect());
        best(&plane).map(|master| master.node.name.clone())
    }

    #[test]
    fn a_healthy_follower_is_preferred_to_its_leader() {
        let chosen = chosen([
            Some((status(1, 1, 5, 120), true)),
            Some((status(2, 1, 5, 118), true)),
            Some((status(3, 1, 5, 119), true)),
        ]);
        assert_eq!(chosen.as_deref(), Some("master3"));
    }

    #[test]
    fn a_follower_that_lags_far_behind_is_not() {
        let chosen = chosen([
            Some((status(1, 1, 5, 9000), true)),
            Some((status(2, 1, 5, 4000), true)),
            None,
        ]);
        assert_eq!(chosen.as_deref(), Some("master1"));
    }

    #[test]
    fn health_goes_before_the_log_and_term_before_index() {
        let healthy = chosen([
            Some((status(1, 0, 6, 9000), false)),
            Some((status(2, 2, 5, 10), true)),
            None,
        ]);
        assert_eq!(healthy.as_deref(), Some("master2"));
        let survivors = chosen([
            Some((status(1, 0, 5, 9000), false)),
            Some((status(2, 0, 6, 8000), false)),
            None,
        ]);
        assert_eq!(survivors.as_deref(), Some("master2"));
    }

    #[test]
    fn one_survivor_without_quorum_is_still_chosen_and_nobody_if_none_answers() {
        let survivor = chosen([None, None, Some((status(3, 0, 5, 10), false))]);
        assert_eq!(survivor.as_deref(), Some("master3"));
        assert_eq!(chosen([None, None, None]), None);
    }

    #[test]
    fn one_that_founded_a_cluster_of_its_own_is_never_chosen() {
        let inventory = testing::inventory();
        let mut refounded = joined(3, &[3]);
        refounded.etcd_status = status(3, 3, 90, 90_000);
        let reports = vec![
            Some(joined(1, &[1, 2, 3])),
            Some(joined(2, &[1, 2, 3])),
            Some(refounded),
        ];
        let plane = plane(&inventory, reports);
        assert_ne!(
            best(&plane).map(|master| &*master.node.name),
            Some(&*plane.masters[2].node.name)
        );
    }
}
