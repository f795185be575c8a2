//! Refusals of hosts: names, addresses, ranges, counts, labels.

use insta::assert_snapshot;

use crate::fixture::refused;

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
