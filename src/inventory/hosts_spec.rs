//! One host as it is written, in its long form.

use schemars::JsonSchema;
use serde::Deserialize;

use super::ssh_spec::SshSpec;
use crate::input::{AnyScalar, Entries, Field};

/// A host in its long form.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(extend("required" = ["address"]))]
pub struct HostSpec {
    /// The address that cluster traffic and, by default, SSH use; with a range when the name has one.
    pub address: Field<String>,
    /// Kubernetes labels (masters and workers).
    #[schemars(with = "Entries<AnyScalar>")]
    pub labels: Field<Entries<String>>,
    /// Kubernetes taints, `key[=value]:effect` (masters and workers). Default: kubeadm's own for the role.
    pub taints: Field<Vec<Field<String>>>,
    /// Free words for `--on @tag`.
    pub tags: Field<Vec<Field<String>>>,
    /// Share of new connections that HAProxy gives this master.
    #[schemars(extend("default" = 100, "minimum" = 0, "maximum" = 256))]
    pub weight: Field<i64>,
    /// How to reach it, over the inventory's `ssh`.
    pub ssh: Field<SshSpec>,
}
