//! `quorate upgrade`.

use super::{Common, Run};
use crate::action::{BarePods, Blocked};
use crate::error::Error;
use crate::inventory::version::KubeVersion;
use crate::operation::upgrade::{AtOnce, Intent, Options, Policies, upgrade};

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// The release to bring every host to
    #[arg(long, value_name = "vX.Y.Z")]
    to: KubeVersion,
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
            to: self.to,
            intent: if self.check {
                Intent::Check
            } else {
                Intent::Upgrade
            },
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
