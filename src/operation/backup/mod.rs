//! `quorate backup`: a proved snapshot of etcd and everything that a bare machine needs to carry the cluster on.
//!
//! The order is what makes it trustworthy: the snapshot is saved on the best member, restored there into a scratch etcd and
//! compared, and only then brought here, where its SHA-256 must be the one that its host computed. The manifest, written
//! last, says so; a backup without proof is never written. Nothing needs quorum: a survivor is enough.

pub mod gather;
pub mod keep;
pub mod metrics;
mod prove;
pub mod schedule;

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use futures::future::join_all;
use jiff::Timestamp;
use serde_json::json;

use super::Session;
use crate::action::{Fleet, Scope};
use crate::backup::bucket::Bucket;
use crate::backup::manifest::{Etcd as EtcdPart, Manifest, Object, VERSION};
use crate::backup::seal::Seal;
use crate::backup::store::{Growing, Store};
use crate::backup::{BackupError, Id, io};
use crate::cluster::ca::SHARED_PKI;
use crate::cluster::etcd::View;
use crate::cluster::plane::{Etcd, Plane};
use crate::cluster::report;
use crate::cluster::snapshot::{self, Best, Snapshot, SnapshotError};
use crate::engine::lock;
use crate::engine::meter::Meter;
use crate::engine::reader::Reader;
use crate::error::Error;
use crate::host::error::HostError;
use crate::host::{Host, Hosts};
use crate::inventory::{Node, Role};
use crate::report::{Format, eprintln, println};
use crate::state::cluster_dir;
use prove::{Proved, Source};

/// How long etcd may be away: kubelet waits at most five minutes between two starts of a container
/// (`MaxContainerBackOff`).
const STARTS_AGAIN: Duration = Duration::from_secs(6 * 60);

/// Between two looks at it.
const PAUSE: Duration = Duration::from_secs(2);

/// What a backup is asked for.
pub struct Request {
    /// Where it goes.
    pub store: Store,
    /// To whom it is sealed.
    pub seal: Seal,
    /// How long it may take.
    pub timeout: Duration,
    /// Where node_exporter's text file goes.
    pub metrics: Option<Utf8PathBuf>,
    /// Say nothing unless it fails.
    pub quiet: bool,
}

/// Where a cluster's backups go unless somebody says otherwise.
#[must_use]
pub fn default_directory(cluster: &str) -> Utf8PathBuf {
    cluster_dir(cluster).join("backups")
}

/// Takes a backup under the cluster's lock, within the time that it is given, and writes the metrics whatever came of it.
pub async fn backup(session: &Session, request: &Request) -> Result<(), Error> {
    let begun = Instant::now();
    let limit = request.timeout;
    let taken = tokio::time::timeout(limit, locked(session, request)).await;
    let taken = taken.unwrap_or(Err(Error::Timeout {
        what: "the backup",
        limit,
    }));
    if let Some(path) = &request.metrics {
        // Where the store cannot be read, this run has failed, and that is what must be told.
        let backups = request.store.of_cluster(&session.inventory.name);
        let backups = backups.unwrap_or_default();
        let text = metrics::text(
            &session.inventory.name,
            backups.last(),
            &metrics::Run {
                at: Timestamp::now(),
                duration: begun.elapsed(),
                is_success: taken.is_ok(),
            },
        );
        metrics::write(path, &text)?;
    }
    let manifest = taken?;
    if !request.quiet {
        tell(session, request, &manifest);
    }
    Ok(())
}

async fn locked(session: &Session, request: &Request) -> Result<Manifest, Error> {
    let nodes: Vec<&Node> = session.inventory.nodes.iter().collect();
    let (hosts, errors) = session.connect(&nodes, &Arc::new(Meter::default())).await;
    if !hosts.iter().any(|host| host.node.role == Role::Master) {
        return Err(Error::Connect { errors });
    }
    let _lock = lock::take(&hosts, &session.inventory.name, &lock::owner()).await?;
    let is_watched = !request.quiet && std::io::stderr().is_terminal();
    let note = |line: String| {
        if is_watched {
            eprintln(&line);
        }
    };
    for (host, error) in &errors {
        note(format!(
            "{host} is left out: {}",
            crate::engine::chain(error)
        ));
    }
    take(session, &hosts, &request.store, &request.seal, &note).await
}

/// Takes a backup of the connected hosts; who calls it holds the cluster's lock.
pub async fn take(
    session: &Session,
    hosts: &Hosts,
    store: &Store,
    seal: &Seal,
    note: &(dyn Fn(String) + Sync),
) -> Result<Manifest, Error> {
    let begun = Instant::now();
    let at = Timestamp::now();
    let writing = store.write()?;
    let fleet = masters_with_etcd(session, hosts, note).await;
    let plane = Plane::read(&session.inventory, &fleet);
    let (member, host) = chosen(&plane, hosts)?;
    let id = Id::new(at);
    let growing = writing.begin(id.clone())?;
    let source = Source { host, member, note };
    let Proved {
        snapshot,
        object,
        verified,
    } = source.prove(session, seal, &growing, &id).await?;
    let mut objects = vec![object];
    let (of_hosts, missing_hosts) = host_objects(session, hosts, seal, &growing, &id).await?;
    objects.extend(of_hosts);
    let view = member.view.or(snapshot.view.as_ref());
    let view = view.ok_or_else(|| {
        let reason = "etcd did not say who it is".to_owned();
        let (host, during) = (host.node.name.clone(), "the snapshot".to_owned());
        Error::Snapshot(SnapshotError::Host(HostError::Garbled {
            host,
            during,
            reason,
        }))
    })?;
    objects.extend(described(session, view, host, seal, &growing).await?);
    discard(hosts, host).await?;
    let manifest = Manifest {
        version: VERSION,
        id,
        cluster: session.inventory.name.clone(),
        ca: plane.ca().map(|ca| ca.hash.clone()).unwrap_or_default(),
        taken: at,
        duration_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        etcd: etcd_part(&plane, host, view, &snapshot),
        kubernetes: session.inventory.kubernetes.to_string(),
        quorate: env!("CARGO_PKG_VERSION").to_owned(),
        sealed: seal.kind(),
        missing_hosts,
        objects,
        verified,
    };
    growing.finish(&manifest)?;
    Ok(manifest)
}

/// Removes the snapshot from the host that took it, and what a run that died left on any other host with etcd: it holds every
/// Secret.
async fn discard(hosts: &Hosts, taker: &Host) -> Result<(), Error> {
    let discarded = hosts
        .iter()
        .filter(|host| may_hold_etcd(host))
        .map(async |host| (host, snapshot::discard(host).await));
    for (host, result) in join_all(discarded).await {
        match result {
            Err(HostError::Lost { .. } | HostError::Unreachable { .. })
                if host.node.name != taker.node.name => {}
            result => result.map_err(|source| read_error(host, source))?,
        }
    }
    Ok(())
}

/// Whether it is a master, or runs a member of an external etcd.
fn may_hold_etcd(host: &Host) -> bool {
    host.node.role == Role::Master || host.node.etcd.is_some()
}

/// Reads all connected masters and members of etcd; one that does not answer is left out.
pub async fn masters(hosts: &Hosts) -> Fleet {
    let reader = Reader::new(hosts);
    let wanted = hosts
        .iter()
        .filter(|host| may_hold_etcd(host))
        .map(|host| (host.node.name.clone(), report::probes(&host.node)));
    reader.freshen(wanted.collect(), Scope::Host).await;
    Fleet::clone(&reader.fleet())
}

/// As [`masters`], but while etcd has no quorum and may be starting, see [`Plane::starting`], it looks again, for
/// [`STARTS_AGAIN`] at most.
pub async fn masters_with_etcd(
    session: &Session,
    hosts: &Hosts,
    note: &(dyn Fn(String) + Sync),
) -> Fleet {
    let since = tokio::time::Instant::now();
    let mut is_told = false;
    loop {
        let fleet = masters(hosts).await;
        let plane = Plane::read(&session.inventory, &fleet);
        let awaited = plane.starting();
        let awaited: Vec<&str> = awaited.iter().map(|node| node.name.as_str()).collect();
        let Some(host) = awaited.first().and_then(|name| hosts.get(name)) else {
            return fleet;
        };
        if since.elapsed() >= STARTS_AGAIN {
            return fleet;
        }
        if !is_told {
            note(format!(
                "etcd has no quorum and does not answer on {}, though its data is there: it may be starting, and is looked at for at \
                 most {} minutes",
                awaited.join(", "),
                STARTS_AGAIN.as_secs() / 60
            ));
            is_told = true;
        }
        host.transport.rest(PAUSE).await;
    }
}

/// The best member and its host.
fn chosen<'p, 'h>(plane: &'p Plane<'_>, hosts: &'h Hosts) -> Result<(Best<'p>, &'h Host), Error> {
    let best = snapshot::best(plane);
    let found = best.and_then(|member| Some((member, hosts.get(&member.node.name)?)));
    found.ok_or_else(|| Error::Refused {
        findings: vec![
            "no etcd member answers, and not just one host has data, so nobody can tell what to save: start etcd (look at \
             `journalctl -u kubelet`), or copy /var/lib/etcd of the newest one by hand"
                .to_owned(),
        ],
    })
}

/// The files of every host that answers, and the names of those that do not. A master whose PKI is not whole is refused.
async fn host_objects(
    session: &Session,
    hosts: &Hosts,
    seal: &Seal,
    growing: &Growing<'_>,
    id: &Id,
) -> Result<(Vec<Object>, Vec<String>), Error> {
    let read = join_all(
        hosts
            .iter()
            .map(async |host| (host, gather::files(host).await)),
    )
    .await;
    let mut objects = Vec::new();
    let mut answered = Vec::new();
    for (host, tar) in read {
        let tar = match tar {
            Ok(tar) => tar,
            Err(HostError::Lost { .. } | HostError::Unreachable { .. }) => continue,
            Err(source) => return Err(read_error(host, source)),
        };
        let name = &host.node.name;
        if host.node.role == Role::Master && has_cluster(&tar) {
            gather::check_pki(&id.to_string(), name, &tar)?;
        }
        answered.push(name.clone());
        objects.push(seal.whole(growing.directory(), &format!("{name}.tar"), &tar)?);
    }
    let missing = session
        .inventory
        .nodes
        .iter()
        .map(|node| node.name.clone())
        .filter(|name| !answered.contains(name));
    Ok((objects, missing.collect()))
}

/// Whether a master's tar is that of one that has joined: a blank machine has nothing to lose.
fn has_cluster(tar: &[u8]) -> bool {
    let is_of_etcd = |name: &&&str| name.starts_with("etcd/");
    let of_kubernetes = SHARED_PKI.len() - SHARED_PKI.iter().filter(is_of_etcd).count();
    gather::missing_pki(tar).is_ok_and(|missing| {
        let missing = missing.iter().filter(|name| !name.starts_with("etcd/"));
        missing.count() < of_kubernetes
    })
}

async fn described(
    session: &Session,
    view: &View,
    host: &Host,
    seal: &Seal,
    growing: &Growing<'_>,
) -> Result<[Object; 2], Error> {
    let minor = session.inventory.kubernetes.minor;
    let description = gather::description(host, &view.members, minor).await;
    let path = &session.inventory.path;
    let inventory = fs_err::read(path).map_err(io(format!("read {path}")))?;
    Ok([
        seal.whole(
            growing.directory(),
            "cluster.json",
            format!("{description:#}\n").as_bytes(),
        )?,
        seal.whole(growing.directory(), "inventory.yaml", &inventory)?,
    ])
}

fn etcd_part(plane: &Plane<'_>, host: &Host, view: &View, snapshot: &Snapshot) -> EtcdPart {
    let url = |urls: &[String]| urls.first().cloned().unwrap_or_default();
    EtcdPart {
        cluster_id: view.cluster_id.to_string(),
        version: view.version.clone(),
        image: snapshot.image.clone(),
        member: host.node.name.clone(),
        had_quorum: matches!(plane.etcd(), Etcd::Living(_)),
        revision: snapshot.revision,
        contents: snapshot.contents.clone(),
        members: view
            .members
            .0
            .iter()
            .map(|member| (member.name.clone(), url(&member.peer_urls)))
            .collect(),
    }
}

fn read_error(host: &Host, source: HostError) -> Error {
    Error::Read {
        host: host.node.name.clone(),
        source,
    }
}

fn tell(session: &Session, request: &Request, manifest: &Manifest) {
    let place = request.store.place(&manifest.id);
    if session.settings.format == Format::Json {
        println(&keep::as_json(manifest, &place).to_string());
        return;
    }
    println(&format!(
        "Backup {} of {}: revision {}, {} keys, {} on disk, proved on {} ({:.1} s)\n{place}",
        manifest.id,
        manifest.cluster,
        manifest.etcd.revision,
        manifest.etcd.contents.keys,
        keep::bytes(manifest.stored_size()),
        manifest.verified.on,
        Duration::from_millis(manifest.duration_ms).as_secs_f64(),
    ));
    if !manifest.missing_hosts.is_empty() {
        eprintln(&format!(
            "without the files of {}, which did not answer",
            manifest.missing_hosts.join(", ")
        ));
    }
}

/// Where backups are: a directory, or `s3://bucket/prefix`, whose keys are in the file `credentials` or the environment.
pub fn place(
    cluster: &str,
    to: Option<&str>,
    credentials: Option<&Utf8Path>,
) -> Result<Store, BackupError> {
    match to {
        Some(url) if url.starts_with("s3://") => {
            let staging = cluster_dir(cluster).join("staging");
            Ok(Store::behind(bucket(url, credentials)?, staging))
        }
        directory => Ok(store(cluster, directory.map(Utf8Path::new))),
    }
}

/// A directory of backups.
#[must_use]
pub fn store(cluster: &str, to: Option<&Utf8Path>) -> Store {
    Store::new(to.map_or_else(|| default_directory(cluster), Utf8Path::to_owned))
}

#[cfg(feature = "s3")]
fn bucket(url: &str, credentials: Option<&Utf8Path>) -> Result<Arc<dyn Bucket>, BackupError> {
    Ok(Arc::new(crate::backup::s3::S3::open(url, credentials)?))
}

#[cfg(not(feature = "s3"))]
fn bucket(url: &str, _credentials: Option<&Utf8Path>) -> Result<Arc<dyn Bucket>, BackupError> {
    Err(BackupError::Place {
        what: format!(
            "{} is in an object store, and this quorate was built without them",
            crate::text::escape(url)
        ),
        help: "build it with `cargo build --release --features s3`, or name a directory".to_owned(),
    })
}

/// What the first and only argument of a verdict is called in JSON.
pub(crate) fn verdict(id: &str, error: Option<&BackupError>) -> serde_json::Value {
    json!({ "id": id, "whole": error.is_none(), "error": error.map(ToString::to_string) })
}
