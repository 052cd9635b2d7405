//! What a request has that does not simply wait for the next worker: an order, a delay, an end of
//! its waiting, and the workers that had it.

use std::sync::Arc;

use slotmap::Key;

use crate::id::{PeerId, RequestId, beginning};
use crate::proto::clock::Time;
use crate::proto::dead::{Letter, Seen, SeenEnd};
use crate::proto::dialect::Tried;
use crate::proto::output::Output;

use super::Router;
use super::request::Request;
use super::worker::WorkerId;

/// What most requests do without.
#[derive(Debug, Default)]
pub(super) struct Course {
    /// Requests of the service with the same one run one at a time.
    pub(super) order: Option<Arc<[u8]>>,
    /// No worker gets it before.
    pub(super) not_before: Option<Time>,
    /// It waits no longer than until then.
    pub(super) expires: Option<Time>,
    /// That time has passed while a worker had it.
    pub(super) overdue: bool,
    /// How often a worker has failed it and wanted it to be delivered again.
    pub(super) failures: u32,
    /// That was once too often.
    pub(super) exhausted: bool,
    /// The workers that had it.
    pub(super) seen: Vec<Seen>,
    /// What the last of those said.
    pub(super) message: Option<Box<str>>,
}

impl Course {
    /// Memory that one takes which says something, octets.
    pub(super) fn bytes(order: Option<&Arc<[u8]>>) -> usize {
        /// What stands in the line, and in the sets of deadlines.
        const ENTRIES: usize = 256;
        size_of::<Self>() + ENTRIES + order.map_or(0, |order| order.len())
    }
}

impl Request {
    /// How often workers have failed it and wanted it to be delivered again.
    pub(super) fn failures(&self) -> u32 {
        self.course.as_ref().map_or(0, |course| course.failures)
    }

    /// Deliveries that have ended.
    pub(super) fn deliveries(&self) -> u32 {
        self.losses + self.failures()
    }

    /// Those deliveries, for who asks it again.
    pub(super) fn tried(&self) -> Tried {
        Tried { losses: self.losses, solo_losses: self.solo_losses, failures: self.failures() }
    }

    /// Deliveries of those that count towards the attempts of the service.
    pub(super) fn counted(&self) -> u32 {
        self.solo_losses + self.failures()
    }

    /// Its order, if it has one.
    pub(super) fn order(&self) -> Option<&Arc<[u8]>> {
        self.course.as_ref()?.order.as_ref()
    }

    /// No worker gets it before, if it is to be so.
    pub(super) fn not_before(&self) -> Option<Time> {
        self.course.as_ref()?.not_before
    }

    /// Since when it could have been delivered.
    pub(super) fn ready_since(&self) -> Time {
        self.not_before().map_or(self.accepted_at, |at| at.max(self.accepted_at))
    }

    /// Until when it may wait, if its service says so.
    pub(super) fn expires(&self) -> Option<Time> {
        self.course.as_ref()?.expires
    }

    /// Memory of what is remembered of its deliveries, octets.
    pub(super) fn history_cost(&self) -> usize {
        let Some(course) = &self.course else { return 0 };
        let seen: usize = course.seen.iter().map(Seen::bytes).sum();
        seen + course.message.as_ref().map_or(0, |message| message.len())
    }
}

impl Router {
    /// Notes that a worker had a request, and has it no more; and what it said.
    pub(super) fn note_seen<O: Output>(
        &mut self,
        now: Time,
        worker: WorkerId,
        id: RequestId,
        (end, said): (SeenEnd, Option<&str>),
        out: &mut O,
    ) {
        let name = self.name_of_worker(worker);
        let Some(request) = self.requests.get_mut(id).filter(|request| !request.is_husk()) else {
            return;
        };
        out.release(request.history_cost());
        let course = request.course.get_or_insert_default();
        Seen { worker: name, end, at: now }.note(&mut course.seen);
        if let Some(said) = said {
            course.message = Some(beginning(said, Letter::MESSAGE_MAX).into());
        }
        out.take(request.history_cost());
    }

    /// What a worker is called: its identity if that is text, or a name made of its handle.
    pub(super) fn name_of_worker(&self, id: WorkerId) -> Box<str> {
        self.workers.get(id).map(|worker| worker.name.clone()).unwrap_or_default()
    }

    /// What a peer that becomes a worker is called.
    pub(super) fn name_of_peer(&self, peer: PeerId) -> Box<str> {
        let identity = self.callers.get(peer).and_then(|caller| caller.asker.identity.as_ref());
        let text = identity.and_then(|name| std::str::from_utf8(name.as_bytes()).ok());
        let text = text.filter(|text| !text.contains(char::is_control));
        text.map_or_else(|| format!("~{:016x}", peer.data().as_ffi()).into(), Into::into)
    }
}
