//! Where quorate keeps what explains the past on the operator's computer: `$XDG_STATE_HOME/quorate/<cluster>`, by default
//! `~/.local/state/quorate/<cluster>`. The hosts are the truth; nothing here is needed to run again.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};

use camino::{Utf8Path, Utf8PathBuf};

tokio::task_local! {
    static ELSEWHERE: Utf8PathBuf;
}

/// The state directory of a cluster.
#[must_use]
pub fn cluster_dir(cluster: &str) -> Utf8PathBuf {
    root().join("quorate").join(cluster)
}

/// Carries out `future` with its state below `root`: a rehearsal must not touch what real runs left.
pub async fn kept_below<F: Future>(root: &Utf8Path, future: F) -> F::Output {
    ELSEWHERE.scope(root.to_owned(), future).await
}

fn root() -> Utf8PathBuf {
    let set = |name: &str| {
        std::env::var(name)
            .ok()
            .filter(|value| value.starts_with('/'))
            .map(Utf8PathBuf::from)
    };
    ELSEWHERE
        .try_with(Clone::clone)
        .ok()
        .or_else(|| set("XDG_STATE_HOME"))
        .or_else(|| set("HOME").map(|home| home.join(".local/state")))
        .unwrap_or_else(|| Utf8PathBuf::from("/var/lib"))
}

/// Makes a directory and its parents, readable by their owner only.
pub fn make_private_dir(path: &Utf8Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

/// Writes a file of mode 0600 atomically: beside its place, flushed, renamed.
pub fn write_private(path: &Utf8Path, content: &[u8]) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        make_private_dir(parent)?;
    }
    let temporary = Utf8PathBuf::from(format!("{path}.{}", std::process::id()));
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs_err::rename(&temporary, path)
}
