//! A file as it should be: the one place that compares, shows the difference and writes, for every action that puts files
//! on hosts.

use std::fmt;

use camino::{Utf8Path, Utf8PathBuf};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use similar::TextDiff;

use super::{ActionError, Change, Context};
use crate::host::file::RemoteFile;
use crate::host::probe::{FileContent, FileReading, FileState, Probe};
use crate::text;

/// Lines around a change in a diff.
const CONTEXT_LINES: usize = 3;

/// Permission bits as playbooks write them: `"0644"`.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Mode(pub u32);

impl Mode {
    /// Everybody reads, root writes.
    pub const PUBLIC: Self = Self(0o644);
    /// Root only.
    pub const PRIVATE: Self = Self(0o600);
}

impl Default for Mode {
    fn default() -> Self {
        Self::PUBLIC
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl fmt::Debug for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Mode> for String {
    fn from(mode: Mode) -> Self {
        mode.to_string()
    }
}

impl TryFrom<String> for Mode {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        u32::from_str_radix(&text, 8)
            .ok()
            .filter(|bits| *bits <= 0o7777)
            .map(Self)
            .ok_or_else(|| format!("`{text}` is not a file mode in octal, such as \"0644\""))
    }
}

/// Whether a file's content may be shown and read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Secrecy {
    /// Shown in diffs.
    Public,
    /// Compared by digest, never read back, never shown.
    Sensitive,
}

/// A file as it should be.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) path: Utf8PathBuf,
    pub(crate) content: Vec<u8>,
    pub(crate) mode: Mode,
    pub(crate) owner: String,
    pub(crate) secrecy: Secrecy,
    /// Unchanged lines that a diff shows around a changed one.
    pub(crate) context_lines: usize,
}

impl Wanted {
    /// A 0644 file of root's that may be shown.
    pub(crate) fn public(path: impl Into<Utf8PathBuf>, content: impl Into<Vec<u8>>) -> Self {
        Self {
            path: path.into(),
            content: content.into(),
            mode: Mode::PUBLIC,
            owner: "root:root".to_owned(),
            secrecy: Secrecy::Public,
            context_lines: CONTEXT_LINES,
        }
    }

    /// A file of somebody else's that we edit: its mode and owner stay. Its other lines differ from host to host, and a
    /// plan that leaves them out says once what is the same everywhere.
    pub(crate) fn edited(
        path: impl Into<Utf8PathBuf>,
        state: &FileState,
        content: impl Into<Vec<u8>>,
    ) -> Self {
        Self {
            mode: Mode(state.mode),
            owner: format!("{}:{}", state.owner, state.group),
            context_lines: 0,
            ..Self::public(path, content)
        }
    }

    /// What has to be read to judge it.
    pub(crate) fn probe(&self) -> Probe {
        match self.secrecy {
            Secrecy::Public => Probe::File(self.path.clone()),
            Secrecy::Sensitive => Probe::Digest(self.path.clone()),
        }
    }

    /// What would have to change; `None` if the host has it already.
    pub(crate) fn change(&self, cx: &Context<'_>) -> Result<Option<Change>, ActionError> {
        let state = match cx.facts().file(&self.path)? {
            FileReading::Absent => return Ok(Some(self.creation())),
            FileReading::Present(state) => state,
        };
        if state.content == FileContent::Directory {
            return Err(self.in_the_way(&cx.node.name));
        }
        Ok(self.difference(state))
    }

    /// As it travels.
    pub(crate) fn into_remote(self) -> RemoteFile {
        RemoteFile {
            path: self.path,
            content: self.content,
            mode: self.mode.0,
            owner: self.owner,
            check: None,
            undo: None,
        }
    }

    fn creation(&self) -> Change {
        let change = Change::new(format!("create {}", self.path)).touching(&self.path);
        change.with_diff(self.diff("/dev/null", Some(&[])))
    }

    fn difference(&self, state: &FileState) -> Option<Change> {
        let same = match &state.content {
            FileContent::Bytes(bytes) => **bytes == *self.content,
            FileContent::Sha256(digest) => *digest == text::sha256(&self.content),
            FileContent::Directory | FileContent::Other => false,
        };
        let owner = format!("{}:{}", state.owner, state.group);
        if !same {
            return Some(self.rewriting(state));
        }
        if state.mode == self.mode.0 && owner == self.owner {
            return None;
        }
        let summary = format!(
            "set {} to {} {} (it is {} {owner})",
            self.path,
            self.mode,
            self.owner,
            Mode(state.mode),
        );
        Some(Change::new(summary).touching(&self.path))
    }

    fn rewriting(&self, state: &FileState) -> Change {
        let change = Change::new(format!("change {}", self.path)).touching(&self.path);
        match &state.content {
            FileContent::Bytes(bytes) => {
                change.with_diff(self.diff(self.path.as_str(), Some(bytes)))
            }
            FileContent::Sha256(_) => change.with_diff(self.diff(self.path.as_str(), None)),
            FileContent::Directory | FileContent::Other => change
                .with_diff(self.diff("/dev/null", Some(&[])))
                .found(format!(
                    "{} is not a regular file and is replaced",
                    self.path
                )),
        }
    }

    fn diff(&self, old_name: &str, old: Option<&[u8]>) -> String {
        if self.secrecy == Secrecy::Sensitive {
            return "content differs (sensitive)".to_owned();
        }
        match (
            old.map(std::str::from_utf8),
            std::str::from_utf8(&self.content),
        ) {
            (Some(Ok(old)), Ok(new)) => {
                let (old, new) = (text::escape(old), text::escape(new));
                TextDiff::from_lines(&old, &new)
                    .unified_diff()
                    .context_radius(self.context_lines)
                    .header(old_name, self.path.as_str())
                    .to_string()
            }
            _ => "content differs".to_owned(),
        }
    }

    fn in_the_way(&self, host: &str) -> ActionError {
        ActionError::Unsafe {
            why: format!(
                "{} on {host} is a directory where a file belongs",
                self.path
            ),
            help: format!("look at it on {host} and move it away"),
        }
    }
}

/// A text file of somebody else's as it is, if it is there.
pub(crate) fn foreign_text<'a>(
    path: &'static str,
    cx: &Context<'a>,
) -> Result<Option<(&'a FileState, &'a str)>, ActionError> {
    let reading = cx.facts().file(Utf8Path::new(path))?;
    match (reading.present(), reading.text()) {
        (None, _) => Ok(None),
        (Some(state), Some(text)) => Ok(Some((state, text))),
        (Some(_), None) => Err(ActionError::Unsafe {
            why: format!("{path} on {} is not a text file", cx.node.name),
            help: format!("look at it on {} and make it one", cx.node.name),
        }),
    }
}

/// The changes of several files as one; `None` if the host has all of them.
pub(crate) fn changes<'a>(
    files: impl IntoIterator<Item = &'a Wanted>,
    cx: &Context<'_>,
) -> Result<Option<Change>, ActionError> {
    let mut joined: Option<Change> = None;
    for file in files {
        if let Some(change) = file.change(cx)? {
            joined = Some(match joined {
                None => change,
                Some(earlier) => join(earlier, change),
            });
        }
    }
    Ok(joined)
}

/// Two changes as one.
pub(crate) fn join(mut first: Change, second: Change) -> Change {
    first.summary = format!("{}, {}", first.summary, second.summary);
    first.diff = match (first.diff, second.diff) {
        (Some(first), Some(second)) => Some(format!("{}\n{second}", first.trim_end())),
        (first, second) => first.or(second),
    };
    first.found.extend(second.found);
    first.touches.extend(second.touches);
    first
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::probe::Readings;
    use crate::testing::World;

    const PATH: &str = "/etc/haproxy/haproxy.cfg";

    fn judge(wanted: &Wanted, readings: Readings) -> Option<Change> {
        let world = World::new("lb1").reading(readings);
        wanted.change(&world.cx()).expect("it was probed")
    }

    #[test]
    fn an_equal_file_needs_no_change() {
        let readings = Readings::default().with_file(PATH, FileState::regular("a\n"));
        assert_eq!(judge(&Wanted::public(PATH, "a\n"), readings), None);
    }

    #[test]
    fn a_missing_file_is_shown_whole() {
        let change = judge(
            &Wanted::public(PATH, "a\n"),
            Readings::default().without_file(PATH),
        );
        let change = change.expect("it is missing");
        assert_eq!(change.summary, format!("create {PATH}"));
        assert_eq!(
            change.diff.as_deref(),
            Some("--- /dev/null\n+++ /etc/haproxy/haproxy.cfg\n@@ -0,0 +1 @@\n+a\n")
        );
        assert_eq!(change.touches, [PATH]);
    }

    #[test]
    fn a_difference_is_shown_escaped() {
        let readings = Readings::default().with_file(PATH, FileState::regular("a\n\u{1b}[2J\n"));
        let change = judge(&Wanted::public(PATH, "a\nb\n"), readings).expect("it differs");
        let diff = change.diff.expect("text has a diff");
        assert!(diff.ends_with(" a\n-\\u{1b}[2J\n+b\n"), "{diff}");
    }

    #[test]
    fn mode_and_owner_count() {
        let mut state = FileState::regular("a\n");
        state.mode = 0o600;
        let change = judge(
            &Wanted::public(PATH, "a\n"),
            Readings::default().with_file(PATH, state),
        );
        assert_eq!(
            change.expect("the mode differs").summary,
            format!("set {PATH} to 0644 root:root (it is 0600 root:root)")
        );
    }

    #[test]
    fn sensitive_content_is_compared_by_digest_and_never_shown() {
        let mut wanted = Wanted::public(PATH, "password=hunter2\n");
        wanted.secrecy = Secrecy::Sensitive;
        assert_eq!(wanted.probe(), Probe::Digest(PATH.into()));
        let mut state = FileState::regular("");
        state.content = FileContent::Sha256(text::sha256(b"password=hunter1\n"));
        let change = judge(&wanted, Readings::default().with_file(PATH, state.clone()));
        assert_eq!(
            change.expect("it differs").diff.as_deref(),
            Some("content differs (sensitive)")
        );
        state.content = FileContent::Sha256(text::sha256(b"password=hunter2\n"));
        assert_eq!(
            judge(&wanted, Readings::default().with_file(PATH, state)),
            None
        );
    }

    #[test]
    fn a_directory_in_the_way_is_refused() {
        let mut state = FileState::regular("");
        state.content = FileContent::Directory;
        let world = World::new("lb1").reading(Readings::default().with_file(PATH, state));
        let error = Wanted::public(PATH, "").change(&world.cx());
        assert!(matches!(error, Err(ActionError::Unsafe { .. })));
    }

    #[test]
    fn modes_are_octal() {
        for (text, bits) in [
            ("0644", Some(0o644)),
            ("755", Some(0o755)),
            ("0999", None),
            ("", None),
        ] {
            let mode = Mode::try_from(text.to_owned()).ok();
            assert_eq!(mode.map(|mode| mode.0), bits, "{text}");
        }
    }
}
