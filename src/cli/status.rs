//! `quorate status`.

use super::Common;
use crate::error::Error;
use crate::operation::status::status;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
}

impl Args {
    pub(super) async fn run(self) -> Result<(), Error> {
        status(&self.common.open()?).await
    }
}
