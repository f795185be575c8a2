//! The members of an external etcd.

use serde::Serialize;

use super::masters::{EtcdMember, member};
use super::unit_state;
use crate::cluster::etcd_member::{self, Seat};
use crate::host::probe::{Probe, Readings};
use crate::inventory::Node;

/// A host of an external etcd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SeatStatus {
    /// Host name.
    pub name: String,
    /// Where the other members reach it.
    pub peer_url: String,
    /// State of the unit, `active/running`.
    pub unit: String,
    /// Whether it was ever made a member.
    pub is_member: bool,
    /// What its etcd says; `None`: it does not answer.
    pub etcd: Option<EtcdMember>,
}

/// What has to be read of a member's host.
pub(super) fn probes() -> Vec<Probe> {
    let mut probes = etcd_member::probes();
    probes.push(Probe::Unit(etcd_member::UNIT.to_owned()));
    probes
}

impl SeatStatus {
    pub(super) fn of(node: &Node, readings: &Readings) -> Option<Self> {
        let seat = Seat::read(node, readings)?;
        Some(Self {
            name: node.name.clone(),
            peer_url: seat.peer_url(),
            unit: unit_state(readings, etcd_member::UNIT),
            is_member: seat.membership.is_some(),
            etcd: member(&seat.report),
        })
    }
}
