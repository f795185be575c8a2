//! `kubernetes-repository`: where kubeadm, kubelet and kubectl of this minor come from.

use std::time::Duration;

use camino::Utf8PathBuf;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::job::{self, Work};
use super::remote_file::{self, Wanted};
use super::{Action, ActionError, Change, Check, Context, Effect};
use crate::host::command::Script;
use crate::host::file::RemoteFile;
use crate::host::probe::{FileReading, Probe};
use crate::inventory::PackageSource;
use crate::os::Family;

/// The project's own repository begins with this minor.
const FIRST_UPSTREAM_MINOR: u16 = 24;

const DEADLINE: Duration = Duration::from_secs(15 * 60);

/// Fetches the public key `$1` into `$2`; what is not a key never takes its place.
const FETCH_KEY: &str = r#"
set -eu
umask 022
mkdir -p -- "${2%/*}"
new=$(mktemp -- "$2.XXXXXX")
trap 'rm -f -- "$new"' EXIT
curl -fsSL --proto '=https' --proto-redir '=https' --connect-timeout 20 --max-time 120 --retry 3 -o "$new" "$1"
grep -q 'BEGIN PGP PUBLIC KEY BLOCK' "$new" || {
    echo "$1 is not an ASCII-armoured public key"
    exit 1
}
chmod 0644 "$new"
mv -f -- "$new" "$2"
"#;

/// The package repository of the inventory's minor, with its key.
///
/// Upstream's key is fetched by the host itself, again with every change of the repository, because it is renewed now and
/// then; a mirror's key comes from the inventory. Preinstalled tools need no repository.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct KubernetesRepository {}

/// The repository as it should be on one host.
struct Repository {
    family: &'static Family,
    url: String,
    list: Wanted,
    key: Key,
}

/// Where the key comes from.
enum Key {
    /// From this URL, fetched by the host.
    Fetched { url: String, path: Utf8PathBuf },
    /// From the inventory.
    Given(Wanted),
}

impl Repository {
    /// `None` if the tools are on the hosts already.
    fn of(cx: &Context<'_>) -> Result<Option<Self>, ActionError> {
        let source = &cx.inventory.packages;
        if *source == PackageSource::Preinstalled {
            return Ok(None);
        }
        let family = Family::judged(cx)?;
        Ok(Some(Self::at(source, family, cx)?))
    }

    fn at(
        source: &PackageSource,
        family: &'static Family,
        cx: &Context<'_>,
    ) -> Result<Self, ActionError> {
        let format = &family.repository;
        let url = url(source, family, cx.inventory.kubernetes.minor);
        let key = match source {
            PackageSource::Mirror { key, .. } => {
                let content = format!("{}\n", key.trim_end());
                Key::Given(Wanted::public(format.key, content))
            }
            PackageSource::Upstream | PackageSource::Preinstalled => {
                is_upstream(cx)?;
                Key::Fetched {
                    url: format!("{url}{}", format.key_url),
                    path: format.key.into(),
                }
            }
        };
        Ok(Self {
            family,
            list: Wanted::public(format.file, (format.content)(&url, format.key)),
            url,
            key,
        })
    }

    /// Prints the files that list it.
    fn listings(&self) -> Script {
        self.family.listings(self.url.trim_end_matches('/'))
    }

    fn probes(&self) -> Vec<Probe> {
        let key = match &self.key {
            Key::Fetched { path, .. } => Probe::Digest(path.clone()),
            Key::Given(file) => file.probe(),
        };
        vec![self.list.probe(), key, Probe::Script(self.listings())]
    }

    fn change(&self, cx: &Context<'_>) -> Result<Option<Change>, ActionError> {
        let key = match &self.key {
            Key::Fetched { url, path } => fetching(url, cx.facts().file(path)?),
            Key::Given(file) => file.change(cx)?,
        };
        let all = key.into_iter().chain(self.list.change(cx)?);
        Ok(all.reduce(remote_file::join))
    }

    /// apt refuses everything when one repository is listed twice with different keys.
    fn refuse_others(&self, cx: &Context<'_>) -> Result<(), ActionError> {
        let listings = cx.facts().script(&self.listings())?;
        let listings = listings.success().unwrap_or_default();
        let Some(other) = listings.lines().find(|file| *file != self.list.path) else {
            return Ok(());
        };
        let (other, host) = (crate::text::escape(other), &cx.node.name);
        Err(ActionError::Unsafe {
            why: format!("{other} on {host} lists {} already", self.url),
            help: format!("remove {other} on {host}, or set `packages: preinstalled`"),
        })
    }

    /// What is written from here; the key first, for a list without its key makes every package installation fail.
    fn files(&self) -> Vec<Wanted> {
        let key = match &self.key {
            Key::Fetched { .. } => None,
            Key::Given(file) => Some(file.clone()),
        };
        key.into_iter().chain([self.list.clone()]).collect()
    }

    async fn fetch_key(&self, effect: &Effect<'_>) -> Result<(), ActionError> {
        let Key::Fetched { url, path } = &self.key else {
            return Ok(());
        };
        let script = Script::new("kubernetes-key-fetch", FETCH_KEY)
            .arg(url)
            .arg(path.as_str());
        work(
            "fetching the key of the Kubernetes repository",
            script,
            effect,
        )
        .await
    }
}

/// Where the packages of a minor lie.
pub(crate) fn url(source: &PackageSource, family: &Family, minor: u16) -> String {
    let url = match source {
        PackageSource::Mirror { url, .. } => url.as_str(),
        PackageSource::Upstream | PackageSource::Preinstalled => family.repository.upstream,
    };
    let minor = format!("1.{minor}");
    format!("{}/", url.replace("{minor}", &minor).trim_end_matches('/'))
}

fn fetching(url: &str, key: &FileReading) -> Option<Change> {
    let is_there = key.present().is_some_and(|key| key.size > 0);
    (!is_there).then(|| Change::new(format!("fetch {url}")))
}

fn is_upstream(cx: &Context<'_>) -> Result<(), ActionError> {
    let version = cx.inventory.kubernetes;
    if version.minor >= FIRST_UPSTREAM_MINOR {
        return Ok(());
    }
    Err(ActionError::Unsafe {
        why: format!("upstream has no packages of {version} any more"),
        help: "name a mirror that has them, or set `packages: preinstalled`".to_owned(),
    })
}

async fn work(what: &'static str, script: Script, effect: &Effect<'_>) -> Result<(), ActionError> {
    let work = Work {
        what,
        script,
        files: Vec::new(),
        deadline: DEADLINE,
    };
    job::run(effect, work).await.map(drop)
}

impl Action for KubernetesRepository {
    fn probes(&self, cx: &Context<'_>) -> Vec<Probe> {
        let source = &cx.inventory.packages;
        if *source == PackageSource::Preinstalled {
            return Vec::new();
        }
        let family = Family::judged(cx).ok();
        let families: Vec<&'static Family> = match family {
            Some(family) => vec![family],
            None => crate::os::FAMILIES.to_vec(),
        };
        let repositories = families
            .into_iter()
            .filter_map(|family| Repository::at(source, family, cx).ok());
        std::iter::once(Probe::Machine)
            .chain(repositories.flat_map(|repository| repository.probes()))
            .collect()
    }

    fn check(&self, cx: &Context<'_>) -> Result<Check, ActionError> {
        let Some(repository) = Repository::of(cx)? else {
            return Ok(Check::Satisfied);
        };
        repository.refuse_others(cx)?;
        let change = repository.change(cx)?;
        Ok(change.map_or(Check::Satisfied, Check::Needed))
    }

    async fn apply(&self, effect: &Effect<'_>, _change: &Change) -> Result<(), ActionError> {
        let Some(repository) = Repository::of(&effect.cx)? else {
            return Ok(());
        };
        repository.fetch_key(effect).await?;
        let files = repository.files().into_iter().map(Wanted::into_remote);
        let files: Vec<RemoteFile> = files.collect();
        effect.host.transport.write(&files).await?;
        let refresh = repository.family.refresh();
        work("reading the Kubernetes repository", refresh, effect).await
    }

    fn files(&self, cx: &Context<'_>) -> Result<Vec<(Utf8PathBuf, Vec<u8>)>, ActionError> {
        let source = &cx.inventory.packages;
        if *source == PackageSource::Preinstalled {
            return Ok(Vec::new());
        }
        // Offline the family is unknown: the first one's files are shown.
        let family = Family::judged(cx)
            .ok()
            .or(crate::os::FAMILIES.first().copied());
        let repository = family.map(|family| Repository::at(source, family, cx));
        let files = repository.transpose()?.map(|repository| repository.files());
        let files = files.unwrap_or_default().into_iter();
        Ok(files.map(|file| (file.path, file.content)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::probe::{FileState, Readings};
    use crate::testing::{World, rocky};

    const LIST: &str = "/etc/apt/sources.list.d/quorate-kubernetes.list";
    const KEY: &str = "/etc/apt/keyrings/quorate-kubernetes.asc";
    const LINE: &str = "# Written by quorate; changes made here are lost.\ndeb [signed-by=/etc/apt/keyrings/quorate-kubernetes.asc] \
                        https://pkgs.k8s.io/core:/stable:/v1.36/deb/ /\n";

    fn repository(world: &World) -> Repository {
        Repository::of(&world.cx())
            .expect("the family is known")
            .expect("there is a repository")
    }

    fn with_listing(world: World, files: &str) -> World {
        let script = repository(&world).listings();
        world.reading(Readings::default().with_script(script, 0, files))
    }

    fn mirror() -> PackageSource {
        PackageSource::Mirror {
            url: "http://mirror.example.com/v{minor}/deb".to_owned(),
            key: "-----BEGIN PGP PUBLIC KEY BLOCK-----".to_owned(),
        }
    }

    #[test]
    fn upstream_is_listed_by_minor_and_its_key_fetched_by_the_host() {
        let readings = Readings::default().without_file(LIST).without_file(KEY);
        let world = with_listing(World::new("master1").reading(readings), "");
        let Ok(Check::Needed(change)) = KubernetesRepository {}.check(&world.cx()) else {
            panic!("nothing is there");
        };
        let url = "https://pkgs.k8s.io/core:/stable:/v1.36/deb/Release.key";
        assert_eq!(change.summary, format!("fetch {url}, create {LIST}"));
        let list = String::from_utf8(repository(&world).list.content).expect("it is text");
        assert_eq!(list, LINE);
    }

    #[test]
    fn a_repository_with_its_key_needs_nothing() {
        let readings = Readings::default()
            .with_file(LIST, FileState::regular(LINE))
            .with_file(KEY, FileState::regular("key"));
        let world = with_listing(
            World::new("master1").reading(readings),
            &format!("{LIST}\n"),
        );
        assert_eq!(
            KubernetesRepository {}.check(&world.cx()).ok(),
            Some(Check::Satisfied)
        );
    }

    #[test]
    fn a_second_listing_is_refused() {
        let readings = Readings::default().without_file(LIST).without_file(KEY);
        let other = "/etc/apt/sources.list.d/kubernetes.list";
        let world = with_listing(World::new("master1").reading(readings), other);
        let error = KubernetesRepository {}
            .check(&world.cx())
            .expect_err("apt would refuse it");
        assert!(error.to_string().starts_with(other), "{error}");
    }

    #[test]
    fn a_mirror_brings_its_key_first() {
        let mut world = World::new("master1");
        world.inventory.packages = mirror();
        let repository = repository(&world);
        assert_eq!(repository.url, "http://mirror.example.com/v1.36/deb/");
        let paths: Vec<_> = repository
            .files()
            .into_iter()
            .map(|file| file.path)
            .collect();
        assert_eq!(paths, [KEY, LIST]);
    }

    #[test]
    fn preinstalled_tools_need_no_repository() {
        let mut world = World::new("master1");
        world.inventory.packages = PackageSource::Preinstalled;
        assert!(KubernetesRepository {}.probes(&world.cx()).is_empty());
        assert_eq!(
            KubernetesRepository {}.check(&world.cx()).ok(),
            Some(Check::Satisfied)
        );
    }

    #[test]
    fn upstream_has_no_old_minors() {
        let mut world = World::new("master1");
        world.inventory.kubernetes = "v1.20.2".parse().expect("a version");
        assert!(KubernetesRepository {}.check(&world.cx()).is_err());
    }

    #[test]
    fn red_hat_excludes_the_packages_from_other_installations() {
        let world = World::new("master1").reading(Readings::default().with_machine(rocky()));
        let list = String::from_utf8(repository(&world).list.content).expect("it is text");
        assert!(list.contains("baseurl=https://pkgs.k8s.io/core:/stable:/v1.36/rpm/\n"));
        assert!(list.contains("exclude=kubelet kubeadm kubectl cri-tools kubernetes-cni\n"));
    }
}
