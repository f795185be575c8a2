//! What can go wrong between here and a host.

use std::time::Duration;

use camino::Utf8PathBuf;

/// A host could not be reached or did not do what was asked.
///
/// Messages hold no secrets and no raw foreign bytes: what came back from a host is escaped before it gets here.
#[derive(Debug, Clone, thiserror::Error)]
pub enum HostError {
    /// No TCP connection, or none in time.
    #[error("failed to connect to {host} at {address}: {reason}")]
    Unreachable {
        /// Host name.
        host: String,
        /// `address:port` that was tried, with the jump hosts if any.
        address: String,
        /// What the network said.
        reason: String,
    },
    /// No key is on file.
    #[error("the host key of {host} is unknown: {algorithm} {fingerprint}")]
    UnknownKey {
        /// Host name.
        host: String,
        /// `ssh-ed25519`.
        algorithm: String,
        /// `SHA256:…`.
        fingerprint: String,
        /// File that was searched.
        known_hosts: Utf8PathBuf,
    },
    /// Another key is on file, or this one is revoked.
    #[error("the host key of {host} is not the one on file ({why}): {fingerprint}")]
    ChangedKey {
        /// Host name.
        host: String,
        /// `changed, line 3 of …` or `revoked by line 3 of …`.
        why: String,
        /// `SHA256:…` of the key offered.
        fingerprint: String,
    },
    /// A known_hosts file cannot be read or written.
    #[error("failed to use the known hosts in {path} for {host}: {reason}")]
    KnownHosts {
        /// Host name.
        host: String,
        /// The file.
        path: Utf8PathBuf,
        /// Why.
        reason: String,
    },
    /// The server took none of our identities.
    #[error("{host} refused the login of `{user}` (tried: {tried})")]
    LoginRefused {
        /// Host name.
        host: String,
        /// Login name.
        user: String,
        /// Keys and methods tried.
        tried: String,
    },
    /// An identity that was asked for cannot be used.
    #[error("failed to use the identity {path} for {host}: {reason}")]
    Identity {
        /// Host name.
        host: String,
        /// Key file.
        path: Utf8PathBuf,
        /// Why.
        reason: String,
    },
    /// sudo wants a password, wants another one, or is not there.
    #[error("`{user}` cannot become root on {host}: {reason}")]
    Sudo {
        /// Host name.
        host: String,
        /// Login name.
        user: String,
        /// What sudo said.
        reason: String,
    },
    /// A secret that the connection needs could not be had.
    #[error("failed to get the {what} for {host}: {reason}")]
    Secret {
        /// Host name.
        host: String,
        /// `sudo password`, `passphrase of …`.
        what: String,
        /// Why.
        reason: String,
    },
    /// The connection ended in the middle of something; whether it took effect is unknown.
    #[error("lost the connection to {host} during `{during}`: {reason}")]
    Lost {
        /// Host name.
        host: String,
        /// What was going on.
        during: String,
        /// What was seen.
        reason: String,
    },
    /// No end within the deadline.
    #[error("{host} did not finish `{what}` within {} s", .deadline.as_secs())]
    Deadline {
        /// Host name.
        host: String,
        /// What was asked.
        what: String,
        /// The limit.
        deadline: Duration,
        /// Last thing seen, escaped.
        last: String,
    },
    /// A file's check refused it; nothing was replaced.
    #[error("{host} refused the new {path}: `{check}` returned {status}")]
    FileRefused {
        /// Host name.
        host: String,
        /// File.
        path: Utf8PathBuf,
        /// The check.
        check: String,
        /// Its status.
        status: String,
        /// Its last lines, escaped.
        output: String,
    },
    /// Somebody else's run holds the lock.
    #[error("another run holds the cluster's lock on {host}: {owner}")]
    Locked {
        /// Host name.
        host: String,
        /// What the holder wrote.
        owner: String,
    },
    /// The answer makes no sense.
    #[error("{host} gave an answer that cannot be read during `{during}`: {reason}")]
    Garbled {
        /// Host name.
        host: String,
        /// What was asked.
        during: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A command ended with a status that its caller does not accept.
    #[error("`{command}` on {host} returned {status}")]
    Command {
        /// Host name.
        host: String,
        /// The command as shown.
        command: String,
        /// Status or signal.
        status: String,
        /// Its last lines, escaped.
        output: String,
    },
}

impl HostError {
    /// The exact next step for the person who sees this.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Unreachable { address, .. } => Some(format!(
                "check that sshd answers: `ssh {}`",
                ssh_words(address)
            )),
            Self::UnknownKey { known_hosts, .. } => Some(format!(
                "compare the fingerprint with the host's own (`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` there), then add it to {known_hosts} or run again with --accept-new-host-keys"
            )),
            Self::ChangedKey { host, .. } => Some(format!(
                "find out why the key changed; if the machine was replaced on purpose, remove the old key with `ssh-keygen -R {host}`"
            )),
            Self::LoginRefused { user, .. } => Some(format!(
                "put your public key into ~{user}/.ssh/authorized_keys there, load it into ssh-agent, or name it as `ssh: {{ identity-file: … }}`"
            )),
            Self::Identity { .. } => Some(
                "check the path and set `ssh: { passphrase: … }` if the key has one".to_owned(),
            ),
            Self::Sudo { user, .. } => Some(format!(
                "allow it with `{user} ALL=(ALL) NOPASSWD: ALL` in /etc/sudoers.d, or say where the password is: `ssh: {{ sudo-password: prompt }}`"
            )),
            Self::Lost { .. } => {
                Some("run the same command again: it continues from what the host says".to_owned())
            }
            Self::Locked { .. } => {
                Some("wait for that run to end; the lock goes away with its connection".to_owned())
            }
            Self::KnownHosts { path, .. } => {
                Some(format!("make {path} readable and writable for you"))
            }
            Self::Secret { .. }
            | Self::Deadline { .. }
            | Self::FileRefused { .. }
            | Self::Garbled { .. }
            | Self::Command { .. } => None,
        }
    }

    /// What the host said, if it said something: the last lines, escaped.
    #[must_use]
    pub fn output(&self) -> Option<&str> {
        match self {
            Self::FileRefused { output, .. } | Self::Command { output, .. } => Some(output),
            Self::Deadline { last, .. } => Some(last),
            _ => None,
        }
        .filter(|text| !text.is_empty())
        .map(String::as_str)
    }

    /// Whether the host was never properly reached (exit code 4) rather than having failed at something (6).
    #[must_use]
    pub fn is_connection(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::UnknownKey { .. }
                | Self::ChangedKey { .. }
                | Self::KnownHosts { .. }
                | Self::LoginRefused { .. }
                | Self::Identity { .. }
                | Self::Sudo { .. }
                | Self::Secret { .. }
        )
    }
}

/// `10.1.1.11:22 via inner:22 via outer:22` as arguments of ssh, whose `-J` begins with the outermost.
fn ssh_words(address: &str) -> String {
    let mut places = address.split(" via ");
    let target = places.next().unwrap_or_default();
    let target = match target.rsplit_once(':') {
        Some((host, port)) => format!("-p {port} {host}"),
        None => target.to_owned(),
    };
    let mut hops: Vec<&str> = places.collect();
    hops.reverse();
    if hops.is_empty() {
        return target;
    }
    format!("-J {} {target}", hops.join(","))
}
