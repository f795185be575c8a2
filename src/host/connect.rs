//! stub
use super::{Hosts, error::HostError};
use crate::inventory::Node;
/// o
#[derive(Debug, Default)]
pub struct ConnectOptions {
    /// a
    pub accept_new_host_keys: bool,
    /// x
    pub y: u8,
}
impl Hosts {
    /// c
    pub async fn connect(
        _nodes: &[&Node],
        _options: &ConnectOptions,
    ) -> (Hosts, Vec<(String, HostError)>) {
        (Hosts::default(), vec![])
    }
}
