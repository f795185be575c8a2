//! Connecting to many hosts at once.

use std::sync::Arc;

use futures::StreamExt as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::error::HostError;
use super::ssh::{ConnectOptions, Ssh};
use super::{Host, Hosts};
use crate::inventory::Node;

/// Connections that are being opened at once.
const AT_ONCE: usize = 1024;

/// Lets this process have as many files open as it may: a connection is one, and the usual limit of 1,024 is a kindness to
/// programs that wait by `select`, which this is not.
fn open_as_many_as_allowed() {
    let limit = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: limit.maximum,
        ..limit
    };
    // Where it is refused, hosts beyond the limit cannot be reached, and their errors say why.
    let _ = setrlimit(Resource::Nofile, all);
}

impl Hosts {
    /// Connects to all nodes side by side; those that cannot be reached come back with their errors, all of them, both
    /// in the order of the nodes.
    pub async fn connect(
        nodes: &[Arc<Node>],
        options: &ConnectOptions,
    ) -> (Self, Vec<(String, HostError)>) {
        open_as_many_as_allowed();
        let attempts = nodes.iter().enumerate().map(|(index, node)| async move {
            let connected = Ssh::connect(node, options).await;
            (index, node, connected)
        });
        // Unordered: behind one that hangs, ordered ones would queue up once so many are done.
        let mut results: Vec<_> = futures::stream::iter(attempts)
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        results.sort_by_key(|(index, _, _)| *index);
        let mut hosts = Vec::new();
        let mut errors = Vec::new();
        for (_, node, connected) in results {
            match connected {
                Ok(ssh) => hosts.push(Host {
                    node: Arc::clone(node),
                    transport: Arc::new(ssh),
                }),
                Err(error) => errors.push((node.name.clone(), error)),
            }
        }
        (Self::new(hosts), errors)
    }
}
