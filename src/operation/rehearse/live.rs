//! `--from-live`: a rehearsal that begins as the real hosts are now.
//!
//! They are read as every command reads them, in one round trip each, and nothing is changed. What the model cannot show as
//! the real ones do is told before anything is rehearsed: the same judging of both must come to the same. The operator's
//! computer keeps the cluster's kubeconfig, if there is a cluster, and nothing else.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::computer::Computer;
use super::operation::{Operation, next_patch, next_patch_of_etcd};
use super::stage::{Stage, with_clock};
use crate::action::{ADMIN_CONF, Fleet, Scope, keep_kubeconfig};
use crate::engine::chain;
use crate::engine::meter::Meter;
use crate::engine::reader::Reader;
use crate::error::Error;
use crate::host::simulated::machine::Machine;
use crate::host::simulated::world::World;
use crate::inventory::{Node, Role};
use crate::operation::Session;
use crate::operation::forecast::forecast;
use crate::operation::upgrade::gates;
use crate::report::eprintln;
use crate::text::sha256;

/// Reads every host that answers.
pub async fn read(session: &Session) -> Result<Fleet, Error> {
    let plan = session.plan("provision")?;
    let nodes: Vec<&Node> = session.inventory.nodes.iter().collect();
    let (hosts, errors) = session.connect(&nodes, &Arc::new(Meter::default())).await;
    if hosts.iter().next().is_none() {
        return Err(Error::Connect { errors });
    }
    for (host, error) in &errors {
        eprintln(&format!(
            "{host} does not answer, and is down in the rehearsal: {}",
            chain(error)
        ));
    }
    let probes = |node: &Node| {
        let mut probes = session.probes_of(&plan, node);
        probes.extend(gates::probes(&session.inventory, node));
        probes
    };
    let reader = Reader::new(&hosts);
    let wanted = hosts
        .iter()
        .map(|host| (host.node.name.clone(), probes(&host.node)));
    let failed = reader.freshen(wanted.collect(), Scope::Host).await;
    match failed.into_iter().next() {
        None => Ok(Fleet::clone(&reader.fleet())),
        Some((host, source)) => Err(Error::Read { host, source }),
    }
}

/// The world that begins as the hosts were read.
pub(super) fn world(session: &Session, fleet: &Fleet) -> World {
    let readings = |host: &str| fleet.has(host).then(|| fleet.of(host));
    let mut world = World::like(&session.inventory, readings);
    world.offered.push(next_patch(session));
    // Somebody else keeps new what was put there without a package.
    let is_packaged = |machine: &Machine| machine.packages.contains_key("etcd-server");
    if world.machines.values().any(is_packaged) {
        world.offered_etcd.extend(next_patch_of_etcd(session));
    }
    world
}

/// The operator's computer, as it is after the cluster was provisioned.
pub(super) fn computer(session: &Session, stage: &Stage, world: &World) -> Result<Computer, Error> {
    let inventory = &session.inventory;
    let mut masters = inventory.with_role(Role::Master);
    let holder = masters.find_map(|master| {
        let machine = world.machines.get(&master.name)?;
        Some((&master.name, machine.files.get(ADMIN_CONF)?))
    });
    if let Some((master, file)) = holder {
        let (digest, text) = (
            sha256(&file.content),
            String::from_utf8_lossy(&file.content),
        );
        let keep = async { keep_kubeconfig(inventory, master, &digest, &text) };
        with_clock(stage.at_computer(keep)).map_err(|source| Error::Local {
            doing: "write the rehearsal's kubeconfig".to_owned(),
            source,
        })?;
    }
    stage.computer()
}

/// What `provision` would find to do on the real hosts but not on those of the rehearsal, and the other way round.
pub fn differences(session: &Session, real: &Fleet) -> Result<Vec<String>, Error> {
    let names = session.inventory.nodes.iter().map(|node| node.name.clone());
    let session = &session.narrowed_to_names(names.filter(|name| real.has(name)).collect())?;
    let operation = Operation::find("provision").expect("there");
    let mut stage = Stage::new(session.clone(), operation)?;
    stage.begin(world(session, real));
    let simulated = with_clock(read(&stage.session))?;
    // Both by a computer that keeps nothing: each has a kubeconfig of its own.
    let judged = |fleet| with_clock(stage.at_computer(async move { to_do(session, fleet) }));
    let (real, simulated) = (judged(real)?, judged(&simulated)?);
    let line = |what: &str, task: &String| format!("only {what} hosts: {task}");
    let only_real = real
        .difference(&simulated)
        .map(|task| line("the real", task));
    let only_simulated = simulated
        .difference(&real)
        .map(|task| line("the simulated", task));
    Ok(only_real.chain(only_simulated).collect())
}

fn to_do(session: &Session, fleet: &Fleet) -> Result<BTreeSet<String>, Error> {
    let pending = forecast(session, &session.plan("provision")?, fleet)?;
    let line = |pending: &crate::operation::forecast::Pending| {
        format!("{}: {}", pending.task, pending.summary())
    };
    Ok(pending.iter().map(line).collect())
}
