//! Whether all members of an etcd hold the same: the last thing that is read back after a restore. Pure but for the script.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Runner;
use crate::cluster::etcd::MemberId;
use crate::host::command::Script;

/// What one member holds at a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Where it was asked.
    pub endpoint: String,
    /// The cluster that it belongs to.
    pub cluster: MemberId,
    /// `HashKV` over every key and version since the last compaction.
    pub hash: u64,
    /// The revision up to which old versions are gone; hashes compare only where this is equal.
    pub compacted: i64,
}

/// How the members compare.
#[derive(Debug, PartialEq, Eq)]
pub enum Agreement {
    /// All hold the same.
    Same {
        /// The hash.
        hash: u64,
    },
    /// They were compacted differently, as happens while they are: to be asked again.
    Compacting,
    /// They do not, in words.
    Differs(String),
}

/// Asks all members from the host of one what they hold at a revision.
#[must_use]
pub fn script(revision: u64, runner: Runner) -> Script {
    let body = match runner {
        Runner::Kubelet => concat!(
            include_str!("../snapshot/image.sh"),
            include_str!("agreement.sh")
        ),
        Runner::Systemd => concat!(
            include_str!("../snapshot/external.sh"),
            include_str!("agreement.sh")
        ),
    };
    Script::new("etcd-agreement", body).arg(revision.to_string())
}

/// Reads what the script printed, `etcdctl endpoint hashkv --cluster -w json`, which leaves out what is zero.
#[must_use]
pub fn parse(text: &str) -> Option<Vec<Held>> {
    let answers: Value = serde_json::from_str(text.trim().strip_prefix("hash ")?).ok()?;
    answers.as_array()?.iter().map(held).collect()
}

fn held(answer: &Value) -> Option<Held> {
    let hash = answer.get("HashKV")?;
    let header = hash.get("header")?;
    Some(Held {
        endpoint: answer.get("Endpoint")?.as_str()?.to_owned(),
        cluster: MemberId(header.get("cluster_id")?.as_u64()?),
        hash: hash.get("hash").and_then(Value::as_u64).unwrap_or(0),
        compacted: hash
            .get("compact_revision")
            .and_then(Value::as_i64)
            .unwrap_or(0),
    })
}

/// Compares what `members` members of the cluster hold.
#[must_use]
pub fn judge(cluster: MemberId, members: usize, held: &[Held]) -> Agreement {
    if held.len() != members {
        return Agreement::Differs(format!("{} of {members} members answered", held.len()));
    }
    if let Some(stranger) = held.iter().find(|held| held.cluster != cluster) {
        return Agreement::Differs(format!(
            "{} is of the cluster {}, not {cluster}",
            stranger.endpoint, stranger.cluster
        ));
    }
    let compactions: BTreeSet<i64> = held.iter().map(|held| held.compacted).collect();
    let hashes: BTreeSet<u64> = held.iter().map(|held| held.hash).collect();
    match (compactions.len(), hashes.first()) {
        (2.., _) => Agreement::Compacting,
        (_, Some(hash)) if hashes.len() == 1 => Agreement::Same { hash: *hash },
        _ => {
            let each = held
                .iter()
                .map(|held| format!("{} {:08x}", held.endpoint, held.hash));
            Agreement::Differs(format!(
                "the members hold different data: {}",
                each.collect::<Vec<_>>().join(", ")
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "tests")]
    use super::*;

    /// As `etcdctl` 3.4.23 says it.
    const SAID: &str = r#"hash [{"Endpoint":"https://10.1.1.101:2379","HashKV":{"header":{"cluster_id":9185015131129532447,"member_id":1,"revision":2500,"raft_term":3},"hash":3981683686,"compact_revision":-1}},{"Endpoint":"https://10.1.1.102:2379","HashKV":{"header":{"cluster_id":9185015131129532447,"member_id":2,"revision":2501,"raft_term":3},"hash":3981683686,"compact_revision":-1}}]
"#;

    const CLUSTER: MemberId = MemberId(9_185_015_131_129_532_447);

    #[test]
    fn what_every_member_holds_is_read() {
        let held = parse(SAID).unwrap();
        assert_eq!(held.len(), 2);
        assert_eq!((held[1].hash, held[1].compacted), (3_981_683_686, -1));
        assert_eq!(
            judge(CLUSTER, 2, &held),
            Agreement::Same {
                hash: 3_981_683_686
            }
        );
        assert_eq!(parse("hash \n"), None, "nobody answered");
    }

    #[test]
    fn one_that_is_silent_strange_or_different_is_no_agreement() {
        let held = parse(SAID).unwrap();
        let changed = |change: fn(&mut Held)| {
            let mut held = held.clone();
            change(&mut held[1]);
            judge(CLUSTER, 2, &held)
        };
        let differs = |agreement, words: &str| {
            let Agreement::Differs(why) = agreement else {
                panic!("{agreement:?}");
            };
            assert!(why.contains(words), "{why}");
        };
        differs(judge(CLUSTER, 3, &held), "2 of 3 members answered");
        differs(judge(MemberId(7), 2, &held), "not 7");
        differs(changed(|held| held.cluster = MemberId(7)), "10.1.1.102");
        differs(changed(|held| held.hash = 1), "different data");
        assert_eq!(changed(|held| held.compacted = 2400), Agreement::Compacting);
    }
}
