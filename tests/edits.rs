//! An edit of the inventory changes just what it says, on simulated hosts that were provisioned before it.

mod common;

use std::collections::BTreeSet;

use camino::Utf8Path;
use common::{End, stage, tail, with_clock};
use quorate::engine::event::{Event, Outcome};

const INVENTORY: &str = "tests/data/simulated.yaml";

/// Provisions the inventory as it is, then with `old` replaced by `new`: what changed, as `host: step`.
fn changes(old: &str, new: &str) -> BTreeSet<String> {
    let text = fs_err::read_to_string(INVENTORY).expect("readable");
    assert_eq!(text.matches(old).count(), 1, "{old:?} is there once");
    let folder = tempfile::tempdir().expect("a folder");
    let path = Utf8Path::from_path(folder.path())
        .expect("UTF-8")
        .join("edited.yaml");
    fs_err::write(&path, text.replace(old, new)).expect("writable");

    let (mut before, mut after) = (
        stage(INVENTORY, "provision"),
        stage(path.as_str(), "provision"),
    );
    // The machines of the edited inventory stand there from the beginning, also those that it adds.
    let machines = after.simulation().world().snapshot();
    before.begin(machines);
    with_clock(async {
        let first = before.run().await;
        assert!(
            matches!(first.end, End::Done { .. }),
            "{:?}\n{}",
            first.end,
            tail(&first)
        );
        let provisioned = before.simulation().world().snapshot();
        after.begin(provisioned);
        let edited = after.run().await;
        assert!(
            matches!(edited.end, End::Done { .. }),
            "{:?}\n{}",
            edited.end,
            tail(&edited)
        );
        let again = after.run().await;
        assert!(
            matches!(again.end, End::Done { changed: 0, .. }),
            "{:?}\n{}",
            again.end,
            tail(&again)
        );
        edited
            .events()
            .filter_map(|event| match event {
                Event::TaskFinished {
                    task,
                    step,
                    outcome: Outcome::Changed,
                    ..
                } => Some(format!("{}: {step}", task.host)),
                _ => None,
            })
            // The second stage is another operator's computer.
            .filter(|change| change != "master1: Fetch the kubeconfig")
            .collect()
    })
}

fn set<const N: usize>(lines: [&str; N]) -> BTreeSet<String> {
    lines.map(str::to_owned).into()
}

#[test]
fn a_san_changes_the_certificates_of_the_masters() {
    let found = changes(
        "[k8s-api.company.local]",
        "[k8s-api.company.local, api.example.org]",
    );
    let steps = [
        "The configuration that all masters share",
        "Bring certificates, manifests and the stored configuration in line",
    ];
    let masters = ["master1", "master2", "master3"];
    let expected = masters
        .iter()
        .flat_map(|host| steps.map(|step| format!("{host}: {step}")));
    assert_eq!(found, expected.collect());
}

#[test]
fn a_weight_changes_haproxy_alone() {
    let found = changes(
        "master[1-3]: 10.1.1.[101-103]",
        "master1: { address: 10.1.1.101, weight: 50 }\n  master[2-3]: 10.1.1.[102-103]",
    );
    let steps = [
        "Configure HAProxy",
        "Run HAProxy",
        "See the virtual IP answer",
    ];
    let expected = ["lb1", "lb2"]
        .iter()
        .flat_map(|host| steps.map(|step| format!("{host}: {step}")));
    assert_eq!(found, expected.collect());
}

#[test]
fn a_label_changes_one_node() {
    let found = changes("labels: { disk: ssd }", "labels: { disk: ssd, rack: r1 }");
    assert_eq!(found, set(["worker1: Set labels and taints"]));
    let dropped = changes("labels: { disk: ssd }", "labels: {}");
    assert_eq!(dropped, set(["worker1: Set labels and taints"]));
}

#[test]
fn a_setting_of_kubelet_reaches_every_node_and_no_load_balancer() {
    let found = changes("\ncni:", "\nkubelet: { maxPods: 200 }\n\ncni:");
    let steps = |host: &str| match host {
        "worker1" | "worker2" => [
            "What the inventory says of kubelet",
            "Bring kubelet's settings in line",
        ],
        _ => [
            "The configuration that all masters share",
            "Bring certificates, manifests and the stored configuration in line",
        ],
    };
    let hosts = ["master1", "master2", "master3", "worker1", "worker2"];
    let expected = hosts
        .iter()
        .flat_map(|host| steps(host).map(|step| format!("{host}: {step}")));
    assert_eq!(found, expected.collect());
}

#[test]
fn one_more_worker_is_nobody_elses_business() {
    let found = changes("\nkubeadm:", "  worker3: 10.1.1.203\n\nkubeadm:");
    assert!(
        found.iter().all(|line| line.starts_with("worker3: ")),
        "{found:?}"
    );
    assert!(found.contains("worker3: Join the cluster"), "{found:?}");
}
