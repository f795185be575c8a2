//! `etcd-packages`: etcd and etcdctl at the inventory's version, held there.

use std::time::Duration;

use camino::Utf8PathBuf;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::job::{self, Work};
use super::remote_file::{self, Wanted};
use super::{Action, ActionError, Change, Check, Context, Effect};
use crate::cluster::etcd_member::{self, Seat};
use crate::host::command::Script;
use crate::host::file::RemoteFile;
use crate::host::probe::Probe;
use crate::inventory::ExternalEtcd;
use crate::inventory::etcd::{EtcdPackages as Source, EtcdVersion};
use crate::os::{Family, Hold};

const DEADLINE: Duration = Duration::from_secs(30 * 60);

/// What the programs say of their versions, each in a line of its own; an absent one says nothing.
const VERSIONS: &str = r#"
echo "etcd $(etcd --version 2>/dev/null | sed -n 's/^etcd Version: *//p')"
echo "etcdctl $(etcdctl version 2>/dev/null | sed -n 's/^etcdctl version: *//p')"
"#;

/// etcd and etcdctl of the external etcd, from the distribution, a mirror, or preinstalled and only looked at.
///
/// Another version is replaced only on a host that is no member yet: that of a member is changed by `etcd-upgrade`, since the
/// package starts its service anew.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct EtcdPackages {}

impl Action for EtcdPackages {
    fn probes(&self, cx: &Context<'_>) -> Vec<Probe> {
        probes(cx)
    }

    fn check(&self, cx: &Context<'_>) -> Result<Check, ActionError> {
        let Some(etcd) = cx.inventory.etcd.external() else {
            return Ok(Check::Satisfied);
        };
        if etcd.packages != Source::Preinstalled {
            refuse_of_member(cx, etcd)?;
        }
        Ok(pending(cx, etcd)?.map_or(Check::Satisfied, Check::Needed))
    }

    async fn apply(&self, effect: &Effect<'_>, _change: &Change) -> Result<(), ActionError> {
        match effect.cx.inventory.etcd.external() {
            Some(etcd) => install(effect, etcd).await,
            None => Ok(()),
        }
    }

    fn files(&self, cx: &Context<'_>) -> Result<Vec<(Utf8PathBuf, Vec<u8>)>, ActionError> {
        // Offline the family is unknown: the first one's files are shown.
        let family = Family::judged(cx)
            .ok()
            .or(crate::os::FAMILIES.first().copied());
        let files = cx
            .inventory
            .etcd
            .external()
            .zip(family)
            .map(|(etcd, family)| repository(etcd, family));
        Ok(files
            .into_iter()
            .flatten()
            .map(|file| (file.path, file.content))
            .collect())
    }
}

/// Everything that is read to know what of etcd is installed.
pub(super) fn probes(cx: &Context<'_>) -> Vec<Probe> {
    let Some(etcd) = cx.inventory.etcd.external() else {
        return Vec::new();
    };
    if etcd.packages == Source::Preinstalled {
        return vec![Probe::Script(versions())];
    }
    let family = Family::judged(cx).ok();
    let families: Vec<&'static Family> = match family {
        Some(family) => vec![family],
        None => crate::os::FAMILIES.to_vec(),
    };
    let mut probes = etcd_member::probes();
    probes.push(Probe::Machine);
    for family in families {
        probes.extend(
            family
                .etcd
                .packages
                .iter()
                .map(|name| Probe::Package((*name).to_owned())),
        );
        probes.extend(repository(etcd, family).iter().map(Wanted::probe));
    }
    probes
}

/// What has to be installed, a mirror's files included; `None`: nothing. Preinstalled programs of another version are refused.
pub(super) fn pending(
    cx: &Context<'_>,
    etcd: &ExternalEtcd,
) -> Result<Option<Change>, ActionError> {
    if etcd.packages == Source::Preinstalled {
        return verify(cx, etcd).map(|()| None);
    }
    let family = Family::judged(cx)?;
    let mut changes = Vec::new();
    for file in repository(etcd, family) {
        changes.extend(file.change(cx)?);
    }
    changes.extend(installing(cx, etcd, family)?.map(Change::new));
    Ok(changes.into_iter().reduce(remote_file::join))
}

/// Installs etcd and etcdctl at the inventory's version, and holds them.
pub(super) async fn install(
    effect: &Effect<'_>,
    etcd: &ExternalEtcd,
) -> Result<(), ActionError> {
    let family = Family::judged(&effect.cx)?;
    let files: Vec<RemoteFile> = repository(etcd, family)
        .into_iter()
        .map(Wanted::into_remote)
        .collect();
    if !files.is_empty() {
        effect.host.transport.write(&files).await?;
    }
    let work = Work {
        what: "installing etcd",
        script: family.install_etcd(&etcd.version.to_string()),
        files: Vec::new(),
        deadline: DEADLINE,
    };
    job::run(effect, work).await.map(drop)
}

/// The files of a mirror; the key first, for a list without its key makes every package installation fail.
fn repository(etcd: &ExternalEtcd, family: &Family) -> Vec<Wanted> {
    let Source::Mirror { url, key } = &etcd.packages else {
        return Vec::new();
    };
    let format = &family.etcd;
    vec![
        Wanted::public(format.key, format!("{}\n", key.trim_end())),
        Wanted::public(format.file, (format.content)(url, format.key)),
    ]
}

/// The packages that are not there at the inventory's version, each with the version that is.
pub(crate) fn others(
    cx: &Context<'_>,
    etcd: &ExternalEtcd,
) -> Result<Vec<(&'static str, Option<String>)>, ActionError> {
    let wanted = etcd.version.to_string();
    let mut others = Vec::new();
    for name in Family::judged(cx)?.etcd.packages {
        let version = &cx.facts().package(name)?.version;
        let is_wanted = |version: &String| is_release(version, &wanted);
        if !version.as_ref().is_some_and(is_wanted) {
            others.push((*name, version.clone()));
        }
    }
    Ok(others)
}

/// What the package manager would have to do.
fn installing(
    cx: &Context<'_>,
    etcd: &ExternalEtcd,
    family: &Family,
) -> Result<Option<String>, ActionError> {
    let others = others(cx, etcd)?;
    if !others.is_empty() {
        let names: Vec<String> = others.iter().map(as_it_is).collect();
        return Ok(Some(format!(
            "install {} of {}",
            etcd.version,
            names.join(", ")
        )));
    }
    let mut unheld = Vec::new();
    for name in family.etcd.packages {
        if family.hold == Hold::Mark && !cx.facts().package(name)?.held {
            unheld.push(*name);
        }
    }
    Ok((!unheld.is_empty()).then(|| format!("hold {}", unheld.join(", "))))
}

fn as_it_is((name, version): &(&'static str, Option<String>)) -> String {
    match version {
        Some(version) => format!("{name} (it is {})", crate::text::escape(version)),
        None => (*name).to_owned(),
    }
}

/// Whether a package version, epoch and revision and all, is of this release.
pub(crate) fn is_release(version: &str, release: &str) -> bool {
    let plain = version.split_once(':').map_or(version, |(_, plain)| plain);
    plain
        .strip_prefix(release)
        .is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_digit() || next == '.'))
}

fn refuse_of_member(cx: &Context<'_>, etcd: &ExternalEtcd) -> Result<(), ActionError> {
    let is_member = Seat::read(cx.node, cx.facts()).is_some_and(|seat| seat.membership.is_some());
    let others = others(cx, etcd)?;
    let installed = others.iter().find_map(|(name, version)| Some((name, version.as_ref()?)));
    let Some((name, version)) = installed.filter(|_| is_member) else {
        return Ok(());
    };
    let (host, wanted) = (&cx.node.name, etcd.version);
    let help = match EtcdVersion::find(version).filter(|installed| *installed > wanted) {
        // As after an upgrade, or in the midst of one.
        Some(installed) => format!(
            "`quorate upgrade --etcd-to {installed}` sees all members at it; then name it in the inventory: `etcd: {{ version: {installed} }}`"
        ),
        None => format!("bring the members to it, one at a time: `quorate upgrade --etcd-to {wanted}`"),
    };
    Err(ActionError::Unsafe {
        why: format!(
            "{host} is a member of etcd with {name} {}, and the inventory wants {wanted}",
            crate::text::escape(version)
        ),
        help,
    })
}

fn versions() -> Script {
    Script::new("etcd-versions", VERSIONS)
}

/// What of preinstalled programs is missing or of another version, in words.
pub(crate) fn lacking(cx: &Context<'_>, etcd: &ExternalEtcd) -> Result<Vec<String>, ActionError> {
    let said = &cx.facts().script(&versions())?.stdout;
    let wanted = etcd.version.to_string();
    let wrong = ["etcd", "etcdctl"].into_iter().filter_map(|name| {
        let line = said
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        match line.map(str::trim).filter(|version| !version.is_empty()) {
            Some(version) if version == wanted => None,
            Some(version) => Some(format!("{name} {}", crate::text::escape(version))),
            None => Some(format!("no {name}")),
        }
    });
    Ok(wrong.collect())
}

/// Refuses preinstalled programs of another version.
fn verify(cx: &Context<'_>, etcd: &ExternalEtcd) -> Result<(), ActionError> {
    let wrong = lacking(cx, etcd)?;
    if wrong.is_empty() {
        return Ok(());
    }
    let host = &cx.node.name;
    Err(ActionError::Unsafe {
        why: format!(
            "{host} should have etcd {} preinstalled and has {}",
            etcd.version,
            wrong.join(", ")
        ),
        help: format!(
            "install it on {host} in the PATH of systemd, /usr/local/bin for example, or let quorate do it: `etcd: {{ packages: {{ source: distribution }} }}`"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::sample::external;
    use crate::host::probe::{FileState, Readings};
    use crate::testing::World;

    fn world(readings: Readings) -> World {
        let mut world = World::new("master1");
        world.inventory = external();
        world.reading(readings)
    }

    fn verdict(readings: Readings) -> Result<Option<String>, String> {
        match (EtcdPackages {}).check(&world(readings).cx()) {
            Ok(Check::Needed(change)) => Ok(Some(change.summary)),
            Ok(Check::Satisfied | Check::Unknown { .. }) => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    fn held(version: &str) -> Readings {
        let names = ["etcd-server", "etcd-client"];
        let held = |readings: Readings, name: &str| readings.with_held_package(name, version);
        names.into_iter().fold(Readings::default(), held)
    }

    #[test]
    fn any_package_revision_of_the_release_will_do() {
        for version in ["3.4.0-4+b4", "3.4.0+dfsg-1", "1:3.4.0-1", "3.4.0"] {
            assert_eq!(verdict(held(version)), Ok(None), "{version}");
        }
        let other = "install 3.4.0 of etcd-server (it is 3.4.01-1), etcd-client (it is 3.4.01-1)";
        assert_eq!(verdict(held("3.4.01-1")), Ok(Some(other.to_owned())));
    }

    #[test]
    fn another_version_of_a_member_is_refused() {
        let member = held("3.5.0-1")
            .with_script(etcd_member::script(), 0, "has etcd-data\n")
            .with_file(
                crate::cluster::etcd::MEMBERSHIP,
                FileState::regular("new\na=b\n"),
            );
        let why =
            "master1 is a member of etcd with etcd-server 3.5.0-1, and the inventory wants 3.4.0";
        assert_eq!(verdict(member), Err(why.to_owned()));
    }

    #[test]
    fn preinstalled_programs_are_verified_only() {
        let verdict = |said: &str| {
            let mut world = world(Readings::default().with_script(versions(), 0, said));
            if let crate::inventory::EtcdTopology::External(etcd) = &mut world.inventory.etcd {
                etcd.packages = Source::Preinstalled;
            }
            let verdict = EtcdPackages {}.check(&world.cx());
            verdict.map_err(|error| error.to_string())
        };
        assert_eq!(verdict("etcd 3.4.0\netcdctl 3.4.0\n"), Ok(Check::Satisfied));
        let why = "master1 should have etcd 3.4.0 preinstalled and has etcd 3.5.1, no etcdctl";
        assert_eq!(verdict("etcd 3.5.1\netcdctl \n"), Err(why.to_owned()));
    }
}
