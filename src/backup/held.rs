//! A backup whose files are on this computer.

use std::io::Read;

use camino::{Utf8Path, Utf8PathBuf};

use super::bucket::Bucket;
use super::manifest::Manifest;
use super::seal::{self, Keys};
use super::{BackupError, io};
use crate::state::Scratch;

/// A backup where it lies, or a copy of what a bucket holds, which is removed with the value.
#[derive(Debug)]
pub struct Held {
    directory: Utf8PathBuf,
    _copy: Option<Scratch>,
}

impl Held {
    pub(super) fn there(directory: Utf8PathBuf) -> Self {
        Self {
            directory,
            _copy: None,
        }
    }

    /// Fetches every file that the manifest names into a directory of its own below `staging`. What came is not judged here.
    pub(super) fn fetched(
        staging: &Utf8Path,
        bucket: &dyn Bucket,
        manifest: &Manifest,
    ) -> Result<Self, BackupError> {
        let copy = Scratch::new(staging).map_err(io(format!("create a directory in {staging}")))?;
        for object in &manifest.objects {
            let path = copy.path().join(&object.file);
            let mut file = seal::private_file(&path).map_err(io(format!("create {path}")))?;
            bucket.get(&manifest.id, &object.file, &mut file)?;
        }
        Ok(Self {
            directory: copy.path().to_owned(),
            _copy: Some(copy),
        })
    }

    /// Refuses a backup of which any byte is not as it was written; with keys, also what is inside.
    pub fn check(&self, manifest: &Manifest, keys: Option<&Keys>) -> Result<(), BackupError> {
        let id = manifest.id.to_string();
        for object in &manifest.objects {
            seal::check_stored(&id, &self.directory, object)?;
            if let Some(keys) = keys {
                keys.content(&id, manifest.sealed, &self.directory, object, |_| ())?;
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
            &self.directory,
            manifest.object(name)?,
            |piece| content.extend_from_slice(piece),
        )?;
        Ok(content)
    }

    /// A reader of one object's content; who reads it compares its hash.
    pub fn open(
        &self,
        manifest: &Manifest,
        keys: &Keys,
        name: &str,
    ) -> Result<Box<dyn Read + Send>, BackupError> {
        let path = self.directory.join(&manifest.object(name)?.file);
        keys.open(&manifest.id.to_string(), manifest.sealed, &path)
    }
}
