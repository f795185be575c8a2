//! `template`: renders a template into a file on the host.

use super::{Action, ActionError, Change, Check, Context, Effect};
use crate::host::probe::Probe;
use camino::Utf8PathBuf;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A file rendered from a template.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Template {
    /// Template, relative to the templates directory.
    pub src: String,
    /// Absolute path on the host.
    #[schemars(with = "String")]
    pub dest: Utf8PathBuf,
}

impl Action for Template {
    fn probes(&self, _cx: &Context<'_>) -> Vec<Probe> {
        vec![Probe::File(self.dest.clone())]
    }

    fn check(&self, _cx: &Context<'_>) -> Result<Check, ActionError> {
        Ok(Check::Satisfied)
    }

    async fn apply(&self, _effect: &Effect<'_>, _change: &Change) -> Result<(), ActionError> {
        Ok(())
    }
}
