//! Which servers are believed.

use quorate::host::error::HostError;
use quorate::host::host_key::NewHostKeys;
use quorate::host::ssh::{ConnectOptions, Ssh};

use crate::sshd::{Sshd, keygen, options, succeed};

/// Connects with this known_hosts content; `KEY` and `NAME` stand for the server's.
async fn connect_with(server: &Sshd, known_hosts: &str) -> Result<Ssh, HostError> {
    let text = known_hosts
        .replace("KEY", &server.host_key())
        .replace("NAME", &format!("[127.0.0.1]:{}", server.port));
    let mut node = server.node();
    node.ssh.known_hosts = Some(server.known_hosts_with(&text));
    Ssh::connect(&node, &options()).await
}

async fn refusal(server: &Sshd, known_hosts: &str) -> HostError {
    connect_with(server, known_hosts).await.err().unwrap()
}

fn accepting() -> ConnectOptions {
    ConnectOptions {
        new_host_keys: NewHostKeys::Accept,
        ..options()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_on_file_is_accepted_in_every_spelling() {
    let server = Sshd::start();
    for line in [
        "NAME KEY",
        "other,NAME KEY comment",
        "[127.*]:* KEY",
        "127.0.0.1 KEY",
    ] {
        connect_with(&server, &format!("{line}\n")).await.unwrap();
    }
    let file = server.known_hosts();
    succeed("ssh-keygen", &["-H", "-f", file.as_str()]);
    let hashed = fs_err::read_to_string(&file).unwrap();
    assert!(hashed.starts_with("|1|"));
    connect_with(&server, &hashed).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_key_is_refused_with_its_fingerprint() {
    let server = Sshd::start();
    let error = refusal(&server, "").await;
    let HostError::UnknownKey {
        fingerprint,
        algorithm,
        ..
    } = &error
    else {
        panic!("{error}");
    };
    let public = server.directory.join("host_key.pub");
    assert!(succeed("ssh-keygen", &["-lf", public.as_str()]).contains(fingerprint));
    assert_eq!(algorithm, "ssh-ed25519");
    assert!(error.is_connection());
    let excluded = refusal(&server, "*,!127.0.0.1,!NAME KEY\n").await;
    assert!(
        matches!(excluded, HostError::UnknownKey { .. }),
        "{excluded}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn another_key_on_file_is_a_changed_key() {
    let server = Sshd::start();
    let other = Sshd::start().host_key();
    let error = refusal(&server, &format!("# comment\nNAME {other}\n")).await;
    assert!(
        matches!(&error, HostError::ChangedKey { why, .. } if why.starts_with("changed, line 2 of")),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_another_algorithm_on_file_is_a_changed_key() {
    let server = Sshd::start();
    let key = server.directory.join("other");
    keygen(&key, "ecdsa", "");
    let other = fs_err::read_to_string(format!("{key}.pub")).unwrap();
    let text = format!("NAME {other}");
    let error = refusal(&server, &text).await;
    assert!(matches!(&error, HostError::ChangedKey { .. }), "{error}");
    let mut node = server.node();
    let name = format!("[127.0.0.1]:{}", server.port);
    node.ssh.known_hosts = Some(server.known_hosts_with(&text.replace("NAME", &name)));
    let error = Ssh::connect(&node, &accepting()).await.err().unwrap();
    assert!(
        matches!(&error, HostError::ChangedKey { .. }),
        "accept-new accepts new ones only: {error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_algorithm_on_file_is_preferred_among_several() {
    let directory = tempfile::tempdir().unwrap();
    let rsa = camino::Utf8PathBuf::from_path_buf(directory.path().join("rsa")).unwrap();
    keygen(&rsa, "rsa", "");
    let server = Sshd::start_with(&format!("HostKey {rsa}"));
    let public = fs_err::read_to_string(format!("{rsa}.pub")).unwrap();
    connect_with(&server, &format!("NAME {public}"))
        .await
        .unwrap();
    connect_with(&server, "NAME KEY\n").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_is_refused() {
    let server = Sshd::start();
    let error = refusal(&server, "NAME KEY\n@revoked * KEY\n").await;
    assert!(
        matches!(&error, HostError::ChangedKey { why, .. } if why.starts_with("revoked by line 2")),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn new_keys_are_accepted_on_demand_and_remembered() {
    let server = Sshd::start();
    let file = server.directory.join("new/known_hosts");
    let nodes: Vec<_> = (0..8)
        .map(|_| {
            let mut node = server.node();
            node.ssh.known_hosts = Some(file.clone());
            std::sync::Arc::new(node)
        })
        .collect();
    let (hosts, errors) = quorate::host::Hosts::connect(&nodes, &accepting()).await;
    assert_eq!((hosts.iter().count(), errors.len()), (8, 0), "{errors:?}");
    let text = fs_err::read_to_string(&file).unwrap();
    assert_eq!(
        text,
        format!("[127.0.0.1]:{} {}\n", server.port, server.host_key())
    );
    let node = nodes.first().unwrap();
    Ssh::connect(node, &options()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_certificate_is_judged_by_its_authority() {
    let directory = tempfile::tempdir().unwrap();
    let path =
        |name: &str| camino::Utf8PathBuf::from_path_buf(directory.path().join(name)).unwrap();
    keygen(&path("ca"), "ed25519", "");
    keygen(&path("host"), "ed25519", "");
    let sign = |principal: &str, validity: &str| {
        succeed(
            "ssh-keygen",
            &[
                "-q",
                "-s",
                path("ca").as_str(),
                "-I",
                "host",
                "-h",
                "-n",
                principal,
                "-V",
                validity,
                path("host.pub").as_str(),
            ],
        );
    };
    sign("127.0.0.1", "-1h:+1h");
    let server = Sshd::start_with(&format!(
        "HostKey {0}\nHostCertificate {0}-cert.pub",
        path("host")
    ));
    let authority = fs_err::read_to_string(path("ca.pub")).unwrap();
    let trust = format!("@cert-authority [127.0.0.1]:* {authority}");
    connect_with(&server, &trust).await.unwrap();
    let revoked = refusal(&server, &format!("{trust}@revoked * {authority}")).await;
    assert!(
        matches!(&revoked, HostError::ChangedKey { .. }),
        "{revoked}"
    );
    drop(server);
    for (principal, validity) in [("10.0.0.1", "-1h:+1h"), ("127.0.0.1", "-2h:-1h")] {
        sign(principal, validity);
        let server = Sshd::start_with(&format!(
            "HostKey {0}\nHostCertificate {0}-cert.pub",
            path("host")
        ));
        let error = refusal(&server, &trust).await;
        assert!(
            matches!(&error, HostError::ChangedKey { why, .. } if why.contains("certificate")),
            "{error}"
        );
    }
}
