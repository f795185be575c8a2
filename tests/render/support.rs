//! Inventories and the rendering of their hosts, offline.

use std::process::{Command, Output};

use camino::{Utf8Path, Utf8PathBuf};
use quorate::action::{Context, Fleet};
use quorate::inventory::{Inventory, Node, Role};
use quorate::template::Templates;
use serde_json::{Value, json};

/// The inventories that are rendered: the samples that people start from, and one with every setting.
pub const SAMPLES: [&str; 5] = [
    "inventory/minimal.yaml",
    "inventory/ha.yaml",
    "inventory/external-etcd.yaml",
    "inventory/lab.yaml",
    "tests/render/full.yaml",
];

/// A cluster with its templates.
pub struct Cluster {
    pub inventory: Inventory,
    pub templates: Templates,
    pub fleet: Fleet,
}

impl Cluster {
    pub fn load(path: &str) -> Self {
        let path = repository().join(path);
        Self::from_text(&path, &std::fs::read_to_string(&path).unwrap())
    }

    /// A sample for another version of Kubernetes.
    pub fn at_version(path: &str, version: &str) -> Self {
        let path = repository().join(path);
        let text = std::fs::read_to_string(&path).unwrap();
        let (_, rest) = text.split_once("kubernetes: ").unwrap();
        let old = rest.split_whitespace().next().unwrap();
        Self::from_text(&path, &text.replacen(old, version, 1))
    }

    pub fn from_text(path: &Utf8Path, text: &str) -> Self {
        let loaded = Inventory::from_text(path, text).map_err(|error| error.to_string());
        Self {
            inventory: loaded.unwrap().inventory,
            templates: Templates::load(None).unwrap(),
            fleet: Fleet::default(),
        }
    }

    /// As after a host has got the cluster's CA.
    pub fn with_ca(mut self, host: &str) -> Self {
        let path = Utf8PathBuf::from("/etc/haproxy/kubernetes-ca.crt");
        self.fleet.foresee(host, &[path]);
        self
    }

    pub fn cx(&self, host: &str) -> Context<'_> {
        Context {
            inventory: &self.inventory,
            node: self.inventory.node(host).unwrap(),
            templates: &self.templates,
            fleet: &self.fleet,
        }
    }

    pub fn hosts(&self, role: Role) -> Vec<&Node> {
        self.inventory.with_role(role).collect()
    }

    /// Renders with whatever extra values the template wants.
    pub fn render(&self, template: &str, host: &str) -> String {
        self.render_with(template, host, extra(template))
    }

    pub fn render_with(&self, template: &str, host: &str, extra: Value) -> String {
        self.templates
            .render_with(template, &self.cx(host), extra)
            .unwrap_or_else(|error| panic!("{template} for {host}: {error}"))
    }
}

/// Values of the right form, none of them a real secret.
fn extra(template: &str) -> Value {
    match template {
        "kubeadm/init.yaml" => json!({
            "token": "abcdef.0123456789abcdef",
            "certificate_key": "00".repeat(32),
        }),
        "kubeadm/join.yaml" => json!({
            "token": "abcdef.0123456789abcdef",
            "certificate_key": "00".repeat(32),
            "ca_cert_hash": format!("sha256:{}", "11".repeat(32)),
            "api_endpoint": "10.1.1.100:6443",
        }),
        "cni/bridge.conflist" => json!({ "pod_cidr": "10.244.1.0/24" }),
        _ => json!({}),
    }
}

pub fn repository() -> &'static Utf8Path {
    Utf8Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A fresh directory below the target directory, which only root may write when root runs the tests.
pub fn scratch(name: &str) -> Utf8PathBuf {
    let path = Utf8Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("render")
        .join(name);
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// Runs a program that must be installed.
pub fn run(program: &str, package: &str, command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| {
        panic!("`{program}` cannot be run ({error}): install it with `apt-get install {package}`")
    })
}

pub fn said(output: &Output) -> String {
    format!(
        "{}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
