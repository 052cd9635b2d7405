//! What an instance counts, as it goes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

use crate::proto::container::{Link, Signal, Status};
use crate::proto::stats::Histogram;

/// What has come, as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Request,
    Command,
    Event,
    /// It cannot be read.
    Unreadable,
}

impl Kind {
    pub(super) const ALL: [Self; 4] = [Self::Request, Self::Command, Self::Event, Self::Unreadable];

    /// The value of the label `kind`.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Command => "command",
            Self::Event => "event",
            Self::Unreadable => "unreadable",
        }
    }
}

/// What has become of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Done,
    Rejected,
    Again,
    Unsettled,
}

/// What has become of the messages of a kind.
#[derive(Debug, Default)]
struct Tray {
    begun: AtomicU64,
    done: AtomicU64,
    rejected: AtomicU64,
    again: AtomicU64,
    unsettled: AtomicU64,
    times: Mutex<Histogram>,
}

/// A server, and the connections to it.
#[derive(Debug, Default)]
struct Ties {
    made: AtomicU64,
    failed: AtomicU64,
    lost: AtomicU64,
}

/// What an instance has done since it began.
#[derive(Debug, Default)]
pub(super) struct Counters {
    requests: Tray,
    commands: Tray,
    events: Tray,
    unreadable: Tray,
    /// Failed for good, and to be tried again, whether or not that could be said.
    failed: AtomicU64,
    again: AtomicU64,
    in_work: AtomicU64,
    /// Tried again by this instance itself.
    retries: AtomicU64,
    answers_lost: AtomicU64,
    terms: AtomicU64,
    queues: Ties,
    coordination: Ties,
    signals: [AtomicU64; 4],
}

/// What an instance has done since it began: numbers of messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Served {
    /// Requests that have had an answer, of whatever kind.
    pub requests: u64,
    /// Commands that were carried out, or have failed.
    pub commands: u64,
    /// Events that were heard.
    pub events: u64,
    /// Of all of these, those that have failed and became dead letters.
    pub failed: u64,
    /// Messages that were given back to be tried again.
    pub again: u64,
    /// Messages that could not be read and became dead letters.
    pub malformed: u64,
    /// Answers that nobody was there for.
    pub answers_lost: u64,
    /// Messages whose connection broke before they were settled: somebody gets them again.
    pub unsettled: u64,
}

/// What has become of messages of a kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Fates {
    /// They are done.
    pub done: u64,
    /// They became dead letters.
    pub rejected: u64,
    /// They were given back to be tried again.
    pub again: u64,
    /// Their connection broke before they were settled, and somebody gets them again; or, at our
    /// broker, their caller has gone.
    pub unsettled: u64,
}

/// Connections to a server since the beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Connections {
    /// Those that there were: one more than reconnects.
    pub made: u64,
    /// Those that could not be made.
    pub failed: u64,
    /// Those that broke.
    pub lost: u64,
}

/// All that an instance has counted since it began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Counts {
    /// What has become of requests.
    pub requests: Fates,
    /// What has become of commands.
    pub commands: Fates,
    /// What has become of events.
    pub events: Fates,
    /// What has become of messages that could not be read.
    pub unreadable: Fates,
    /// Messages in work at the moment.
    pub in_work: u64,
    /// Further tries of messages that were not given back for them.
    pub retries: u64,
    /// Answers that nobody was there for.
    pub answers_lost: u64,
    /// How often it has begun to lead.
    pub terms: u64,
    /// Connections to the queue server.
    pub queues: Connections,
    /// Connections to the store of leases.
    pub coordination: Connections,
    /// Signals that it has given as the leader.
    pub signals: Signals,
}

/// Signals of a leader.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Signals {
    /// More instances are wanted.
    pub scale_up: u64,
    /// Fewer are wanted.
    pub scale_down: u64,
    /// Dead letters pile up.
    pub dead_letters: u64,
    /// A caller is ended.
    pub end_caller: u64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// A message in work, for as long as it lives.
#[derive(Debug)]
pub(super) struct InWork<'a>(&'a Counters);

impl Drop for InWork<'_> {
    fn drop(&mut self) {
        self.0.in_work.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Counters {
    fn tray(&self, kind: Kind) -> &Tray {
        match kind {
            Kind::Request => &self.requests,
            Kind::Command => &self.commands,
            Kind::Event => &self.events,
            Kind::Unreadable => &self.unreadable,
        }
    }

    pub(super) fn taken(&self) -> InWork<'_> {
        count(&self.in_work);
        InWork(self)
    }

    pub(super) fn begun(&self, kind: Kind) {
        count(&self.tray(kind).begun);
    }

    pub(super) fn ended(&self, kind: Kind, fate: Fate, took: Duration) {
        let tray = self.tray(kind);
        count(match fate {
            Fate::Done => &tray.done,
            Fate::Rejected => &tray.rejected,
            Fate::Again => &tray.again,
            Fate::Unsettled => &tray.unsettled,
        });
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        tray.times.lock().unwrap_or_else(PoisonError::into_inner).record(us);
    }

    /// What is to become of a message, before anybody is told.
    pub(super) fn decided(&self, fate: Fate) {
        match fate {
            Fate::Rejected => count(&self.failed),
            Fate::Again => count(&self.again),
            Fate::Done | Fate::Unsettled => {}
        }
    }

    pub(super) fn retried(&self) {
        count(&self.retries);
    }

    pub(super) fn answer_lost(&self) {
        count(&self.answers_lost);
    }

    /// A connection could not be made.
    pub(super) fn not_connected(&self, to_queues: bool) {
        count(if to_queues { &self.queues.failed } else { &self.coordination.failed });
    }

    pub(super) fn signalled(&self, signal: &Signal) {
        let [up, down, dead, caller] = &self.signals;
        count(match signal {
            Signal::ScaleUp { .. } => up,
            Signal::ScaleDown { .. } => down,
            Signal::DeadLetters { .. } => dead,
            Signal::EndCaller { .. } => caller,
        });
    }

    /// How it stood before, and how it does now.
    pub(super) fn changed(&self, before: &Status, now: &Status) {
        if now.leading && !before.leading {
            count(&self.terms);
        }
        self.queues.changed(&before.queues, &now.queues);
        self.coordination.changed(&before.coordination, &now.coordination);
    }

    /// How long messages of a kind took.
    pub(super) fn times(&self, kind: Kind) -> Histogram {
        self.tray(kind).times.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn read(&self) -> Counts {
        let [up, down, dead, caller] = &self.signals;
        Counts {
            requests: self.requests.read(),
            commands: self.commands.read(),
            events: self.events.read(),
            unreadable: self.unreadable.read(),
            in_work: read(&self.in_work),
            retries: read(&self.retries),
            answers_lost: read(&self.answers_lost),
            terms: read(&self.terms),
            queues: self.queues.read(),
            coordination: self.coordination.read(),
            signals: Signals {
                scale_up: read(up),
                scale_down: read(down),
                dead_letters: read(dead),
                end_caller: read(caller),
            },
        }
    }

    pub(super) fn served(&self) -> Served {
        let counts = self.read();
        let Counts { requests, commands, events, unreadable, .. } = counts;
        let all = [requests, commands, events, unreadable];
        Served {
            requests: read(&self.requests.begun),
            commands: read(&self.commands.begun),
            events: read(&self.events.begun),
            failed: read(&self.failed),
            again: read(&self.again) + counts.retries,
            malformed: read(&self.unreadable.begun),
            answers_lost: counts.answers_lost,
            unsettled: all.iter().map(|fates| fates.unsettled).sum(),
        }
    }
}

impl Tray {
    fn read(&self) -> Fates {
        Fates {
            done: read(&self.done),
            rejected: read(&self.rejected),
            again: read(&self.again),
            unsettled: read(&self.unsettled),
        }
    }
}

impl Ties {
    fn changed(&self, before: &Link, now: &Link) {
        match (before, now) {
            (Link::Up, Link::Down(_)) => count(&self.lost),
            (Link::Up, Link::Up) => {}
            (_, Link::Up) => count(&self.made),
            _ => {}
        }
    }

    fn read(&self) -> Connections {
        Connections { made: read(&self.made), failed: read(&self.failed), lost: read(&self.lost) }
    }
}
