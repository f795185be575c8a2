//! `quorate schema`.

use clap::ValueEnum;

use crate::playbook::Playbook;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Of what
    #[arg(value_enum, default_value_t)]
    of: Of,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Of {
    #[default]
    Inventory,
    Playbook,
}

impl Args {
    pub(super) fn run(self) {
        let schema = match self.of {
            Of::Inventory => crate::inventory::json_schema(),
            Of::Playbook => schemars::schema_for!(Playbook).to_value(),
        };
        crate::report::println(&format!("{schema:#}"));
    }
}
