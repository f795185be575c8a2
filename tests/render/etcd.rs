//! etcd as a cluster of its own: its configuration, its unit, and what kubeadm hears of it.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use quorate::host::probe::{FileState, Readings};
use quorate::inventory::Role;
use serde_json::{Value, json};

use crate::support::Cluster;

const SAMPLE: &str = "inventory/external-etcd.yaml";

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

#[test]
fn every_member_names_every_peer() {
    let cluster = Cluster::load(SAMPLE);
    for member in cluster.hosts(Role::Etcd) {
        let config = yaml(&cluster.render("etcd/etcd.yaml", &member.name));
        assert_eq!(config["name"], member.name);
        assert_eq!(
            config["initial-cluster"],
            "etcd1=https://10.2.2.21:2380,etcd2=https://10.2.2.22:2380,etcd3=https://10.2.2.23:2380"
        );
        let peer = format!("https://{}:2380", member.etcd.unwrap().peer_address);
        assert_eq!(config["listen-peer-urls"], peer);
        assert_eq!(config["initial-advertise-peer-urls"], peer);
        let client = format!("https://{}:2379", member.address);
        assert_eq!(config["advertise-client-urls"], client);
        assert_eq!(
            config["listen-client-urls"],
            format!("https://127.0.0.1:2379,{client}")
        );
        assert_eq!(config["initial-cluster-state"], "new");
        assert_eq!(config["peer-transport-security"]["client-cert-auth"], true);
    }
}

#[test]
fn settings_are_of_the_types_that_etcd_reads() {
    let config = yaml(&Cluster::load(SAMPLE).render("etcd/etcd.yaml", "etcd1"));
    assert_eq!(config["quota-backend-bytes"], json!(4_u64 << 30));
    assert_eq!(config["snapshot-count"], json!(10000));
    assert_eq!(config["auto-compaction-mode"], "periodic");
    assert_eq!(config["auto-compaction-retention"], "8h");
    assert_eq!(config["heartbeat-interval"], json!(250));
    assert_eq!(config["data-dir"], "/data/etcd");
}

#[test]
fn a_member_that_was_added_says_so() {
    let mut cluster = Cluster::load(SAMPLE);
    let added = Readings::default().with_file(
        "/etc/etcd/membership",
        FileState::regular("existing\na=https://10.2.2.21:2380,b=https://10.2.2.22:2380\n"),
    );
    cluster.fleet.update("etcd2", added);
    let state =
        |host: &str| yaml(&cluster.render("etcd/etcd.yaml", host))["initial-cluster-state"].clone();
    assert_eq!(state("etcd2"), "existing");
    assert_eq!(state("etcd1"), "new");
}

#[test]
fn a_unit_starts_no_member_but_one_with_data_or_one_that_is_begun() {
    let unit = Cluster::load(SAMPLE).render("etcd/etcd.service", "etcd1");
    let conditions: Vec<&str> = unit
        .lines()
        .filter_map(|line| line.strip_prefix("ConditionPathExists="))
        .collect();
    let any_of = [
        "|/etc/etcd/founding",
        "|/etc/etcd/joining",
        "|/data/etcd/member",
    ];
    assert_eq!(conditions, [&["/etc/etcd/etcd.yaml"], &any_of[..]].concat());
}

#[test]
fn kubeadm_hears_of_the_clients_urls_in_every_api() {
    for version in ["v1.20.2", "v1.30.4", "v1.36.2"] {
        let cluster = Cluster::at_version(SAMPLE, version);
        let text = cluster.render("kubeadm/cluster.yaml", "master1");
        let etcd = &yaml(text.split("\n---\n").next().unwrap())["etcd"];
        assert_eq!(
            *etcd,
            json!({ "external": {
                "endpoints": ["https://10.1.1.21:2379", "https://10.1.1.22:2379", "https://10.1.1.23:2379"],
                "caFile": "/etc/kubernetes/quorate/etcd/ca.crt",
                "certFile": "/etc/kubernetes/quorate/etcd/client.crt",
                "keyFile": "/etc/kubernetes/quorate/etcd/client.key",
            }})
        );
    }
}

/// Runs the watch for ten looks with programs that answer as told. What it asked of systemd, each a line.
fn watched(has_leader: &str, other: &str, is_active: bool) -> String {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs_err::write(&path, text).unwrap();
        fs_err::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    };
    put(
        "watch",
        &Cluster::load(SAMPLE).render("etcd/etcd-watch", "etcd2"),
    );
    put(
        "curl",
        &format!(
            "#!/bin/sh\ncase \"$*\" in\n*/metrics) echo 'etcd_server_has_leader {has_leader}' ;;\n\
             *21:2379/health) exit 7 ;;\n*23:2379/health) echo '{{\"health\":\"{other}\"}}' ;;\n*) exit 2 ;;\nesac\n"
        ),
    );
    put(
        "systemctl",
        &format!(
            "#!/bin/sh\ncd {}\n[ \"$1\" != is-active ] || exit {}\necho \"$*\" >>asked\n",
            folder.path().display(),
            i32::from(!is_active) * 3
        ),
    );
    put(
        "sleep",
        &format!(
            "#!/bin/sh\ncd {}\necho >>looks\n[ \"$(wc -l <looks)\" -le 10 ]\n",
            folder.path().display()
        ),
    );
    let path = format!(
        "{}:{}",
        folder.path().display(),
        std::env::var("PATH").unwrap()
    );
    let status = Command::new(folder.path().join("watch"))
        .env("PATH", path)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "the looks end, and so does it: {status}");
    fs_err::read_to_string(folder.path().join("asked")).unwrap_or_default()
}

#[test]
fn a_member_steps_aside_only_when_another_one_is_healthy() {
    let anew = "try-restart --no-block etcd\n";
    assert_eq!(watched("0", "true", true), anew.repeat(3));
    for (has_leader, other, is_active) in [
        ("1", "true", true),
        ("0", "false", true),
        ("0", "true", false),
    ] {
        assert_eq!(watched(has_leader, other, is_active), "");
    }
}
