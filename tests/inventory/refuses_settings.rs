//! Refusals of versions, files, packages, images, flags and numbers.

use insta::assert_snapshot;

use crate::fixture::refused;

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
fn refuses_unreadable_files() {
    assert_snapshot!(refused(&[("cni: none", "cni: { manifest: cni.yaml }\npackages: { source: mirror, url: 'https://mirror.local', key: mirror.asc }\nimages: { registries: { registry.local: { ca: ca.pem } } }\naudit: { policy: policy.yaml }\noverlay: overlay")]), @r"
      × CNI manifest cni.yaml does not exist
        ╭─[inventory.yaml:19:18]
     19 │ cni: { manifest: cni.yaml }
        ·                  ^^^^^^^^
        ╰────
      help: write a path that exists and that you can read

      × package key mirror.asc does not exist
        ╭─[inventory.yaml:20:63]
     20 │ packages: { source: mirror, url: 'https://mirror.local', key: mirror.asc }
        ·                                                               ^^^^^^^^^^
        ╰────
      help: write a path that exists and that you can read

      × CA certificate ca.pem does not exist
        ╭─[inventory.yaml:21:47]
     21 │ images: { registries: { registry.local: { ca: ca.pem } } }
        ·                                               ^^^^^^
        ╰────
      help: write a path that exists and that you can read

      × audit policy policy.yaml does not exist
        ╭─[inventory.yaml:22:18]
     22 │ audit: { policy: policy.yaml }
        ·                  ^^^^^^^^^^^
        ╰────
      help: write a path that exists and that you can read

      × overlay overlay does not exist
        ╭─[inventory.yaml:23:10]
     23 │ overlay: overlay
        ·          ^^^^^^^
        ╰────
      help: write a path that exists and that you can read

    5 errors in inventory.yaml
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
      help: did you mean `mirror`? The choices: `upstream`, `mirror`, `preinstalled`

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
      help: write a path that exists and that you can read

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
