//! A request, as a handler sees it.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::proto::serve::Job;
use crate::proto::serve::words::{Caller, Delivery, Reply, Talk, Told};
use crate::wire::Protocol;
use crate::wire::message::Message;

use super::limits::{AnswerLimits, TooBig};
use super::publish::Publication;

/// A request, as a handler sees it.
///
/// To drop it answers nothing: what the handler returns does.
#[derive(Debug)]
pub struct Request {
    /// One frame or more, as the caller sent them.
    pub body: Message,
    pub(super) job: Job,
    pub(super) attempt: u32,
    pub(super) deadline: Option<Instant>,
    pub(super) identity: Option<Box<[u8]>>,
    pub(super) caller: Option<Box<Caller>>,
    pub(super) trace: Option<Box<str>>,
    pub(super) state: Option<Box<str>>,
    pub(super) key: Option<Box<[u8]>>,
    pub(super) cancelled: CancellationToken,
    pub(super) said: mpsc::Sender<Said>,
    pub(super) protocol: Protocol,
    pub(super) limits: Arc<AnswerLimits>,
    /// Questions asked so far.
    pub(super) asked: AtomicU32,
}

/// What a handler gives.
#[derive(Debug)]
pub(super) enum Said {
    Part(Job, Reply),
    Last(Job, Reply),
    Event(Job, Box<Talk>),
    /// With the number, and where the answer goes.
    Ask(Job, u64, Box<Talk>, oneshot::Sender<Box<Told>>),
    /// Something for all who have subscribed to it.
    Publish(Publication),
}

/// Why a part of an answer was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PartError {
    /// Nobody wants the answer: the caller took the request back, or the broker gave it to
    /// somebody else. Stop working on it.
    #[error("nobody wants the answer any more")]
    Cancelled,
    /// The broker would not take it.
    #[error(transparent)]
    TooBig(#[from] TooBig),
    /// MDP/0.1 has no parts.
    #[error("MDP/0.1 has no partial answers; speak MJP or MDP/0.2, or answer in one piece")]
    Unsupported,
}

impl Request {
    pub(super) fn new(
        job: Job,
        delivery: Delivery,
        cancelled: CancellationToken,
        said: mpsc::Sender<Said>,
        protocol: Protocol,
        limits: Arc<AnswerLimits>,
    ) -> Self {
        let Delivery { body, attempt, timeout, identity, caller, trace, state, key } = delivery;
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        Self {
            body,
            job,
            attempt,
            deadline,
            identity,
            caller,
            trace,
            state,
            key,
            cancelled,
            said,
            protocol,
            limits,
            asked: AtomicU32::new(0),
        }
    }

    /// The first frame of the body; the only one of most requests.
    #[must_use]
    pub fn first(&self) -> &[u8] {
        self.body.frames().next().unwrap_or_default()
    }

    /// The how manieth delivery this is, from 1. With more than 1 some of the work may have been
    /// done before. MDP does not say it: 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Time that the caller still waits. `None`: it did not say, or could not.
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Who the caller has proven to be, by its key or its password: the broker has checked it, and
    /// says it (SPEC 9.3). `None`: it came in without either, or the protocol is MDP, which does
    /// not say it.
    #[must_use]
    pub fn caller(&self) -> Option<&Caller> {
        self.caller.as_deref()
    }

    /// The name that the caller gave itself. It proves nothing.
    #[must_use]
    pub fn identity(&self) -> Option<&[u8]> {
        self.identity.as_deref()
    }

    /// `traceparent` of W3C Trace Context, as the caller sent it.
    #[must_use]
    pub fn trace(&self) -> Option<&str> {
        self.trace.as_deref()
    }

    /// `tracestate` of W3C Trace Context, as the caller sent it.
    #[must_use]
    pub fn trace_state(&self) -> Option<&str> {
        self.state.as_deref()
    }

    /// The idempotency key, if the caller gave one: the same in each delivery of the request. A
    /// handler that remembers the keys of what it has done recognizes a request that comes again
    /// after the broker has lost sight of it.
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        self.key.as_deref()
    }

    /// Fires when nobody wants the answer any more: the caller took the request back or went away
    /// (MJP), its time is up (MJP), or the connection to the broker was lost. A handler that does
    /// not look runs to its end, and its answer is dropped.
    #[must_use]
    pub fn cancelled(&self) -> &CancellationToken {
        &self.cancelled
    }

    /// Sends a part of the answer; what the handler returns is the rest of it, and may be empty.
    /// Waits while more than `outbox` octets wait for the broker.
    ///
    /// # Errors
    /// [`PartError`].
    ///
    /// # Cancel safety
    /// The part is sent whole or not at all.
    pub async fn part(&self, body: impl Into<Message>) -> Result<(), PartError> {
        if self.protocol == Protocol::Mdp01 {
            return Err(PartError::Unsupported);
        }
        if self.cancelled.is_cancelled() {
            return Err(PartError::Cancelled);
        }
        let body = body.into();
        self.limits.check(&body)?;
        let said = Said::Part(self.job, Reply::body(body));
        self.said.send(said).await.map_err(|_| PartError::Cancelled)
    }
}
