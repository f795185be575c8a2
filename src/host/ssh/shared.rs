//! What the connections of a run share: each secret is asked for once, each key file read (and decrypted) and each file of
//! known hosts read once, each jump host connected to once, and each agent asked for its keys once.

use std::collections::HashMap;
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use russh::keys::agent::AgentIdentity;
use russh::keys::{PrivateKey, PublicKey};
use tokio::sync::{Mutex, OnceCell, Semaphore};

use super::session::Connection;
use crate::host::host_key::KnownFiles;
use crate::secret::{Secret, SecretSource};

/// `ssh -G` processes at once.
const CONFIG_PROCESSES: usize = 8;

/// What was learnt so far.
#[derive(Debug)]
pub struct Shared {
    secrets: Mutex<Vec<Known>>,
    keys: Mutex<HashMap<Utf8PathBuf, KeyPlace>>,
    agents: Mutex<HashMap<Utf8PathBuf, Arc<OnceCell<Vec<AgentIdentity>>>>>,
    hops: Mutex<HashMap<String, Hop>>,
    /// Files of known hosts.
    pub(super) known_files: KnownFiles,
    /// Whether the user's OpenSSH configuration says anything that concerns us.
    pub(super) config_matters: OnceCell<bool>,
    /// Limits `ssh -G`.
    pub(super) config_processes: Semaphore,
}

/// A secret, where it came from and what for.
#[derive(Debug)]
struct Known {
    source: SecretSource,
    what: String,
    secret: Result<Secret, String>,
}

/// What a key file holds.
#[derive(Debug)]
pub(super) struct KeyFile {
    /// The public key, if it can be read without a passphrase.
    pub(super) public: Option<PublicKey>,
    /// The private key, or why it cannot be used.
    pub(super) private: Result<Arc<PrivateKey>, String>,
}

/// A key file, once it was read.
pub(super) type KeyPlace = Arc<OnceCell<Arc<KeyFile>>>;

/// A jump host's connection, behind its own lock so that different ones are opened side by side.
pub(super) type Hop = Arc<Mutex<Option<Arc<Connection>>>>;

impl Default for Shared {
    fn default() -> Self {
        Self {
            secrets: Mutex::default(),
            keys: Mutex::default(),
            agents: Mutex::default(),
            hops: Mutex::default(),
            known_files: KnownFiles::default(),
            config_matters: OnceCell::new(),
            config_processes: Semaphore::new(CONFIG_PROCESSES),
        }
    }
}

impl Shared {
    /// The secret, read now if it was not yet. All wait while one asks, so there is one prompt.
    pub(super) async fn secret(&self, source: &SecretSource, what: &str) -> Result<Secret, String> {
        let mut secrets = self.secrets.lock().await;
        let is_same = |known: &&Known| {
            known.source == *source && (*source != SecretSource::Prompt || known.what == what)
        };
        if let Some(known) = secrets.iter().find(is_same) {
            return known.secret.clone();
        }
        let (task_source, task_what) = (source.clone(), what.to_owned());
        let secret = tokio::task::spawn_blocking(move || {
            task_source.read(&task_what).map_err(|error| chain(&error))
        })
        .await
        .unwrap_or_else(|error| Err(error.to_string()));
        secrets.push(Known {
            source: source.clone(),
            what: what.to_owned(),
            secret: secret.clone(),
        });
        secret
    }

    /// The place of a key file.
    pub(super) async fn key(&self, path: &Utf8Path) -> KeyPlace {
        let mut keys = self.keys.lock().await;
        Arc::clone(keys.entry(path.to_owned()).or_default())
    }

    /// The place of an agent's identities.
    pub(super) async fn agent(&self, socket: &Utf8Path) -> Arc<OnceCell<Vec<AgentIdentity>>> {
        let mut agents = self.agents.lock().await;
        Arc::clone(agents.entry(socket.to_owned()).or_default())
    }

    /// The place of a jump host's connection.
    pub(super) async fn hop(&self, chain: &str) -> Hop {
        let mut hops = self.hops.lock().await;
        Arc::clone(hops.entry(chain.to_owned()).or_default())
    }
}

/// An error and its causes on one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
