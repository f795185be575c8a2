//! A known_hosts file, read once for all hosts of a run.

use std::collections::{BTreeSet, HashMap};
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Mutex, PoisonError};

use camino::{Utf8Path, Utf8PathBuf};

use super::{Marker, PublicKey};

/// What tells a file from what it was: modification time, size and inode.
type Stamp = ((i64, i64), u64, u64);

/// The files that were read, as long as they are the same.
#[derive(Debug, Default)]
pub(crate) struct KnownFiles(Mutex<HashMap<Utf8PathBuf, (Stamp, Arc<KnownFile>)>>);

impl KnownFiles {
    /// A file as it is now; all wait while one reads it.
    pub(super) fn get(&self, path: &Utf8Path) -> std::io::Result<Arc<KnownFile>> {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let metadata = fs_err::metadata(path)?;
        let modified = (metadata.mtime(), metadata.mtime_nsec());
        let stamp = (modified, metadata.size(), metadata.ino());
        if let Some((_, file)) = files.get(path).filter(|(of, _)| *of == stamp) {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(KnownFile::parse(path, &fs_err::read(path)?));
        files.insert(path.to_owned(), (stamp, Arc::clone(&file)));
        Ok(file)
    }
}

/// The lines of a file, and which of them may speak of a host: to look at each line for each host costs the more, the more
/// hosts there are, since each has a line.
#[derive(Debug)]
pub(super) struct KnownFile {
    pub(super) path: Utf8PathBuf,
    lines: Vec<Line>,
    /// Places of lines that spell hosts out, by each of their names in lower case.
    by_name: HashMap<String, Vec<usize>>,
    /// Places of lines with a pattern or a hash, which may speak of any host.
    of_any: Vec<usize>,
}

/// A line that may hold a key.
#[derive(Debug)]
pub(super) struct Line {
    /// From 1.
    pub(super) number: usize,
    pub(super) marker: Marker,
    pub(super) names: String,
    rest: String,
}

impl KnownFile {
    pub(super) fn parse(path: &Utf8Path, bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let mut file = Self {
            path: path.to_owned(),
            lines: Vec::new(),
            by_name: HashMap::new(),
            of_any: Vec::new(),
        };
        for (index, line) in text.lines().enumerate() {
            let Some((marker, names, rest)) = split(line) else {
                continue;
            };
            let place = file.lines.len();
            if names.contains(['|', '*', '?', '!']) {
                file.of_any.push(place);
            } else {
                for name in names.split(',') {
                    let places = file.by_name.entry(name.to_ascii_lowercase()).or_default();
                    places.push(place);
                }
            }
            file.lines.push(Line {
                number: index + 1,
                marker,
                names: names.to_owned(),
                rest: rest.to_owned(),
            });
        }
        file
    }

    /// The lines that may speak of a host of these names, in their order.
    pub(super) fn lines_for(&self, names: [&str; 2]) -> impl Iterator<Item = &Line> {
        let named = names.iter().filter_map(|name| self.by_name.get(*name));
        let places: BTreeSet<usize> = named.flatten().chain(&self.of_any).copied().collect();
        places.into_iter().filter_map(|place| self.lines.get(place))
    }
}

impl Line {
    /// Its key, if it is one that is understood.
    pub(super) fn key(&self) -> Option<PublicKey> {
        let (algorithm, rest) = word(&self.rest)?;
        let (key, _) = word(rest)?;
        PublicKey::from_openssh(&format!("{algorithm} {key}")).ok()
    }
}

/// Marker, names, and what follows them on a line; `None` for comments and what is malformed.
fn split(line: &str) -> Option<(Marker, &str, &str)> {
    let (mut names, mut rest) = word(line).filter(|(word, _)| !word.starts_with('#'))?;
    let marker = match names {
        "@revoked" => Marker::Revoked,
        "@cert-authority" => Marker::Authority,
        _ if names.starts_with('@') => return None,
        _ => Marker::Trusted,
    };
    if marker != Marker::Trusted {
        (names, rest) = word(rest)?;
    }
    Some((marker, names, rest))
}

/// The first word of a line, and what follows.
fn word(line: &str) -> Option<(&str, &str)> {
    const BLANKS: [char; 2] = [' ', '\t'];
    let line = line.trim_start_matches(BLANKS);
    let word = line.split_once(BLANKS).unwrap_or((line, ""));
    (!line.is_empty()).then_some(word)
}
