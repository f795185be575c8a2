//! What an operator's computer keeps between runs: the state directory, whole.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};

use crate::state;

/// The files below a directory, by their paths in it.
#[derive(Debug, Clone, Default)]
pub struct Computer(BTreeMap<Utf8PathBuf, Vec<u8>>);

impl Computer {
    /// Reads everything below a directory; what is not there holds nothing.
    pub(super) fn read(directory: &Utf8Path) -> std::io::Result<Self> {
        let mut computer = Self::default();
        let mut left = vec![directory.to_owned()];
        while let Some(place) = left.pop().filter(|place| place.is_dir()) {
            for entry in place.read_dir_utf8()? {
                let path = entry?.into_path();
                if path.is_dir() {
                    left.push(path);
                } else if let Ok(name) = path.strip_prefix(directory) {
                    computer.0.insert(name.to_owned(), fs_err::read(&path)?);
                }
            }
        }
        Ok(computer)
    }

    /// Makes a directory hold this and nothing else.
    pub(super) fn lay(&self, directory: &Utf8Path) -> std::io::Result<()> {
        if directory.is_dir() {
            fs_err::remove_dir_all(directory)?;
        }
        for (name, content) in &self.0 {
            let path = directory.join(name);
            state::make_private_dir(path.parent().unwrap_or(directory))?;
            fs_err::write(&path, content)?;
        }
        Ok(())
    }
}
