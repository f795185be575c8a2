//! quorate: bare Linux hosts to a highly available Kubernetes control plane, over nothing but SSH.
//!
//! # The idea
//! An [`inventory`] says what the machines are. A [`playbook`] says in which order typed [`action`]s must hold on which
//! machines. A [`plan`] is the two multiplied out. The [`engine`] walks it: each task is *checked* against what was read of
//! its host, and only if a change is needed it is journalled, *applied* and *verified*. An [`operation`] chooses the playbook,
//! refuses what is unsafe and says what must be true at the end.
//!
//! # The map
//! Dependencies point downwards only; [`engine::event`] is imported by anyone and imports no one but the type of a change.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`cli`] | what is typed, turned into what is meant: one file per command |
//! | [`operation`] | one file per command: preflight, playbook, what must be true at the end; the lab |
//! | [`report`] | how a run looks: on a terminal, in a log, to a program |
//! | [`engine`] | order, staleness, journal, lock, verification: the one interesting loop |
//! | [`plan`], [`playbook`] | what a run will walk, and the files it comes from |
//! | [`action`] | what can be made true on a host: one file per action |
//! | [`cluster`] | typed views of the living cluster: etcd members, nodes, certificates, the virtual IP |
//! | [`backup`] | what a backup is on the operator's side: manifest, sealing, store, retention |
//! | [`template`] | the files that are rendered, checked before the first connection |
//! | [`host`] | one machine behind the [`Transport`](host::transport::Transport) door: SSH, or a simulation |
//! | [`os`] | what differs between families of Linux, as data |
//! | [`inventory`], [`input`] | the cluster as it should be, and how files that people write are read |
//! | [`secret`], [`state`], [`text`], [`error`] | secrets, the operator's state directory, foreign text, exit codes |
//!
//! # Where to start
//! `playbooks/provision.yaml`, then [`action`] and the smallest action, `action/system_user.rs`, then [`engine`].

pub mod action;
pub mod backup;
pub mod cli;
pub mod cluster;
pub mod engine;
pub mod error;
pub mod host;
pub mod input;
pub mod inventory;
pub mod operation;
pub mod os;
pub mod plan;
pub mod playbook;
pub mod report;
pub mod secret;
pub mod state;
pub mod template;
#[cfg(test)]
pub(crate) mod testing;
pub mod text;
