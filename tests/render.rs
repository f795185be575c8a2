//! Every template for every sample inventory: as snapshots, before the programs that read them, and against the mistakes
//! that are known to be made in such files.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests"
)]

#[path = "render/support.rs"]
mod support;

#[path = "render/etcd.rs"]
mod etcd;
#[path = "render/haproxy.rs"]
mod haproxy;
#[path = "render/keepalived.rs"]
mod keepalived;
#[path = "render/kubeadm.rs"]
mod kubeadm;
#[path = "render/overlay.rs"]
mod overlay;
#[path = "render/snapshots.rs"]
mod snapshots;
