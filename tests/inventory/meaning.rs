//! What a good file means: defaults, ranges, overrides, files, warnings.

use camino::Utf8Path;
use insta::{assert_json_snapshot, assert_snapshot};
use proptest::prelude::*;
use quorate::input::Colour;
use quorate::inventory::version::KubeadmApi;
use quorate::inventory::{Cni, Inventory, Loaded, PackageSource, Role};
use quorate::secret::SecretSource;

use crate::fixture::{changed, load, loaded, refused, sample};

fn warnings(loaded: &Loaded) -> String {
    let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    warnings.join("\n")
}

fn load_sample(name: &str) -> Loaded {
    Inventory::load(&sample(name)).unwrap_or_else(|report| panic!("{report}"))
}

/// `name address` of every host.
fn hosts(inventory: &Inventory) -> Vec<String> {
    let host = |node: &quorate::inventory::Node| format!("{} {}", node.name, node.address);
    inventory.nodes.iter().map(host).collect()
}

#[test]
fn the_ha_sample_has_two_balancers_three_masters_and_three_workers() {
    let loaded = load_sample("ha");
    assert!(loaded.warnings.is_empty(), "{}", warnings(&loaded));
    assert_snapshot!(hosts(&loaded.inventory).join("\n"), @r"
    lb1 10.1.1.11
    lb2 10.1.1.12
    master1 10.1.1.101
    master2 10.1.1.102
    master3 10.1.1.103
    worker1 10.1.1.201
    worker2 10.1.1.202
    worker3 10.1.1.203
    ");
    assert_eq!(loaded.inventory.control_plane_endpoint(), "10.1.1.100:6443");
    assert_eq!(
        loaded.inventory.kubeadm.cert_sans,
        ["k8s-api.company.local"]
    );
}

#[test]
fn the_minimal_sample_says_what_it_lacks() {
    let loaded = load_sample("minimal");
    let messages: Vec<&str> = loaded
        .warnings
        .iter()
        .map(|warning| warning.problem.message.as_str())
        .collect();
    assert_eq!(
        messages,
        [
            "one load balancer is not highly available",
            "one master is not highly available"
        ]
    );
}

#[test]
fn the_lab_sample_uses_the_mirror_of_the_lab() {
    let loaded = load_sample("lab");
    assert!(loaded.warnings.is_empty(), "{}", warnings(&loaded));
    assert_eq!(
        loaded.inventory.kubernetes.kubeadm_api(),
        Some(KubeadmApi::V1Beta2)
    );
    assert_eq!(loaded.inventory.cni, Cni::Bridge);
    assert!(matches!(
        loaded.inventory.packages,
        PackageSource::Mirror { .. }
    ));
}

#[test]
fn applies_every_default() {
    let mut inventory = loaded(&[]).inventory;
    assert!(inventory.nodes.iter().all(|node| node.ssh.use_config));
    inventory.nodes.truncate(1);
    assert_json_snapshot!(inventory, @r#"
    {
      "path": "inventory.yaml",
      "name": "seoul-1",
      "kubernetes": "v1.36.2",
      "vip": {
        "address": "10.1.1.100",
        "dns": null,
        "port": 6443,
        "interface": null,
        "router_id": 53,
        "managed": true
      },
      "network": {
        "pods": "10.244.0.0/16",
        "services": "10.96.0.0/12",
        "domain": "cluster.local"
      },
      "packages": {
        "source": "upstream"
      },
      "images": {
        "repository": null,
        "registries": {}
      },
      "containerd": {
        "package": "containerd",
        "restrict_oom_score_adj": false,
        "systemd_cgroup": null
      },
      "cni": "none",
      "audit": {
        "enabled": true,
        "policy": null,
        "max_age": 30,
        "max_backup": 10,
        "max_size": 100
      },
      "ingress": null,
      "kubelet": {},
      "kube_proxy": {},
      "kubeadm": {
        "cert_sans": [],
        "skip_phases": [],
        "ignore_preflight_errors": [],
        "api_server": {},
        "controller_manager": {},
        "scheduler": {},
        "etcd": {}
      },
      "etcd": {
        "topology": "stacked"
      },
      "load_balancer": {
        "max_connections": 8000,
        "stats_user": "quorate"
      },
      "sysctls": {},
      "overlay": null,
      "nodes": [
        {
          "name": "lb1",
          "address": "10.1.1.11",
          "role": "load-balancer",
          "labels": {},
          "taints": null,
          "tags": [],
          "weight": 100,
          "etcd": null
        }
      ]
    }
    "#);
}

#[test]
fn expands_ranges_in_order() {
    let loaded = loaded(&[(
        "worker1: 10.1.1.201",
        "worker1: 10.1.1.201\n  worker[08-11]-b: 10.1.1.[208-211]",
    )]);
    let workers: Vec<&str> = loaded
        .inventory
        .with_role(Role::Worker)
        .map(|node| node.name.as_str())
        .collect();
    assert_eq!(
        workers,
        [
            "worker1",
            "worker08-b",
            "worker09-b",
            "worker10-b",
            "worker11-b"
        ]
    );
    assert_eq!(
        loaded.inventory.node("worker11-b").map(|node| node.address),
        Some([10, 1, 1, 211].into())
    );
}

#[test]
fn gives_the_hosts_of_a_range_the_same_settings() {
    let long = "worker[1-2]:\n    address: 10.1.1.[201-202]\n    labels: { disk: ssd, hot: true }\n    taints: []\n    tags: [rack1]\n    ssh: { host: 'gw[1-2].local' }";
    let inventory = loaded(&[("worker1: 10.1.1.201", long)]).inventory;
    let second = inventory.node("worker2").expect("it is listed");
    assert_eq!(second.labels.get("hot").map(String::as_str), Some("true"));
    assert_eq!(second.taints.as_deref(), Some(&[][..]));
    assert_eq!(second.tags, ["rack1"]);
    assert_eq!(second.ssh.host.as_deref(), Some("gw2.local"));
    assert_eq!(second.ssh.user.as_deref(), Some("ops"));
}

#[test]
fn a_hosts_own_ssh_settings_win() {
    let general = "ssh: { user: ops, port: 2222, jump: [a, 'ops@b:2200'], config: false, sudo-password: prompt }";
    let own = "worker1: { address: 10.1.1.201, ssh: { user: root, jump: c, sudo-password: { env: SUDO } } }";
    let inventory = loaded(&[
        ("ssh: { user: ops }", general),
        ("worker1: 10.1.1.201", own),
    ])
    .inventory;
    let [lb, worker] =
        ["lb1", "worker1"].map(|name| &inventory.node(name).expect("it is listed").ssh);
    assert_eq!((lb.user.as_deref(), lb.port), (Some("ops"), Some(2222)));
    assert_eq!(
        (worker.user.as_deref(), worker.port),
        (Some("root"), Some(2222))
    );
    assert_eq!(
        (lb.jump.as_slice(), worker.jump.as_slice()),
        (
            &["a".to_owned(), "ops@b:2200".to_owned()][..],
            &["c".to_owned()][..]
        )
    );
    assert_eq!(lb.sudo_password, Some(SecretSource::Prompt));
    assert_eq!(
        worker.sudo_password,
        Some(SecretSource::Env("SUDO".to_owned()))
    );
    assert!(!worker.use_config);
}

#[test]
fn reads_files_relative_to_the_inventory() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let directory = Utf8Path::from_path(directory.path()).expect("its path is UTF-8");
    let files = [
        ("id_ed25519", "private"),
        ("mirror.asc", "-----BEGIN PGP PUBLIC KEY BLOCK-----\n"),
        ("ca.pem", "-----BEGIN CERTIFICATE-----\n"),
        ("policy.yaml", "apiVersion: audit.k8s.io/v1\nkind: Policy\n"),
        ("cni.yaml", "apiVersion: v1\n"),
    ];
    for (name, content) in files {
        fs_err::write(directory.join(name), content).expect("the file is written");
    }
    fs_err::create_dir(directory.join("overlay")).expect("the directory is made");
    let text = changed(&[
        (
            "ssh: { user: ops }",
            "ssh: { identity-file: id_ed25519, known-hosts: known_hosts, passphrase: { file: secret } }",
        ),
        (
            "cni: none",
            "cni: { manifest: cni.yaml }\npackages: { source: mirror, url: 'http://m/v{minor}', key: mirror.asc }\nimages: { registries: { 'r.local:5000': { ca: ca.pem, mirrors: ['https://m.local'] } } }\naudit: { policy: policy.yaml }\noverlay: overlay",
        ),
    ]);
    let path = directory.join("cluster.yaml");
    fs_err::write(&path, text).expect("the file is written");
    let inventory = Inventory::load(&path)
        .unwrap_or_else(|report| panic!("{report}"))
        .inventory;
    let ssh = &inventory.nodes.first().expect("there are hosts").ssh;
    assert_eq!(ssh.identity_files, [directory.join("id_ed25519")]);
    assert_eq!(ssh.known_hosts, Some(directory.join("known_hosts")));
    assert_eq!(
        ssh.passphrase,
        Some(SecretSource::File(directory.join("secret")))
    );
    assert_eq!(inventory.overlay, Some(directory.join("overlay")));
    assert_eq!(
        inventory.audit.policy.as_deref(),
        Some("apiVersion: audit.k8s.io/v1\nkind: Policy\n")
    );
    let registry = inventory
        .images
        .registries
        .get("r.local:5000")
        .expect("it is listed");
    assert_eq!(
        registry.ca.as_deref(),
        Some("-----BEGIN CERTIFICATE-----\n")
    );
    let content = Some("apiVersion: v1\n".to_owned());
    assert_eq!(
        inventory.cni,
        Cni::Manifest {
            origin: "cni.yaml".to_owned(),
            content
        }
    );
}

#[test]
fn refuses_files_that_hold_something_else() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let directory = Utf8Path::from_path(directory.path()).expect("its path is UTF-8");
    fs_err::write(directory.join("key.asc"), "not a key").expect("the file is written");
    let text = changed(&[(
        "cni: none",
        "cni: none\npackages: { source: mirror, url: 'http://m', key: key.asc }\noverlay: key.asc",
    )]);
    let report = Inventory::from_text(&directory.join("inventory.yaml"), &text)
        .expect_err("it is refused")
        .to_string();
    assert_snapshot!(report.replace(directory.as_str(), "DIR"), @r"
      × package key DIR/key.asc is not an ASCII-armoured public key
        ╭─[DIR/inventory.yaml:20:51]
     20 │ packages: { source: mirror, url: 'http://m', key: key.asc }
        ·                                                   ^^^^^^^
        ╰────
      help: the file must contain `-----BEGIN PGP PUBLIC KEY BLOCK-----`

      × overlay DIR/key.asc is not a directory
        ╭─[DIR/inventory.yaml:21:10]
     21 │ overlay: key.asc
        ·          ^^^^^^^
        ╰────
      help: write the path of a directory

    2 errors in DIR/inventory.yaml
    ");
}

#[test]
fn expands_the_home_directory() {
    let home = std::env::var("HOME").expect("tests have a home");
    let inventory =
        loaded(&[("ssh: { user: ops }", "ssh: { known-hosts: ~/.ssh/known }")]).inventory;
    let known = inventory
        .nodes
        .first()
        .and_then(|node| node.ssh.known_hosts.clone());
    assert_eq!(known, Some(Utf8Path::new(&home).join(".ssh/known")));
}

#[test]
fn an_unreadable_inventory_is_refused_by_name() {
    let report = Inventory::load(Utf8Path::new("nowhere/inventory.yaml"))
        .expect_err("it is not there")
        .to_string();
    assert_snapshot!(report, @r"
      × failed to open file `nowhere/inventory.yaml`: No such file or directory (os error 2)
      help: name your inventory with `--inventory FILE` or in QUORATE_INVENTORY; `quorate schema` describes it

    1 error in nowhere/inventory.yaml
    ");
}

#[test]
fn allows_a_load_balancer_that_somebody_else_runs() {
    let inventory = loaded(&[
        (
            "address: 10.1.1.100",
            "address: 192.0.2.7\n  dns: api.company.local\n  port: 8443\n  managed: false",
        ),
        ("lb:\n  lb1: 10.1.1.11\n  lb2: 10.1.1.12\n", ""),
    ])
    .inventory;
    assert!(!inventory.vip.managed);
    assert_eq!(inventory.control_plane_endpoint(), "api.company.local:8443");
}

#[test]
fn allows_a_vip_in_a_larger_network_that_is_named() {
    let inventory = loaded(&[
        ("address: 10.1.1.100", "address: 10.1.3.255"),
        ("network:\n", "network:\n  hosts: 10.1.0.0/21\n"),
    ])
    .inventory;
    assert_eq!(inventory.vip.address.to_string(), "10.1.3.255");
}

#[test]
fn divides_the_pod_network_as_the_controller_manager_will() {
    let small = [
        ("pods: 10.244.0.0/16", "pods: 10.244.0.0/24"),
        (
            "cni: none",
            "cni: none\nkubeadm: { controller-manager: { node-cidr-mask-size: 26 } }",
        ),
    ];
    assert_eq!(
        loaded(&small).inventory.network.pods.to_string(),
        "10.244.0.0/24"
    );
}

#[test]
fn keeps_the_types_of_free_maps() {
    let inventory = loaded(&[("cni: none", "cni: none\nkubelet: { maxPods: 50, failSwapOn: false, evictionHard: { memory.available: 5% }, version: '1.30', list: [1, 2.5, ~] }")]).inventory;
    assert_snapshot!(serde_json::Value::Object(inventory.kubelet), @r#"{"evictionHard":{"memory.available":"5%"},"failSwapOn":false,"list":[1,2.5,null],"maxPods":50,"version":"1.30"}"#);
}

#[test]
fn warns_about_what_is_allowed_but_unwise() {
    let loaded = loaded(&[
        ("v1.36.2", "v1.99.0"),
        (
            "address: 10.1.1.100",
            "address: 10.1.1.100\n  router-id: 51",
        ),
        ("  lb2: 10.1.1.12\n", ""),
        ("  master2: 10.1.1.102\n  master3: 10.1.1.103\n", ""),
        (
            "workers:\n  worker1: 10.1.1.201\ncni: none",
            "ingress: { http: 30080, https: 30443 }",
        ),
    ]);
    assert_snapshot!(warnings(&loaded), @r"
     ⚠ no CNI is named: nodes stay NotReady until one is installed
     help: write `cni: { manifest: FILE_OR_URL }`, or `cni: none` if you install it yourself

     ⚠ v1.99.0 is newer than this quorate
      ╭─[inventory.yaml:3:15]
    3 │   kubernetes: v1.99.0
      ·               ^^^^^^^
      ╰────
     help: it is treated as v1.37: kubeadm API v1beta4

     ⚠ router-id 51 stands in every example and is often taken
      ╭─[inventory.yaml:6:14]
    6 │   router-id: 51
      ·              ^^
      ╰────
     help: remove it: the default is derived from the cluster's name and the VIP

     ⚠ one load balancer is not highly available
       ╭─[inventory.yaml:11:1]
    11 │ lb:
       · ^^
       ╰────
     help: a second one takes over the VIP within seconds

     ⚠ one master is not highly available
       ╭─[inventory.yaml:13:1]
    13 │ masters:
       · ^^^^^^^
       ╰────
     help: three masters survive the loss of one

     ⚠ ingress has no workers to forward to
       ╭─[inventory.yaml:15:1]
    15 │ ingress: { http: 30080, https: 30443 }
       · ^^^^^^^
       ╰────
     help: list workers, or remove `ingress`
    ");
}

#[test]
fn reports_every_mistake_of_a_file_at_once() {
    let report = refused(&[
        ("v1.36.2", "1.36"),
        ("address: 10.1.1.100", "adress: 10.1.1.100\n  router-id: 0"),
        ("pods: 10.244.0.0/16", "pods: 10.1.0.0/15"),
        ("ssh: { user: ops }", "ssh: { user: ops, prot: 22 }"),
        ("lb2: 10.1.1.12", "lb1: 10.1.1.12"),
        ("master3: 10.1.1.103", "master3: 10.1.1.101"),
        ("worker1: 10.1.1.201", "worker[1-3]: 10.1.1.[201-202]"),
        ("cni: none", "cni: none\nwrokers: {}"),
    ]);
    let messages: Vec<&str> = report.lines().filter(|line| line.contains('×')).collect();
    assert_snapshot!(messages.join("\n"), @r"
    × `1.36` is not a Kubernetes version
    × unknown key `adress`
    × router-id 0 is outside 1 to 255
    × `10.1.0.0/15` has host bits set
    × unknown key `prot`
    × duplicate key `lb1`
    × address 10.1.1.101 is used twice
    × `worker[1-3]` stands for 3 hosts, `10.1.1.[201-202]` for 2 addresses
    × unknown key `wrokers`
    ");
}

#[test]
fn colours_a_report_only_when_asked() {
    let errors = Inventory::from_text(Utf8Path::new("inventory.yaml"), "vip: 1\n")
        .expect_err("it is refused");
    assert!(!errors.to_string().contains('\u{1b}'));
    assert!(errors.render(Colour::Always).contains('\u{1b}'));
}

#[test]
fn tells_machines_line_and_column() {
    let errors = Inventory::from_text(Utf8Path::new("inventory.yaml"), "# 가\nclusters: {}\n")
        .expect_err("it is refused");
    let first = errors
        .problems
        .iter()
        .find(|problem| problem.message.contains("clusters"))
        .expect("it is named");
    let place = first.place.expect("it has a place");
    assert_eq!(errors.source.line_and_column(place.start), (2, 1));
}

proptest! {
    #[test]
    fn derives_the_router_id_from_name_and_vip(name in "[a-z]{1,12}", last in 1..=10_u8) {
        let vip = format!("address: 10.1.1.{last}");
        let id = || loaded(&[("seoul-1", &name), ("address: 10.1.1.100", &vip)]).inventory.vip.router_id;
        prop_assert!(id() > 0 && id() != 51);
        prop_assert_eq!(id(), id());
    }

    #[test]
    fn a_range_stands_for_as_many_hosts_as_it_says(first in 0..50_u8, more in 0..50_u8) {
        let last = first + more;
        let entry = format!("worker[{first:03}-{last:03}]: 10.9.9.[{first}-{last}]");
        let inventory = load(&changed(&[("worker1: 10.1.1.201", &entry)])).map_err(TestCaseError::fail)?.inventory;
        prop_assert_eq!(inventory.with_role(Role::Worker).count(), usize::from(more) + 1);
    }
}
