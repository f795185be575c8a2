//! A machine's files. Directories are implied by the files in them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

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
    by_path: BTreeMap<String, File>,
    directories: BTreeSet<String>,
    half: BTreeSet<String>,
    /// SHA-256 and size of those whose content nobody has read.
    digests: BTreeMap<String, (String, u64)>,
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
        self.insert(path, file);
    }

    /// Puts a whole file.
    pub fn insert(&mut self, path: impl Into<String>, file: File) {
        let path = path.into();
        self.half.remove(&path);
        self.digests.remove(&path);
        self.by_path.insert(path, file);
    }

    /// Forgets all.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Says of a file that no more is known of its content than this.
    pub(super) fn only_digest(&mut self, path: &str, sha256: String, size: u64) {
        self.digests.insert(path.to_owned(), (sha256, size));
    }

    /// Files of which only a part was written.
    pub fn half(&self) -> impl Iterator<Item = &String> {
        self.half.iter()
    }

    /// Leaves of a change only what a power cut in its midst leaves: of the files that it touched the first ones are as they
    /// are now, the rest as in `old`; and unless each takes its place by being renamed, the one between is written by half.
    pub(super) fn cut_short(&mut self, old: &Self, renames: bool) {
        let paths: BTreeSet<&String> = old.by_path.keys().chain(self.by_path.keys()).collect();
        let touched = |path: &&String| old.get(path) != self.get(path);
        let touched: Vec<String> = paths.into_iter().filter(touched).cloned().collect();
        let middle = touched.len() / 2;
        for (index, path) in touched.into_iter().enumerate().skip(middle) {
            if index == middle && !renames && self.has(&path) {
                self.halve(&path);
                continue;
            }
            match old.get(&path) {
                Some(file) => self.insert(path, file.clone()),
                None => drop(self.remove(&path)),
            }
        }
    }

    fn halve(&mut self, path: &str) {
        if let Some(file) = self.by_path.get_mut(path) {
            file.content.truncate(file.content.len() / 2);
            self.half.insert(path.to_owned());
        }
    }

    /// Makes a directory that stays when it is empty.
    pub fn make_directory(&mut self, path: impl Into<String>) {
        self.directories.insert(path.into());
    }

    /// The file of that path.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&File> {
        self.by_path.get(path)
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
        self.half.remove(path);
        self.digests.remove(path);
        self.by_path.remove(path)
    }

    /// Takes everything below a directory away.
    pub fn remove_below(&mut self, directory: &str) {
        let prefix = format!("{}/", directory.trim_end_matches('/'));
        self.by_path.retain(|path, _| !path.starts_with(&prefix));
        self.half.retain(|path| !path.starts_with(&prefix));
        self.directories.retain(|path| !path.starts_with(&prefix));
    }

    /// Moves a file.
    pub fn rename(&mut self, from: &str, to: &str) {
        let is_half = self.half.contains(from);
        if let Some(file) = self.remove(from) {
            self.insert(to, file);
            if is_half {
                self.half.insert(to.to_owned());
            }
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
        for (path, file) in copied {
            self.insert(path, file);
        }
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
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let from = self.by_path.range::<str, _>(from);
        from.map(|(path, _)| path)
            .take_while(move |path| path.starts_with(prefix))
    }

    /// All files, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &File)> {
        self.by_path.iter()
    }

    /// What a probe reads, with or without the content.
    #[must_use]
    pub fn reading(&self, path: &Utf8Path, whole: bool) -> FileReading {
        let Some(file) = self.by_path.get(path.as_str()) else {
            return if self.is_directory(path.as_str()) {
                FileReading::Present(directory())
            } else {
                FileReading::Absent
            };
        };
        let (owner, group) = file.owner.split_once(':').unwrap_or((&file.owner, "root"));
        let known = self.digests.get(path.as_str());
        let content = match known {
            Some((digest, _)) => FileContent::Sha256(digest.clone()),
            None if whole => FileContent::Bytes(file.content.as_slice().into()),
            None => FileContent::Sha256(crate::text::sha256(&file.content)),
        };
        FileReading::Present(FileState {
            mode: file.mode,
            owner: owner.to_owned(),
            group: group.to_owned(),
            size: known.map_or(file.content.len() as u64, |(_, size)| *size),
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
