//! The event stream: journal first, then whoever else listens.

use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

use super::event::{Event, FORMAT, Record};
use super::journal::{Journal, JournalError};

/// Someone who is told what happens: the screen, a file of JSON Lines.
pub trait Listener: Send {
    /// Is told of one event. Must not fail: what cannot be shown is not shown.
    fn on(&mut self, record: &Record);
}

/// Where events go.
pub struct Events {
    inner: Mutex<Inner>,
}

struct Inner {
    journal: Option<Journal>,
    listeners: Vec<Box<dyn Listener>>,
}

impl Events {
    /// A stream into a journal (none for tests and rehearsals) and to listeners, in this order.
    #[must_use]
    pub fn new(journal: Option<Journal>, listeners: Vec<Box<dyn Listener>>) -> Self {
        Self {
            inner: Mutex::new(Inner { journal, listeners }),
        }
    }

    /// Tells everyone. An error means that the journal could not be written: nothing may be changed any more.
    pub fn emit(&self, event: Event) -> Result<(), JournalError> {
        self.emit_all([event])
    }

    /// Tells everyone of events that happened together, in order; the journal takes them in one write.
    pub fn emit_all(&self, events: impl IntoIterator<Item = Event>) -> Result<(), JournalError> {
        let at = Timestamp::now();
        let record = |event| Record {
            v: FORMAT,
            at,
            event,
        };
        let records: Vec<Record> = events.into_iter().map(record).collect();
        let durable = records.iter().any(|record| is_durable(&record.event));
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let written = inner
            .journal
            .as_mut()
            .map_or(Ok(()), |journal| journal.append(&records, durable));
        for record in &records {
            for listener in &mut inner.listeners {
                listener.on(record);
            }
        }
        written
    }
}

/// Whether an event has to be on disk before anything else happens.
fn is_durable(event: &Event) -> bool {
    matches!(
        event,
        Event::TaskStarted { .. } | Event::RunFinished { .. } | Event::Interrupted { .. }
    )
}
