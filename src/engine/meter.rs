//! A transport that counts: how long hosts were waited for, and for how long none was.
//!
//! The second figure is quorate's own share of a run. It is measured here because every remote call passes this door.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;

use crate::host::command::{Command, Output};
use crate::host::error::HostError;
use crate::host::file::RemoteFile;
use crate::host::job::{Job, JobOutput};
use crate::host::probe::{Probe, Readings};
use crate::host::transport::{LockGuard, Transport};
use crate::host::{Host, Hosts};

/// The clock that all hosts of a run share.
#[derive(Debug)]
pub struct Meter {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    calls: u64,
    under_way: u32,
    idle_since: Instant,
    idle: Duration,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                calls: 0,
                under_way: 0,
                idle_since: Instant::now(),
                idle: Duration::ZERO,
            }),
        }
    }
}

impl Meter {
    /// Wraps the transports of `hosts`.
    #[must_use]
    pub fn wrap(self: &Arc<Self>, hosts: &Hosts) -> Hosts {
        let metered = |host: &Host| Host {
            node: Arc::clone(&host.node),
            transport: Arc::new(Metered {
                inner: Arc::clone(&host.transport),
                meter: Arc::clone(self),
            }),
        };
        Hosts::new(hosts.iter().map(metered).collect())
    }

    /// Time so far during which no host was waited for: no remote call was under way, nor a rest before the next look.
    #[must_use]
    pub fn idle(&self) -> Duration {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = if state.under_way == 0 {
            state.idle_since.elapsed()
        } else {
            Duration::ZERO
        };
        state.idle + now
    }

    /// Remote calls so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .calls
    }

    fn begin(self: &Arc<Self>) -> Awaited {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .calls += 1;
        self.wait()
    }

    fn wait(self: &Arc<Self>) -> Awaited {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.under_way == 0 {
            let idle = state.idle_since.elapsed();
            state.idle += idle;
        }
        state.under_way += 1;
        Awaited(Arc::clone(self))
    }
}

/// A call, or a rest before the next look, under way; dropped when it ends, also when it is cancelled.
struct Awaited(Arc<Meter>);

impl Drop for Awaited {
    fn drop(&mut self) {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.under_way -= 1;
        if state.under_way == 0 {
            state.idle_since = Instant::now();
        }
    }
}

struct Metered {
    inner: Arc<dyn Transport>,
    meter: Arc<Meter>,
}

impl Metered {
    fn count<'a, T: Send + 'a>(
        &'a self,
        call: BoxFuture<'a, Result<T, HostError>>,
    ) -> BoxFuture<'a, Result<T, HostError>> {
        Box::pin(async move {
            let _under_way = self.meter.begin();
            call.await
        })
    }
}

impl Transport for Metered {
    fn probe<'a>(&'a self, probes: &'a [Probe]) -> BoxFuture<'a, Result<Readings, HostError>> {
        self.count(self.inner.probe(probes))
    }

    fn run<'a>(&'a self, command: &'a Command) -> BoxFuture<'a, Result<Output, HostError>> {
        self.count(self.inner.run(command))
    }

    fn write<'a>(&'a self, files: &'a [RemoteFile]) -> BoxFuture<'a, Result<(), HostError>> {
        self.count(self.inner.write(files))
    }

    fn job<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Result<JobOutput, HostError>> {
        self.count(self.inner.job(job))
    }

    fn disarm<'a>(&'a self, undo: &'a str) -> BoxFuture<'a, Result<bool, HostError>> {
        self.count(self.inner.disarm(undo))
    }

    fn lock<'a>(
        &'a self,
        name: &'a str,
        owner: &'a str,
    ) -> BoxFuture<'a, Result<LockGuard, HostError>> {
        self.count(self.inner.lock(name, owner))
    }

    fn rest(&self, pause: Duration) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let _awaited = self.meter.wait();
            self.inner.rest(pause).await;
        })
    }
}
