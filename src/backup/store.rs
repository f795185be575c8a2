//! Backups in one place: a directory, or a bucket with a directory of this computer before it.
//!
//! A backup grows in the directory. For a bucket it is then stored file by file, each read back, the manifest last; what is
//! read of it is fetched first, so that the same code judges it.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{File, TryLockError};
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use jiff::{SignedDuration, Timestamp};

use super::bucket::{Bucket, Stored};
use super::held::Held;
use super::manifest::{self, Manifest};
use super::seal;
use super::{BackupError, Id, io};
use crate::state;

/// How a backup that grows is named, before its id.
const GROWING: &str = ".growing-";

/// Files in a bucket that no manifest names may still be on their way for so long; a dead run left what is older.
const UNFINISHED: SignedDuration = SignedDuration::from_hours(24);

/// Backups in one place.
#[derive(Debug, Clone)]
pub struct Store {
    directory: Utf8PathBuf,
    bucket: Option<Arc<dyn Bucket>>,
}

/// The right to write to a store; it ends with the value, and with the process.
#[derive(Debug)]
pub struct Writing {
    store: Store,
    lock: File,
}

impl Drop for Writing {
    /// Closing would not do: a process that is just being started has a copy of the file for a moment.
    fn drop(&mut self) {
        let _ = self.lock.unlock();
    }
}

/// A backup that grows. Dropped before it is [finished](Self::finish), it is removed.
#[derive(Debug)]
pub struct Growing<'a> {
    writing: &'a Writing,
    id: Id,
    directory: Utf8PathBuf,
}

/// As people write it.
impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.bucket {
            Some(bucket) => f.write_str(&bucket.address()),
            None => f.write_str(self.directory.as_str()),
        }
    }
}

impl Store {
    /// The store in that directory, which need not exist yet.
    #[must_use]
    pub fn new(directory: Utf8PathBuf) -> Self {
        Self {
            directory,
            bucket: None,
        }
    }

    /// The store in a bucket; `staging` is where its backups lie while they are written or read.
    #[must_use]
    pub fn behind(bucket: Arc<dyn Bucket>, staging: Utf8PathBuf) -> Self {
        Self {
            directory: staging,
            bucket: Some(bucket),
        }
    }

    /// Where a backup is, as people write it.
    #[must_use]
    pub fn place(&self, id: &Id) -> Utf8PathBuf {
        Utf8PathBuf::from(self.to_string()).join(id.to_string())
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
        if let Some(bucket) = &self.bucket {
            let files = bucket.files()?;
            for left in unfinished(&files, Timestamp::now()) {
                bucket.remove(&left.id, &left.file)?;
            }
        }
        Ok(Writing {
            store: self.clone(),
            lock,
        })
    }

    /// All backups, oldest first: each its manifest, or why it cannot be read.
    pub fn list(&self) -> Result<Vec<Result<Manifest, BackupError>>, BackupError> {
        let ids: BTreeSet<Id> = if let Some(bucket) = &self.bucket {
            finished(&bucket.files()?).cloned().collect()
        } else {
            let names = self.names()?.into_iter();
            names.filter_map(|name| name.parse().ok()).collect()
        };
        Ok(ids.iter().map(|id| self.manifest(id)).collect())
    }

    /// The backups of one cluster that can be read, oldest first.
    pub fn of_cluster(&self, cluster: &str) -> Result<Vec<Manifest>, BackupError> {
        let readable = self.list()?.into_iter().filter_map(Result::ok);
        Ok(readable.filter(|it| it.cluster == cluster).collect())
    }

    /// One by its id, or `latest` of a cluster.
    pub fn find(&self, wanted: &str, cluster: &str) -> Result<Manifest, BackupError> {
        let missing = || BackupError::Missing {
            place: self.to_string(),
            wanted: wanted.to_owned(),
        };
        if wanted == "latest" {
            return self.of_cluster(cluster)?.pop().ok_or_else(missing);
        }
        let id: Id = wanted.parse().map_err(|_| missing())?;
        let is_there = match &self.bucket {
            Some(bucket) => finished(&bucket.files()?).any(|it| *it == id),
            None => self.place(&id).is_dir(),
        };
        if !is_there {
            return Err(missing());
        }
        self.manifest(&id)
    }

    /// Reads a backup's manifest.
    pub fn manifest(&self, id: &Id) -> Result<Manifest, BackupError> {
        let bytes = match &self.bucket {
            Some(bucket) => {
                let mut bytes = Vec::new();
                bucket.get(id, manifest::FILE, &mut bytes)?;
                bytes
            }
            None => std::fs::read(self.place(id).join(manifest::FILE)).map_err(|error| {
                BackupError::Damaged {
                    id: id.to_string(),
                    what: format!("{}: {error}", manifest::FILE),
                }
            })?,
        };
        let read = Manifest::parse(&id.to_string(), &bytes)?;
        if read.id != *id {
            return Err(BackupError::Damaged {
                id: id.to_string(),
                what: format!("its manifest is that of {}", read.id),
            });
        }
        Ok(read)
    }

    /// Takes a backup's files into hand: those of a bucket are fetched.
    pub fn hold(&self, manifest: &Manifest) -> Result<Held, BackupError> {
        match &self.bucket {
            None => Ok(Held::there(self.place(&manifest.id))),
            Some(bucket) => Held::fetched(&self.directory, bucket.as_ref(), manifest),
        }
    }

    /// Refuses a backup of which any byte is not as it was written. Needs no key.
    pub fn check(&self, manifest: &Manifest) -> Result<(), BackupError> {
        let id = &manifest.id;
        for object in &manifest.objects {
            match &self.bucket {
                None => seal::check_stored(&id.to_string(), &self.place(id), object)?,
                Some(bucket) => seal::check_echo(&id.to_string(), object, |echo| {
                    bucket.get(id, &object.file, echo)
                })?,
            }
        }
        Ok(())
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

/// The backups of which the manifest is there.
fn finished(files: &[Stored]) -> impl Iterator<Item = &Id> {
    let manifests = files.iter().filter(|stored| stored.file == manifest::FILE);
    manifests.map(|stored| &stored.id)
}

/// The files of what never became a backup, if all of them are old.
fn unfinished(files: &[Stored], now: Timestamp) -> Vec<&Stored> {
    let kept: BTreeSet<&Id> = finished(files)
        .chain(files.iter().filter_map(|stored| {
            let age = now.duration_since(stored.modified);
            (age < UNFINISHED).then_some(&stored.id)
        }))
        .collect();
    let left = files.iter().filter(|stored| !kept.contains(&stored.id));
    left.collect()
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
        if let Some(bucket) = &self.store.bucket {
            bucket.remove(id, manifest::FILE)?;
            let files = bucket.files()?;
            let mut own = files.iter().filter(|stored| stored.id == *id);
            return own.try_for_each(|stored| bucket.remove(id, &stored.file));
        }
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

    /// Reads back every file, writes the manifest last, and gives the whole its name. On disk, or in the bucket, when this
    /// returns.
    pub fn finish(self, manifest: &Manifest) -> Result<(), BackupError> {
        for object in &manifest.objects {
            seal::check_stored(&self.id.to_string(), &self.directory, object)?;
        }
        let path = self.directory.join(manifest::FILE);
        state::write_private(&path, &manifest.to_bytes()).map_err(io(format!("write {path}")))?;
        if let Some(bucket) = &self.writing.store.bucket {
            return self.send(bucket.as_ref(), manifest);
        }
        sync_directory(&self.directory)?;
        let place = self.writing.store.place(&self.id);
        std::fs::rename(&self.directory, &place).map_err(io(format!("create {place}")))?;
        sync_directory(&self.writing.store.directory)
    }

    /// Stores what has grown in a bucket. Without its manifest it is no backup there.
    fn send(&self, bucket: &dyn Bucket, manifest: &Manifest) -> Result<(), BackupError> {
        let id = &self.id;
        for object in &manifest.objects {
            bucket.put(id, &object.file, &self.directory.join(&object.file))?;
        }
        self.writing.store.check(manifest)?;
        bucket.put(id, manifest::FILE, &self.directory.join(manifest::FILE))?;
        let stored = self.writing.store.manifest(id);
        if stored.is_err() {
            bucket.remove(id, manifest::FILE)?;
        }
        stored.map(|_| ())
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
