//! Which host keys are trusted: `known_hosts` with its full meaning.
//!
//! Hashed names, patterns with `*`, `?` and `!`, `[host]:port`, `@revoked` and `@cert-authority` mean what they mean to
//! OpenSSH; a file that is missing holds no keys. A host with any key on file is known: a key of another algorithm is then
//! *changed*, not new, and only the algorithms on file are negotiated. What is unknown is refused unless
//! [`NewHostKeys::Accept`] was asked for, the only relaxation there is.
//!
//! Why not russh's own helper: it ignores revocations, patterns and keys of other algorithms.

use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use camino::{Utf8Path, Utf8PathBuf};
use hmac::{Hmac, KeyInit as _, Mac as _};

use super::error::HostError;
use super::ssh::key::{Algorithm, CertType, Certificate, HashAlg, PublicKey};
use file::KnownFile;
pub(crate) use file::KnownFiles;

mod file;

/// What to do with the key of a host that no file knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NewHostKeys {
    /// Refuse the connection.
    #[default]
    Refuse,
    /// Trust it and remember it.
    Accept,
}

/// The lines that speak of one host.
#[derive(Debug, Clone, Default)]
pub(crate) struct KnownKeys {
    entries: Vec<Entry>,
}

/// What a line says of the host's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Marker {
    Trusted,
    /// Trusted under the name without the port: enough to trust, not enough to call another key changed.
    TrustedWithoutPort,
    Revoked,
    Authority,
}

#[derive(Debug, Clone)]
struct Entry {
    marker: Marker,
    key: PublicKey,
    file: Utf8PathBuf,
    line: usize,
}

impl Entry {
    fn place(&self) -> String {
        format!("line {} of {}", self.line, self.file)
    }
}

/// What is to be thought of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is on file.
    Known,
    /// Nothing is on file.
    Unknown,
    /// Something else is on file, or this one is revoked.
    Refused(String),
}

impl KnownKeys {
    /// Reads what the files say of `host` at `port`.
    pub(crate) fn load(
        files: &KnownFiles,
        paths: &[Utf8PathBuf],
        host: &str,
        port: u16,
    ) -> Result<Self, FileError> {
        let mut known = Self::default();
        for path in paths {
            match files.get(path) {
                Ok(file) => known.read(&file, host, port),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(FileError::new(path, &error)),
            }
        }
        Ok(known)
    }

    fn read(&mut self, file: &KnownFile, host: &str, port: u16) {
        let host = host.to_lowercase();
        let name = name_on_file(&host, port);
        for line in file.lines_for([&name, &host]) {
            let marker = match (line.marker, matches_any(&line.names, &name)) {
                (_, false) if name == host || !matches_any(&line.names, &host) => continue,
                (Marker::Trusted, false) => Marker::TrustedWithoutPort,
                (marker, _) => marker,
            };
            if let Some(key) = line.key() {
                self.entries.push(Entry {
                    marker,
                    key,
                    file: file.path.clone(),
                    line: line.number,
                });
            }
        }
    }

    /// The algorithms to negotiate: those on file, or all.
    pub(crate) fn algorithms(&self) -> Option<Vec<Algorithm>> {
        let mut algorithms: Vec<Algorithm> = Vec::new();
        for entry in self.with(Marker::Trusted) {
            for algorithm in signatures_of(&entry.key.algorithm()) {
                if !algorithms.contains(&algorithm) {
                    algorithms.push(algorithm);
                }
            }
        }
        (!algorithms.is_empty()).then_some(algorithms)
    }

    /// Whether an authority is on file that may vouch for the host.
    pub(crate) fn has_authority(&self) -> bool {
        self.with(Marker::Authority).next().is_some()
    }

    /// Judges a key.
    pub(crate) fn judge(&self, key: &PublicKey) -> Verdict {
        if let Some(refusal) = self.revocation(key) {
            return refusal;
        }
        let is_key = |entry: &&Entry| entry.key.key_data() == key.key_data();
        if self.with(Marker::Trusted).any(|entry| is_key(&entry))
            || self
                .with(Marker::TrustedWithoutPort)
                .any(|entry| is_key(&entry))
        {
            return Verdict::Known;
        }
        match self.with(Marker::Trusted).next() {
            None => Verdict::Unknown,
            Some(entry) => Verdict::Refused(format!("changed, {}", entry.place())),
        }
    }

    /// Judges a host certificate for the name that the host is known by.
    pub(crate) fn judge_certificate(&self, certificate: &Certificate, host: &str) -> Verdict {
        let subject = PublicKey::new(certificate.public_key().clone(), "");
        let authority = PublicKey::new(certificate.signature_key().clone(), "");
        for key in [&subject, &authority] {
            if let Some(refusal) = self.revocation(key) {
                return refusal;
            }
        }
        let is_trusted = self
            .with(Marker::Authority)
            .any(|entry| entry.key.key_data() == authority.key_data());
        if !is_trusted {
            return self.judge(&subject);
        }
        match certificate_fault(certificate, &authority, host) {
            None => Verdict::Known,
            Some(fault) => Verdict::Refused(format!("its certificate {fault}")),
        }
    }

    /// Where another key is on file, for a server that has none of the algorithms on file.
    pub(crate) fn first_place(&self) -> Option<String> {
        self.with(Marker::Trusted).next().map(Entry::place)
    }

    fn revocation(&self, key: &PublicKey) -> Option<Verdict> {
        self.with(Marker::Revoked)
            .find(|entry| entry.key.key_data() == key.key_data())
            .map(|entry| Verdict::Refused(format!("revoked by {}", entry.place())))
    }

    fn with(&self, marker: Marker) -> impl Iterator<Item = &Entry> {
        self.entries
            .iter()
            .filter(move |entry| entry.marker == marker)
    }
}

/// Remembers a key: one line at the end of the file, which is made (0600, its directory 0700) if it is not there.
///
/// The file is locked meanwhile and read again first, so that several hosts and several processes may add keys at once and
/// nobody adds a second, different one. The line is appended in one write rather than the file replaced: whoever reads or
/// appends at the same time, OpenSSH among them, loses nothing.
pub(crate) fn remember(
    file: &Utf8Path,
    host: &str,
    port: u16,
    key: &PublicKey,
) -> Result<Verdict, FileError> {
    append(file, host, port, key).map_err(|error| FileError::new(file, &error))
}

fn append(
    path: &Utf8Path,
    host: &str,
    port: u16,
    key: &PublicKey,
) -> Result<Verdict, std::io::Error> {
    if let Some(directory) = path.parent().filter(|directory| !directory.exists()) {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
    }
    let mut file = std::fs::OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)?;
    file.lock()?;
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut bytes)?;
    let mut known = KnownKeys::default();
    known.read(&KnownFile::parse(path, &bytes), host, port);
    let verdict = known.judge(key);
    if verdict != Verdict::Unknown {
        return Ok(verdict);
    }
    let separator = match bytes.last() {
        None | Some(b'\n') => "",
        Some(_) => "\n",
    };
    let key = PublicKey::new(key.key_data().clone(), "")
        .to_openssh()
        .map_err(std::io::Error::other)?;
    let name = name_on_file(&host.to_lowercase(), port);
    file.write_all(format!("{separator}{name} {}\n", key.trim()).as_bytes())?;
    file.sync_data()?;
    Ok(Verdict::Known)
}

/// A known_hosts file cannot be used.
#[derive(Debug, Clone)]
pub(crate) struct FileError {
    path: Utf8PathBuf,
    reason: String,
}

impl FileError {
    fn new(path: &Utf8Path, error: &std::io::Error) -> Self {
        Self {
            path: path.to_owned(),
            reason: error.to_string(),
        }
    }

    /// As an error of this host.
    pub(crate) fn of_host(self, host: &str) -> HostError {
        HostError::KnownHosts {
            host: host.to_owned(),
            path: self.path,
            reason: self.reason,
        }
    }
}

/// `SHA256:…`.
pub(crate) fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

fn name_on_file(host: &str, port: u16) -> String {
    if port == 22 {
        host.to_owned()
    } else {
        format!("[{host}]:{port}")
    }
}

/// Whether the names on a line cover this one: some pattern matches and no negated one does.
fn matches_any(names: &str, name: &str) -> bool {
    if let Some(hashed) = names.strip_prefix("|1|") {
        return matches_hash(hashed, name).unwrap_or(false);
    }
    let mut is_covered = false;
    for pattern in names.split(',') {
        match pattern.strip_prefix('!') {
            Some(excluded) if matches_pattern(excluded, name) => return false,
            Some(_) => {}
            None => is_covered |= matches_pattern(pattern, name),
        }
    }
    is_covered
}

/// `base64(salt)|base64(HMAC-SHA1(salt, name))`.
fn matches_hash(hashed: &str, name: &str) -> Option<bool> {
    let (salt, hash) = hashed.split_once('|')?;
    let mut mac = Hmac::<sha1::Sha1>::new_from_slice(&STANDARD.decode(salt).ok()?).ok()?;
    mac.update(name.as_bytes());
    Some(mac.verify_slice(&STANDARD.decode(hash).ok()?).is_ok())
}

/// `*` is any run of characters, `?` any one; whether in capitals is all the same.
fn matches_pattern(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let is_same =
        |one: &u8, other: Option<&u8>| other.is_some_and(|it| it.eq_ignore_ascii_case(one));
    let (mut at, mut seen) = (0, 0);
    let mut retry = None;
    while seen < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                retry = Some((at, seen));
                at += 1;
            }
            Some(character) if *character == b'?' || is_same(character, name.get(seen)) => {
                at += 1;
                seen += 1;
            }
            _ => {
                let Some((star, from)) = retry else {
                    return false;
                };
                retry = Some((star, from + 1));
                at = star + 1;
                seen = from + 1;
            }
        }
    }
    pattern
        .get(at..)
        .is_some_and(|rest| rest.iter().all(|character| *character == b'*'))
}

/// The signature algorithms of a key's algorithm: RSA keys sign with SHA-2 only.
pub(crate) fn signatures_of(algorithm: &Algorithm) -> Vec<Algorithm> {
    match algorithm {
        Algorithm::Rsa { .. } => [HashAlg::Sha512, HashAlg::Sha256]
            .map(|hash| Algorithm::Rsa { hash: Some(hash) })
            .to_vec(),
        other => vec![other.clone()],
    }
}

/// What forbids to trust a certificate that a trusted authority has signed.
fn certificate_fault(
    certificate: &Certificate,
    authority: &PublicKey,
    host: &str,
) -> Option<&'static str> {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    if certificate.cert_type() != CertType::Host {
        return Some("is not one for hosts");
    }
    if !certificate.critical_options().is_empty() {
        return Some("has critical options that are not understood");
    }
    let principals = certificate.valid_principals();
    let is_named = principals
        .iter()
        .any(|principal| matches_pattern(principal, host));
    if !principals.is_empty() && !is_named {
        return Some("is for another name");
    }
    certificate
        .validate_at(now, [&authority.fingerprint(HashAlg::Sha256)])
        .is_err()
        .then_some("is not valid now or its signature is wrong")
}

#[cfg(test)]
mod tests;
