//! Running the computer's own tools, and waiting for what they bring about.

use std::ffi::OsStr;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::error::LabError;

/// How often a condition is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Runs a tool and returns its standard output; anything but success is an error that shows what it said.
pub(super) fn run<S: AsRef<OsStr>>(
    what: &str,
    program: &str,
    arguments: &[S],
) -> Result<String, LabError> {
    finish(what, Command::new(program).args(arguments))
}

/// The same for a command that needed more than arguments.
pub(super) fn finish(what: &str, command: &mut Command) -> Result<String, LabError> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failure(what, command, &error.to_string()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = if said.trim().is_empty() {
        output.status.to_string()
    } else {
        said.trim().to_owned()
    };
    Err(failure(what, command, &said))
}

/// Whether a tool succeeds; its output is dropped.
pub(super) fn succeeds<S: AsRef<OsStr>>(program: &str, arguments: &[S]) -> bool {
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Looks at a condition until it holds; at the deadline the last observation becomes the error.
pub(super) fn wait_for(
    what: &str,
    deadline: Duration,
    mut look: impl FnMut() -> Result<(), String>,
) -> Result<(), LabError> {
    let start = Instant::now();
    loop {
        match look() {
            Ok(()) => return Ok(()),
            Err(last) if start.elapsed() >= deadline => {
                return Err(LabError::Late {
                    what: what.to_owned(),
                    seconds: deadline.as_secs(),
                    last,
                });
            }
            Err(_) => thread::sleep(LOOK_AGAIN),
        }
    }
}

fn failure(what: &str, command: &Command, said: &str) -> LabError {
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect();
    LabError::Tool {
        what: what.to_owned(),
        command: words.join(" "),
        said: said.to_owned(),
    }
}
