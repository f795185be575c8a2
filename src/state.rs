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

/// How a [`Scratch`] is named.
const SCRATCH: &str = ".scratch-";

/// A private directory that goes with the value. What a dead run left is cleared when the next one is made: its lock is free.
#[derive(Debug)]
pub struct Scratch {
    path: Utf8PathBuf,
    _lock: std::fs::File,
}

impl Scratch {
    /// Makes one below a directory, which is made if it is not there.
    pub fn new(below: &Utf8Path) -> std::io::Result<Self> {
        make_private_dir(below)?;
        for entry in std::fs::read_dir(below)? {
            let name = entry?.file_name();
            let left = below.join(name.to_string_lossy().as_ref());
            let lock = std::fs::File::open(left.join(".lock"));
            let is_left = || lock.is_ok_and(|lock| lock.try_lock().is_ok());
            if name.to_string_lossy().starts_with(SCRATCH) && is_left() {
                std::fs::remove_dir_all(&left)?;
            }
        }
        let path = below.join(format!("{SCRATCH}{:016x}", rand::random::<u64>()));
        make_private_dir(&path)?;
        let lock = std::fs::File::create(path.join(".lock"))?;
        lock.lock()?;
        Ok(Self { path, _lock: lock })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Utf8Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays, the next one clears.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Makes a directory and its parents, readable by their owner only.
pub fn make_private_dir(path: &Utf8Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

/// Creates a file of mode 0600, or empties the one that is there.
pub fn create_private(path: &Utf8Path) -> std::io::Result<std::fs::File> {
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}

/// Writes a file of mode 0600 atomically: beside its place, flushed, renamed.
pub fn write_private(path: &Utf8Path, content: &[u8]) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        make_private_dir(parent)?;
    }
    let temporary = Utf8PathBuf::from(format!("{path}.{}", std::process::id()));
    let mut file = create_private(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs_err::rename(&temporary, path)
}
