//! What the task of a connection and the holders of a group both look at.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use tokio::sync::watch;

use super::error::GroupError;
use super::event::{Event, Parted};
use super::queue::Queue;
use super::words::{Leader, View};
use crate::proto::group::{Charter, ClockSync, Standpoint};

/// How far a membership has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is joining, for the first time.
    New,
    /// It has been a member, and is or will be again.
    Member,
    /// It was not let in.
    Refused(GroupError),
    /// It is none any more, for good.
    Over,
}

/// What is known of a group now.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// `None`: it is no member now.
    pub(super) view: Option<Arc<View>>,
    pub(super) charter: Option<Arc<Charter>>,
    /// Whether this member leads. `None` if it does not, or is about to resign.
    pub(super) lead: Option<Standpoint>,
    pub(super) clock: ClockSync,
    /// Why there is no connection.
    pub(super) because: Option<Arc<str>>,
}

#[derive(Debug)]
pub(super) struct Shared {
    known: Mutex<Known>,
    readers: Mutex<Readers>,
    pub(super) standing: watch::Sender<Standing>,
    /// Counts what has happened.
    changes: watch::Sender<u64>,
    events_max: usize,
    bytes_max: usize,
}

#[derive(Debug)]
struct Readers {
    /// What has happened since it was joined, until somebody takes it.
    first: Option<Arc<Queue>>,
    others: Vec<Weak<Queue>>,
    ended: bool,
}

impl Shared {
    pub(super) fn new(events_max: usize, bytes_max: usize) -> Self {
        let first = Some(Arc::new(Queue::new(events_max, bytes_max)));
        Self {
            known: Mutex::default(),
            readers: Mutex::new(Readers { first, others: Vec::new(), ended: false }),
            standing: watch::Sender::new(Standing::New),
            changes: watch::Sender::new(0),
            events_max,
            bytes_max,
        }
    }

    pub(super) fn known(&self) -> MutexGuard<'_, Known> {
        // What is known is whole between any two statements: a panic elsewhere cannot harm it.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn readers(&self) -> MutexGuard<'_, Readers> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down what is known, and tells all who read what has happened: nobody comes to read
    /// in between.
    pub(super) fn publish(&self, update: impl FnOnce(&mut Known), events: &[Event]) {
        let mut readers = self.readers();
        update(&mut self.known());
        if !events.is_empty() {
            self.changes.send_modify(|changes| *changes = changes.wrapping_add(1));
        }
        for event in events {
            if let Some(first) = &readers.first {
                first.push(event);
            }
            readers.others.retain(|reader| match reader.upgrade() {
                Some(reader) => {
                    reader.push(event);
                    true
                }
                None => false,
            });
        }
    }

    /// Tells whenever something has happened, and what was known may be otherwise.
    pub(super) fn changed(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Nothing comes any more.
    pub(super) fn end(&self, parted: Parted) {
        let mut readers = self.readers();
        readers.ended = true;
        self.changes.send_modify(|changes| *changes = changes.wrapping_add(1));
        let others = std::mem::take(&mut readers.others);
        let others = others.iter().filter_map(Weak::upgrade);
        for reader in readers.first.iter().cloned().chain(others) {
            reader.end(Some(Event::Parted(parted.clone())));
        }
    }

    /// One more who reads: the first one from the joining on, others from how things are now.
    pub(super) fn reader(&self) -> Arc<Queue> {
        let mut readers = self.readers();
        let view = self.known().view.clone();
        let reader = match readers.first.take() {
            Some(first) => first,
            None => {
                let reader = Arc::new(Queue::new(self.events_max, self.bytes_max));
                if let Some(view) = view {
                    reader.push(&Event::Joined(view));
                }
                if readers.ended {
                    reader.end(None);
                }
                reader
            }
        };
        readers.others.push(Arc::downgrade(&reader));
        reader
    }
}

impl Known {
    /// Who leads, as the broker has said last.
    pub(super) fn leader(&self) -> Option<&Leader> {
        self.view.as_ref()?.leader.as_ref()
    }

    /// By which epoch this member leads, if it may believe it at that moment.
    pub(super) fn leads(&self, now: Instant) -> Option<u64> {
        self.lead.as_ref()?.leads(now)
    }
}
