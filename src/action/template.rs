//! `template`: renders a template into a file on the host.

use camino::Utf8PathBuf;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::remote_file::{Mode, Secrecy, Wanted};
use super::{Action, ActionError, Change, Check, Context, Effect};
use crate::host::file::{RemoteFile, Undo};
use crate::host::probe::Probe;
use crate::template::Variables;

/// Seconds until the host takes a change back that nobody called well.
const UNDO_SECONDS: u32 = 90;

/// A file rendered from a template.
///
/// It is compared by content, mode and owner and replaced atomically; where a `check` is named, only after that command
/// has accepted the new file on the host itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Template {
    /// Template, relative to the templates directory.
    pub src: String,
    /// Absolute path on the host.
    #[schemars(with = "String")]
    pub dest: Utf8PathBuf,
    /// Permission bits in octal, default `"0644"`.
    #[serde(default)]
    pub mode: Mode,
    /// `owner:group`, default `root:root`.
    #[serde(default = "root")]
    pub owner: String,
    /// A command that must accept the new file before it takes the place; `{}` stands for its path.
    #[serde(default)]
    pub check: Option<Vec<String>>,
    /// The service whose file this is: the host takes the change back and reloads that service unless a later step
    /// disarms this.
    #[serde(default)]
    pub undo: Option<String>,
    /// Whether the content is secret: then it is never read back or shown.
    #[serde(default)]
    pub sensitive: bool,
}

fn root() -> String {
    "root:root".to_owned()
}

impl Template {
    fn wanted(&self, cx: &Context<'_>) -> Result<Wanted, ActionError> {
        Ok(self.holding(cx.templates.render(&self.src, cx)?))
    }

    fn holding(&self, content: String) -> Wanted {
        Wanted {
            mode: self.mode,
            owner: self.owner.clone(),
            secrecy: if self.sensitive {
                Secrecy::Sensitive
            } else {
                Secrecy::Public
            },
            ..Wanted::public(&self.dest, content)
        }
    }

    fn remote(&self, wanted: Wanted) -> RemoteFile {
        RemoteFile {
            check: self.check.clone(),
            undo: self.undo.as_deref().map(undo_of),
            ..wanted.into_remote()
        }
    }
}

fn undo_of(service: &str) -> Undo {
    let then = ["systemctl", "reload-or-restart", service].map(str::to_owned);
    Undo {
        name: service.to_owned(),
        seconds: UNDO_SECONDS,
        then: then.to_vec(),
    }
}

impl Action for Template {
    fn probes(&self, cx: &Context<'_>) -> Vec<Probe> {
        let mut probes = Variables::probes(cx);
        probes.push(self.holding(String::new()).probe());
        probes
    }

    fn check(&self, cx: &Context<'_>) -> Result<Check, ActionError> {
        let change = self.wanted(cx)?.change(cx)?;
        Ok(change.map_or(Check::Satisfied, Check::Needed))
    }

    async fn apply(&self, effect: &Effect<'_>, _change: &Change) -> Result<(), ActionError> {
        let file = self.remote(self.wanted(&effect.cx)?);
        Ok(effect.host.transport.write(&[file]).await?)
    }

    fn files(&self, cx: &Context<'_>) -> Result<Vec<(Utf8PathBuf, Vec<u8>)>, ActionError> {
        let wanted = self.wanted(cx)?;
        Ok(vec![(wanted.path, wanted.content)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(yaml: &str) -> Template {
        serde_saphyr::from_str(yaml).expect("it is a template action")
    }

    #[test]
    fn defaults_are_a_public_file_of_roots() {
        let action = parse("{ src: a, dest: /etc/a }");
        let file = action.remote(action.holding("text".to_owned()));
        assert_eq!((file.mode, file.owner.as_str()), (0o644, "root:root"));
        assert_eq!((file.check, file.undo), (None, None));
    }

    #[test]
    fn undo_reloads_the_service_that_it_names() {
        let action = parse(
            "{ src: a, dest: /etc/a, mode: \"0755\", check: [a, -c, \"{}\"], undo: haproxy }",
        );
        let file = action.remote(action.holding(String::new()));
        assert_eq!(file.mode, 0o755);
        assert_eq!(file.check.expect("it has one"), ["a", "-c", "{}"]);
        let undo = file.undo.expect("it has one");
        assert_eq!(undo.name, "haproxy");
        assert_eq!(undo.then, ["systemctl", "reload-or-restart", "haproxy"]);
    }

    #[test]
    fn a_sensitive_file_is_probed_by_digest() {
        let action = parse("{ src: a, dest: /etc/a, sensitive: true }");
        let probe = action.holding(String::new()).probe();
        assert_eq!(probe, Probe::Digest("/etc/a".into()));
    }
}
