//! etcd: members, views and the arithmetic of quorum. Pure.

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;

use serde_json::Value;

use super::report::Report;
use super::restore::Past;
use crate::host::command::Script;
use crate::inventory::EtcdTopology;

/// On a member of an external etcd: how it became one, `new` (it founded the cluster with others) or `existing` (it was added).
/// It lies beside the configuration and not with the data, so that a member that has lost its data is known as one.
pub const MEMBERSHIP: &str = "/etc/etcd/membership";

/// A member's or a cluster's id: 64 bits, shown in hexadecimal, decimal in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub u64);

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl MemberId {
    /// Reads one in hexadecimal.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        u64::from_str_radix(text, 16).ok().map(Self)
    }

    /// All ids of a text, in hexadecimal with spaces between; what is none is left out.
    #[must_use]
    pub fn all_in(text: &str) -> BTreeSet<Self> {
        text.split_whitespace().filter_map(Self::parse).collect()
    }

    /// The text that `all_in` reads.
    #[must_use]
    pub fn in_words(ids: &BTreeSet<Self>) -> String {
        let words: Vec<String> = ids.iter().map(ToString::to_string).collect();
        words.join(" ")
    }
}

/// One member as the member list has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub id: MemberId,
    /// Its name; empty until it has started once.
    pub name: String,
    /// How the others reach it.
    pub peer_urls: Vec<String>,
    /// How clients reach it; empty until it has started once.
    pub client_urls: Vec<String>,
    /// Whether it is still catching up and has no vote.
    pub is_learner: bool,
}

impl Member {
    /// Whether it has ever started: then it has told the others where clients reach it. A member that its cluster was founded
    /// with has a name before.
    #[must_use]
    pub fn is_started(&self) -> bool {
        !self.name.is_empty() && !self.client_urls.is_empty()
    }

    /// Whether it lives at that address.
    #[must_use]
    pub fn is_at(&self, address: Ipv4Addr) -> bool {
        self.peer_urls.contains(&peer_url(address))
    }

    /// What to call it: its name, or its peer URL while it has none.
    #[must_use]
    pub fn label(&self) -> &str {
        if !self.name.is_empty() {
            return &self.name;
        }
        self.peer_urls.first().map_or("?", String::as_str)
    }
}

/// The peer URL of the member of a master.
#[must_use]
pub fn peer_url(address: Ipv4Addr) -> String {
    format!("https://{address}:2380")
}

/// The client URL of the member of a master.
#[must_use]
pub fn client_url(address: Ipv4Addr) -> String {
    format!("https://{address}:2379")
}

/// A member list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Members(pub Vec<Member>);

impl Members {
    /// Reads the answer of `/v3/cluster/member/list`; `None` if it is not one.
    #[must_use]
    pub fn parse(json: &str) -> Option<Self> {
        let answer: Value = serde_json::from_str(json).ok()?;
        let members = answer.get("members")?.as_array()?;
        members.iter().map(member).collect::<Option<_>>().map(Self)
    }

    /// The ids of all.
    #[must_use]
    pub fn ids(&self) -> BTreeSet<MemberId> {
        self.0.iter().map(|member| member.id).collect()
    }

    /// Those with a vote.
    pub fn voters(&self) -> impl Iterator<Item = &Member> {
        self.0.iter().filter(|member| !member.is_learner)
    }

    /// How many votes make a quorum.
    #[must_use]
    pub fn quorum(&self) -> usize {
        quorum(self.voters().count())
    }

    /// The member that lives at that address.
    #[must_use]
    pub fn at(&self, address: Ipv4Addr) -> Option<&Member> {
        self.0.iter().find(|member| member.is_at(address))
    }

    /// The member of that id.
    #[must_use]
    pub fn with_id(&self, id: MemberId) -> Option<&Member> {
        self.0.iter().find(|member| member.id == id)
    }

    /// How many of the healthy members may be lost before the rest has no quorum; `None`: it has none now.
    #[must_use]
    pub fn tolerance(&self, healthy: &BTreeSet<MemberId>) -> Option<usize> {
        self.healthy_voters(healthy).checked_sub(self.quorum())
    }

    /// Whether removing that member leaves a quorum of healthy voters, and can be agreed on at all.
    ///
    /// Two things must hold: the members that are healthy now must be a quorum of the present list (or nobody can agree on
    /// the removal), and the healthy ones that stay must be a quorum of the shorter list. Removing a learner changes no
    /// quorum.
    pub fn safe_to_remove(
        &self,
        id: MemberId,
        healthy: &BTreeSet<MemberId>,
    ) -> Result<(), UnsafeRemoval> {
        let Some(member) = self.with_id(id) else {
            return Ok(());
        };
        let voters = self.voters().count();
        let alive = self.healthy_voters(healthy);
        if alive < quorum(voters) {
            return Err(UnsafeRemoval::NoQuorum {
                alive,
                needed: quorum(voters),
            });
        }
        if member.is_learner {
            return Ok(());
        }
        let left = alive - usize::from(healthy.contains(&id));
        let needed = quorum(voters - 1);
        if voters == 1 || left < needed {
            return Err(UnsafeRemoval::LosesQuorum { left, needed });
        }
        Ok(())
    }

    fn healthy_voters(&self, healthy: &BTreeSet<MemberId>) -> usize {
        self.voters()
            .filter(|member| healthy.contains(&member.id))
            .count()
    }
}

/// Votes that make a quorum among so many voters.
#[must_use]
pub fn quorum(voters: usize) -> usize {
    voters / 2 + 1
}

/// Why a member must not be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnsafeRemoval {
    /// Nobody could agree on it.
    #[error("only {alive} of the etcd members answer as healthy, and {needed} must agree")]
    NoQuorum {
        /// Healthy voters.
        alive: usize,
        /// Quorum.
        needed: usize,
    },
    /// What stays would be no quorum.
    #[error("it would leave {left} healthy etcd members where {needed} are needed")]
    LosesQuorum {
        /// Healthy voters that stay.
        left: usize,
        /// Quorum of the shorter list.
        needed: usize,
    },
}

/// What one etcd says of itself and of its cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// The cluster it belongs to.
    pub cluster_id: MemberId,
    /// Its own id.
    pub member_id: MemberId,
    /// The leader it follows; `None`: it knows none.
    pub leader: Option<MemberId>,
    /// Whether it answers writes: it has a leader and a quorum.
    pub is_healthy: bool,
    /// The members it knows.
    pub members: Members,
    /// The revision of its key space.
    pub revision: u64,
    /// Raft's term.
    pub term: u64,
    /// The last entry of Raft's log that it has.
    pub index: u64,
    /// The last entry that it has applied to its key space.
    pub applied: u64,
    /// etcd's version, `3.4.23`; empty if it does not say.
    pub version: String,
    /// What its data says of its past: what it has left behind are ids of clusters and members.
    pub past: Past,
}

impl View {
    /// Whether it is of a cluster or of a membership that is among those ids.
    #[must_use]
    pub fn is_of(&self, ids: &BTreeSet<MemberId>) -> bool {
        ids.contains(&self.cluster_id) || !self.members.ids().is_disjoint(ids)
    }

    /// Puts together what a host's etcd answered; `None` if it did not answer.
    #[must_use]
    pub fn of(report: &Report) -> Option<Self> {
        let status: Value = serde_json::from_str(report.etcd_status.body()?).ok()?;
        let header = status.get("header")?;
        let number = |value: Option<&Value>| value.and_then(number).unwrap_or_default();
        Some(Self {
            cluster_id: id_of(header.get("cluster_id")?)?,
            member_id: id_of(header.get("member_id")?)?,
            leader: status
                .get("leader")
                .and_then(id_of)
                .filter(|leader| leader.0 != 0),
            is_healthy: report.etcd_health.body().is_some_and(is_healthy),
            members: Members::parse(report.etcd_members.body()?)?,
            revision: number(header.get("revision")),
            term: number(status.get("raftTerm")),
            index: number(status.get("raftIndex")),
            applied: number(status.get("raftAppliedIndex")),
            version: status
                .get("version")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
            past: report.etcd_past.clone(),
        })
    }

    /// Whether it leads.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.leader == Some(self.member_id)
    }
}

fn is_healthy(body: &str) -> bool {
    let health: Option<Value> = serde_json::from_str(body).ok();
    health
        .as_ref()
        .and_then(|health| health.get("health"))
        .is_some_and(|value| value == "true" || value == true)
}

fn member(value: &Value) -> Option<Member> {
    let text = |key: &str| {
        value
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let list = |key: &str| {
        let items = value.get(key).and_then(Value::as_array);
        items
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    };
    Some(Member {
        id: id_of(value.get("ID")?)?,
        name: text("name"),
        peer_urls: list("peerURLs"),
        client_urls: list("clientURLs"),
        is_learner: value
            .get("isLearner")
            .and_then(Value::as_bool)
            .unwrap_or_default(),
    })
}

/// The gateway writes 64-bit numbers as decimal strings, `etcdctl -w json` as bare numbers.
fn number(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.as_u64(),
        _ => None,
    }
}

fn id_of(value: &Value) -> Option<MemberId> {
    number(value).map(MemberId)
}

/// `3.4` of a version `3.4.23`, or of an image `registry.k8s.io/etcd:3.4.13-0`.
#[must_use]
pub fn minor(text: &str) -> Option<String> {
    let version = text.rsplit(':').next()?.trim_start_matches('v');
    let mut parts = version.split(['.', '-']);
    let (major, minor) = (parts.next()?, parts.next()?);
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    (is_number(major) && is_number(minor)).then(|| format!("{major}.{minor}"))
}

/// Shell: asks the host's own etcd with what stands before `$3`, the directory of its certificates. A macro, since scripts are
/// constants.
macro_rules! post {
    ($body:literal, $path:literal) => {
        concat!(
            "pki=$3\n",
            "exec curl -sS --max-time 20 --cacert $pki/ca.crt --cert $pki/healthcheck-client.crt \\\n",
            "    --key $pki/healthcheck-client.key -X POST -d ",
            $body,
            " -w '\\n%{http_code}\\n' https://127.0.0.1:2379/v3/",
            $path,
            "\n"
        )
    };
}

const REMOVE: &str = post!(r#""{\"ID\":\"$2\"}""#, "cluster/member/remove");
const LEAD: &str = post!(
    r#""{\"targetID\":\"$2\"}""#,
    "maintenance/transfer-leadership"
);
const PROMOTE: &str = post!(r#""{\"ID\":\"$2\"}""#, "cluster/member/promote");
const ADD: &str = post!(
    r#""{\"peerURLs\":[\"$1\"],\"isLearner\":$2}""#,
    "cluster/member/add"
);

/// Where the certificates lie that a host asks its own etcd with.
#[must_use]
pub fn pki(topology: &EtcdTopology) -> &'static str {
    match topology {
        EtcdTopology::Stacked => "/etc/kubernetes/pki/etcd",
        EtcdTopology::External(_) => "/etc/etcd/pki",
    }
}

/// Lets another member lead; asked of the etcd of the host it runs on, which must lead. Arguments as of [`remove_script`].
#[must_use]
pub fn lead_script(id: MemberId, topology: &EtcdTopology) -> Script {
    of_member("etcd-transfer-leadership", LEAD, id, topology)
}

/// Gives a learner its vote. Arguments as of [`remove_script`].
#[must_use]
pub fn promote_script(id: MemberId, topology: &EtcdTopology) -> Script {
    of_member("etcd-member-promote", PROMOTE, id, topology)
}

/// Adds a member, as a learner, asked of the etcd of the host it runs on.
#[must_use]
pub fn add_script(peer_url: &str, topology: &EtcdTopology) -> Script {
    Script::new("etcd-member-add", ADD)
        .arg(peer_url)
        .arg("true")
        .arg(pki(topology))
}

/// Removes a member, asked of the etcd of the host it runs on. `$1` is the id in hexadecimal, for people, `$2` the same in
/// decimal, as the gateway wants it, `$3` where the certificates are.
#[must_use]
pub fn remove_script(id: MemberId, topology: &EtcdTopology) -> Script {
    of_member("etcd-member-remove", REMOVE, id, topology)
}

fn of_member(
    name: &'static str,
    body: &'static str,
    id: MemberId,
    topology: &EtcdTopology,
) -> Script {
    Script::new(name, body)
        .arg(id.to_string())
        .arg(id.0.to_string())
        .arg(pki(topology))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::testing::torture::torture_text;
    use proptest::prelude::*;

    const LIST: &str = r#"{"header":{"cluster_id":"14841639068965178418"},"members":[
        {"ID":"10276657743932975437","name":"master1","peerURLs":["https://10.0.0.11:2380"],"clientURLs":["https://10.0.0.11:2379"]},
        {"ID":"15985099378392235387","peerURLs":["https://10.0.0.12:2380"],"isLearner":true}]}"#;

    fn members(voters: u64, learners: u64) -> Members {
        let member = |id, is_learner| Member {
            id: MemberId(id),
            name: format!("m{id}"),
            peer_urls: Vec::new(),
            client_urls: Vec::new(),
            is_learner,
        };
        let voters_then_learners = (1..=voters)
            .map(|id| member(id, false))
            .chain((1..=learners).map(|id| member(100 + id, true)));
        Members(voters_then_learners.collect())
    }

    fn ids(ids: impl IntoIterator<Item = u64>) -> BTreeSet<MemberId> {
        ids.into_iter().map(MemberId).collect()
    }

    #[test]
    fn an_unstarted_learner_is_read_with_its_64_bit_id() {
        let members = Members::parse(LIST).unwrap();
        let learner = members.at("10.0.0.12".parse().unwrap()).unwrap();
        assert!(learner.is_learner && !learner.is_started());
        assert_eq!(learner.id.to_string(), "ddd67b312462fd7b");
        assert_eq!(learner.label(), "https://10.0.0.12:2380");
        assert_eq!(members.quorum(), 1);
    }

    #[test]
    fn removal_is_judged_by_the_votes_before_and_after() {
        let cases = [
            ("dead one of three", 3, ids([1, 2]), 3, true),
            ("live one of three", 3, ids([1, 2, 3]), 3, true),
            ("live one beside a dead one", 3, ids([1, 2]), 2, false),
            ("no quorum any more", 3, ids([1]), 3, false),
            ("dead one of two", 2, ids([1]), 2, false),
            ("live one of two", 2, ids([1, 2]), 2, true),
            ("the only one", 1, ids([1]), 1, false),
            ("one that is gone already", 3, ids([1]), 9, true),
        ];
        for (what, voters, healthy, removed, expected) in cases {
            let verdict = members(voters, 0).safe_to_remove(MemberId(removed), &healthy);
            assert_eq!(verdict.is_ok(), expected, "{what}: {verdict:?}");
        }
    }

    #[test]
    fn a_learner_costs_no_vote() {
        assert!(
            members(1, 1)
                .safe_to_remove(MemberId(101), &ids([1]))
                .is_ok()
        );
    }

    #[test]
    fn tolerance_is_what_can_still_be_lost() {
        assert_eq!(members(3, 0).tolerance(&ids([1, 2, 3])), Some(1));
        assert_eq!(members(3, 0).tolerance(&ids([1, 2])), Some(0));
        assert_eq!(members(3, 0).tolerance(&ids([1])), None);
    }

    #[test]
    fn no_member_list_makes_the_parser_panic() {
        let good = [
            r#"{"header":{"cluster_id":"1","raft_term":"2"},"members":[{"ID":"9372538179322589801","name":"master1","peerURLs":["https://10.1.1.101:2380"],"clientURLs":["https://10.1.1.101:2379"]},{"ID":"2","peerURLs":["https://10.1.1.102:2380"],"isLearner":true}]}"#,
            r#"{"error":"etcdserver: no leader","code":14}"#,
        ];
        torture_text("etcd member lists", &good, |text| {
            let _ = Members::parse(text);
        });
    }

    #[test]
    fn minors_are_read_from_versions_and_images() {
        for (text, expected) in [
            ("3.4.23", Some("3.4")),
            ("10.77.0.1:5000/etcd:3.4.13-0", Some("3.4")),
            ("registry.k8s.io/etcd:v3.6.4-0", Some("3.6")),
            ("etcd:latest", None),
            ("", None),
        ] {
            assert_eq!(minor(text).as_deref(), expected, "{text}");
        }
    }
    proptest! {
        #[test]
        fn what_is_safe_to_remove_leaves_a_quorum(
            voters in 0u64..8, learners in 0u64..2, healthy in proptest::collection::btree_set(1u64..10, 0..10), id in 1u64..110
        ) {
            let list = members(voters, learners);
            let healthy = ids(healthy);
            let known = list.with_id(MemberId(id)).is_some();
            if known && list.safe_to_remove(MemberId(id), &healthy).is_ok() {
                let rest = Members(list.0.into_iter().filter(|member| member.id != MemberId(id)).collect());
                prop_assert!(rest.tolerance(&healthy).is_some());
            }
        }
    }
}
