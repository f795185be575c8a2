//! Where an operation is carried out from: a terminal before real hosts, or a rehearsal.
//!
//! An operation asks its [`Session`](super::Session) for hosts, for somebody to tell and for whoever may stop it; so the
//! same code is the command and its rehearsal.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::engine::event::{Event, Record};
use crate::engine::events::Listener;
use crate::engine::stop::Stop;
use crate::host::simulated::Simulation;

/// Where an operation is carried out from.
#[derive(Clone, Default)]
pub enum Desk {
    /// A terminal or a cron job, and real hosts.
    #[default]
    Real,
    /// Simulated hosts, and nobody to ask.
    Rehearsal(Rehearsal),
}

/// What takes the place of hosts and people in a rehearsal.
#[derive(Clone)]
pub struct Rehearsal {
    /// The hosts.
    pub simulation: Simulation,
    /// Whoever is told.
    pub heard: Heard,
    /// Whether runs leave journals.
    pub keeps_journals: bool,
}

impl Desk {
    /// How the person stops a run: by signals; in a rehearsal nobody does.
    #[must_use]
    pub fn stop(&self) -> Stop {
        match self {
            Self::Real => Stop::on_signals(),
            Self::Rehearsal(_) => Stop::default(),
        }
    }
}

/// Hears everything that runs on simulated hosts say, and tells their world which task a host is busy with.
#[derive(Clone)]
pub struct Heard {
    simulation: Simulation,
    records: Arc<Mutex<Vec<(Duration, Record)>>>,
}

impl Heard {
    /// Hears from now on.
    #[must_use]
    pub fn new(simulation: &Simulation) -> Self {
        Self {
            simulation: simulation.clone(),
            records: Arc::default(),
        }
    }

    /// Everything so far, with the time in the simulation since the beginning; the next run begins anew.
    #[must_use]
    pub fn take(&self) -> Vec<(Duration, Record)> {
        std::mem::take(&mut self.records.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Listener for Heard {
    fn on(&mut self, record: &Record) {
        match &record.event {
            Event::TaskStarted { task, .. } => {
                let place = format!("{}.{}", task.play, task.step);
                self.simulation.note_task(&task.host, Some(place));
            }
            Event::TaskFinished { task, .. } => self.simulation.note_task(&task.host, None),
            _ => {}
        }
        let heard = (self.simulation.now(), record.clone());
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        records.push(heard);
    }
}
