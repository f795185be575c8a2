//! Playbooks: in which order which actions must hold on which hosts. Data only: an `if` in a playbook would be an action or
//! an operation that is missing.

use camino::Utf8Path;
use rust_embed::RustEmbed;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::action::AnyAction;

/// The embedded playbooks.
#[derive(RustEmbed)]
#[folder = "playbooks/"]
struct Embedded;

/// An ordered list of plays.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Playbook {
    /// What it achieves.
    pub name: String,
    /// In this order.
    pub plays: Vec<Play>,
}

/// Steps for a group of hosts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Play {
    /// What it is about.
    pub name: String,
    /// A selector: roles, names with `*`, `@tag`, separated by commas.
    pub hosts: String,
    /// How hosts take turns.
    #[serde(default)]
    pub strategy: Strategy,
    /// In this order.
    pub steps: Vec<Step>,
}

/// How hosts take turns in a play.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// Step by step, all hosts together; a step begins when all have finished the one before.
    #[default]
    Linear,
    /// Host by host: one finishes all steps before the next begins.
    Rolling,
}

/// One action with a title.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Step {
    /// Imperative, no period.
    pub name: String,
    /// What must hold.
    #[serde(rename = "do")]
    pub action: AnyAction,
}

/// A playbook does not exist or does not parse.
#[derive(Debug, thiserror::Error)]
pub enum PlaybookError {
    /// No embedded playbook of that name.
    #[error("there is no playbook `{0}`")]
    Missing(String),
    /// An overlay file cannot be read.
    #[error("failed to read {path}")]
    Read {
        /// File.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It does not parse: file, line and what is wrong.
    #[error("{path} is not a playbook\n{message}")]
    Parse {
        /// File.
        path: String,
        /// The parser's words with a snippet.
        message: String,
    },
    /// A selector in it is wrong.
    #[error("{path}: play `{play}` names hosts that cannot be: {message}")]
    Hosts {
        /// File.
        path: String,
        /// Play.
        play: String,
        /// What is wrong.
        message: String,
    },
}

impl Playbook {
    /// Loads `<name>.yaml`: the overlay's `playbooks/<name>.yaml` if there is one, else the embedded one.
    pub fn load(name: &str, overlay: Option<&Utf8Path>) -> Result<Self, PlaybookError> {
        let file = format!("{name}.yaml");
        if let Some(path) = overlay
            .map(|directory| directory.join("playbooks").join(&file))
            .filter(|path| path.exists())
        {
            let text = fs_err::read_to_string(&path).map_err(|source| PlaybookError::Read {
                path: path.to_string(),
                source,
            })?;
            return Self::parse(path.as_str(), &text);
        }
        let embedded =
            Embedded::get(&file).ok_or_else(|| PlaybookError::Missing(name.to_owned()))?;
        Self::parse(
            &format!("playbooks/{file}"),
            &String::from_utf8_lossy(&embedded.data),
        )
    }

    /// Reads a playbook; `path` is for messages.
    pub fn parse(path: &str, text: &str) -> Result<Self, PlaybookError> {
        serde_saphyr::from_str(text).map_err(|error| PlaybookError::Parse {
            path: path.to_owned(),
            message: error.to_string(),
        })
    }

    /// The names of the embedded playbooks.
    pub fn names() -> impl Iterator<Item = String> {
        Embedded::iter().filter_map(|file| file.strip_suffix(".yaml").map(str::to_owned))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_embedded_playbook_loads() {
        for name in Playbook::names() {
            let playbook = Playbook::load(&name, None).unwrap_or_else(|error| panic!("{error}"));
            assert!(!playbook.plays.is_empty(), "{name} has no plays");
        }
    }

    #[test]
    fn an_unknown_action_is_refused_with_its_line() {
        let text = "name: x\nplays:\n  - name: y\n    hosts: all\n    steps:\n      - name: z\n        do: { tempalte: { src: a, dest: b } }\n";
        let message = Playbook::parse("x.yaml", text)
            .expect_err("misspelt")
            .to_string();
        assert!(
            message.contains("line 7") || message.contains(":7:") || message.contains("7 |"),
            "{message}"
        );
        assert!(message.contains("tempalte"), "{message}");
    }
}
