//! A worker: a peer that offers one service, with credit for some requests at a time.

use std::collections::BTreeMap;

use crate::id::{PeerId, RequestId};
use crate::proto::clock::Time;
use crate::proto::dialect::WorkerVoice;

use super::list::{Linked, Links, List};
use super::service::ServiceId;

slotmap::new_key_type! {
    /// One registration of a worker.
    pub struct WorkerId;
}

/// One registration of a worker.
#[derive(Debug)]
pub struct Worker {
    pub(super) peer: PeerId,
    pub(super) service: ServiceId,
    pub(super) voice: WorkerVoice,
    /// Requests it takes at a time. It may hold more: those it had been given when it took more.
    pub(super) credit: usize,
    /// What it said of itself when it registered, for listings.
    pub(super) about: Box<[u8]>,
    /// What it is called: its identity if that is text, or a name made of its handle.
    pub(super) name: Box<str>,
    /// Requests it holds, in the order of delivery.
    pub(super) held: List<RequestId>,
    pub(super) in_flight: usize,
    /// The one of them, not among the oldest, whose result was asked for last without a sign of it.
    pub(super) fetched: Option<RequestId>,
    /// Requests that wait for it alone, in the order of acceptance.
    pub(super) pinned: BTreeMap<u64, RequestId>,
    /// Jobs that it was given directly and has not ended: they take no credit, but are work.
    pub(super) direct: usize,
    /// Its level in the service's ready list, while it is there.
    pub(super) listed: Option<usize>,
    /// Its outbox is too full for more work.
    pub(super) congested: bool,
    /// It gets nothing more, so that it can take a suspect alone.
    pub(super) reserved: bool,
    /// It has a suspect and must be left alone with it.
    pub(super) solo: bool,
    /// It wants a fence.
    pub(super) fenced: bool,
    /// When something was last sent to it.
    pub(super) last_sent: Time,
    pub(super) links: Links<WorkerId>,
}

impl Worker {
    /// Workers with so much work or more are all the same to the ready list.
    const LEVEL_MAX: usize = 1 << 16;

    /// Where in the ready list it belongs, if it may be given work.
    pub(super) fn level(&self) -> Option<usize> {
        let free = !(self.congested || self.reserved || self.solo) && self.in_flight < self.credit;
        free.then_some((self.in_flight + self.direct).min(Self::LEVEL_MAX))
    }

    /// Whether it may be given another request.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.listed.is_some()
    }

    /// The connection that it registered on.
    #[must_use]
    pub fn peer(&self) -> PeerId {
        self.peer
    }

    /// The service that it offers.
    #[must_use]
    pub fn service(&self) -> ServiceId {
        self.service
    }

    /// Requests it takes at a time.
    #[must_use]
    pub fn credit(&self) -> usize {
        self.credit
    }

    /// What it said of itself when it registered, in its dialect.
    pub(crate) fn about(&self) -> &[u8] {
        &self.about
    }

    /// How it is spoken to.
    #[must_use]
    pub(crate) fn voice(&self) -> WorkerVoice {
        self.voice
    }

    /// Requests it holds, ended ones included that it owes an answer to.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// When something was last sent to it.
    #[must_use]
    pub fn last_sent(&self) -> Time {
        self.last_sent
    }
}

impl Linked<WorkerId> for Worker {
    fn links(&mut self) -> &mut Links<WorkerId> {
        &mut self.links
    }
}
