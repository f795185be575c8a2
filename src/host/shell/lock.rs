//! The cluster's lock as a script.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Nonce, Request, quote};

/// How long the holder's heart may stop before the host gives the lock away: longer than any hiccup of a network, since
/// the holder does not learn of it; short enough for a colleague to wait for when an operator's machine has lost power.
pub(crate) const PATIENCE_SECONDS: u64 = 300;

/// What the host answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The lock is held.
    Held,
    /// Somebody else has it, who wrote this.
    Busy(String),
    /// Nothing yet.
    Incomplete,
}

/// Compiles the wish to hold a lock, as *one line* (see `Boot::Line` of the transport): it stays in the shell that reads
/// it, with standard input open. One line per heartbeat must follow; the lock ends with standard input or after
/// [`PATIENCE_SECONDS`] without a heartbeat.
pub(crate) fn compile(nonce: Nonce, name: &str, owner: &str) -> Request {
    let text = format!(
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin; export PATH; n={nonce}; \
         umask 077; mkdir -p /run/lock; exec 9<>{file} || exit 1; \
         if flock -n 9; then printf %s {owner} >{file}; printf '%s\\n\\n%s held\\n' $n $n; \
         while [ -n \"$(timeout {PATIENCE_SECONDS} head -n 1)\" ]; do :; done; : >{file}; \
         else printf '%s\\n\\n%s busy ' $n $n; cat {file}; printf '\\n'; fi; exit\n",
        nonce = nonce.as_str(),
        owner = STANDARD.encode(owner),
        file = quote(&format!("/run/lock/quorate-{name}.lock")),
    );
    Request { text, nonce }
}

/// Reads what has come so far.
pub(crate) fn parse(nonce: &Nonce, answer: &[u8]) -> Answer {
    let text = String::from_utf8_lossy(answer);
    let Some((_, line)) = text.split_once(&format!("\n{} ", nonce.as_str())) else {
        return Answer::Incomplete;
    };
    let Some((line, _)) = line.split_once('\n') else {
        return Answer::Incomplete;
    };
    match line.strip_prefix("busy ") {
        None => Answer::Held,
        Some(owner) => Answer::Busy(
            STANDARD
                .decode(owner)
                .map(|owner| String::from_utf8_lossy(&owner).into_owned())
                .unwrap_or_default(),
        ),
    }
}
