//! `quorate completions` and `quorate man`.

use clap_complete::Shell;

use crate::report::print;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// For which shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Args {
    pub(super) fn run(self) {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut super::command(), "quorate", &mut script);
        print(&String::from_utf8_lossy(&script));
    }
}

pub(super) fn man() {
    let mut page = Vec::new();
    clap_mangen::Man::new(super::command())
        .render(&mut page)
        .expect("a page fits into memory");
    print(&String::from_utf8_lossy(&page));
}
