//! Which release a machine runs, and the images that it has.

use serde_json::json;

use super::jobs::{End, Step, Work};
use super::kubeadm::{MANIFESTS, QUORATE, value_of};
use super::machine::Machine;
use super::report::answer;
use super::world::World;
use crate::cluster::release::COMPONENTS;

const IMAGES: &str = "/var/lib/containerd/images";

/// What stands for the images of a release.
pub(super) fn images_of(release: &str) -> String {
    format!("{IMAGES}/{release}")
}

/// The steps of the job that pulls images.
pub(super) fn job_steps(script: &str) -> Option<Vec<Step>> {
    (script == "release-images-pull").then(|| vec![pull as Step])
}

fn pull(world: &mut World, work: &Work) -> End {
    let release = work.arguments.first().cloned().unwrap_or_default();
    world.put(work, &images_of(&release), "", 0o644);
    End::Done
}

pub(super) fn images_missing(machine: &Machine, release: &str) -> String {
    if machine.files.has(&images_of(release)) {
        return String::new();
    }
    format!("registry.k8s.io/kube-proxy:{release}\n")
}

pub(super) fn release(world: &mut World, host: &str) -> String {
    let machine = world.machine(host).clone();
    let mut lines = Vec::new();
    for name in ["upgrading", "upgraded"] {
        if let Some(text) = machine.files.text(&format!("{QUORATE}/{name}")) {
            lines.push(format!("{name} {}", text.trim()));
        }
    }
    for component in COMPONENTS.iter().chain(&["etcd"]) {
        if let Some(image) = image(&machine, component) {
            lines.push(format!("manifest {component} {image}"));
        }
    }
    lines.extend(
        machine
            .files
            .iter()
            .filter(|(path, _)| path.starts_with("/etc/kubernetes/tmp/"))
            .map(|(path, _)| format!("leftover {path}")),
    );
    if world.serves(&machine) {
        let tag = image(&machine, "kube-apiserver").unwrap_or_default();
        let tag = tag.rsplit(':').next().unwrap_or_default().to_owned();
        lines.push(format!("version 200 {}", json!({ "gitVersion": tag })));
    }
    if let Some(cluster) = world.store_seen_by(&machine) {
        let path = format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{host}");
        lines.push(format!(
            "pods {}",
            answer(world.ask(cluster, "GET", &path, None))
        ));
    }
    lines.join("\n") + "\n"
}

pub(super) fn image(machine: &Machine, component: &str) -> Option<String> {
    value_of(
        machine
            .files
            .text(&format!("{MANIFESTS}/{component}.yaml"))?,
        "image:",
    )
}
