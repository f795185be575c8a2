//! Jobs: long work in steps of a second each, that goes on without its operator.

use std::collections::BTreeMap;

use super::faults::{What, When};
use super::invariants::Standing;
use super::world::World;
use super::{install, kubeadm, release, restore, snapshot};
use crate::host::command::Script;
use crate::host::job::Job;

/// How long a step takes.
const STEP_US: u64 = 1_000_000;

/// What a slow disk makes of it.
const SLOW_STEP_US: u64 = 10 * STEP_US;

/// How long a step may wait for something.
const PATIENCE_US: u64 = 240_000_000;

/// What a step came to.
pub(super) enum End {
    /// The next one may begin.
    Done,
    /// It looks again in a second; what for.
    Waits(String),
    /// The job ends with 1; what it says.
    Fails(String),
}

/// One step of a job.
pub(super) type Step = fn(&mut World, &Work) -> End;

/// What a job works on.
#[derive(Debug, Clone, PartialEq)]
pub struct Work {
    /// Host.
    pub host: String,
    /// `$1`, `$2`…
    pub arguments: Vec<String>,
    /// The files in its private directory.
    pub files: BTreeMap<String, Vec<u8>>,
}

impl Work {
    /// A file's text.
    pub(super) fn text(&self, name: &str) -> String {
        let bytes = self.files.get(name).map(Vec::as_slice).unwrap_or_default();
        String::from_utf8_lossy(bytes).into_owned()
    }
}

/// A job that was started.
#[derive(Debug, Clone)]
pub struct RunningJob {
    /// Its name.
    pub name: &'static str,
    /// Run and task that started it.
    pub token: String,
    /// The call that started it, and whose it was.
    pub started_by: (usize, u64),
    /// Its steps.
    steps: Vec<Step>,
    /// Steps made.
    pub made: usize,
    /// When the next one is made.
    pub due: u64,
    waits_since: Option<u64>,
    work: Work,
    /// How etcd's voters stood when it was started.
    began: Standing,
    /// Its output so far.
    pub output: String,
    /// Its exit status, once it has ended.
    pub status: Option<i32>,
    /// Whether its follower has lost the connection.
    pub is_cut: bool,
}

impl PartialEq for RunningJob {
    fn eq(&self, other: &Self) -> bool {
        (self.name, &self.token, self.made, self.status)
            == (other.name, &other.token, other.made, other.status)
    }
}

/// The steps of a job, by its script.
pub(super) fn steps(script: &Script) -> Option<Vec<Step>> {
    kubeadm::steps(script.name)
        .or_else(|| snapshot::steps(script.name))
        .or_else(|| restore::steps(script))
        .or_else(|| release::job_steps(script.name))
        .or_else(|| install::job_steps(script.name))
}

impl World {
    /// Starts a job unless one of its name runs or it has run under its token. Whether it was there.
    pub(super) fn start_job(
        &mut self,
        host: &str,
        job: &Job,
        call: (usize, u64),
    ) -> Result<bool, String> {
        let now = self.now;
        let there = self.machine(host).jobs.get(job.name);
        if there.is_some_and(|known| known.status.is_none() || known.token == job.token) {
            return Ok(true);
        }
        let unknown = || format!("the simulation does not know the job `{}`", job.script.name);
        let steps = steps(&job.script).ok_or_else(unknown)?;
        let work = Work {
            host: host.to_owned(),
            arguments: job.script.arguments.clone(),
            files: job.files.iter().cloned().collect(),
        };
        self.note_job_secrets(&work);
        let running = RunningJob {
            name: job.name,
            token: job.token.clone(),
            started_by: call,
            steps,
            made: 0,
            due: now + STEP_US,
            waits_since: None,
            work,
            began: self.standing(),
            output: String::new(),
            status: None,
            is_cut: false,
        };
        if let Some(record) = self.calls.get_mut(call.0) {
            record.steps = running.steps.len();
        }
        self.machine(host).jobs.insert(job.name.to_owned(), running);
        Ok(false)
    }

    /// What a job prints in the end.
    pub(super) fn say(&mut self, host: &str, job: &str, text: String) {
        if let Some(job) = self.machine(host).jobs.get_mut(job) {
            job.output = text;
        }
    }

    /// Makes the step of a machine's job that is due.
    pub(super) fn run_job_step(&mut self, host: &str) {
        let now = self.now;
        let machine = self.machine(host);
        let takes = if machine.is_slow {
            SLOW_STEP_US
        } else {
            STEP_US
        };
        let is_full = machine.is_full;
        let due = |job: &&mut RunningJob| job.status.is_none() && job.due <= now;
        let Some(job) = machine.jobs.values_mut().find(due) else {
            return;
        };
        job.due = now + takes;
        let (name, work, step) = (job.name, job.work.clone(), job.steps.get(job.made).copied());
        let began = job.began.clone();
        let before = self.standing();
        let end = match step {
            _ if is_full => End::Fails(super::files::FULL.to_owned()),
            Some(step) => step(self, &work),
            None => End::Done,
        };
        self.settle();
        self.judge(name, &before, &before.fallen_since(&began));
        self.note_end(host, name, end);
    }

    fn note_end(&mut self, host: &str, name: &'static str, end: End) {
        let now = self.now;
        let Some(job) = self.machine(host).jobs.get_mut(name) else {
            return;
        };
        match end {
            End::Waits(what) if now < *job.waits_since.get_or_insert(now) + PATIENCE_US => {
                job.output = what;
                return;
            }
            End::Waits(what) | End::Fails(what) => {
                job.output = what;
                job.status = Some(1);
                return;
            }
            End::Done => job.waits_since = None,
        }
        job.made += 1;
        let (made, call) = (job.made, job.started_by);
        if made >= job.steps.len() {
            job.status = Some(0);
            *self.finished.entry((host.to_owned(), name)).or_default() += 1;
        }
        self.meet_fault_in_job(host, name, made, call);
    }

    fn meet_fault_in_job(
        &mut self,
        host: &str,
        name: &str,
        made: usize,
        (call, operator): (usize, u64),
    ) {
        let Some(what) = self.meets(call, When::AfterSteps(made)) else {
            return;
        };
        if what == What::LoseConnection
            && let Some(job) = self.machine(host).jobs.get_mut(name)
        {
            job.is_cut = true;
        }
        self.strike(what, host, operator);
    }
}
