//! What the lab is made of, built once per computer by the recipes of `vagrant/lab` and kept in a cache.
//!
//! The cache is `$QUORATE_LAB_CACHE`, or `/var/cache/quorate-lab`. An artifact lives in `<name>-<key>`, where the key
//! is a hash of its recipe, of the files it uses and of the keys of the artifacts it is built from; versions of sources
//! are part of the recipes. `common.sh`, which all recipes share, is left out: changing it rebuilds nothing. It is built in a directory beside that and renamed when it is whole, under a lock: a killed
//! build leaves nothing that counts, and of two builders the second waits and finds the work done.

use std::env;

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use rust_embed::RustEmbed;
use sha2::{Digest, Sha256};

use super::cgroup::Cgroup;
use super::disk::unmount_below;
use super::error::LabError;
use super::gate;
use super::record::Lock;
use super::say;
use crate::text::hex;

#[derive(RustEmbed)]
#[folder = "vagrant/lab"]
struct Files;

/// Something that a recipe makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Artifact {
    /// The root file system of the hosts.
    Rootfs,
    /// Debian's source of Kubernetes, ready to build.
    Source,
    /// Kubernetes itself, in two versions.
    Kubernetes,
    /// Programs that Debian lacks: crictl, a cluster DNS, a tiny workload.
    Standins,
    /// A registry with all images in it.
    Images,
    /// A signed apt repository.
    Packages,
}

impl Artifact {
    fn name(self) -> &'static str {
        match self {
            Self::Rootfs => "rootfs",
            Self::Source => "source",
            Self::Kubernetes => "kubernetes",
            Self::Standins => "standins",
            Self::Images => "images",
            Self::Packages => "packages",
        }
    }

    /// Files beside the recipe that it uses.
    fn files(self) -> &'static [&'static str] {
        match self {
            Self::Rootfs | Self::Source | Self::Kubernetes | Self::Packages => &[],
            Self::Standins => &["crictl.go", "coredns.go", "hello.go"],
            Self::Images => &["pause.c"],
        }
    }

    /// What it is built from.
    fn parts(self) -> &'static [Self] {
        match self {
            Self::Rootfs | Self::Source => &[],
            Self::Kubernetes | Self::Standins => &[Self::Source],
            Self::Images | Self::Packages => &[Self::Kubernetes, Self::Standins],
        }
    }

    fn recipe(self) -> String {
        format!("{}.sh", self.name())
    }

    /// Changes exactly when the result may.
    fn key(self) -> Result<String, LabError> {
        let mut hash = Sha256::new();
        hash.update(env::consts::ARCH);
        hash.update(content(&self.recipe())?);
        for file in self.files() {
            hash.update(content(file)?);
        }
        for part in self.parts() {
            hash.update(part.key()?);
        }
        let mut key = hex(&hash.finalize());
        key.truncate(16);
        Ok(key)
    }
}

fn content(file: &str) -> Result<Vec<u8>, LabError> {
    Files::get(file)
        .map(|file| file.data.into_owned())
        .ok_or_else(|| LabError::Recipe {
            recipe: file.to_owned(),
            said: "it is not part of this program".into(),
        })
}

fn cache() -> Utf8PathBuf {
    env::var("QUORATE_LAB_CACHE")
        .map_or_else(|_| "/var/cache/quorate-lab".into(), Utf8PathBuf::from)
}

/// The directory of an artifact, built now if no earlier run did.
pub(super) fn get(artifact: Artifact) -> Result<Utf8PathBuf, LabError> {
    let place = cache().join(format!("{}-{}", artifact.name(), artifact.key()?));
    if place.exists() {
        return Ok(place);
    }
    let parts = artifact
        .parts()
        .iter()
        .map(|&part| Ok((part, get(part)?)))
        .collect::<Result<Vec<_>, LabError>>()?;
    let _lock = Lock::wait(cache().join(format!("{}.lock", artifact.name())))?;
    if !place.exists() {
        build(artifact, &parts, &place)?;
    }
    Ok(place)
}

fn build(
    artifact: Artifact,
    parts: &[(Artifact, Utf8PathBuf)],
    place: &Utf8Path,
) -> Result<(), LabError> {
    say(&format!("Building {} for {place}", artifact.name()));
    let site = clear_site(artifact.name())?;
    run_recipe(&artifact.recipe(), parts, &site)?;
    fs::rename(site.join("result"), place).map_err(LabError::file("fill", place))?;
    remove(&site)
}

/// Makes sure that the computer has the tools that `up` itself uses.
pub(super) fn prepare_computer() -> Result<(), LabError> {
    let _lock = Lock::wait(cache().join("computer.lock"))?;
    let site = clear_site("computer")?;
    run_recipe("computer.sh", &[], &site)?;
    remove(&site)
}

fn run_recipe(
    recipe: &str,
    parts: &[(Artifact, Utf8PathBuf)],
    site: &Utf8Path,
) -> Result<(), LabError> {
    let scripts = site.join("recipes");
    fs::create_dir_all(&scripts).map_err(LabError::file("create", &scripts))?;
    for file in Files::iter() {
        let path = scripts.join(file.as_ref());
        fs::write(&path, content(&file)?).map_err(LabError::file("write", &path))?;
    }
    let mut bash = gate::command();
    bash.arg("bash")
        .arg(scripts.join(recipe))
        .arg(site.join("result"))
        .arg(site.join("work"));
    for (part, place) in parts {
        bash.env(format!("LAB_{}", part.name().to_uppercase()), place);
    }
    let failed = |said: String| LabError::Recipe {
        recipe: recipe.to_owned(),
        said,
    };
    let mut child = gate::open(&Cgroup::of_build(recipe, &cache()), &mut bash, recipe)?;
    let status = child.wait().map_err(|error| failed(error.to_string()))?;
    if status.success() {
        Ok(())
    } else {
        Err(failed(format!(
            "{status}; the reason is above, its log is {site}/work/log"
        )))
    }
}

/// A directory of this process to build in; whatever a killed build left, running or lying about, is removed. Callers
/// hold the lock.
fn clear_site(name: &str) -> Result<Utf8PathBuf, LabError> {
    Cgroup::of_build(&format!("{name}.sh"), &cache()).destroy()?;
    let site = cache().join(format!("{name}.building"));
    // A killed debootstrap leaves /proc mounted in its tree.
    unmount_below(&site)?;
    remove(&site)?;
    Ok(site)
}

fn remove(path: &Utf8Path) -> Result<(), LabError> {
    if !path.exists() {
        return Ok(());
    }
    fs::remove_dir_all(path).map_err(LabError::file("remove", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Artifact; 6] = [
        Artifact::Rootfs,
        Artifact::Source,
        Artifact::Kubernetes,
        Artifact::Standins,
        Artifact::Images,
        Artifact::Packages,
    ];

    #[test]
    fn every_artifact_has_its_recipe_and_its_files_on_board() {
        for artifact in ALL {
            artifact.key().expect("its recipe and files are embedded");
        }
        content("common.sh").expect("it is embedded");
    }
}
