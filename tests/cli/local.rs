//! Commands that need no host: `validate` and `render`, and what is refused before any connection.

use crate::{Quorate, repository};

const SAMPLES: [&str; 4] = ["minimal", "ha", "external-etcd", "lab"];

#[test]
fn every_sample_is_valid() {
    let quorate = Quorate::new();
    for sample in SAMPLES {
        let path = repository(&format!("inventory/{sample}.yaml"));
        let arguments = ["validate", "-i", path.as_str()];
        let outcome = quorate.run(&arguments).ended_with(0);
        assert!(outcome.stdout.contains("is valid: cluster"), "{outcome:?}");
        let arguments = ["validate", "-o", "json", "-i", path.as_str()];
        let json = quorate.run(&arguments).ended_with(0).json();
        assert!(json["tasks"].as_u64() > Some(0), "{json}");
    }
}

#[test]
fn every_sample_renders_its_files() {
    let quorate = Quorate::new();
    for sample in SAMPLES {
        let path = repository(&format!("inventory/{sample}.yaml"));
        let arguments = ["render", "-i", path.as_str(), "--out", sample];
        let outcome = quorate.run(&arguments).ended_with(0);
        let files = crate::sshd::succeed(
            "find",
            &[
                quorate.directory.join(sample).as_str(),
                "-type",
                "f",
                "-printf",
                "%P\n",
            ],
        );
        let mut files: Vec<&str> = files.lines().collect();
        files.sort_unstable();
        assert_eq!(
            outcome.stdout,
            format!("{} files written to {sample}\n", files.len())
        );
        insta::assert_snapshot!(format!("files-{sample}"), files.join("\n"));
    }
}

#[test]
fn a_missing_inventory_is_named_with_what_to_do() {
    let stderr = Quorate::new().run(&["validate"]).refused_with(3);
    insta::assert_snapshot!(stderr, @r"
      × failed to open file `inventory.yaml`: No such file or directory (os error 2)
      help: name your inventory with `--inventory FILE` or in QUORATE_INVENTORY; `quorate schema` describes it

    1 error in inventory.yaml
    ");
}

#[test]
fn all_mistakes_of_an_inventory_are_shown_at_once() {
    let quorate = Quorate::new();
    quorate.write(
        "inventory.yaml",
        "\
cluster: { name: Seoul_1, kubernetes: 1.36 }
vip: { adress: 10.1.1.100, router-id: 300 }
lb: { lb1: 10.1.1.11 }
masters: { master1: 10.1.1.101, master2: 10.1.1.11 }
cni: none
",
    );
    insta::assert_snapshot!(quorate.run(&["plan"]).refused_with(3));
}

#[test]
fn an_overlay_with_an_unknown_action_is_refused_at_the_start() {
    let quorate = Quorate::new();
    quorate.write(
        "overlay/playbooks/provision.yaml",
        "\
name: Ours
plays:
  - name: Files
    hosts: all
    steps:
      - name: Write one
        do: { tempalte: { src: containerd/crictl.yaml, dest: /etc/crictl.yaml } }
      - name: Write another
        do: { template: { source: containerd/crictl.yaml, dest: /etc/crictl.yaml } }
",
    );
    let inventory = repository("inventory/ha.yaml");
    let arguments = [
        "provision",
        "--overlay",
        "overlay",
        "-i",
        inventory.as_str(),
    ];
    insta::assert_snapshot!(quorate.run(&arguments).refused_with(3));
}

#[test]
fn an_overlay_with_an_unknown_variable_is_refused_at_the_start() {
    let quorate = Quorate::new();
    let template = "overlay/templates/containerd/crictl.yaml";
    quorate.write(template, "# {{ node.nmae }}\n");
    let inventory = repository("inventory/ha.yaml");
    let arguments = ["plan", "--overlay", "overlay", "-i", inventory.as_str()];
    insta::assert_snapshot!(quorate.run(&arguments).refused_with(3));
}

#[test]
fn a_selector_that_fits_no_host_is_refused() {
    let inventory = repository("inventory/ha.yaml");
    let arguments = ["plan", "--on", "mastr1", "-i", inventory.as_str()];
    let stderr = Quorate::new().run(&arguments).refused_with(2);
    insta::assert_snapshot!(stderr, @"error: --on mastr1: `mastr1` matches no host: did you mean `master1`?");
}

#[test]
fn a_terminal_gets_colour_unless_it_is_not_wanted() {
    let quorate = Quorate::new();
    let shown = |variable: &str| {
        // `script` lends a terminal.
        let line = format!("{} validate", env!("CARGO_BIN_EXE_quorate"));
        let mut script = std::process::Command::new("script");
        crate::isolate(&mut script, &quorate.directory);
        script.args(["-qec", &line, "/dev/null"]);
        script.env("TERM", "xterm").env_remove("NO_COLOR");
        if !variable.is_empty() {
            script.env(variable, "1");
        }
        quorate.outcome(script.output().unwrap()).stdout
    };
    assert!(shown("").contains("\u{1b}[31m"));
    assert!(!shown("NO_COLOR").contains('\u{1b}'));
    assert!(shown("NO_COLOR").contains("inventory.yaml"));
}

#[test]
fn a_schedule_is_put_into_the_crontab_once_and_holds_without_a_shell() {
    use std::os::unix::fs::PermissionsExt as _;
    let quorate = Quorate::new();
    // A crontab of the test's own.
    let crontab = "#!/bin/sh\ncase $1 in -l) cat \"$0.lines\" ;; -) cat >\"$0.lines\" ;; esac\n";
    quorate.write("bin/crontab", crontab);
    let program = quorate.directory.join("bin/crontab");
    fs_err::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    quorate.write("bin/crontab.lines", "0 1 * * * something-else\n");
    let path = format!("{}:/usr/bin:/bin", quorate.directory.join("bin"));
    let inventory = repository("inventory/lab.yaml");
    for every in ["6h", "1d"] {
        let words = [
            "backup",
            "schedule",
            "--every",
            every,
            "--plaintext",
            "--with",
            "crontab",
        ];
        let mut command = quorate.command(&words);
        command.args(["--install", "--inventory", inventory.as_str()]);
        let outcome = quorate.outcome(command.env("PATH", &path).output().unwrap());
        let outcome = outcome.ended_with(0);
        assert!(
            outcome.stdout.contains("QuorateBackupMissing"),
            "{outcome:?}"
        );
    }
    let lines = fs_err::read_to_string(quorate.directory.join("bin/crontab.lines")).unwrap();
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(lines[0], "0 1 * * * something-else");
    let line = lines[1].replace(quorate.directory.as_str(), "DIR");
    assert!(
        line.starts_with("17 3 * * * HOME='DIR' XDG_STATE_HOME='DIR/state' "),
        "{line}"
    );
    assert!(
        line.contains("'--to' 'DIR/state/quorate/lab/backups'"),
        "{line}"
    );
    assert!(line.ends_with("# quorate-backup-lab"), "{line}");
}
