//! The login: which identities are tried, in which order, and how each signs.
//!
//! A server counts every key that is offered and hangs up after a few, so the likeliest come first: what the inventory
//! names; else what the agent holds, then the usual files. A key file with a certificate beside it is offered with the
//! certificate first.

use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use russh::Signer;
use russh::client::{AuthResult, Handle, Handler};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::signature;
use russh::keys::ssh_encoding::Encode as _;
use russh::keys::ssh_key::private::KeypairData;
use russh::keys::{Certificate, HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKey};
use tokio::net::UnixStream;

use super::ConnectOptions;
use super::settings::Route;
use super::shared::{KeyFile, chain};
use crate::host::error::HostError;
use crate::text;

/// Something that may log in.
enum Identity {
    Key(Arc<PrivateKey>),
    Certificate(Arc<PrivateKey>, Box<Certificate>),
    Agent(Box<AgentIdentity>),
}

/// An identity and how it is named to people.
struct Candidate {
    identity: Identity,
    name: String,
}

/// What may be tried on a route.
pub(super) struct Candidates {
    list: Vec<Candidate>,
    /// What was left out, and why.
    unusable: Vec<String>,
}

/// Tries the identities in turn.
pub(super) async fn log_in<H: Handler>(
    handle: &mut Handle<H>,
    route: &Route,
    candidates: Candidates,
) -> Result<(), HostError> {
    let mut tried = candidates.unusable;
    for candidate in candidates.list {
        tried.push(candidate.name.clone());
        match offer(handle, route, &candidate.identity).await {
            Ok(AuthResult::Success) => return Ok(()),
            Ok(AuthResult::Failure {
                remaining_methods,
                partial_success: true,
            }) => {
                let methods: Vec<String> = remaining_methods.iter().map(String::from).collect();
                tried.push(format!("then it wants {}", methods.join(" or ")));
                break;
            }
            Ok(AuthResult::Failure { .. }) if handle.is_closed() => {
                tried.push("then it hung up".to_owned());
                break;
            }
            Ok(AuthResult::Failure { .. }) => {}
            Err(reason) => {
                if let Some(last) = tried.last_mut() {
                    *last = format!("{last} ({reason})");
                }
            }
        }
    }
    if tried.is_empty() {
        tried.push("nothing: no agent and no identity file".to_owned());
    }
    Err(HostError::LoginRefused {
        host: route.label.clone(),
        user: route.user.clone(),
        tried: tried.join(", "),
    })
}

async fn offer<H: Handler>(
    handle: &mut Handle<H>,
    route: &Route,
    identity: &Identity,
) -> Result<AuthResult, String> {
    let user = route.user.clone();
    match identity {
        Identity::Key(key) => {
            let hash = rsa_hash(handle, key.public_key()).await;
            let key = PrivateKeyWithHashAlg::new(Arc::clone(key), hash);
            handle
                .authenticate_publickey(user, key)
                .await
                .map_err(|error| error.to_string())
        }
        Identity::Certificate(key, certificate) => {
            let hash = rsa_hash(handle, key.public_key()).await;
            let certificate = Certificate::clone(certificate);
            handle
                .authenticate_certificate_with(user, certificate, hash, &mut KeySigner(key))
                .await
                .map_err(|error| error.to_string())
        }
        Identity::Agent(identity) => offer_agent(handle, route, identity).await,
    }
}

/// Signs with a key file for its certificate; the library's own way knows SHA-1 only for RSA.
struct KeySigner<'a>(&'a PrivateKey);

impl Signer for KeySigner<'_> {
    type Error = russh::AgentAuthError;

    async fn auth_sign(
        &mut self,
        _: &AgentIdentity,
        hash: Option<HashAlg>,
        mut data: Vec<u8>,
    ) -> Result<Vec<u8>, Self::Error> {
        let signature = match self.0.key_data() {
            KeypairData::Rsa(key) => signature::Signer::try_sign(&(key, hash), &data),
            other => signature::Signer::try_sign(other, &data),
        }
        .map_err(|_| russh::keys::Error::CouldNotReadKey)?;
        let mut blob = Vec::new();
        signature
            .encode(&mut blob)
            .and_then(|()| blob.encode(&mut data))
            .map_err(russh::keys::Error::from)?;
        Ok(data)
    }
}

async fn offer_agent<H: Handler>(
    handle: &mut Handle<H>,
    route: &Route,
    identity: &AgentIdentity,
) -> Result<AuthResult, String> {
    let hash = rsa_hash(handle, &identity.public_key()).await;
    let mut agent = agent_client(route).await?;
    if let Some(binding) = handle.agent_session_binding() {
        let _ = agent.bind_session(binding, false).await;
    }
    let user = route.user.clone();
    match identity {
        AgentIdentity::PublicKey { key, .. } => {
            handle
                .authenticate_publickey_with(user, key.clone(), hash, &mut agent)
                .await
        }
        AgentIdentity::Certificate { certificate, .. } => {
            handle
                .authenticate_certificate_with(user, certificate.clone(), hash, &mut agent)
                .await
        }
    }
    .map_err(|error| error.to_string())
}

/// The best hash that the server takes from an RSA key; SHA-512 where it does not say.
async fn rsa_hash<H: Handler>(handle: &Handle<H>, key: &PublicKey) -> Option<HashAlg> {
    if !key.algorithm().is_rsa() {
        return None;
    }
    match handle.best_supported_rsa_hash().await {
        Ok(Some(hash)) => hash,
        Ok(None) | Err(_) => Some(HashAlg::Sha512),
    }
}

async fn agent_client(route: &Route) -> Result<AgentClient<UnixStream>, String> {
    let socket = route.agent.as_deref().ok_or("no agent")?;
    AgentClient::connect_uds(socket)
        .await
        .map_err(|error| format!("no agent at {socket}: {error}"))
}

/// The agent's identities, asked for once; none where there is no agent.
async fn agent_identities(route: &Route, options: &ConnectOptions) -> Vec<AgentIdentity> {
    let Some(socket) = &route.agent else {
        return Vec::new();
    };
    let cell = options.shared.agent(socket).await;
    cell.get_or_init(|| async {
        let Ok(mut agent) = agent_client(route).await else {
            return Vec::new();
        };
        agent.request_identities().await.unwrap_or_default()
    })
    .await
    .clone()
}

/// All candidates, likeliest first. What cannot be used is noted, or an error if the inventory named it.
///
/// This may ask for a passphrase, and so comes before anything that has a time limit.
pub(super) async fn candidates(
    route: &Route,
    options: &ConnectOptions,
) -> Result<Candidates, HostError> {
    let mut unusable = Vec::new();
    let mut agent = agent_identities(route, options).await;
    let mut from_files = Vec::new();
    for path in &route.identity_files {
        if !route.is_identity_explicit && !path.exists() {
            continue;
        }
        match from_file(path, route, options, &mut agent).await {
            Ok(candidates) => from_files.extend(candidates),
            Err(reason) if route.is_identity_explicit => {
                return Err(HostError::Identity {
                    host: route.label.clone(),
                    path: path.clone(),
                    reason,
                });
            }
            Err(reason) => unusable.push(format!("{path} ({reason})")),
        }
    }
    if route.is_agent_limited {
        agent.clear();
    }
    let from_agent = agent.into_iter().map(from_agent);
    let list = if route.is_identity_explicit {
        from_files.into_iter().chain(from_agent).collect()
    } else {
        from_agent.chain(from_files).collect()
    };
    Ok(Candidates { list, unusable })
}

fn from_agent(identity: AgentIdentity) -> Candidate {
    Candidate {
        name: format!("agent key {}", text::escape(identity.comment())),
        identity: Identity::Agent(Box::new(identity)),
    }
}

/// What a key file offers. A key that the agent holds too is taken from its list; one that cannot be decrypted, or of
/// which only the public half is here, is left to the agent.
async fn from_file(
    path: &Utf8Path,
    route: &Route,
    options: &ConnectOptions,
    agent: &mut Vec<AgentIdentity>,
) -> Result<Vec<Candidate>, String> {
    let file = key_file(path, route, options).await;
    let mut held = Vec::new();
    if let Some(public) = &file.public {
        let (same, other) = agent
            .drain(..)
            .partition(|identity| identity.public_key().key_data() == public.key_data());
        held = same;
        *agent = other;
    }
    let key = match &file.private {
        Ok(key) => key,
        Err(_) if !held.is_empty() => return Ok(held.into_iter().map(from_agent).collect()),
        Err(reason) => return Err(reason.clone()),
    };
    let mut candidates = Vec::new();
    for place in certificate_places(path, route) {
        let Ok(certificate) = russh::keys::load_openssh_certificate(&place) else {
            continue;
        };
        if certificate.public_key() == key.public_key().key_data() {
            candidates.push(Candidate {
                identity: Identity::Certificate(Arc::clone(key), Box::new(certificate)),
                name: place.to_string(),
            });
        }
    }
    candidates.push(Candidate {
        identity: Identity::Key(Arc::clone(key)),
        name: path.to_string(),
    });
    Ok(candidates)
}

fn certificate_places(path: &Utf8Path, route: &Route) -> Vec<Utf8PathBuf> {
    let mut places = vec![Utf8PathBuf::from(format!("{path}-cert.pub"))];
    places.extend(route.certificate_files.iter().cloned());
    places.retain(|place| place.exists());
    places
}

/// The public key of a key file: readable without the passphrase in OpenSSH's format, else beside it, else the file itself.
fn public_half(path: &Utf8Path) -> Option<PublicKey> {
    let text = fs_err::read_to_string(path).ok()?;
    if let Ok(key) = PrivateKey::from_openssh(&text) {
        return Some(key.public_key().clone());
    }
    PublicKey::from_openssh(text.trim()).ok().or_else(|| {
        let beside = fs_err::read_to_string(format!("{path}.pub")).ok()?;
        PublicKey::from_openssh(beside.trim()).ok()
    })
}

/// Reads a key file, once per run.
async fn key_file(path: &Utf8Path, route: &Route, options: &ConnectOptions) -> Arc<KeyFile> {
    let cell = options.shared.key(path).await;
    let read = || async {
        Arc::new(KeyFile {
            public: public_half(path),
            private: private_half(path, route, options).await,
        })
    };
    Arc::clone(cell.get_or_init(read).await)
}

/// The private key of a key file, decrypted.
async fn private_half(
    path: &Utf8Path,
    route: &Route,
    options: &ConnectOptions,
) -> Result<Arc<PrivateKey>, String> {
    let text = fs_err::read_to_string(path).map_err(|error| error.to_string())?;
    let passphrase = match (&route.passphrase, is_encrypted(&text)) {
        (_, false) => None,
        (Some(source), true) => {
            let what = format!("passphrase of {path}");
            Some(options.shared.secret(source, &what).await?)
        }
        (None, true) => return Err("it is encrypted and no passphrase is given".to_owned()),
    };
    tokio::task::spawn_blocking(move || {
        let passphrase = passphrase.as_ref().map(crate::secret::Secret::expose);
        russh::keys::decode_secret_key(&text, passphrase)
            .map(Arc::new)
            .map_err(|error| match passphrase {
                Some(_) => "the passphrase does not fit".to_owned(),
                None => chain(&error),
            })
    })
    .await
    .unwrap_or_else(|error| Err(error.to_string()))
}

fn is_encrypted(text: &str) -> bool {
    match PrivateKey::from_openssh(text) {
        Ok(key) => key.is_encrypted(),
        Err(_) => text.contains("ENCRYPTED"),
    }
}
