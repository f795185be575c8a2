//! Read-only, typed views of the living cluster.
//!
//! [`report`] is what one host says of itself: which of kubeadm's files it has, and how its apiserver, its etcd and the
//! cluster answered about it. [`etcd`] does the arithmetic of members and quorum, [`node`] reads Node objects, [`plane`]
//! puts the masters' reports together, [`cert`] reads certificates, [`vip`] says who holds the virtual IP,
//! [`load_balancer`] what HAProxy says of its back ends, and [`master`] judges from that in which of a few states a master is.
//! [`release`] and [`objects`] are what an upgrade reads beside that, [`standing`] says how far a host has come with it,
//! [`pod`] and [`budget`] foretell a drain. Everything is pure except [`api`], [`survey`], [`join`], [`drain`] and [`kubelet`],
//! which talk to hosts.
//!
//! Why no `kubectl` and no `etcdctl`: a master can ask its own servers with `curl` and the certificates that kubeadm left
//! on it. That costs 10 ms instead of 100, needs no program that kubeadm hosts lack, and works the same from 1.20 on.

pub mod api;
pub mod budget;
pub mod ca;
pub mod candidates;
pub mod cert;
pub mod drain;
pub mod etcd;
pub mod etcd_former;
pub mod etcd_member;
pub mod etcd_pki;
pub mod etcd_unit;
pub mod join;
pub mod kubeadm;
pub mod kubelet;
pub mod load_balancer;
pub mod master;
pub mod node;
pub mod objects;
pub mod plane;
pub mod pod;
pub mod release;
pub mod report;
pub mod restore;
#[cfg(test)]
pub(crate) mod sample;
pub mod snapshot;
pub mod standing;
pub mod survey;
pub mod vip;
