//! quorate.
use clap::Parser;

#[derive(Parser)]
enum Quorate {
    Lab(quorate::cli::lab::LabArgs),
}

fn main() -> std::process::ExitCode {
    let Quorate::Lab(args) = Quorate::parse();
    let Err(error) = quorate::cli::lab::run(args) else {
        return std::process::ExitCode::SUCCESS;
    };
    eprintln!("error: {error}");
    if let Some(source) = std::error::Error::source(&error) {
        eprintln!("  {source}");
    }
    if let Some(help) = error.help() {
        eprintln!("help: {help}");
    }
    std::process::ExitCode::FAILURE
}
