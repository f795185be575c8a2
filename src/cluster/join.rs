//! What a host needs to join: a bootstrap token, the CA's hash, and for a master the cluster's CAs.
//!
//! The token is made here, lives 20 minutes in the cluster and is deleted as soon as the join has ended, well or badly. Its id
//! (which is no secret) begins with [`TOKEN_PREFIX`], so that one that a killed run left behind is recognised from its name
//! alone, without reading Secrets.
//!
//! Why the CAs are copied rather than uploaded with `upload-certs`: both ways the operator's computer holds, for seconds and in
//! memory only, what opens them (the keys, or the key of the Secret that holds them). Copying leaves no Secret
//! `kubeadm-certs` with the cluster's private keys in etcd for two hours when a run dies, needs no second secret, and does
//! not depend on the API to deliver them. They are read from a living master's standard output and laid, mode 0600 on a
//! tmpfs, into the private directory of the job that joins.

use std::time::Duration;

use rand::Rng;
use serde_json::{Map, Value, json};

use super::api::{self, Request};
use super::ca::Ca;
use super::kubeadm;
use super::node::NodeObject;
use super::survey;
use crate::action::{ActionError, Effect};
use crate::host::Host;
use crate::host::command::{Command, Script};
use crate::host::error::HostError;
use crate::inventory::{EtcdTopology, Inventory, Role};
use crate::secret::Secret;

/// How the ids of quorate's bootstrap tokens begin.
pub const TOKEN_PREFIX: &str = "quo";

/// How long a token lives if nobody deletes it.
const TOKEN_TTL: jiff::SignedDuration = jiff::SignedDuration::from_mins(20);

/// How long a Node of a machine that is gone may go on looking ready.
const STALE: Duration = Duration::from_secs(90);

const TOKENS: &str = "/api/v1/namespaces/kube-system/secrets";

/// A bootstrap token.
#[derive(Debug, Clone)]
pub struct Token {
    id: String,
    secret: Secret,
}

impl Token {
    /// A new one.
    #[must_use]
    pub fn generate() -> Self {
        Self {
            id: format!("{TOKEN_PREFIX}{}", random(3)),
            secret: Secret::new(random(16)),
        }
    }

    /// `id.secret`, as kubeadm's configuration wants it.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}.{}", self.id, self.secret.expose())
    }

    /// The path of its Secret.
    fn path(&self) -> String {
        format!("{TOKENS}/bootstrap-token-{}", self.id)
    }

    fn manifest(&self, expires: &str) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "bootstrap.kubernetes.io/token",
            "metadata": { "name": format!("bootstrap-token-{}", self.id), "namespace": "kube-system" },
            "stringData": {
                "description": "quorate: join of one host, deleted afterwards",
                "token-id": self.id,
                "token-secret": self.secret.expose(),
                "expiration": expires,
                "usage-bootstrap-authentication": "true",
                "usage-bootstrap-signing": "true",
                "auth-extra-groups": "system:bootstrappers:kubeadm:default-node-token",
            },
        })
    }

    /// Makes it known to the cluster. `now`: the seed's clock, which judges its end.
    pub async fn create(&self, seed: &Host, now: i64) -> Result<(), HostError> {
        let now = jiff::Timestamp::from_second(now).unwrap_or_else(|_| jiff::Timestamp::now());
        let expires = now.saturating_add(TOKEN_TTL).unwrap_or(now);
        let manifest = self.manifest(&expires.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        api::succeed(seed, TOKENS, Request::Post(&manifest), 409).await?;
        Ok(())
    }

    /// Deletes it.
    pub async fn delete(&self, seed: &Host) -> Result<(), HostError> {
        api::succeed(seed, &self.path(), Request::Delete, 404).await?;
        Ok(())
    }
}

fn random(length: usize) -> String {
    const ALPHABET: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut generator = rand::rng();
    (0..length)
        .filter_map(|_| ALPHABET.get(generator.random_range(0..ALPHABET.len())))
        .map(|byte| char::from(*byte))
        .collect()
}

/// What templates of kubeadm's configuration see besides the usual variables.
#[must_use]
pub fn extras(
    inventory: &Inventory,
    role: Role,
    token: &Token,
    ca: Option<&Ca>,
) -> Map<String, Value> {
    let values = json!({
        "token": token.text(),
        "certificate_key": "",
        "ca_cert_hash": ca.map(|ca| ca.hash.as_str()).unwrap_or_default(),
        "api_endpoint": inventory.control_plane_endpoint(),
        "control_plane": role == Role::Master,
    });
    match values {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

const PKI: &str = r#"
cd /etc/kubernetes/pki || exit 1
for name in "$@"; do
    echo "file $name"
    cat "$name" || exit 1
    echo
done
"#;

/// Reads the CAs and the service account keys of a living master.
pub async fn read_pki(
    seed: &Host,
    topology: &EtcdTopology,
) -> Result<Vec<(String, Vec<u8>)>, HostError> {
    let names = super::ca::shared_pki(topology).iter();
    let script = names.fold(Script::new("control-plane-pki", PKI), |script, name| {
        script.arg(*name)
    });
    let output = seed.succeed(&Command::script(script)).await?;
    Ok(split_pki(&output.text()))
}

/// Splits what the script printed; `etcd/ca.crt` becomes `etcd-ca.crt`.
fn split_pki(text: &str) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("file ") {
            files.push((name.replace('/', "-"), Vec::new()));
        } else if let Some((_, content)) = files.last_mut().filter(|_| !line.is_empty()) {
            content.extend_from_slice(line.as_bytes());
            content.push(b'\n');
        }
    }
    files
}

/// Deletes the Node object of that name, which belonged to a host that is gone or was reset just now.
///
/// kubeadm refuses to join while a Ready Node of the name exists. A Node looks ready for most of a minute after its machine is
/// gone, so one of another machine is given the time to stop; if it does not, a living machine of that name exists.
pub async fn delete_stale_node(
    effect: &Effect<'_>,
    seed: &Host,
    own_machine: &str,
) -> Result<(), ActionError> {
    let name = &effect.cx.node.name;
    let path = format!("/api/v1/nodes/{name}");
    let since = tokio::time::Instant::now();
    loop {
        let response = api::succeed(seed, &path, Request::Get, 404).await?;
        let Some(node) = NodeObject::parse(&response.body).filter(|_| response.code != 404) else {
            return Ok(());
        };
        if !node.ready.is_true || node.machine_id == own_machine {
            (effect.note)(format!(
                "found a Node {name} that an earlier machine left: removed"
            ));
            api::succeed(seed, &path, Request::Delete, 404).await?;
            return Ok(());
        }
        if since.elapsed() > STALE {
            return Err(ActionError::Unsafe {
                why: format!("another machine runs as Node {name} and is ready"),
                help: format!(
                    "switch that machine off or give one of them another name, then remove it: `kubectl delete node {name}`"
                ),
            });
        }
        seed.transport.rest(Duration::from_secs(2)).await;
    }
}

/// Joins the host of the effect with material from `seed`, and takes the token back whatever comes of it.
///
/// `applied` is the digest of the configuration in force on the seed: the new master's configuration is the stored one.
pub async fn join(
    effect: &Effect<'_>,
    seed: &Host,
    ca: &Ca,
    applied: Option<&str>,
    deadline: Duration,
) -> Result<bool, ActionError> {
    let cx = &effect.cx;
    let role = cx.node.role;
    let fleet = survey::survey(effect).await?;
    let plane = super::plane::Plane::read(cx.inventory, &fleet);
    let now = plane
        .of(&seed.node.name)
        .map_or(0, |seed| seed.report.clock);
    let token = Token::generate();
    let extras = extras(cx.inventory, role, &token, Some(ca));
    let config = cx.templates.render_with("kubeadm/join.yaml", cx, extras)?;
    let mut files = vec![("join.yaml".to_owned(), config.into_bytes())];
    if role == Role::Master {
        files.extend(read_pki(seed, &cx.inventory.etcd).await?);
        if let Some(applied) = applied {
            files.push(("applied".to_owned(), format!("{applied}\n").into_bytes()));
        }
    }
    token.create(seed, now).await?;
    let joined = kubeadm::run(
        effect,
        "kubeadm-join",
        kubeadm::join(cx.inventory, files),
        deadline,
    )
    .await;
    let deleted = token.delete(seed).await;
    let followed = joined?;
    deleted?;
    Ok(followed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_the_shape_that_kubeadm_wants_and_never_shows() {
        let token = Token::generate();
        let text = token.text();
        let (id, secret) = text.split_once('.').unwrap_or_default();
        let is_plain = |part: &str| {
            part.bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        };
        assert!(
            id.len() == 6 && id.starts_with(TOKEN_PREFIX) && is_plain(id),
            "{id}"
        );
        assert!(secret.len() == 16 && is_plain(secret));
        assert!(!format!("{token:?}").contains(secret));
    }

    #[test]
    fn pki_files_come_apart_as_they_were() {
        let files = split_pki("file ca.crt\nA\nB\n\nfile etcd/ca.key\nC\n\n");
        assert_eq!(
            files,
            [
                ("ca.crt".to_owned(), b"A\nB\n".to_vec()),
                ("etcd-ca.key".to_owned(), b"C\n".to_vec())
            ]
        );
    }
}
