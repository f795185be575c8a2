//! Hosts that cannot be reached or trusted, and `exec` on one that can: a real sshd on a loopback port.

use std::net::{Ipv4Addr, TcpListener};

use crate::sshd::Sshd;
use crate::{Outcome, Quorate};

/// An inventory whose hosts are all that server.
fn with_server(server: &Sshd, known_hosts: &str) -> Quorate {
    let quorate = Quorate::new();
    let known_hosts = server.known_hosts_with(known_hosts);
    let identity = server.directory.join("id");
    quorate.write(
        "inventory.yaml",
        &format!(
            "\
cluster: {{ name: here, kubernetes: v1.36.2 }}
vip: {{ address: 10.1.1.100 }}
ssh: {{ user: root, port: {port}, identity-file: {identity}, known-hosts: {known_hosts}, config: false }}
lb:
  lb[1-2]: 10.1.1.[11-12]
masters:
  master1: {{ address: 10.1.1.101, ssh: {{ host: 127.0.0.1 }} }}
  master2: {{ address: 10.1.1.102, ssh: {{ host: 127.0.0.1 }} }}
  master3: {{ address: 10.1.1.103, ssh: {{ host: 127.0.0.1, port: {closed} }} }}
cni: none
",
            port = server.port,
            closed = closed_port(),
        ),
    );
    quorate
}

/// A port that nobody listens on.
fn closed_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

fn known(server: &Sshd) -> String {
    format!("[127.0.0.1]:{} {}\n", server.port, server.host_key())
}

/// Without what differs from run to run.
fn settled() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"127\.0\.0\.1:\d+", "127.0.0.1:PORT");
    settings.add_filter(r"-p \d+", "-p PORT");
    settings.add_filter(r"SHA256:[A-Za-z0-9+/]+", "SHA256:FINGERPRINT");
    settings.add_filter(r"/\S+/known_hosts", "DIR/known_hosts");
    settings
}

fn exec(quorate: &Quorate, on: &str, words: &[&str]) -> Outcome {
    quorate.run(&[&["exec", "--on", on, "--"], words].concat())
}

#[test]
fn a_host_that_does_not_answer_is_named_with_the_remedy() {
    let server = Sshd::start();
    let quorate = with_server(&server, &known(&server));
    let stderr = quorate.run(&["plan", "--on", "master3"]).refused_with(4);
    settled().bind(|| insta::assert_snapshot!("unreachable", stderr));
}

#[test]
fn an_unknown_host_key_is_refused_with_its_fingerprint() {
    let server = Sshd::start();
    let quorate = with_server(&server, "");
    let stderr = quorate.run(&["plan", "--on", "master1"]).refused_with(4);
    settled().bind(|| insta::assert_snapshot!("unknown_key", stderr));
    let arguments = [
        "exec",
        "--on",
        "master1",
        "--accept-new-host-keys",
        "--",
        "true",
    ];
    quorate.run(&arguments).ended_with(0);
    exec(&quorate, "master1", &["true"]).ended_with(0);
}

#[test]
fn one_word_is_a_line_for_the_shell_and_several_are_a_program() {
    let server = Sshd::start();
    let quorate = with_server(&server, &known(&server));
    let outcome = exec(&quorate, "master1,master2", &["echo $((1 + 2))"]);
    assert_eq!(outcome.stdout, "master1 | 3\nmaster2 | 3\n");
    assert_eq!(outcome.stderr, "2 hosts returned 0\n");
    let outcome = exec(&quorate, "master1", &["echo", "$HOME; x"]).ended_with(0);
    assert_eq!(outcome.stdout, "master1 | $HOME; x\n");
}

#[test]
fn the_exit_code_tells_a_command_that_failed_from_a_host_that_was_not_reached() {
    let server = Sshd::start();
    let quorate = with_server(&server, &known(&server));
    let failed = exec(&quorate, "master1", &["echo seen; echo bad >&2; exit 3"]).ended_with(6);
    assert_eq!(failed.stdout, "master1 | seen\nmaster1 ! bad\n");
    assert!(
        failed
            .stderr
            .starts_with("0 hosts returned 0; 3: master1\n")
    );
    let lost = exec(&quorate, "masters", &["true"]).ended_with(4);
    assert!(
        lost.stderr
            .starts_with("2 hosts returned 0; no answer: master3\n")
    );
}

#[test]
fn exec_as_json_is_one_object_and_leaves_no_run_behind() {
    let server = Sshd::start();
    let quorate = with_server(&server, &known(&server));
    let arguments = ["exec", "-o", "json", "--on", "masters", "--", "echo", "up"];
    let json = quorate.run(&arguments).ended_with(4).json();
    assert_eq!(json["succeeded"], 2);
    assert_eq!(json["failed"], 1);
    assert_eq!(json["hosts"][0]["stdout"], "up\n");
    assert_eq!(json["hosts"][2]["name"], "master3");
    assert!(!quorate.directory.join("state").exists());
}
