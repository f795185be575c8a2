//! The operations that can be rehearsed: one entry each.

use std::time::Duration;

use futures::future::LocalBoxFuture;

use crate::backup::seal::{Keys, Seal};
use crate::cluster::restore::Way;
use crate::error::Error;
use crate::host::simulated::world::World;
use crate::inventory::etcd::EtcdVersion;
use crate::inventory::version::KubeVersion;
use crate::inventory::{Node, Role};
use crate::operation::desk::Desk;
use crate::operation::provision::provision;
use crate::operation::upgrade::etcd::upgrade_etcd;
use crate::operation::upgrade::{Intent, Options, Policies, upgrade};
use crate::operation::{Session, backup, recover, restore};

/// An operation, as its command carries it out.
#[derive(Debug)]
pub struct Operation {
    /// What it is called here: its command, and what it meets where that is not the usual.
    pub name: &'static str,
    /// The operation that made the cluster which it begins with; `None`: bare hosts.
    pub after: Option<&'static str>,
    /// What happened to that cluster since.
    pub since: fn(&Session, &mut World),
    /// Carries it out, and what a person does on the way.
    pub run: for<'a> fn(&'a Session) -> LocalBoxFuture<'a, Result<(), Error>>,
    /// Whether it can begin with any cluster: what it needs beside is not made by `after` or `since`.
    pub begins_anywhere: bool,
    /// The operation that finds nothing left to do when it is done: itself, unless it would do its work anew.
    pub proof: &'static str,
}

/// All of them. Tests and `quorate rehearse` walk over this list.
pub const OPERATIONS: &[Operation] = &[
    Operation {
        name: "provision",
        after: None,
        since: |_, _| (),
        run: |session| Box::pin(provision(session)),
        begins_anywhere: true,
        proof: "provision",
    },
    Operation {
        name: "upgrade",
        after: Some("provision"),
        since: |session, world| {
            world.offered.push(next_patch(session));
            world.deploy("web", "worker1");
        },
        run: |session| Box::pin(upgrade_by_a_patch(session)),
        begins_anywhere: true,
        proof: "upgrade",
    },
    Operation {
        name: "upgrade-etcd",
        after: Some("provision"),
        since: |session, world| world.offered_etcd.extend(next_patch_of_etcd(session)),
        run: |session| Box::pin(upgrade_etcd_by_a_patch(session)),
        begins_anywhere: true,
        proof: "upgrade-etcd",
    },
    Operation {
        name: "backup",
        after: Some("provision"),
        since: |_, _| (),
        run: |session| Box::pin(take_backup(session)),
        begins_anywhere: true,
        proof: "provision",
    },
    Operation {
        name: "restore",
        after: Some("backup"),
        since: |_, world| world.deploy("mistake", "worker1"),
        run: |session| Box::pin(restore_latest(session)),
        begins_anywhere: false,
        proof: "provision",
    },
    Operation {
        name: "restore-blank",
        after: Some("backup"),
        since: |session, world| {
            let nodes = session.inventory.nodes.iter();
            for node in nodes.filter(|node| restore::is_concerned(node)) {
                world.replace(&node.name, node);
            }
        },
        run: |session| Box::pin(restore_latest(session)),
        begins_anywhere: false,
        proof: "provision",
    },
    Operation {
        name: "recover",
        after: Some("provision"),
        since: |session, world| lose(world, first_master(session)),
        run: |session| Box::pin(recover_and_give_back(session, None)),
        begins_anywhere: true,
        proof: "recover",
    },
    Operation {
        name: "recover-survivor",
        after: Some("provision"),
        since: |session, world| {
            let places = session.inventory.etcd_places();
            let lost = places.len() / 2 + 1;
            for place in places.iter().take(lost) {
                world.power_off(&place.node.name);
            }
            // The others come back with their old disks.
            if let Some(first) = places.first() {
                lose(world, first.node);
            }
        },
        run: |session| {
            Box::pin(recover_and_give_back(
                session,
                Some(&session.inventory.name),
            ))
        },
        begins_anywhere: false,
        proof: "recover",
    },
];

pub(super) fn next_patch(session: &Session) -> KubeVersion {
    let release = session.inventory.kubernetes;
    KubeVersion {
        patch: release.patch + 1,
        ..release
    }
}

async fn upgrade_by_a_patch(session: &Session) -> Result<(), Error> {
    let options = Options {
        to: next_patch(session),
        intent: Intent::Upgrade,
        policies: Policies::default(),
    };
    upgrade(session, &options).await
}

/// `None`: etcd is stacked, and kubeadm's.
pub(super) fn next_patch_of_etcd(session: &Session) -> Option<EtcdVersion> {
    let version = session.inventory.etcd.external()?.version;
    Some(EtcdVersion {
        patch: version.patch + 1,
        ..version
    })
}

/// Where etcd is stacked it is refused, as the command is.
async fn upgrade_etcd_by_a_patch(session: &Session) -> Result<(), Error> {
    let to = next_patch_of_etcd(session).unwrap_or(EtcdVersion::OLDEST);
    upgrade_etcd(session, to, Intent::Upgrade).await
}

async fn take_backup(session: &Session) -> Result<(), Error> {
    let request = backup::Request {
        store: backup::store(&session.inventory.name, None),
        seal: Seal::Plaintext,
        timeout: Duration::from_secs(3600),
        metrics: None,
        quiet: true,
    };
    backup::backup(session, &request).await
}

async fn restore_latest(session: &Session) -> Result<(), Error> {
    let name = &session.inventory.name;
    let request = restore::Request {
        store: backup::store(name, None),
        keys: Keys::read(&[])?,
        id: "latest".to_owned(),
        single: false,
        confirm: Some(name.clone()),
    };
    restore::restore(session, &request).await
}

fn first_master(session: &Session) -> &Node {
    let mut masters = session.inventory.with_role(Role::Master);
    masters.next().expect("every inventory has a master")
}

/// The machine is dead, and so is its disk.
fn lose(world: &mut World, node: &Node) {
    world.replace(&node.name, node);
    world.power_off(&node.name);
}

/// Recovers; once nothing of a dead master is left in the cluster, a person gives blank machines in their places, and
/// recovers again. `confirm`: what they say if data is to be given up.
async fn recover_and_give_back(session: &Session, confirm: Option<&str>) -> Result<(), Error> {
    let request = || recover::Request {
        plan: false,
        confirm: confirm.map(str::to_owned),
        way: Way::Snapshot,
    };
    let ended = recover::recover(session, &request()).await;
    let has_given = give_back(session);
    if ended.is_err() && !has_given {
        return ended;
    }
    // Whoever gave them back, they join by another recovery.
    let was_away = boots(session);
    let ended = recover::recover(session, &request()).await;
    if was_away || boots(session) {
        // Who was away meanwhile is seen to when it is back.
        tokio::time::sleep(BOOTED).await;
        return recover::recover(session, &request()).await;
    }
    ended
}

/// Longer than a machine takes to boot.
const BOOTED: Duration = Duration::from_secs(60);

/// Whether a machine that a recovery is about is on its way back.
fn boots(session: &Session) -> bool {
    let Desk::Rehearsal(rehearsal) = &session.desk else {
        return false;
    };
    let world = rehearsal.simulation.world();
    let nodes = session.inventory.nodes.iter();
    let mut concerned = nodes.filter(|node| restore::is_concerned(node));
    concerned.any(|node| {
        let machine = world.machines.get(&node.name);
        machine.is_some_and(|machine| machine.is_on && !machine.is_up())
    })
}

/// Switches on the machines of masters and members that etcd, which lives, does not know any more; whether there were any.
fn give_back(session: &Session) -> bool {
    let Desk::Rehearsal(rehearsal) = &session.desk else {
        return false;
    };
    let mut world = rehearsal.simulation.world();
    if world.live_cluster().is_none() {
        return false;
    }
    let is_gone = |node: &&Node| {
        let place = node.etcd.map_or(node.address, |seat| seat.peer_address);
        world.machines.get(&node.name).is_some_and(|it| !it.is_on) && !world.knows(place)
    };
    let nodes = session.inventory.nodes.iter();
    let concerned = nodes.filter(|node| restore::is_concerned(node));
    let gone: Vec<&Node> = concerned.filter(is_gone).collect();
    for node in &gone {
        world.power_on(&node.name);
    }
    !gone.is_empty()
}

impl Operation {
    /// The operation of that name.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        OPERATIONS.iter().find(|operation| operation.name == name)
    }
}
