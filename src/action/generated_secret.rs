//! `generated-secret`: a password that is made once and stays on its host.

use camino::Utf8PathBuf;
use rand::Rng as _;
use rand::distr::Alphanumeric;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::remote_file::{Mode, Secrecy, Wanted};
use super::{Action, ActionError, Change, Check, Context, Effect};
use crate::host::probe::Probe;
use crate::secret::Secret;

/// Characters of a generated password: about 190 bits.
const LENGTH: usize = 32;

/// A 0600 file of root's that holds `VARIABLE=password`, in systemd's `EnvironmentFile` form.
///
/// The password is the one of the inventory (`load-balancer.stats-password`) where it names one; otherwise it is made
/// when the file is missing, and never read back.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct GeneratedSecret {
    /// Absolute path on the host.
    #[schemars(with = "String")]
    pub path: Utf8PathBuf,
    /// Name of the variable.
    pub variable: String,
}

impl GeneratedSecret {
    fn holding(&self, password: &str) -> Wanted {
        let line = format!("{}={}\n", self.variable, quoted(password));
        Wanted {
            mode: Mode::PRIVATE,
            secrecy: Secrecy::Sensitive,
            ..Wanted::public(&self.path, line)
        }
    }

    /// Whether the file looks like one that was made here. One of another size was cut off or written by hand.
    fn is_made(&self, cx: &Context<'_>) -> Result<bool, ActionError> {
        let sample = self.holding(&"x".repeat(LENGTH));
        let state = cx.facts().file(&self.path)?.present();
        Ok(state.is_some_and(|state| {
            usize::try_from(state.size).ok() == Some(sample.content.len())
                && state.mode == sample.mode.0
                && format!("{}:{}", state.owner, state.group) == sample.owner
        }))
    }
}

impl Action for GeneratedSecret {
    fn probes(&self, _cx: &Context<'_>) -> Vec<Probe> {
        vec![Probe::Digest(self.path.clone())]
    }

    fn check(&self, cx: &Context<'_>) -> Result<Check, ActionError> {
        let change = match given(cx)? {
            Some(password) => self.holding(password.expose()).change(cx)?,
            None if self.is_made(cx)? => None,
            None => Some(Change::new(format!("generate {}", self.path)).touching(&self.path)),
        };
        Ok(change.map_or(Check::Satisfied, Check::Needed))
    }

    async fn apply(&self, effect: &Effect<'_>, _change: &Change) -> Result<(), ActionError> {
        let password = given(&effect.cx)?.unwrap_or_else(generated);
        let file = self.holding(password.expose()).into_remote();
        Ok(effect.host.transport.write(&[file]).await?)
    }
}

fn given(cx: &Context<'_>) -> Result<Option<Secret>, ActionError> {
    let source = cx.inventory.load_balancer.stats_password.as_ref();
    let read = source.map(|source| source.read_once("password of HAProxy's statistics page"));
    Ok(read.transpose()?)
}

fn generated() -> Secret {
    let characters = rand::rng().sample_iter(Alphanumeric).take(LENGTH);
    Secret::new(characters.map(char::from).collect())
}

/// As systemd reads it back: bare if it is letters and digits, else between double quotes with their escapes.
fn quoted(value: &str) -> String {
    if value.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return value.to_owned();
    }
    let escaped = value.chars().flat_map(|character| {
        let escape = matches!(character, '"' | '\\' | '$' | '`').then_some('\\');
        escape.into_iter().chain([character])
    });
    format!("\"{}\"", escaped.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::probe::{FileContent, FileState, Readings};
    use crate::secret::SecretSource;
    use crate::testing::World;

    const PATH: &str = "/etc/haproxy/stats.env";

    fn action() -> GeneratedSecret {
        GeneratedSecret {
            path: PATH.into(),
            variable: "WORD".to_owned(),
        }
    }

    fn stored(content: &str, mode: u32) -> Readings {
        let state = FileState {
            mode,
            content: FileContent::Sha256(crate::text::sha256(content)),
            ..FileState::regular(content)
        };
        Readings::default().with_file(PATH, state)
    }

    fn verdict(world: &World) -> Option<String> {
        match action().check(&world.cx()).expect("it was probed") {
            Check::Needed(change) => Some(change.summary),
            Check::Satisfied | Check::Unknown { .. } => None,
        }
    }

    #[test]
    fn it_is_made_once() {
        let made = action().holding(generated().expose());
        let made = String::from_utf8(made.content).expect("it is text");
        let generate = Some(format!("generate {PATH}"));
        let cases = [
            (
                "missing",
                Readings::default().without_file(PATH),
                generate.clone(),
            ),
            ("there", stored(&made, 0o600), None),
            ("readable by others", stored(&made, 0o644), generate.clone()),
            ("cut off", stored("WORD=abc", 0o600), generate),
        ];
        for (case, readings, expected) in cases {
            assert_eq!(
                verdict(&World::new("lb1").reading(readings)),
                expected,
                "{case}"
            );
        }
    }

    #[test]
    fn a_given_password_is_compared_by_digest() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("word");
        fs_err::write(&file, "pa$$ word\n").expect("it is writable");
        let path = Utf8PathBuf::try_from(file).expect("its path is text");
        let given = |readings| {
            let mut world = World::new("lb1").reading(readings);
            world.inventory.load_balancer.stats_password = Some(SecretSource::File(path.clone()));
            verdict(&world)
        };
        assert_eq!(given(stored("WORD=\"pa\\$\\$ word\"\n", 0o600)), None);
        let change = Some(format!("change {PATH}"));
        assert_eq!(given(stored("WORD=other\n", 0o600)), change);
    }

    #[test]
    fn generated_passwords_differ() {
        assert_ne!(generated().expose(), generated().expose());
        assert_eq!(generated().expose().len(), LENGTH);
    }
}
