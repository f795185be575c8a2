//! quorate: bare Linux hosts to a highly available Kubernetes control plane, over nothing but SSH.
pub mod action;
pub mod cli;
pub mod cluster;
pub mod engine;
pub mod error;
pub mod host;
pub mod input;
pub mod inventory;
pub mod operation;
pub mod os;
pub mod plan;
pub mod playbook;
pub mod report;
pub mod secret;
pub mod state;
pub mod template;
#[cfg(test)]
pub(crate) mod testing;
pub mod text;
