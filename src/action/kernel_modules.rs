//! `kernel-modules`: loaded now and at boot.

use camino::Utf8PathBuf;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::remote_file::{self, Wanted};
use super::{Action, ActionError, Change, Check, Context, Effect};
use crate::host::command::{Command, Script};
use crate::host::probe::{NotProbed, Probe};

/// Loads `$1`…; names each that this kernel has neither as a module nor built in.
///
/// Kernels without module support have no `/proc/modules` and no modprobe that works; what is built into them shows in
/// other places.
const LOAD: &str = r#"
is_there() {
    [ -d "/sys/module/$1" ] && return
    case $1 in
        overlay) grep -qw overlay /proc/filesystems ;;
        br_netfilter) [ -d /proc/sys/net/bridge ] ;;
        *) return 1 ;;
    esac
}
missing=
for name in "$@"; do
    modprobe -- "$name" 2>&1 || is_there "$name" || missing="$missing $name"
done
[ -n "$missing" ] || exit 0
echo "kernel $(uname -r) has no$missing"
exit 1
"#;

/// Kernel modules, loaded or built in now, and listed in a file that is read at boot.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct KernelModules {
    /// Modules.
    pub names: Vec<String>,
    /// The file, in `/etc/modules-load.d`.
    #[schemars(with = "String")]
    pub file: Utf8PathBuf,
}

impl KernelModules {
    fn wanted(&self) -> Wanted {
        let content = format!(
            "# Written by quorate; changes made here are lost.\n{}\n",
            self.names.join("\n")
        );
        Wanted::public(&self.file, content)
    }

    fn missing(&self, cx: &Context<'_>) -> Result<Vec<&String>, NotProbed> {
        let loaded = &cx.facts().machine()?.modules;
        let missing = self.names.iter().filter(|name| !loaded.contains(name));
        Ok(missing.collect())
    }
}

impl Action for KernelModules {
    fn probes(&self, _cx: &Context<'_>) -> Vec<Probe> {
        vec![Probe::Machine, self.wanted().probe()]
    }

    fn check(&self, cx: &Context<'_>) -> Result<Check, ActionError> {
        let missing = self.missing(cx)?;
        let loading = missing
            .iter()
            .map(|name| Change::new(format!("load {name}")))
            .reduce(remote_file::join);
        let all = loading.into_iter().chain(self.wanted().change(cx)?);
        let change = all.reduce(remote_file::join);
        Ok(change.map_or(Check::Satisfied, Check::Needed))
    }

    async fn apply(&self, effect: &Effect<'_>, _change: &Change) -> Result<(), ActionError> {
        load(&self.missing(&effect.cx)?, effect).await?;
        let file = self.wanted().into_remote();
        Ok(effect.host.transport.write(&[file]).await?)
    }

    fn files(&self, _cx: &Context<'_>) -> Result<Vec<(Utf8PathBuf, Vec<u8>)>, ActionError> {
        let wanted = self.wanted();
        Ok(vec![(wanted.path, wanted.content)])
    }
}

async fn load(names: &[&String], effect: &Effect<'_>) -> Result<(), ActionError> {
    if names.is_empty() {
        return Ok(());
    }
    let command = Command::script(Script::new("kernel-modules-load", LOAD));
    let command = command.args(names.iter().copied());
    let output = effect.host.transport.run(&command).await?;
    if output.is_success() {
        return Ok(());
    }
    Err(ActionError::Unsafe {
        why: format!(
            "failed to load kernel modules on {}: {}",
            effect.host.node.name,
            crate::text::last_lines(&output.stdout)
        ),
        help: "reboot the host if its kernel was upgraded, or install the package with that kernel's modules".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::facts::Machine;
    use crate::host::probe::{FileState, Readings};
    use crate::testing::{World, debian};

    const FILE: &str = "/etc/modules-load.d/quorate.conf";

    fn action() -> KernelModules {
        KernelModules {
            names: ["overlay", "br_netfilter"].map(str::to_owned).to_vec(),
            file: FILE.into(),
        }
    }

    fn verdict(modules: &[&str], file: Option<&str>) -> Option<String> {
        let machine = Machine {
            modules: modules.iter().map(|name| (*name).to_owned()).collect(),
            ..debian()
        };
        let readings = Readings::default().with_machine(machine);
        let readings = match file {
            Some(text) => readings.with_file(FILE, FileState::regular(text)),
            None => readings.without_file(FILE),
        };
        let world = World::new("master1").reading(readings);
        match action().check(&world.cx()).expect("it was probed") {
            Check::Needed(change) => Some(change.summary),
            Check::Satisfied | Check::Unknown { .. } => None,
        }
    }

    #[test]
    fn both_now_and_at_boot_are_judged() {
        let file = "# Written by quorate; changes made here are lost.\noverlay\nbr_netfilter\n";
        assert_eq!(verdict(&["br_netfilter", "overlay"], Some(file)), None);
        let load = Some("load br_netfilter".to_owned());
        assert_eq!(verdict(&["overlay"], Some(file)), load);
        let all = format!("load overlay, load br_netfilter, create {FILE}");
        assert_eq!(verdict(&[], None), Some(all));
    }
}
