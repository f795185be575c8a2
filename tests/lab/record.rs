//! `make record`: a provision, an upgrade and a recovery are recorded, undisturbed, for the test that holds the simulated
//! hosts to them (`tests/recording`).

use camino::Utf8PathBuf;
use quorate::engine::recorder::VARIABLE;

use super::harness::Lab;
use super::upgrade::{self, FROM, TO};
use super::{CLUSTER, is_whole};

/// Everything that must not be in a recording: kubeconfigs, keys, passwords.
const SECRETS: [(&str, &str); 2] = [
    (
        "masters",
        "cat /etc/kubernetes/*.conf /etc/kubernetes/pki/*.key /etc/kubernetes/pki/etcd/*.key",
    ),
    ("load-balancers", "cat /etc/haproxy/*.env"),
];

pub fn a_cluster_is_recorded(lab: &Lab) {
    let inventory = std::fs::read_to_string(lab.inventory()).expect("readable");
    let mut secrets = String::new();
    let provision = recorded(lab, &[&["provision", "--yes"]], || ());
    upgrade::name_service_is_ready(lab);
    lab.wait("the cluster to be whole", CLUSTER, is_whole);
    secrets.push_str(&shown_to_root(lab));

    let upgrade = recorded(lab, &[&["upgrade", "--to", TO, "--yes"]], || ());
    let path = lab.inventory();
    std::fs::write(&path, inventory.replace(FROM, TO)).expect("writable");
    lab.wait("the cluster to be whole", CLUSTER, is_whole);

    lab.fault("kill", "master1");
    lab.wait("the loss to be seen", CLUSTER, |status| !is_whole(status));
    let run: &[&str] = &["recover", "--yes"];
    let recover = recorded(lab, &[run, run], || lab.replace("master1"));
    lab.wait("the cluster to be whole", CLUSTER, is_whole);
    secrets.push_str(&shown_to_root(lab));

    let recordings = [
        ("provision", provision),
        ("upgrade", upgrade),
        ("recover", recover),
    ];
    for (name, text) in &recordings {
        let mut words = secrets.split(|c: char| !(c.is_ascii_alphanumeric() || "+/".contains(c)));
        let is_secret =
            |word: &&str| word.len() >= 16 && !word.starts_with('/') && text.contains(word);
        let shown = words.find(is_secret);
        assert_eq!(shown, None, "the recording of {name} shows a secret");
    }
    keep_inventory(lab, &inventory);
    for (name, text) in recordings {
        let packed = zstd::encode_all(text.as_bytes(), 19).expect("zstd");
        println!("lab: recorded {name}: {} bytes", packed.len());
        std::fs::write(directory().join(format!("{name}.jsonl.zst")), packed).expect("writable");
    }
}

fn directory() -> Utf8PathBuf {
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/recording").into()
}

/// Runs commands one after the other, with `between` in between; what was recorded of them.
fn recorded(lab: &Lab, commands: &[&[&str]], between: impl Fn()) -> String {
    let file = lab.inventory().with_file_name("recording.jsonl");
    for (index, words) in commands.iter().enumerate() {
        if index > 0 {
            between();
        }
        let output = lab
            .command(words)
            .env(VARIABLE, &file)
            .output()
            .expect("quorate starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{words:?}: {}\n{said}",
            output.status
        );
    }
    let text = std::fs::read_to_string(&file).expect("it was recorded");
    std::fs::remove_file(&file).expect("removable");
    text
}

/// Keeps the inventory that was recorded with, without what only this computer has.
fn keep_inventory(lab: &Lab, text: &str) {
    let ours = "ssh: { user: ops }";
    let lines = text.lines();
    let kept = lines.map(|line| if line.starts_with("ssh:") { ours } else { line });
    let kept: Vec<&str> = kept.collect();
    std::fs::write(directory().join("inventory.yaml"), kept.join("\n") + "\n").expect("writable");
    let key = std::fs::read(lab.inventory().with_file_name("kubernetes.asc")).expect("readable");
    std::fs::write(directory().join("kubernetes.asc"), key).expect("writable");
}

/// Certificates are in kubeconfigs, too, and no secret: what is one of the CA's is left out.
fn shown_to_root(lab: &Lab) -> String {
    let shown = SECRETS.map(|(hosts, line)| lab.on(hosts, line));
    let is_public = |line: &&str| line.contains("-data:") && !line.contains("client-key-data:");
    let lines = shown.iter().flat_map(|text| text.lines());
    let secret: Vec<&str> = lines.filter(|line| !is_public(line)).collect();
    secret.join("\n") + "\n"
}
