//! `quorate restore`: etcd's data of the whole control plane from one backup.
//!
//! Everything that can be refused is refused before anything stops: the backup is read to its last byte, it must be of this
//! cluster (its CA) and of this minor of etcd, it is laid on every master (on every member, where etcd is a cluster of its own),
//! and one of them restores it into a scratch etcd once more. Then the stages of `playbooks/restore.yaml` follow; each is marked on the hosts, so an interrupted restore goes
//! on where it was, from any computer, or back with `--abort`.

mod abort;
mod fit;
mod read_back;
mod rebuild;
mod stage;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;

use super::Session;
use super::backup::{keep, masters};
use super::consent::agree_by_name;
use super::provision::{Work, carry_out, provision};
use crate::backup::manifest::{Manifest, SNAPSHOT};
use crate::backup::seal::Keys;
use crate::backup::store::Store;
use crate::cluster::etcd::MemberId;
use crate::cluster::plane::Plane;
use crate::engine::lock;
use crate::engine::meter::Meter;
use crate::engine::reader::Reader;
use crate::error::Error;
use crate::host::command::Command;
use crate::host::{Host, Hosts};
use crate::inventory::{Inventory, Node, Role};
use crate::report::eprintln;
use crate::report::table::wrapped;

pub use abort::abort;
pub(super) use stage::{Content, Source, States, is_concerned, lay, states, takes_part, under_way};

/// What is asked for.
pub struct Request {
    /// Where backups are.
    pub store: Store,
    /// What opens them.
    pub keys: Keys,
    /// A backup's id, or `latest`.
    pub id: String,
    /// Only the first that answers of the hosts that run etcd gets the data; the others join it again.
    pub single: bool,
    /// The cluster's name, typed before it was asked for.
    pub confirm: Option<String>,
}

/// Restores.
pub async fn restore(session: &Session, request: &Request) -> Result<(), Error> {
    let begun = Instant::now();
    let manifest = request.store.find(&request.id, &session.inventory.name)?;
    fit::of_cluster(&manifest, &session.inventory.name)?;
    let held = request.store.hold(&manifest)?;
    keep::check_held(&held, &manifest, &request.keys)?;
    let (hosts, meter) = connect(session, request.single).await?;
    let lock_name = format!("{}-restore", session.inventory.name);
    let _lock = lock::take(&hosts, &lock_name, &lock::owner()).await?;
    let fleet = masters(&hosts).await;
    let plane = Plane::read(&session.inventory, &fleet);
    fit::of_ca(&manifest, &plane)?;
    let states = states(&hosts).await?;
    fit::of_states(&manifest, &session.inventory, &states)?;
    for line in fit::loss(&manifest, &plane, &states, Timestamp::now()) {
        eprintln(&wrapped("  - ", &line));
    }
    let what = "what stands above may be lost";
    agree_by_name(session, request.confirm.as_deref(), what)?;

    let members = members(&session.inventory, &hosts, &states, request.single);
    let blank = rebuild::blank(&session.inventory, &hosts, &members, &states);
    let is_rebuilt = states.values().any(|state| state.is_rebuilt);
    if !blank.is_empty() {
        rebuild::base(&session.narrowed_to(&hosts)?, &hosts, &meter).await?;
    }
    let source = Source {
        id: manifest.id.to_string(),
        sha256: manifest.object(SNAPSHOT)?.sha256.clone(),
        size: manifest.object(SNAPSHOT)?.size,
        content: Content::Here(&|| Ok(held.open(&manifest, &request.keys, SNAPSHOT)?)),
        left_behind: left_behind(&manifest, &plane, &states),
    };
    lay(&session.inventory, &hosts, &members, &states, &source).await?;
    rebuild::files(&blank, &held, &request.keys, &manifest).await?;
    prove(&members, &manifest, &states).await?;
    walk(&session.narrowed_to(&hosts)?, &hosts, &meter, begun).await?;
    let provisions = request.single || is_rebuilt || !blank.is_empty();
    after(session, &hosts, provisions).await
}

/// Every host that answers; every master and every member of etcd must, unless one is enough.
async fn connect(session: &Session, single: bool) -> Result<(Hosts, Arc<Meter>), Error> {
    let meter = Arc::new(Meter::default());
    let nodes: Vec<&Node> = session.inventory.nodes.iter().collect();
    let (hosts, errors) = session.connect(&nodes, &meter).await;
    let is_needed = |name: &str| session.inventory.node(name).is_some_and(is_concerned);
    let (lost, others): (Vec<_>, Vec<_>) =
        errors.into_iter().partition(|(name, _)| is_needed(name));
    let is_nobody = !hosts.iter().any(|host| host.node.role == Role::Master)
        || !hosts
            .iter()
            .any(|host| session.inventory.runs_etcd(&host.node));
    if (!lost.is_empty() && !single) || is_nobody {
        return Err(Error::Connect { errors: lost });
    }
    for (host, error) in lost.iter().chain(&others) {
        eprintln(&format!(
            "{host} is left out: {}",
            crate::engine::chain(error)
        ));
    }
    Ok((hosts, meter))
}

/// The clusters that were: that of the backup, and those that run now where this restore has not come yet.
fn left_behind(manifest: &Manifest, plane: &Plane<'_>, states: &States) -> BTreeSet<MemberId> {
    let token = under_way(states);
    let is_before = |name: &str| {
        let state = states.get(name);
        !state.is_some_and(|state| token.is_some_and(|token| takes_part(state, token)))
    };
    let views = plane.views().into_iter();
    let running = views
        .filter(|(node, _)| is_before(&node.name))
        .map(|(_, view)| view.cluster_id);
    MemberId::parse(&manifest.etcd.cluster_id)
        .into_iter()
        .chain(running)
        .collect()
}

/// The hosts that get the data: all that run etcd; or the one that an interrupted restore has chosen, one that has an etcd, any.
fn members<'h>(
    inventory: &Inventory,
    hosts: &'h Hosts,
    states: &States,
    single: bool,
) -> Vec<&'h Host> {
    let mut members: Vec<&Host> = hosts
        .iter()
        .filter(|host| inventory.runs_etcd(&host.node))
        .collect();
    if single {
        members.sort_by_key(|host| {
            let state = states.get(&host.node.name);
            let is_chosen = state.is_some_and(|state| state.is_under_way() && state.is_member());
            let has_etcd = state.is_some_and(|state| state.image.is_some());
            (!is_chosen, !has_etcd)
        });
        members.truncate(1);
    }
    members
}

/// Restores once more into a scratch etcd, with what lies on a member's host now. Nothing has stopped yet; an interrupted restore
/// that is past this is not asked again.
async fn prove(members: &[&Host], manifest: &Manifest, states: &States) -> Result<(), Error> {
    if states.values().any(|state| state.reached.is_some()) {
        return Ok(());
    }
    let Some(host) = members.first() else {
        return Ok(());
    };
    let run = format!("{}-{:08x}", manifest.id, rand::random::<u32>());
    eprintln(&format!(
        "{}: restoring it into a scratch etcd first",
        host.node.name
    ));
    let (revision, contents) = (manifest.etcd.revision, &manifest.etcd.contents);
    crate::cluster::snapshot::prove(
        host,
        &run,
        crate::cluster::restore::SNAPSHOT,
        revision,
        contents,
    )
    .await?;
    Ok(())
}

/// Walks the stages as a run of its own.
pub(super) async fn walk(
    session: &Session,
    hosts: &Hosts,
    meter: &Arc<Meter>,
    begun: Instant,
) -> Result<(), Error> {
    let plan = session.plan("restore")?;
    let reader = Reader::new(hosts);
    let work = Work {
        operation: "restore",
        plan: &plan,
        hosts,
        reader: &reader,
        meter,
        begun,
        holds: false,
    };
    carry_out(session, &work).await
}

/// What follows when the API serves: workers' kubelets start on the new data; where hosts are still to join or to be
/// finished, that is what `provision` does.
pub(super) async fn after(session: &Session, hosts: &Hosts, provisions: bool) -> Result<(), Error> {
    for worker in hosts.iter().filter(|host| host.node.role == Role::Worker) {
        let restart = Command::new("systemctl").arg("restart").arg("kubelet");
        if let Err(error) = worker.succeed(&restart).await {
            eprintln(&format!(
                "{}: kubelet was not restarted: {}",
                worker.node.name,
                crate::engine::chain(&error)
            ));
        }
    }
    read_back::read_back(session, hosts).await?;
    if provisions {
        eprintln("Bringing every host that answers in line:");
        return Box::pin(provision(&session.narrowed_to(hosts)?.agreed())).await;
    }
    Ok(())
}
