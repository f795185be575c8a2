//! One machine, whatever carries the bytes.
//!
//! [`Transport`] is the door; [`ssh`] and the simulation are the two behind it. [`probe`] says what can be read, [`command`],
//! [`file`] and [`job`] what can be done.

pub mod command;
mod connect;
pub mod error;
pub mod facts;
pub mod file;
pub mod host_key;
pub mod job;
pub mod probe;
pub mod sample;
pub(crate) mod shell;
pub mod simulated;
pub mod ssh;
pub mod transfer;
pub mod transport;

use std::collections::HashMap;
use std::sync::Arc;

use crate::inventory::Node;
use command::{Command, Output};
use error::HostError;
use transport::Transport;

/// A connected host.
#[derive(Clone)]
pub struct Host {
    /// What the inventory says of it.
    pub node: Arc<Node>,
    /// The way to it.
    pub transport: Arc<dyn Transport>,
}

impl Host {
    /// Runs a command and refuses any status but 0.
    pub async fn succeed(&self, command: &Command) -> Result<Output, HostError> {
        let output = self.transport.run(command).await?;
        if output.is_success() {
            return Ok(output);
        }
        Err(HostError::Command {
            host: self.node.name.clone(),
            command: command.to_string(),
            status: format!("{:?}", output.status),
            output: crate::text::last_lines(&[output.stdout, output.stderr].concat()),
        })
    }
}

/// The hosts that a run may talk to, in the order of the inventory.
#[derive(Clone, Default)]
pub struct Hosts {
    all: Vec<Host>,
    /// Where each stands among them, by name.
    places: HashMap<String, usize>,
}

impl Hosts {
    /// Takes connected hosts, in the order of the inventory.
    #[must_use]
    pub fn new(hosts: Vec<Host>) -> Self {
        let names = hosts.iter().map(|host| host.node.name.clone());
        Self {
            places: names.zip(0..).collect(),
            all: hosts,
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Host> {
        self.all.iter()
    }

    /// The one of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Host> {
        self.all.get(*self.places.get(name)?)
    }
}
