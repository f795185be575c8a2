//! Rules for paths: they are relative to the inventory, `~` is the user's home, and what they name must be there.

use camino::{Utf8Path, Utf8PathBuf};

use crate::input::{Given, Problem};
use crate::secret::SecretSource;

use super::super::spec::SecretSpec;

/// Where relative paths of an inventory begin.
#[derive(Debug, Clone)]
pub struct Base {
    directory: Utf8PathBuf,
    home: Option<Utf8PathBuf>,
}

impl Base {
    /// The directory of the inventory, and the user's home from `HOME`.
    #[must_use]
    pub fn of(inventory: &Utf8Path) -> Self {
        Self {
            directory: inventory.parent().unwrap_or(Utf8Path::new("")).to_owned(),
            home: std::env::var("HOME").ok().map(Utf8PathBuf::from),
        }
    }

    /// The path that a text of the inventory means.
    #[must_use]
    pub fn resolve(&self, text: &str) -> Utf8PathBuf {
        match (text.strip_prefix('~'), &self.home) {
            (Some(""), Some(home)) => home.clone(),
            (Some(rest), Some(home)) if rest.starts_with('/') => {
                home.join(rest.trim_start_matches('/'))
            }
            _ => self.directory.join(text),
        }
    }

    /// A file that must exist; its content is not looked at.
    pub fn existing_file(&self, what: &str, given: &Given<String>) -> Result<Utf8PathBuf, Problem> {
        let path = self.path(what, given)?;
        match fs_err::metadata(&path) {
            Ok(metadata) if metadata.is_file() => Ok(path),
            Ok(_) => Err(
                Problem::at(given.place, format!("{what} {path} is not a file"))
                    .help("write the path of a file"),
            ),
            Err(error) => Err(missing(what, &path, given, &error)),
        }
    }

    /// A directory that must exist.
    pub fn existing_directory(
        &self,
        what: &str,
        given: &Given<String>,
    ) -> Result<Utf8PathBuf, Problem> {
        let path = self.path(what, given)?;
        match fs_err::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => Ok(path),
            Ok(_) => Err(
                Problem::at(given.place, format!("{what} {path} is not a directory"))
                    .help("write the path of a directory"),
            ),
            Err(error) => Err(missing(what, &path, given, &error)),
        }
    }

    /// The text of a file; `mark` must occur in it and `kind` says what that makes it.
    pub fn content(
        &self,
        what: &str,
        given: &Given<String>,
        mark: &str,
        kind: &str,
    ) -> Result<String, Problem> {
        let path = self.path(what, given)?;
        let text =
            fs_err::read_to_string(&path).map_err(|error| missing(what, &path, given, &error))?;
        if text.contains(mark) {
            return Ok(text);
        }
        Err(
            Problem::at(given.place, format!("{what} {path} is not {kind}"))
                .help(format!("the file must contain `{mark}`")),
        )
    }

    /// A path that need not exist.
    pub fn path(&self, what: &str, given: &Given<String>) -> Result<Utf8PathBuf, Problem> {
        if given.value.is_empty() {
            return Err(
                Problem::at(given.place, format!("the path of {what} is empty"))
                    .help("write a path, or remove the key"),
            );
        }
        Ok(self.resolve(&given.value))
    }

    /// Where a secret is to be had; whether it is there shows when it is needed.
    pub fn secret(&self, given: &Given<SecretSpec>) -> Result<SecretSource, Problem> {
        let empty = |what: &str, example: &str| {
            Err(
                Problem::at(given.place, format!("the secret's {what} is empty"))
                    .help(format!("write {example}")),
            )
        };
        match &given.value {
            SecretSpec::Written => Err(Problem::at(
                given.place,
                "a secret does not belong in the inventory",
            )
            .secret()
            .help("write where it is to be had: `{ env: NAME }`, `{ file: PATH }`, `{ command: [pass, show, NAME] }` or `prompt`")),
            SecretSpec::Env(name) if !is_variable(name) => empty("variable", "`{ env: NAME }`"),
            SecretSpec::File(path) if path.is_empty() => empty("file", "`{ file: PATH }`"),
            SecretSpec::Command(words) if words.first().is_none_or(String::is_empty) => {
                empty("command", "`{ command: [pass, show, NAME] }`")
            }
            SecretSpec::Env(name) => Ok(SecretSource::Env(name.clone())),
            SecretSpec::File(path) => Ok(SecretSource::File(self.resolve(path))),
            SecretSpec::Command(words) => Ok(SecretSource::Command(words.clone())),
            SecretSpec::Prompt => Ok(SecretSource::Prompt),
        }
    }
}

fn is_variable(name: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0', ' '])
}

fn missing(what: &str, path: &Utf8Path, given: &Given<String>, error: &std::io::Error) -> Problem {
    let problem = match error.kind() {
        std::io::ErrorKind::NotFound => format!("{what} {path} does not exist"),
        std::io::ErrorKind::PermissionDenied => format!("{what} {path} may not be read"),
        _ => format!("{what} cannot be read: {error}"),
    };
    let help = if path.as_str() == given.value {
        "write a path that exists and that you can read"
    } else {
        "paths are relative to the inventory's directory, `~` is your home"
    };
    Problem::at(given.place, problem).help(help)
}
