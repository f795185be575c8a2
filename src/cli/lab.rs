//! `quorate lab`: real hosts on this computer.

use std::os::unix::process::CommandExt;

use camino::Utf8PathBuf;
use clap::{Args, Subcommand};

use crate::operation::lab::{
    self, BootFrom, Content, HostState, HostStatus, LabError, LabName, LabOptions, Topology,
};
use crate::report::{self, Format};

/// Boots, breaks and removes systemd hosts in namespaces on this computer.
#[derive(Debug, Args)]
pub struct LabArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Boot the lab; write its inventory, key and known hosts.
    Up(Up),
    /// Stop the lab and remove all that belongs to it.
    Down(Name),
    /// Show hosts, of all labs unless one is named.
    List(List),
    /// Log in to a host, or run a command there.
    Ssh(Ssh),
    /// Pull a host's network cable out.
    Cut(OneHost),
    /// Put a host's network cable back in.
    Heal(OneHost),
    /// Cut a host's power.
    Kill(OneHost),
    /// Boot a host again.
    Boot(Boot),
    /// Build what `up` needs and keep it in the cache.
    Warm,
}

#[derive(Debug, Args)]
struct Name {
    /// The lab's name.
    #[arg(long, default_value = "lab")]
    name: LabName,
}

#[derive(Debug, Args)]
struct Up {
    #[command(flatten)]
    name: Name,
    /// Where to write inventory, key and known hosts [default: .lab, or .lab/NAME for another name].
    #[arg(long, value_name = "DIR")]
    state_dir: Option<Utf8PathBuf>,
    /// Load balancers.
    #[arg(long, value_name = "N", default_value_t = Topology::default().lbs)]
    lbs: u8,
    /// Masters.
    #[arg(long, value_name = "N", default_value_t = Topology::default().masters)]
    masters: u8,
    /// Workers.
    #[arg(long, value_name = "N", default_value_t = Topology::default().workers)]
    workers: u8,
    /// Boot hosts without packages and images of Kubernetes.
    #[arg(long)]
    hosts_only: bool,
}

#[derive(Debug, Args)]
struct List {
    /// Only this lab.
    #[arg(long)]
    name: Option<LabName>,
    /// What to print on standard output.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Debug, Args)]
struct OneHost {
    #[command(flatten)]
    name: Name,
    /// The host.
    host: String,
}

#[derive(Debug, Args)]
struct Ssh {
    #[command(flatten)]
    at: OneHost,
    /// A command and its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

#[derive(Debug, Args)]
struct Boot {
    #[command(flatten)]
    at: OneHost,
    /// As a replaced machine: an empty disk, a new machine-id, a new host key.
    #[arg(long)]
    fresh: bool,
}

/// Does what `quorate lab ...` asks.
pub fn run(args: LabArgs) -> Result<(), LabError> {
    match args.verb {
        Verb::Up(up) => bring_up(up),
        Verb::Down(name) => lab::down(&name.name),
        Verb::List(list) => lab::list(list.name.as_ref()).map(|hosts| print(&hosts, list.output)),
        Verb::Ssh(ssh) => log_in(&ssh),
        Verb::Cut(at) => lab::cut(&at.name.name, &at.host),
        Verb::Heal(at) => lab::heal(&at.name.name, &at.host),
        Verb::Kill(at) => lab::kill(&at.name.name, &at.host),
        Verb::Boot(boot) => {
            let from = if boot.fresh {
                BootFrom::EmptyDisk
            } else {
                BootFrom::ItsDisk
            };
            lab::boot(&boot.at.name.name, &boot.at.host, from)
        }
        Verb::Warm => lab::warm(),
    }
}

fn bring_up(up: Up) -> Result<(), LabError> {
    let name = up.name.name;
    let beside = || match name.as_str() {
        "lab" => Utf8PathBuf::from(".lab"),
        other => Utf8PathBuf::from(".lab").join(other),
    };
    let options = LabOptions {
        state_dir: up.state_dir.unwrap_or_else(beside),
        name,
        topology: Topology {
            lbs: up.lbs,
            masters: up.masters,
            workers: up.workers,
        },
        content: if up.hosts_only {
            Content::HostsOnly
        } else {
            Content::Kubernetes
        },
    };
    let inventory = lab::up(&options)?;
    report::println(inventory.as_str());
    Ok(())
}

/// Becomes the OpenSSH client, so that terminal, signals and exit status are its own.
fn log_in(ssh: &Ssh) -> Result<(), LabError> {
    let mut command = lab::ssh(&ssh.at.name.name, &ssh.at.host, &ssh.command)?;
    let error = command.exec();
    Err(LabError::Tool {
        what: "log in".into(),
        command: "ssh".into(),
        said: error.to_string(),
    })
}

fn print(hosts: &[HostStatus], format: Format) {
    match format {
        Format::Table => report::println(&table(hosts)),
        Format::Json => {
            let text = serde_json::to_string_pretty(hosts).expect("a status has string keys only");
            report::println(&text);
        }
    }
}

fn table(hosts: &[HostStatus]) -> String {
    let rows = hosts.iter().map(row).collect();
    report::table::table(&["lab", "host", "state", "address", "pid"], rows)
        .unwrap_or_else(|| "No lab runs on this computer".to_owned())
}

fn row(status: &HostStatus) -> Vec<String> {
    let state = match status.state {
        HostState::Running => "running",
        HostState::Cut => "cut",
        HostState::Stopped => "stopped",
    };
    vec![
        status.lab.to_string(),
        status.host.name.clone(),
        state.to_owned(),
        status.host.address.to_string(),
        status
            .pid
            .map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
    ]
}
