//! What was read of the hosts, and how fresh it is.
//!
//! A reading is stale once its host (for a verdict over the whole cluster: any host) was changed after it. Only stale
//! probes are read again, all of a host in one round trip.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::join_all;

use crate::action::{Fleet, Scope};
use crate::host::Hosts;
use crate::host::error::HostError;
use crate::host::probe::{Probe, Readings};

/// The readings of a run.
pub struct Reader<'a> {
    hosts: &'a Hosts,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    fleet: Arc<Fleet>,
    /// When each probe of each host was last read, by the count of changes.
    read: HashMap<String, HashMap<Probe, u64>>,
    /// What was last read of each file, of whichever host.
    contents: HashMap<String, Arc<[u8]>>,
    /// When each host was last changed, by the count of changes.
    changed: HashMap<String, u64>,
    changes: u64,
    /// When any host was last changed.
    last_change: u64,
    /// Readings older than this are stale on every host.
    distrusted: u64,
}

impl State {
    fn is_fresh(&self, host: &str, probe: &Probe, scope: Scope) -> bool {
        let changed = match scope {
            Scope::Host => self.changed.get(host).copied().unwrap_or_default(),
            Scope::Cluster | Scope::Fleet => self.last_change,
        };
        let needed = changed.max(self.distrusted).max(1);
        let read = self.read.get(host).and_then(|read| read.get(probe));
        read.is_some_and(|at| *at >= needed)
    }

    /// Lets what the host before had in a file stand for what this one has, where that is the same: of a thousand hosts most
    /// hold the same files.
    fn share(&mut self, readings: &mut Readings) {
        for (path, bytes) in readings.contents_mut() {
            match self.contents.get(path) {
                Some(known) if known == bytes => *bytes = Arc::clone(known),
                _ => drop(self.contents.insert(path.clone(), Arc::clone(bytes))),
            }
        }
    }
}

impl<'a> Reader<'a> {
    /// A reader that has read nothing.
    #[must_use]
    pub fn new(hosts: &'a Hosts) -> Self {
        Self {
            hosts,
            state: Mutex::new(State {
                changes: 1,
                ..State::default()
            }),
        }
    }

    /// What is known now.
    #[must_use]
    pub fn fleet(&self) -> Arc<Fleet> {
        Arc::clone(&self.state().fleet)
    }

    /// Notes that a host was, or may have been, changed.
    pub fn note_change(&self, host: &str) {
        let mut state = self.state();
        state.changes += 1;
        let now = state.changes;
        state.last_change = now;
        state.changed.insert(host.to_owned(), now);
    }

    /// Makes every reading stale: somebody else may have changed anything until now.
    pub fn distrust(&self) {
        let mut state = self.state();
        state.changes += 1;
        state.distrusted = state.changes;
    }

    /// Reads what is stale among `wanted`, all hosts at once, each in one round trip. Errors are per host.
    pub async fn freshen(
        &self,
        wanted: Vec<(String, Vec<Probe>)>,
        scope: Scope,
    ) -> Vec<(String, HostError)> {
        let stale = wanted.into_iter().map(|(host, probes)| {
            let stale = self.stale(&host, probes, scope);
            (host, stale)
        });
        self.read(stale.filter(|(_, probes)| !probes.is_empty()).collect())
            .await
    }

    /// Reads `wanted`, fresh or not.
    pub async fn read(&self, wanted: Vec<(String, Vec<Probe>)>) -> Vec<(String, HostError)> {
        let answers = join_all(
            wanted
                .into_iter()
                .map(|(host, probes)| self.read_host(host, probes)),
        )
        .await;
        answers.into_iter().filter_map(Result::err).collect()
    }

    async fn read_host(&self, host: String, probes: Vec<Probe>) -> Result<(), (String, HostError)> {
        let Some(connected) = self.hosts.get(&host) else {
            return Ok(());
        };
        let before = self.state().changes;
        let readings = match connected.transport.probe(&probes).await {
            // Reading is harmless, so a connection that was lost since the last call costs one more try.
            Err(HostError::Lost { .. }) => connected.transport.probe(&probes).await,
            answer => answer,
        };
        match readings {
            Ok(readings) => {
                self.take(&host, probes, readings, before);
                Ok(())
            }
            Err(error) => Err((host, error)),
        }
    }

    /// Takes readings that were begun after `at` changes, unless the host was changed since: a host is also read for the
    /// verdicts of others, and what was begun before a change must not hide what was read after it.
    fn take(&self, host: &str, probes: Vec<Probe>, mut readings: Readings, at: u64) {
        let mut state = self.state();
        if state.changed.get(host).is_some_and(|changed| *changed > at) {
            return;
        }
        state.share(&mut readings);
        Arc::make_mut(&mut state.fleet).update(host, readings);
        let read = state.read.entry(host.to_owned()).or_default();
        read.extend(probes.into_iter().map(|probe| (probe, at)));
    }

    fn stale(&self, host: &str, probes: Vec<Probe>, scope: Scope) -> Vec<Probe> {
        let state = self.state();
        let unique: BTreeSet<Probe> = probes
            .into_iter()
            .filter(|probe| !state.is_fresh(host, probe, scope))
            .collect();
        unique.into_iter().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
