//! The command line as a person or a script meets it: what is printed where, and the exit codes.

#![expect(
    clippy::format_collect,
    clippy::indexing_slicing,
    reason = "a test that meets something else may panic, and says it shortly"
)]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod help;
mod hosts;
mod local;
mod machine;
mod provision;
mod runs;
#[path = "../sshd/mod.rs"]
mod sshd;

use std::process::{Command, Output, Stdio};

use camino::{Utf8Path, Utf8PathBuf};

/// The program in a directory of its own, which is its home as well.
struct Quorate {
    directory: Utf8PathBuf,
    _temporary: tempfile::TempDir,
}

impl Quorate {
    fn new() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Utf8PathBuf::from_path_buf(temporary.path().to_owned()).unwrap();
        Self {
            directory,
            _temporary: temporary,
        }
    }

    fn write(&self, name: &str, text: &str) -> &Self {
        let path = self.directory.join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
        self
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
        isolate(&mut command, &self.directory);
        command.args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Outcome {
        self.outcome(self.command(arguments).output().unwrap())
    }

    /// What ended, with the directory's name taken out.
    fn outcome(&self, output: Output) -> Outcome {
        let text = |bytes: Vec<u8>| {
            let text = String::from_utf8(bytes).unwrap();
            text.replace(self.directory.as_str(), "DIR")
        };
        Outcome {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }
}

/// Nothing of the person who runs the tests: their home, inventory or terminal.
fn isolate(command: &mut Command, directory: &Utf8Path) {
    command
        .current_dir(directory)
        .env("HOME", directory)
        .env("XDG_STATE_HOME", directory.join("state"))
        .env_remove("QUORATE_INVENTORY")
        .env_remove("COLUMNS")
        .stdin(Stdio::null());
}

/// How a command ended.
#[derive(Debug)]
struct Outcome {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Outcome {
    /// Both streams, for a snapshot.
    #[track_caller]
    fn ended_with(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }

    /// For a command that failed: it printed no result.
    #[track_caller]
    fn refused_with(self, code: i32) -> String {
        let outcome = self.ended_with(code);
        assert_eq!(outcome.stdout, "", "standard output is for results");
        outcome.stderr
    }

    #[track_caller]
    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A path in the repository.
fn repository(path: &str) -> Utf8PathBuf {
    Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
