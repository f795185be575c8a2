//! The operator's own templates: what they replace, and what is refused before anything starts.

use camino::Utf8PathBuf;
use quorate::template::Templates;

use crate::support::{Cluster, scratch};

/// An overlay directory with one file.
fn overlay(name: &str, path: &str, text: &str) -> Utf8PathBuf {
    let directory = scratch(&format!("overlay-{name}"));
    let file = directory.join(path);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, text).unwrap();
    directory
}

fn refusal(name: &str, path: &str, text: &str) -> String {
    let directory = overlay(name, path, text);
    let error = Templates::load(Some(&directory)).expect_err("it is refused");
    error.to_string().replace(directory.as_str(), "OVERLAY")
}

#[test]
fn a_file_replaces_its_template_and_no_other() {
    let directory = overlay(
        "good",
        "templates/containerd/crictl.yaml",
        "# {{ node.name }}{% for m in masters %} {{ m.name }}{% endfor %}\n",
    );
    std::fs::write(directory.join(".gitignore"), "x").unwrap();
    let mut cluster = Cluster::load("inventory/ha.yaml");
    let before = cluster.render("sysctl/kubernetes.conf", "worker1");
    cluster.templates = Templates::load(Some(&directory)).unwrap();
    assert_eq!(
        cluster.render("containerd/crictl.yaml", "worker1"),
        "# worker1 master1 master2 master3\n"
    );
    assert_eq!(cluster.render("sysctl/kubernetes.conf", "worker1"), before);
}

#[test]
fn an_unknown_variable_is_refused_with_its_place() {
    let text =
        "# one\n{% if inventory.vip.dns is none %}\n  {{ inventory.vip.adress }}\n{% endif %}\n";
    insta::assert_snapshot!(refusal("variable", "templates/haproxy/haproxy.cfg", text), @r"
    error: unknown variable `adress`; known here: address, dns, interface, managed, port, router_id
     --> OVERLAY/templates/haproxy/haproxy.cfg:3:20
      |
    3 |   {{ inventory.vip.adress }}
      |                    ^^^^^^
    ");
}

#[test]
fn all_unknown_variables_are_named_at_once() {
    let message = refusal(
        "all",
        "templates/containerd/crictl.yaml",
        "{{ a }}\n{{ b }}\n{{ node.c }}\n",
    );
    for place in [":1:4\n", ":2:4\n", ":3:9\n"] {
        assert!(message.contains(place), "{place} in {message}");
    }
}

#[test]
fn an_unknown_filter_is_refused_with_its_place() {
    let message = refusal(
        "filter",
        "templates/containerd/crictl.yaml",
        "\n{{ node.name | shout }}\n",
    );
    insta::assert_snapshot!(message, @r"
    error: Unknown filter `shout`
     --> OVERLAY/templates/containerd/crictl.yaml:2:16
      |
    2 | {{ node.name | shout }}
      |                ^^^^^
    ");
}

#[test]
fn broken_syntax_is_refused_with_its_place() {
    let message = refusal(
        "syntax",
        "templates/containerd/crictl.yaml",
        "a\n{{ node.name }\n",
    );
    insta::assert_snapshot!(message, @r"
    error: Found `}` but expected }}.
     --> OVERLAY/templates/containerd/crictl.yaml:2:14
      |
    2 | {{ node.name }
      |              ^
    ");
}

#[test]
fn an_unknown_include_is_refused_with_its_place() {
    let message = refusal(
        "include",
        "templates/containerd/crictl.yaml",
        "{% include \"nothing\" %}\n",
    );
    assert!(
        message.contains("OVERLAY/templates/containerd/crictl.yaml:1:"),
        "{message}"
    );
    assert!(message.contains("nothing"), "{message}");
}

#[test]
fn a_file_that_replaces_nothing_is_refused() {
    let message = refusal("nothing", "templates/haproxy/haproxy.conf", "x\n");
    assert!(
        message.starts_with("OVERLAY/templates/haproxy/haproxy.conf replaces no template"),
        "{message}"
    );
    assert!(message.contains("haproxy/haproxy.cfg"), "{message}");
    let beside = refusal("beside", "haproxy/haproxy.cfg", "x\n");
    assert!(
        beside.starts_with("OVERLAY/haproxy replaces nothing"),
        "{beside}"
    );
}

#[test]
fn values_of_other_templates_are_unknown() {
    let message = refusal("extra", "templates/containerd/crictl.yaml", "{{ token }}\n");
    assert!(message.contains("unknown variable `token`"), "{message}");
    let directory = overlay("own", "templates/kubeadm/join.yaml", "{{ token }}\n");
    Templates::load(Some(&directory)).unwrap();
}

#[test]
fn a_value_that_is_missing_when_rendering_is_an_error() {
    let cluster = Cluster::load("inventory/ha.yaml");
    let render = |extra| {
        let name = "cni/bridge.conflist";
        cluster
            .templates
            .render_with(name, &cluster.cx("worker1"), extra)
    };
    let error = render(serde_json::json!({})).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cni/bridge.conflist is rendered without its `pod_cidr`"
    );
    let error = render(serde_json::json!({ "pod_cidr": "x", "pod_cird": "x" })).unwrap_err();
    assert_eq!(error.to_string(), "cni/bridge.conflist takes no `pod_cird`");
    // A key that may be anything for the check, and is not there in fact.
    let directory = overlay(
        "sparse",
        "templates/containerd/crictl.yaml",
        "a\n{{ node.labels.disk }}\n",
    );
    let templates = Templates::load(Some(&directory)).unwrap();
    let error = templates
        .render("containerd/crictl.yaml", &cluster.cx("worker3"))
        .unwrap_err();
    assert!(
        error.to_string().contains("containerd/crictl.yaml:2:"),
        "{error}"
    );
    templates
        .render("containerd/crictl.yaml", &cluster.cx("worker1"))
        .unwrap();
}

#[test]
fn a_value_that_would_be_syntax_is_an_error() {
    let mut cluster = Cluster::load("inventory/ha.yaml");
    cluster.inventory.vip.interface = Some("eth0\n}\nvrrp_script x {".to_owned());
    let error = cluster
        .templates
        .render("keepalived/keepalived.conf", &cluster.cx("lb1"))
        .unwrap_err();
    assert!(
        error.to_string().contains("cannot stand in this file"),
        "{error}"
    );
}
