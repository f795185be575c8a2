//! Which paths are asked for, and what is said of ports, addresses and the virtual IP.

#![expect(clippy::indexing_slicing, reason = "tests")]
use super::*;
use crate::host::facts::Listener;
use crate::inventory::etcd::EtcdSeat;
use crate::operation::fixture::{Site, checks};

#[test]
fn each_role_tries_the_paths_that_the_cluster_uses() {
    let mut site = Site::new();
    let of = |site: &Site, host: &str| {
        targets(&site.inventory, site.inventory.node(host).expect("a host")).join(" ")
    };
    assert_eq!(
        of(&site, "lb1"),
        "master1,10.1.1.101,6443 master2,10.1.1.102,6443 master3,10.1.1.103,6443"
    );
    assert_eq!(
        of(&site, "master3"),
        "lb1,10.1.1.11,6443 lb2,10.1.1.12,6443 master1,10.1.1.101,2379,2380,6443,10250 \
         master2,10.1.1.102,2379,2380,6443,10250 worker1,10.1.1.201,10250"
    );
    site.inventory.vip.managed = false;
    assert_eq!(
        of(&site, "worker1"),
        "lb1,10.1.1.11,6443 lb2,10.1.1.12,6443 virtual-ip,10.1.1.100,6443"
    );
}

#[test]
fn members_of_an_external_etcd_are_reached_by_their_two_addresses() {
    let path = "inventory/external-etcd.yaml";
    let inventory = Inventory::load(path.into()).expect("a sample").inventory;
    let of = |host: &str| targets(&inventory, inventory.node(host).expect("a host")).join(" ");
    assert_eq!(
        of("etcd1"),
        "etcd2,10.1.1.22,2379 etcd2,10.2.2.22,2380 etcd3,10.1.1.23,2379 etcd3,10.2.2.23,2380"
    );
    assert_eq!(
        of("master1"),
        "lb1,10.1.1.11,6443 lb2,10.1.1.12,6443 etcd1,10.1.1.21,2379 etcd2,10.1.1.22,2379 \
         etcd3,10.1.1.23,2379 master2,10.1.1.102,6443,10250 worker1,10.1.1.201,10250"
    );
    assert_eq!(of("worker1"), "lb1,10.1.1.11,6443 lb2,10.1.1.12,6443");
    let etcd: Vec<String> = openings(&inventory)
        .iter()
        .filter(|opening| opening.to == "etcd1")
        .map(|it| format!("{} {:?} from {}", it.address, it.ports, it.from.join(" ")))
        .collect();
    assert_eq!(
        etcd,
        [
            "10.1.1.21 [2379] from etcd2 etcd3 master1 master2",
            "10.2.2.21 [2380] from etcd2 etcd3"
        ]
    );
}

#[test]
fn a_blocked_path_is_refused_and_an_untried_one_noted() {
    let mut site = Site::new();
    site.script(
        "master1",
        "joined no\nreach master2 2380 blocked\nreach master2 2379 blocked\nreach lb1 6443 closed\n",
    );
    site.script("worker1", "joined no\nreach lb1 6443 unknown\n");
    let verdict = site.judge();
    assert_eq!(checks(&verdict.refusals), ["reachability"]);
    assert_eq!(
        verdict.refusals[0].what,
        "master2 does not answer on 2379, 2380"
    );
    assert_eq!(verdict.warnings[0].host, "worker1");
}

/// Host, port, process, whether it is at work already, whether that is refused.
#[test]
fn a_port_may_be_held_by_its_own_program_only() {
    for (host, port, process, joined, refused) in [
        ("lb1", 6443, "haproxy", false, false),
        ("lb1", 6443, "nginx", false, true),
        ("lb1", 2379, "etcd", false, false),
        ("master1", 2379, "etcd", false, false),
        ("master1", 2379, "", false, true),
        ("master1", 2379, "", true, false),
        ("master1", 2379, "postgres", true, true),
        ("master1", 10257, "kube-controller", true, false),
        ("master1", 10257, "kube", true, true),
        ("worker1", 10250, "kubelet", true, false),
        ("worker1", 6443, "nginx", false, false),
    ] {
        let mut site = Site::new();
        site.machine(host).listeners = vec![Listener {
            port,
            process: process.to_owned(),
        }];
        site.script(
            host,
            if joined {
                "joined yes\n"
            } else {
                "joined no\n"
            },
        );
        assert_eq!(
            site.judge().is_refusal(),
            refused,
            "{host} {port} {process}"
        );
    }
}

#[test]
fn a_virtual_ip_that_answers_is_taken_unless_we_hold_it() {
    let mut site = Site::new();
    site.script("lb1", "joined no\nvip answered 52:54:00:aa:bb:cc\n");
    assert_eq!(checks(&site.judge().refusals), ["virtual-ip"]);
    let vip = site.inventory.vip.address;
    site.machine("lb2").interfaces[0].addresses.push((vip, 24));
    assert_eq!(checks(&site.judge().refusals), [""; 0]);
}

#[test]
fn a_holder_that_was_not_read_is_given_the_benefit_of_the_doubt() {
    let mut site = Site::new();
    site.script("lb1", "joined no\nvip answered 52:54:00:aa:bb:cc\n");
    site.forget("lb2");
    assert!(!site.judge().is_refusal());
}

/// What was heard, and whether it is refused; ours is 77, 10.1.1.12 is lb2.
#[test]
fn a_foreign_router_of_the_same_id_is_refused() {
    for (heard, refused) in [
        ("vrrp 10.1.1.9 77", true),
        ("vrrp 10.1.1.9 78", false),
        ("vrrp 10.1.1.12 77", false),
    ] {
        let mut site = Site::new();
        site.script("lb1", &format!("joined no\nlistened yes\n{heard}\n"));
        let verdict = site.judge();
        assert_eq!(verdict.is_refusal(), refused, "{heard}");
    }
    let mut site = Site::new();
    site.script("lb1", "joined no\nlistened no\nvip unknown\n");
    assert_eq!(checks(&site.judge().warnings), ["virtual-ip", "router-id"]);
}

#[test]
fn an_address_that_the_host_does_not_have_is_refused() {
    let mut site = Site::new();
    site.machine("worker1").interfaces[0].addresses.clear();
    assert_eq!(checks(&site.judge().refusals), ["address"]);
}

/// Its etcd could not listen, and would be a member that never starts.
#[test]
fn a_member_without_its_address_among_the_members_is_refused() {
    let mut site = Site::new();
    let member = site
        .inventory
        .nodes
        .iter_mut()
        .find(|it| it.name == "master2");
    let peer_address = "10.2.2.102".parse().expect("an address");
    member.expect("a master").etcd = Some(EtcdSeat { peer_address });
    assert_eq!(checks(&site.judge().refusals), ["peer-address"]);
    let interface = &mut site.machine("master2").interfaces[0];
    interface.addresses.push((peer_address, 24));
    assert_eq!(checks(&site.judge().refusals), [""; 0]);
}
