//! Every rule of the inventory with the report that a person sees.

mod inventory_file;

use insta::assert_snapshot;
use inventory_file::refused;

#[test]
fn refuses_unknown_keys_with_what_was_meant() {
    assert_snapshot!(refused(&[("vip:\n", "vips: {}\nvip:\n"), ("  address: 10.1.1.100", "  address: 10.1.1.100\n  router_id: 7"), ("lb1: 10.1.1.11", "lb1: { address: 10.1.1.11, gateway: 10.1.1.1 }")]), @r"
      × unknown key `vips`
       ╭─[inventory.yaml:4:1]
     4 │ vips: {}
       · ^^^^
       ╰────
      help: did you mean `vip`?

      × unknown key `router_id`
       ╭─[inventory.yaml:7:3]
     7 │   router_id: 7
       ·   ^^^^^^^^^
       ╰────
      help: did you mean `router-id`?

      × unknown key `gateway`
        ╭─[inventory.yaml:13:30]
     13 │   lb1: { address: 10.1.1.11, gateway: 10.1.1.1 }
        ·                              ^^^^^^^
        ╰────
      help: write one of `address`, `labels`, `taints`, `tags`, `weight`, `ssh`

    3 errors in inventory.yaml
    ");
}

#[test]
fn refuses_a_duplicate_key() {
    assert_snapshot!(refused(&[("  master3: 10.1.1.103", "  master3: 10.1.1.103\n  master1: 10.1.1.104")]), @r"
      × duplicate key `master1`
        ╭─[inventory.yaml:14:3]
     14 │   master1: 10.1.1.101
        ·   ^^^^^^^
        ·      ╰── first here
        ╰────
        ╭─[inventory.yaml:17:3]
     17 │   master1: 10.1.1.104
        ·   ^^^^^^^
        ╰────
      help: keep one of the two

    1 error in inventory.yaml
    ");
}

#[test]
fn refuses_a_duplicate_key_at_the_top() {
    assert_snapshot!(refused(&[("cni: none", "cni: none\nssh: {}")]), @r"
      × duplicate key `ssh`
       ╭─[inventory.yaml:9:1]
     9 │ ssh: { user: ops }
       · ^^^
       ·  ╰── first here
       ╰────
        ╭─[inventory.yaml:20:1]
     20 │ ssh: {}
        · ^^^
        ╰────
      help: keep one of the two

    1 error in inventory.yaml
    ");
}

#[test]
fn refuses_a_host_name_used_twice_in_different_roles() {
    assert_snapshot!(refused(&[("worker1: 10.1.1.201", "master2: 10.1.1.201")]), @r"
      × host name `master2` is used twice
        ╭─[inventory.yaml:15:3]
     15 │   master2: 10.1.1.102
        ·   ^^^^^^^
        ·      ╰── first here
        ╰────
        ╭─[inventory.yaml:18:3]
     18 │   master2: 10.1.1.201
        ·   ^^^^^^^
        ╰────
      help: give every host its own name

    1 error in inventory.yaml
    ");
}

#[test]
fn refuses_an_address_used_twice() {
    assert_snapshot!(refused(&[("worker1: 10.1.1.201", "worker1: 10.1.1.12")]), @r"
      × address 10.1.1.12 is used twice
        ╭─[inventory.yaml:12:8]
     12 │   lb2: 10.1.1.12
        ·        ^^^^^^^^^
        ·            ╰── first here
        ╰────
        ╭─[inventory.yaml:18:12]
     18 │   worker1: 10.1.1.12
        ·            ^^^^^^^^^
        ╰────
      help: give every host its own address

    1 error in inventory.yaml
    ");
}

#[test]
fn refuses_names_and_addresses_that_a_range_repeats() {
    assert_snapshot!(refused(&[("worker1: 10.1.1.201", "worker1: 10.1.1.203\n  worker[1-3]: 10.1.1.[201-203]")]), @r"
      × host name `worker1` is used twice
        ╭─[inventory.yaml:19:3]
     18 │   worker1: 10.1.1.203
        ·   ^^^^^^^
        ·      ╰── first here
     19 │   worker[1-3]: 10.1.1.[201-203]
        ·   ^^^^^^^^^^^
        ╰────
      help: give every host its own name

      × address 10.1.1.203 is used twice
        ╭─[inventory.yaml:19:16]
     18 │   worker1: 10.1.1.203
        ·            ^^^^^^^^^^
        ·                 ╰── first here
     19 │   worker[1-3]: 10.1.1.[201-203]
        ·                ^^^^^^^^^^^^^^^^
        ╰────
      help: give every host its own address

    2 errors in inventory.yaml
    ");
}

#[test]
fn refuses_an_even_number_of_masters() {
    assert_snapshot!(refused(&[("  master3: 10.1.1.103\n", "")]), @r"
      × an even number of masters: 2 survive no more losses than 1
        ╭─[inventory.yaml:13:1]
     13 │ masters:
        · ^^^^^^^
        ╰────
      help: list 1 or 3 masters

    1 error in inventory.yaml
    ");
}

#[test]
fn refuses_no_masters_at_all() {
    assert_snapshot!(refused(&[("masters:\n  master1: 10.1.1.101\n  master2: 10.1.1.102\n  master3: 10.1.1.103\n", "")]), @r"
      × there are no masters
       ╭─[inventory.yaml:1:1]
     1 │ cluster:
       · ▲
       ╰────
      help: list at least one, three for high availability: `masters: { master1: 10.1.1.101 }`

    1 error in inventory.yaml
    ");
}

#[test]
fn refuses_an_empty_map_of_masters() {
    assert_snapshot!(refused(&[("masters:\n  master1: 10.1.1.101\n  master2: 10.1.1.102\n  master3: 10.1.1.103\n", "masters:\n")]), @r"
      × there are no masters
        ╭─[inventory.yaml:13:1]
     13 │ masters:
        · ^^^^^^^
        ╰────
      help: list at least one, three for high availability: `masters: { master1: 10.1.1.101 }`

    1 error in inventory.yaml
    ");
}

#[test]
fn refuses_no_load_balancers() {
    assert_snapshot!(refused(&[("lb:\n  lb1: 10.1.1.11\n  lb2: 10.1.1.12\n", "")]), @r"
      × there are no load balancers
       ╭─[inventory.yaml:1:1]
     1 │ cluster:
       · ▲
       ╰────
      help: list two under `lb`, or write `vip: { managed: false }` if somebody else runs them

    1 error in inventory.yaml
    ");
}

#[test]
fn refuses_load_balancers_that_somebody_else_runs() {
    assert_snapshot!(refused(&[("address: 10.1.1.100", "address: 10.1.1.100\n  managed: false")]), @r"
      × load balancers are listed, but somebody else runs them
       ╭─[inventory.yaml:6:3]
     6 │   managed: false
       ·   ^^^^^^^
       ·      ╰── said here
       ╰────
        ╭─[inventory.yaml:11:1]
     11 │ lb:
        · ^^
        ╰────
      help: remove `lb`, or `managed: false`

    1 error in inventory.yaml
    ");
}

#[test]
fn refuses_a_cidr_with_host_bits() {
    assert_snapshot!(refused(&[("pods: 10.244.0.0/16", "pods: 10.244.3.0/16")]), @r"
      × `10.244.3.0/16` has host bits set
       ╭─[inventory.yaml:7:9]
     7 │   pods: 10.244.3.0/16
       ·         ^^^^^^^^^^^^^
       ╰────
      help: write `10.244.0.0/16`

    1 error in inventory.yaml
    ");
}

#[test]
fn refuses_a_network_without_a_prefix() {
    assert_snapshot!(refused(&[("pods: 10.244.0.0/16", "pods: 10.244.0.0")]), @r"
      × `10.244.0.0` is not a CIDR
       ╭─[inventory.yaml:7:9]
     7 │   pods: 10.244.0.0
       ·         ^^^^^^^^^^
       ╰────
      help: add the prefix length: `10.244.0.0/16`

    1 error in inventory.yaml
    ");
}

#[test]
fn refuses_a_network_that_is_none() {
    assert_snapshot!(refused(&[("services: 10.96.0.0/12", "services: ten")]), @r"
      × `ten` is not a CIDR
       ╭─[inventory.yaml:8:13]
     8 │   services: ten
       ·             ^^^
       ╰────
      help: write an IPv4 network with its prefix length, for example `10.244.0.0/16`

    1 error in inventory.yaml
    ");
}

#[test]
fn refuses_pods_and_services_that_overlap() {
    assert_snapshot!(refused(&[("pods: 10.244.0.0/16", "pods: 10.100.0.0/16")]), @r"
      × pod network 10.100.0.0/16 and service network 10.96.0.0/12 overlap
       ╭─[inventory.yaml:8:13]
     8 │   services: 10.96.0.0/12
       ·             ^^^^^^^^^^^^
       ╰────
      help: choose two networks without a common address

    1 error in inventory.yaml
    ");
}

#[test]
fn refuses_pods_and_hosts_that_overlap() {
    assert_snapshot!(refused(&[("pods: 10.244.0.0/16", "pods: 10.1.0.0/16")]), @r"
      × pod network 10.1.0.0/16 overlaps the hosts' network 10.1.1.0/24
       ╭─[inventory.yaml:7:9]
     7 │   pods: 10.1.0.0/16
       ·         ^^^^^^^^^^^
       ╰────
        ╭─[inventory.yaml:11:8]
     11 │   lb1: 10.1.1.11
        ·        ^^^^^^^^^
        ·            ╰── the hosts' network
        ╰────
      help: choose another: `network: { pods: CIDR }`

    1 error in inventory.yaml
    ");
}

#[test]
fn refuses_hosts_in_a_default_network() {
    assert_snapshot!(refused(&[("  pods: 10.244.0.0/16\n", ""), ("worker1: 10.1.1.201", "worker1: 10.244.7.1")]), @r"
      × the hosts' network 10.244.7.0/24 overlaps the default pod network 10.244.0.0/16
        ╭─[inventory.yaml:17:12]
     17 │   worker1: 10.244.7.1
        ·            ^^^^^^^^^^
        ╰────
      help: choose another: `network: { pods: CIDR }`

    1 error in inventory.yaml
    ");
}

#[test]
fn refuses_a_service_network_that_is_too_small() {
    assert_snapshot!(refused(&[("services: 10.96.0.0/12", "services: 10.96.0.0/30")]), @r"
      × service network 10.96.0.0/30 is too large or too small for kube-apiserver
       ╭─[inventory.yaml:8:13]
     8 │   services: 10.96.0.0/30
       ·             ^^^^^^^^^^^^
       ╰────
      help: write a prefix length from /12 to /28

    1 error in inventory.yaml
    ");
}

#[test]
fn refuses_a_pod_network_without_room_for_every_node() {
    assert_snapshot!(refused(&[("pods: 10.244.0.0/16", "pods: 10.244.0.0/23")]), @r"
      × pod network 10.244.0.0/23 holds one /24 for 2 nodes, but there are 4
       ╭─[inventory.yaml:7:9]
     7 │   pods: 10.244.0.0/23
       ·         ^^^^^^^^^^^^^
       ╰────
      help: write a larger network

    1 error in inventory.yaml
    ");
}

#[test]
fn refuses_a_pod_network_smaller_than_one_node() {
    assert_snapshot!(refused(&[("pods: 10.244.0.0/16", "pods: 10.244.0.0/25")]), @r"
      × pod network 10.244.0.0/25 cannot be divided into one /24 per node
       ╭─[inventory.yaml:7:9]
     7 │   pods: 10.244.0.0/25
       ·         ^^^^^^^^^^^^^
       ╰────
      help: write a prefix length from /8 to /24, or another `node-cidr-mask-size` under `kubeadm.controller-manager`

    1 error in inventory.yaml
    ");
}

#[test]
fn refuses_a_vip_that_a_host_owns() {
    assert_snapshot!(refused(&[("address: 10.1.1.100", "address: 10.1.1.102")]), @r"
      × the VIP 10.1.1.102 is the address of master2
       ╭─[inventory.yaml:5:12]
     5 │   address: 10.1.1.102
       ·            ^^^^^^^^^^
       ╰────
        ╭─[inventory.yaml:15:12]
     15 │   master2: 10.1.1.102
        ·            ^^^^^^^^^^
        ·                 ╰── this host's own address
        ╰────
      help: choose a free address in the load balancers' network

    1 error in inventory.yaml
    ");
}

#[test]
fn refuses_a_vip_outside_the_load_balancers_network() {
    assert_snapshot!(refused(&[("address: 10.1.1.100", "address: 10.1.2.100")]), @r"
      × the VIP 10.1.2.100 is outside the load balancers' network 10.1.1.0/24
       ╭─[inventory.yaml:5:12]
     5 │   address: 10.1.2.100
       ·            ^^^^^^^^^^
       ╰────
      help: choose a free address in that network, or say how large it is with `network: { hosts: CIDR }`

    1 error in inventory.yaml
    ");
}

#[test]
fn refuses_a_vip_outside_the_given_network() {
    assert_snapshot!(refused(&[("network:\n", "network:\n  hosts: 10.1.0.0/23\n"), ("address: 10.1.1.100", "address: 10.1.2.100")]), @r"
      × the VIP 10.1.2.100 is outside the load balancers' network 10.1.0.0/23
       ╭─[inventory.yaml:5:12]
     5 │   address: 10.1.2.100
       ·            ^^^^^^^^^^
       ╰────
      help: choose a free address in that network, or correct `network.hosts`

    1 error in inventory.yaml
    ");
}

#[test]
fn refuses_a_vip_that_is_a_broadcast_address() {
    assert_snapshot!(refused(&[("address: 10.1.1.100", "address: 10.1.1.255")]), @r"
      × the VIP 10.1.1.255 is not usable: it is the first or last address of 10.1.1.0/24
       ╭─[inventory.yaml:5:12]
     5 │   address: 10.1.1.255
       ·            ^^^^^^^^^^
       ╰────
      help: choose a free address between them, or say how large the network is with `network: { hosts: CIDR }`

    1 error in inventory.yaml
    ");
}

#[test]
fn refuses_a_load_balancer_outside_the_given_network() {
    assert_snapshot!(refused(&[("network:\n", "network:\n  hosts: 10.1.1.0/24\n"), ("lb2: 10.1.1.12", "lb2: 10.1.3.12")]), @r"
      × lb2 is outside the load balancers' network 10.1.1.0/24
       ╭─[inventory.yaml:7:10]
     7 │   hosts: 10.1.1.0/24
       ·          ^^^^^^^^^^^
       ·               ╰── said here
       ╰────
        ╭─[inventory.yaml:13:8]
     13 │   lb2: 10.1.3.12
        ·        ^^^^^^^^^
        ╰────
      help: correct the address or `network.hosts`: a VIP moves only within one network

    1 error in inventory.yaml
    ");
}

#[test]
fn refuses_a_vip_name_that_is_a_host() {
    assert_snapshot!(refused(&[("address: 10.1.1.100", "address: 10.1.1.100\n  dns: lb1")]), @r"
      × `lb1` is the name of a host
       ╭─[inventory.yaml:6:8]
     6 │   dns: lb1
       ·        ^^^
       ╰────
        ╭─[inventory.yaml:12:3]
     12 │   lb1: 10.1.1.11
        ·   ^^^
        ·    ╰── this host
        ╰────
      help: give the VIP a name of its own

    1 error in inventory.yaml
    ");
}

#[test]
fn refuses_names_that_are_not_dns_labels() {
    assert_snapshot!(refused(&[("name: seoul-1", "name: Seoul_1"), ("worker1: 10.1.1.201", "worker-: 10.1.1.201")]), @r"
      × cluster name `Seoul_1` is not a DNS-1123 label
       ╭─[inventory.yaml:2:9]
     2 │   name: Seoul_1
       ·         ^^^^^^^
       ╰────
      help: write `seoul-1`: 1 to 63 of a-z, 0-9 and `-`, with a letter or digit at both ends

      × host name `worker-` is not a DNS-1123 label
        ╭─[inventory.yaml:18:3]
     18 │   worker-: 10.1.1.201
        ·   ^^^^^^^
        ╰────
      help: write 1 to 63 of a-z, 0-9 and `-`, with a letter or digit at both ends

    2 errors in inventory.yaml
    ");
}

#[test]
fn refuses_addresses_that_are_none() {
    assert_snapshot!(refused(&[("lb1: 10.1.1.11", "lb1: 10.1.1.300"), ("lb2: 10.1.1.12", "lb2: fd00::12"), ("worker1: 10.1.1.201", "worker1: 127.0.0.1")]), @r"
      × `10.1.1.300` is not an IPv4 address
        ╭─[inventory.yaml:11:8]
     11 │   lb1: 10.1.1.300
        ·        ^^^^^^^^^^
        ╰────
      help: write four numbers from 0 to 255, for example `10.1.1.101`

      × `fd00::12` is not an IPv4 address
        ╭─[inventory.yaml:12:8]
     12 │   lb2: fd00::12
        ·        ^^^^^^^^
        ╰────
      help: IPv6 is not supported: write the host's IPv4 address

      × 127.0.0.1 is no address of a host
        ╭─[inventory.yaml:18:12]
     18 │   worker1: 127.0.0.1
        ·            ^^^^^^^^^
        ╰────
      help: write the address by which the other hosts reach it

    3 errors in inventory.yaml
    ");
}

#[test]
fn refuses_versions_that_are_not_of_the_form() {
    assert_snapshot!(refused(&[("v1.36.2", "1.36.2")]), @r"
      × `1.36.2` is not a Kubernetes version
       ╭─[inventory.yaml:3:15]
     3 │   kubernetes: 1.36.2
       ·               ^^^^^^
       ╰────
      help: write `v1.36.2`

    1 error in inventory.yaml
    ");
}

#[test]
fn refuses_a_version_without_a_patch() {
    assert_snapshot!(refused(&[("v1.36.2", "v1.36")]), @r"
      × `v1.36` is not a Kubernetes version
       ╭─[inventory.yaml:3:15]
     3 │   kubernetes: v1.36
       ·               ^^^^^
       ╰────
      help: write `v1.36.0`

    1 error in inventory.yaml
    ");
}

#[test]
fn refuses_a_version_that_is_none() {
    assert_snapshot!(refused(&[("v1.36.2", "latest")]), @r"
      × `latest` is not a Kubernetes version
       ╭─[inventory.yaml:3:15]
     3 │   kubernetes: latest
       ·               ^^^^^^
       ╰────
      help: write it as `v1.36.2`

    1 error in inventory.yaml
    ");
}

#[test]
fn refuses_a_version_without_a_kubeadm_api() {
    assert_snapshot!(refused(&[("v1.36.2", "v1.19.16")]), @r"
      × no supported kubeadm configuration API serves v1.19.16
       ╭─[inventory.yaml:3:15]
     3 │   kubernetes: v1.19.16
       ·               ^^^^^^^^
       ╰────
      help: write `v1.20.0` or newer

    1 error in inventory.yaml
    ");
}

#[test]
fn refuses_a_router_id_outside_the_range() {
    assert_snapshot!(refused(&[("address: 10.1.1.100", "address: 10.1.1.100\n  router-id: 256")]), @r"
      × router-id 256 is outside 1 to 255
       ╭─[inventory.yaml:6:14]
     6 │   router-id: 256
       ·              ^^^
       ╰────
      help: write a number from 1 to 255

    1 error in inventory.yaml
    ");
}

#[test]
fn refuses_a_range_that_expands_to_nothing() {
    assert_snapshot!(refused(&[("worker1: 10.1.1.201", "worker[20-02]: 10.1.1.[202-220]")]), @r"
      × the range `[20-02]` is empty
        ╭─[inventory.yaml:18:3]
     18 │   worker[20-02]: 10.1.1.[202-220]
        ·   ^^^^^^^^^^^^^
        ╰────
      help: write `[02-20]`

    1 error in inventory.yaml
    ");
}

#[test]
fn refuses_ranges_of_different_lengths() {
    assert_snapshot!(refused(&[("worker1: 10.1.1.201", "worker[02-20]: 10.1.1.[202-219]")]), @r"
      × `worker[02-20]` stands for 19 hosts, `10.1.1.[202-219]` for 18 addresses
        ╭─[inventory.yaml:18:18]
     18 │   worker[02-20]: 10.1.1.[202-219]
        ·   ^^^^^^^^^^^^^  ^^^^^^^^^^^^^^^^
        ·         ╰── these hosts
        ╰────
      help: write two ranges of the same length, for example `worker[02-20]: 10.1.1.[202-220]`

    1 error in inventory.yaml
    ");
}

#[test]
fn refuses_a_range_of_names_with_one_address() {
    assert_snapshot!(refused(&[("worker1: 10.1.1.201", "worker[1-2]: 10.1.1.201")]), @r"
      × `worker[1-2]` stands for 2 hosts, `10.1.1.201` for 1 addresses
        ╭─[inventory.yaml:18:16]
     18 │   worker[1-2]: 10.1.1.201
        ·   ^^^^^^^^^^^  ^^^^^^^^^^
        ·        ╰── these hosts
        ╰────
      help: write two ranges of the same length, for example `worker[02-20]: 10.1.1.[202-220]`

    1 error in inventory.yaml
    ");
}

#[test]
fn refuses_a_range_that_is_none() {
    assert_snapshot!(refused(&[("worker1: 10.1.1.201", "worker[1..3]: 10.1.1.[201-203]")]), @r"
      × `worker[1..3]` is not a range
        ╭─[inventory.yaml:18:3]
     18 │   worker[1..3]: 10.1.1.[201-203]
        ·   ^^^^^^^^^^^^
        ╰────
      help: write `[FIRST-LAST]` with two numbers, for example `worker[02-20]`

    1 error in inventory.yaml
    ");
}

#[test]
fn refuses_a_range_that_leaves_the_address_space() {
    assert_snapshot!(refused(&[("worker1: 10.1.1.201", "worker[1-9]: 10.1.1.[250-258]")]), @r"
      × `10.1.1.256` is not an IPv4 address
        ╭─[inventory.yaml:18:16]
     18 │   worker[1-9]: 10.1.1.[250-258]
        ·                ^^^^^^^^^^^^^^^^
        ╰────
      help: write four numbers from 0 to 255, for example `10.1.1.101`

    1 error in inventory.yaml
    ");
}

#[test]
fn refuses_a_missing_identity_file() {
    assert_snapshot!(refused(&[("ssh: { user: ops }", "ssh: { user: ops, identity-file: [keys/one, keys/two] }")]), @r"
      × identity file keys/one does not exist
       ╭─[inventory.yaml:9:35]
     9 │ ssh: { user: ops, identity-file: [keys/one, keys/two] }
       ·                                   ^^^^^^^^
       ╰────
      help: write the path of a file that you can read

      × identity file keys/two does not exist
       ╭─[inventory.yaml:9:45]
     9 │ ssh: { user: ops, identity-file: [keys/one, keys/two] }
       ·                                             ^^^^^^^^
       ╰────
      help: write the path of a file that you can read

    2 errors in inventory.yaml
    ");
}

#[test]
fn refuses_unreadable_files() {
    assert_snapshot!(refused(&[("cni: none", "cni: { manifest: cni.yaml }\npackages: { source: mirror, url: 'https://mirror.local', key: mirror.asc }\nimages: { registries: { registry.local: { ca: ca.pem } } }\naudit: { policy: policy.yaml }\noverlay: overlay")]), @r"
      × CNI manifest cni.yaml does not exist
        ╭─[inventory.yaml:19:18]
     19 │ cni: { manifest: cni.yaml }
        ·                  ^^^^^^^^
        ╰────
      help: write the path of a file that you can read

      × package key mirror.asc does not exist
        ╭─[inventory.yaml:20:63]
     20 │ packages: { source: mirror, url: 'https://mirror.local', key: mirror.asc }
        ·                                                               ^^^^^^^^^^
        ╰────
      help: write the path of a file that you can read

      × CA certificate ca.pem does not exist
        ╭─[inventory.yaml:21:47]
     21 │ images: { registries: { registry.local: { ca: ca.pem } } }
        ·                                               ^^^^^^
        ╰────
      help: write the path of a file that you can read

      × audit policy policy.yaml does not exist
        ╭─[inventory.yaml:22:18]
     22 │ audit: { policy: policy.yaml }
        ·                  ^^^^^^^^^^^
        ╰────
      help: write the path of a file that you can read

      × overlay overlay does not exist
        ╭─[inventory.yaml:23:10]
     23 │ overlay: overlay
        ·          ^^^^^^^
        ╰────
      help: write the path of a file that you can read

    5 errors in inventory.yaml
    ");
}

#[test]
fn refuses_labels_taints_and_tags_that_kubernetes_refuses() {
    assert_snapshot!(refused(&[("worker1: 10.1.1.201", "worker1:\n    address: 10.1.1.201\n    labels: { 'a b': x, disk: -ssd, empty: }\n    taints: [dedicated, 'x=y:noschedule', '=x:NoExecute']\n    tags: ['@rack1']")]), @r#"
      × `a b` is not a label
        ╭─[inventory.yaml:20:15]
     20 │     labels: { 'a b': x, disk: -ssd, empty: }
        ·               ^^^^^
        ╰────
      help: write `name` or `prefix.domain/name`: at most 63 of A-Z, a-z, 0-9, `.`, `_`, `-`

      × `-ssd` is not a label's value
        ╭─[inventory.yaml:20:31]
     20 │     labels: { 'a b': x, disk: -ssd, empty: }
        ·                               ^^^^
        ╰────
      help: write at most 63 of A-Z, a-z, 0-9, `.`, `_`, `-`, with a letter or digit at both ends

      × `empty` has no value
        ╭─[inventory.yaml:20:37]
     20 │     labels: { 'a b': x, disk: -ssd, empty: }
        ·                                     ^^^^^
        ╰────
      help: write one after the colon, `empty: ""` for an empty text

      × taint `dedicated` has no effect
        ╭─[inventory.yaml:21:14]
     21 │     taints: [dedicated, 'x=y:noschedule', '=x:NoExecute']
        ·              ^^^^^^^^^
        ╰────
      help: write `key=value:NoSchedule` or `key:NoSchedule`

      × unknown taint effect `noschedule`
        ╭─[inventory.yaml:21:25]
     21 │     taints: [dedicated, 'x=y:noschedule', '=x:NoExecute']
        ·                         ^^^^^^^^^^^^^^^^
        ╰────
      help: did you mean `x=y:NoSchedule`?

      × `=x:NoExecute` is not a taint
        ╭─[inventory.yaml:21:43]
     21 │     taints: [dedicated, 'x=y:noschedule', '=x:NoExecute']
        ·                                           ^^^^^^^^^^^^^^
        ╰────
      help: write `key=value:NoSchedule` or `key:NoSchedule`

      × `@rack1` is not a tag
        ╭─[inventory.yaml:22:12]
     22 │     tags: ['@rack1']
        ·            ^^^^^^^^
        ╰────
      help: write `rack1`: the `@` belongs to `--on`

    7 errors in inventory.yaml
    "#);
}

#[test]
fn refuses_labels_and_weights_where_they_mean_nothing() {
    assert_snapshot!(refused(&[("lb1: 10.1.1.11", "lb1: { address: 10.1.1.11, labels: { a: b }, taints: [], weight: 5 }"), ("worker1: 10.1.1.201", "worker1: { address: 10.1.1.201, weight: 5 }")]), @r"
      × only masters and workers have labels
        ╭─[inventory.yaml:11:30]
     11 │   lb1: { address: 10.1.1.11, labels: { a: b }, taints: [], weight: 5 }
        ·                              ^^^^^^
        ╰────
      help: remove this key

      × only masters and workers have taints
        ╭─[inventory.yaml:11:48]
     11 │   lb1: { address: 10.1.1.11, labels: { a: b }, taints: [], weight: 5 }
        ·                                                ^^^^^^
        ╰────
      help: remove this key

      × only masters have a weight
        ╭─[inventory.yaml:11:60]
     11 │   lb1: { address: 10.1.1.11, labels: { a: b }, taints: [], weight: 5 }
        ·                                                            ^^^^^^
        ╰────
      help: remove this key

      × only masters have a weight
        ╭─[inventory.yaml:18:35]
     18 │   worker1: { address: 10.1.1.201, weight: 5 }
        ·                                   ^^^^^^
        ╰────
      help: remove this key

    4 errors in inventory.yaml
    ");
}

#[test]
fn refuses_masters_that_take_no_connections() {
    assert_snapshot!(refused(&[("master1: 10.1.1.101", "master1: { address: 10.1.1.101, weight: 0 }"), ("master2: 10.1.1.102", "master2: { address: 10.1.1.102, weight: 0 }"), ("master3: 10.1.1.103", "master3: { address: 10.1.1.103, weight: 0 }")]), @r"
      × every master has weight 0, so none takes connections
        ╭─[inventory.yaml:14:3]
     14 │   master1: { address: 10.1.1.101, weight: 0 }
        ·   ^^^^^^^
        ╰────
      help: give at least one master a weight from 1 to 256

    1 error in inventory.yaml
    ");
}

#[test]
fn refuses_ports_outside_the_range() {
    assert_snapshot!(refused(&[("address: 10.1.1.100", "address: 10.1.1.100\n  port: 65536"), ("ssh: { user: ops }", "ssh: { user: ops, port: 0 }")]), @r"
      × port 65536 is outside 1 to 65535
       ╭─[inventory.yaml:6:9]
     6 │   port: 65536
       ·         ^^^^^
       ╰────
      help: write a number from 1 to 65535

      × port 0 is outside 1 to 65535
        ╭─[inventory.yaml:10:25]
     10 │ ssh: { user: ops, port: 0 }
        ·                         ^
        ╰────
      help: write a number from 1 to 65535

    2 errors in inventory.yaml
    ");
}

#[test]
fn refuses_node_ports_that_kube_apiserver_refuses() {
    assert_snapshot!(refused(&[("cni: none", "cni: none\ningress: { http: 8080, https: 30080 }")]), @r"
      × node port 8080 is outside 30000 to 32767
        ╭─[inventory.yaml:20:18]
     20 │ ingress: { http: 8080, https: 30080 }
        ·                  ^^^^
        ╰────
      help: write a number from 30000 to 32767

    1 error in inventory.yaml
    ");
}

#[test]
fn refuses_ingress_with_one_node_port_for_both() {
    assert_snapshot!(refused(&[("cni: none", "cni: none\ningress: { http: 30080, https: 30080 }"), ("address: 10.1.1.100", "address: 10.1.1.100\n  port: 443")]), @r"
      × port 443 belongs to ingress
       ╭─[inventory.yaml:6:9]
     6 │   port: 443
       ·         ^^^
       ╰────
      help: write another port for the API, for example 6443

      × http and https have the same node port
        ╭─[inventory.yaml:21:32]
     21 │ ingress: { http: 30080, https: 30080 }
        ·                  ^^^^^         ^^^^^
        ·                    ╰── http here
        ╰────
      help: write two different ports

    2 errors in inventory.yaml
    ");
}

#[test]
fn refuses_empty_secret_sources() {
    assert_snapshot!(refused(&[("ssh: { user: ops }", "ssh: { sudo-password: { env: '' }, passphrase: { command: [] } }"), ("cni: none", "cni: none\nload-balancer: { stats-password: { file: '' } }")]), @r"
      × the secret's variable is empty
       ╭─[inventory.yaml:9:23]
     9 │ ssh: { sudo-password: { env: '' }, passphrase: { command: [] } }
       ·                       ^^^^^^^^^^^
       ╰────
      help: write `{ env: NAME }`

      × the secret's command is empty
       ╭─[inventory.yaml:9:48]
     9 │ ssh: { sudo-password: { env: '' }, passphrase: { command: [] } }
       ·                                                ^^^^^^^^^^^^^^^
       ╰────
      help: write `{ command: [pass, show, NAME] }`

      × the secret's file is empty
        ╭─[inventory.yaml:20:34]
     20 │ load-balancer: { stats-password: { file: '' } }
        ·                                  ^^^^^^^^^^^^
        ╰────
      help: write `{ file: PATH }`

    3 errors in inventory.yaml
    ");
}

#[test]
fn refuses_a_secret_source_with_a_wrong_key() {
    assert_snapshot!(refused(&[("ssh: { user: ops }", "ssh: { sudo-password: { environment: SUDO } }")]), @r"
      × unknown choice `environment`
       ╭─[inventory.yaml:9:25]
     9 │ ssh: { sudo-password: { environment: SUDO } }
       ·                         ^^^^^^^^^^^
       ╰────
      help: did you mean `env`?

    1 error in inventory.yaml
    ");
}

#[test]
fn refuses_values_of_the_wrong_shape() {
    assert_snapshot!(refused(&[("address: 10.1.1.100", "address: [10.1.1.100]\n  port: many\n  managed: perhaps"), ("pods: 10.244.0.0/16", "pods: { cidr: 10.244.0.0/16 }"), ("worker1: 10.1.1.201", "worker1: [10.1.1.201]"), ("cni: none", "cni: none\nkubeadm: { cert-sans: api.local }")]), @r"
      × expected a text, found a list
       ╭─[inventory.yaml:5:12]
     5 │   address: [10.1.1.100]
       ·            ^^^^^^^^^^^^
       ╰────
      help: write one word or a text in quotes

      × expected a whole number, found `many`
       ╭─[inventory.yaml:6:9]
     6 │   port: many
       ·         ^^^^
       ╰────
      help: write digits without quotes

      × expected `true` or `false`, found `perhaps`
       ╭─[inventory.yaml:7:12]
     7 │   managed: perhaps
       ·            ^^^^^^^
       ╰────
      help: write one of the two, without quotes

      × expected a text, found a map
       ╭─[inventory.yaml:9:9]
     9 │   pods: { cidr: 10.244.0.0/16 }
       ·         ^^^^^^^^^^^^^^^^^^^^^^^
       ╰────
      help: write one word or a text in quotes

      × expected a map, found a list
        ╭─[inventory.yaml:20:12]
     20 │   worker1: [10.1.1.201]
        ·            ^^^^^^^^^^^^
        ╰────
      help: its keys: `address`, `labels`, `taints`, `tags`, `weight`, `ssh`

      × expected a list, found `api.local`
        ╭─[inventory.yaml:22:23]
     22 │ kubeadm: { cert-sans: api.local }
        ·                       ^^^^^^^^^
        ╰────
      help: write `[a, b]`, or one `- item` per line

    6 errors in inventory.yaml
    ");
}

#[test]
fn refuses_sections_that_are_not_maps() {
    assert_snapshot!(refused(&[("vip:\n  address: 10.1.1.100", "vip: 10.1.1.100"), ("lb:\n  lb1: 10.1.1.11\n  lb2: 10.1.1.12", "lb: [10.1.1.11, 10.1.1.12]")]), @r"
      × expected a map, found `10.1.1.100`
       ╭─[inventory.yaml:4:6]
     4 │ vip: 10.1.1.100
       ·      ^^^^^^^^^^
       ╰────
      help: its keys: `address`, `dns`, `port`, `interface`, `router-id`, `managed`

      × expected a map, found a list
       ╭─[inventory.yaml:9:5]
     9 │ lb: [10.1.1.11, 10.1.1.12]
       ·     ^^^^^^^^^^^^^^^^^^^^^^
       ╰────
      help: write `key: value` lines below it, or `{ key: value }`

    2 errors in inventory.yaml
    ");
}

#[test]
fn refuses_missing_keys() {
    assert_snapshot!(refused(&[("  name: seoul-1\n", ""), ("lb1: 10.1.1.11", "lb1: {}"), ("worker1: 10.1.1.201", "worker1:"), ("cni: none", "cni: none\npackages: { source: mirror }\ningress: {}")]), @r"
      × `name` is missing
       ╭─[inventory.yaml:1:1]
     1 │ cluster:
       · ^^^^^^^
       ╰────
      help: write `name: NAME`

      × `address` is missing
        ╭─[inventory.yaml:10:3]
     10 │   lb1: {}
        ·   ^^^
        ╰────
      help: write `address: 10.1.1.101`

      × `worker1` has no address
        ╭─[inventory.yaml:17:3]
     17 │   worker1:
        ·   ^^^^^^^
        ╰────
      help: write `worker1: 10.1.1.101`

      × `url` is missing
        ╭─[inventory.yaml:19:1]
     19 │ packages: { source: mirror }
        · ^^^^^^^^
        ╰────
      help: write `url: https://mirror.company.local/core:/stable:/v{minor}/deb/`

      × `key` is missing
        ╭─[inventory.yaml:19:1]
     19 │ packages: { source: mirror }
        · ^^^^^^^^
        ╰────
      help: write `key: mirror.asc`

      × `http` is missing
        ╭─[inventory.yaml:20:1]
     20 │ ingress: {}
        · ^^^^^^^
        ╰────
      help: write `http: 30080`

      × `https` is missing
        ╭─[inventory.yaml:20:1]
     20 │ ingress: {}
        · ^^^^^^^
        ╰────
      help: write `https: 30443`

    7 errors in inventory.yaml
    ");
}

#[test]
fn refuses_a_missing_section() {
    assert_snapshot!(refused(&[("vip:\n  address: 10.1.1.100\n", "")]), @r"
      × `vip` is missing
       ╭─[inventory.yaml:1:1]
     1 │ cluster:
       · ▲
       ╰────
      help: write `vip: { address: 10.1.1.100 }`

    1 error in inventory.yaml
    ");
}

#[test]
fn refuses_a_mirror_that_is_not_asked_for() {
    assert_snapshot!(refused(&[("cni: none", "cni: none\npackages: { url: 'https://mirror.local' }")]), @r"
      × only a mirror has an URL and a key
        ╭─[inventory.yaml:20:13]
     20 │ packages: { url: 'https://mirror.local' }
        ·             ^^^
        ╰────
      help: write `source: mirror`, or remove this key

    1 error in inventory.yaml
    ");
}

#[test]
fn refuses_an_unknown_package_source() {
    assert_snapshot!(refused(&[("cni: none", "cni: none\npackages: { source: miror }")]), @r"
      × unknown choice `miror`
        ╭─[inventory.yaml:20:21]
     20 │ packages: { source: miror }
        ·                     ^^^^^
        ╰────
      help: did you mean `mirror`?

    1 error in inventory.yaml
    ");
}

#[test]
fn refuses_a_cni_that_it_does_not_know() {
    assert_snapshot!(refused(&[("cni: none", "cni: calico")]), @r"
      × unknown choice `calico`
        ╭─[inventory.yaml:19:6]
     19 │ cni: calico
        ·      ^^^^^^
        ╰────
      help: write one of `none`, `bridge`, `manifest`

    1 error in inventory.yaml
    ");
}

#[test]
fn refuses_a_cni_without_its_value() {
    assert_snapshot!(refused(&[("cni: none", "cni: bridge")]), @r"
      × `bridge` needs a value
        ╭─[inventory.yaml:19:6]
     19 │ cni: bridge
        ·      ^^^^^^
        ╰────
      help: write `{ bridge: … }`

    1 error in inventory.yaml
    ");
}

#[test]
fn refuses_places_on_the_net_that_are_none() {
    assert_snapshot!(refused(&[("cni: none", "cni: { manifest: 'ftp://x/y' }\nimages:\n  repository: https://registry.local/k8s\n  registries:\n    http://docker.io: { mirrors: ['mirror.local:5000'], plain-http: true, ca: ca.pem }"), ("ssh: { user: ops }", "ssh: { user: 'a b', jump: 'ops@bastion:0' }")]), @r"
      × user `a b` is not one word
       ╭─[inventory.yaml:9:14]
     9 │ ssh: { user: 'a b', jump: 'ops@bastion:0' }
       ·              ^^^^^
       ╰────
      help: write it without blanks and quotes

      × `ops@bastion:0` is not a jump host
       ╭─[inventory.yaml:9:27]
     9 │ ssh: { user: 'a b', jump: 'ops@bastion:0' }
       ·                           ^^^^^^^^^^^^^^^
       ╰────
      help: write `[user@]host[:port]`

      × `ftp://x/y` is not an http or https URL
        ╭─[inventory.yaml:19:18]
     19 │ cni: { manifest: 'ftp://x/y' }
        ·                  ^^^^^^^^^^^
        ╰────
      help: write `https://x/y`

      × `https://registry.local/k8s` is not an image repository
        ╭─[inventory.yaml:21:15]
     21 │   repository: https://registry.local/k8s
        ·               ^^^^^^^^^^^^^^^^^^^^^^^^^^
        ╰────
      help: write `host[:port]/path` without scheme, for example `registry.company.local/k8s`

      × `http://docker.io` is not a registry's host
        ╭─[inventory.yaml:23:5]
     23 │     http://docker.io: { mirrors: ['mirror.local:5000'], plain-http: true, ca: ca.pem }
        ·     ^^^^^^^^^^^^^^^^
        ╰────
      help: write `host` or `host:port`, without scheme and path

      × `mirror.local:5000` is not an http or https URL
        ╭─[inventory.yaml:23:35]
     23 │     http://docker.io: { mirrors: ['mirror.local:5000'], plain-http: true, ca: ca.pem }
        ·                                   ^^^^^^^^^^^^^^^^^^^
        ╰────
      help: write `https://mirror.local:5000`

      × a registry over plain HTTP has no certificate
        ╭─[inventory.yaml:23:75]
     23 │     http://docker.io: { mirrors: ['mirror.local:5000'], plain-http: true, ca: ca.pem }
        ·                                                                           ^^
        ╰────
      help: remove `ca` or `plain-http`

      × CA certificate ca.pem does not exist
        ╭─[inventory.yaml:23:79]
     23 │     http://docker.io: { mirrors: ['mirror.local:5000'], plain-http: true, ca: ca.pem }
        ·                                                                               ^^^^^^
        ╰────
      help: write the path of a file that you can read

    8 errors in inventory.yaml
    ");
}

#[test]
fn refuses_names_for_certificates_that_are_none() {
    assert_snapshot!(refused(&[("cni: none", "cni: none\nkubeadm: { cert-sans: ['https://api.local:6443', api.local, 10.1.1.100, '*.k8s.local'] }"), ("address: 10.1.1.100", "address: 10.1.1.100\n  dns: API.local\n  interface: eth0/1")]), @r"
      × DNS name `API.local` is not a DNS name
       ╭─[inventory.yaml:6:8]
     6 │   dns: API.local
       ·        ^^^^^^^^^
       ╰────
      help: write lower-case labels of a-z, 0-9 and `-` joined by dots, for example `k8s-api.company.local`

      × `eth0/1` is not an interface name
       ╭─[inventory.yaml:7:14]
     7 │   interface: eth0/1
       ·              ^^^^^^
       ╰────
      help: write 1 to 15 characters without blanks, `/` and `:`, for example `eth0`

      × `https://api.local:6443` is neither a DNS name nor an IP address
        ╭─[inventory.yaml:22:24]
     22 │ kubeadm: { cert-sans: ['https://api.local:6443', api.local, 10.1.1.100, '*.k8s.local'] }
        ·                        ^^^^^^^^^^^^^^^^^^^^^^^^
        ╰────
      help: write names as `k8s-api.company.local`, without scheme and port

    3 errors in inventory.yaml
    ");
}

#[test]
fn refuses_flags_that_cannot_be_passed_on() {
    assert_snapshot!(refused(&[("cni: none", "cni: none\nkubeadm:\n  api-server: { --v: 2, Anonymous: no }\n  etcd: { name: etcd1, quota-backend-bytes: 8589934592 }\n  skip-phases: ['addon/kube-proxy', 'two words']\nsysctls: { somaxconn: 1, net.core.somaxconn: \"1\\n2\" }")]), @r#"
      × flag `--v` is written with dashes
        ╭─[inventory.yaml:21:17]
     21 │   api-server: { --v: 2, Anonymous: no }
        ·                 ^^^
        ╰────
      help: write `v`

      × `Anonymous` is not a flag of kube-apiserver
        ╭─[inventory.yaml:21:25]
     21 │   api-server: { --v: 2, Anonymous: no }
        ·                         ^^^^^^^^^
        ╰────
      help: write the flag's name as its help shows it, without dashes, for example `v`

      × etcd's `name` is each member's own and cannot be set for all
        ╭─[inventory.yaml:22:11]
     22 │   etcd: { name: etcd1, quota-backend-bytes: 8589934592 }
        ·           ^^^^
        ╰────
      help: remove it: kubeadm sets it from the host's name and address

      × phase `two words` is not one word
        ╭─[inventory.yaml:23:37]
     23 │   skip-phases: ['addon/kube-proxy', 'two words']
        ·                                     ^^^^^^^^^^^
        ╰────
      help: write letters, digits, `.`, `_`, `-` and `/`, without blanks

      × `somaxconn` is not a sysctl
        ╭─[inventory.yaml:24:12]
     24 │ sysctls: { somaxconn: 1, net.core.somaxconn: "1\n2" }
        ·            ^^^^^^^^^
        ╰────
      help: write its full name, for example `net.core.somaxconn`

      × the value has a line break or another control character
        ╭─[inventory.yaml:24:46]
     24 │ sysctls: { somaxconn: 1, net.core.somaxconn: "1\n2" }
        ·                                              ^^^^^^
        ╰────
      help: write it on one line

    6 errors in inventory.yaml
    "#);
}

#[test]
fn refuses_a_host_of_its_own_for_all_hosts() {
    assert_snapshot!(refused(&[("ssh: { user: ops }", "ssh: { host: 10.9.9.9 }")]), @r"
      × `host` is one host's own setting
       ╭─[inventory.yaml:9:8]
     9 │ ssh: { host: 10.9.9.9 }
       ·        ^^^^
       ╰────
      help: write it under a host: `lb1: { address: 10.1.1.11, ssh: { host: NAME } }`

    1 error in inventory.yaml
    ");
}

#[test]
fn refuses_one_ssh_host_for_a_range() {
    assert_snapshot!(refused(&[("worker1: 10.1.1.201", "worker[1-2]: { address: '10.1.1.[201-202]', ssh: { host: gateway } }")]), @r"
      × 2 hosts cannot share the SSH host `gateway`
        ╭─[inventory.yaml:18:60]
     18 │   worker[1-2]: { address: '10.1.1.[201-202]', ssh: { host: gateway } }
        ·                                                            ^^^^^^^
        ╰────
      help: write a range as the name has

    1 error in inventory.yaml
    ");
}

#[test]
fn refuses_numbers_outside_their_bounds() {
    assert_snapshot!(refused(&[("cni: none", "cni: none\naudit: { max-age: -1, max-size: 0 }\nload-balancer: { max-connections: 10 }"), ("  master1: 10.1.1.101", "  master1: { address: 10.1.1.101, weight: 257 }")]), @r"
      × weight 257 is outside 0 to 256
        ╭─[inventory.yaml:14:43]
     14 │   master1: { address: 10.1.1.101, weight: 257 }
        ·                                           ^^^
        ╰────
      help: write a number from 0 to 256

      × max-age -1 is outside 0 to 65535
        ╭─[inventory.yaml:20:19]
     20 │ audit: { max-age: -1, max-size: 0 }
        ·                   ^^
        ╰────
      help: write a number from 0 to 65535

      × max-size 0 is outside 1 to 65535
        ╭─[inventory.yaml:20:33]
     20 │ audit: { max-age: -1, max-size: 0 }
        ·                                 ^
        ╰────
      help: write a number from 1 to 65535

      × max-connections 10 is outside 100 to 1000000
        ╭─[inventory.yaml:21:35]
     21 │ load-balancer: { max-connections: 10 }
        ·                                   ^^
        ╰────
      help: write a number from 100 to 1000000, for example 8000

    4 errors in inventory.yaml
    ");
}

#[test]
fn refuses_a_yaml_that_does_not_parse() {
    assert_snapshot!(refused(&[("lb1: 10.1.1.11", "lb1: [10.1.1.11")]), @r"
      × illegal placement of ':' indicator
        ╭─[inventory.yaml:12:6]
     12 │   lb2: 10.1.1.12
        ·      ▲
        ╰────
      help: this is where the YAML parser gave up; the mistake may stand a little earlier

    1 error in inventory.yaml
    ");
}

#[test]
fn refuses_a_tab_for_indentation() {
    assert_snapshot!(refused(&[("  lb1: 10.1.1.11", "	lb1: 10.1.1.11")]), @r"
      × tabs disallowed within this context (block indentation)
        ╭─[inventory.yaml:11:2]
     11 │     lb1: 10.1.1.11
        ·     ▲
        ╰────
      help: this is where the YAML parser gave up; the mistake may stand a little earlier

    1 error in inventory.yaml
    ");
}

#[test]
fn refuses_aliases_and_tags() {
    assert_snapshot!(refused(&[("cni: none", "cni: !plugin none")]), @r"
      × YAML tags are not supported
        ╭─[inventory.yaml:19:14]
     19 │ cni: !plugin none
        ·              ^^^^
        ╰────
      help: write the value without its `!tag`

    1 error in inventory.yaml
    ");
}

#[test]
fn refuses_an_alias() {
    assert_snapshot!(refused(&[("lb1: 10.1.1.11", "lb1: &one 10.1.1.11"), ("lb2: 10.1.1.12", "lb2: *one")]), @r"
      × YAML aliases are not supported
        ╭─[inventory.yaml:12:8]
     12 │   lb2: *one
        ·        ^^^^
        ╰────
      help: write the value out

    1 error in inventory.yaml
    ");
}

#[test]
fn refuses_a_second_document() {
    assert_snapshot!(refused(&[("cni: none", "cni: none\n---\ncni: none")]), @r"
      × a second YAML document
        ╭─[inventory.yaml:20:1]
     20 │ ---
        · ^^^
        ╰────
      help: one file holds one document: remove what follows `---`

    1 error in inventory.yaml
    ");
}
