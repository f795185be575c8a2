//! Secrets: where they come from and how they stay out of sight.

use std::sync::{Mutex, PoisonError};

use camino::Utf8PathBuf;
use secrecy::{ExposeSecret, SecretString};

/// A secret value. `Debug` is redacted and it cannot be serialised, so it cannot reach a plan, event or journal.
#[derive(Debug, Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Wraps a value.
    #[must_use]
    pub fn new(value: String) -> Self {
        Self(SecretString::from(value))
    }

    /// The value itself: only for bytes that go to standard input or a 0600 file.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

/// Where a secret is to be had: exactly one of the three, written `{ env: NAME }`, `{ file: PATH }` or
/// `{ command: [pass, show, x] }` in the inventory, or asked for on the terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// An environment variable.
    Env(String),
    /// The first line of a file.
    File(Utf8PathBuf),
    /// The first line of a command's standard output.
    Command(Vec<String>),
    /// Asked on the terminal, once.
    Prompt,
}

/// A secret could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The variable is not set.
    #[error("environment variable `{0}` is not set")]
    Env(String),
    /// The file cannot be read.
    #[error("failed to read secret file {path}")]
    File {
        /// Its path.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The command failed; its output is not shown, it might hold the secret.
    #[error("secret command `{program}` failed: {reason}")]
    Command {
        /// The program, without its arguments.
        program: String,
        /// Exit status or I/O error.
        reason: String,
    },
    /// There is no terminal to ask on.
    #[error("a password is needed and there is no terminal to ask for it")]
    Prompt(#[source] std::io::Error),
}

impl SecretSource {
    /// As [`read`](Self::read), but asks each source only once per process: judging is repeated for every host.
    pub fn read_once(&self, what: &str) -> Result<Secret, SecretError> {
        let mut read = READ.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, secret)) = read.iter().find(|(source, _)| source == self) {
            return Ok(secret.clone());
        }
        let secret = self.read(what)?;
        read.push((self.clone(), secret.clone()));
        Ok(secret)
    }

    /// Reads the secret. `what` names it in a prompt, for example `sudo password for ops@lb1`.
    pub fn read(&self, what: &str) -> Result<Secret, SecretError> {
        match self {
            Self::Env(name) => std::env::var(name)
                .map(Secret::new)
                .map_err(|_| SecretError::Env(name.clone())),
            Self::File(path) => fs_err::read_to_string(path)
                .map(|text| Secret::new(first_line(&text)))
                .map_err(|source| SecretError::File {
                    path: path.clone(),
                    source,
                }),
            Self::Command(words) => run(words),
            Self::Prompt => rpassword::prompt_password(format!("{what}: "))
                .map(Secret::new)
                .map_err(SecretError::Prompt),
        }
    }
}

/// Secrets that were read already, see [`SecretSource::read_once`].
static READ: Mutex<Vec<(SecretSource, Secret)>> = Mutex::new(Vec::new());

fn run(words: &[String]) -> Result<Secret, SecretError> {
    let (program, arguments) = words.split_first().ok_or_else(|| SecretError::Command {
        program: String::new(),
        reason: "it is empty".to_owned(),
    })?;
    let failed = |reason: String| SecretError::Command {
        program: program.clone(),
        reason,
    };
    let output = std::process::Command::new(program)
        .args(arguments)
        .stderr(std::process::Stdio::inherit())
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(output.status.to_string()));
    }
    let text = String::from_utf8(output.stdout)
        .map_err(|_| failed("its output is not UTF-8".to_owned()))?;
    Ok(Secret::new(first_line(&text)))
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}
