//! `quorate completions` and `quorate man`.

use clap_complete::Shell;

use crate::error::Error;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// For which shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Args {
    pub(super) fn run(self) {
        clap_complete::generate(
            self.shell,
            &mut super::command(),
            "quorate",
            &mut std::io::stdout(),
        );
    }
}

pub(super) fn man() -> Result<(), Error> {
    clap_mangen::Man::new(super::command())
        .render(&mut std::io::stdout())
        .map_err(|source| Error::Local {
            doing: "write the manual page".to_owned(),
            source,
        })
}
