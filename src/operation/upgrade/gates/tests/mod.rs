//! One test per gate: a cluster that may be upgraded, spoilt in one way.

#![expect(
    clippy::indexing_slicing,
    reason = "JSON objects are put together by key"
)]

mod hosts;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Hops, Site, judge, probes};
use crate::action::Fleet;
use crate::cluster::objects;
use crate::cluster::report::{Answer, Report};
use crate::cluster::sample::joined;
use crate::host::facts::Machine;
use crate::host::probe::{FileState, Probe, Readings};
use crate::inventory::version::KubeVersion;
use crate::inventory::{Inventory, PackageSource};
use crate::operation::preflight::Verdict;
use crate::operation::upgrade::Policies;
use crate::template::Templates;
use crate::testing;

const FROM: KubeVersion = KubeVersion {
    minor: 33,
    patch: 4,
};
const TO: KubeVersion = KubeVersion {
    minor: 33,
    patch: 5,
};
const CONFIGURATION: &str = "/api/v1/namespaces/kube-system/configmaps/kubeadm-config";
const BUDGETS: &str = "/apis/policy/v1/poddisruptionbudgets";
const DNS: &str = "/apis/apps/v1/namespaces/kube-system/deployments/coredns";
const NODES: &str = "/api/v1/nodes";

/// A cluster as its hosts answer: by host (or all) and by script, for the API by path.
struct Cluster {
    inventory: Inventory,
    answers: BTreeMap<(String, String), String>,
    machine: Machine,
    policies: Policies,
    target: KubeVersion,
    hops: Option<Hops>,
}

fn node(name: &str) -> Value {
    json!({ "metadata": { "name": name }, "status": {
        "nodeInfo": { "kubeletVersion": FROM.to_string(), "containerRuntimeVersion": "containerd://2.3.1" },
        "conditions": [{ "type": "Ready", "status": "True" }] } })
}

fn nodes(names: &[&str]) -> String {
    let items: Vec<Value> = names.iter().map(|name| node(name)).collect();
    format!("200 {}", json!({ "items": items }))
}

fn configuration(api: &str, more: &str) -> String {
    let text = format!("apiVersion: kubeadm.k8s.io/{api}\nkubernetesVersion: {FROM}\n{more}");
    format!(
        "200 {}",
        json!({ "data": { "ClusterConfiguration": text } })
    )
}

fn report(number: u64) -> Report {
    let name = format!("master{number}");
    Report {
        node: Answer::Http(200, node(&name).to_string()),
        ..joined(number, &[1, 2, 3])
    }
}

fn release(master: bool, more: &str, pods: &Value) -> String {
    let manifests = [
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
    ];
    let lines = manifests
        .iter()
        .filter(|_| master)
        .map(|name| format!("manifest {name} registry.k8s.io/{name}:{FROM}\n"));
    format!(
        "{}{more}version 200 {}\npods 200 {}\n",
        lines.collect::<String>(),
        json!({ "gitVersion": FROM.to_string() }),
        json!({ "items": pods })
    )
}

impl Cluster {
    fn new() -> Self {
        let mut inventory = testing::inventory();
        inventory.kubernetes = TO;
        let names = ["master1", "master2", "master3", "worker1"];
        let up = |name: &str| {
            format!(
                "haproxy_server_status{{proxy=\"kube_apiserver\",server=\"{name}\",state=\"UP\"}} 1\n"
            )
        };
        let mut cluster = Self {
            inventory,
            answers: BTreeMap::new(),
            machine: testing::debian(),
            policies: Policies::default(),
            target: TO,
            hops: None,
        };
        cluster.set("all", NODES, &nodes(&names));
        cluster.set("all", CONFIGURATION, &configuration("v1beta4", ""));
        cluster.set("all", BUDGETS, "200 {\"items\":[]}");
        cluster.set("all", DNS, "200 {\"status\":{\"readyReplicas\":2}}");
        cluster.set(
            "all",
            "haproxy-servers",
            &["master1", "master2", "master3"].map(up).concat(),
        );
        for number in 1..=3 {
            cluster.set(
                &format!("master{number}"),
                "kubernetes-report",
                &report(number).to_string(),
            );
            cluster.set(
                &format!("master{number}"),
                "kubernetes-release",
                &release(true, "", &json!([])),
            );
        }
        cluster.set(
            "worker1",
            "kubernetes-report",
            &format!("has kubelet-conf\nnode 200 {}\n", node("worker1")),
        );
        cluster.set(
            "worker1",
            "kubernetes-release",
            &release(false, "", &json!([])),
        );
        cluster
    }

    fn set(&mut self, host: &str, what: &str, text: &str) {
        self.answers
            .insert((host.to_owned(), what.to_owned()), text.to_owned());
    }

    fn answer(&self, host: &str, what: &str) -> &str {
        let own = self.answers.get(&(host.to_owned(), what.to_owned()));
        own.or_else(|| self.answers.get(&("all".to_owned(), what.to_owned())))
            .map_or("", String::as_str)
    }

    fn readings(&self, node: &crate::inventory::Node) -> Readings {
        let mut readings = Readings::default().with_machine(self.machine.clone());
        for probe in probes(&self.inventory, node) {
            readings = match probe {
                Probe::Script(script) => {
                    let what = if script.name == "kubernetes-api-read" {
                        script.arguments.get(1).cloned()
                    } else {
                        None
                    };
                    let text = self
                        .answer(&node.name, what.as_deref().unwrap_or(script.name))
                        .to_owned();
                    readings.with_script(script, 0, &text)
                }
                Probe::File(path) => match self.answer(&node.name, path.as_str()) {
                    "" => readings.without_file(path),
                    text => readings.with_file(path, FileState::regular(text)),
                },
                Probe::Package(name) => {
                    readings.with_held_package(&name, &format!("{}-1.1", FROM.plain()))
                }
                Probe::Machine | Probe::Digest(_) | Probe::Unit(_) | Probe::Sysctl(_) => readings,
            };
        }
        readings
    }

    fn verdict(&self) -> Verdict {
        let mut fleet = Fleet::default();
        for node in &self.inventory.nodes {
            fleet.update(&node.name, self.readings(node));
        }
        let templates = Templates::load(None).expect("the embedded templates are in order");
        let site = Site::read(&self.inventory, &templates, &fleet, self.policies.clone());
        let hops = self.hops.clone().unwrap_or(Hops {
            releases: vec![self.target],
            missing: BTreeMap::new(),
        });
        judge(&site, self.target, &hops)
    }

    /// Every refusal, `host check: what`.
    fn refusals(&self) -> Vec<String> {
        let line = |finding: &crate::operation::preflight::Finding| {
            format!("{} {}: {}", finding.host, finding.check, finding.what)
        };
        self.verdict().refusals.iter().map(line).collect()
    }
}

/// Spoils the cluster and expects exactly one refusal that begins so.
#[track_caller]
fn refuses(beginning: &str, spoil: impl FnOnce(&mut Cluster)) {
    let mut cluster = Cluster::new();
    spoil(&mut cluster);
    let refusals = cluster.refusals();
    assert!(
        refusals.len() == 1
            && refusals
                .iter()
                .all(|refusal| refusal.starts_with(beginning)),
        "{beginning}: {refusals:#?}"
    );
}

#[test]
fn a_cluster_that_is_well_is_not_refused() {
    assert_eq!(Cluster::new().refusals(), Vec::<String>::new());
    assert!(objects::probes(Cluster::new().inventory.node("worker1").expect("there")).is_empty());
}

#[test]
fn there_is_no_way_back() {
    let mut cluster = Cluster::new();
    cluster.target = KubeVersion {
        minor: 33,
        patch: 3,
    };
    let refusals = cluster.refusals();
    assert_eq!(refusals.len(), 4, "{refusals:#?}");
    assert!(refusals.iter().all(|refusal| {
        refusal.contains("downgrade: it runs v1.33.4, which is later than v1.33.3")
    }));
}

#[test]
fn no_minor_is_skipped_and_each_needs_its_packages() {
    let offered = |minor: u16, patches: &[u16]| {
        let releases = patches
            .iter()
            .map(|patch| KubeVersion {
                minor,
                patch: *patch,
            })
            .collect();
        (minor, BTreeMap::from([("master1".to_owned(), releases)]))
    };
    let target = KubeVersion {
        minor: 35,
        patch: 1,
    };
    let both = BTreeMap::from([offered(34, &[0, 3, 2]), offered(35, &[0, 1])]);
    let hops = Hops::find(FROM, target, &both);
    assert_eq!(
        hops.releases,
        [
            KubeVersion {
                minor: 34,
                patch: 3
            },
            target
        ]
    );
    assert!(hops.missing.is_empty());
    let without = BTreeMap::from([offered(34, &[]), offered(35, &[0, 1])]);
    let hops = Hops::find(FROM, target, &without);
    assert_eq!(
        hops.missing.get("master1"),
        Some(&vec!["any v1.34".to_owned()])
    );
    refuses(
        "master1 packages: its package repository does not offer any v1.34",
        |cluster| {
            cluster.hops = Some(Hops {
                releases: vec![TO],
                ..hops
            });
        },
    );
    refuses(
        "all packages: the inventory says that the tools are preinstalled",
        |cluster| {
            cluster.inventory.packages = PackageSource::Preinstalled;
        },
    );
}

#[test]
fn components_are_not_too_far_apart() {
    refuses(
        "worker1 skew: kubelet v1.29.0 would be more than 3 minors behind",
        |cluster| {
            let old = cluster
                .answer("worker1", "kubernetes-report")
                .replace("v1.33.4", "v1.29.0");
            cluster.set("worker1", "kubernetes-report", &old);
        },
    );
    refuses("all skew: apiservers run v1.31.1 and v1.33.4", |cluster| {
        let old = cluster
            .answer("master2", "kubernetes-release")
            .replace("kube-apiserver:v1.33.4", "kube-apiserver:v1.31.1");
        cluster.set("master2", "kubernetes-release", &old);
    });
    refuses("all skew: kube-proxy v1.29.3", |cluster| {
        let set = json!({ "spec": { "template": { "spec": { "containers": [{ "image": "registry.k8s.io/kube-proxy:v1.29.3" }] } } } });
        cluster.set(
            "all",
            "/apis/apps/v1/namespaces/kube-system/daemonsets/kube-proxy",
            &format!("200 {set}"),
        );
    });
}

#[test]
fn the_stored_configuration_is_readable_by_the_next_kubeadm() {
    refuses(
        "all kubeadm-api: the stored configuration is of v1beta2",
        |cluster| {
            cluster.set("all", CONFIGURATION, &configuration("v1beta2", ""));
        },
    );
    refuses(
        "all kubeadm-api: the stored configuration (ConfigMap",
        |cluster| cluster.set("all", CONFIGURATION, "403 {}"),
    );
}

#[test]
fn etcd_is_whole_without_alarms_and_new_enough() {
    let spoilt = |change: &dyn Fn(&mut Report)| {
        let mut report = report(3);
        change(&mut report);
        report.to_string()
    };
    refuses(
        "all etcd: etcd member master3 does not answer as healthy",
        |cluster| {
            let ill = spoilt(&|report| {
                report.etcd_health = Answer::Http(503, "{\"health\":\"false\"}".to_owned());
            });
            cluster.set("master3", "kubernetes-report", &ill);
        },
    );
    let status = |more: Value| {
        let mut status = json!({ "header": { "cluster_id": "14841639068965178418", "member_id": "3" }, "leader": "1" });
        status
            .as_object_mut()
            .expect("an object")
            .extend(more.as_object().expect("an object").clone());
        spoilt(&|report| report.etcd_status = Answer::Http(200, status.to_string()))
    };
    refuses("master3 etcd-alarm: etcd reports: NOSPACE", |cluster| {
        cluster.set(
            "master3",
            "kubernetes-report",
            &status(json!({ "errors": ["NOSPACE"] })),
        );
    });
    refuses(
        "master3 etcd-version: its etcd 3.5.24 must be 3.5.26 or later",
        |cluster| {
            cluster.target = KubeVersion {
                minor: 34,
                patch: 0,
            };
            cluster.set(
                "master3",
                "kubernetes-report",
                &status(json!({ "version": "3.5.24" })),
            );
        },
    );
    refuses("all etcd: no etcd member answers", |cluster| {
        for number in 1..=3 {
            let silent = Report {
                etcd_status: Answer::Unreachable,
                ..report(number)
            };
            cluster.set(
                &format!("master{number}"),
                "kubernetes-report",
                &silent.to_string(),
            );
        }
    });
}

#[test]
fn apiservers_nodes_and_dns_are_well() {
    refuses("master2 readyz: its apiserver does not answer", |cluster| {
        let silent = Report {
            readyz: Answer::Unreachable,
            ..report(2)
        };
        cluster.set("master2", "kubernetes-report", &silent.to_string());
    });
    refuses(
        "worker1 ready: its Node is not ready: KubeletNotReady",
        |cluster| {
            let list = json!({ "items": [node("master1"), node("master2"), node("master3"), { "metadata": { "name": "worker1" },
            "status": { "conditions": [{ "type": "Ready", "status": "False", "reason": "KubeletNotReady", "message": "x" }] } }] });
            cluster.set("all", NODES, &format!("200 {list}"));
        },
    );
    refuses("all dns: no replica of CoreDNS is ready", |cluster| {
        cluster.set("all", DNS, "200 {\"status\":{}}");
    });
}

#[test]
fn the_cluster_is_the_one_of_the_inventory() {
    refuses(
        "worker1 nodes: it is in the inventory and not in the cluster",
        |cluster| {
            cluster.set("all", NODES, &nodes(&["master1", "master2", "master3"]));
        },
    );
    refuses(
        "worker9 nodes: it is a Node of the cluster and not in the inventory",
        |cluster| {
            cluster.set(
                "all",
                NODES,
                &nodes(&["master1", "master2", "master3", "worker1", "worker9"]),
            );
        },
    );
}

#[test]
fn cordons_and_servers_of_others_are_refused_and_ours_are_continued() {
    let cordoned = |annotations: Value| {
        let mut worker = node("worker1");
        worker["spec"] = json!({ "unschedulable": true });
        worker["metadata"]["annotations"] = annotations;
        format!(
            "200 {}",
            json!({ "items": [node("master1"), node("master2"), node("master3"), worker] })
        )
    };
    refuses("worker1 cordoned: somebody has cordoned it", |cluster| {
        cluster.set("all", NODES, &cordoned(json!({})));
    });
    let maint = |cluster: &mut Cluster| {
        let out = cluster.answer("lb2", "haproxy-servers").replace(
            "server=\"master1\",state=\"UP\"",
            "server=\"master1\",state=\"MAINT\"",
        );
        cluster.set("lb2", "haproxy-servers", &out);
    };
    refuses(
        "lb2 load-balancer: master1 is MAINT there, which no run of quorate did",
        maint,
    );
    let mut ours = Cluster::new();
    ours.set(
        "all",
        NODES,
        &cordoned(json!({ "quorate/cordoned-by": "01a1" })),
    );
    maint(&mut ours);
    ours.set("lb2", "haproxy-server-marks", "master1 01a1\n");
    assert_eq!(
        ours.refusals(),
        Vec::<String>::new(),
        "what an interrupted run left is continued"
    );
}
