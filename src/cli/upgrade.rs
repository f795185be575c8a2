//! `quorate upgrade`.

use super::{Common, Run};
use crate::action::{BarePods, Blocked};
use crate::error::Error;
use crate::inventory::etcd::EtcdVersion;
use crate::inventory::version::KubeVersion;
use crate::operation::upgrade::etcd::upgrade_etcd;
use crate::operation::upgrade::{AtOnce, Intent, Options, Policies, upgrade};

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "quorate upgrade [OPTIONS] --to <vX.Y.Z>\n       quorate upgrade [OPTIONS] --etcd-to <X.Y.Z>"
)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// The release to bring every host to
    #[arg(long, value_name = "vX.Y.Z", required_unless_present = "etcd_to")]
    to: Option<KubeVersion>,
    /// The version to bring every member of an etcd of its own to, one minor and one member at a time
    #[arg(long, value_name = "X.Y.Z", conflicts_with_all = [
        "max_unavailable", "bare_pods", "blocked_pods", "drain_timeout", "pause_after", "confirm_each",
    ])]
    etcd_to: Option<EtcdVersion>,
    /// Stop after the gates and the plan; change nothing
    #[arg(long)]
    check: bool,
    /// Workers that may be away at once: a number, or a share such as 25%
    #[arg(long, value_name = "N|P%", default_value = "1")]
    max_unavailable: AtOnce,
    /// What to do with pods that have no controller, and so would be lost
    #[arg(long, value_enum, default_value_t)]
    bare_pods: BarePods,
    /// What to do when a disruption budget does not let pods leave in time
    #[arg(long, value_enum, default_value_t)]
    blocked_pods: Blocked,
    /// How long the pods of a node may take to leave, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    drain_timeout: u64,
    /// Stop before this node is uncordoned, for a person to look at it; repeat or separate by commas
    #[arg(long, value_name = "NODE", value_delimiter = ',')]
    pause_after: Vec<String>,
    /// Ask before each node is uncordoned
    #[arg(long)]
    confirm_each: bool,
    #[command(flatten)]
    run: Run,
}

impl Args {
    pub(super) async fn run(self) -> Result<(), Error> {
        let session = self.run.open(self.common)?;
        let intent = if self.check {
            Intent::Check
        } else {
            Intent::Upgrade
        };
        let to = match (self.to, self.etcd_to) {
            (Some(to), None) => to,
            (None, Some(to)) => return upgrade_etcd(&session, to, intent).await,
            (_, _) => return Err(one_at_a_time()),
        };
        let pause_after = if self.confirm_each {
            session
                .inventory
                .nodes
                .iter()
                .map(|node| node.name.clone())
                .collect()
        } else {
            self.pause_after
        };
        let options = Options {
            to,
            intent,
            policies: Policies {
                at_once: self.max_unavailable,
                bare_pods: self.bare_pods,
                blocked: self.blocked_pods,
                drain_timeout: self.drain_timeout,
                pause_after,
            },
        };
        upgrade(&session, &options).await
    }
}

fn one_at_a_time() -> Error {
    Error::Usage {
        message: "--to and --etcd-to: one after the other. If the new Kubernetes wants a later etcd, `--etcd-to` comes first; \
                  `quorate upgrade --to vX.Y.Z --check` says so"
            .to_owned(),
    }
}
