//! The door to one simulated machine.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;

use super::faults::When;
use super::machine::Lock;
use super::record::{Call, Kind};
use super::scripts;
use super::world::World;
use crate::host::command::{Body, Command, Output, Status};
use crate::host::error::HostError;
use crate::host::file::RemoteFile;
use crate::host::job::{Job, JobOutput};
use crate::host::probe::{Probe, Readings};
use crate::host::transport::{LockGuard, Transport};

/// What a call takes on its way.
const LATENCY: Duration = Duration::from_millis(2);

/// How often a job is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// An operator's way to a machine.
pub(super) struct Door {
    pub(super) world: Arc<Mutex<World>>,
    pub(super) host: String,
    pub(super) operator: u64,
}

pub(super) fn unreachable(host: &str) -> HostError {
    HostError::Unreachable {
        host: host.to_owned(),
        address: host.to_owned(),
        reason: "the simulated machine is down".to_owned(),
    }
}

/// What is known about a call before it is made.
struct Request {
    kind: Kind,
    what: String,
    open: String,
}

impl Door {
    fn world(&self) -> MutexGuard<'_, World> {
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        world.advance();
        world
    }

    /// Makes a call: on its way, counted, struck by what is to go wrong at it, judged.
    async fn call<T>(
        &self,
        request: Request,
        effect: impl FnOnce(&mut World, usize) -> Result<T, HostError> + Send,
    ) -> Result<T, HostError> {
        tokio::time::sleep(LATENCY).await;
        let answer = self.take_effect(request, effect);
        self.unless_dead().await;
        tokio::time::sleep(LATENCY).await;
        self.unless_dead().await;
        answer
    }

    fn take_effect<T>(
        &self,
        request: Request,
        effect: impl FnOnce(&mut World, usize) -> Result<T, HostError>,
    ) -> Result<T, HostError> {
        let mut world = self.world();
        if !world.is_alive(self.operator) {
            return Err(self.lost(&request.what));
        }
        let (kind, what) = (request.kind, request.what.clone());
        let number = world.record(&self.host, request);
        if !world.machine(&self.host).is_up() {
            return Err(unreachable(&self.host));
        }
        if self.is_struck(&mut world, number, When::Before) {
            return Err(self.lost(&what));
        }
        let answer = if kind == Kind::Probe {
            effect(&mut world, number)
        } else {
            let before = world.standing();
            let files = world
                .awaits(number, When::During)
                .then(|| world.machine(&self.host).files.clone());
            let answer = effect(&mut world, number);
            if let Some(old) = files {
                let renames = kind != Kind::Run;
                world.machine(&self.host).files.cut_short(&old, renames);
                if self.is_struck(&mut world, number, When::During) {
                    return Err(self.lost(&what));
                }
            }
            world.settle();
            world.judge(&what, &before, &[]);
            answer
        };
        if self.is_struck(&mut world, number, When::After) {
            return Err(self.lost(&what));
        }
        answer
    }

    fn is_struck(&self, world: &mut World, number: usize, when: When) -> bool {
        let Some(what) = world.meets(number, when) else {
            return false;
        };
        world.strike(what, &self.host, self.operator);
        what.cuts()
    }

    /// The dead call nobody and hear nothing.
    async fn unless_dead(&self) {
        if !self.world().is_alive(self.operator) {
            futures::future::pending::<()>().await;
        }
    }

    fn lost(&self, during: &str) -> HostError {
        HostError::Lost {
            host: self.host.clone(),
            during: during.to_owned(),
            reason: "the simulation cut it".to_owned(),
        }
    }

    fn unknown(&self, during: &str) -> impl FnOnce(String) -> HostError {
        let (host, during) = (self.host.clone(), during.to_owned());
        move |reason| HostError::Garbled {
            host,
            during,
            reason,
        }
    }

    fn put(&self, world: &mut World, file: &RemoteFile) -> Result<(), HostError> {
        let now = world.now;
        if world.machine(&self.host).is_full {
            return Err(HostError::Command {
                host: self.host.clone(),
                command: format!("write {}", file.path),
                status: "Code(1)".to_owned(),
                output: super::files::FULL.to_owned(),
            });
        }
        if let Some(check) = &file.check {
            let refused = scripts::check_file(world, &self.host, check, file);
            refused.map_err(|output| HostError::FileRefused {
                host: self.host.clone(),
                path: file.path.clone(),
                check: check.join(" "),
                status: "status 1".to_owned(),
                output,
            })?;
        }
        if let Some(undo) = &file.undo {
            world.arm(&self.host, undo, file.path.as_str());
        }
        let new = super::files::File {
            content: file.content.clone(),
            mode: file.mode,
            owner: file.owner.clone(),
            modified_us: now,
        };
        world.note_password(file);
        world
            .machine(&self.host)
            .files
            .insert(file.path.as_str(), new);
        Ok(())
    }

    async fn wait_for_units(&self, units: &[String]) {
        let is_active = |unit: &String| self.world().unit_reading(&self.host, unit).active;
        while units.iter().any(is_active) {
            self.unless_dead().await;
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Follows a job to its end; over a reboot, too, after which it is gone.
    async fn follow(&self, job: &Job, followed: bool) -> Result<JobOutput, HostError> {
        let boots = self.world().machine(&self.host).boots;
        let deadline = tokio::time::Instant::now() + job.deadline;
        loop {
            self.unless_dead().await;
            if let Some(end) = self.look(job, followed, boots) {
                return end;
            }
            if tokio::time::Instant::now() > deadline {
                return Err(HostError::Deadline {
                    host: self.host.clone(),
                    what: job.name.to_owned(),
                    deadline: job.deadline,
                    last: String::new(),
                });
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn look(&self, job: &Job, followed: bool, boots: u32) -> Option<Result<JobOutput, HostError>> {
        let mut world = self.world();
        let machine = world.machine(&self.host);
        if !machine.is_up() {
            return None;
        }
        let ended = |status, output| {
            Some(Ok(JobOutput {
                status,
                output,
                followed,
            }))
        };
        let Some(running) = machine
            .jobs
            .get_mut(job.name)
            .filter(|_| machine.boots == boots)
        else {
            return ended(None, String::new());
        };
        if std::mem::take(&mut running.is_cut) {
            return Some(Err(self.lost(job.name)));
        }
        let status = running.status?;
        ended(Some(status), running.output.clone())
    }
}

impl World {
    fn record(&mut self, host: &str, request: Request) -> usize {
        let number = self.calls.len();
        self.now += 1;
        self.calls.push(Call {
            number,
            host: host.to_owned(),
            kind: request.kind,
            what: request.what,
            task: self.task_of(host),
            steps: 0,
            open: request.open,
        });
        number
    }

    /// The value in an environment file is a password.
    fn note_password(&mut self, file: &RemoteFile) {
        let text = String::from_utf8_lossy(&file.content);
        let value = text.trim_end().split_once('=').map(|(_, value)| value);
        if let Some(value) = value.filter(|_| file.path.extension() == Some("env")) {
            self.secrets.insert(value.to_owned());
        }
    }

    fn note_answer(&mut self, number: usize, text: &str) {
        if !self.keeps_shown {
            return;
        }
        if let Some(call) = self.calls.get_mut(number) {
            call.open.push('\n');
            call.open.push_str(text);
        }
    }
}

impl Transport for Door {
    fn probe<'a>(&'a self, probes: &'a [Probe]) -> BoxFuture<'a, Result<Readings, HostError>> {
        let request = Request {
            kind: Kind::Probe,
            what: "probe".to_owned(),
            open: super::record::asked(probes),
        };
        Box::pin(self.call(request, move |world, number| {
            let readings = world
                .read(&self.host, probes)
                .map_err(self.unknown("probe"))?;
            if world.keeps_shown {
                world.note_answer(number, &super::record::readable(&readings));
            }
            Ok(readings)
        }))
    }

    fn run<'a>(&'a self, command: &'a Command) -> BoxFuture<'a, Result<Output, HostError>> {
        let request = Request {
            kind: Kind::Run,
            what: command.to_string(),
            open: command.to_string(),
        };
        let effect = move |world: &mut World, number: usize| {
            let stdin = command.stdin.as_deref().unwrap_or_default();
            let answer = match &command.body {
                Body::Script(script) => scripts::run(world, &self.host, script, stdin),
                Body::Program(words) => scripts::program(world, &self.host, words),
            };
            let (code, stdout, stderr) = answer.map_err(self.unknown(&command.to_string()))?;
            if !command.answers_with_keys() {
                world.note_answer(number, &format!("{stdout}{stderr}"));
            }
            Ok(Output {
                status: Status::Code(code),
                stdout: stdout.into_bytes(),
                stderr: stderr.into_bytes(),
            })
        };
        Box::pin(async move {
            if let Body::Script(script) = &command.body {
                tokio::time::sleep(scripts::looks_for(script)).await;
            }
            let output = self.call(request, effect).await?;
            if let Body::Script(script) = &command.body {
                self.wait_for_units(&scripts::waits_for(script)).await;
            }
            Ok(output)
        })
    }

    fn write<'a>(&'a self, files: &'a [RemoteFile]) -> BoxFuture<'a, Result<(), HostError>> {
        let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
        let request = Request {
            kind: Kind::Write,
            what: paths.join(" "),
            open: String::new(),
        };
        Box::pin(self.call(request, move |world, _| {
            files.iter().try_for_each(|file| self.put(world, file))
        }))
    }

    fn job<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Result<JobOutput, HostError>> {
        let request = Request {
            kind: Kind::Job,
            what: job.name.to_owned(),
            open: format!("{} {}", job.token, job.script.arguments.join(" ")),
        };
        Box::pin(async move {
            let start = move |world: &mut World, number| {
                let call = (number, self.operator);
                world
                    .start_job(&self.host, job, call)
                    .map_err(self.unknown(job.name))
            };
            let followed = self.call(request, start).await?;
            let ended = self.follow(job, followed).await?;
            let mut world = self.world();
            let number = world.calls.len() - 1;
            world.note_answer(number, &ended.output);
            Ok(ended)
        })
    }

    fn disarm<'a>(&'a self, undo: &'a str) -> BoxFuture<'a, Result<bool, HostError>> {
        let request = Request {
            kind: Kind::Disarm,
            what: undo.to_owned(),
            open: String::new(),
        };
        Box::pin(self.call(request, move |world, _| Ok(world.disarm(&self.host, undo))))
    }

    fn lock<'a>(
        &'a self,
        name: &'a str,
        owner: &'a str,
    ) -> BoxFuture<'a, Result<LockGuard, HostError>> {
        let request = Request {
            kind: Kind::Lock,
            what: name.to_owned(),
            open: owner.to_owned(),
        };
        Box::pin(self.call(request, move |world, _| {
            let guard = world.number();
            let machine = world.machine(&self.host);
            if let Some(held) = machine.locks.get(name) {
                return Err(HostError::Locked {
                    host: self.host.clone(),
                    owner: held.owner.clone(),
                });
            }
            let lock = Lock {
                owner: owner.to_owned(),
                operator: self.operator,
                guard,
            };
            machine.locks.insert(name.to_owned(), lock);
            Ok(LockGuard::new(Hold {
                world: Arc::clone(&self.world),
                host: self.host.clone(),
                name: name.to_owned(),
                guard,
            }))
        }))
    }
}

/// Releases a lock when it is dropped.
struct Hold {
    world: Arc<Mutex<World>>,
    host: String,
    name: String,
    guard: u64,
}

impl Drop for Hold {
    fn drop(&mut self) {
        // A call that was cut drops its guard while it still holds the world; its lock is gone with the connection.
        if let Ok(mut world) = self.world.try_lock() {
            let locks = &mut world.machine(&self.host).locks;
            if locks
                .get(&self.name)
                .is_some_and(|lock| lock.guard == self.guard)
            {
                locks.remove(&self.name);
            }
        }
    }
}
