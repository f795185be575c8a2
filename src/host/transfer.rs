//! Large files to and from a host, piece by piece.
//!
//! Every piece is one request, so memory stays bounded whatever the file's size, a lost connection costs one piece, and a
//! file may be as large as it likes though an answer may not. Both ends hash what they have; the caller compares.

use std::io::Read;

use sha2::{Digest as _, Sha256};

use super::Host;
use super::command::{Command, Script};
use super::error::HostError;

/// Bytes per piece on the way here.
const DOWN: u64 = 16 << 20;

/// Bytes per piece on the way there: it travels in the script.
const UP: usize = 4 << 20;

/// How often a piece is asked for or sent; the connection is made anew in between.
const TRIES: u32 = 4;

const READ: &str = r#"exec dd if="$1" bs=1048576 skip="$2" count="$3" iflag=fullblock status=none"#;

const WRITE: &str = r#"
umask 077
mkdir -p "$(dirname "$1")" && exec dd of="$1" bs=1048576 seek="$2" conv=notrunc,fsync iflag=fullblock status=none"#;

const HASH: &str = r#"sum=$(sha256sum "$1") && echo "${sum%% *}""#;

/// Reads a file of `size` bytes from its host and gives it to `take` in order. Returns the SHA-256 of what was taken.
pub async fn download(
    host: &Host,
    path: &str,
    size: u64,
    mut take: impl FnMut(&[u8]) -> std::io::Result<()> + Send,
) -> Result<String, TransferError> {
    let mut hash = Sha256::new();
    let mut at = 0;
    while at < size {
        let script = Script::new("file-part-read", READ)
            .arg(path)
            .arg((at >> 20).to_string())
            .arg((DOWN >> 20).to_string());
        let output = send(host, &Command::script(script)).await?;
        let expected = DOWN.min(size - at);
        if output.len() as u64 != expected {
            return Err(HostError::Garbled {
                host: host.node.name.clone(),
                during: format!("reading {path}"),
                reason: format!("{} bytes came at {at}, not {expected}", output.len()),
            }
            .into());
        }
        hash.update(&output);
        take(&output).map_err(TransferError::Local)?;
        at += expected;
    }
    Ok(crate::text::hex(&hash.finalize()))
}

/// Writes what `give` reads into a file on a host (0600) and compares what arrived with what was read. A file of that name
/// is replaced only by that: write to a new name.
pub async fn upload(
    host: &Host,
    path: &str,
    mut give: impl Read + Send,
) -> Result<String, TransferError> {
    let mut hash = Sha256::new();
    let mut at = 0_usize;
    let mut piece = Vec::with_capacity(UP);
    loop {
        piece.clear();
        let limit = u64::try_from(UP).unwrap_or(u64::MAX);
        (&mut give)
            .take(limit)
            .read_to_end(&mut piece)
            .map_err(TransferError::Local)?;
        if piece.is_empty() && at > 0 {
            break;
        }
        hash.update(&piece);
        let script = Script::new("file-part-write", WRITE)
            .arg(path)
            .arg((at >> 20).to_string());
        send(host, &Command::script(script).stdin(piece.as_slice())).await?;
        at += piece.len();
        if piece.len() < UP {
            break;
        }
    }
    let sent = crate::text::hex(&hash.finalize());
    let arrived = sha256(host, path).await?;
    if sent == arrived {
        return Ok(sent);
    }
    Err(TransferError::Changed {
        host: host.node.name.clone(),
        path: path.to_owned(),
        sent,
        arrived,
    })
}

/// The SHA-256 of a file, computed on its host.
pub async fn sha256(host: &Host, path: &str) -> Result<String, HostError> {
    let script = Script::new("file-sha256", HASH).arg(path);
    let command = Command::script(script).deadline(std::time::Duration::from_secs(600));
    Ok(host.succeed(&command).await?.text().trim().to_owned())
}

/// A request that may be repeated.
async fn send(host: &Host, command: &Command) -> Result<Vec<u8>, HostError> {
    let mut tries = 1;
    loop {
        match host.succeed(command).await {
            Ok(output) => return Ok(output.stdout),
            Err(HostError::Lost { .. } | HostError::Unreachable { .. }) if tries < TRIES => {
                tries += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

/// A file did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The host.
    #[error(transparent)]
    Host(#[from] HostError),
    /// What came differs from what was sent.
    #[error("{path} arrived on {host} changed: SHA-256 {arrived}, sent was {sent}")]
    Changed {
        /// Host name.
        host: String,
        /// File.
        path: String,
        /// SHA-256 here.
        sent: String,
        /// SHA-256 there.
        arrived: String,
    },
    /// This computer.
    #[error("failed to keep what arrived")]
    Local(#[source] std::io::Error),
}
