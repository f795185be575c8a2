//! How to reach hosts, as it is written.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::input::{Field, Shorthand};

/// How to reach hosts over SSH. What is not said here comes from the user's OpenSSH settings (`ssh -G`).
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct SshSpec {
    /// Only under a host: address or name to connect to instead of its `address`.
    pub host: Field<String>,
    /// Login name.
    pub user: Field<String>,
    /// Port.
    #[schemars(extend("minimum" = 1, "maximum" = 65535))]
    pub port: Field<i64>,
    /// Private key to try, or a list of them.
    pub identity_file: Field<Shorthand<Vec<Field<String>>>>,
    /// Passphrase of the keys.
    pub passphrase: Field<SecretSpec>,
    /// `known_hosts` file to trust instead of the user's.
    pub known_hosts: Field<String>,
    /// Jump host `[user@]host[:port]`, or a list of them, outermost first.
    pub jump: Field<Shorthand<Vec<Field<String>>>>,
    /// Whether the user's OpenSSH configuration applies.
    #[schemars(extend("default" = true))]
    pub config: Field<bool>,
    /// The password that sudo asks for.
    pub sudo_password: Field<SecretSpec>,
}

/// Where a secret is to be had; never the secret itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", from = "Shorthand<SecretMap>")]
#[schemars(!from)]
pub enum SecretSpec {
    /// An environment variable.
    Env(String),
    /// The first line of a file.
    File(String),
    /// The first line of a command's output: program and arguments.
    Command(Vec<String>),
    /// Ask on the terminal.
    Prompt,
    /// Some other text, likely the secret itself: refused, and kept out of the report.
    #[schemars(skip)]
    Written,
}

/// The forms of a source that name something.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum SecretMap {
    Env(String),
    File(String),
    Command(Vec<String>),
}

impl From<Shorthand<SecretMap>> for SecretSpec {
    fn from(written: Shorthand<SecretMap>) -> Self {
        match written {
            Shorthand::Text(text) if text == "prompt" => Self::Prompt,
            Shorthand::Text(_) => Self::Written,
            Shorthand::Whole(SecretMap::Env(name)) => Self::Env(name),
            Shorthand::Whole(SecretMap::File(path)) => Self::File(path),
            Shorthand::Whole(SecretMap::Command(words)) => Self::Command(words),
        }
    }
}
