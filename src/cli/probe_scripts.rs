//! `quorate probe-scripts`, hidden.

use camino::Utf8PathBuf;

use super::Common;
use crate::error::Error;
use crate::operation::probe_scripts::write;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// Directory to write `<host>.sh` and the list `hosts` into
    #[arg(long, value_name = "DIR")]
    out: Utf8PathBuf,
}

impl Args {
    pub(super) fn run(self) -> Result<(), Error> {
        write(&self.common.open()?, &self.out)
    }
}
