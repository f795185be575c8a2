//! Playbooks: in which order which actions must hold on which hosts. Data only: an `if` in a playbook would be an action or
//! an operation that is missing.

mod read;

use camino::Utf8Path;
use rust_embed::RustEmbed;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::action::AnyAction;
use crate::input::{InputErrors, Source};

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
    /// It is not a playbook: everything that is wrong, each with its place.
    #[error(transparent)]
    Input(#[from] InputErrors),
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
            return Self::parse(&path, &Source::read(&path)?.text);
        }
        let embedded =
            Embedded::get(&file).ok_or_else(|| PlaybookError::Missing(name.to_owned()))?;
        Self::parse(
            &Utf8Path::new("playbooks").join(file),
            &String::from_utf8_lossy(&embedded.data),
        )
    }

    /// Reads a playbook; `path` is for messages.
    pub fn parse(path: &Utf8Path, text: &str) -> Result<Self, PlaybookError> {
        Ok(read::read(path, text)?)
    }

    /// The names of the embedded playbooks.
    pub fn names() -> impl Iterator<Item = String> {
        Embedded::iter().filter_map(|file| file.strip_suffix(".yaml").map(str::to_owned))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::torture::torture_text;

    #[test]
    fn every_embedded_playbook_loads() {
        for name in Playbook::names() {
            let playbook = Playbook::load(&name, None).unwrap_or_else(|error| panic!("{error}"));
            assert!(!playbook.plays.is_empty(), "{name} has no plays");
        }
    }

    fn refused(text: &str) -> String {
        Playbook::parse(Utf8Path::new("x.yaml"), text)
            .expect_err("it is refused")
            .to_string()
    }

    /// The list of all actions grows; what stands around it does not.
    fn with_every_action_shortened(asserts: impl FnOnce()) {
        let mut settings = insta::Settings::clone_current();
        settings.add_filter("`template`(, `[a-z-]+`)+", "[every action]");
        settings.bind(asserts);
    }

    #[test]
    fn no_playbook_makes_the_parser_panic() {
        let text = Embedded::get("provision.yaml").expect("embedded");
        let text = String::from_utf8_lossy(&text.data).into_owned();
        torture_text("playbooks", &[&text, "name: x\nplays: []\n"], |text| {
            let _ = Playbook::parse(Utf8Path::new("x.yaml"), text);
        });
    }

    #[test]
    fn an_unknown_action_is_refused_with_its_line_and_the_list_of_actions() {
        let text = "name: x\nplays:\n  - name: y\n    hosts: all\n    steps:\n      - name: z\n        do: { tempalte: { src: a, dest: b } }\n";
        with_every_action_shortened(|| insta::assert_snapshot!(refused(text)));
    }

    #[test]
    fn every_mistake_is_named_at_once() {
        let text = "\
name: x
play: []
plays:
  - name: y
    hosts: 'masters,,workers'
    strategy: parallel
    steps:
      - name: z
        do: { template: { src: a, dst: b } }
      - do: { swap-off: {} }
      - name: both
        do: { swap-off: {}, packages: { names: [curl] } }
  - hosts: all
    steps:
";
        with_every_action_shortened(|| insta::assert_snapshot!(refused(text)));
        insta::assert_snapshot!("empty", refused(""));
        insta::assert_snapshot!("no_yaml", refused("name: [\n"));
    }
}
