//! Templates: the embedded set, an optional overlay directory, and the variables they may use.
//!
//! [`Templates::load`] takes the embedded files of `templates/`, puts the overlay's over them, and refuses whatever could
//! fail later: text that does not parse, a filter or included file that does not exist, a variable that nobody sets (with
//! file, line and the names that would have been right), an overlay file that replaces nothing. So a run that has started
//! does not stop half-way at a typing mistake. What a template sees is [`Variables`]; some are also given a few values that
//! only exist while they are rendered, a join token for example: see [`Templates::render_with`].
//!
//! The same inventory and readings always give the same bytes: there is no clock and no randomness, and maps come out sorted.

mod example;
mod filters;
mod known;
mod named;
mod overlay;
mod scan;
mod variables;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use camino::Utf8Path;
use rust_embed::RustEmbed;
use serde_json::{Map, Value};

use crate::action::Context;
use named::{Named, named_variables};
use overlay::Source;

pub use variables::{
    Containerd, ContainerdVersion, EtcdClient, EtcdMember, SkipPhases, Taint, Variables,
    etcd_member, etcd_members, kubeadm_flags,
};

/// The templates, checked: every one parses and uses known variables only.
#[derive(Debug, Clone)]
pub struct Templates {
    engine: tera::Tera,
    /// What each template names of the inventory.
    of_inventory: HashMap<String, Named>,
    /// Of each template what it was last rendered from, and to: most hosts of a role get the same file.
    last: Arc<Mutex<HashMap<String, (tera::Context, String)>>>,
}

/// A template does not parse, uses an unknown variable, or failed to render.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct TemplateError {
    /// File, line and what is wrong.
    pub message: String,
}

impl TemplateError {
    fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
        }
    }
}

/// The files of `templates/`, inside the binary.
#[derive(RustEmbed)]
#[folder = "templates/"]
struct Embedded;

/// Values that a template gets from the action that renders it, beside [`Variables`].
struct Extra {
    template: &'static str,
    required: &'static [&'static str],
    optional: &'static [&'static str],
}

const KUBEADM_OPTIONAL: &[&str] = &[
    "certificate_key",
    "ca_cert_hash",
    "api_endpoint",
    "control_plane",
];

const EXTRAS: [Extra; 4] = [
    Extra {
        template: "kubeadm/init.yaml",
        required: &["token"],
        optional: KUBEADM_OPTIONAL,
    },
    Extra {
        template: "kubeadm/join.yaml",
        required: &["token", "ca_cert_hash", "api_endpoint"],
        optional: KUBEADM_OPTIONAL,
    },
    Extra {
        template: "containerd/hosts.toml",
        required: &["registry"],
        optional: &[],
    },
    Extra {
        template: "cni/bridge.conflist",
        required: &["pod_cidr"],
        optional: &[],
    },
];

fn extra_of(template: &str) -> Option<&'static Extra> {
    EXTRAS.iter().find(|extra| extra.template == template)
}

impl Templates {
    /// Loads the embedded templates, then those of `overlay`, which replace embedded ones of the same relative path:
    /// `OVERLAY/templates/haproxy/haproxy.cfg` replaces `haproxy/haproxy.cfg`.
    pub fn load(overlay: Option<&Utf8Path>) -> Result<Self, TemplateError> {
        let mut sources = embedded()?;
        if let Some(directory) = overlay {
            overlay::lay_over(&mut sources, directory)?;
        }
        let mut engine = tera::Tera::default();
        engine.autoescape_on(Vec::<&str>::new());
        filters::register(&mut engine);
        engine
            .add_raw_templates(sources.iter().map(|source| (&source.name, &source.text)))
            .map_err(|error| TemplateError::new(overlay::with_origins(&sources, &error)))?;
        let problems: Vec<String> = sources.iter().flat_map(unknown_variables).collect();
        if problems.is_empty() {
            Ok(Self {
                engine,
                of_inventory: named_of_inventory(&sources),
                last: Arc::default(),
            })
        } else {
            Err(TemplateError::new(problems.join("\n\n")))
        }
    }

    /// No templates, for computing variables without rendering.
    fn none() -> Self {
        Self {
            engine: tera::Tera::default(),
            of_inventory: HashMap::new(),
            last: Arc::default(),
        }
    }

    /// The names of all templates, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let mut names: Vec<&str> = self.engine.get_template_names().collect();
        names.sort_unstable();
        names.into_iter()
    }

    /// The keys that [`Templates::render_with`] wants for a template: required ones, then optional ones.
    #[must_use]
    pub fn extra_keys(name: &str) -> (&'static [&'static str], &'static [&'static str]) {
        extra_of(name).map_or((&[], &[]), |extra| (extra.required, extra.optional))
    }

    /// Renders a template for the host of `cx`.
    pub fn render(&self, name: &str, cx: &Context<'_>) -> Result<String, TemplateError> {
        let variables = self.variables(name, cx, Map::new().into())?;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, rendered)) = last.get(name).filter(|(of, _)| *of == variables) {
            return Ok(rendered.clone());
        }
        let rendered = self.rendered(name, &variables)?;
        last.insert(name.to_owned(), (variables, rendered.clone()));
        Ok(rendered)
    }

    /// Renders a template that needs values which are in no inventory: join material, one of several registries.
    ///
    /// `extra` must be an object with the keys of [`Templates::extra_keys`], all required ones and no others. The result
    /// of a template that was given a secret is a secret: it belongs into a 0600 file and into no diff.
    pub fn render_with(
        &self,
        name: &str,
        cx: &Context<'_>,
        extra: impl Into<Value>,
    ) -> Result<String, TemplateError> {
        self.rendered(name, &self.variables(name, cx, extra.into())?)
    }

    /// What a template names, and no more.
    fn variables(
        &self,
        name: &str,
        cx: &Context<'_>,
        extra: Value,
    ) -> Result<tera::Context, TemplateError> {
        let mut variables = self
            .engine
            .get_template_variables(name)
            .and_then(|named| {
                let variables = Variables::named(cx, |variable| named.contains(variable));
                let of_inventory = self.of_inventory.get(name).unwrap_or(&Named::Any);
                named_variables(&variables, &named, of_inventory)
            })
            .map_err(|error| failed(name, &error))?;
        for (key, value) in complete(name, extra)? {
            variables.insert(key, &value);
        }
        Ok(variables)
    }

    fn rendered(&self, name: &str, variables: &tera::Context) -> Result<String, TemplateError> {
        self.engine
            .render(name, variables)
            .map_err(|error| failed(name, &error))
    }
}

fn embedded() -> Result<Vec<Source>, TemplateError> {
    Embedded::iter()
        .filter_map(|name| Embedded::get(&name).map(|file| (name, file)))
        .map(|(name, file)| {
            let text = String::from_utf8(file.data.into_owned())
                .map_err(|_| TemplateError::new(format!("templates/{name} is not UTF-8")))?;
            Ok(Source {
                origin: format!("templates/{name}"),
                name: name.into_owned(),
                text,
            })
        })
        .collect()
}

/// What each template names of the inventory. One that is made of others may name what any does.
fn named_of_inventory(sources: &[Source]) -> HashMap<String, Named> {
    let texts = || sources.iter().map(|source| source.text.as_str());
    let is_made_of_others = |text: &str| {
        let mut tags = ["include", "extends", "import"].into_iter();
        tags.any(|tag| text.contains(tag))
    };
    let of_one = |source: &Source| {
        let named = if is_made_of_others(&source.text) {
            Named::members_of("inventory", texts())
        } else {
            Named::members_of("inventory", std::iter::once(source.text.as_str()))
        };
        (source.name.clone(), named)
    };
    sources.iter().map(of_one).collect()
}

/// The extra values of one rendering: all that are declared, none that is not.
fn complete(name: &str, extra: Value) -> Result<Map<String, Value>, TemplateError> {
    let Value::Object(mut given) = extra else {
        return Err(TemplateError::new(format!(
            "the extra values of {name} are not an object"
        )));
    };
    let (required, optional) = Templates::extra_keys(name);
    if let Some(missing) = required.iter().find(|key| !given.contains_key(**key)) {
        return Err(TemplateError::new(format!(
            "{name} is rendered without its `{missing}`"
        )));
    }
    if let Some(unknown) = given
        .keys()
        .find(|key| !required.contains(&key.as_str()) && !optional.contains(&key.as_str()))
    {
        return Err(TemplateError::new(format!("{name} takes no `{unknown}`")));
    }
    for key in optional {
        given.entry((*key).to_owned()).or_insert(Value::Null);
    }
    Ok(given)
}

/// One report per use of a variable that nobody sets.
fn unknown_variables(source: &Source) -> Vec<String> {
    let mut known = example::variables().clone();
    let (required, optional) = Templates::extra_keys(&source.name);
    if let Some(object) = known.as_object_mut() {
        for key in required.iter().chain(optional) {
            object.insert((*key).to_owned(), Value::Null);
        }
    }
    scan::unknown(&source.text, &known)
        .into_iter()
        .map(|problem| source.report(&problem))
        .collect()
}

/// tera's report, and the causes behind it, which for a failing filter hold the reason.
fn failed(name: &str, error: &tera::Error) -> TemplateError {
    let mut message = format!("failed to render {name}: {error}");
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let _ = write!(message, "\ncaused by: {error}");
        cause = error.source();
    }
    TemplateError { message }
}
