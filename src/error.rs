//! Everything that can end a command, its exit code, and the one place where it is shown.

use std::process::ExitCode;

use owo_colors::OwoColorize as _;

use crate::backup::BackupError;
use crate::cluster::snapshot::SnapshotError;
use crate::engine::{EngineError, chain};
use crate::host::error::HostError;
use crate::host::transfer::TransferError;
use crate::input::{Colour, InputErrors};
use crate::operation::lab::LabError;
use crate::playbook::PlaybookError;
use crate::report::eprintln;
use crate::report::lines::count;
use crate::template::TemplateError;

/// Why a command ended without success.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The inventory.
    #[error(transparent)]
    Input(#[from] InputErrors),
    /// A playbook.
    #[error(transparent)]
    Playbook(#[from] PlaybookError),
    /// A template.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// A word on the command line that clap cannot judge.
    #[error("{message}")]
    Usage {
        /// What is wrong and what to write instead.
        message: String,
    },
    /// Hosts that could not be reached or trusted; nothing was changed.
    #[error("{} could not be reached: nothing was changed", count(errors.len(), "host"))]
    Connect {
        /// Per host.
        errors: Vec<(String, HostError)>,
    },
    /// A host failed while it was read.
    #[error("failed to read {host}")]
    Read {
        /// Host.
        host: String,
        /// Why.
        #[source]
        source: HostError,
    },
    /// Going on would be unsafe; nothing was changed.
    #[error("refused, nothing was changed: {}", findings.join("; "))]
    Refused {
        /// One line each, already printed in full.
        findings: Vec<String>,
    },
    /// The run could not go on.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Tasks failed; already shown.
    #[error("{failed} of the run's tasks failed")]
    Failed {
        /// How many.
        failed: usize,
    },
    /// The person stopped it.
    #[error("interrupted")]
    Interrupted,
    /// Changes are pending and `--exit-code` asked to say so.
    #[error("changes are pending")]
    Pending,
    /// An action could not be judged.
    #[error("failed to judge `{step}` on {host}")]
    Judge {
        /// Step.
        step: String,
        /// Host.
        host: String,
        /// Why.
        #[source]
        source: crate::action::ActionError,
    },
    /// `status` found something wrong, and has shown it.
    #[error("the cluster is degraded: {}", count(*problems, "problem"))]
    Degraded {
        /// How many.
        problems: usize,
        /// 4: a host did not answer; else 6.
        code: u8,
    },
    /// `exec`: the command did not succeed everywhere; already shown.
    #[error("the command failed on {}", count(*failed, "host"))]
    Exec {
        /// Hosts.
        failed: usize,
        /// 4: a host was not reached; else 6.
        code: u8,
    },
    /// A rehearsal could not be held: without any fault, the operation fails on simulated hosts.
    #[error("{operation} fails on simulated hosts: {why}")]
    Rehearsal {
        /// Its command.
        operation: &'static str,
        /// What it said.
        why: String,
        /// The operation's own exit code.
        code: u8,
    },
    /// A rehearsal broke a promise; already shown.
    #[error("{} of the rehearsal broke a promise", count(*broken, "case"))]
    Broken {
        /// How many.
        broken: usize,
    },
    /// The local computer: files, terminal.
    #[error("failed to {doing}")]
    Local {
        /// What was tried.
        doing: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A backup on this side.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// A snapshot of etcd.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// A file on its way to or from a host.
    #[error(transparent)]
    Transfer(#[from] TransferError),
    /// It took longer than `--timeout` allows; what runs on a host is left to end.
    #[error("{what} was not done within {} s", limit.as_secs())]
    Timeout {
        /// `the backup`.
        what: &'static str,
        /// The limit.
        limit: std::time::Duration,
    },
    /// The lab.
    #[error(transparent)]
    Lab(#[from] LabError),
}

impl Error {
    /// Refused for one reason.
    pub(crate) fn refused(finding: impl Into<String>) -> Self {
        Self::Refused {
            findings: vec![finding.into()],
        }
    }

    /// Whether it was refused as unsafe.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        self.code() == 5
    }

    /// The exit code, as the README's table says.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::Usage { .. }
            | Self::Lab(
                LabError::Name { .. }
                | LabError::Topology { .. }
                | LabError::NoLab { .. }
                | LabError::NoHost { .. },
            ) => 2,
            Self::Local { .. } | Self::Lab(_) => 1,
            Self::Input(_) | Self::Playbook(_) | Self::Template(_) => 3,
            Self::Connect { .. } => 4,
            Self::Refused { .. }
            | Self::Judge {
                source: crate::action::ActionError::Unsafe { .. },
                ..
            }
            | Self::Engine(EngineError::Lock(HostError::Locked { .. })) => 5,
            Self::Read { source, .. } if source.is_connection() => 4,
            Self::Backup(error) => error.code(),
            Self::Snapshot(_)
            | Self::Transfer(_)
            | Self::Timeout { .. }
            | Self::Read { .. }
            | Self::Engine(_)
            | Self::Failed { .. }
            | Self::Broken { .. }
            | Self::Judge { .. } => 6,
            Self::Degraded { code, .. }
            | Self::Exec { code, .. }
            | Self::Rehearsal { code, .. } => *code,
            Self::Pending => 8,
            Self::Interrupted => 130,
        }
    }

    /// What a host said, if that is not shown yet.
    fn output(&self) -> Option<&str> {
        match self {
            Self::Snapshot(error) => error.output(),
            Self::Transfer(TransferError::Host(error)) => error.output(),
            _ => None,
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::Read { source, .. } | Self::Engine(EngineError::Lock(source)) => source.help(),
            Self::Judge { source, .. } => source.help(),
            Self::Lab(error) => error.help(),
            Self::Backup(error) => error.help(),
            Self::Failed { .. } | Self::Interrupted => Some(format!(
                "to continue, run the same again: `{}`",
                command_line()
            )),
            _ => None,
        }
    }
}

/// Shows an error once, on standard error, and gives its exit code.
#[must_use]
pub fn report(error: &Error) -> ExitCode {
    match error {
        Error::Pending => {}
        Error::Input(errors) | Error::Playbook(PlaybookError::Input(errors)) => {
            eprintln(&errors.render(Colour::Always));
        }
        Error::Connect { errors } => {
            for (host, error) in errors {
                host_error(host, error);
            }
            headline(&error.to_string());
        }
        _ => {
            headline(&chain(error));
            for line in error.output().unwrap_or_default().lines() {
                eprintln(&format!("  | {line}"));
            }
            help(error.help());
        }
    }
    ExitCode::from(error.code())
}

fn host_error(host: &str, error: &HostError) {
    eprintln(&format!("{host}: {}", chain(error)));
    for line in error.output().unwrap_or_default().lines() {
        eprintln(&format!("  | {line}"));
    }
    help(error.help());
}

fn headline(text: &str) {
    let text = text.strip_prefix("error: ").unwrap_or(text);
    eprintln(&format!("{} {text}", "error:".red().bold()));
}

fn help(help: Option<String>) {
    if let Some(help) = help {
        eprintln(&format!("  {} {help}", "help:".cyan()));
    }
}

/// What was typed, ready to be typed again.
fn command_line() -> String {
    std::env::args()
        .skip(1)
        .fold("quorate".to_owned(), |line, word| {
            format!("{line} {}", quoted_if_needed(&word))
        })
}

fn quoted_if_needed(word: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./,:=@%+".contains(letter);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        crate::host::shell::quote(word)
    }
}
