//! `quorate runs`.

use clap::Subcommand;

use super::Common;
use crate::error::Error;
use crate::operation::runs;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List the runs of the inventory's cluster, newest last
    List {
        #[command(flatten)]
        common: Common,
    },
    /// Show one run as a time line
    Show {
        #[command(flatten)]
        common: Common,
        /// Its id, or the unambiguous end of it, or `last`
        #[arg(default_value = "last")]
        run: String,
    },
}

impl Args {
    pub(super) fn run(self) -> Result<(), Error> {
        match self.what {
            What::List { common } => {
                let format = common.output;
                runs::list(&common.open()?.inventory.name, format);
                Ok(())
            }
            What::Show { common, run } => {
                let format = common.output;
                runs::show(&common.open()?.inventory.name, &run, format)
            }
        }
    }
}
