#![expect(clippy::unwrap_used, reason = "tests")]

use std::net::Ipv4Addr;

use serde_json::Value;

use super::*;
use crate::host::facts::Interface;
use crate::host::probe::FileState;
use crate::template::example;
use crate::testing::{World, debian};

/// Addresses with their prefix lengths.
type Held<'a> = &'a [([u8; 4], u8)];

fn on(interfaces: &[(&str, Held<'_>)]) -> Machine {
    let interfaces = interfaces.iter().map(|(name, addresses)| Interface {
        name: (*name).to_owned(),
        mac: String::new(),
        addresses: addresses
            .iter()
            .map(|(address, prefix)| (Ipv4Addr::from(*address), *prefix))
            .collect(),
    });
    Machine {
        interfaces: interfaces.collect(),
        ..debian()
    }
}

#[test]
fn the_address_goes_to_the_interface_of_the_host() {
    let machine = on(&[
        ("lo", &[([127, 0, 0, 1], 8)]),
        ("ens3", &[([10, 1, 1, 100], 32), ([10, 1, 1, 11], 22)]),
        ("ens4", &[([192, 168, 0, 11], 24)]),
    ]);
    let mut world = World::new("lb1").reading(Readings::default().with_machine(machine));
    let of = |world: &World| {
        let variables = Variables::new(&world.cx());
        (variables.interface, variables.prefix)
    };
    assert_eq!(of(&world), ("ens3".to_owned(), 22));
    world.inventory.vip.interface = Some("ens4".to_owned());
    assert_eq!(of(&world), ("ens4".to_owned(), 32));
    world.inventory.vip.address = Ipv4Addr::new(192, 168, 0, 100);
    assert_eq!(of(&world), ("ens4".to_owned(), 24));
}

#[test]
fn what_was_not_read_takes_its_assumption() {
    let mut world = World::new("lb1");
    world.fleet = crate::action::Fleet::default();
    let variables = Variables::new(&world.cx());
    assert_eq!(variables.interface, "eth0");
    assert_eq!(variables.prefix, 24);
    assert!(!variables.lb_has_ca);
    assert_eq!(
        (variables.containerd.major, variables.containerd.minor),
        (2, 2)
    );
    assert!(variables.containerd.systemd_cgroup);
}

#[test]
fn the_ca_counts_when_it_is_there_or_foreseen() {
    let has = |world: &World| Variables::new(&world.cx()).lb_has_ca;
    let absent = World::new("lb1").reading(Readings::default().without_file(CA_FILE));
    assert!(!has(&absent));
    let state = FileState::regular("-----BEGIN CERTIFICATE-----");
    let present = World::new("lb1").reading(Readings::default().with_file(CA_FILE, state));
    assert!(has(&present));
    let mut foreseen = absent;
    foreseen.fleet.foresee("lb1", &[CA_FILE.into()]);
    assert!(has(&foreseen));
}

#[test]
fn containerd_is_configured_for_the_version_that_is_there() {
    for (version, kubernetes, expected) in [
        (Some("1.6.20~ds1-1+deb12u3"), "v1.36.2", (1, 6)),
        (Some("2.1.4-1"), "v1.20.2", (2, 1)),
        (None, "v1.20.2", (1, 7)),
        (None, "v1.36.2", (2, 2)),
    ] {
        let mut world = World::new("master1");
        if let Some(version) = version {
            world = world.reading(Readings::default().with_package("containerd", version));
        }
        world.inventory.kubernetes = kubernetes.parse().unwrap();
        let containerd = Variables::new(&world.cx()).containerd;
        assert_eq!((containerd.major, containerd.minor), expected);
    }
}

#[test]
fn priorities_are_distinct_and_none_owns_the_address() {
    let nodes: Vec<Node> = (0..12)
        .map(|index| Node {
            name: format!("lb{index}"),
            ..World::new("lb1").cx().node.clone()
        })
        .collect();
    let priorities: Vec<u8> = nodes.iter().map(|node| priority(&nodes, node)).collect();
    assert_eq!(priorities.get(..3).unwrap(), [110, 100, 90]);
    let mut distinct = priorities.clone();
    distinct.dedup();
    assert_eq!(priorities.get(..11), distinct.get(..11));
    assert!(
        priorities
            .iter()
            .all(|priority| (1..255).contains(priority))
    );
}

#[test]
fn a_master_more_changes_no_certificate() {
    let mut world = World::new("master1");
    let before = cert_sans(&world.inventory);
    world.inventory.nodes.retain(|node| node.name != "master3");
    assert_eq!(cert_sans(&world.inventory), before);
}

#[test]
fn pause_images_follow_the_version_and_the_repository() {
    let mut inventory = crate::testing::inventory();
    for (version, repository, image) in [
        ("v1.20.2", None, "k8s.gcr.io/pause:3.2"),
        ("v1.24.0", None, "k8s.gcr.io/pause:3.7"),
        ("v1.30.1", None, "registry.k8s.io/pause:3.9"),
        ("v1.36.2", None, "registry.k8s.io/pause:3.10.2"),
        (
            "v1.36.2",
            Some("10.77.0.1:5000"),
            "10.77.0.1:5000/pause:3.10.2",
        ),
    ] {
        inventory.kubernetes = version.parse().unwrap();
        inventory.images.repository = repository.map(str::to_owned);
        assert_eq!(pause_image(&inventory), image);
    }
}

#[test]
fn probes_what_the_role_needs_and_nothing_else() {
    let machine_and_ca = vec![Probe::Machine, Probe::File(CA_FILE.into())];
    assert_eq!(Variables::probes(&World::new("lb1").cx()), machine_and_ca);
    let mut world = World::new("worker1");
    let package = vec![Probe::Package("containerd".to_owned())];
    assert_eq!(Variables::probes(&world.cx()), package);
    world.inventory.containerd.package.clear();
    assert!(matches!(
        Variables::probes(&world.cx()).as_slice(),
        [Probe::Script(_)]
    ));
}

/// The example decides what templates may say: what it does not show would be refused, what it shows wrongly would fail late.
#[test]
fn the_example_knows_every_variable() {
    for host in ["lb1", "master1", "worker1"] {
        let real = serde_json::to_value(Variables::new(&World::new(host).cx())).unwrap();
        assert_known(&real, example::variables(), host);
    }
}

fn assert_known(real: &Value, example: &Value, path: &str) {
    match (real, example) {
        (Value::Object(real), Value::Object(example)) => {
            for (key, value) in real {
                let known = example.get("*").or_else(|| example.get(key));
                let path = format!("{path}.{key}");
                assert!(known.is_some(), "{path} is not in the example");
                assert_known(value, known.unwrap(), &path);
            }
        }
        (Value::Array(real), Value::Array(example)) => {
            for value in real {
                assert_known(value, example.first().unwrap(), path);
            }
        }
        _ => {}
    }
}
