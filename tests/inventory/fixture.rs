//! A good inventory, and what loading says once it is changed.

use camino::{Utf8Path, Utf8PathBuf};
use quorate::inventory::{Inventory, Loaded};

/// A highly available cluster without any mistake or warning.
pub const GOOD: &str = "\
cluster:
  name: seoul-1
  kubernetes: v1.36.2
vip:
  address: 10.1.1.100
network:
  pods: 10.244.0.0/16
  services: 10.96.0.0/12
ssh: { user: ops }
lb:
  lb1: 10.1.1.11
  lb2: 10.1.1.12
masters:
  master1: 10.1.1.101
  master2: 10.1.1.102
  master3: 10.1.1.103
workers:
  worker1: 10.1.1.201
cni: none
";

/// The good inventory with some texts replaced; each must occur in it.
pub fn changed(changes: &[(&str, &str)]) -> String {
    let mut text = GOOD.to_owned();
    for (from, to) in changes {
        assert!(text.contains(from), "`{from}` is not in the inventory");
        text = text.replacen(from, to, 1);
    }
    text
}

/// Loads a text as `inventory.yaml` of a directory without other files.
pub fn load(text: &str) -> Result<Loaded, String> {
    Inventory::from_text(Utf8Path::new("inventory.yaml"), text).map_err(|errors| errors.to_string())
}

/// The report of a changed inventory that must be refused.
pub fn refused(changes: &[(&str, &str)]) -> String {
    load(&changed(changes)).expect_err("the change is a mistake")
}

/// The changed inventory, which must load.
pub fn loaded(changes: &[(&str, &str)]) -> Loaded {
    load(&changed(changes)).unwrap_or_else(|report| panic!("{report}"))
}

/// Path of a sample inventory.
pub fn sample(name: &str) -> Utf8PathBuf {
    Utf8PathBuf::from(format!(
        "{}/inventory/{name}.yaml",
        env!("CARGO_MANIFEST_DIR")
    ))
}
