//! The inventory file: samples load, and every mistake is reported with its place and remedy.

use camino::Utf8Path;
use quorate::inventory::Inventory;

#[test]
fn samples_load() {
    for name in ["ha", "minimal", "lab"] {
        let path = format!("{}/inventory/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
        Inventory::load(Utf8Path::new(&path)).unwrap_or_else(|errors| panic!("{errors}"));
    }
}
