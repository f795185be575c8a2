//! quorate: bare Linux hosts to a highly available Kubernetes control plane, over nothing but SSH.
pub mod cli;
pub mod inventory;
pub mod operation;
pub mod secret;
