//! stub
use crate::{
    action::Fleet,
    error::Error,
    host::probe::Probe,
    inventory::{Inventory, Node},
};
/// p
pub fn probes(_i: &Inventory, _n: &Node) -> Vec<Probe> {
    vec![Probe::Machine]
}
/// r
pub fn refuse(_i: &Inventory, _f: &Fleet) -> Result<(), Error> {
    Ok(())
}
