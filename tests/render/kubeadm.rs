//! kubeadm's documents: well-formed, of the right API, with no field that kubeadm would only warn about and ignore.

use std::collections::BTreeSet;

use quorate::inventory::Role;
use quorate::template::{etcd_members, kubeadm_flags};
use serde_json::{Value, json};

use crate::support::{Cluster, SAMPLES, repository};

const FULL: &str = "tests/render/full.yaml";

/// A version of Kubernetes per API, the first and last that quorate writes it for.
const VERSIONS: [(&str, &str); 6] = [
    ("v1.20.2", "v1beta2"),
    ("v1.21.14", "v1beta2"),
    ("v1.22.0", "v1beta3"),
    ("v1.30.4", "v1beta3"),
    ("v1.31.0", "v1beta4"),
    ("v1.37.0", "v1beta4"),
];

/// Fields that all three APIs have; `[]` is a list's element, `*` any key.
const COMMON: [&str; 56] = [
    "apiVersion",
    "kind",
    // ClusterConfiguration
    "clusterName",
    "kubernetesVersion",
    "controlPlaneEndpoint",
    "imageRepository",
    "certificatesDir",
    "featureGates",
    "networking.dnsDomain",
    "networking.podSubnet",
    "networking.serviceSubnet",
    "apiServer.certSANs[]",
    "apiServer.extraVolumes[].name",
    "apiServer.extraVolumes[].hostPath",
    "apiServer.extraVolumes[].mountPath",
    "apiServer.extraVolumes[].readOnly",
    "apiServer.extraVolumes[].pathType",
    "controllerManager.extraVolumes",
    "scheduler.extraVolumes",
    "etcd.external.endpoints[]",
    "etcd.external.caFile",
    "etcd.external.certFile",
    "etcd.external.keyFile",
    "etcd.local.dataDir",
    "etcd.local.imageRepository",
    "etcd.local.imageTag",
    "etcd.local.serverCertSANs[]",
    "etcd.local.peerCertSANs[]",
    "dns.imageRepository",
    "dns.imageTag",
    // InitConfiguration
    "bootstrapTokens[].token",
    "bootstrapTokens[].ttl",
    "bootstrapTokens[].usages[]",
    "bootstrapTokens[].groups[]",
    "bootstrapTokens[].description",
    "certificateKey",
    "localAPIEndpoint.advertiseAddress",
    "localAPIEndpoint.bindPort",
    // JoinConfiguration
    "caCertPath",
    "discovery.bootstrapToken.apiServerEndpoint",
    "discovery.bootstrapToken.token",
    "discovery.bootstrapToken.caCertHashes[]",
    "discovery.file.kubeConfigPath",
    "discovery.tlsBootstrapToken",
    "controlPlane.certificateKey",
    "controlPlane.localAPIEndpoint.advertiseAddress",
    "controlPlane.localAPIEndpoint.bindPort",
    // both
    "nodeRegistration.name",
    "nodeRegistration.criSocket",
    "nodeRegistration.ignorePreflightErrors[]",
    "nodeRegistration.taints",
    "nodeRegistration.taints[].key",
    "nodeRegistration.taints[].value",
    "nodeRegistration.taints[].effect",
    "nodeRegistration.taints[].timeAdded",
    "skipPhases[]",
];

/// Where the APIs differ: flags as a map or as a list.
const FLAGS: [&str; 5] = [
    "apiServer.extraArgs",
    "controllerManager.extraArgs",
    "scheduler.extraArgs",
    "etcd.local.extraArgs",
    "nodeRegistration.kubeletExtraArgs",
];

fn allowed(api: &str) -> BTreeSet<String> {
    let mut fields: BTreeSet<String> = COMMON.map(str::to_owned).into();
    if api == "v1beta2" {
        fields.remove("skipPhases[]");
    } else {
        fields.insert("patches.directory".to_owned());
        fields.insert("nodeRegistration.imagePullPolicy".to_owned());
    }
    for flags in FLAGS {
        if api == "v1beta4" {
            fields.extend([format!("{flags}[].name"), format!("{flags}[].value")]);
        } else {
            fields.insert(format!("{flags}.*"));
        }
    }
    fields
}

/// The paths of a document's leaves.
fn leaves(value: &Value, path: &str, out: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                let is_map_of_flags = FLAGS.contains(&path);
                let key = if is_map_of_flags { "*" } else { key };
                let path = if path.is_empty() {
                    key.to_owned()
                } else {
                    format!("{path}.{key}")
                };
                leaves(value, &path, out);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                leaves(item, &format!("{path}[]"), out);
            }
        }
        _ => {
            out.insert(path.to_owned());
        }
    }
}

fn documents(text: &str) -> Vec<Value> {
    text.split("\n---\n")
        .map(|document| {
            serde_saphyr::from_str(document).unwrap_or_else(|error| panic!("{error}\n{document}"))
        })
        .collect()
}

/// The documents of a master and a worker: shared, init, join, join.
fn all_documents(cluster: &Cluster) -> Vec<Value> {
    [
        "kubeadm/cluster.yaml",
        "kubeadm/init.yaml",
        "kubeadm/join.yaml",
    ]
    .iter()
    .flat_map(|template| documents(&cluster.render(template, "master1")))
    .chain(documents(&cluster.render("kubeadm/join.yaml", "worker1")))
    .collect()
}

fn cluster_configuration(cluster: &Cluster) -> Value {
    documents(&cluster.render("kubeadm/cluster.yaml", "master1")).remove(0)
}

#[test]
fn uses_only_fields_of_its_api() {
    for sample in SAMPLES {
        for (version, api) in VERSIONS {
            let cluster = Cluster::at_version(sample, version);
            for document in all_documents(&cluster) {
                let kind = document["kind"].as_str().unwrap();
                if matches!(kind, "KubeletConfiguration" | "KubeProxyConfiguration") {
                    continue;
                }
                assert_eq!(document["apiVersion"], format!("kubeadm.k8s.io/{api}"));
                let mut used = BTreeSet::new();
                leaves(&document, "", &mut used);
                let strange: Vec<_> = used.difference(&allowed(api)).cloned().collect();
                assert!(strange.is_empty(), "{kind} of {version}: {strange:?}");
            }
        }
    }
}

#[test]
fn snapshots_of_the_other_apis() {
    for (version, api) in [("v1.20.2", "v1beta2"), ("v1.30.4", "v1beta3")] {
        let cluster = Cluster::at_version(FULL, version);
        let text = [
            "kubeadm/cluster.yaml",
            "kubeadm/init.yaml",
            "kubeadm/join.yaml",
        ]
        .map(|template| format!("=== {template}\n{}", cluster.render(template, "master1")))
        .concat();
        insta::assert_snapshot!(format!("full-master1-{api}"), text);
    }
}

#[test]
fn flags_are_strings_and_the_users_win() {
    for (version, api) in VERSIONS {
        let document = cluster_configuration(&Cluster::at_version(FULL, version));
        let flags = &document["apiServer"]["extraArgs"];
        let of = |name: &str| {
            if api == "v1beta4" {
                let list = flags.as_array().unwrap();
                let all: Vec<&Value> = list.iter().filter(|flag| flag["name"] == name).collect();
                assert_eq!(all.len(), 1, "{name} in {flags}");
                all[0]["value"].clone()
            } else {
                flags[name].clone()
            }
        };
        assert_eq!(of("audit-log-maxage"), json!("9"));
        assert_eq!(of("audit-log-maxsize"), json!("50"));
        assert_eq!(of("goaway-chance"), json!("0.001"));
        assert_eq!(
            of("audit-policy-file"),
            json!("/etc/kubernetes/audit/policy.yaml")
        );
    }
}

#[test]
fn the_shared_configuration_is_the_same_on_every_master() {
    for sample in SAMPLES {
        let cluster = Cluster::load(sample);
        let masters = cluster.hosts(Role::Master);
        let first = cluster.render("kubeadm/cluster.yaml", &masters[0].name);
        for master in masters {
            assert_eq!(first, cluster.render("kubeadm/cluster.yaml", &master.name));
        }
    }
}

#[test]
fn has_none_of_the_seeds_mistakes() {
    for sample in SAMPLES {
        for (version, _) in VERSIONS {
            let cluster = Cluster::at_version(sample, version);
            let document = cluster_configuration(&cluster);
            // A node's own values in the object that all share.
            assert_eq!(document["apiServer"]["advertiseAddress"], Value::Null);
            let text = document.to_string();
            for node_local in [
                "initial-cluster",
                "initial-advertise-peer-urls",
                "advertise-client-urls",
                "listen-peer-urls",
                "listen-client-urls",
                "advertise-address",
            ] {
                assert!(!text.contains(node_local), "{node_local} in {text}");
            }
            // An audit log without a policy, or one that the container does not see.
            let mounts: Vec<&str> = document["apiServer"]["extraVolumes"]
                .as_array()
                .unwrap()
                .iter()
                .map(|volume| volume["mountPath"].as_str().unwrap())
                .collect();
            for path in [
                "/etc/kubernetes/audit/policy.yaml",
                "/var/log/kubernetes/audit",
            ] {
                assert!(text.contains(path));
                assert!(mounts.contains(&path), "{mounts:?}");
            }
            // An answer from the internet.
            assert_eq!(document["kubernetesVersion"], version);
        }
    }
}

#[test]
fn certificates_name_the_address_and_no_single_node() {
    let document = cluster_configuration(&Cluster::load(FULL));
    assert_eq!(document["controlPlaneEndpoint"], "k8s-api.example.com:8443");
    let expected = json!([
        "10.1.1.100",
        "k8s-api.example.com",
        "extra.example.com",
        "10.9.9.9"
    ]);
    assert_eq!(document["apiServer"]["certSANs"], expected);
}

#[test]
fn kubelet_and_containerd_agree_on_cgroups() {
    let full = documents(&Cluster::load(FULL).render("kubeadm/cluster.yaml", "master1"));
    assert_eq!(
        full[1]["cgroupDriver"], "cgroupfs",
        "containerd's word wins"
    );
    let text = std::fs::read_to_string(repository().join("inventory/lab.yaml")).unwrap();
    let path = repository().join("inventory/lab.yaml");
    for (containerd, kubelet, systemd, driver) in [
        ("", "", "SystemdCgroup = true", "systemd"),
        (
            "systemd-cgroup: true",
            "",
            "SystemdCgroup = true",
            "systemd",
        ),
        (
            "systemd-cgroup: false",
            "",
            "SystemdCgroup = false",
            "cgroupfs",
        ),
        (
            "",
            "kubelet: { cgroupDriver: cgroupfs }",
            "SystemdCgroup = false",
            "cgroupfs",
        ),
        (
            "",
            "kubelet: { cgroupDriver: systemd }",
            "SystemdCgroup = true",
            "systemd",
        ),
    ] {
        let text = text.replace(
            "containerd:\n",
            &format!("{kubelet}\ncontainerd:\n  {containerd}\n"),
        );
        let cluster = Cluster::from_text(&path, &text);
        let config = cluster.render("containerd/config.toml", "master1");
        assert!(config.contains(systemd), "{text}\n{config}");
        let kubelet = &documents(&cluster.render("kubeadm/cluster.yaml", "master1"))[1];
        assert_eq!(kubelet["cgroupDriver"], driver);
    }
}

#[test]
fn overrides_of_kubelet_and_proxy_are_merged() {
    let documents = documents(&Cluster::load(FULL).render("kubeadm/cluster.yaml", "master1"));
    assert_eq!(documents.len(), 3);
    let kubelet = &documents[1];
    assert_eq!(kubelet["kind"], "KubeletConfiguration");
    assert_eq!(kubelet["failCgroupV1"], false);
    assert_eq!(kubelet["maxPods"], 200);
    assert_eq!(kubelet["evictionHard"]["memory.available"], "5%");
    assert_eq!(kubelet["evictionHard"]["on"], "yes");
    let proxy = &documents[2];
    assert_eq!(proxy["mode"], "ipvs");
    assert_eq!(proxy["conntrack"]["maxPerCore"], 0);
}

#[test]
fn says_which_etcd_members_exist_in_the_end() {
    let cluster = Cluster::load("inventory/ha.yaml");
    let shown = cluster.render("kubeadm/cluster.yaml", "master2");
    let members = etcd_members(&cluster.inventory);
    assert_eq!(members.len(), 3);
    for member in members {
        let address = &cluster.inventory.node(&member.name).unwrap().address;
        assert_eq!(member.client_url, format!("https://{address}:2379"));
        assert_eq!(member.peer_url, format!("https://{address}:2380"));
        let sans = member.server_sans.join(", ");
        assert!(sans.contains(&member.name) && sans.contains(&address.to_string()));
        for text in [
            member.client_url,
            member.peer_url,
            sans,
            member.peer_sans.join(", "),
        ] {
            assert!(shown.contains(&text), "{text} in {shown}");
        }
    }
}

#[test]
fn a_node_says_who_it_is_and_only_masters_join_the_control_plane() {
    let cluster = Cluster::load(FULL);
    let master = &documents(&cluster.render("kubeadm/join.yaml", "master2"))[0];
    assert_eq!(
        master["controlPlane"]["localAPIEndpoint"]["advertiseAddress"],
        "10.1.1.102"
    );
    assert_eq!(master["nodeRegistration"]["name"], "master2");
    let worker = &documents(&cluster.render("kubeadm/join.yaml", "worker1"))[0];
    assert_eq!(worker["controlPlane"], Value::Null);
    assert_eq!(
        worker["nodeRegistration"]["taints"],
        json!([
            { "key": "dedicated", "value": "gpu", "effect": "NoExecute" },
            { "key": "example.com/x", "effect": "NoSchedule" },
        ])
    );
    // No taint is another thing than nothing said of taints.
    let untainted = &documents(&cluster.render("kubeadm/init.yaml", "master1"))[0];
    assert_eq!(untainted["nodeRegistration"]["taints"], json!([]));
    assert_eq!(master["nodeRegistration"]["taints"], Value::Null);
}

#[test]
fn without_a_certificate_key_none_is_written() {
    let cluster = Cluster::load("inventory/ha.yaml");
    let extra = json!({
        "token": "abcdef.0123456789abcdef",
        "certificate_key": "",
        "ca_cert_hash": "sha256:00",
        "api_endpoint": "10.1.1.100:6443",
        "control_plane": true,
    });
    for template in ["kubeadm/init.yaml", "kubeadm/join.yaml"] {
        let text = cluster.render_with(template, "master1", extra.clone());
        assert!(!text.contains("certificateKey"), "{text}");
        documents(&text);
    }
}

#[test]
fn what_an_api_cannot_say_becomes_a_flag() {
    let flags = |version: &str, command: &str| {
        kubeadm_flags(&Cluster::at_version(FULL, version).inventory, command)
    };
    assert_eq!(
        flags("v1.20.2", "init"),
        ["--skip-phases=addon/kube-proxy,preflight"]
    );
    assert_eq!(flags("v1.20.2", "join"), ["--skip-phases=preflight"]);
    assert_eq!(flags("v1.30.4", "init"), [""; 0]);
    let mut all = Cluster::load("inventory/ha.yaml");
    all.inventory.kubeadm.ignore_preflight_errors = vec!["All".to_owned()];
    assert_eq!(
        kubeadm_flags(&all.inventory, "join"),
        ["--ignore-preflight-errors=all"]
    );
    assert!(
        !all.render("kubeadm/join.yaml", "worker1")
            .contains("ignorePreflightErrors")
    );
}

#[test]
fn the_audit_policy_logs_no_content() {
    let policy = &documents(
        &Cluster::load("inventory/ha.yaml").render("kubeadm/audit-policy.yaml", "master1"),
    )[0];
    assert_eq!(policy["apiVersion"], "audit.k8s.io/v1");
    let rules = policy["rules"].as_array().unwrap();
    let levels: BTreeSet<&str> = rules
        .iter()
        .map(|rule| rule["level"].as_str().unwrap())
        .collect();
    assert_eq!(levels, BTreeSet::from(["Metadata", "None"]));
    assert_eq!(rules.last().unwrap(), &json!({ "level": "Metadata" }));
    let own = Cluster::load(FULL).render("kubeadm/audit-policy.yaml", "master1");
    assert_eq!(
        own,
        "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n  - level: Metadata\n"
    );
}

#[test]
fn the_bridge_configuration_is_json() {
    let text = Cluster::load("inventory/lab.yaml").render("cni/bridge.conflist", "worker1");
    let conflist: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        conflist["plugins"][0]["ipam"]["ranges"][0][0]["subnet"],
        "10.244.1.0/24"
    );
}
