//! `service`: runs, starts at boot, and has read its files.
//!
//! *Why no handlers*: "it must be reloaded" is a fact read from the host (a file is newer than the unit's last start or
//! reload), not a flag in memory, so a crash between the write and the reload cannot lose the reload.

use std::time::Duration;

use camino::Utf8PathBuf;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Action, ActionError, Change, Check, Context, Effect};
use crate::host::command::{Command, Script};
use crate::host::probe::{NotProbed, Probe, UnitReading};

/// A service that only just came up may still be settling.
const SETTLES: Duration = Duration::from_secs(10);

/// Starting may wait for other units, and stopping for connections to end.
const DEADLINE: Duration = Duration::from_secs(3 * 60);

/// Enables the unit `$1` and makes it do `$2`; `$3`… are the files that it has to have read.
///
/// A file from the future (the clock was set back after it was written) is brought to the present, or the unit would
/// count as older than it for ever. If the unit does not come up, its last journal lines are the error.
const RUN: &str = r#"
unit=$1 verb=$2
shift 2
for file in "$@"; do
    [ ! -e "$file" ] || [ "$(stat -c %Y -- "$file")" -le "$(date +%s)" ] || touch -- "$file"
done
systemctl daemon-reload || exit
systemctl enable --quiet "$unit" || exit
[ "$verb" != enable ] || exit 0
systemctl reset-failed "$unit" 2>/dev/null
systemctl "$verb" "$unit" && exit
code=$?
journalctl -u "$unit" -n 20 --no-pager -o cat >&2
exit "$code"
"#;

/// Enables a unit and makes it do something: see [`RUN`].
pub(crate) fn run(unit: &str, verb: &str) -> Script {
    Script::new("service-run", RUN).arg(unit).arg(verb)
}

/// A systemd unit that is enabled, active and not older than the files it reads.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Service {
    /// Unit, `haproxy` or `haproxy.service`.
    pub unit: String,
    /// Files that it reads only when it starts.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub restart_after: Vec<Utf8PathBuf>,
    /// Files that it reads again on reload.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub reload_after: Vec<Utf8PathBuf>,
}

/// What the unit has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Need {
    verb: Verb,
    why: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Enable,
    Start,
    Restart,
    Reload,
}

impl Verb {
    fn shown(self) -> &'static str {
        match self {
            Self::Enable => "enable",
            Self::Start => "start",
            Self::Restart => "restart",
            Self::Reload => "reload",
        }
    }

    /// What systemctl is asked for: a unit that is stuck between states is started by a restart.
    fn asked(self) -> &'static str {
        match self {
            Self::Start => "restart",
            Self::Enable | Self::Restart | Self::Reload => self.shown(),
        }
    }
}

impl Service {
    fn need(&self, cx: &Context<'_>) -> Result<Option<Need>, NotProbed> {
        let unit = cx.facts().unit(&self.unit)?;
        if !unit.active {
            return Ok(Some(starting(unit)));
        }
        let newer = |files: &[Utf8PathBuf]| newest_unread(files, unit, cx);
        if let Some(file) = newer(&self.restart_after)? {
            return Ok(Some(rereading(Verb::Restart, &file)));
        }
        if let Some(file) = newer(&self.reload_after)? {
            return Ok(Some(rereading(Verb::Reload, &file)));
        }
        Ok((!unit.enabled).then(|| Need {
            verb: Verb::Enable,
            why: "it would not start at boot".to_owned(),
        }))
    }

    fn files(&self) -> impl Iterator<Item = &Utf8PathBuf> {
        self.restart_after.iter().chain(&self.reload_after)
    }
}

fn starting(unit: &UnitReading) -> Need {
    let why = match (unit.exists, unit.state.as_str()) {
        (false, _) => "it is not installed yet".to_owned(),
        (true, "") => "it is not active".to_owned(),
        (true, state) => format!("it is {}", crate::text::escape(state)),
    };
    Need {
        verb: Verb::Start,
        why,
    }
}

fn rereading(verb: Verb, file: &Utf8PathBuf) -> Need {
    Need {
        verb,
        why: format!("{file} is newer"),
    }
}

/// A file that the unit has not read: changed after it, or, in a forecast, about to be.
fn newest_unread(
    files: &[Utf8PathBuf],
    unit: &UnitReading,
    cx: &Context<'_>,
) -> Result<Option<Utf8PathBuf>, NotProbed> {
    for file in files {
        let state = cx.facts().file(file)?.present();
        let is_newer = state.is_some_and(|state| state.modified_us > unit.changed_us);
        if is_newer || cx.fleet.is_foreseen(&cx.node.name, file) {
            return Ok(Some(file.clone()));
        }
    }
    Ok(None)
}

impl Action for Service {
    fn probes(&self, _cx: &Context<'_>) -> Vec<Probe> {
        let files = self.files().map(|file| Probe::Digest(file.clone()));
        std::iter::once(Probe::Unit(self.unit.clone()))
            .chain(files)
            .collect()
    }

    fn check(&self, cx: &Context<'_>) -> Result<Check, ActionError> {
        Ok(match self.need(cx)? {
            None => Check::Satisfied,
            Some(need) => {
                Check::needed(format!("{} {}: {}", need.verb.shown(), self.unit, need.why))
            }
        })
    }

    async fn apply(&self, effect: &Effect<'_>, _change: &Change) -> Result<(), ActionError> {
        let Some(need) = self.need(&effect.cx)? else {
            return Ok(());
        };
        let script = self
            .files()
            .fold(run(&self.unit, need.verb.asked()), |script, file| {
                script.arg(file.as_str())
            });
        let command = Command::script(script).deadline(DEADLINE);
        effect.host.succeed(&command).await?;
        Ok(())
    }

    fn settles_within(&self) -> Duration {
        SETTLES
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::probe::{FileState, Readings};
    use crate::testing::World;

    const CONFIG: &str = "/etc/haproxy/haproxy.cfg";
    const DROP_IN: &str = "/etc/systemd/system/haproxy.service.d/quorate.conf";

    fn action() -> Service {
        Service {
            unit: "haproxy".to_owned(),
            restart_after: vec![DROP_IN.into()],
            reload_after: vec![CONFIG.into()],
        }
    }

    fn running(changed_us: u64) -> UnitReading {
        UnitReading {
            exists: true,
            active: true,
            enabled: true,
            state: "active/running".to_owned(),
            changed_us,
        }
    }

    fn world(unit: UnitReading, drop_in_us: u64, config_us: u64) -> World {
        let at = |modified_us| FileState {
            modified_us,
            ..FileState::regular("")
        };
        World::new("lb1").reading(
            Readings::default()
                .with_unit("haproxy", unit)
                .with_file(DROP_IN, at(drop_in_us))
                .with_file(CONFIG, at(config_us)),
        )
    }

    fn verdict(world: &World) -> String {
        match action().check(&world.cx()) {
            Ok(Check::Satisfied) => "satisfied".to_owned(),
            Ok(Check::Needed(change)) => change.summary,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_newer_decides_between_restart_and_reload() {
        let cases = [
            (running(100), 50, 50, "satisfied".to_owned()),
            (
                running(100),
                50,
                150,
                format!("reload haproxy: {CONFIG} is newer"),
            ),
            (
                running(100),
                150,
                50,
                format!("restart haproxy: {DROP_IN} is newer"),
            ),
            (
                running(100),
                150,
                160,
                format!("restart haproxy: {DROP_IN} is newer"),
            ),
        ];
        for (unit, drop_in, config, expected) in cases {
            assert_eq!(verdict(&world(unit, drop_in, config)), expected);
        }
    }

    #[test]
    fn a_unit_that_does_not_run_is_started() {
        let failed = UnitReading {
            active: false,
            state: "failed/failed".to_owned(),
            ..running(100)
        };
        assert_eq!(
            verdict(&world(failed, 0, 0)),
            "start haproxy: it is failed/failed"
        );
        let absent = UnitReading::default();
        assert_eq!(
            verdict(&world(absent, 0, 0)),
            "start haproxy: it is not installed yet"
        );
    }

    #[test]
    fn a_disabled_unit_is_enabled() {
        let disabled = UnitReading {
            enabled: false,
            ..running(100)
        };
        assert_eq!(
            verdict(&world(disabled, 0, 0)),
            "enable haproxy: it would not start at boot"
        );
    }

    #[test]
    fn a_forecast_sees_the_reload_that_an_earlier_step_causes() {
        let mut world = world(running(100), 50, 50);
        world.fleet.foresee("lb1", &[CONFIG.into()]);
        assert_eq!(
            verdict(&world),
            format!("reload haproxy: {CONFIG} is newer")
        );
    }

    #[test]
    fn an_absent_file_is_not_waited_for() {
        let readings = Readings::default().without_file(CONFIG);
        let world = world(running(100), 0, 0).reading(readings);
        assert_eq!(verdict(&world), "satisfied");
    }
}
