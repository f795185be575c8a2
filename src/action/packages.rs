//! `packages`: installed, at whatever version the distribution has.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::job::{self, Work};
use super::{Action, ActionError, Change, Check, Context, Effect};
use crate::host::probe::Probe;
use crate::os::Family;

/// A slow mirror, or a package manager that somebody else holds.
const DEADLINE: Duration = Duration::from_secs(30 * 60);

/// Packages by their Debian names; other families install what they call them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Packages {
    /// Debian names.
    pub names: Vec<String>,
}

impl Action for Packages {
    fn probes(&self, cx: &Context<'_>) -> Vec<Probe> {
        probes(&self.names, cx)
    }

    fn check(&self, cx: &Context<'_>) -> Result<Check, ActionError> {
        check(&self.names, cx)
    }

    async fn apply(&self, effect: &Effect<'_>, _change: &Change) -> Result<(), ActionError> {
        install(&self.names, effect).await
    }
}

/// What has to be read to know whether packages are missing. Before the machine itself was read, a package is looked for
/// under its Debian name too; that costs nothing.
pub(crate) fn probes(names: &[String], cx: &Context<'_>) -> Vec<Probe> {
    let family = Family::judged(cx).ok();
    let here = names.iter().flat_map(|name| match family {
        Some(family) => family.package(name).into_iter().collect::<Vec<_>>(),
        None => Family::names_anywhere(name),
    });
    std::iter::once(Probe::Machine)
        .chain(here.map(|name| Probe::Package(name.to_owned())))
        .collect()
}

/// Whether all packages are installed completely.
pub(crate) fn check(names: &[String], cx: &Context<'_>) -> Result<Check, ActionError> {
    let missing = missing(names, cx)?;
    if missing.is_empty() {
        return Ok(Check::Satisfied);
    }
    Ok(Check::needed(format!("install {}", missing.join(" "))))
}

/// Installs those that are missing.
pub(crate) async fn install(names: &[String], effect: &Effect<'_>) -> Result<(), ActionError> {
    let family = Family::judged(&effect.cx)?;
    let work = Work {
        what: "installing packages",
        script: family.install(&missing(names, &effect.cx)?),
        files: Vec::new(),
        deadline: DEADLINE,
    };
    job::run(effect, work).await.map(drop)
}

fn missing(names: &[String], cx: &Context<'_>) -> Result<Vec<String>, ActionError> {
    let family = Family::judged(cx)?;
    let mut missing = Vec::new();
    for name in names.iter().filter_map(|name| family.package(name)) {
        if cx.facts().package(name)?.version.is_none() {
            missing.push(name.to_owned());
        }
    }
    Ok(missing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::probe::Readings;
    use crate::testing::{World, rocky};

    fn action() -> Packages {
        Packages {
            names: ["haproxy", "conntrack", "curl"].map(str::to_owned).to_vec(),
        }
    }

    fn needed(verdict: Result<Check, ActionError>) -> String {
        match verdict {
            Ok(Check::Needed(change)) => change.summary,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_what_is_missing_is_installed() {
        let readings = Readings::default()
            .with_package("haproxy", "2.6.12-1")
            .without_package("conntrack")
            .without_package("curl");
        let world = World::new("lb1").reading(readings);
        assert_eq!(
            needed(action().check(&world.cx())),
            "install conntrack curl"
        );
    }

    #[test]
    fn installed_packages_need_nothing() {
        let readings = Readings::default()
            .with_package("haproxy", "2.6.12-1")
            .with_package("conntrack", "1")
            .with_package("curl", "7");
        let world = World::new("lb1").reading(readings);
        assert_eq!(action().check(&world.cx()).ok(), Some(Check::Satisfied));
    }

    #[test]
    fn another_family_has_its_own_names() {
        let readings = Readings::default()
            .with_machine(rocky())
            .with_package("haproxy", "2.4")
            .without_package("conntrack-tools");
        let world = World::new("lb1").reading(readings);
        assert_eq!(
            needed(action().check(&world.cx())),
            "install conntrack-tools"
        );
    }

    #[test]
    fn before_the_family_is_known_every_name_is_probed() {
        let mut world = World::new("lb1");
        world.fleet = crate::action::Fleet::default();
        let probes = action().probes(&world.cx());
        for name in ["haproxy", "conntrack", "conntrack-tools", "curl"] {
            assert!(probes.contains(&Probe::Package(name.to_owned())), "{name}");
        }
    }
}
