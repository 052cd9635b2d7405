//! What callers want: to have a request kept, to wait for one, and not to any more.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use crate::id::{Identity, PeerId, Principal, RequestId, ServiceName};
use crate::proto::clock::Time;
use crate::proto::dead::Cause;
use crate::proto::dialect::Terms;
use crate::proto::durable::Write;
use crate::proto::router::Fence;
use crate::proto::stats::Outcome;
use crate::wire::message::Frames;

use super::deed::{Deed, Errand};
use super::entry::{About, End, Entry, Stage};
use super::record::{Head, Hold, Name, key_of, lane_of, request_key};
use super::waiters::{Awaited, Waiter};
use super::{Depot, Refused, millis};

/// A request that is to be kept.
#[derive(Debug)]
pub(crate) struct Deposit {
    pub(crate) service: ServiceName,
    pub(crate) owner: Principal,
    /// Who asks, as workers see it: the identity, and what its key is called.
    pub(crate) identity: Option<Identity>,
    pub(crate) called: Option<Arc<str>>,
    pub(crate) name: Option<Name>,
    pub(crate) fence: Option<Box<Fence>>,
    pub(crate) terms: Terms,
    /// Requests of the service with the same one run one at a time.
    pub(crate) order: Option<Arc<[u8]>>,
    /// No worker gets it before so much time has passed.
    pub(crate) delay: Option<Duration>,
}

/// What becomes of a CANCEL.
#[derive(Debug)]
pub(crate) enum Cancel {
    /// The caller waits for nothing of that name.
    Unknown,
    /// It waits no more, and is told so; others do.
    Told(Waiter),
    /// The request is to be recalled from the routing tables.
    Recall(RequestId),
    /// It is told when that is stored.
    Later,
}

impl Depot {
    /// A request is to be kept; `kept` is its header and its body.
    ///
    /// # Errors
    /// Why it is not.
    pub(crate) fn accept(
        &mut self,
        now: Time,
        deposit: Deposit,
        kept: Frames<'_>,
        waiter: Waiter,
    ) -> Result<(), Refused> {
        let taken = self.try_to_accept(now, deposit, kept, waiter);
        self.stats.refused += u64::from(taken.is_err());
        taken
    }

    fn try_to_accept(
        &mut self,
        now: Time,
        deposit: Deposit,
        kept: Frames<'_>,
        waiter: Waiter,
    ) -> Result<(), Refused> {
        self.is_open_for_more()?;
        let accepted = self.unix(now);
        let late = self.limits.waits.saturating_add(deposit.delay.unwrap_or_default());
        let left = deposit.terms.deadline.map_or(late, |at| at.since(now));
        // A millisecond that has begun does not count.
        let not_before =
            deposit.delay.map_or(0, |delay| self.unix_above(now).saturating_add(millis(delay)));
        let is_held = deposit.order.is_some() || deposit.delay.is_some();
        let hold = is_held.then_some(Hold { order: deposit.order, not_before });
        let head = Head {
            accepted,
            until: accepted.saturating_add(millis(left)),
            attempts: deposit.terms.attempts.map_or(0, NonZeroU32::get),
            owner: deposit.owner,
            identity: deposit.identity,
            called: deposit.called,
            service: deposit.service,
            name: deposit.name,
            fence: deposit.fence,
            before: None,
            hold,
        };
        let value = head.encode(kept);
        let bytes = value.len() as u64;
        if let Err(why) = self.has_room_for(bytes) {
            self.bury_overflow(accepted, &head, kept);
            return Err(why);
        }
        self.sequence += 1;
        let number = self.sequence;
        if let Some(name) = &head.name {
            self.names.insert(name, number);
        }
        let (service, name, hold) = (head.service.clone(), head.name, head.hold.clone());
        if let Some(hold) = &hold {
            self.set_apart((accepted, &service), number, hold);
        }
        let lane = self.line_of(&service).lane;
        let key = key_of(&lane, number, hold.as_ref());
        let kept = kept.to_message();
        self.held += kept.bytes();
        self.requests += 1;
        self.bytes += bytes;
        self.entries.insert(number, Entry::new(head, Stage::Storing, kept, bytes));
        let record = Some((name, bytes, hold));
        self.waiters.add(number, waiter, || Awaited { service, record, waiters: Vec::new() });
        self.ledger.store(Deed::Accept(number), vec![Write::Put(key, value)]);
        Ok(())
    }

    /// Whether the disk takes more now.
    fn is_open_for_more(&self) -> Result<(), Refused> {
        match (self.failed, self.full) {
            (true, _) => Err(Refused::Failed),
            (false, true) => Err(Refused::Full),
            (false, false) if self.is_busy() => Err(Refused::Overloaded),
            (false, false) => Ok(()),
        }
    }

    /// Whether one more request of so many octets can be kept.
    pub(crate) fn has_room_for(&self, bytes: u64) -> Result<(), Refused> {
        self.is_open_for_more()?;
        let fits = self.requests < self.limits.requests_max
            && self.bytes.saturating_add(bytes) <= self.limits.bytes_max;
        if fits { Ok(()) } else { Err(Refused::Overloaded) }
    }

    /// One more waits for a request without an outcome. True: it is stored, and that can be said.
    pub(crate) fn attach(&mut self, number: u64, waiter: Waiter, service: &ServiceName) -> bool {
        let entry = self.entries.get(&number);
        let stored = entry.is_none_or(|entry| entry.stage != Stage::Storing);
        let record = entry.map(|entry| (entry.head.name, entry.bytes, entry.head.hold.clone()));
        let ack = waiter.ack && !stored;
        if waiter.stays || !stored {
            let awaited = || Awaited { service: service.clone(), record, waiters: Vec::new() };
            self.waiters.add(number, Waiter { ack, ..waiter }, awaited);
        }
        stored
    }

    /// A caller wants a request no more. If others wait, only that one is told; otherwise the
    /// request ends, for which it may have to be recalled.
    pub(crate) fn cancel(&mut self, now: Time, peer: PeerId, id: u64) -> Cancel {
        let Some(number) = self.waiters.named(peer, id) else { return Cancel::Unknown };
        if self.waiters.of(number).len() > 1 {
            let waiter = self.waiters.remove(peer, id);
            return waiter.map_or(Cancel::Unknown, |(_, waiter)| Cancel::Told(waiter));
        }
        if self.failed || self.ending.contains(&number) {
            return Cancel::Later;
        }
        if let Some(Entry { stage: Stage::Asked(Some(request)), cancelled, .. }) =
            self.entries.get_mut(&number)
        {
            *cancelled = true;
            return Cancel::Recall(*request);
        }
        if !self.end(now, number, End::by(Outcome::Cancelled))
            && let Some(awaited) = self.waiters.awaited(number)
        {
            let lane = lane_of(&awaited.service);
            self.ledger.load(request_key(&lane, number), Errand::Cancel(number, lane, false));
        }
        Cancel::Later
    }

    /// Takes one whose time is up; a request that is on the disk only ends by that.
    pub(crate) fn pop_late(&mut self, now: Time) -> Option<Waiter> {
        let (number, about, waiter) = self.take_late(now)?;
        let is_here = self.entries.contains_key(&number) || self.ending.contains(&number);
        if let Some(about) = about
            && !(waiter.repeat || is_here || self.failed)
        {
            if !self.buries(&about.service, Cause::Timeout) {
                self.lift(&about.service, number, about.hold.as_ref());
                self.store_end(about, End::by(Outcome::TimedOut), self.unix(now));
            } else if !self.is_busy() {
                // Else it ends when it is looked for, or read to be asked.
                let key = key_of(&lane_of(&about.service), number, about.hold.as_ref());
                self.ledger.load(key, Errand::Late(about));
            }
        }
        Some(waiter)
    }

    /// With what is known of the record of its request.
    fn take_late(&mut self, now: Time) -> Option<(u64, Option<About>, Waiter)> {
        let number = self.waiters.first_due()?;
        let awaited = self.waiters.awaited(number)?;
        let service = awaited.service.clone();
        let about = awaited.record.clone();
        let about = about.map(|(name, bytes, hold)| About { number, service, name, bytes, hold });
        let (number, waiter) = self.waiters.pop_due(now)?;
        Some((number, about, waiter))
    }
}
