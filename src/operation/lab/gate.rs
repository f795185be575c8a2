//! Starting a program inside a cgroup from its first instruction.

use std::io::Write;
use std::process::{Child, Command, Stdio};

use super::cgroup::Cgroup;
use super::error::LabError;

/// A shell that waits until it may become the command in its arguments.
pub(super) fn command() -> Command {
    let mut gate = Command::new("sh");
    gate.args(["-c", r#"read -r _ && exec "$@" </dev/null"#, "gate"]);
    gate
}

/// Starts a [`command`], moves it into the cgroup, and only then lets it go on: whatever it starts is born inside.
pub(super) fn open(cgroup: &Cgroup, gate: &mut Command, what: &str) -> Result<Child, LabError> {
    let failed = |error: std::io::Error| LabError::Tool {
        what: format!("start {what}"),
        command: what.to_owned(),
        said: error.to_string(),
    };
    let mut child = gate.stdin(Stdio::piped()).spawn().map_err(failed)?;
    cgroup.join(child.id())?;
    if let Some(mut stdin) = child.stdin.take() {
        writeln!(stdin, "go").map_err(failed)?;
    }
    Ok(child)
}
