//! Ways to a host: jump hosts, the user's configuration, and what is said when there is no way.

use std::sync::Arc;
use std::time::Duration;

use quorate::host::Hosts;
use quorate::host::command::Command;
use quorate::host::error::HostError;
use quorate::host::ssh::{ConnectOptions, Ssh};
use quorate::host::transport::Transport as _;
use quorate::inventory::{Node, SshSettings};

use crate::sshd::{Sshd, node, options};

/// A host behind two jump hosts, with one known_hosts file for all three.
fn behind_two(outer: &Sshd, inner: &Sshd, target: &Sshd) -> Node {
    for server in [outer, inner] {
        let public = target.directory.join("id.pub");
        server.authorize(&public);
    }
    let lines: String = [outer, inner, target]
        .map(|server| format!("[127.0.0.1]:{} {}\n", server.port, server.host_key()))
        .concat();
    let mut node = target.node();
    node.ssh.known_hosts = Some(target.known_hosts_with(&lines));
    node.ssh.jump = [outer, inner]
        .map(|server| format!("root@127.0.0.1:{}", server.port))
        .to_vec();
    node
}

#[tokio::test(flavor = "multi_thread")]
async fn two_jump_hosts_lead_to_the_target_over_one_connection_each() {
    let (outer, inner, target) = (Sshd::start(), Sshd::start(), Sshd::start());
    let node = Arc::new(behind_two(&outer, &inner, &target));
    let nodes = vec![node; 6];
    let (hosts, errors) = Hosts::connect(&nodes, &options()).await;
    assert!(errors.is_empty(), "{errors:?}");
    for host in hosts.iter() {
        let output = host
            .transport
            .run(&Command::new("echo").arg("there"))
            .await
            .unwrap();
        assert_eq!(output.text(), "there\n");
    }
    assert_eq!((outer.sessions().len(), inner.sessions().len()), (1, 1));
    assert_eq!(target.sessions().len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jump_host_that_cannot_go_on_is_named() {
    let (outer, inner, target) = (Sshd::start(), Sshd::start(), Sshd::start());
    let mut node = behind_two(&outer, &inner, &target);
    drop(inner);
    let error = Ssh::connect(&node, &options()).await.err().unwrap();
    assert!(
        matches!(&error, HostError::Unreachable { reason, .. } if reason.contains("jump host cannot reach it")),
        "{error}"
    );
    node.ssh.jump.reverse();
    let error = Ssh::connect(&node, &options()).await.err().unwrap();
    assert!(
        matches!(&error, HostError::Unreachable { address, .. } if !address.contains("via")),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jump_host_is_judged_like_any_host() {
    let (outer, inner, target) = (Sshd::start(), Sshd::start(), Sshd::start());
    let mut node = behind_two(&outer, &inner, &target);
    node.ssh.known_hosts = Some(target.known_hosts());
    let error = Ssh::connect(&node, &options()).await.err().unwrap();
    assert!(
        matches!(&error, HostError::UnknownKey { host, .. } if *host == format!("root@127.0.0.1:{}", outer.port)),
        "{error}"
    );
}

/// Options that consult a configuration file of this content.
fn configured(server: &Sshd, text: &str) -> ConnectOptions {
    let config = server.directory.join("ssh_config");
    fs_err::write(&config, text).unwrap();
    ConnectOptions {
        config: Some(config),
        ..options()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_users_configuration_applies_unless_the_inventory_says_otherwise() {
    let (bastion, target) = (Sshd::start(), Sshd::start());
    bastion.authorize(&target.directory.join("id.pub"));
    let text = format!(
        "Host gate\n  HostName 127.0.0.1\n  Port {bastion_port}\n  User root\n  IdentityFile {id}\n  UserKnownHostsFile {bastion_known}\n\
         Host target\n  HostName 127.0.0.1\n  Port {port}\n  User root\n  IdentityFile {id}\n  ProxyJump gate\n\
         \x20 UserKnownHostsFile /nonexistent {known}\n  HostKeyAlias the-target\n",
        bastion_port = bastion.port,
        port = target.port,
        id = target.directory.join("id"),
        bastion_known = bastion.known_hosts(),
        known = target.known_hosts_with(&format!("the-target {}\n", target.host_key())),
    );
    let options = configured(&target, &text);
    let settings = SshSettings {
        host: Some("target".to_owned()),
        use_config: true,
        ..SshSettings::default()
    };
    let ssh = Ssh::connect(&node("target", settings.clone()), &options)
        .await
        .unwrap();
    assert_eq!(
        ssh.run(&Command::new("echo").arg("there"))
            .await
            .unwrap()
            .text(),
        "there\n"
    );
    assert_eq!(bastion.sessions().len(), 1);
    let overridden = SshSettings {
        port: Some(bastion.port),
        ..settings.clone()
    };
    let error = Ssh::connect(&node("target", overridden), &options)
        .await
        .err()
        .unwrap();
    assert!(
        matches!(error, HostError::ChangedKey { .. }),
        "the other server answers: {error}"
    );
    let ignored = SshSettings {
        use_config: false,
        ..settings
    };
    let error = Ssh::connect(&node("target", ignored), &options)
        .await
        .err()
        .unwrap();
    assert!(
        matches!(error, HostError::Unreachable { .. }),
        "no host is called target: {error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_command_carries_the_connection() {
    let server = Sshd::start();
    let text = format!(
        "Host 127.0.0.1\n  ProxyCommand bash -c 'exec 3<>/dev/tcp/%h/{}; cat <&3 & cat >&3'\n",
        server.port
    );
    let options = configured(&server, &text);
    let mut node = server.node();
    node.ssh.use_config = true;
    let ssh = Ssh::connect(&node, &options).await.unwrap();
    assert_eq!(
        ssh.run(&Command::new("echo").arg("there"))
            .await
            .unwrap()
            .text(),
        "there\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_configuration_is_named() {
    let server = Sshd::start();
    let options = configured(&server, "NoSuchKeyword yes\n");
    let mut node = server.node();
    node.ssh.use_config = true;
    let error = Ssh::connect(&node, &options).await.err().unwrap();
    assert!(
        matches!(&error, HostError::Unreachable { reason, .. } if reason.contains("nosuchkeyword")),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn all_hosts_are_tried_and_all_errors_reported_in_order() {
    let server = Sshd::start();
    let closed = Sshd::start().node();
    let mut stranger = server.node();
    stranger.ssh.known_hosts = Some(server.directory.join("none"));
    let named = |mut node: Node, name: &str| {
        node.name = name.to_owned();
        Arc::new(node)
    };
    let nodes = [
        named(closed, "a"),
        named(server.node(), "b"),
        named(stranger, "c"),
    ];
    let (hosts, errors) = Hosts::connect(&nodes, &options()).await;
    assert_eq!(
        hosts
            .iter()
            .map(|host| host.node.name.as_str())
            .collect::<Vec<_>>(),
        ["b"]
    );
    assert_eq!(
        errors
            .iter()
            .map(|(name, _)| name.as_str())
            .collect::<Vec<_>>(),
        ["a", "c"]
    );
    assert!(errors.iter().all(|(_, error)| error.is_connection()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_says_nothing_is_given_up() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = SshSettings {
        port: Some(listener.local_addr().unwrap().port()),
        user: Some("root".to_owned()),
        ..SshSettings::default()
    };
    let options = ConnectOptions {
        timeout: Duration::from_millis(300),
        ..options()
    };
    let error = Ssh::connect(&node("silent", settings), &options)
        .await
        .err()
        .unwrap();
    assert!(
        matches!(&error, HostError::Unreachable { reason, .. } if reason.contains("took longer")),
        "{error}"
    );
}
