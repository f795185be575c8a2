//! Templates: the embedded set, an optional overlay directory, and the variables they may use.

use camino::Utf8Path;
use serde::Serialize;

use crate::action::Context;

/// The templates, checked: every one parses and uses known variables only.
#[derive(Debug)]
pub struct Templates {
    #[expect(dead_code, reason = "filled by the template engine")]
    engine: tera::Tera,
}

/// A template does not parse, uses an unknown variable, or failed to render.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct TemplateError {
    /// File, line and what is wrong.
    pub message: String,
}

/// The variables that a template sees.
#[derive(Debug, Serialize)]
pub struct Variables {}

impl Variables {
    /// Computes the variables for one host. Facts that were not read (offline rendering) take documented assumptions.
    #[must_use]
    pub fn new(_cx: &Context<'_>) -> Self {
        Self {}
    }
}

impl Variables {
    /// What has to be read of the host to compute them.
    #[must_use]
    pub fn probes(_cx: &Context<'_>) -> Vec<crate::host::probe::Probe> {
        Vec::new()
    }
}

impl Templates {
    /// Loads the embedded templates, then those of `overlay`, which replace embedded ones of the same relative path.
    pub fn load(_overlay: Option<&Utf8Path>) -> Result<Self, TemplateError> {
        Ok(Self {
            engine: tera::Tera::default(),
        })
    }

    /// Renders a template for the host of `cx`.
    pub fn render(&self, _name: &str, _cx: &Context<'_>) -> Result<String, TemplateError> {
        Ok(String::new())
    }
}
