//! A directory of backups.

use std::fs::{File, TryLockError};

use camino::{Utf8Path, Utf8PathBuf};

use super::manifest::{self, Manifest};
use super::seal::{self, Keys};
use super::{BackupError, Id, io};
use crate::state;

/// How a backup that grows is named, before its id.
const GROWING: &str = ".growing-";

/// Backups below one directory.
#[derive(Debug, Clone)]
pub struct Store {
    directory: Utf8PathBuf,
}

/// The right to write to a store; it ends with the value, and with the process.
#[derive(Debug)]
pub struct Writing {
    store: Store,
    _lock: File,
}

/// A backup that grows. Dropped before it is [finished](Self::finish), it is removed.
#[derive(Debug)]
pub struct Growing<'a> {
    writing: &'a Writing,
    id: Id,
    directory: Utf8PathBuf,
}

impl Store {
    /// The store in that directory, which need not exist yet.
    #[must_use]
    pub fn new(directory: Utf8PathBuf) -> Self {
        Self { directory }
    }

    /// Where it is.
    #[must_use]
    pub fn directory(&self) -> &Utf8Path {
        &self.directory
    }

    /// The directory of a backup.
    #[must_use]
    pub fn place(&self, id: &Id) -> Utf8PathBuf {
        self.directory.join(id.to_string())
    }

    /// Takes the right to write, or says who has it; clears away what an interrupted run left half written.
    pub fn write(&self) -> Result<Writing, BackupError> {
        state::make_private_dir(&self.directory)
            .map_err(io(format!("create {}", self.directory)))?;
        let path = self.directory.join(".lock");
        let lock = File::create(&path).map_err(io(format!("create {path}")))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(BackupError::Busy {
                    place: self.directory.clone(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(io(format!("lock {path}"))(source)),
        }
        for name in self.names()? {
            if name.starts_with(GROWING) {
                let left = self.directory.join(&name);
                fs_err::remove_dir_all(&left).map_err(io(format!("remove {left}")))?;
            }
        }
        Ok(Writing {
            store: self.clone(),
            _lock: lock,
        })
    }

    /// All backups, oldest first: each its manifest, or why it cannot be read.
    pub fn list(&self) -> Result<Vec<Result<Manifest, BackupError>>, BackupError> {
        let ids = self
            .names()?
            .into_iter()
            .filter_map(|name| name.parse::<Id>().ok());
        Ok(ids.map(|id| self.manifest(&id)).collect())
    }

    /// The backups of one cluster that can be read, oldest first.
    pub fn of_cluster(&self, cluster: &str) -> Result<Vec<Manifest>, BackupError> {
        let readable = self.list()?.into_iter().filter_map(Result::ok);
        Ok(readable.filter(|it| it.cluster == cluster).collect())
    }

    /// One by its id, or `latest` of a cluster.
    pub fn find(&self, wanted: &str, cluster: &str) -> Result<Manifest, BackupError> {
        let missing = || BackupError::Missing {
            place: self.directory.clone(),
            wanted: wanted.to_owned(),
        };
        if wanted == "latest" {
            return self.of_cluster(cluster)?.pop().ok_or_else(missing);
        }
        let id: Id = wanted.parse().map_err(|_| missing())?;
        if !self.place(&id).is_dir() {
            return Err(missing());
        }
        self.manifest(&id)
    }

    /// Reads a backup's manifest.
    pub fn manifest(&self, id: &Id) -> Result<Manifest, BackupError> {
        let path = self.place(id).join(manifest::FILE);
        let bytes = std::fs::read(&path).map_err(|error| BackupError::Damaged {
            id: id.to_string(),
            what: format!("{}: {error}", manifest::FILE),
        })?;
        let read = Manifest::parse(&id.to_string(), &bytes)?;
        if read.id != *id {
            return Err(BackupError::Damaged {
                id: id.to_string(),
                what: format!("its manifest is that of {}", read.id),
            });
        }
        Ok(read)
    }

    /// Refuses a backup of which any byte is not as it was written; with keys, also what is inside.
    pub fn check(&self, manifest: &Manifest, keys: Option<&Keys>) -> Result<(), BackupError> {
        let (id, place) = (manifest.id.to_string(), self.place(&manifest.id));
        for object in &manifest.objects {
            seal::check_stored(&id, &place, object)?;
            if let Some(keys) = keys {
                keys.content(&id, manifest.sealed, &place, object, |_| ())?;
            }
        }
        Ok(())
    }

    /// One object's content, whole.
    pub fn content(
        &self,
        manifest: &Manifest,
        keys: &Keys,
        name: &str,
    ) -> Result<Vec<u8>, BackupError> {
        let mut content = Vec::new();
        keys.content(
            &manifest.id.to_string(),
            manifest.sealed,
            &self.place(&manifest.id),
            manifest.object(name)?,
            |piece| content.extend_from_slice(piece),
        )?;
        Ok(content)
    }

    fn names(&self) -> Result<Vec<String>, BackupError> {
        let reading = || io(format!("read {}", self.directory));
        let entries = match std::fs::read_dir(&self.directory) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(reading())?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(reading())?;
            names.extend(entry.file_name().into_string());
        }
        names.sort();
        Ok(names)
    }
}

impl Writing {
    /// Begins a backup under a temporary name.
    pub fn begin(&self, id: Id) -> Result<Growing<'_>, BackupError> {
        let directory = self.store.directory.join(format!("{GROWING}{id}"));
        state::make_private_dir(&directory).map_err(io(format!("create {directory}")))?;
        Ok(Growing {
            writing: self,
            id,
            directory,
        })
    }

    /// Removes a backup: its manifest first, so that it is none from then on.
    pub fn remove(&self, id: &Id) -> Result<(), BackupError> {
        let place = self.store.place(id);
        let manifest = place.join(manifest::FILE);
        let removing = || io(format!("remove {place}"));
        match std::fs::remove_file(&manifest) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(removing()(error));
            }
            _ => {}
        }
        std::fs::remove_dir_all(&place).map_err(removing())
    }
}

impl Growing<'_> {
    /// Where its files go.
    #[must_use]
    pub fn directory(&self) -> &Utf8Path {
        &self.directory
    }

    /// Reads back every file, writes the manifest last, and gives the whole its name. On disk when this returns.
    pub fn finish(self, manifest: &Manifest) -> Result<(), BackupError> {
        for object in &manifest.objects {
            seal::check_stored(&self.id.to_string(), &self.directory, object)?;
        }
        let path = self.directory.join(manifest::FILE);
        state::write_private(&path, &manifest.to_bytes()).map_err(io(format!("write {path}")))?;
        sync_directory(&self.directory)?;
        let place = self.writing.store.place(&self.id);
        std::fs::rename(&self.directory, &place).map_err(io(format!("create {place}")))?;
        sync_directory(&self.writing.store.directory)
    }
}

impl Drop for Growing<'_> {
    fn drop(&mut self) {
        // After `finish` there is nothing of that name; else the next run clears what stays.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn sync_directory(path: &Utf8Path) -> Result<(), BackupError> {
    let synced = File::open(path).and_then(|directory| directory.sync_all());
    synced.map_err(io(format!("flush {path}")))
}
