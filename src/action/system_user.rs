//! `system-user`: an account that nobody logs into.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Action, ActionError, Change, Check, Context, Effect};
use crate::host::command::{Command, Script};
use crate::host::probe::Probe;

/// Makes the user `$1` with a group of its own, or with the one of that name that is there.
const MAKE: &str = r#"
if getent group "$1" >/dev/null; then group="--gid $1"; else group=--user-group; fi
# shellcheck disable=SC2086
exec useradd --system --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin $group "$1"
"#;

/// A system user without a home or a login; one that exists is left as it is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SystemUser {
    /// Its name.
    pub name: String,
}

impl SystemUser {
    fn reading(&self) -> Script {
        Script::new("system-user", r#"getent passwd "$1""#).arg(&self.name)
    }
}

impl Action for SystemUser {
    fn probes(&self, _cx: &Context<'_>) -> Vec<Probe> {
        vec![Probe::Script(self.reading())]
    }

    fn check(&self, cx: &Context<'_>) -> Result<Check, ActionError> {
        if cx.facts().script(&self.reading())?.success().is_some() {
            return Ok(Check::Satisfied);
        }
        Ok(Check::needed(format!("make the system user {}", self.name)))
    }

    async fn apply(&self, effect: &Effect<'_>, _change: &Change) -> Result<(), ActionError> {
        let script = Script::new("system-user-make", MAKE).arg(&self.name);
        effect.host.succeed(&Command::script(script)).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::probe::Readings;
    use crate::testing::World;

    #[test]
    fn a_user_is_made_only_if_there_is_none() {
        let action = SystemUser {
            name: "keepalived_script".to_owned(),
        };
        let verdict = |code| {
            let readings = Readings::default().with_script(action.reading(), code, "");
            action.check(&World::new("lb1").reading(readings).cx()).ok()
        };
        assert_eq!(verdict(0), Some(Check::Satisfied));
        let needed = Check::needed("make the system user keepalived_script");
        assert_eq!(verdict(2), Some(needed));
    }
}
