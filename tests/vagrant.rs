//! `vagrant/Vagrantfile` boots what quorate's inventories say: Debian's own vagrant accepts it for both providers, and
//! it reads names and addresses as quorate does.

#![expect(
    clippy::format_collect,
    reason = "a test that meets something else may panic, and says it shortly"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use camino::{Utf8Path, Utf8PathBuf};
use quorate::inventory::{Inventory, Role};
use tempfile::TempDir;

const INSTALL: &str =
    "run `make tools`, or `apt-get install vagrant vagrant-libvirt`: this test is never skipped";

const RANGES: &str = "\
cluster: { name: ranges, kubernetes: v1.36.2 }
vip: { address: 10.1.1.100 }
ssh: { user: ops, config: false }
lb: { lb1: 10.1.1.11, lb2: 10.1.1.12 }
masters:
  master1: { address: 10.1.1.101, weight: 50 }
  master[2-3]: 10.1.1.[102-103]
workers:
  worker1: { address: 10.1.1.201, labels: { disk: ssd }, taints: [], tags: [rack1] }
  worker[02-20]: 10.1.1.[202-220]
";

fn top() -> Utf8PathBuf {
    Utf8PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Sample inventories of the repository and, last, one with every form that a host can have.
fn inventories(scratch: &TempDir) -> Vec<Utf8PathBuf> {
    let ranges = Utf8Path::from_path(scratch.path())
        .expect("a UTF-8 path")
        .join("ranges.yaml");
    fs::write(&ranges, RANGES).expect("written");
    let samples = top().join("inventory").read_dir_utf8().expect("samples");
    samples
        .map(|entry| entry.expect("an entry").into_path())
        .filter(|path| path.extension() == Some("yaml"))
        .chain([ranges])
        .collect()
}

/// vagrant with its own home, so that nothing of the person's is read or written. VirtualBox itself is in no Debian
/// release: its place is taken by a program that only tells a version, which is all that validating asks of it.
fn vagrant(scratch: &TempDir, provider: &str, inventory: &Utf8Path) -> Command {
    let bin = scratch.path().join("bin");
    fs::create_dir_all(&bin).expect("a directory");
    let stub = bin.join("VBoxManage");
    fs::write(&stub, "#!/bin/sh\necho 6.1.50r161033\n").expect("written");
    fs::set_permissions(&stub, fs::Permissions::from_mode(0o755)).expect("executable");
    let path = std::env::var("PATH").expect("PATH is set");
    let mut vagrant = Command::new("vagrant");
    vagrant
        .current_dir(top().join("vagrant"))
        .env("PATH", format!("{}:{path}", bin.display()))
        .env("VAGRANT_HOME", scratch.path().join("home"))
        .env("VAGRANT_DOTFILE_PATH", scratch.path().join("dot"))
        .env("VAGRANT_DEFAULT_PROVIDER", provider)
        .env("QUORATE_INVENTORY", inventory);
    vagrant
}

#[test]
fn vagrant_accepts_the_vagrantfile_for_both_providers() {
    let scratch = tempfile::tempdir().expect("a directory");
    let ranges = inventories(&scratch).pop().expect("the one with ranges");
    for provider in ["libvirt", "virtualbox"] {
        let output = vagrant(&scratch, provider, &ranges)
            .arg("validate")
            .output()
            .unwrap_or_else(|error| panic!("vagrant did not start ({error}); {INSTALL}"));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "`vagrant validate` refused it for {provider}: {said}\n({INSTALL})"
        );
    }
}

#[test]
fn the_vagrantfile_reads_names_and_addresses_as_quorate_does() {
    let scratch = tempfile::tempdir().expect("a directory");
    for path in inventories(&scratch) {
        let inventory = Inventory::load(&path).expect("a good inventory").inventory;
        let ours: String = inventory
            .nodes
            .iter()
            .map(|node| format!("{} {} {}\n", section(node.role), node.name, node.address))
            .collect();
        let script =
            "Inventory.new(ARGV[0]).hosts.each { |h| puts \"#{h.role} #{h.name} #{h.address}\" }";
        let output = Command::new("ruby")
            .current_dir(top().join("vagrant"))
            .args(["-r", "./inventory.rb", "-e", script, path.as_str()])
            .output()
            .unwrap_or_else(|error| panic!("ruby did not start ({error}); {INSTALL}"));
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            ours,
            "{path}: {said}"
        );
    }
}

#[test]
fn the_inventory_that_vagrant_writes_is_one_that_quorate_takes() {
    let scratch = tempfile::tempdir().expect("a directory");
    let key = scratch.path().join("id_ed25519");
    fs::write(&key, "a key").expect("written");
    for path in inventories(&scratch) {
        let script =
            "puts Inventory.new(ARGV[0]).with_ssh('user' => 'ops', 'identity-file' => ARGV[1])";
        let output = Command::new("ruby")
            .current_dir(top().join("vagrant"))
            .args(["-r", "./inventory.rb", "-e", script, path.as_str()])
            .arg(&key)
            .output()
            .unwrap_or_else(|error| panic!("ruby did not start ({error}); {INSTALL}"));
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        let written = Utf8Path::from_path(scratch.path())
            .expect("a UTF-8 path")
            .join("inventory.yaml");
        let loaded = Inventory::from_text(&written, &text);
        assert!(loaded.is_ok(), "{path}: {:?}", loaded.err());
    }
}

fn section(role: Role) -> &'static str {
    match role {
        Role::LoadBalancer => "lb",
        Role::Etcd => "etcd",
        Role::Master => "masters",
        Role::Worker => "workers",
    }
}
