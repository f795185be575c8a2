//! A machine's files. Directories are implied by the files in them.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8Path;

use crate::host::probe::{FileContent, FileReading, FileState};

/// What a full disk says.
pub(super) const FULL: &str = "No space left on device";

/// A regular file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its bytes.
    pub content: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
    /// `owner:group`.
    pub owner: String,
    /// Last modification, microseconds since the epoch.
    pub modified_us: u64,
}

/// All files of a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    files: BTreeMap<String, File>,
    directories: BTreeSet<String>,
}

impl Files {
    /// Puts a file of root's.
    pub fn put(
        &mut self,
        path: impl Into<String>,
        content: impl Into<Vec<u8>>,
        mode: u32,
        now: u64,
    ) {
        let file = File {
            content: content.into(),
            mode,
            owner: "root:root".to_owned(),
            modified_us: now,
        };
        self.files.insert(path.into(), file);
    }

    /// Puts a whole file.
    pub fn insert(&mut self, path: impl Into<String>, file: File) {
        self.files.insert(path.into(), file);
    }

    /// Makes a directory that stays when it is empty.
    pub fn make_directory(&mut self, path: impl Into<String>) {
        self.directories.insert(path.into());
    }

    /// The file of that path.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&File> {
        self.files.get(path)
    }

    /// The text of that file.
    #[must_use]
    pub fn text(&self, path: &str) -> Option<&str> {
        std::str::from_utf8(&self.get(path)?.content).ok()
    }

    /// Whether there is a file or directory of that name.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        self.get(path).is_some() || self.is_directory(path)
    }

    /// Takes a file away.
    pub fn remove(&mut self, path: &str) -> Option<File> {
        self.files.remove(path)
    }

    /// Takes everything below a directory away.
    pub fn remove_below(&mut self, directory: &str) {
        let prefix = format!("{}/", directory.trim_end_matches('/'));
        self.files.retain(|path, _| !path.starts_with(&prefix));
        self.directories.retain(|path| !path.starts_with(&prefix));
    }

    /// Moves a file.
    pub fn rename(&mut self, from: &str, to: &str) {
        if let Some(file) = self.remove(from) {
            self.insert(to, file);
        }
    }

    /// Copies everything below a directory to another one.
    pub fn copy_below(&mut self, from: &str, to: &str) {
        let prefix = format!("{from}/");
        let copied: Vec<(String, File)> = self
            .below(&prefix)
            .filter_map(|path| {
                let place = format!("{to}/{}", path.strip_prefix(&prefix)?);
                Some((place, self.get(path)?.clone()))
            })
            .collect();
        self.files.extend(copied);
    }

    /// Moves everything below a directory to another one.
    pub fn move_below(&mut self, from: &str, to: &str) {
        self.copy_below(from, to);
        self.remove_below(from);
    }

    /// The files directly in a directory.
    #[must_use]
    pub fn list(&self, directory: &str) -> Vec<String> {
        let prefix = format!("{}/", directory.trim_end_matches('/'));
        let within = |path: &&String| {
            path.strip_prefix(&prefix)
                .is_some_and(|rest| !rest.contains('/'))
        };
        self.below(&prefix).filter(within).cloned().collect()
    }

    fn below<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a String> {
        let from = self.files.range(prefix.to_owned()..);
        from.map(|(path, _)| path)
            .take_while(move |path| path.starts_with(prefix))
    }

    /// All files, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &File)> {
        self.files.iter()
    }

    /// What a probe reads, with or without the content.
    #[must_use]
    pub fn reading(&self, path: &Utf8Path, whole: bool) -> FileReading {
        let Some(file) = self.files.get(path.as_str()) else {
            return if self.is_directory(path.as_str()) {
                FileReading::Present(directory())
            } else {
                FileReading::Absent
            };
        };
        let (owner, group) = file.owner.split_once(':').unwrap_or((&file.owner, "root"));
        let content = if whole {
            FileContent::Bytes(file.content.clone())
        } else {
            FileContent::Sha256(crate::text::sha256(&file.content))
        };
        FileReading::Present(FileState {
            mode: file.mode,
            owner: owner.to_owned(),
            group: group.to_owned(),
            size: file.content.len() as u64,
            modified_us: file.modified_us,
            content,
        })
    }

    fn is_directory(&self, path: &str) -> bool {
        self.directories.contains(path) || self.below(&format!("{path}/")).next().is_some()
    }
}

fn directory() -> FileState {
    FileState {
        mode: 0o755,
        owner: "root".to_owned(),
        group: "root".to_owned(),
        size: 4096,
        modified_us: 0,
        content: FileContent::Directory,
    }
}
