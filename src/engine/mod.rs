//! The engine walks a plan: check, and only where a change is needed journal, apply, verify.
//!
//! # Why it is safe to stop anywhere
//! Nothing is remembered between runs but the journal, and the journal decides nothing: every verdict comes from readings.
//! A task's start is on disk before it is applied, so that the next run can say what was interrupted; what was
//! half done is found by the action itself, from the host. Before a task is applied its verdict is taken again from
//! readings made under the cluster's lock and after every earlier change.
//!
//! # Order
//! Plays in sequence. In a `linear` play a step is a barrier: it starts when the step before has ended on all hosts. In a
//! `rolling` play one host (or so many at once as the play says) goes through all steps before the next begins. A failure lets tasks under way finish and starts
//! nothing new.

pub mod event;
pub mod events;
mod held;
pub mod journal;
pub mod lock;
mod mask;
pub mod meter;
pub mod reader;
pub mod recorder;
pub mod recording;
pub mod stop;

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream;
use tokio::time::Instant;

use crate::action::{
    Action as _, ActionError, AnyAction, Change, Check, Context, Effect, Fleet, Scope,
};
use crate::host::error::HostError;
use crate::host::probe::Probe;
use crate::host::transport::LockGuard;
use crate::host::{Host, Hosts};
use crate::inventory::{Inventory, Node};
use crate::plan::{Plan, PlannedPlay};
use crate::playbook::Strategy;
use crate::template::Templates;
use event::{Event, Outcome, RunId, RunResult, TaskId};
use events::Events;
use journal::JournalError;
use meter::Meter;
use reader::Reader;
use stop::Stop;

/// Hosts that are worked on at once in one step.
const PARALLEL: usize = 32;

/// How often a condition is read again while it is awaited.
const POLL: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(2));

/// Everything a run needs.
pub struct Engine<'a> {
    /// The cluster as it should be.
    pub inventory: &'a Inventory,
    /// Templates, overlay included.
    pub templates: &'a Templates,
    /// Connected hosts, metered.
    pub hosts: &'a Hosts,
    /// What was read of them.
    pub reader: &'a Reader<'a>,
    /// Journal and screen.
    pub events: &'a Events,
    /// How the person stops it.
    pub stop: &'a Stop,
    /// The clock of remote calls.
    pub meter: &'a Arc<Meter>,
    /// The run's id.
    pub run: &'a RunId,
    /// Who runs it, for whoever meets the lock: `ops@desk, 2026-11-21T10:04:08Z, provision`.
    pub owner: &'a str,
}

/// What a run came to; by default, one of no tasks.
#[derive(Debug, Default)]
pub struct Summary {
    /// How it ended.
    pub result: RunResult,
    /// Tasks that changed something.
    pub changed: usize,
    /// Tasks that held already.
    pub unchanged: usize,
    /// Tasks that failed, with their errors.
    pub failed: Vec<(TaskId, String, ActionError)>,
    /// Wall time.
    pub duration: Duration,
    /// Of that, the time during which no host was waited for.
    pub own: Duration,
}

/// A run could not go on.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The journal cannot be written, so nothing may be changed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The cluster's lock is held by somebody else, or could not be taken.
    #[error("failed to take the cluster's lock")]
    Lock(#[source] HostError),
}

/// What one task came to.
enum End {
    Unchanged,
    Changed,
    Failed(TaskId, String, ActionError),
    NotStarted,
}

impl Engine<'_> {
    /// Walks the plan. Task failures are in the summary; an error means that the run itself could not go on.
    pub async fn run(&self, plan: &Plan) -> Result<Summary, EngineError> {
        let started = Instant::now();
        let idle_before = self.meter.idle();
        let lock = tokio::sync::OnceCell::new();
        let mut summary = Summary::default();
        let walked = tokio::select! {
            walked = self.walk(plan, &lock, &mut summary) => walked,
            cut = self.told_to_stop() => cut,
        };
        if summary.failed.is_empty() {
            walked?;
        }
        summary.result = match (&summary.failed[..], self.stop.is_asked()) {
            ([], false) => RunResult::Done,
            ([], true) => RunResult::Interrupted,
            (_, _) => RunResult::Failed,
        };
        summary.duration = started.elapsed();
        summary.own = self.meter.idle().saturating_sub(idle_before);
        Ok(summary)
    }

    /// Tells everyone that the person wants to stop; ends when they want it at once.
    async fn told_to_stop(&self) -> Result<(), EngineError> {
        self.stop.soon.cancelled().await;
        self.events.emit(Event::Interrupted { now: false })?;
        self.stop.now.cancelled().await;
        Ok(self.events.emit(Event::Interrupted { now: true })?)
    }

    /// Tells that a play begins.
    fn tell_play(&self, play: &PlannedPlay) -> Result<(), EngineError> {
        Ok(self.events.emit(Event::PlayStarted {
            play: play.number,
            name: play.name.clone(),
            tasks: play.tasks(),
        })?)
    }

    async fn walk(
        &self,
        plan: &Plan,
        lock: &tokio::sync::OnceCell<Vec<LockGuard>>,
        summary: &mut Summary,
    ) -> Result<(), EngineError> {
        for play in &plan.plays {
            self.tell_play(play)?;
            for batch in batches(play) {
                let ends: Vec<Result<End, EngineError>> = stream::iter(batch)
                    .map(|(step, host)| self.task(play, step, host, lock))
                    .buffer_unordered(PARALLEL)
                    .collect()
                    .await;
                for end in ends {
                    match end? {
                        End::Unchanged => summary.unchanged += 1,
                        End::Changed => summary.changed += 1,
                        End::Failed(task, step, error) => summary.failed.push((task, step, error)),
                        End::NotStarted => {}
                    }
                }
                if !summary.failed.is_empty() || self.stop.is_asked() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    async fn task(
        &self,
        play: &PlannedPlay,
        step: usize,
        host: &str,
        lock: &tokio::sync::OnceCell<Vec<LockGuard>>,
    ) -> Result<End, EngineError> {
        let (Some(planned), Some(host)) = (play.steps.get(step), self.hosts.get(host)) else {
            return Ok(End::NotStarted);
        };
        if self.stop.is_asked() {
            return Ok(End::NotStarted);
        }
        let task = play.task(step, &host.node.name);
        let started = Instant::now();
        let idle = self.meter.idle();
        let result = self
            .attempt(
                play,
                step,
                &planned.name,
                &planned.action,
                host,
                &task,
                lock,
            )
            .await?;
        let duration = started.elapsed();
        let (outcome, end) = match result {
            Ok(false) => (Outcome::Unchanged, End::Unchanged),
            Ok(true) => (Outcome::Changed, End::Changed),
            Err(error) => (
                failed(&error),
                End::Failed(task.clone(), planned.name.clone(), error),
            ),
        };
        self.events.emit(Event::TaskFinished {
            task,
            step: planned.name.clone(),
            outcome,
            duration_ms: millis(duration),
            waited_ms: millis(duration.saturating_sub(self.meter.idle().saturating_sub(idle))),
        })?;
        Ok(end)
    }

    /// Brings one task about. `Ok(true)`: something was changed and proved.
    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of one task; a struct of them would be used once"
    )]
    async fn attempt(
        &self,
        play: &PlannedPlay,
        step: usize,
        name: &str,
        action: &AnyAction,
        host: &Host,
        task: &TaskId,
        lock: &tokio::sync::OnceCell<Vec<LockGuard>>,
    ) -> Result<Result<bool, ActionError>, EngineError> {
        match self.judge(play, step, action, &host.node).await {
            Ok(Check::Satisfied) => return Ok(Ok(false)),
            Ok(_) => {}
            Err(error) => return Ok(Err(error)),
        }
        lock.get_or_try_init(|| self.take_lock()).await?;
        // The verdict that counts: under the lock, after every earlier change.
        let change = match self.judge(play, step, action, &host.node).await {
            Ok(Check::Satisfied) => return Ok(Ok(false)),
            Ok(Check::Needed(change)) => change,
            Ok(Check::Unknown { until }) => return Ok(Err(unknown(name, &until))),
            Err(error) => return Ok(Err(error)),
        };
        for what in &change.found {
            self.events.emit(Event::Found {
                host: host.node.name.clone(),
                what: what.clone(),
            })?;
        }
        self.events.emit(Event::TaskStarted {
            task: task.clone(),
            step: name.to_owned(),
            change: change.clone(),
        })?;
        let applied = self.apply(action, host, task, &change).await;
        self.reader.note_change(&host.node.name);
        if let Err(error) = applied {
            return Ok(Err(error));
        }
        Ok(self.verify(play, name, action, host).await.map(|()| true))
    }

    async fn apply(
        &self,
        action: &AnyAction,
        host: &Host,
        task: &TaskId,
        change: &Change,
    ) -> Result<(), ActionError> {
        let fleet = self.reader.fleet();
        let note = |line: String| {
            // A progress line that cannot be written loses nothing: the task's end will meet the same disk.
            let _ = self.events.emit(Event::Note {
                task: task.clone(),
                line,
            });
        };
        let cx = self.context(&host.node, &fleet);
        let effect = Effect {
            cx,
            host,
            hosts: self.hosts,
            run: self.run,
            task,
            note: &note,
        };
        action.apply(&effect, change).await
    }

    /// Proves a change: reads again until the check is satisfied or the action's time is up.
    async fn verify(
        &self,
        play: &PlannedPlay,
        name: &str,
        action: &AnyAction,
        host: &Host,
    ) -> Result<(), ActionError> {
        let (node, started) = (&host.node, Instant::now());
        let limit = action.settles_within();
        let mut pause = POLL.0;
        loop {
            self.reader.note_change(&node.name);
            let last = match self.judge_only(play, action, node).await {
                Ok(Check::Satisfied) => return Ok(()),
                Ok(Check::Needed(change)) => still_needed(&change),
                Ok(Check::Unknown { until }) => format!("unknown until {until}"),
                Err(error @ ActionError::Host(_)) if started.elapsed() < limit => chain(&error),
                Err(error) => return Err(error),
            };
            if started.elapsed() >= limit {
                return Err(ActionError::Waited {
                    what: format!("`{name}`"),
                    waited: started.elapsed(),
                    last,
                });
            }
            host.transport.rest(pause).await;
            pause = (pause * 2).min(POLL.1);
        }
    }

    /// Judges a task, reading again whatever is stale for it and for the host's remaining steps of the play.
    async fn judge(
        &self,
        play: &PlannedPlay,
        step: usize,
        action: &AnyAction,
        node: &Node,
    ) -> Result<Check, ActionError> {
        let remaining = play.steps.iter().skip(step);
        let probes = remaining.flat_map(|step| self.probes(&step.action, node));
        let wanted = vec![(node.name.clone(), probes.collect())];
        self.freshen(wanted, Scope::Host, node).await?;
        self.judge_only(play, action, node).await
    }

    /// Judges a task, reading again whatever is stale for it alone.
    async fn judge_only(
        &self,
        play: &PlannedPlay,
        action: &AnyAction,
        node: &Node,
    ) -> Result<Check, ActionError> {
        let scope = action.scope(&self.context(node, &self.reader.fleet()));
        let wanted = match scope {
            Scope::Host => vec![(node.name.clone(), self.probes(action, node))],
            Scope::Cluster => {
                let hosts = play.hosts.iter().filter_map(|name| self.hosts.get(name));
                self.probes_of(hosts, action)
            }
            Scope::Fleet => self.probes_of(self.hosts.iter(), action),
        };
        self.freshen(wanted, scope, node).await?;
        let fleet = self.reader.fleet();
        action.check(&self.context(node, &fleet))
    }

    /// What an action wants read of a host, going by what is known of it.
    fn probes(&self, action: &AnyAction, node: &Node) -> Vec<Probe> {
        // Held no longer: whoever takes readings while somebody holds the fleet has to copy it.
        let fleet = self.reader.fleet();
        action.probes(&self.context(node, &fleet))
    }

    fn probes_of<'b>(
        &self,
        hosts: impl Iterator<Item = &'b Host>,
        action: &AnyAction,
    ) -> Vec<(String, Vec<Probe>)> {
        hosts
            .map(|host| (host.node.name.clone(), self.probes(action, &host.node)))
            .collect()
    }

    /// Only the judged host must answer; of others the last reading stands.
    async fn freshen(
        &self,
        wanted: Vec<(String, Vec<Probe>)>,
        scope: Scope,
        node: &Node,
    ) -> Result<(), ActionError> {
        let errors = self.reader.freshen(wanted, scope).await;
        match errors.into_iter().find(|(host, _)| *host == node.name) {
            Some((_, error)) => Err(error.into()),
            None => Ok(()),
        }
    }

    fn context<'b>(&'b self, node: &'b Node, fleet: &'b Fleet) -> Context<'b> {
        Context {
            inventory: self.inventory,
            node,
            templates: self.templates,
            fleet,
        }
    }

    /// Takes the cluster's lock and distrusts everything read before.
    async fn take_lock(&self) -> Result<Vec<LockGuard>, EngineError> {
        let guards = lock::take(self.hosts, &self.inventory.name, self.owner).await?;
        self.reader.distrust();
        Ok(guards)
    }
}

/// The tasks of a play in batches: a batch starts when the one before has ended.
fn batches(play: &PlannedPlay) -> Vec<Vec<(usize, &str)>> {
    let steps = 0..play.steps.len();
    let hosts = || play.hosts.iter().map(String::as_str);
    match play.strategy {
        Strategy::Linear => steps
            .map(|step| hosts().map(|host| (step, host)).collect())
            .collect(),
        Strategy::Rolling => play
            .hosts
            .chunks(play.at_once.max(1))
            .flat_map(|chunk| {
                let batch = move |step| chunk.iter().map(|host| (step, host.as_str())).collect();
                steps.clone().map(batch)
            })
            .collect(),
    }
}

fn unknown(name: &str, until: &str) -> ActionError {
    ActionError::Waited {
        what: format!("`{name}`"),
        waited: Duration::ZERO,
        last: format!("unknown until {until}"),
    }
}

fn failed(error: &ActionError) -> Outcome {
    Outcome::Failed {
        error: chain(error),
        output: error.output().map(str::to_owned),
        help: error.help(),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A change that its own proof still asks for, with what was found, on one line.
fn still_needed(change: &Change) -> String {
    let mut text = format!("still to do: {}", change.summary);
    for found in &change.found {
        text.push_str("; ");
        text.push_str(found);
    }
    text
}

/// An error and its causes on one line.
#[must_use]
pub fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
