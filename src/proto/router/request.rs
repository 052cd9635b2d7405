//! A request: accepted, in exactly one place, ended once.

use crate::id::{PeerId, RequestId};
use crate::proto::clock::Time;
use crate::proto::dialect::{CallerVoice, Terms};
use crate::wire::message::{Frames, Message};

use super::course::Course;
use super::fence::Fence;
use super::list::{Linked, Links};
use super::service::ServiceId;
use super::talk::Asks;
use super::worker::WorkerId;

/// Where a request is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Place {
    /// In the queue of its service.
    #[default]
    Waiting,
    /// Among the suspects of its service: it was lost with two workers.
    Suspect,
    /// Waiting for its time.
    Delayed(Time),
    /// Waiting for another one of its order.
    Behind,
    /// Waiting for one worker, and no other.
    Pinned(WorkerId),
    /// At a worker.
    InFlight(WorkerId),
}

/// An accepted request that has not ended; or a *husk*: one that has, while its worker still owes an
/// answer, without which its credit would not come back. A husk is always in flight, has no caller,
/// and is gone when it is answered or its worker is lost.
#[derive(Debug, Default)]
pub(super) struct Request {
    /// Its place in the order of acceptance.
    pub(super) sequence: u64,
    pub(super) service: ServiceId,
    pub(super) caller: PeerId,
    pub(super) voice: CallerVoice,
    pub(super) body: Message,
    pub(super) accepted_at: Time,
    pub(super) delivered_at: Time,
    pub(super) place: Place,
    /// Memory charged for it, octets.
    pub(super) cost: usize,
    /// Workers it was lost with.
    pub(super) losses: u32,
    /// Workers it was lost with while it was there alone, as a suspect.
    pub(super) solo_losses: u32,
    /// Part of an answer has gone to the caller.
    pub(super) answering: bool,
    /// Parts of an answer, kept for a caller that takes only one message.
    pub(super) parts: Parts,
    /// What its caller was asked, if ever.
    pub(super) asks: Option<Box<Asks>>,
    /// The lease that its caller says to hold.
    pub(super) fence: Option<Box<Fence>>,
    /// What most requests do without.
    pub(super) course: Option<Box<Course>>,
    /// The peer it was last lost with.
    pub(super) last_holder: Option<PeerId>,
    /// While it waits: the caller's waiting requests. In flight: the worker's requests.
    pub(super) links: Links<RequestId>,
}

/// Parts of an answer that is to be said in one message.
#[derive(Debug, Default)]
pub(super) struct Parts {
    pub(super) kept: Vec<Message>,
    pub(super) frames: usize,
    pub(super) bytes: usize,
    /// They were too big together and have been thrown away.
    pub(super) overflow: bool,
}

impl Request {
    /// Losses that make a request suspect.
    pub(super) const SUSPECT_LOSSES: u32 = 2;

    /// Memory a request with such a body and envelope takes, octets.
    pub(super) fn cost_of(frames_bytes: usize) -> usize {
        size_of::<Self>() + frames_bytes
    }

    /// What is left of it at its worker once it has ended.
    pub(super) fn husk(&self) -> Self {
        // The next one of its order waits until its worker is done.
        let order = self.order();
        let course = order.cloned().map(|order| Course { order: Some(order), ..Course::default() });
        Self {
            sequence: self.sequence,
            service: self.service,
            caller: PeerId::default(),
            voice: CallerVoice::Nobody,
            body: Message::default(),
            accepted_at: self.accepted_at,
            delivered_at: self.delivered_at,
            place: self.place,
            cost: Self::cost_of(order.map_or(0, |order| Course::bytes(Some(order)))),
            losses: self.losses,
            solo_losses: self.solo_losses,
            answering: false,
            parts: Parts::default(),
            asks: None,
            fence: None,
            course: course.map(Box::new),
            last_holder: None,
            links: self.links,
        }
    }

    /// Whether it is for one worker and no other.
    pub(super) fn is_pinned(&self) -> bool {
        matches!(&self.voice, CallerVoice::Part(part) if !part.is_queued())
    }

    /// Whether it was a dead letter: nobody waits for it.
    pub(super) fn is_revived(&self) -> bool {
        matches!(self.voice, CallerVoice::Revived(_))
    }

    /// Whether it has ended, and only its worker does not know.
    pub(super) fn is_husk(&self) -> bool {
        matches!(self.voice, CallerVoice::Nobody)
    }

    /// What its caller demands of it.
    pub(super) fn terms(&self) -> Terms {
        self.voice.terms()
    }

    /// Whether it is too late to deliver it.
    pub(super) fn is_due(&self, now: Time) -> bool {
        self.terms().deadline.is_some_and(|deadline| deadline <= now)
    }

    /// The caller's header, if its dialect has one, and the body.
    // By a call the pair would go through memory, and be waited for.
    #[inline(always)]
    pub(super) fn split(&self) -> (Option<&[u8]>, Frames<'_>) {
        let mut body = self.body.frames();
        let header = if self.voice.has_header() { body.take_first() } else { None };
        (header, body)
    }
}

#[cfg(test)]
impl Request {
    /// Notes how a request ends, and where.
    pub(super) fn witness_end(&self, outcome: crate::proto::stats::Outcome) {
        use crate::proto::witness;
        let (_, body) = self.split();
        let CallerVoice::Part(part) = &self.voice else { return witness::ended(body, outcome) };
        let place = match self.place {
            _ if part.is_queued() => "queued",
            Place::Pinned(_) => "waiting",
            _ => "in flight",
        };
        witness::saw("part", place, outcome.label());
        witness::part_ended(body, part.name.as_bytes(), outcome);
    }

    /// Notes that a request ends while something holds it up.
    pub(super) fn witness_let_go(&self) {
        let place = if self.place == Place::Behind { "behind" } else { "delayed" };
        crate::proto::witness::saw("hold", place, "ended");
    }

    /// Notes where a request is that `peer` answers late.
    pub(super) fn witness_late(&self, peer: PeerId) {
        let place = match self.place {
            Place::Waiting => "waiting",
            Place::Suspect => "suspect",
            Place::Delayed(_) => "delayed",
            Place::Behind => "behind",
            Place::Pinned(_) => "pinned",
            Place::InFlight(_) => "in flight",
        };
        let whose = if self.last_holder == Some(peer) { "last holder" } else { "other" };
        crate::proto::witness::saw("late answer", place, whose);
    }
}

impl Linked<RequestId> for Request {
    fn links(&mut self) -> &mut Links<RequestId> {
        &mut self.links
    }
}
