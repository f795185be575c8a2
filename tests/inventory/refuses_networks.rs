//! Refusals of networks and of the VIP.

use insta::assert_snapshot;

use crate::fixture::refused;

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
      × the VIP 10.1.1.100 is in the pod network 10.1.0.0/16
       ╭─[inventory.yaml:5:12]
     5 │   address: 10.1.1.100
       ·            ^^^^^^^^^^
       ╰────
      help: choose a free address in the load balancers' network

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

    2 errors in inventory.yaml
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
fn refuses_a_vip_in_a_cluster_network() {
    assert_snapshot!(refused(&[("address: 10.1.1.100", "address: 10.96.0.1\n  managed: false"), ("lb:\n  lb1: 10.1.1.11\n  lb2: 10.1.1.12\n", "")]), @r"
      × the VIP 10.96.0.1 is in the service network 10.96.0.0/12
       ╭─[inventory.yaml:5:12]
     5 │   address: 10.96.0.1
       ·            ^^^^^^^^^
       ╰────
      help: choose a free address in the load balancers' network

    1 error in inventory.yaml
    ");
}
