//! The command line of quorate: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    quorate::cli::main()
}
