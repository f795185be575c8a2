//! `quorate render`.

use camino::Utf8PathBuf;

use super::Common;
use crate::error::Error;
use crate::operation::render::render;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// Directory to write `<host>/<absolute path>` into
    #[arg(long, value_name = "DIR")]
    out: Utf8PathBuf,
}

impl Args {
    pub(super) fn run(self) -> Result<(), Error> {
        let session = self.common.open()?;
        let files = render(&session, &self.out)?;
        crate::report::println(&format!("{files} files written to {}", self.out));
        Ok(())
    }
}
