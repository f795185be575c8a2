//! quorate: bare Linux hosts to a highly available Kubernetes control plane, over nothing but SSH.
pub mod action;
pub mod cluster;
pub mod engine;
pub mod host;
pub mod inventory;
pub mod secret;
pub mod template;
pub mod text;
