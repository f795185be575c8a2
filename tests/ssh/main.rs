//! The transport against a real sshd.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod host_keys;
mod hostile;
mod login;
mod requests;
mod routes;
#[path = "../server/mod.rs"]
mod server;
mod speed;
#[path = "../sshd/mod.rs"]
mod sshd;
mod sudo;

use quorate::host::ssh::Ssh;

/// Connects as root with the server's own key.
async fn connect(server: &sshd::Sshd) -> Ssh {
    Ssh::connect(&server.node(), &sshd::options())
        .await
        .unwrap()
}
