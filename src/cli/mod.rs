//! The command line: what is typed, turned into what is meant. One file per command, each an `Args` and a `run` of a few
//! lines.

mod backup;
mod completions;
mod exec;
mod lab;
mod plan;
mod probe_scripts;
mod provision;
mod recover;
mod rehearse;
mod render;
mod restore;
mod runs;
mod schema;
mod status;
mod upgrade;
mod validate;

use std::process::ExitCode;

use camino::Utf8PathBuf;
use clap::{Args, CommandFactory as _, Parser, Subcommand};

use crate::error::{Error, report};
use crate::operation::{Session, Settings};
use crate::report::Format;

/// Takes bare Linux hosts to a highly available Kubernetes control plane and keeps it alive, over nothing but SSH.
#[derive(Debug, Parser)]
#[command(
    name = "quorate",
    version,
    max_term_width = 100,
    disable_help_subcommand = true
)]
#[command(
    after_help = "Exit codes: 0 done or nothing to do, 1 unexpected, 2 command line, 3 bad inventory, playbook or \
                        template, 4 host unreachable or not trusted, 5 refused as unsafe, 6 a task failed (run again to \
                        continue), 8 changes are pending (plan --exit-code), 130 interrupted (run again to continue)"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Log more to standard error: -v what is sent, -vv the SSH library too
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check an inventory: all mistakes at once, each with its place
    Validate(validate::Args),
    /// Print the JSON Schema of inventories or playbooks, for editors
    Schema(schema::Args),
    /// Write all files of all hosts into a directory, offline
    Render(render::Args),
    /// Show what `provision` would change, with diffs; changes nothing
    Plan(plan::Args),
    /// Bring all hosts to what the inventory says
    Provision(provision::Args),
    /// Bring a running cluster to another release, or an etcd of its own to another version
    Upgrade(upgrade::Args),
    /// Carry an operation out on simulated hosts, with any fault; touches no host
    Rehearse(rehearse::Args),
    /// Show load balancers, apiservers, etcd, nodes and certificates
    Status(status::Args),
    /// Back up etcd and all that a bare machine needs, proved by a trial restore
    Backup(Box<backup::Args>),
    /// Show what is wrong with the masters and mend it from the survivors' side
    Recover(recover::Args),
    /// Restore etcd on all masters from a backup
    Restore(restore::Args),
    /// Run a command on hosts
    Exec(exec::Args),
    /// List earlier runs, or show one as a time line
    Runs(runs::Args),
    /// Real systemd hosts in namespaces on this computer, to try things on
    Lab(lab::LabArgs),
    /// Print shell completions
    Completions(completions::Args),
    /// Print the manual page
    Man,
    /// Write the script that a run reads each host with, for `make bench`
    #[command(hide = true)]
    ProbeScripts(probe_scripts::Args),
}

/// What every command that reads an inventory takes.
#[derive(Debug, Clone, Args)]
struct Common {
    /// The inventory file
    #[arg(
        short,
        long,
        env = "QUORATE_INVENTORY",
        default_value = "inventory.yaml",
        value_name = "FILE"
    )]
    inventory: Utf8PathBuf,
    /// Only these hosts: names with `*`, roles (load-balancers, masters, workers), `@tag`; repeat or separate by commas
    #[arg(long, value_name = "SELECTOR")]
    on: Vec<String>,
    /// What to print on standard output
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    /// Directory whose `templates/` and `playbooks/` replace embedded files of the same name
    #[arg(long, value_name = "DIR")]
    overlay: Option<Utf8PathBuf>,
    /// Trust and remember the key of a host that has none on file; a changed key is still refused
    #[arg(long)]
    accept_new_host_keys: bool,
}

impl Common {
    fn settings(self) -> Settings {
        Settings {
            inventory: self.inventory,
            on: self.on,
            format: self.output,
            yes: false,
            events: None,
            overlay: self.overlay,
            accept_new_host_keys: self.accept_new_host_keys,
        }
    }

    fn open(self) -> Result<Session, Error> {
        Session::open(self.settings())
    }
}

/// What every command takes that is journalled as a run.
#[derive(Debug, Clone, Args)]
struct Run {
    /// Do not ask before changing hosts
    #[arg(short, long)]
    yes: bool,
    /// Write every event to this file, one JSON object per line
    #[arg(long, value_name = "FILE")]
    events: Option<Utf8PathBuf>,
}

impl Run {
    fn open(self, common: Common) -> Result<Session, Error> {
        Session::open(Settings {
            yes: self.yes,
            events: self.events,
            ..common.settings()
        })
    }
}

/// Parses, runs, reports; what `main` returns.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr(cli.verbose);
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&error),
    }
}

fn run(command: Command) -> Result<(), Error> {
    match command {
        Command::Validate(args) => args.run(),
        Command::Schema(args) => {
            args.run();
            Ok(())
        }
        Command::Render(args) => args.run(),
        Command::Plan(args) => block_on(args.run()),
        Command::Provision(args) => block_on(args.run()),
        Command::Upgrade(args) => block_on(args.run()),
        Command::Rehearse(args) => args.run(),
        Command::Status(args) => block_on(args.run()),
        Command::Backup(args) => block_on(args.run()),
        Command::Recover(args) => block_on(args.run()),
        Command::Restore(args) => block_on(args.run()),
        Command::Exec(args) => block_on(args.run()),
        Command::Runs(args) => args.run(),
        Command::Lab(args) => Ok(lab::run(args)?),
        Command::Completions(args) => {
            args.run();
            Ok(())
        }
        Command::Man => {
            completions::man();
            Ok(())
        }
        Command::ProbeScripts(args) => args.run(),
    }
}

fn command() -> clap::Command {
    Cli::command()
}

fn block_on<T, F: Future<Output = Result<T, Error>>>(future: F) -> Result<T, Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|source| Error::Local {
            doing: "start the runtime".to_owned(),
            source,
        })?;
    let result = runtime.block_on(future);
    // A connection that does not close in time must not hold up the exit.
    runtime.shutdown_timeout(std::time::Duration::from_millis(200));
    result
}

fn log_to_stderr(verbose: u8) {
    let level = match verbose {
        0 => "error",
        1 => "quorate=debug,warn",
        _ => "debug",
    };
    let filter = tracing_subscriber::EnvFilter::new(level);
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .log_internal_errors(false)
        .without_time()
        .init();
}
