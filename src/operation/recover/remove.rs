//! Removing a master that is gone: its member by id, then its Node.

use std::time::Duration;

use tokio::time::Instant;

use super::diagnosis::Removal;
use super::{note, plane_of, read_error, witness};
use crate::cluster::api::{self, Request};
use crate::cluster::etcd::{self, MemberId};
use crate::cluster::plane::{Cluster, Etcd, Plane};
use crate::error::Error;
use crate::host::command::Command;
use crate::host::error::HostError;
use crate::host::{Host, Hosts};
use crate::operation::Session;

/// How long etcd may take to agree.
const AGREES: Duration = Duration::from_secs(60);

/// Removes what is left of a master. Under the lock everything is read again: the proof counts, not the diagnosis.
pub(super) async fn remove(
    session: &Session,
    hosts: &Hosts,
    removal: &Removal,
) -> Result<(), Error> {
    let plane = plane_of(session, hosts).await;
    if let Some(id) = removal.member {
        let Etcd::Living(cluster) = plane.etcd() else {
            return Err(Error::refused(
                "etcd has lost its quorum meanwhile: nothing was changed".to_owned(),
            ));
        };
        if cluster.members.with_id(id).is_some() {
            let survivors = survivors(hosts, &plane, &cluster, id);
            if let Some(address) = removal.address {
                let hint = if_it_answers(session, &removal.name);
                let silent = witness::silent(&survivors, &removal.name, address, hint).await?;
                witness::suffice(silent, &removal.name)?;
            }
            cluster
                .members
                .safe_to_remove(id, &cluster.healthy)
                .map_err(|why| {
                    Error::refused(format!("etcd member {id} must not be removed: {why}"))
                })?;
            remove_member(session, hosts, &survivors, removal, id).await?;
        }
    }
    if removal.has_node {
        let plane = plane_of(session, hosts).await;
        let master = plane
            .living()
            .find_map(|master| hosts.get(&master.node.name));
        let master = master
            .ok_or_else(|| Error::refused("no apiserver answers to delete the Node".to_owned()))?;
        let path = format!("/api/v1/nodes/{}", removal.name);
        api::succeed(master, &path, Request::Delete, 404)
            .await
            .map_err(|source| read_error(master, source))?;
        note(&format!("deleted the Node {}", removal.name));
    }
    Ok(())
}

/// Healthy members' hosts other than the one to remove.
fn survivors<'h>(
    hosts: &'h Hosts,
    plane: &Plane<'_>,
    cluster: &Cluster,
    but: MemberId,
) -> Vec<&'h Host> {
    let is_survivor = |id: MemberId| id != but && cluster.healthy.contains(&id);
    plane
        .views()
        .into_iter()
        .filter(|(_, view)| is_survivor(view.member_id))
        .filter_map(|(node, _)| hosts.get(&node.name))
        .collect()
}

/// What to do about a member that is to be removed and is there.
fn if_it_answers(session: &Session, name: &str) -> &'static str {
    let is_former = session.inventory.node(name).is_none();
    if is_former && session.inventory.etcd.external().is_some() {
        return "the inventory has it no more: `quorate provision` takes it out of etcd";
    }
    "look at it with `quorate status`"
}

async fn remove_member(
    session: &Session,
    hosts: &Hosts,
    survivors: &[&Host],
    removal: &Removal,
    id: MemberId,
) -> Result<(), Error> {
    let Some(host) = survivors.first() else {
        return Err(Error::refused("no survivor is connected".to_owned()));
    };
    let said = host
        .succeed(&Command::script(etcd::remove_script(
            id,
            &session.inventory.etcd,
        )))
        .await
        .map_err(|source| read_error(host, source))?;
    let since = Instant::now();
    loop {
        let plane = plane_of(session, hosts).await;
        if let Etcd::Living(cluster) = plane.etcd()
            && cluster.members.with_id(id).is_none()
        {
            note(&format!("removed etcd member {id} of {}", removal.name));
            return Ok(());
        }
        if since.elapsed() > AGREES {
            return Err(read_error(
                host,
                HostError::Command {
                    host: host.node.name.clone(),
                    command: format!("etcd member remove {id}"),
                    status: "no effect".to_owned(),
                    output: crate::text::last_lines(&said.stdout),
                },
            ));
        }
        host.transport.rest(Duration::from_secs(1)).await;
    }
}
