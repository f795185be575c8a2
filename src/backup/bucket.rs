//! What a store needs of an object store: whole files under a backup's id. There is no rename there, so what makes files a
//! backup is the manifest, which is written last.

use std::fmt;
use std::io::Write;

use camino::Utf8Path;
use jiff::Timestamp;

use super::{BackupError, Id};

/// A place that is not on this computer.
pub trait Bucket: fmt::Debug + Send + Sync {
    /// As people write it: `s3://bucket/prefix`.
    fn address(&self) -> String;

    /// Every file there that is of a backup.
    fn files(&self) -> Result<Vec<Stored>, BackupError>;

    /// Writes a file's content to `to`. A file that is not there is an I/O error of that kind.
    fn get(&self, id: &Id, file: &str, to: &mut dyn Write) -> Result<(), BackupError>;

    /// Stores a file of this computer, whole or not at all.
    fn put(&self, id: &Id, file: &str, from: &Utf8Path) -> Result<(), BackupError>;

    /// Removes a file; one that is not there is no error.
    fn remove(&self, id: &Id, file: &str) -> Result<(), BackupError>;
}

/// A file in a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The backup that it is of.
    pub id: Id,
    /// Its name.
    pub file: String,
    /// When it was stored.
    pub modified: Timestamp,
}
