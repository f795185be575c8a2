//! The manifest: what a backup holds, in clear, without secrets.
//!
//! It is judged strictly: its bytes must be exactly what writing it again would give, and it carries a digest of itself. So
//! a flipped byte anywhere in it is found, in a number no less than in a brace.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{BackupError, Id};
use crate::cluster::snapshot::Contents;

/// Format version.
pub const VERSION: u32 = 1;

/// Its name in a backup's directory.
pub const FILE: &str = "manifest.json";

/// The object that is etcd's snapshot.
pub const SNAPSHOT: &str = "snapshot.db";

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Manifest {
    /// [`VERSION`].
    pub version: u32,
    /// The backup's id.
    pub id: Id,
    /// The cluster's name.
    pub cluster: String,
    /// SHA-256 of the cluster's CA certificate (its public key), as kubeadm writes it: two clusters of one name differ.
    pub ca: String,
    /// When the snapshot was taken.
    pub taken: Timestamp,
    /// How long the whole took, milliseconds.
    pub duration_ms: u64,
    /// etcd.
    pub etcd: Etcd,
    /// The Kubernetes version that the inventory asked for.
    pub kubernetes: String,
    /// The version of quorate that wrote it.
    pub quorate: String,
    /// How it is sealed.
    pub sealed: Sealed,
    /// Hosts that did not answer, so that nothing of them is here.
    pub missing_hosts: Vec<String>,
    /// Its files.
    pub objects: Vec<Object>,
    /// The proof; a backup is written only when there is one.
    pub verified: Verified,
}

/// What the snapshot is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Etcd {
    /// The etcd cluster's id, hexadecimal.
    pub cluster_id: String,
    /// etcd's version, `3.4.23`.
    pub version: String,
    /// The image that holds its programs.
    pub image: String,
    /// The host that the snapshot was taken from.
    pub member: String,
    /// Whether the cluster had a quorum then.
    pub had_quorum: bool,
    /// The revision that the snapshot holds.
    pub revision: u64,
    /// What it holds.
    pub contents: Contents,
    /// Names and peer URLs of the members.
    pub members: Vec<(String, String)>,
}

/// How the files are sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sealed {
    /// Compressed and encrypted to age recipients.
    Age,
    /// Compressed only.
    Plaintext,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Object {
    /// What it is: [`SNAPSHOT`], `master1.tar`, `cluster.json`, `inventory.yaml`.
    pub name: String,
    /// The file's name in the directory.
    pub file: String,
    /// Bytes of the content.
    pub size: u64,
    /// SHA-256 of the content.
    pub sha256: String,
    /// Bytes of the sealed file.
    pub stored_size: u64,
    /// SHA-256 of the sealed file.
    pub stored_sha256: String,
}

/// The proof that the snapshot can be restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Verified {
    /// When.
    pub at: Timestamp,
    /// Where the scratch etcd ran.
    pub on: String,
    /// How, in words.
    pub how: String,
}

impl Manifest {
    /// The object of that name.
    pub fn object(&self, name: &str) -> Result<&Object, BackupError> {
        let missing = || BackupError::Damaged {
            id: self.id.to_string(),
            what: format!("its manifest names no {name}"),
        };
        self.objects
            .iter()
            .find(|object| object.name == name)
            .ok_or_else(missing)
    }

    /// Bytes that it takes on disk.
    #[must_use]
    pub fn stored_size(&self) -> u64 {
        self.objects.iter().map(|object| object.stored_size).sum()
    }

    /// As it is written.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let text = serde_json::to_string_pretty(self).expect("a manifest is always JSON");
        let digest = crate::text::sha256(&text);
        format!("{text}\n{digest}\n").into_bytes()
    }

    /// Reads one and refuses any byte that is not as it was written. `id` names it in messages.
    pub fn parse(id: &str, bytes: &[u8]) -> Result<Self, BackupError> {
        let damaged = |what: String| BackupError::Damaged {
            id: id.to_owned(),
            what: format!("{FILE}: {what}"),
        };
        let text = std::str::from_utf8(bytes).map_err(|error| damaged(error.to_string()))?;
        let (json, _) = text
            .trim_end()
            .rsplit_once('\n')
            .ok_or_else(|| damaged("it is cut off".to_owned()))?;
        let manifest: Self =
            serde_json::from_str(json).map_err(|error| damaged(error.to_string()))?;
        if manifest.version != VERSION {
            return Err(damaged(format!(
                "its format is {}, this quorate reads {VERSION}",
                manifest.version
            )));
        }
        if manifest.to_bytes() != bytes {
            return Err(damaged("it is not as it was written".to_owned()));
        }
        Ok(manifest)
    }
}

#[cfg(test)]
pub(crate) mod sample {
    use super::*;

    /// A backup of that time.
    pub(crate) fn manifest(taken: &str) -> Manifest {
        let taken: Timestamp = taken.parse().expect("a time");
        Manifest {
            version: VERSION,
            id: Id::new(taken),
            cluster: "seoul-1".to_owned(),
            ca: "sha256:abcd".to_owned(),
            taken,
            duration_ms: 4200,
            etcd: Etcd {
                cluster_id: "cdf818194e3a8c32".to_owned(),
                version: "3.4.23".to_owned(),
                image: "registry.k8s.io/etcd:3.4.13-0".to_owned(),
                member: "master2".to_owned(),
                had_quorum: true,
                revision: 2417,
                contents: Contents {
                    hash: 3_981_683_686,
                    compacted: 1667,
                    keys: 431,
                },
                members: vec![("master1".to_owned(), "https://10.1.1.101:2380".to_owned())],
            },
            kubernetes: "v1.36.2".to_owned(),
            quorate: "0.1.0".to_owned(),
            sealed: Sealed::Age,
            missing_hosts: Vec::new(),
            objects: vec![Object {
                name: SNAPSHOT.to_owned(),
                file: "snapshot.db.zst.age".to_owned(),
                size: 2_908_192,
                sha256: "f069".to_owned(),
                stored_size: 400_000,
                stored_sha256: "0ebb".to_owned(),
            }],
            verified: Verified {
                at: taken,
                on: "master2".to_owned(),
                how: "restored into a scratch etcd".to_owned(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::indexing_slicing, reason = "tests")]
    use super::*;

    #[test]
    fn it_reads_back_as_written() {
        let manifest = sample::manifest("2026-11-21T13:30:00Z");
        let read = Manifest::parse("x", &manifest.to_bytes()).expect("it is whole");
        assert_eq!(read, manifest);
    }

    #[test]
    fn any_flipped_bit_and_any_cut_is_found() {
        let bytes = sample::manifest("2026-11-21T13:30:00Z").to_bytes();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                assert!(
                    Manifest::parse("x", &damaged).is_err(),
                    "byte {at}, bit {bit}"
                );
            }
            assert!(Manifest::parse("x", &bytes[..at]).is_err(), "cut at {at}");
        }
    }
}
