//! `swap-off`: no swap, now and at boot, because kubelet refuses to start with it.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::job::{self, Work};
use super::remote_file::{self, Wanted};
use super::{Action, ActionError, Change, Check, Context, Effect};
use crate::host::command::Script;
use crate::host::probe::Probe;

const FSTAB: &str = "/etc/fstab";
const MARK: &str = "# quorate switched this swap off: ";

/// What is swapped out has to be read back.
const DEADLINE: Duration = Duration::from_secs(10 * 60);

/// Unit files of swap and their states; those made from fstab and by generators (GPT, zram) are among them. systemd takes a
/// third of a second to list them, so it is asked only where one is seen that is not masked (systemd.unit(5), load path).
const UNITS: &str = r#"
for file in /run/systemd/*/*.swap /etc/systemd/system*/*.swap /usr/local/lib/systemd/system/*.swap /usr/lib/systemd/system/*.swap /lib/systemd/system/*.swap; do
    unit=${file##*/}
    [ -f "$file" ] && [ ! -c "/etc/systemd/system/$unit" ] && [ ! -c "/run/systemd/system/$unit" ] || continue
    exec systemctl list-unit-files --type=swap --no-legend --no-pager --plain
done
"#;

/// Masks the swap units that fstab does not account for, and switches off what is on. A unit file in /etc cannot be
/// masked; it is disabled.
const OFF: &str = r#"
systemctl daemon-reload || exit
systemctl list-unit-files --type=swap --no-legend --no-pager --plain | while read -r unit state _; do
    case $state in
        masked | masked-runtime | disabled) ;;
        *) systemctl mask --now "$unit" || systemctl disable --now "$unit" ;;
    esac
done
[ "$(wc -l </proc/swaps)" -gt 1 ] || exit 0
swapoff -a
[ "$(wc -l </proc/swaps)" -gt 1 ] || exit 0
echo 'still active:'
cat /proc/swaps
exit 1
"#;

/// No active swap, none in `/etc/fstab`, no unit that would bring one; unless the inventory's kubelet settings allow it
/// (`failSwapOn: false`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SwapOff {}

impl Action for SwapOff {
    fn probes(&self, cx: &Context<'_>) -> Vec<Probe> {
        if is_allowed(cx) {
            return Vec::new();
        }
        vec![
            Probe::Machine,
            Probe::File(FSTAB.into()),
            Probe::Script(units()),
        ]
    }

    fn check(&self, cx: &Context<'_>) -> Result<Check, ActionError> {
        if is_allowed(cx) {
            return Ok(Check::Satisfied);
        }
        let active = cx.facts().machine()?.swap;
        let switching = (active > 0).then(|| {
            let mebibytes = active >> 20;
            Change::new(format!("switch off {mebibytes} MiB of swap"))
        });
        let fstab = match fstab(cx)? {
            Some(file) => file.change(cx)?,
            None => None,
        };
        let masking = enabled(cx)?.map(|units| Change::new(format!("mask {units}")));
        let all = [switching, fstab, masking].into_iter().flatten();
        let change = all.reduce(remote_file::join);
        Ok(change.map_or(Check::Satisfied, Check::Needed))
    }

    async fn apply(&self, effect: &Effect<'_>, _change: &Change) -> Result<(), ActionError> {
        if let Some(file) = fstab(&effect.cx)? {
            effect.host.transport.write(&[file.into_remote()]).await?;
        }
        let work = Work {
            what: "switching swap off",
            script: Script::new("swap-off", OFF),
            files: Vec::new(),
            deadline: DEADLINE,
        };
        job::run(effect, work).await.map(drop)
    }
}

fn is_allowed(cx: &Context<'_>) -> bool {
    cx.inventory.kubelet.get("failSwapOn") == Some(&Value::Bool(false))
}

fn units() -> Script {
    Script::new("swap-units", UNITS)
}

/// The file without swap; `None` if there is no such file.
fn fstab(cx: &Context<'_>) -> Result<Option<Wanted>, ActionError> {
    let there = remote_file::foreign_text(FSTAB, cx)?;
    Ok(there.map(|(state, text)| Wanted::edited(FSTAB, state, without_swap(text))))
}

fn without_swap(text: &str) -> String {
    text.split_inclusive('\n')
        .map(|line| if is_swap(line) { MARK } else { "" }.to_owned() + line)
        .collect()
}

fn is_swap(line: &str) -> bool {
    let mut fields = line.split_whitespace();
    let is_comment = fields
        .clone()
        .next()
        .is_none_or(|first| first.starts_with('#'));
    !is_comment && fields.nth(2) == Some("swap")
}

/// Units that bring swap of their own; those made from fstab's lines go with them.
fn enabled(cx: &Context<'_>) -> Result<Option<String>, ActionError> {
    let listed = cx.facts().script(&units())?.success().unwrap_or_default();
    let from_fstab = match remote_file::foreign_text(FSTAB, cx)? {
        Some((_, text)) => text.lines().any(is_swap),
        None => false,
    };
    let units: Vec<&str> = listed
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?, words.next()?))
        })
        .filter(|(_, state)| match *state {
            "masked" | "masked-runtime" | "disabled" => false,
            "generated" => !from_fstab,
            _ => true,
        })
        .map(|(unit, _)| unit)
        .collect();
    Ok((!units.is_empty()).then(|| crate::text::escape(&units.join(" "))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::facts::Machine;
    use crate::host::probe::{FileState, Readings};
    use crate::testing::{World, debian};

    fn verdict(swap: u64, fstab: &str, units: &str) -> Option<String> {
        let machine = Machine { swap, ..debian() };
        let readings = Readings::default()
            .with_machine(machine)
            .with_file(FSTAB, FileState::regular(fstab))
            .with_script(super::units(), 0, units);
        let world = World::new("master1").reading(readings);
        match (SwapOff {}).check(&world.cx()).expect("it was probed") {
            Check::Needed(change) => Some(change.summary),
            Check::Satisfied | Check::Unknown { .. } => None,
        }
    }

    #[test]
    fn each_source_of_swap_is_seen() {
        let cases = [
            (0, "/dev/sda1 / ext4 defaults 0 1\n", "", None),
            (1 << 30, "", "", Some("switch off 1024 MiB of swap")),
            (
                0,
                "/dev/sda2 none swap sw 0 0\n",
                "dev-sda2.swap generated -\n",
                Some("change /etc/fstab"),
            ),
            (
                0,
                "",
                "dev-zram0.swap generated -\n",
                Some("mask dev-zram0.swap"),
            ),
            (
                0,
                "",
                "a.swap enabled enabled\nb.swap masked enabled\nc.swap disabled enabled\n",
                Some("mask a.swap"),
            ),
        ];
        for (swap, fstab, units, expected) in cases {
            assert_eq!(
                verdict(swap, fstab, units).as_deref(),
                expected,
                "{fstab}{units}"
            );
        }
    }

    #[test]
    fn swap_lines_are_commented_and_nothing_else() {
        let text = "# swap was on /dev/sda2\nUUID=1 / ext4 rw 0 1\n/swap none\tswap sw 0 0\nUUID=2 swap ext4 rw 0 2\n";
        let expected = "# swap was on /dev/sda2\nUUID=1 / ext4 rw 0 1\n# quorate switched this swap off: /swap none\tswap sw 0 0\nUUID=2 swap ext4 rw 0 2\n";
        assert_eq!(without_swap(text), expected);
        assert_eq!(without_swap(expected), expected);
    }

    #[test]
    fn a_kubelet_that_takes_swap_may_have_it() {
        let mut world = World::new("worker1");
        let allowed = ("failSwapOn".to_owned(), Value::Bool(false));
        world.inventory.kubelet.extend([allowed]);
        assert!(SwapOff {}.probes(&world.cx()).is_empty());
        assert_eq!(SwapOff {}.check(&world.cx()).ok(), Some(Check::Satisfied));
    }
}
