//! The inventory file: what loads, what it means, and what every mistake looks like.

mod fixture;
mod garbage;
mod meaning;
mod refuses_etcd;
mod refuses_hosts;
mod refuses_networks;
mod refuses_settings;
mod refuses_shape;
mod refuses_ssh;
mod schema;
