//! Refusals of YAML and of the shape of values: unknown keys, duplicates, wrong types.

use insta::assert_snapshot;

use crate::fixture::refused;

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
