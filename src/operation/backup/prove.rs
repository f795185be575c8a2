//! The snapshot, proved and sealed: on this computer where it has etcd's programs of the cluster's minor, else on the master.

use std::io::{Read as _, Write as _};

use jiff::Timestamp;

use crate::backup::manifest::{Object, SNAPSHOT, Verified};
use crate::backup::seal::Seal;
use crate::backup::store::Growing;
use crate::backup::{Id, io};
use crate::cluster::snapshot::here::Tools;
use crate::cluster::snapshot::{self, Best, From, Snapshot};
use crate::error::Error;
use crate::host::Host;
use crate::host::transfer::{self, TransferError};
use crate::operation::Session;
use crate::operation::desk::Desk;
use crate::state::{Scratch, cluster_dir, create_private};

/// Where the snapshot is taken.
pub(super) struct Source<'a> {
    /// The host.
    pub(super) host: &'a Host,
    /// Its member.
    pub(super) member: Best<'a>,
    /// Is told what goes on.
    pub(super) note: &'a (dyn Fn(String) + Sync),
}

/// A snapshot that was restored once, and its sealed file.
pub(super) struct Proved {
    pub(super) snapshot: Snapshot,
    pub(super) object: Object,
    pub(super) verified: Verified,
}

impl Source<'_> {
    /// Takes a snapshot, restores it into a scratch etcd, compares what that holds, and seals it.
    pub(super) async fn prove(
        &self,
        session: &Session,
        seal: &Seal,
        growing: &Growing<'_>,
        id: &Id,
    ) -> Result<Proved, Error> {
        if let Some(tools) = self.tools(session).await {
            return self.prove_here(session, &tools, seal, growing, id).await;
        }
        let snapshot = snapshot::take_proved(
            self.host,
            &id.to_string(),
            From::of(self.member.view),
            self.note,
        )
        .await?;
        let mut sealer = seal.begin(growing.directory(), SNAPSHOT)?;
        self.bring(&snapshot, |piece| sealer.write(piece)).await?;
        Ok(Proved {
            object: sealer.finish()?,
            verified: verified(&snapshot, self.host.node.name.clone()),
            snapshot,
        })
    }

    /// What this computer could restore it with; nothing for simulated hosts, whose etcd is none.
    async fn tools(&self, session: &Session) -> Option<Tools> {
        let version = &self.member.view?.version;
        let path = std::env::var_os("PATH")?;
        match session.desk {
            Desk::Real => Tools::find(&path, version).await,
            Desk::Rehearsal(_) => None,
        }
    }

    async fn prove_here(
        &self,
        session: &Session,
        tools: &Tools,
        seal: &Seal,
        growing: &Growing<'_>,
        id: &Id,
    ) -> Result<Proved, Error> {
        let name = &self.host.node.name;
        // Not where backups go: that may be a disk of others, and this is not sealed yet.
        let below = cluster_dir(&session.inventory.name);
        let scratch = Scratch::new(&below).map_err(io(format!("create a directory in {below}")))?;
        let file = scratch.path().join(SNAPSHOT);
        let mut attempt = 1;
        let snapshot = loop {
            (self.note)(format!("{name}: saving a snapshot of etcd"));
            let snapshot = snapshot::take(
                self.host,
                &format!("{id}-{attempt}"),
                From::of(self.member.view),
            )
            .await?;
            let mut copy = create_private(&file).map_err(io(format!("create {file}")))?;
            self.bring(&snapshot, |piece| copy.write_all(piece)).await?;
            (self.note)(format!(
                "restoring it into a scratch etcd on this computer: revision {}, {} keys, {} bytes",
                snapshot.revision, snapshot.contents.keys, snapshot.size
            ));
            let found = tools
                .trial(scratch.path(), &file, snapshot.revision)
                .await?;
            if snapshot::is_proved(name, attempt, &snapshot.contents, &found)? {
                break snapshot;
            }
            attempt += 1;
        };
        let mut sealer = seal.begin(growing.directory(), SNAPSHOT)?;
        let mut copy = fs_err::File::open(&file).map_err(io(format!("read {file}")))?;
        let mut piece = vec![0; 1 << 20];
        loop {
            let count = copy.read(&mut piece).map_err(io(format!("read {file}")))?;
            if count == 0 {
                break;
            }
            let piece = piece.get(..count).unwrap_or_default();
            sealer.write(piece).map_err(io(format!("seal {file}")))?;
        }
        let object = sealer.finish()?;
        if object.sha256 != snapshot.sha256 {
            return Err(self.changed(&snapshot, object.sha256));
        }
        Ok(Proved {
            object,
            verified: verified(&snapshot, this_computer()),
            snapshot,
        })
    }

    /// Brings the snapshot here; its hash on both ends must be the same.
    async fn bring(
        &self,
        snapshot: &Snapshot,
        take: impl FnMut(&[u8]) -> std::io::Result<()> + Send,
    ) -> Result<(), Error> {
        let arrived = transfer::download(self.host, snapshot::PATH, snapshot.size, take).await?;
        if arrived == snapshot.sha256 {
            return Ok(());
        }
        Err(self.changed(snapshot, arrived))
    }

    fn changed(&self, snapshot: &Snapshot, arrived: String) -> Error {
        TransferError::Changed {
            host: self.host.node.name.clone(),
            path: snapshot::PATH.to_owned(),
            sent: snapshot.sha256.clone(),
            arrived,
        }
        .into()
    }
}

fn verified(snapshot: &Snapshot, on: String) -> Verified {
    Verified {
        at: Timestamp::now(),
        on,
        how: format!(
            "restored into a scratch etcd: hash {:08x} and {} keys at revision {}, as the living member",
            snapshot.contents.hash, snapshot.contents.keys, snapshot.revision
        ),
    }
}

/// Its name.
fn this_computer() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("this computer ({})", name.trim())
}
