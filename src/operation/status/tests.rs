#![expect(clippy::indexing_slicing, reason = "tests")]

use super::*;
use crate::cluster::ca::samples::ONE;
use crate::cluster::vip::Holder;
use crate::host::probe::UnitReading;
use crate::operation::fixture::Site;

const IDS: [(&str, u64, &str); 3] = [
    ("master1", 0xa1, "10.1.1.101"),
    ("master2", 0xa2, "10.1.1.102"),
    ("master3", 0xa3, "10.1.1.103"),
];

/// A healthy cluster, host by host, whose scripts can be changed.
struct Cluster {
    site: Site,
    /// Host, script, and what it printed.
    said: Vec<(String, &'static str, String)>,
    stopped: Vec<(&'static str, &'static str)>,
    errors: Vec<(String, HostError)>,
}

impl Cluster {
    fn new() -> Self {
        let mut site = Site::new();
        let vip = site.inventory.vip.address;
        site.machine("lb1").interfaces[0].addresses.push((vip, 24));
        let mut said = Vec::new();
        for (host, _, _) in IDS {
            said.push((host.to_owned(), "kubernetes-report", report(host)));
            said.push((
                host.to_owned(),
                "status",
                "kubelet Kubernetes v1.36.2\nendpoint 200\n".to_owned(),
            ));
            let certificate = format!("== /etc/kubernetes/pki/apiserver.crt\n{ONE}");
            said.push((host.to_owned(), "certificates", certificate));
        }
        said.push((
            "worker1".to_owned(),
            "kubernetes-report",
            format!("has kubelet-conf\n{}", node("worker1", "True")),
        ));
        for host in ["lb1", "lb2"] {
            said.push((host.to_owned(), "haproxy-servers", servers(&[])));
        }
        Self {
            site,
            said,
            stopped: Vec::new(),
            errors: Vec::new(),
        }
    }

    /// Replaces what a script prints on a host.
    fn says(mut self, host: &str, script: &'static str, text: &str) -> Self {
        self.said
            .retain(|(of, name, _)| (of.as_str(), *name) != (host, script));
        self.said.push((host.to_owned(), script, text.to_owned()));
        self
    }

    /// Puts other words into what a host reports.
    fn reports(self, host: &str, from: &str, to: &str) -> Self {
        let report = report(host);
        assert!(report.contains(from), "the sample has {from}");
        self.says(host, "kubernetes-report", &report.replace(from, to))
    }

    fn stops(mut self, host: &'static str, unit: &'static str) -> Self {
        self.stopped.push((host, unit));
        self
    }

    fn loses(mut self, host: &str) -> Self {
        self.site.forget(host);
        let error = HostError::Unreachable {
            host: host.to_owned(),
            address: "10.1.1.9:22".to_owned(),
            reason: "no route to host".to_owned(),
        };
        self.errors.push((host.to_owned(), error));
        self
    }

    fn status(&self) -> Status {
        let mut fleet = self.site.fleet();
        let inventory = &self.site.inventory;
        for node in &inventory.nodes {
            if fleet.of(&node.name).machine().is_err() {
                continue;
            }
            let mut readings = Readings::default();
            for probe in probes(inventory, node) {
                readings = match probe {
                    Probe::Script(script) => match self.answer(&node.name, script.name) {
                        Some(text) => readings.with_script(script, 0, text),
                        None => readings.with_script(script, 1, ""),
                    },
                    Probe::Unit(unit) => {
                        let runs = !self.stopped.contains(&(&node.name, &unit));
                        readings.with_unit(&unit, unit_reading(runs))
                    }
                    _ => readings,
                };
            }
            fleet.update(&node.name, readings);
        }
        Status::of(inventory, &fleet, &self.errors)
    }

    fn answer(&self, host: &str, script: &str) -> Option<&str> {
        self.said
            .iter()
            .find(|(of, name, _)| (of.as_str(), *name) == (host, script))
            .map(|(_, _, text)| text.as_str())
    }

    /// What is wrong, `host: what`.
    fn problems(&self) -> Vec<String> {
        let status = self.status();
        status
            .problems
            .iter()
            .map(|problem| format!("{}: {}", problem.host, problem.what))
            .collect()
    }
}

fn unit_reading(runs: bool) -> UnitReading {
    UnitReading {
        exists: true,
        active: runs,
        enabled: true,
        state: if runs {
            "active/running"
        } else {
            "failed/failed"
        }
        .to_owned(),
        changed_us: 0,
    }
}

fn node(name: &str, ready: &str) -> String {
    format!(
        r#"node 200 {{"metadata":{{"name":"{name}"}},"spec":{{}},"status":{{"nodeInfo":{{"kubeletVersion":"v1.36.2","containerRuntimeVersion":"containerd://2.2.0"}},"conditions":[{{"type":"Ready","status":"{ready}","reason":"KubeletReady","message":"said so"}}]}}}}
"#
    )
}

fn report(host: &str) -> String {
    let id = IDS
        .iter()
        .find(|(name, _, _)| *name == host)
        .map_or(0, |(_, id, _)| *id);
    let members: Vec<String> = IDS
        .iter()
        .map(|(name, id, address)| {
            format!(
                r#"{{"ID":"{id}","name":"{name}","peerURLs":["https://{address}:2380"],"clientURLs":["https://{address}:2379"]}}"#
            )
        })
        .collect();
    format!(
        "has kubelet-conf\nhas etcd-manifest\nreadyz 200 ok\n{node}\
         etcd-status 200 {{\"header\":{{\"cluster_id\":\"7\",\"member_id\":\"{id}\"}},\"version\":\"3.6.8\",\"dbSize\":\"20971520\",\"leader\":\"161\"}}\n\
         etcd-members 200 {{\"members\":[{members}]}}\n\
         etcd-health 200 {{\"health\":\"true\"}}\n",
        node = node(host, "True"),
        members = members.join(","),
    )
}

fn servers(down: &[&str]) -> String {
    let lines: Vec<String> = IDS
        .iter()
        .map(|(name, _, _)| {
            let state = if down.contains(name) { "DOWN" } else { "UP" };
            format!("haproxy_server_status{{proxy=\"kube_apiserver\",server=\"{name}\",state=\"{state}\"}} 1\n")
        })
        .collect();
    lines.concat()
}

#[test]
fn a_healthy_cluster_is_ok() {
    let status = Cluster::new().status();
    assert_eq!(status.problems, []);
    assert_eq!((status.health, status.exit_code()), (Health::Ok, 0));
    assert_eq!(status.virtual_ip.holder, Holder::One("lb1".to_owned()));
    insta::assert_snapshot!("healthy", status.to_string());
}

/// What happens, and what is said of it.
#[test]
fn each_trouble_is_named_with_its_host() {
    let cases: Vec<(Cluster, &str)> = vec![
        (
            Cluster::new().stops("lb2", "keepalived"),
            "lb2: keepalived is failed/failed",
        ),
        (
            Cluster::new().says("lb2", "haproxy-servers", &servers(&["master3"])),
            "lb2: HAProxy sends nothing to: master3 DOWN",
        ),
        (
            Cluster::new().says("master2", "status", "endpoint 000\n"),
            "",
        ),
        (
            Cluster::new().reports("master2", "readyz 200 ok", "readyz unreachable"),
            "master2: its apiserver does not answer",
        ),
        (
            Cluster::new()
                .reports("master2", "readyz 200 ok", "readyz 500 etcd failed")
                .says("master2", "status", "failing etcd\nendpoint 200\n"),
            "master2: its apiserver is not ready (500): etcd",
        ),
        (
            Cluster::new().reports(
                "master2",
                "\"dbSize\"",
                "\"errors\":[\"memberID:161 alarm:NOSPACE\"],\"dbSize\"",
            ),
            "master2: etcd reports: memberID:161 alarm:NOSPACE",
        ),
        (
            Cluster::new().reports("master2", "20971520", "2071690107"),
            "master2: etcd's database fills more than 80 % of its quota",
        ),
        (
            Cluster::new().reports("master3", "\"status\":\"True\"", "\"status\":\"False\""),
            "master3: its Node is not ready: KubeletReady: said so",
        ),
        (
            Cluster::new().reports("master3", "v1.36.2", "v1.35.9"),
            "master3: kubelet is v1.35.9, the inventory says v1.36.2",
        ),
        (
            Cluster::new().says("worker1", "kubernetes-report", "node absent\n"),
            "worker1: it has not joined the cluster",
        ),
        (
            Cluster::new().says(
                "worker1",
                "kubernetes-report",
                "has kubelet-conf\nnode 404 {}\n",
            ),
            "worker1: the cluster has no Node of that name",
        ),
    ];
    for (cluster, expected) in cases {
        let expected: Vec<&str> = Some(expected)
            .filter(|text| !text.is_empty())
            .into_iter()
            .collect();
        assert_eq!(cluster.problems(), expected);
    }
}

#[test]
fn a_certificate_that_ends_soon_by_the_hosts_clock_is_a_problem() {
    let mut cluster = Cluster::new();
    let end = cluster.status().certificates[0].expires.as_second();
    for (days, expected) in [
        (31, None),
        (21, Some("expires in 21 days")),
        (-2, Some("expired 2 days ago")),
    ] {
        let clock = (end - days * 86_400) * 1_000_000;
        cluster.site.machine("master2").clock_us = clock.try_into().expect("after 1970");
        let expected =
            expected.map(|when| format!("master2: /etc/kubernetes/pki/apiserver.crt {when}"));
        assert_eq!(cluster.problems(), Vec::from_iter(expected));
    }
}

#[test]
fn what_makes_a_certificate_anew_depends_on_whose_it_is() {
    for (path, help) in [
        (
            "/etc/kubernetes/pki/apiserver.crt",
            "`kubeadm certs renew all`",
        ),
        ("/etc/etcd/pki/peer.crt", "`quorate provision`"),
        (
            "/etc/kubernetes/quorate/etcd/client.crt",
            "`quorate provision`",
        ),
    ] {
        // The sample is a CA's.
        let mut certificate = Cluster::new().status().certificates[0].clone();
        (certificate.is_ca, certificate.days) = (false, 1);
        path.clone_into(&mut certificate.file);
        let mut problems = Vec::new();
        problems::certificates(&[certificate], &mut problems);
        let helps: Vec<&str> = problems.iter().map(|it| it.help.as_str()).collect();
        assert!(
            helps.len() == 1 && helps[0].starts_with(help),
            "{path}: {helps:?}"
        );
    }
}

#[test]
fn a_host_that_is_down_is_a_line_and_the_rest_is_shown() {
    let cluster = Cluster::new().loses("master3").loses("lb2");
    let status = cluster.status();
    assert_eq!(status.exit_code(), 4);
    assert_eq!(status.masters.len(), 2);
    assert_eq!(status.problems.len(), 2);
    let text = status.to_string();
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    insta::assert_snapshot!("two_hosts_down", text);
}

#[test]
fn the_virtual_ip_must_be_held_once() {
    let mut cluster = Cluster::new();
    let vip = cluster.site.inventory.vip.address;
    cluster.site.machine("lb2").interfaces[0]
        .addresses
        .push((vip, 24));
    assert_eq!(
        cluster.problems(),
        ["lb1,lb2: the virtual IP 10.1.1.100 is held 2 times (split brain)"]
    );
    for host in ["lb1", "lb2"] {
        cluster.site.machine(host).interfaces[0].addresses.pop();
    }
    assert_eq!(
        cluster.problems(),
        [": nobody holds the virtual IP 10.1.1.100"]
    );
}

#[test]
fn members_that_nobody_starts_or_knows_are_named() {
    let unstarted = Cluster::new().reports("master1", "\"name\":\"master3\",", "");
    assert!(unstarted.problems().contains(
        &": etcd has a member that never started: https://10.1.1.103:2380 (a3)".to_owned()
    ));
    let foreign = Cluster::new().reports(
        "master1",
        "https://10.1.1.103:2380",
        "https://10.1.1.9:2380",
    );
    assert!(
        foreign.problems().contains(
            &": etcd counts a member that the inventory has not: master3 (a3)".to_owned()
        )
    );
}

#[test]
fn a_lost_quorum_is_said_once_for_the_cluster() {
    let mut cluster = Cluster::new();
    for host in ["master1", "master2", "master3"] {
        cluster = cluster.reports(host, "{\"health\":\"true\"}", "{\"health\":\"false\"}");
    }
    let problems = cluster.problems();
    assert_eq!(
        problems.first().map(String::as_str),
        Some(": etcd has no quorum: 0 of 3 voting members are healthy")
    );
}

#[test]
fn nothing_foreign_reaches_the_terminal_unescaped() {
    let cluster = Cluster::new()
        .reports("master1", "3.6.8", "3.6\\u001b[31m")
        .reports("master2", "said so", "\\u001b]0;title\\u0007")
        .says("lb1", "haproxy-servers", "haproxy_server_status{proxy=\"kube_apiserver\",server=\"\u{1b}[2J\",state=\"DOWN\"} 1\n");
    let text = cluster.status().to_string();
    assert!(!text.contains(['\u{1b}', '\u{7}']), "{text}");
}

#[test]
fn the_json_object_is_stable() {
    let status = Cluster::new().loses("lb2").status();
    let json: serde_json::Value = serde_json::to_value(&status).expect("a status is always JSON");
    insta::assert_json_snapshot!("status", json);
}
