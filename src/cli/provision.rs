//! `quorate provision`.

use super::{Common, Run};
use crate::error::Error;
use crate::operation::provision::provision;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    run: Run,
}

impl Args {
    pub(super) async fn run(self) -> Result<(), Error> {
        provision(&self.run.open(self.common)?).await
    }
}
