//! A call as the task keeps it: what to send, and where the answer goes.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;
use tokio::sync::{mpsc, oneshot};

use super::error::CallError;
use super::lease;
use super::line::Knows;
use super::scatter::{self, Told};
use super::topics::{self, Publication};
use super::updates::{self, Update};
use crate::id::ServiceName;
use crate::lease::Fence;
use crate::wire::Limits;
use crate::wire::message::Message;
use crate::wire::mjp::{Level, What};

/// An answer, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// More follows.
    Partial(Message),
    /// The last of it.
    Final(Message),
}

impl Reply {
    /// What came, whichever it is.
    #[must_use]
    pub fn into_message(self) -> Message {
        match self {
            Self::Partial(message) | Self::Final(message) => message,
        }
    }
}

/// What is asked.
#[derive(Debug)]
pub(super) enum Ask {
    Request(Request),
    Status(Query),
    /// Boxed: it is rare, and large.
    Scatter(Box<scatter::Ask>),
    /// ADMIN that is answered once: its header, and its body if there is one.
    Admin {
        says: Message,
        /// The header says that the asker holds a lease.
        fenced: bool,
    },
    /// ADMIN that is answered until its caller has gone.
    Follow(Message),
    /// Something for all who have subscribed to it. Boxed: it is large.
    Publish(Box<Publication>),
    /// A pattern of subjects; it goes on until its caller has gone.
    Subscribe(Box<str>),
    /// LEASE that is answered once: its header.
    Lease(Message),
    /// A lease that somebody wants to hold; it goes on as long as it is wanted, and held.
    Campaign(Box<lease::Campaign>),
    /// A lease that somebody looks at; it goes on until its caller has gone.
    Observe(Box<str>),
}

/// Names of services that take no allocation, octets.
const SHORT: usize = 32;

/// A request to a service.
#[derive(Debug)]
pub(super) struct Request {
    /// It is one that a service can have.
    pub(super) service: SmallVec<[u8; SHORT]>,
    pub(super) body: Message,
    /// The caller limits the deliveries.
    pub(super) limited: bool,
    pub(super) trace: Option<Box<str>>,
    pub(super) state: Option<Box<str>>,
    /// What makes a repeat known as one.
    pub(super) key: Option<Box<[u8]>>,
    /// Requests with the same one run one at a time.
    pub(super) order: Option<Box<[u8]>>,
    /// No worker gets it before.
    pub(super) delay: Option<Duration>,
    /// What it is to survive once it is accepted.
    pub(super) level: Option<Level>,
    /// Its caller is done when it is accepted.
    pub(super) handed_in: bool,
    /// Who waits until it is accepted, and goes on waiting for its answer.
    pub(super) notice: Option<oneshot::Sender<Message>>,
    /// The lease that the caller holds. Boxed: it is rare.
    pub(super) fence: Option<Box<Fence>>,
}

/// A question to the broker itself.
#[derive(Debug)]
pub(super) struct Query {
    pub(super) what: What,
    pub(super) service: Option<ServiceName>,
    pub(super) after: Option<u64>,
    pub(super) max: Option<NonZeroU16>,
}

/// Where the answer goes.
#[derive(Debug, Default)]
pub(super) enum Sink {
    /// Nowhere yet: nobody has asked for it.
    #[default]
    None,
    /// All of it at once; with the parts that came before, where the protocol does not join them.
    Whole(oneshot::Sender<Result<Message, CallError>>, Vec<Message>),
    /// As it comes; a place is kept free for the end of it.
    Parts(mpsc::Sender<Result<Reply, CallError>>),
    /// As it comes, with all that is said meanwhile.
    Updates(Box<updates::Sink>),
    /// Of a scatter, as it comes.
    Scatter(scatter::Sink),
    /// Of a subscription, as long as it goes on.
    Topic(topics::Sink),
    /// Of a campaign. Boxed: it is large.
    Seat(Box<lease::SeatSink>),
    /// Of an observation.
    Watch(lease::WatchSink),
}

/// A call that has not ended.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) ask: Ask,
    pub(super) timeout: Duration,
    pub(super) sink: Sink,
}

impl Sink {
    fn fail(self, error: CallError) {
        match self {
            Self::None => {}
            Self::Whole(to, _) => drop(to.send(Err(error))),
            Self::Parts(to) => drop(to.try_send(Err(error))),
            Self::Updates(sink) => drop(sink.to.try_send(Err(error))),
            Self::Scatter(to) => to.end(Err(error)),
            Self::Topic(to) => to.end(error),
            Self::Seat(seat) => seat.end(error),
            Self::Watch(watch) => watch.end(error),
        }
    }
}

/// Whoever still waits is told that nothing comes any more: the task has ended with its runtime.
impl Drop for Pending {
    fn drop(&mut self) {
        std::mem::take(&mut self.sink).fail(CallError::Closed);
    }
}

impl Pending {
    /// Whether nobody waits any more.
    pub(super) fn is_orphan(&self) -> bool {
        match &self.sink {
            Sink::None => true,
            Sink::Whole(to, _) => to.is_closed(),
            Sink::Parts(to) => to.is_closed(),
            Sink::Updates(sink) => sink.to.is_closed(),
            Sink::Scatter(to) => to.is_closed(),
            Sink::Topic(to) => to.is_closed(),
            Sink::Seat(seat) => seat.is_closed(),
            Sink::Watch(watch) => watch.is_closed(),
        }
    }

    /// Whether the broker has to know of orders and delays.
    pub(super) fn is_ordered(&self) -> bool {
        matches!(&self.ask, Ask::Request(request) if request.order.is_some() || request.delay.is_some())
    }

    /// Whether it is said on each connection anew, and goes on until its caller has gone.
    pub(super) fn stands(&self) -> bool {
        matches!(self.ask, Ask::Subscribe(_)) || self.is_lease()
    }

    /// Whether it is a campaign or an observation, which CANCEL ends.
    pub(super) fn is_lease(&self) -> bool {
        matches!(self.ask, Ask::Campaign(_) | Ask::Observe(_))
    }

    /// Whether a broker that knows so much would not look at the lease that the caller holds.
    pub(super) fn is_unfenced_by(&self, knows: Knows) -> bool {
        match &self.ask {
            Ask::Request(request) => request.fence.is_some() && !knows.leases,
            Ask::Scatter(scatter) => scatter.fence.is_some() && !knows.fences,
            Ask::Publish(publication) => publication.fence.is_some() && !knows.fences,
            Ask::Admin { fenced, .. } => *fenced && !knows.fences,
            Ask::Status(_)
            | Ask::Follow(_)
            | Ask::Subscribe(_)
            | Ask::Lease(_)
            | Ask::Campaign(_)
            | Ask::Observe(_) => false,
        }
    }

    /// What makes a repeat of the request known as one.
    pub(super) fn key(&self) -> Option<&[u8]> {
        match &self.ask {
            Ask::Request(request) => request.key.as_deref(),
            Ask::Status(_)
            | Ask::Scatter(_)
            | Ask::Admin { .. }
            | Ask::Follow(_)
            | Ask::Subscribe(_)
            | Ask::Publish(_)
            | Ask::Lease(_)
            | Ask::Campaign(_)
            | Ask::Observe(_) => None,
        }
    }

    /// Whether it may be sent again whenever a connection was lost. Who limits the deliveries does
    /// not want to rely on what a broker remembers.
    pub(super) fn repeats(&self) -> bool {
        matches!(&self.ask, Ask::Request(request) if request.key.is_some() && !request.limited)
    }

    /// Whether its caller is done when it is accepted.
    pub(super) fn is_handed_in(&self) -> bool {
        matches!(&self.ask, Ask::Request(request) if request.handed_in)
    }

    /// Whether parts of the answer are wanted as they come.
    pub(super) fn wants_parts(&self) -> bool {
        matches!(self.sink, Sink::Parts(_) | Sink::Updates(_))
    }

    /// Whether what is said meanwhile is wanted, if there is anybody to hear it.
    pub(super) fn updates(&mut self) -> Option<&mut updates::Sink> {
        match &mut self.sink {
            Sink::Updates(sink) => Some(sink),
            Sink::None
            | Sink::Whole(..)
            | Sink::Parts(_)
            | Sink::Scatter(_)
            | Sink::Topic(_)
            | Sink::Seat(_)
            | Sink::Watch(_) => None,
        }
    }

    /// A part of the answer.
    pub(super) fn part(&mut self, part: Message, limits: &Limits) -> Result<(), CallError> {
        match &mut self.sink {
            Sink::None => {}
            Sink::Whole(_, parts) => {
                parts.push(part);
                let (what, max) = ("message", limits.message_bytes_max);
                let size = parts.iter().map(Message::bytes).sum();
                if size > max {
                    return Err(CallError::AnswerTooBig { what, size, max });
                }
            }
            Sink::Parts(to) if to.capacity() > 1 => {
                // A caller who has gone says so by itself.
                let _ = to.try_send(Ok(Reply::Partial(part)));
            }
            Sink::Parts(to) => return Err(CallError::Overrun { max: to.max_capacity() - 1 }),
            Sink::Updates(sink) if sink.to.capacity() > 1 => {
                let _ = sink.to.try_send(Ok(Update::Partial(part)));
            }
            Sink::Updates(sink) => {
                return Err(CallError::Overrun { max: sink.to.max_capacity() - 1 });
            }
            // A broker joins them.
            Sink::Scatter(_) | Sink::Topic(_) | Sink::Seat(_) | Sink::Watch(_) => {}
        }
        Ok(())
    }

    /// Something about a scatter. Whoever has asked for none is not told.
    pub(super) fn told(&mut self, told: Told) -> Result<(), CallError> {
        match &mut self.sink {
            Sink::Scatter(to) => to.tell(told),
            Sink::None
            | Sink::Whole(..)
            | Sink::Parts(_)
            | Sink::Updates(_)
            | Sink::Topic(_)
            | Sink::Seat(_)
            | Sink::Watch(_) => Ok(()),
        }
    }

    /// The answer, or the rest of it.
    pub(super) fn finish(mut self: Box<Self>, body: Message) {
        // Whoever has gone wants nothing.
        match std::mem::take(&mut self.sink) {
            Sink::None => {}
            Sink::Whole(to, parts) if parts.is_empty() => drop(to.send(Ok(body))),
            Sink::Whole(to, mut parts) => {
                parts.push(body);
                drop(to.send(Ok(Message::joined(&parts))));
            }
            Sink::Parts(to) => drop(to.try_send(Ok(Reply::Final(body)))),
            Sink::Updates(sink) => drop(sink.to.try_send(Ok(Update::Final(body)))),
            Sink::Scatter(to) => to.end(Ok(Told::End)),
            // They have no end but an error.
            Sink::Topic(_) | Sink::Seat(_) | Sink::Watch(_) => {}
        }
    }

    /// No answer.
    pub(super) fn fail(mut self: Box<Self>, error: CallError) {
        std::mem::take(&mut self.sink).fail(error);
    }

    /// The error of a call whose time is over.
    pub(super) fn timed_out(&self, sent: bool, because: Option<Arc<str>>) -> CallError {
        CallError::Timeout { after: self.timeout, sent, because }
    }
}
