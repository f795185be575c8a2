//! `etcd:` as it is written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::ssh_spec::SshSpec;
use crate::input::{AnyScalar, Entries, Field, Shorthand};

/// An etcd cluster of its own, run by systemd.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(extend("required" = ["hosts", "version"]))]
pub struct EtcdSpec {
    /// The members, three or five: `masters` for all masters, or a map of hosts. An own host is written as name to address,
    /// or to a map; a master as its name to a map without an address.
    pub hosts: Field<Shorthand<Entries<Shorthand<EtcdHostSpec>>>>,
    /// etcd's version, for example 3.5.24.
    #[schemars(regex(pattern = r"^[0-9]+\.[0-9]+\.[0-9]+$"))]
    pub version: Field<String>,
    /// The network of the peer addresses; when it is given every member has one in it.
    pub peer_network: Field<String>,
    /// Where members keep their data.
    #[schemars(extend("default" = "/var/lib/etcd-external"))]
    pub data_directory: Field<String>,
    /// How large the database may grow, for example 2GiB.
    #[schemars(extend("default" = "8GiB"))]
    pub quota: Field<String>,
    /// When etcd forgets old revisions by itself, beside what the apiserver does: `none`, `{ periodic: 8h }` or
    /// `{ revision: 10000 }`. Default: after 8 hours.
    pub compaction: Field<CompactionSpec>,
    /// Changes between two snapshots of Raft's log.
    #[schemars(extend("default" = 10000, "minimum" = 1000, "maximum" = 1_000_000))]
    pub snapshot_count: Field<i64>,
    /// Where etcd comes from.
    pub packages: Field<EtcdPackagesSpec>,
    /// Further settings of etcd's configuration file, such as are equal on all members.
    #[schemars(with = "Entries<AnyScalar>")]
    pub extra: Field<Entries<String>>,
}

/// A member's host in its long form.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct EtcdHostSpec {
    /// The address that clients and, by default, SSH use; with a range when the name has one. A master has its own already.
    pub address: Field<String>,
    /// The address for the traffic between members. Default: the same as for clients.
    pub peer_address: Field<String>,
    /// Free words for `--on @tag` (own hosts).
    pub tags: Field<Vec<Field<String>>>,
    /// How to reach it, over the inventory's `ssh` (own hosts).
    pub ssh: Field<SshSpec>,
}

/// When etcd forgets old revisions by itself.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CompactionSpec {
    /// Never: the apiserver's own compaction is all.
    None,
    /// Those older than this: `8h`, `90m`.
    Periodic(Field<String>),
    /// All but this many.
    Revision(Field<i64>),
}

/// Where etcd comes from.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct EtcdPackagesSpec {
    /// `distribution` (the hosts' own repositories), `mirror` (with `url` and `key`), or `preinstalled` (verify only).
    #[schemars(extend("default" = "distribution"))]
    pub source: Field<EtcdPackagesKind>,
    /// Repository of a mirror.
    pub url: Field<String>,
    /// File with the mirror's ASCII-armoured public key.
    pub key: Field<String>,
}

/// Kinds of sources of etcd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum EtcdPackagesKind {
    /// The distribution's packages.
    Distribution,
    /// A repository of one's own.
    Mirror,
    /// etcd and etcdctl are on the hosts already.
    Preinstalled,
}
