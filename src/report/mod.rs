//! How a run looks: on a terminal, in a log, to a program.

pub mod lines;
pub mod progress;
pub mod table;

use std::io::{IsTerminal as _, Write as _};

use camino::Utf8Path;
use clap::ValueEnum;

use crate::engine::event::Record;
use crate::engine::events::Listener;

/// What standard output is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// People.
    #[default]
    Table,
    /// Programs: one JSON object, in a run the last line.
    Json,
}

tokio::task_local! {
    static UNHEARD: ();
}

/// Carries out `future`; nothing that it prints is shown: a rehearsal tells of a run in its own way.
pub async fn unheard<F: Future>(future: F) -> F::Output {
    UNHEARD.scope((), future).await
}

fn is_heard() -> bool {
    UNHEARD.try_with(|()| ()).is_err()
}

/// Prints to standard output. Whoever reads it may go away (`| head`): that is not an error.
pub fn print(text: &str) {
    if is_heard() {
        let mut out = anstream::stdout();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

/// [`print`] with a newline.
pub fn println(text: &str) {
    print(&format!("{text}\n"));
}

/// Prints to standard error. Whoever reads it may go away too (`2>&1 | head`): a run goes on without.
pub fn eprint(text: &str) {
    if is_heard() {
        let mut out = anstream::stderr();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

/// [`eprint`] with a newline.
pub fn eprintln(text: &str) {
    eprint(&format!("{text}\n"));
}

/// The listener that fits where standard error goes: bars on a terminal, plain lines otherwise.
#[must_use]
pub fn screen() -> Box<dyn Listener> {
    if std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
    {
        Box::new(progress::Bars::default())
    } else {
        Box::new(lines::Lines::default())
    }
}

/// `--events FILE`: every event as a line of JSON.
pub struct EventsFile(std::fs::File);

impl EventsFile {
    /// Creates or truncates the file.
    pub fn create(path: &Utf8Path) -> std::io::Result<Self> {
        std::fs::File::create(path).map(Self)
    }
}

impl Listener for EventsFile {
    fn on(&mut self, record: &Record) {
        if let Ok(line) = serde_json::to_string(record) {
            let _ = writeln!(self.0, "{line}");
        }
    }
}
