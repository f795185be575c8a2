//! `quorate provision`.

use camino::Utf8PathBuf;

use super::Common;
use crate::error::Error;
use crate::operation::Session;
use crate::operation::provision::provision;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// Do not ask before changing hosts
    #[arg(short, long)]
    yes: bool,
    /// Write every event to this file, one JSON object per line
    #[arg(long, value_name = "FILE")]
    events: Option<Utf8PathBuf>,
}

impl Args {
    pub(super) async fn run(self) -> Result<(), Error> {
        let mut settings = self.common.settings();
        settings.yes = self.yes;
        settings.events = self.events;
        provision(&Session::open(settings)?).await
    }
}
