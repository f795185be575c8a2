//! Reports of masters for tests: a cluster of three as it is, to be spoilt one thing at a time.

use super::ca::{Ca, samples};
use super::etcd::View;
use super::etcd_member::{Beginning, Seat, Seats};
use super::plane::{Member, Plane};
use super::report::{Answer, Has, Report};
use super::restore::Past;
use crate::inventory::etcd::{Compaction, EtcdPackages, EtcdVersion};
use crate::inventory::{EtcdSeat, EtcdTopology, ExternalEtcd, Inventory, Role};

/// The id of the etcd cluster.
pub(crate) const CLUSTER: u64 = 14_841_639_068_965_178_418;

/// The master of that number, from 1, in a cluster whose etcd has these members; member `n` lives on master `n`.
pub(crate) fn joined(number: u64, members: &[u64]) -> Report {
    Report {
        has: [
            Has::KubeletConf,
            Has::AdminConf,
            Has::CaKey,
            Has::ApiserverCert,
            Has::ApiserverManifest,
            Has::EtcdManifest,
            Has::EtcdData,
        ]
        .into(),
        clock: 1_795_000_000,
        machine_id: format!("machine{number}"),
        readyz: Answer::Http(200, "ok".to_owned()),
        node: Answer::Http(200, node(number)),
        etcd_status: status(CLUSTER, number),
        etcd_members: list(&members.iter().map(|id| started(*id)).collect::<Vec<_>>()),
        etcd_health: Answer::Http(200, r#"{"health":"true"}"#.to_owned()),
        etcd_past: Past::default(),
        refused: None,
    }
}

/// A Node object.
pub(crate) fn node(number: u64) -> String {
    format!(
        r#"{{"metadata":{{"name":"master{number}"}},"status":{{"nodeInfo":{{"machineID":"machine{number}"}}}}}}"#
    )
}

/// What `maintenance/status` says.
pub(crate) fn status(cluster: u64, member: u64) -> Answer {
    Answer::Http(
        200,
        format!(r#"{{"header":{{"cluster_id":"{cluster}","member_id":"{member}"}},"leader":"1"}}"#),
    )
}

/// A member that runs.
pub(crate) fn started(id: u64) -> String {
    format!(
        r#"{{"ID":"{id}","name":"master{id}","peerURLs":["https://10.1.1.10{id}:2380"],"clientURLs":["https://10.1.1.10{id}:2379"]}}"#
    )
}

/// A member that was added and never ran.
pub(crate) fn unstarted(id: u64) -> String {
    format!(r#"{{"ID":"{id}","peerURLs":["https://10.1.1.10{id}:2380"],"isLearner":true}}"#)
}

/// A member that runs without a vote.
pub(crate) fn learner(id: u64) -> String {
    started(id).replace('}', r#","isLearner":true}"#)
}

/// What `member/list` says.
pub(crate) fn list(members: &[String]) -> Answer {
    Answer::Http(200, format!(r#"{{"members":[{}]}}"#, members.join(",")))
}

/// The inventory of the tests, with an etcd of its own on its masters.
pub(crate) fn external() -> Inventory {
    let mut inventory = crate::testing::inventory();
    inventory.etcd = EtcdTopology::External(ExternalEtcd {
        version: EtcdVersion::OLDEST,
        packages: EtcdPackages::Distribution,
        data_directory: "/var/lib/etcd-external".into(),
        quota: 1 << 30,
        compaction: Compaction::None,
        snapshot_count: 10_000,
        extra: std::collections::BTreeMap::new(),
    });
    for node in inventory
        .nodes
        .iter_mut()
        .filter(|node| node.role == Role::Master)
    {
        node.etcd = Some(EtcdSeat {
            peer_address: node.address,
        });
    }
    inventory
}

/// The masters of [`external`] as members of a healthy etcd, and nothing of Kubernetes.
pub(crate) fn seated(inventory: &Inventory, cluster: u64) -> Plane<'_> {
    let seat = |(node, number)| {
        let report = Report {
            has: [Has::EtcdData].into(),
            etcd_status: status(cluster, number),
            ..joined(number, &[1, 2, 3])
        };
        Seat {
            node,
            peer_address: node.address,
            membership: Some(Beginning::new(inventory)),
            joining: None,
            is_founding: false,
            ca: Ca::parse(samples::ONE),
            etcd: View::of(&report),
            report,
        }
    };
    let seats = inventory.with_role(Role::Master).zip(1..);
    Plane {
        masters: Vec::new(),
        unread: Vec::new(),
        external: Some(Seats {
            seats: seats.map(seat).collect(),
            unread: Vec::new(),
            places: inventory
                .with_role(Role::Master)
                .map(|node| node.address)
                .collect(),
        }),
    }
}

/// The masters of an inventory with these reports, in order; `None`: not read. All hold the same CA, but bare ones.
pub(crate) fn plane(inventory: &Inventory, reports: Vec<Option<Report>>) -> Plane<'_> {
    let mut plane = Plane {
        masters: Vec::new(),
        unread: Vec::new(),
        external: None,
    };
    for (node, report) in inventory.with_role(Role::Master).zip(reports) {
        let Some(report) = report else {
            plane.unread.push(&node.name);
            continue;
        };
        let member = Member {
            node,
            ca: Ca::parse(samples::ONE).filter(|_| report.has(Has::CaKey)),
            jobs: Vec::new(),
            applied: None,
            etcd: View::of(&report),
            report,
        };
        plane.masters.push(member);
    }
    plane
}
