//! Files that are put on hosts.

use camino::Utf8PathBuf;

/// A file to put on a host: written beside its place under a temporary name, checked, flushed and renamed, so that at any
/// moment the old or the new one is there, whole.
#[derive(Debug, Clone)]
pub struct RemoteFile {
    /// Absolute path; missing parent directories are made (0755, root).
    pub path: Utf8PathBuf,
    /// The bytes.
    pub content: Vec<u8>,
    /// Permission bits, set before the first byte is written.
    pub mode: u32,
    /// `owner:group`.
    pub owner: String,
    /// A command that judges the temporary file before it takes the place; `{}` stands for its path. If it fails, nothing
    /// changes and its output is the error.
    pub check: Option<Vec<String>>,
    /// Undo armed before the file takes its place, see [`Undo`].
    pub undo: Option<Undo>,
}

/// A change taken back by the host itself unless it is told within `seconds` that all is well.
///
/// Before the new file takes the place, the old one is kept as `/run/quorate/undo/<name>/…` and a transient timer
/// `quorate-undo-<name>.timer` is started; when it fires it puts the old file back and runs `then`. Several files may share
/// one undo: all of them are put back. [`Disarm`](super::transport::Transport::disarm) stops it. Nothing is armed where
/// there was no old file: there is nothing to go back to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undo {
    /// Kebab-case name, one per service: `haproxy`.
    pub name: String,
    /// Seconds until it fires.
    pub seconds: u32,
    /// What to run after the old files are back: `systemctl reload-or-restart haproxy`.
    pub then: Vec<String>,
}
