//! Where runs are rehearsed: a world, an operator's computer of its own, and one operator after the other.

use std::time::Duration;

use camino::Utf8PathBuf;

use super::computer::Computer;
use super::operation::Operation;
use crate::engine::chain;
use crate::engine::event::{Event, Outcome, Record, RunId};
use crate::error::Error;
use crate::host::simulated::Simulation;
use crate::host::simulated::world::{World, mortal};
use crate::operation::Session;
use crate::operation::desk::{Desk, Heard, Rehearsal};
use crate::{report, state};

/// No operation takes as long on the simulated clock: one that still runs waits for something that does not come.
const NEVER: Duration = Duration::from_secs(7 * 24 * 3600);

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Everything holds.
    Done {
        /// Tasks that changed something.
        changed: usize,
        /// Tasks that held already.
        unchanged: usize,
    },
    /// It ended with an error.
    Failed {
        /// What it said.
        why: String,
        /// Its exit code.
        code: u8,
    },
    /// The operator's process died in it.
    Died,
}

/// A run that was rehearsed.
#[derive(Debug, Clone)]
pub struct Run {
    /// What came of it.
    pub end: End,
    /// What it said, with the time in the simulation.
    pub heard: Vec<(Duration, Record)>,
    /// The numbers of its remote calls.
    pub calls: std::ops::Range<usize>,
}

impl Run {
    /// Everything that it said, as a journal has it.
    #[must_use]
    pub fn text(&self) -> String {
        let line = |(_, record): &(Duration, Record)| {
            serde_json::to_string(record).unwrap_or_default() + "\n"
        };
        self.heard.iter().map(line).collect()
    }

    /// The events.
    pub fn events(&self) -> impl Iterator<Item = &Event> {
        self.heard.iter().map(|(_, record)| &record.event)
    }
}

/// A world and the operator's computer before it.
pub struct Stage {
    /// The session; its desk is the rehearsal.
    pub session: Session,
    rehearsal: Rehearsal,
    operation: &'static Operation,
    directory: Utf8PathBuf,
}

impl Stage {
    /// A stage with bare hosts.
    pub fn new(mut session: Session, operation: &'static Operation) -> Result<Self, Error> {
        session.settings.yes = true;
        session.settings.events = None;
        let name = format!("quorate-rehearsal-{}", RunId::new());
        let directory = Utf8PathBuf::from_path_buf(std::env::temp_dir().join(name))
            .unwrap_or_else(|path| Utf8PathBuf::from(path.to_string_lossy().into_owned()));
        let failed = |source| Error::Local {
            doing: format!("create {directory}"),
            source,
        };
        state::make_private_dir(&directory).map_err(failed)?;
        let world = World::new(&session.inventory);
        let rehearsal = rehearsal(world, &session);
        session.desk = Desk::Rehearsal(rehearsal.clone());
        Ok(Self {
            session,
            rehearsal,
            operation,
            directory,
        })
    }

    /// Begins anew with this world; nothing of earlier runs is on the operator's computer.
    pub fn begin(&mut self, world: World) {
        self.begin_at(world, &Computer::default());
    }

    /// Begins anew with this world and this on the operator's computer.
    ///
    /// # Panics
    /// If the directory for temporary files cannot be written.
    pub fn begin_at(&mut self, world: World, computer: &Computer) {
        let laid = computer.lay(&self.directory.join("quorate"));
        laid.expect("the directory for temporary files can be written");
        self.rehearsal = rehearsal(world, &self.session);
        self.session.desk = Desk::Rehearsal(self.rehearsal.clone());
    }

    /// Lets runs from now on leave journals.
    pub fn keep_journals(&mut self) {
        self.rehearsal.keeps_journals = true;
        self.session.desk = Desk::Rehearsal(self.rehearsal.clone());
    }

    /// The hosts.
    #[must_use]
    pub fn simulation(&self) -> &Simulation {
        &self.rehearsal.simulation
    }

    /// Runs the stage's operation once, with a new operator.
    pub async fn run(&self) -> Run {
        self.run_operation(self.operation).await
    }

    /// The stage's operation.
    pub(super) fn operation(&self) -> &'static Operation {
        self.operation
    }

    /// Carries something out on the operator's computer of this stage.
    pub async fn at_computer<F: Future>(&self, future: F) -> F::Output {
        state::kept_below(&self.directory, report::unheard(future)).await
    }

    /// Runs another operation once; a second operator comes when a fault says so.
    pub(super) async fn run_operation(&self, operation: &Operation) -> Run {
        let (comes, first_call) = {
            let mut world = self.simulation().world();
            (world.second_operator(), world.calls.len())
        };
        let first = self.operator(operation);
        let second = async {
            comes.cancelled().await;
            self.operator(operation).await
        };
        let (mut first, mut second) = (std::pin::pin!(first), std::pin::pin!(second));
        let (end, is_work_left) = tokio::select! {
            biased;
            end = &mut first => (end, comes.is_cancelled() && leaves_work(second.await.as_ref())),
            other = &mut second => (first.await, leaves_work(other.as_ref())),
        };
        let end = match end {
            Some(Ok(())) if is_work_left => None,
            end => end,
        };
        let heard = self.rehearsal.heard.take();
        let calls = first_call..self.simulation().world().calls.len();
        let end = match end {
            Some(Ok(())) => done(&heard),
            Some(Err(error)) => End::Failed {
                why: told(&error, &heard),
                code: error.code(),
            },
            None => End::Died,
        };
        Run { end, heard, calls }
    }

    /// One operator; `None`: who died.
    async fn operator(&self, operation: &Operation) -> Option<Result<(), Error>> {
        let work = self.at_computer((operation.run)(&self.session));
        mortal(async {
            let never = |_| Error::Rehearsal {
                operation: operation.name,
                why: "it never ends".to_owned(),
                code: 6,
            };
            tokio::time::timeout(NEVER, work).await.map_err(never)?
        })
        .await
    }

    /// What the operator's computer keeps now.
    pub fn computer(&self) -> Result<Computer, Error> {
        let directory = self.directory.join("quorate");
        Computer::read(&directory).map_err(|source| Error::Local {
            doing: format!("read {directory}"),
            source,
        })
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = fs_err::remove_dir_all(&self.directory);
    }
}

fn rehearsal(world: World, session: &Session) -> Rehearsal {
    let simulation = Simulation::of(world, &session.inventory);
    Rehearsal {
        heard: Heard::new(&simulation),
        simulation,
        keeps_journals: false,
    }
}

fn done(heard: &[(Duration, Record)]) -> End {
    let mut sum = (0, 0);
    for (_, record) in heard {
        if let Event::RunFinished {
            changed, unchanged, ..
        } = &record.event
        {
            sum = (sum.0 + changed, sum.1 + unchanged);
        }
    }
    let (changed, unchanged) = sum;
    End::Done { changed, unchanged }
}

/// An error with what its failed tasks said.
fn told(error: &Error, heard: &[(Duration, Record)]) -> String {
    let failed = |(_, record): &(Duration, Record)| match &record.event {
        Event::TaskFinished {
            task,
            outcome: Outcome::Failed { error, output, .. },
            ..
        } => {
            let output = output.as_deref().unwrap_or_default();
            Some(format!("\n{task}: {error} {output}").trim_end().to_owned())
        }
        _ => None,
    };
    heard
        .iter()
        .filter_map(failed)
        .fold(chain(error), |text, line| text + &line)
}

/// A runtime with its own clock, which stands still while anything can be done and leaps when all wait.
///
/// # Panics
/// If the computer refuses a runtime.
pub fn with_clock<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O needs nothing of the computer");
    runtime.block_on(future)
}

/// Whether a second operator leaves work half done, for the next run as the first one would.
fn leaves_work(ended: Option<&Result<(), Error>>) -> bool {
    match ended {
        Some(Ok(())) => false,
        Some(Err(error)) => !error.is_refusal(),
        None => true,
    }
}
