//! `quorate plan`.

use super::Common;
use crate::error::Error;
use crate::operation::plan::plan;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// Exit with 8 when changes are pending
    #[arg(long)]
    exit_code: bool,
}

impl Args {
    pub(super) async fn run(self) -> Result<(), Error> {
        let session = self.common.open()?;
        plan(&session, self.exit_code).await
    }
}
