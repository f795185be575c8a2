//! A world that begins as real hosts were read.
//!
//! What was read is taken over as it was: files, packages, units, sysctls, the machine itself, etcd's members, Nodes, pods.
//! Where only a trace was read (a key is there, a manifest is) a file takes its place that says no more than that. Nothing
//! is invented beside: what was not read is not there.

use std::collections::BTreeSet;

use serde_json::Value;

use super::etcd::{Cluster, DATA, Data, Member, data_text};
use super::external_etcd::data_path;
use super::kubeadm::{MANIFESTS, QUORATE};
use super::machine::Machine;
use super::packages::Package;
use super::pods::{Pod, node_path};
use super::units::Unit;
use super::world::{BEGINNING, World};
use crate::cluster::ca::SHARED_PKI;
use crate::cluster::etcd::{Members, View};
use crate::cluster::etcd_member;
use crate::cluster::report::{Answer, Has, Report};
use crate::host::command::{Script, Status};
use crate::host::facts::Machine as Facts;
use crate::host::probe::{FileContent, FileReading, FileState, Readings, ScriptReading};
use crate::inventory::Inventory;
use crate::inventory::etcd::EtcdVersion;
use crate::inventory::version::KubeVersion;

const PKI: &str = "/etc/kubernetes/pki";
const SHARED_CA: &str = "/etc/kubernetes/pki/ca.crt";

/// Since when runs what ran when it was read: an hour.
const SINCE: u64 = BEGINNING - 3_600_000_000;

/// What a thing that is there is made of, as far as the model looks at it.
const TRACES: [(Has, &[&str]); 9] = [
    (
        Has::BootstrapConf,
        &["/etc/kubernetes/bootstrap-kubelet.conf"],
    ),
    (Has::AdminConf, &["/etc/kubernetes/admin.conf"]),
    (
        Has::KubeletConf,
        &[
            "/etc/kubernetes/kubelet.conf",
            "/var/lib/kubelet/config.yaml",
        ],
    ),
    (Has::ApiserverCert, &["/etc/kubernetes/pki/apiserver.crt"]),
    (
        Has::ApiserverManifest,
        &[
            "/etc/kubernetes/manifests/kube-apiserver.yaml",
            "/etc/kubernetes/pki/apiserver-kubelet-client.key",
        ],
    ),
    (
        Has::EtcdManifest,
        &[
            "/etc/kubernetes/manifests/etcd.yaml",
            "/etc/kubernetes/pki/etcd/healthcheck-client.crt",
        ],
    ),
    (Has::EtcdData, &[DATA]),
    (Has::Founding, &["/etc/kubernetes/quorate/founding"]),
    (Has::Joining, &["/etc/kubernetes/quorate/joining"]),
];

impl World {
    /// Machines as these readings show them; one without readings is down.
    #[must_use]
    pub fn like<'a>(
        inventory: &Inventory,
        readings_of: impl Fn(&str) -> Option<&'a Readings>,
    ) -> Self {
        let mut world = Self::new(inventory);
        let nodes = || inventory.nodes.iter();
        for node in nodes() {
            match readings_of(&node.name) {
                Some(readings) => world.take_over(&node.name, readings),
                None => world.machine(&node.name).is_on = false,
            }
        }
        // Members first, wherever the inventory has them: what masters say is kept in their etcd.
        let read = || nodes().filter_map(|node| Some((&node.name, readings_of(&node.name)?)));
        let scripts = || read().flat_map(|(host, it)| it.scripts.iter().map(move |it| (host, it)));
        let is_of_member =
            |(_, (script, _)): &(&String, (&Script, &ScriptReading))| script.name == "etcd-report";
        let (of_members, others): (Vec<_>, Vec<_>) = scripts().partition(is_of_member);
        for (host, (script, reading)) in of_members.into_iter().chain(others) {
            world.take_script(host, script, reading);
        }
        let has = |path: &str| world.machines.values().any(|it| it.files.has(path));
        let authorities = [SHARED_CA, etcd_member::CA];
        world.cas = authorities.into_iter().filter(|path| has(path)).count();
        world.settle();
        world
    }

    fn take_over(&mut self, host: &str, readings: &Readings) {
        let vip = self.vip;
        let machine = self.machine(host);
        let clock = readings
            .machine
            .as_ref()
            .map_or(BEGINNING, |it| it.clock_us);
        machine.files.forget();
        for (path, reading) in &readings.files {
            machine.take_file(path, reading, clock);
        }
        machine.packages = packages(readings);
        machine.units = units(readings, clock);
        for (name, value) in &readings.sysctls {
            match value {
                Some(value) => machine.sysctls.insert(name.clone(), value.clone()),
                None => machine.sysctls.remove(name),
            };
        }
        if let Some(facts) = &readings.machine {
            machine.take_facts(facts);
            machine.holds_vip = facts.holds(vip);
        }
    }

    fn take_script(&mut self, host: &str, script: &Script, reading: &ScriptReading) {
        let machine = self.machine(host);
        let text = reading.stdout.as_str();
        match script.name {
            "etcd-report" => self.take_seat(host, &Report::parse(text)),
            "kubernetes-report" => self.take_report(host, &Report::parse(text)),
            "kubernetes-release" => self.take_release(host, text),
            "kubernetes-api-read" => self.take_objects(script.argument(1), &Answer::of(text)),
            "system-user" if reading.status == Status::Code(0) => {
                machine.users.insert(script.argument(0).to_owned());
            }
            "kubernetes-repository-listings" | "registry-files" => {
                text.lines().for_each(|path| machine.leave(path, ""));
            }
            "release-images-missing" if text.trim().is_empty() => {
                machine.leave(&super::release::images_of(script.argument(0)), "");
            }
            "preflight" => {
                let endpoint = text.lines().find_map(|line| line.strip_prefix("endpoint "));
                for path in endpoint.map_or(&[] as &[&str], |_| &["admin.conf", "kubelet.conf"]) {
                    let path = format!("/etc/kubernetes/{path}");
                    let conf = format!("server: {}\n", endpoint.unwrap_or_default());
                    machine.remember(&path, &conf);
                }
            }
            _ => {}
        }
    }

    /// A member of an etcd of its own, which runs if it answers.
    fn take_seat(&mut self, host: &str, report: &Report) {
        let view = View::of(report);
        let data = view.as_ref().map(|view| self.data_of(view));
        let machine = self.machine(host);
        if report.has(Has::EtcdData) {
            let content = data.map(data_text);
            machine.leave(&data_path(machine), &content.unwrap_or_default());
        }
        machine.take_curl(report);
        if let Some(view) = view {
            let pod = Pod {
                serves: true,
                version: EtcdVersion::find(&view.version),
                ..Pod::starting(SINCE, data)
            };
            machine.pods.insert(etcd_member::UNIT.to_owned(), pod);
        }
    }

    fn take_report(&mut self, host: &str, report: &Report) {
        let view = View::of(report);
        let data = view.as_ref().map(|view| self.data_of(view));
        let machine = self.machine(host);
        for (has, paths) in TRACES.iter().filter(|(has, _)| report.has(*has)) {
            let content = match (has, data) {
                (Has::EtcdData, Some(data)) => data_text(data),
                _ => String::new(),
            };
            paths.iter().for_each(|path| machine.leave(path, &content));
        }
        if report.has(Has::CaKey) {
            for name in SHARED_PKI {
                machine.leave(&format!("{PKI}/{name}"), "not read\n");
            }
        }
        machine.take_curl(report);
        if data.is_some() {
            let pod = Pod {
                serves: true,
                ..Pod::starting(SINCE, data)
            };
            machine.pods.insert("etcd".to_owned(), pod);
        }
        if report.readyz.is_ok() {
            let pod = Pod::starting(SINCE, None);
            machine.pods.insert("kube-apiserver".to_owned(), pod);
        }
        if report.node.is_ok() {
            machine.leave("/var/lib/kubelet/pki/kubelet-client-current.pem", "");
            machine.is_registered = true;
            self.take_objects(&node_path(host), &report.node);
        }
    }

    /// What lies in the data directory of a member that answers. Its cluster is taken over with everything that it says of it.
    fn data_of(&mut self, view: &View) -> Data {
        (self.cluster_of(view), view.member_id.0)
    }

    fn cluster_of(&mut self, view: &View) -> usize {
        let id = view.cluster_id.0;
        if let Some(known) = self.etcd.iter().position(|cluster| cluster.id == id) {
            return known;
        }
        let members = members(&view.members);
        self.etcd.push(Cluster {
            id,
            started: members.iter().map(|member| member.id).collect(),
            members,
            token: None,
            revision: view.revision,
            leader: view.leader.map(|leader| leader.0),
            objects: std::collections::BTreeMap::new(),
        });
        self.etcd.len() - 1
    }

    fn take_release(&mut self, host: &str, text: &str) {
        for line in text.lines() {
            let (key, value) = line.split_once(' ').unwrap_or((line, ""));
            let machine = self.machine(host);
            match (key, value.split_once(' ')) {
                ("manifest", Some((component, image))) => {
                    let path = format!("{MANIFESTS}/{component}.yaml");
                    machine.remember(
                        &path,
                        &format!("kind: Pod # {component}\n    image: {image}\n"),
                    );
                }
                ("upgrading" | "upgraded", _) => {
                    machine.leave(&format!("{QUORATE}/{key}"), &format!("{value}\n"));
                }
                ("leftover", _) => machine.leave(value, ""),
                ("pods", _) => self.take_objects("", &Answer::of(value)),
                _ => {}
            }
        }
    }

    /// Takes over an object, or those of a list.
    fn take_objects(&mut self, path: &str, answer: &Answer) {
        let Some(object) = answer
            .body()
            .and_then(|body| serde_json::from_str::<Value>(body).ok())
        else {
            return;
        };
        let Some(cluster) = self.etcd.first_mut() else {
            return;
        };
        let Some(items) = object.get("items").and_then(Value::as_array) else {
            cluster.objects.insert(path.to_owned(), object);
            return;
        };
        for item in items {
            let text = |pointer: &str| item.pointer(pointer).and_then(Value::as_str);
            let name = text("/metadata/name").unwrap_or_default();
            let is_mirror = item
                .pointer("/metadata/annotations/kubernetes.io~1config.mirror")
                .is_some();
            let place = match text("/metadata/namespace") {
                Some(space) if path.is_empty() => format!("/api/v1/namespaces/{space}/pods/{name}"),
                _ => format!("{}/{name}", path.split('?').next().unwrap_or_default()),
            };
            // The model makes those itself, of the manifests.
            if !is_mirror {
                cluster.objects.insert(place, item.clone());
            }
        }
    }
}

fn members(members: &Members) -> Vec<Member> {
    let member = |member: &crate::cluster::etcd::Member| Member {
        id: member.id.0,
        name: member.name.clone(),
        peer_url: member.peer_urls.first().cloned().unwrap_or_default(),
        is_learner: member.is_learner,
    };
    members.0.iter().map(member).collect()
}

fn installed(version: String, held: bool) -> Package {
    Package {
        version,
        held,
        is_configured: true,
        was_configured: true,
    }
}

fn packages(readings: &Readings) -> std::collections::BTreeMap<String, Package> {
    let package = |(name, reading): (&String, &crate::host::probe::PackageReading)| {
        let version = reading.version.clone()?;
        Some((name.clone(), installed(version, reading.held)))
    };
    readings.packages.iter().filter_map(package).collect()
}

/// The same moment in a world that begins now.
fn moved(us: u64, clock: u64) -> u64 {
    (us + BEGINNING).saturating_sub(clock)
}

fn units(readings: &Readings, clock: u64) -> std::collections::BTreeMap<String, Unit> {
    let mut units = std::collections::BTreeMap::new();
    for (name, reading) in readings.units.iter().filter(|(_, unit)| unit.exists) {
        let unit = Unit {
            // A kubelet that waits for its configuration runs, again and again.
            active: reading.active || reading.state.contains("auto-restart"),
            enabled: reading.enabled,
            changed_us: moved(reading.changed_us, clock),
            starts: 1,
        };
        units.insert(super::units::short(name).to_owned(), unit);
    }
    units
}

impl Machine {
    fn take_curl(&mut self, report: &Report) {
        if !report.has(Has::NoCurl) {
            let curl = self.packages.entry("curl".to_owned());
            curl.or_insert_with(|| installed(String::new(), false));
        }
    }

    fn take_file(&mut self, path: &str, reading: &FileReading, clock: u64) {
        let Some(state) = reading.present() else {
            return;
        };
        let FileState { owner, group, .. } = state;
        let (content, digest) = match &state.content {
            FileContent::Bytes(bytes) => (bytes.to_vec(), None),
            // A member's host gives it to another one.
            FileContent::Sha256(digest) if path == etcd_member::CA_KEY => {
                (b"not read\n".to_vec(), Some(digest))
            }
            FileContent::Sha256(digest) => (Vec::new(), Some(digest)),
            FileContent::Directory | FileContent::Other => {
                self.files.make_directory(path);
                return;
            }
        };
        let file = super::files::File {
            content,
            mode: state.mode,
            owner: format!("{owner}:{group}"),
            modified_us: moved(state.modified_us, clock),
        };
        self.files.insert(path, file);
        if let Some(digest) = digest {
            self.files.only_digest(path, digest.clone(), state.size);
        }
    }

    fn take_facts(&mut self, facts: &Facts) {
        self.machine_id.clone_from(&facts.machine_id);
        self.swap = facts.swap;
        if facts.swap > 0 {
            self.remember("/etc/fstab", "/dev/vda2 none swap sw 0 0\n");
        }
        self.modules = facts.modules.iter().cloned().collect::<BTreeSet<_>>();
        self.kubelet = self
            .packages
            .get("kubelet")
            .and_then(|package| KubeVersion::find(&package.version));
        self.facts = Some(facts.clone());
    }

    /// A file of which nothing else was read.
    fn leave(&mut self, path: &str, content: &str) {
        if !path.is_empty() && !self.files.has(path) {
            self.files.put(path, content, 0o600, BEGINNING);
        }
    }

    /// A file of which more was read than that it is there.
    fn remember(&mut self, path: &str, content: &str) {
        if self.files.text(path).is_none_or(str::is_empty) {
            self.files.put(path, content, 0o600, BEGINNING);
        }
    }
}
