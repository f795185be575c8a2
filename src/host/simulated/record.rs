//! What was asked and answered, for tests that look for secrets and for calls.

/// What kind of call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Reading.
    Probe,
    /// A command.
    Run,
    /// Files.
    Write,
    /// A job.
    Job,
    /// Disarming an undo.
    Disarm,
    /// The lock.
    Lock,
}

/// One remote call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Its number.
    pub number: usize,
    /// Host.
    pub host: String,
    /// Kind.
    pub kind: Kind,
    /// As it is shown: a command with its arguments, a path, a job's name.
    pub what: String,
    /// The task that its host was busy with, `5.1`.
    pub task: Option<String>,
    /// How many steps a job was made of.
    pub steps: usize,
    /// Everything in it that is not standard input, not a file's content and not an answer to a question about keys.
    pub open: String,
}

/// Everything that a reading shows.
pub(super) fn readable(readings: &crate::host::probe::Readings) -> String {
    use crate::host::probe::FileContent;
    use std::fmt::Write as _;
    let mut text = String::new();
    for file in readings.files.values().filter_map(|file| file.present()) {
        if let FileContent::Bytes(bytes) = &file.content {
            text.push_str(&String::from_utf8_lossy(bytes));
        }
    }
    for script in readings.scripts.values() {
        let _ = writeln!(text, "{}", script.stdout);
    }
    text
}

/// The names and parameters of what is asked; the scripts' own text is a constant.
pub(super) fn asked(probes: &[crate::host::probe::Probe]) -> String {
    use crate::host::probe::Probe;
    let word = |probe: &Probe| match probe {
        Probe::Machine => String::new(),
        Probe::File(path) | Probe::Digest(path) => path.to_string(),
        Probe::Package(name) | Probe::Unit(name) | Probe::Sysctl(name) => name.clone(),
        Probe::Script(script) => format!("{} {}", script.name, script.arguments.join(" ")),
    };
    probes.iter().map(word).collect::<Vec<_>>().join(" ")
}
