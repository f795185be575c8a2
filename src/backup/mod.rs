//! Backups on the operator's side: what one is, how it lies in a directory, how long it is kept.
//!
//! A backup is a directory named by its [`Id`]: one [sealed](seal) file per host (a tar of what a bare machine needs to be
//! that host again), the snapshot of etcd, the cluster's own description, the inventory, and, written last, the
//! [`manifest`] that names all of them with size and SHA-256. A directory without a manifest is no backup. It grows under a
//! temporary name and is renamed when everything is on disk, so a backup is there whole or not at all. In a [`bucket`],
//! where nothing can be renamed, the manifest alone makes it one.

pub mod bucket;
pub mod held;
pub mod manifest;
pub mod retention;
#[cfg(feature = "s3")]
pub mod s3;
pub mod seal;
pub mod store;

use std::fmt;
use std::str::FromStr;

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

/// A backup's id: when it was begun, in UTC, and two random bytes: `20261121t133000z-1f3a`. Ids sort by time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Id(String);

impl Id {
    /// The id of a backup that begins at that time.
    #[must_use]
    pub fn new(at: jiff::Timestamp) -> Self {
        Self(format!(
            "{}-{:04x}",
            at.strftime("%Y%m%dt%H%M%Sz"),
            rand::random::<u16>()
        ))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Id {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_shaped = text.len() == 21
            && text.bytes().enumerate().all(|(index, byte)| match index {
                8 => byte == b't',
                15 => byte == b'z',
                16 => byte == b'-',
                17.. => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
                _ => byte.is_ascii_digit(),
            });
        if is_shaped {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("`{text}` is no id of a backup"))
        }
    }
}

impl TryFrom<String> for Id {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Id> for String {
    fn from(id: Id) -> Self {
        id.0
    }
}

/// Something is wrong with backups on this side.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is none.
    #[error("{place} holds no backup {wanted}")]
    Missing {
        /// Where it was looked for.
        place: String,
        /// `20261121t133000z-1f3a`, `of cluster x`.
        wanted: String,
    },
    /// It is not what was written.
    #[error("backup {id} is damaged: {what}")]
    Damaged {
        /// Its id, or its directory's name.
        id: String,
        /// What is wrong, naming the file.
        what: String,
    },
    /// It does not fit where it is to be restored.
    #[error("backup {id} does not fit: {what}")]
    Unfit {
        /// Its id.
        id: Id,
        /// Why.
        what: String,
    },
    /// An object store that cannot be used as it was named.
    #[error("{what}")]
    Place {
        /// What is wrong with it; never a key.
        what: String,
        /// What to do.
        help: String,
    },
    /// A recipient or identity of age.
    #[error("{what}")]
    Key {
        /// What is wrong with it; never the key.
        what: String,
        /// What to do.
        help: String,
    },
    /// Somebody else writes there.
    #[error("another run writes backups of this cluster to {place}")]
    Busy {
        /// The directory.
        place: Utf8PathBuf,
    },
    /// The file system.
    #[error("failed to {doing}")]
    Io {
        /// What was tried.
        doing: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl BackupError {
    /// The exact next step, where one is known.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Missing { .. } => Some("see what there is: `quorate backup list`".to_owned()),
            Self::Damaged { .. } => Some(
                "nothing was changed; find one that is whole: `quorate backup verify --all`"
                    .to_owned(),
            ),
            Self::Place { help, .. } | Self::Key { help, .. } => Some(help.clone()),
            Self::Busy { .. } => Some("wait for it to end".to_owned()),
            Self::Unfit { .. } | Self::Io { .. } => None,
        }
    }

    /// The exit code, as the README's table says.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::Missing { .. } | Self::Place { .. } => 2,
            Self::Damaged { .. } | Self::Unfit { .. } | Self::Key { .. } | Self::Busy { .. } => 5,
            Self::Io { .. } => 1,
        }
    }
}

/// Gives I/O errors a sentence.
pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> BackupError {
    let doing = doing.into();
    move |source| BackupError::Io { doing, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_its_time_and_reads_back() {
        let at: jiff::Timestamp = "2026-11-21T13:30:00Z".parse().expect("a time");
        let id = Id::new(at);
        assert!(id.to_string().starts_with("20261121t133000z-"), "{id}");
        assert_eq!(id.to_string().parse(), Ok(id));
        for wrong in [
            "",
            "..",
            "20261121t133000z-1f3",
            "20261121T133000z-1f3a",
            "../../etc/passwd12345",
        ] {
            assert!(wrong.parse::<Id>().is_err(), "{wrong}");
        }
    }
}
