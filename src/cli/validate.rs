//! `quorate validate`.

use super::Common;
use crate::error::Error;
use crate::report::Format;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
}

impl Args {
    pub(super) fn run(self) -> Result<(), Error> {
        let format = self.common.output;
        let session = self.common.open()?;
        let plan = session.plan("provision")?;
        let inventory = &session.inventory;
        match format {
            Format::Json => crate::report::println(&format!(
                "{}",
                serde_json::json!({ "cluster": inventory.name, "hosts": inventory.nodes.len(), "tasks": plan.tasks() })
            )),
            Format::Table => crate::report::println(&format!(
                "{} is valid: cluster {}, {} hosts, Kubernetes {}, {} tasks to provision",
                inventory.path,
                inventory.name,
                inventory.nodes.len(),
                inventory.kubernetes,
                plan.tasks()
            )),
        }
        Ok(())
    }
}
