//! quorate: bare Linux hosts to a highly available Kubernetes control plane, over nothing but SSH.
pub mod input;
pub mod inventory;
pub mod secret;
