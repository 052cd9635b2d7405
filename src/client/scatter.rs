//! Scatters: one request to several workers, with an outcome for each.

mod ask;

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::Stream;
use tokio::sync::mpsc;

use super::call::Guard;
use super::error::CallError;
use super::updates::Event;
use crate::wire::message::Message;
use crate::wire::mjp::Tally;

pub(super) use ask::{Ask, encode, heard_note, heard_outcome, heard_targets};
pub use ask::{ScatterCall, To};

/// Why a worker that was asked by a scatter has not replied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Miss {
    /// It said an error, or its answer could not be passed on.
    Failed,
    /// It was not given the request: its protocol cannot say it, or the caller did not hold the
    /// lease any more that it said to hold, or not the one that the service wants.
    Refused,
    /// It was lost. It may have carried the request out.
    Lost,
    /// It took too long. It may have carried the request out.
    TimedOut,
    /// The scatter was cancelled.
    Cancelled,
}

impl Miss {
    /// As on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Lost => "lost",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a worker that has not replied is reported with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{miss}: {code}: {message}")]
pub struct TargetError {
    /// What became of it.
    pub miss: Miss,
    /// What is wrong, by name: one of [`Code`](crate::wire::mjp::Code), or the worker's own.
    pub code: String,
    /// The same for people.
    pub message: String,
    /// With the code `stale_epoch`: the epoch of who holds the lease now. None: nobody does.
    pub epoch: Option<u64>,
}

/// The end of one worker's part in a scatter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The name of the worker.
    pub target: String,
    /// What it replied, parts and all, or why it did not.
    pub result: Result<Message, TargetError>,
}

/// What comes of a scatter.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ScatterUpdate {
    /// Something happens at one of its workers.
    Event {
        /// The name of the worker.
        target: String,
        /// What it is.
        event: Event,
    },
    /// The end of one worker's part.
    Outcome(Outcome),
}

/// What the task hears of a scatter.
#[derive(Debug)]
pub(super) enum Told {
    Targets(Vec<String>),
    Event { target: String, event: Event },
    Outcome(Outcome),
    End,
}

/// Where the task leaves it; a place is kept free for the end.
#[derive(Debug)]
pub(super) struct Sink {
    to: mpsc::Sender<Result<Told, CallError>>,
    /// Places that events may take.
    events_max: usize,
    /// Events since the last one that found a place.
    missed: u64,
}

impl Sink {
    /// Places besides those of outcomes: for the targets, and for the end.
    const PLACES: usize = 2;

    pub(super) fn is_closed(&self) -> bool {
        self.to.is_closed()
    }

    /// Something that is not the end. An event may be missed.
    pub(super) fn tell(&mut self, mut told: Told) -> Result<(), CallError> {
        let outcomes_max = self.to.max_capacity() - self.events_max;
        if let Told::Event { event, .. } = &mut told {
            if self.to.capacity() <= outcomes_max {
                self.missed += 1;
                return Ok(());
            }
            event.missed = std::mem::take(&mut self.missed);
        }
        if self.to.capacity() <= 1 {
            return Err(CallError::Overrun { max: outcomes_max - Self::PLACES });
        }
        // Whoever has gone says so by itself.
        let _ = self.to.try_send(Ok(told));
        Ok(())
    }

    pub(super) fn end(self, end: Result<Told, CallError>) {
        let _ = self.to.try_send(end);
    }
}

/// A scatter under way: whom it is for, and their outcomes as they come, each worker once.
///
/// It is a [`Stream`], too. What comes waits in a buffer of [`ClientConfig::parts_max`] outcomes,
/// which holds all that there can be as long as that is 1,000 or more.
///
/// [`ClientConfig::parts_max`]: crate::config::ClientConfig::parts_max
///
/// # Cancel safety
/// Dropping it before its end gives it up: workers of MJP that have it are told.
#[derive(Debug)]
pub struct Scatter {
    told: mpsc::Receiver<Result<Told, CallError>>,
    guard: Option<Guard>,
    targets: Vec<String>,
    tally: Tally,
    whole: bool,
}

impl Scatter {
    fn new(
        told: mpsc::Receiver<Result<Told, CallError>>,
        guard: Guard,
        targets: Vec<String>,
    ) -> Self {
        Self { told, guard: Some(guard), targets, tally: Tally::default(), whole: false }
    }

    /// The names of the workers that were asked. It was decided when the broker read the request,
    /// and does not change.
    #[must_use]
    pub fn targets(&self) -> &[String] {
        &self.targets
    }

    /// How many workers have ended in which way, if all of them have: behind the last outcome.
    #[must_use]
    pub fn tally(&self) -> Option<Tally> {
        self.whole.then_some(self.tally)
    }

    /// The next outcome; `None` behind the last. An error is the last item, too: outcomes that are
    /// missing then nobody knows.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn next(&mut self) -> Option<Result<Outcome, CallError>> {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    /// The next that comes, events included, if [`ScatterCall::events`] wants them; else as
    /// [`Self::next`], which leaves events out.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn update(&mut self) -> Option<Result<ScatterUpdate, CallError>> {
        std::future::poll_fn(|cx| self.poll_update(cx)).await
    }

    /// All outcomes that have not been read, in the order in which they came.
    ///
    /// # Errors
    /// The scatter ended without all outcomes: [`CallError::Disconnected`], [`CallError::Timeout`],
    /// [`CallError::Overrun`], [`CallError::Closed`].
    ///
    /// # Cancel safety
    /// Outcomes that were read before are lost.
    pub async fn rest(&mut self) -> Result<Vec<Outcome>, CallError> {
        let mut outcomes = Vec::with_capacity(self.targets.len());
        while let Some(outcome) = self.next().await {
            outcomes.push(outcome?);
        }
        Ok(outcomes)
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Outcome, CallError>>> {
        loop {
            match ready!(self.poll_update(cx)) {
                Some(Ok(ScatterUpdate::Event { .. })) => {}
                Some(Ok(ScatterUpdate::Outcome(outcome))) => {
                    return Poll::Ready(Some(Ok(outcome)));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }

    fn poll_update(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<ScatterUpdate, CallError>>> {
        if self.guard.is_none() {
            return Poll::Ready(None);
        }
        // The task drops what it has not ended only when it ends.
        let told = ready!(self.told.poll_recv(cx)).unwrap_or(Err(CallError::Closed));
        let end = match told {
            Ok(Told::Outcome(outcome)) => {
                self.count(&outcome);
                return Poll::Ready(Some(Ok(ScatterUpdate::Outcome(outcome))));
            }
            Ok(Told::Event { target, event }) => {
                return Poll::Ready(Some(Ok(ScatterUpdate::Event { target, event })));
            }
            Ok(Told::End | Told::Targets(_)) => {
                self.whole = true;
                None
            }
            Err(error) => Some(Err(error)),
        };
        if let Some(guard) = self.guard.take() {
            guard.ended();
        }
        Poll::Ready(end)
    }

    fn count(&mut self, outcome: &Outcome) {
        let tally = &mut self.tally;
        *match outcome.result.as_ref().map_err(|error| error.miss) {
            Ok(_) => &mut tally.replied,
            Err(Miss::Failed) => &mut tally.failed,
            Err(Miss::Refused) => &mut tally.refused,
            Err(Miss::Lost) => &mut tally.lost,
            Err(Miss::TimedOut) => &mut tally.timed_out,
            Err(Miss::Cancelled) => &mut tally.cancelled,
        } += 1;
    }
}

impl Stream for Scatter {
    type Item = Result<Outcome, CallError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll(cx)
    }
}
