//! Packages, as far as they bring units.

use super::machine::Machine;
use super::units::Unit;
use super::world::World;

/// An installed package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Its version.
    pub version: String,
    /// Whether it is held.
    pub held: bool,
    /// Whether dpkg has configured it.
    pub is_configured: bool,
    /// Whether dpkg has ever configured it: then it takes the place of another version.
    pub was_configured: bool,
}

/// What installing a package does to the service that it brings.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Starts {
    Never,
    /// It starts it.
    Once,
    /// It starts it, and anew when the package takes the place of another version.
    Anew,
}

/// Packages that bring a service.
const SERVICES: [(&str, &str, Starts); 5] = [
    ("etcd-server", "etcd", Starts::Anew),
    ("haproxy", "haproxy", Starts::Once),
    ("keepalived", "keepalived", Starts::Never),
    ("containerd", "containerd", Starts::Once),
    ("kubelet", "kubelet", Starts::Once),
];

impl Machine {
    /// Unpacks a package.
    pub(super) fn unpack(&mut self, name: &str, version: &str) {
        let package = self
            .packages
            .entry(name.to_owned())
            .or_insert_with(|| Package {
                version: String::new(),
                held: false,
                is_configured: false,
                was_configured: false,
            });
        version.clone_into(&mut package.version);
        package.is_configured = false;
    }

    /// What a package brings that may be started.
    fn services_of(name: &str) -> impl Iterator<Item = (&'static str, Starts)> {
        SERVICES
            .into_iter()
            .filter(move |(package, _, _)| *package == name)
            .map(|(_, unit, starts)| (unit, starts))
    }
}

impl World {
    /// Configures what was unpacked, as dpkg does in the end.
    pub(super) fn configure_packages(&mut self, host: &str) {
        let now = self.now;
        let machine = self.machine(host);
        machine.is_dpkg_interrupted = false;
        let unpacked: Vec<(String, bool)> = machine
            .packages
            .iter_mut()
            .filter(|(_, package)| !package.is_configured)
            .map(|(name, package)| {
                package.is_configured = true;
                let replaces = std::mem::replace(&mut package.was_configured, true);
                (name.clone(), replaces)
            })
            .collect();
        for (name, replaces) in &unpacked {
            for (unit, starts) in Machine::services_of(name) {
                let machine = self.machine(host);
                default_files(machine, unit, now);
                machine
                    .units
                    .entry(unit.to_owned())
                    .or_insert_with(|| Unit {
                        enabled: true,
                        ..Unit::default()
                    });
                let verb = match starts {
                    Starts::Never => continue,
                    Starts::Anew if *replaces => "restart",
                    Starts::Once | Starts::Anew => "start",
                };
                let _ = self.systemctl(host, verb, unit, now);
            }
        }
        self.settle();
    }

    /// Whether the host lists a repository with Kubernetes' packages.
    pub(super) fn lists_kubernetes(&mut self, host: &str) -> bool {
        let lists = |(path, file): (&String, &super::files::File)| {
            path.starts_with("/etc/apt/sources.list.d/")
                && String::from_utf8_lossy(&file.content).contains("/deb/")
        };
        self.machine(host).files.iter().any(lists)
    }
}

fn default_files(machine: &mut Machine, unit: &str, now: u64) {
    let path = match unit {
        "haproxy" => "/etc/haproxy/haproxy.cfg",
        "containerd" => "/etc/containerd/config.toml",
        _ => return,
    };
    if !machine.files.has(path) {
        machine.files.put(path, "# from the package\n", 0o644, now);
    }
}
