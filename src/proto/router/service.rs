//! A service: a name, its workers, its waiting requests. Made when needed, forgotten when empty.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::id::{PeerId, RequestId, ServiceName};
use crate::proto::clock::Time;
use crate::proto::policy::ServicePolicy;
use crate::proto::stats::ServiceStats;

use super::Hasher;
use super::founders::Founder;
use super::hold::Line;
use super::queue::Queue;
use super::ready::Ready;
use super::worker::WorkerId;

slotmap::new_key_type! {
    /// A service that somebody offers or asks for.
    pub struct ServiceId;
}

/// What an operator lets a service do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Gate {
    /// Everything.
    #[default]
    Open,
    /// What comes waits, and nothing is given to workers.
    Paused {
        /// When that began.
        since: Time,
    },
    /// Nothing new is taken, and what waits is finished.
    Draining,
}

impl Gate {
    /// In listings; an open one needs no word.
    #[must_use]
    pub fn label(self) -> Option<&'static str> {
        match self {
            Self::Open => None,
            Self::Paused { .. } => Some("paused"),
            Self::Draining => Some("draining"),
        }
    }
}

/// A service that somebody offers or asks for.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) name: ServiceName,
    /// It is served by the broker itself, and in no listing.
    pub(super) house: bool,
    pub(super) policy: Arc<ServicePolicy>,
    pub(super) gate: Gate,
    /// Who offers it, in the order of registration.
    pub(super) workers: BTreeSet<WorkerId>,
    pub(super) ready: Ready,
    pub(super) queue: Queue,
    /// Suspects, by their place in the order of acceptance.
    pub(super) suspects: BTreeMap<u64, RequestId>,
    /// The requests of each order that has any.
    pub(super) lines: BTreeMap<Arc<[u8]>, Line>,
    /// Requests that wait for their time.
    pub(super) delayed: usize,
    /// Requests that wait for another one of their order.
    pub(super) behind: usize,
    /// The worker that is being emptied for the first suspect.
    pub(super) reserved: Option<WorkerId>,
    /// Memory of waiting requests and suspects, octets.
    pub(super) waiting_bytes: usize,
    pub(super) in_flight: usize,
    /// How many of those are husks.
    pub(super) husks: usize,
    /// Callers that are not read because the queue is full.
    pub(super) paused: BTreeSet<PeerId>,
    /// The caller that had it made, as long as nobody offers it.
    pub(super) founder: Option<Founder>,
    /// The lease whose holder alone may ask, and how many workers want that.
    pub(super) fence: Option<(Box<str>, usize)>,
    /// Since when it has no worker.
    pub(super) unserved_since: Time,
    /// The one deadline that counts for its waiting requests.
    pub(super) expiry_armed: Option<Time>,
    pub(super) stats: ServiceStats,
}

/// Whether only the broker itself may serve that name.
pub(crate) fn is_of_the_house(name: &[u8]) -> bool {
    name.ends_with(b".service.broker")
}

impl Service {
    pub(super) fn new(
        name: ServiceName,
        policy: Arc<ServicePolicy>,
        now: Time,
        hasher: Hasher,
    ) -> Self {
        Self {
            house: is_of_the_house(name.as_bytes()),
            name,
            policy,
            gate: Gate::Open,
            workers: BTreeSet::new(),
            ready: Ready::default(),
            queue: Queue::new(hasher),
            suspects: BTreeMap::new(),
            lines: BTreeMap::new(),
            delayed: 0,
            behind: 0,
            reserved: None,
            waiting_bytes: 0,
            in_flight: 0,
            husks: 0,
            paused: BTreeSet::new(),
            founder: None,
            fence: None,
            unserved_since: now,
            expiry_armed: None,
            stats: ServiceStats::default(),
        }
    }

    /// Memory a service of that name takes, octets.
    pub(super) fn cost_of(name: &ServiceName) -> usize {
        size_of::<Self>() + name.as_bytes().len()
    }

    /// Requests that wait, suspects and those included that may not be delivered yet.
    pub(super) fn waiting(&self) -> usize {
        self.deliverable() + self.delayed + self.behind
    }

    /// Requests that a worker could be given.
    #[inline]
    pub(super) fn deliverable(&self) -> usize {
        self.queue.len() + self.suspects.len()
    }

    /// The worker that a new request would be delivered to without waiting. Suspects do not count:
    /// the worker that is being emptied for one is not ready.
    #[inline]
    pub(super) fn taker(&self) -> Option<WorkerId> {
        if self.queue.len() == 0 { self.next_worker() } else { None }
    }

    /// The worker that is to be given work next, if any may be.
    #[inline]
    pub(super) fn next_worker(&self) -> Option<WorkerId> {
        if self.is_paused() { None } else { self.ready.first() }
    }

    /// Whether nothing is given to workers.
    #[inline]
    pub(super) fn is_paused(&self) -> bool {
        matches!(self.gate, Gate::Paused { .. })
    }

    /// Whether a request of `cost` octets may wait here.
    pub(super) fn has_room(&self, cost: usize) -> bool {
        let policy = &self.policy;
        self.waiting() == 0
            || self.waiting() < policy.queue_messages_max
                && self.waiting_bytes.saturating_add(cost) <= policy.queue_bytes_max
    }

    /// Whether so much has gone that callers should be read again.
    pub(super) fn has_much_room(&self) -> bool {
        self.gate != Gate::Draining
            && self.waiting() <= self.policy.queue_messages_max / 4 * 3
            && self.waiting_bytes <= self.policy.queue_bytes_max / 4 * 3
    }

    /// Where its dead letters are kept.
    pub(super) fn dead_queue(&self) -> &[u8] {
        self.policy.dead.queue.as_ref().map_or(self.name.as_bytes(), |queue| queue.as_bytes())
    }

    /// The oldest waiting requests: of each client, and of the suspects.
    pub(super) fn oldest(&self) -> impl Iterator<Item = RequestId> + '_ {
        self.queue.oldest().chain(self.suspects.values().next().copied())
    }

    /// The waiting requests that are due, where of each client an older one is due before a newer.
    pub(super) fn due(&self, is_due: impl Fn(RequestId) -> bool) -> Vec<RequestId> {
        let lanes = self.queue.lanes().flat_map(|lane| lane.take_while(|id| is_due(*id)));
        lanes.chain(self.suspects.values().copied().take_while(|id| is_due(*id))).collect()
    }

    /// Whether nothing would be missed if it were forgotten.
    pub(super) fn is_empty(&self) -> bool {
        let is_used = !self.workers.is_empty() || self.in_flight > 0 || self.waiting() > 0;
        !is_used && self.gate == Gate::Open
    }
}

#[cfg(test)]
mod tests {
    use slotmap::SlotMap;

    use super::super::list::{Links, List};
    use super::super::worker::Worker;
    use super::*;
    use crate::proto::dialect::WorkerVoice;
    use crate::wire::mdp::Version;

    #[test]
    fn a_suspect_does_not_hold_up_new_requests_while_another_worker_is_ready() {
        let mut ids = SlotMap::<RequestId, ()>::with_key();
        let name = ServiceName::try_from(&b"echo"[..]).unwrap();
        let policy = Arc::new(ServicePolicy::default());
        let mut service = Service::new(name, policy, Time::default(), Hasher::default());
        service.suspects.insert(0, ids.insert(()));
        assert_eq!(service.taker(), None, "nobody is ready");

        let mut workers = SlotMap::<WorkerId, Worker>::with_key();
        let worker = workers.insert(Worker {
            peer: PeerId::default(),
            service: ServiceId::default(),
            voice: WorkerVoice::Mdp(Version::V01),
            credit: 1,
            about: Box::default(),
            name: Box::default(),
            held: List::default(),
            fenced: false,
            in_flight: 0,
            fetched: None,
            pinned: BTreeMap::new(),
            direct: 0,
            listed: Some(0),
            congested: false,
            reserved: false,
            solo: false,
            last_sent: Time::default(),
            links: Links::default(),
        });
        service.ready.insert(&mut workers, worker, 0);
        assert_eq!(service.taker(), Some(worker));
        service.queue.insert(PeerId::default(), 1, ids.insert(()));
        assert_eq!(service.taker(), None, "others were there first");
    }
}
