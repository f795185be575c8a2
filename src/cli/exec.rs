//! `quorate exec`.

use super::Common;
use crate::error::Error;
use crate::operation::exec::exec;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// Program and arguments, run as root on each host; several words are not interpreted by a shell, one word is
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl Args {
    pub(super) async fn run(self) -> Result<(), Error> {
        exec(&self.common.open()?, &self.command).await
    }
}
