//! `quorate recover`.

use super::Common;
use crate::cluster::restore::Way;
use crate::error::Error;
use crate::operation::Session;
use crate::operation::recover::{Request, recover};

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// Only show what is wrong and what would be done
    #[arg(long)]
    plan: bool,
    /// Do not ask before changing hosts
    #[arg(short, long)]
    yes: bool,
    /// The cluster's name, for whoever cannot be asked: needed where data is given up
    #[arg(long, value_name = "CLUSTER")]
    confirm: Option<String>,
    /// Where quorum is lost: let the survivor's etcd forget the others on its own data, instead of restoring a snapshot of
    /// it. For data that a snapshot cannot be taken of: no revision is bumped, and the lost members must never come back
    #[arg(long)]
    force_new_cluster: bool,
}

impl Args {
    pub(super) async fn run(self) -> Result<(), Error> {
        let mut settings = self.common.settings();
        settings.yes = self.yes;
        let request = Request {
            plan: self.plan,
            confirm: self.confirm,
            way: if self.force_new_cluster {
                Way::ForceNewCluster
            } else {
                Way::Snapshot
            },
        };
        recover(&Session::open(settings)?, &request).await
    }
}
