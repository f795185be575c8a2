//! `sysctls`: in force now and at boot.

use std::collections::BTreeMap;

use camino::Utf8PathBuf;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::remote_file::{self, Wanted};
use super::{Action, ActionError, Change, Check, Context, Effect};
use crate::host::command::{Command, Script};
use crate::host::probe::Probe;
use crate::template::Variables;

/// These exist only once the kernel module of bridges is loaded.
const OF_BRIDGES: &str = "net.bridge.";
const BRIDGE_MODULE: &str = "br_netfilter";

/// A file rendered from a template, with the inventory's sysctls in it, whose values are also those in force.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Sysctls {
    /// Template, relative to the templates directory.
    pub src: String,
    /// Absolute path on the host, in `/etc/sysctl.d`.
    #[schemars(with = "String")]
    pub dest: Utf8PathBuf,
}

impl Sysctls {
    fn wanted(&self, cx: &Context<'_>) -> Result<Wanted, ActionError> {
        let rendered = cx.templates.render(&self.src, cx)?;
        let content = completed(rendered, &cx.inventory.sysctls);
        Ok(Wanted::public(&self.dest, content))
    }
}

impl Action for Sysctls {
    fn probes(&self, cx: &Context<'_>) -> Vec<Probe> {
        // A template that does not render is reported by `check`.
        let values = self
            .wanted(cx)
            .map(|file| values(&file))
            .unwrap_or_default();
        let mut probes = Variables::probes(cx);
        probes.extend([Probe::Machine, Probe::File(self.dest.clone())]);
        probes.extend(values.into_keys().map(Probe::Sysctl));
        probes
    }

    fn check(&self, cx: &Context<'_>) -> Result<Check, ActionError> {
        let file = self.wanted(cx)?;
        let in_force = difference(&values(&file), cx)?;
        let all = file.change(cx)?.into_iter().chain(in_force);
        let change = all.reduce(remote_file::join);
        Ok(change.map_or(Check::Satisfied, Check::Needed))
    }

    async fn apply(&self, effect: &Effect<'_>, _change: &Change) -> Result<(), ActionError> {
        let file = self.wanted(&effect.cx)?.into_remote();
        effect.host.transport.write(&[file]).await?;
        let script = Script::new("sysctls-apply", r#"sysctl -q -p "$1""#);
        let command = Command::script(script.arg(self.dest.as_str()));
        effect.host.succeed(&command).await?;
        Ok(())
    }

    fn files(&self, cx: &Context<'_>) -> Result<Vec<(Utf8PathBuf, Vec<u8>)>, ActionError> {
        let wanted = self.wanted(cx)?;
        Ok(vec![(wanted.path, wanted.content)])
    }
}

/// The rendered file with those settings of the inventory that the template left out.
fn completed(mut rendered: String, extra: &BTreeMap<String, String>) -> String {
    let there = parsed(&rendered);
    for (name, value) in extra {
        if there.get(name).is_none_or(|held| !same(held, value)) {
            rendered = format!("{}\n{name} = {value}\n", rendered.trim_end());
        }
    }
    rendered
}

fn values(file: &Wanted) -> BTreeMap<String, String> {
    parsed(&String::from_utf8_lossy(&file.content))
}

/// The settings of a sysctl.d file; a later line wins, a `-` before a name only silences errors.
fn parsed(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.starts_with(['#', ';']))
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| {
            (
                name.trim().trim_start_matches('-').to_owned(),
                value.trim().to_owned(),
            )
        })
        .collect()
}

/// Values of several numbers are separated by tabs here and spaces there.
fn same(one: &str, other: &str) -> bool {
    one.split_whitespace().eq(other.split_whitespace())
}

/// What would change in the running kernel.
fn difference(
    values: &BTreeMap<String, String>,
    cx: &Context<'_>,
) -> Result<Option<Change>, ActionError> {
    let mut changes = Vec::new();
    for (name, value) in values {
        match cx.facts().sysctl(name)? {
            Some(held) if same(held, value) => {}
            Some(held) => {
                let held = crate::text::escape(held);
                changes.push(Change::new(format!("set {name} to {value} (it is {held})")));
            }
            None if awaits_module(name, cx)? => {
                changes.push(Change::new(format!("set {name} to {value}")));
            }
            None => return Err(unknown(name, cx)),
        }
    }
    Ok(changes.into_iter().reduce(remote_file::join))
}

fn awaits_module(name: &str, cx: &Context<'_>) -> Result<bool, ActionError> {
    let modules = &cx.facts().machine()?.modules;
    Ok(name.starts_with(OF_BRIDGES) && !modules.iter().any(|module| module == BRIDGE_MODULE))
}

fn unknown(name: &str, cx: &Context<'_>) -> ActionError {
    ActionError::Unsafe {
        why: format!("the kernel of {} has no sysctl `{name}`", cx.node.name),
        help: if cx.inventory.sysctls.contains_key(name) {
            "take it out of `sysctls` in the inventory, or correct its name".to_owned()
        } else {
            "boot a kernel that has it".to_owned()
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::facts::Machine;
    use crate::host::probe::Readings;
    use crate::testing::{World, debian};

    fn settings(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    fn differs(values: &[(&str, &str)], readings: Readings) -> Result<Option<String>, ActionError> {
        let world = World::new("master1").reading(readings);
        let change = difference(&settings(values), &world.cx())?;
        Ok(change.map(|change| change.summary))
    }

    #[test]
    fn files_are_read_as_sysctl_reads_them() {
        let text = "# a = 1\n; b = 2\n-net.x = 3\n a.b=4\na.b = 5  6\n\n";
        assert_eq!(parsed(text), settings(&[("a.b", "5  6"), ("net.x", "3")]));
    }

    #[test]
    fn what_the_template_left_out_is_added() {
        let extra = settings(&[("a", "1"), ("b", "2")]);
        assert_eq!(completed("a = 1\n".to_owned(), &extra), "a = 1\nb = 2\n");
        assert_eq!(
            completed("a = 0\nb = 2".to_owned(), &extra),
            "a = 0\nb = 2\na = 1\n"
        );
        assert_eq!(
            completed("b = 2\na = 1\n".to_owned(), &extra),
            "b = 2\na = 1\n"
        );
    }

    #[test]
    fn values_in_force_are_compared_by_their_words() {
        let range = "net.ipv4.ip_local_port_range";
        let readings = Readings::default().with_sysctl(range, Some("32768\t60999"));
        assert_eq!(
            differs(&[(range, "32768 60999")], readings).ok(),
            Some(None)
        );
        let forward = Readings::default().with_sysctl("net.ipv4.ip_forward", Some("0"));
        let summary = "set net.ipv4.ip_forward to 1 (it is 0)".to_owned();
        assert_eq!(
            differs(&[("net.ipv4.ip_forward", "1")], forward).ok(),
            Some(Some(summary))
        );
    }

    #[test]
    fn a_sysctl_that_the_kernel_lacks_is_refused() {
        let readings = Readings::default().with_sysctl("net.ipv4.nonsense", None);
        let error = differs(&[("net.ipv4.nonsense", "1")], readings).expect_err("there is none");
        assert_eq!(
            error.to_string(),
            "the kernel of master1 has no sysctl `net.ipv4.nonsense`"
        );
    }

    #[test]
    fn bridges_may_wait_for_their_module() {
        let name = "net.bridge.bridge-nf-call-iptables";
        let readings = || Readings::default().with_sysctl(name, None);
        assert!(
            differs(&[(name, "1")], readings()).is_err(),
            "the module is loaded"
        );
        let machine = Machine {
            modules: Vec::new(),
            ..debian()
        };
        let summary = format!("set {name} to 1");
        let waiting = differs(&[(name, "1")], readings().with_machine(machine));
        assert_eq!(waiting.ok(), Some(Some(summary)));
    }
}
