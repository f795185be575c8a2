//! An etcd cluster of its own: what it means, and what is refused of it.

use insta::assert_snapshot;
use quorate::inventory::{EtcdTopology, ExternalEtcd, Role};

use crate::fixture::{load, loaded, refused};

const OWN: &str = "\
etcd:
  version: 3.5.24
  hosts:
    etcd1: { address: 10.1.1.21, peer-address: 10.2.2.21 }
    etcd2: { address: 10.1.1.22, peer-address: 10.2.2.22 }
    etcd3: { address: 10.1.1.23, peer-address: 10.2.2.23 }
  peer-network: 10.2.2.0/24
cni: none";

const ON_MASTERS: &str = "\
etcd:
  version: 3.5.24
  hosts: masters
cni: none";

/// The good inventory with an etcd of its own, in which some texts are replaced.
fn with(etcd: &str, changes: &[(&str, &str)]) -> String {
    let mut etcd = etcd.to_owned();
    for (from, to) in changes {
        assert!(etcd.contains(from), "`{from}` is not in `{etcd}`");
        etcd = etcd.replacen(from, to, 1);
    }
    etcd
}

fn refused_with(etcd: &str, changes: &[(&str, &str)]) -> String {
    refused(&[("cni: none", &with(etcd, changes))])
}

fn external(etcd: &str, changes: &[(&str, &str)]) -> (quorate::inventory::Inventory, ExternalEtcd) {
    let loaded = loaded(&[("cni: none", &with(etcd, changes))]);
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let EtcdTopology::External(external) = loaded.inventory.etcd.clone() else {
        panic!("it is external");
    };
    (loaded.inventory, external)
}

/// `name role client peer` of every member.
fn members(inventory: &quorate::inventory::Inventory) -> String {
    let member = |place: quorate::inventory::etcd::EtcdPlace<'_>| {
        let (name, role) = (&place.node.name, place.node.role);
        format!(
            "{name} {role:?} {} {}",
            place.client_url(),
            place.peer_url()
        )
    };
    let members: Vec<String> = inventory.etcd_places().into_iter().map(member).collect();
    members.join("\n")
}

#[test]
fn members_on_hosts_of_their_own_stand_after_the_load_balancers() {
    let (inventory, external) = external(OWN, &[]);
    assert_snapshot!(members(&inventory), @r"
    etcd1 Etcd https://10.1.1.21:2379 https://10.2.2.21:2380
    etcd2 Etcd https://10.1.1.22:2379 https://10.2.2.22:2380
    etcd3 Etcd https://10.1.1.23:2379 https://10.2.2.23:2380
    ");
    let names: Vec<&str> = inventory
        .nodes
        .iter()
        .map(|node| node.name.as_str())
        .collect();
    assert_eq!(
        names.join(" "),
        "lb1 lb2 etcd1 etcd2 etcd3 master1 master2 master3 worker1"
    );
    assert_eq!(external.data_directory, "/var/lib/etcd-external");
    assert_eq!(external.quota, 8 << 30);
}

#[test]
fn masters_have_their_seats_in_every_form() {
    assert_snapshot!(members(&external(ON_MASTERS, &[]).0), @r"
    master1 Master https://10.1.1.101:2379 https://10.1.1.101:2380
    master2 Master https://10.1.1.102:2379 https://10.1.1.102:2380
    master3 Master https://10.1.1.103:2379 https://10.1.1.103:2380
    ");
    let range = "hosts: { 'master[1-3]': { peer-address: '10.2.2.[101-103]' } }";
    assert_snapshot!(members(&external(ON_MASTERS, &[("hosts: masters", range)]).0), @r"
    master1 Master https://10.1.1.101:2379 https://10.2.2.101:2380
    master2 Master https://10.1.1.102:2379 https://10.2.2.102:2380
    master3 Master https://10.1.1.103:2379 https://10.2.2.103:2380
    ");
    let mixed = "hosts: { master1: {}, master2: , etcd1: 10.1.1.21 }";
    let (inventory, _) = external(ON_MASTERS, &[("hosts: masters", mixed)]);
    assert_eq!(inventory.with_role(Role::Etcd).count(), 1);
    assert_eq!(inventory.etcd_places().len(), 3);
}

#[test]
fn two_masters_are_enough_where_they_have_no_vote() {
    let text = crate::fixture::changed(&[("  master3: 10.1.1.103\n", ""), ("cni: none", OWN)]);
    assert!(load(&text).is_ok());
}

#[test]
fn refuses_an_even_number_of_members() {
    assert_snapshot!(refused_with(OWN, &[("    etcd3: { address: 10.1.1.23, peer-address: 10.2.2.23 }\n", "")]), @r"
      × an even number of etcd members: 2 survive no more losses than 1
        ╭─[inventory.yaml:21:3]
     21 │   hosts:
        ·   ^^^^^
        ╰────
      help: list three members, which survive the loss of one, or five, which survive that of two

    1 error in inventory.yaml
    ");
}

#[test]
fn refuses_a_single_member() {
    assert_snapshot!(refused_with(ON_MASTERS, &[("hosts: masters", "hosts: { master1: {} }")]), @r"
      × 1 etcd members, where three or five are wanted
        ╭─[inventory.yaml:21:3]
     21 │   hosts: { master1: {} }
        ·   ^^^^^
        ╰────
      help: list three members, which survive the loss of one, or five, which survive that of two

    1 error in inventory.yaml
    ");
}

#[test]
fn refuses_a_peer_address_outside_the_peer_network() {
    assert_snapshot!(refused_with(OWN, &[("10.2.2.22", "10.3.2.22")]), @r"
      × the peer address 10.3.2.22 of etcd2 is outside the peer network 10.2.2.0/24
        ╭─[inventory.yaml:23:48]
     23 │     etcd2: { address: 10.1.1.22, peer-address: 10.3.2.22 }
        ·                                                ^^^^^^^^^
        ╰────
        ╭─[inventory.yaml:25:17]
     25 │   peer-network: 10.2.2.0/24
        ·                 ^^^^^^^^^^^
        ·                      ╰── said here
        ╰────
      help: correct the address or `peer-network`

    1 error in inventory.yaml
    ");
}

#[test]
fn refuses_a_member_without_an_address_in_the_peer_network() {
    assert_snapshot!(refused_with(OWN, &[(", peer-address: 10.2.2.22", "")]), @r"
      × etcd2 has no address in the peer network
        ╭─[inventory.yaml:23:5]
     23 │     etcd2: { address: 10.1.1.22 }
        ·     ^^^^^
        ╰────
        ╭─[inventory.yaml:25:17]
     25 │   peer-network: 10.2.2.0/24
        ·                 ^^^^^^^^^^^
        ·                      ╰── said here
        ╰────
      help: give it one in 10.2.2.0/24: `peer-address: ADDRESS`

    1 error in inventory.yaml
    ");
}

#[test]
fn refuses_addresses_used_twice() {
    let changes = [
        ("10.2.2.22", "10.2.2.21"),
        ("10.1.1.23", "10.1.1.11"),
        ("  peer-network: 10.2.2.0/24\n", ""),
    ];
    assert_snapshot!(refused_with(OWN, &changes), @r"
      × address 10.2.2.21 is used twice
        ╭─[inventory.yaml:23:48]
     22 │     etcd1: { address: 10.1.1.21, peer-address: 10.2.2.21 }
        ·                                                ^^^^^^^^^
        ·                                                    ╰── first here
     23 │     etcd2: { address: 10.1.1.22, peer-address: 10.2.2.21 }
        ·                                                ^^^^^^^^^
        ╰────
      help: give every member a peer address of its own, or none: then peers use its address

      × address 10.1.1.11 is used twice
        ╭─[inventory.yaml:11:8]
     11 │   lb1: 10.1.1.11
        ·        ^^^^^^^^^
        ·            ╰── first here
        ╰────
        ╭─[inventory.yaml:24:23]
     24 │     etcd3: { address: 10.1.1.11, peer-address: 10.2.2.23 }
        ·                       ^^^^^^^^^
        ╰────
      help: give every host its own address

    2 errors in inventory.yaml
    ");
}

#[test]
fn refuses_peers_among_the_pods() {
    let changes = [
        ("10.2.2.21", "10.244.2.21"),
        ("  peer-network: 10.2.2.0/24\n", ""),
    ];
    assert_snapshot!(refused_with(OWN, &changes), @r"
      × the peer address 10.244.2.21 is in the pod network 10.244.0.0/16
        ╭─[inventory.yaml:22:48]
     22 │     etcd1: { address: 10.1.1.21, peer-address: 10.244.2.21 }
        ·                                                ^^^^^^^^^^^
        ╰────
      help: choose another peer network, or `network: { pods: CIDR }`

    1 error in inventory.yaml
    ");
}

#[test]
fn refuses_a_version_that_kubernetes_does_not_accept() {
    assert_snapshot!(refused_with(OWN, &[("3.5.24", "3.5.23")]), @r"
      × Kubernetes v1.36.2 does not accept etcd 3.5.23
        ╭─[inventory.yaml:20:12]
     20 │   version: 3.5.23
        ·            ^^^^^^
        ╰────
      help: write `3.5.24` or newer

    1 error in inventory.yaml
    ");
}

#[test]
fn refuses_what_is_no_version() {
    assert_snapshot!(refused_with(OWN, &[("3.5.24", "v3.5.24")]), @r"
      × `v3.5.24` is not an etcd version
        ╭─[inventory.yaml:20:12]
     20 │   version: v3.5.24
        ·            ^^^^^^^
        ╰────
      help: write `3.5.24`

    1 error in inventory.yaml
    ");
}

#[test]
fn refuses_settings_of_stacked_etcd_beside_it() {
    let both = format!("kubeadm: {{ etcd: {{ heartbeat-interval: 250 }} }}\n{OWN}");
    assert_snapshot!(refused(&[("cni: none", &both)]), @r"
      × flags of stacked etcd, but etcd is a cluster of its own
        ╭─[inventory.yaml:19:12]
     19 │ kubeadm: { etcd: { heartbeat-interval: 250 } }
        ·            ^^^^
     20 │ etcd:
        · ^^^^
        ·   ╰── said here
        ╰────
      help: write them under `etcd: { extra: … }`, or remove `etcd`

    1 error in inventory.yaml
    ");
}

#[test]
fn refuses_data_where_kubeadm_reset_empties() {
    let directory = "hosts: masters\n  data-directory: /var/lib/etcd/external";
    assert_snapshot!(refused_with(ON_MASTERS, &[("hosts: masters", directory)]), @r"
      × `kubeadm reset` on a master would empty /var/lib/etcd/external
        ╭─[inventory.yaml:22:19]
     21 │   hosts: masters
        ·          ^^^^^^^
        ·             ╰── this member is on a master
     22 │   data-directory: /var/lib/etcd/external
        ·                   ^^^^^^^^^^^^^^^^^^^^^^
        ╰────
      help: write another directory, for example `/var/lib/etcd-external`

    1 error in inventory.yaml
    ");
    let on_own_hosts = [(
        "  peer-network",
        "  data-directory: /var/lib/etcd\n  peer-network",
    )];
    assert_eq!(
        external(OWN, &on_own_hosts).1.data_directory,
        "/var/lib/etcd"
    );
}

#[test]
fn refuses_hosts_that_are_no_masters() {
    let hosts = "hosts: { master1: {}, worker1: {}, etcd9: {} }";
    assert_snapshot!(refused_with(ON_MASTERS, &[("hosts: masters", hosts)]), @r"
      × etcd cannot live on `worker1`, which is a worker
        ╭─[inventory.yaml:21:25]
     21 │   hosts: { master1: {}, worker1: {}, etcd9: {} }
        ·                         ^^^^^^^
        ╰────
      help: name a master, or a host of its own with an address

      × `etcd9` is no master and has no address
        ╭─[inventory.yaml:21:38]
     21 │   hosts: { master1: {}, worker1: {}, etcd9: {} }
        ·                                      ^^^^^
        ╰────
      help: write `etcd9: 10.1.1.21`, or the name of a master

    2 errors in inventory.yaml
    ");
}

#[test]
fn refuses_what_stands_with_the_master_already() {
    let hosts = "hosts: { master1: 10.1.1.101, master2: { tags: [x] }, master3: {} }";
    assert_snapshot!(refused_with(ON_MASTERS, &[("hosts: masters", hosts)]), @r"
      × `master1` is a master: `address` stands in its own entry
        ╭─[inventory.yaml:21:21]
     21 │   hosts: { master1: 10.1.1.101, master2: { tags: [x] }, master3: {} }
        ·                     ^^^^^^^^^^
        ╰────
      help: write `master1: {}`, with `peer-address` if it has one

      × `master2` is a master: `tags` stands in its own entry
        ╭─[inventory.yaml:21:44]
     21 │   hosts: { master1: 10.1.1.101, master2: { tags: [x] }, master3: {} }
        ·                                            ^^^^
        ╰────
      help: write `master2: {}`, with `peer-address` if it has one

    2 errors in inventory.yaml
    ");
}

#[test]
fn refuses_settings_out_of_bounds() {
    let settings = "hosts: masters
  quota: 32GiB
  snapshot-count: 10
  compaction: { periodic: 8 hours }
  data-directory: etcd
  packages: { source: mirror }
  extra: { initial-cluster-state: existing, quota-backend-bytes: 1, Heartbeat: 1 }";
    assert_snapshot!(refused_with(ON_MASTERS, &[("hosts: masters", settings)]), @r"
      × `32GiB` is no quota for etcd
        ╭─[inventory.yaml:22:10]
     22 │   quota: 32GiB
        ·          ^^^^^
        ╰────
      help: write a size from `64MiB` to `8GiB`

      × snapshot-count 10 is outside 1000 to 1000000
        ╭─[inventory.yaml:23:19]
     23 │   snapshot-count: 10
        ·                   ^^
        ╰────
      help: write a number from 1000 to 1000000

      × `8 hours` is no age of revisions
        ╭─[inventory.yaml:24:27]
     24 │   compaction: { periodic: 8 hours }
        ·                           ^^^^^^^
        ╰────
      help: write hours or minutes, for example `8h` or `90m`

      × `etcd` is no directory for etcd's data
        ╭─[inventory.yaml:25:19]
     25 │   data-directory: etcd
        ·                   ^^^^
        ╰────
      help: write an absolute path of its own, for example `/var/lib/etcd-external`

      × `url` is missing
        ╭─[inventory.yaml:26:3]
     26 │   packages: { source: mirror }
        ·   ^^^^^^^^
        ╰────
      help: write `url: https://mirror.company.local/etcd/`

      × `key` is missing
        ╭─[inventory.yaml:26:3]
     26 │   packages: { source: mirror }
        ·   ^^^^^^^^
        ╰────
      help: write `key: mirror.asc`

      × etcd's `initial-cluster-state` is not set under `extra`
        ╭─[inventory.yaml:27:12]
     27 │   extra: { initial-cluster-state: existing, quota-backend-bytes: 1, Heartbeat: 1 }
        ·            ^^^^^^^^^^^^^^^^^^^^^
        ╰────
      help: remove it: it follows from `hosts`

      × etcd's `quota-backend-bytes` is not set under `extra`
        ╭─[inventory.yaml:27:45]
     27 │   extra: { initial-cluster-state: existing, quota-backend-bytes: 1, Heartbeat: 1 }
        ·                                             ^^^^^^^^^^^^^^^^^^^
        ╰────
      help: write `quota`

      × `Heartbeat` is not a setting of etcd
        ╭─[inventory.yaml:27:69]
     27 │   extra: { initial-cluster-state: existing, quota-backend-bytes: 1, Heartbeat: 1 }
        ·                                                                     ^^^^^^^^^
        ╰────
      help: write it as in etcd's configuration file, for example `heartbeat-interval`

    9 errors in inventory.yaml
    ");
}

#[test]
fn refuses_what_says_nothing() {
    assert_snapshot!(refused(&[("cni: none", "etcd:\ncni: none")]), @r"
      × `etcd` says nothing
        ╭─[inventory.yaml:19:1]
     19 │ etcd:
        · ^^^^
        ╰────
      help: list its members under `hosts`, or remove this key

    1 error in inventory.yaml
    ");
    assert_snapshot!(refused(&[("cni: none", "etcd: {}\ncni: none")]), @r"
      × `hosts` is missing
        ╭─[inventory.yaml:19:1]
     19 │ etcd: {}
        · ^^^^
        ╰────
      help: write `hosts: masters`

      × `version` is missing
        ╭─[inventory.yaml:19:1]
     19 │ etcd: {}
        · ^^^^
        ╰────
      help: write `version: 3.5.24`

    2 errors in inventory.yaml
    ");
}
