//! What can be asked of a host: a program with arguments, or a named script.

use std::hash::{Hash, Hasher};
use std::time::Duration;

/// A command to run on a host as root.
///
/// Nothing in it is secret except what travels on standard input: arguments and scripts may be shown, logged and journalled.
#[derive(Debug, Clone)]
pub struct Command {
    pub(crate) body: Body,
    pub(crate) stdin: Option<Vec<u8>>,
    pub(crate) deadline: Duration,
}

/// What a command executes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// A program and its arguments, executed without a shell's interpretation.
    Program(Vec<String>),
    /// A script for `/bin/sh`.
    Script(Script),
}

/// A POSIX shell script with a name, by which it is shown, journalled and simulated, and positional parameters `$1`….
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Script {
    /// Kebab-case, unique over the project: `etcd-members`.
    pub name: &'static str,
    /// The text.
    pub body: &'static str,
    /// `$1`, `$2`…
    pub arguments: Vec<String>,
}

/// By name and parameters: the text of a name is one, and hashing it would cost more than all else that is done with a probe.
impl Hash for Script {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.name, &self.arguments).hash(state);
    }
}

impl Script {
    /// A script without parameters.
    #[must_use]
    pub fn new(name: &'static str, body: &'static str) -> Self {
        Self {
            name,
            body,
            arguments: Vec::new(),
        }
    }

    /// Appends a positional parameter.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// A positional parameter, counted from 0; empty if it has none there, as for a shell.
    #[must_use]
    pub fn argument(&self, index: usize) -> &str {
        self.arguments.get(index).map_or("", String::as_str)
    }
}

impl Command {
    /// How long a command may take unless it says otherwise.
    pub const DEADLINE: Duration = Duration::from_secs(60);

    /// A program, found in the host's PATH.
    #[must_use]
    pub fn new(program: impl Into<String>) -> Self {
        Self {
            body: Body::Program(vec![program.into()]),
            stdin: None,
            deadline: Self::DEADLINE,
        }
    }

    /// A script.
    #[must_use]
    pub fn script(script: Script) -> Self {
        Self {
            body: Body::Script(script),
            stdin: None,
            deadline: Self::DEADLINE,
        }
    }

    /// Appends an argument (a positional parameter for a script).
    #[must_use]
    pub fn arg(mut self, argument: impl Into<String>) -> Self {
        match &mut self.body {
            Body::Program(words) => words.push(argument.into()),
            Body::Script(script) => script.arguments.push(argument.into()),
        }
        self
    }

    /// Appends arguments.
    #[must_use]
    pub fn args<I: IntoIterator<Item = S>, S: Into<String>>(self, arguments: I) -> Self {
        arguments.into_iter().fold(self, Self::arg)
    }

    /// What the command reads from standard input; may be secret and is never shown.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// Whether its output holds keys by design: it goes from there into private files and nowhere else.
    #[must_use]
    pub fn answers_with_keys(&self) -> bool {
        match &self.body {
            Body::Script(script) => [
                "backup-files",
                "control-plane-pki",
                "etcd-ca-read",
                "file-part-read",
                "kubeconfig-fetch",
            ]
            .contains(&script.name),
            Body::Program(_) => false,
        }
    }

    /// How long it may take before it counts as lost.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }
}

/// As it is shown to people: `kubeadm join --config /dev/stdin`, or a script's name and parameters.
impl std::fmt::Display for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.body {
            Body::Program(words) => f.write_str(&words.join(" ")),
            Body::Script(script) => {
                f.write_str(script.name)?;
                script
                    .arguments
                    .iter()
                    .try_for_each(|argument| write!(f, " {argument}"))
            }
        }
    }
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It returned this code.
    Code(i32),
    /// A signal ended it. Where sudo lies between, this may come as 128 and the signal's number instead, as shells say it.
    Signal,
}

/// What a command left behind.
#[derive(Debug, Clone)]
pub struct Output {
    /// How it ended.
    pub status: Status,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Whether it returned 0.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.status == Status::Code(0)
    }

    /// Standard output as text; foreign bytes replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}
