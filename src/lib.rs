//! quorate: bare Linux hosts to a highly available Kubernetes control plane, over nothing but SSH.
pub mod action;
pub mod engine;
pub mod host;
pub mod inventory;
pub mod os;
pub mod secret;
pub mod template;
#[cfg(test)]
pub(crate) mod testing;
pub mod text;
