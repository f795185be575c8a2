//! A cgroup of its own for every host and for the lab's services, in every hierarchy.
//!
//! Without one, the kubelets of all hosts would share one `/kubepods` on a cgroup v1 computer. It is also the
//! lab's memory: whatever a killed `lab up` left running is found in `quorate-lab.<lab>.*`, record or not.

use std::fmt;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;

use super::error::LabError;
use super::tool;
use super::topology::LabName;

const ROOT: &str = "/sys/fs/cgroup";
const EMPTY_WITHIN: Duration = Duration::from_secs(20);

/// Whether this computer runs cgroup v2 alone.
pub(super) fn is_unified() -> bool {
    Utf8Path::new(ROOT).join("cgroup.controllers").exists()
}

/// What a cgroup counts for against others where processors are short; 1 is as much as one ordinary process.
///
/// A host is many processes but one cgroup: counted as one, a master starves beside a compiler, and etcd with it.
const HOST: u32 = 10;
const BUILD: u32 = 1;

/// One named cgroup in all hierarchies of the computer.
#[derive(Debug, Clone)]
pub(super) struct Cgroup {
    name: String,
    weight: u32,
}

impl Cgroup {
    /// The cgroup of a host, or of the services, of a lab.
    pub(super) fn of(lab: &LabName, member: &str) -> Self {
        Self {
            name: format!("{}{member}", prefix(lab)),
            weight: HOST,
        }
    }

    /// The cgroup of a recipe that fills the cache in that directory.
    pub(super) fn of_build(name: &str, cache: &Utf8Path) -> Self {
        let cache = cache.as_str().replace('/', "-");
        Self {
            name: format!("quorate-lab-build{cache}.{name}"),
            weight: BUILD,
        }
    }

    /// Every cgroup that any run of the lab of this name left.
    pub(super) fn left_by(lab: &LabName) -> Vec<Self> {
        let prefix = prefix(lab);
        let mut names: Vec<String> = hierarchies()
            .iter()
            .flat_map(|hierarchy| children(hierarchy))
            .filter_map(|path| path.file_name().map(str::to_owned))
            .filter(|name| name.starts_with(&prefix))
            .collect();
        names.sort();
        names.dedup();
        names
            .into_iter()
            .map(|name| Self { name, weight: HOST })
            .collect()
    }

    /// Makes it and moves a process into it.
    pub(super) fn join(&self, pid: u32) -> Result<(), LabError> {
        if is_unified() {
            delegate_controllers();
        }
        for hierarchy in hierarchies() {
            let path = hierarchy.join(&self.name);
            fs::create_dir_all(&path).map_err(LabError::file("create", &path))?;
            if hierarchy.file_name() == Some("cpuset") {
                inherit_cpuset(&hierarchy, &path)?;
            }
            self.weigh(&path);
            let procs = path.join("cgroup.procs");
            fs::write(&procs, pid.to_string()).map_err(LabError::file("join", &procs))?;
        }
        Ok(())
    }

    /// Only the hierarchy with the cpu controller has one of these files, and a kernel without it runs labs, too.
    fn weigh(&self, path: &Utf8Path) {
        for (file, of_one) in [("cpu.shares", 1024), ("cpu.weight", 100)] {
            let file = path.join(file);
            if file.exists() {
                let _ = fs::write(file, (self.weight * of_one).to_string());
            }
        }
    }

    /// Kills whatever runs in it, like a power cut, and removes it; returns how many processes there were.
    pub(super) fn destroy(&self) -> Result<usize, LabError> {
        let found = self.members().len();
        tool::wait_for(
            &format!("the end of all processes of {}", self.name),
            EMPTY_WITHIN,
            || {
                let members = self.members();
                if members.is_empty() {
                    return Ok(());
                }
                tool::succeeds("kill", &kill_arguments(&members));
                Err(format!("processes {}", members.join(" ")))
            },
        )?;
        tool::wait_for(
            &format!("the removal of cgroup {}", self.name),
            EMPTY_WITHIN,
            || self.remove(),
        )?;
        Ok(found)
    }

    fn members(&self) -> Vec<String> {
        let mut members: Vec<String> = hierarchies()
            .iter()
            .flat_map(|hierarchy| tree(&hierarchy.join(&self.name)))
            .filter_map(|path| fs::read_to_string(path.join("cgroup.procs")).ok())
            .flat_map(|procs| procs.lines().map(str::to_owned).collect::<Vec<_>>())
            .collect();
        // A process of another pid namespace reads as 0, which `kill` takes for one's own group.
        members.retain(|pid| pid != "0");
        members.sort();
        members.dedup();
        members
    }

    fn remove(&self) -> Result<(), String> {
        for hierarchy in hierarchies() {
            for path in tree(&hierarchy.join(&self.name))
                .iter()
                .rev()
                .filter(|path| path.exists())
            {
                fs::remove_dir(path).map_err(|error| error.to_string())?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Cgroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cgroup {}", self.name)
    }
}

fn prefix(lab: &LabName) -> String {
    format!("quorate-lab.{lab}.")
}

fn kill_arguments(members: &[String]) -> Vec<String> {
    std::iter::once("-KILL".to_owned())
        .chain(members.iter().cloned())
        .collect()
}

/// On cgroup v2 a child has only the controllers that its parent hands down. Each is asked for by itself, since not every
/// kernel has every one; systemd has handed down most already.
fn delegate_controllers() {
    for controller in ["cpu", "cpuset", "io", "memory", "pids", "hugetlb"] {
        let _ = fs::write(
            format!("{ROOT}/cgroup.subtree_control"),
            format!("+{controller}"),
        );
    }
}

/// On cgroup v1 each controller, `systemd` and `unified` is a hierarchy; on v2 there is one.
fn hierarchies() -> Vec<Utf8PathBuf> {
    if is_unified() {
        vec![Utf8PathBuf::from(ROOT)]
    } else {
        children(Utf8Path::new(ROOT))
    }
}

/// Directories directly below, symbolic links (`cpu` -> `cpu,cpuacct`) left out.
fn children(path: &Utf8Path) -> Vec<Utf8PathBuf> {
    path.read_dir_utf8()
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(camino::Utf8DirEntry::into_path)
        .collect()
}

/// A directory and all below it, parents first.
fn tree(path: &Utf8Path) -> Vec<Utf8PathBuf> {
    let mut found = if path.exists() {
        vec![path.to_owned()]
    } else {
        Vec::new()
    };
    found.extend(children(path).iter().flat_map(|child| tree(child)));
    found
}

/// A new v1 cpuset is empty, and nobody may join an empty one.
fn inherit_cpuset(parent: &Utf8Path, child: &Utf8Path) -> Result<(), LabError> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let value = fs::read_to_string(parent.join(file))
            .map_err(LabError::file("read", parent.join(file)))?;
        fs::write(child.join(file), value).map_err(LabError::file("write", child.join(file)))?;
    }
    let clone = child.join("cgroup.clone_children");
    fs::write(&clone, "1").map_err(LabError::file("write", &clone))
}
