//! kubelet's configuration, as far as a node follows the cluster's.

use super::scripts::Ended;
use super::world::World;

/// Takes the configuration from the cluster and notes the digest of the file that it was made of.
pub(super) fn follow(world: &mut World, host: &str, wanted: &str, applied: &str) -> Ended {
    let now = world.now;
    let machine = world.machine(host).clone();
    let is_served = world.store_of(&machine).is_some() || world.store_behind_vip().is_some();
    if !is_served {
        return (1, String::new(), "the apiserver does not answer".to_owned());
    }
    if !wanted.is_empty() {
        let text = machine.files.text(wanted).unwrap_or_default();
        let digest = crate::text::sha256(text);
        let files = &mut world.machine(host).files;
        files.put(applied.to_owned(), format!("{digest}\n"), 0o644, now);
    }
    (0, String::new(), String::new())
}
