//! What the core decides, appended to the outboxes of the peers.

use std::sync::Arc;

use slotmap::SecondaryMap;
use smallvec::SmallVec;

use crate::id::PeerId;
use crate::proto::core::Denial;
use crate::proto::flow::FlowEvent;
use crate::proto::output::{CloseReason, Memory, Output, Pressure};
use crate::proto::rights::{Decision, Verb};
use crate::transport::account::Account;
use crate::transport::link::{Appended, Link, Opened};
use crate::wire::codec::Encoder;
use crate::wire::command::Command;

use super::counters::Counters;

/// The links of all peers.
pub(super) type Links = SecondaryMap<PeerId, Arc<Link>>;

/// The outputs of one batch of inputs.
///
/// Appending happens under the core's lock (lock order: core, then outbox), so that what is
/// decided first is said first. Waking and writing happen afterwards, once for each peer:
/// [`Self::finish`] hands out who was touched.
#[derive(Debug)]
pub(super) struct Outboxes<'a> {
    links: &'a Links,
    account: &'a Account,
    counters: &'a Counters,
    /// The outbox that something was appended to last: the next message is often for the same peer.
    open: Option<(PeerId, Opened<'a>)>,
    /// What the requests of this batch took, and gave back.
    taken: usize,
    given: usize,
    /// Messages said.
    said: u64,
    touched: Touched,
}

/// Peers that have something to write.
#[derive(Debug, Default)]
pub(super) struct Touched {
    links: SmallVec<[Arc<Link>; 4]>,
    /// The first thing that was denied, and how many others were.
    denied: Option<(Box<Denied>, u64)>,
    /// What has happened to flows.
    flows: Vec<FlowEvent>,
}

/// Something that was denied, for the log.
#[derive(Debug)]
pub(super) struct Denied {
    pub(super) principal: String,
    pub(super) name: String,
    pub(super) identity: String,
    pub(super) right: Verb,
    pub(super) what: String,
    pub(super) by: String,
}

impl Denied {
    fn new(denial: &Denial<'_>) -> Self {
        let by = match denial.decision() {
            Decision::Denied(rule) => rule.to_string(),
            Decision::Allowed(_) | Decision::Default => "no rule allows it".into(),
        };
        Self {
            principal: denial.principal.to_string(),
            name: denial.name.unwrap_or_default().into(),
            identity: denial.identity.map(ToString::to_string).unwrap_or_default(),
            right: denial.verb,
            what: denial.what.escape_ascii().to_string(),
            by,
        }
    }
}

impl Touched {
    /// Takes what was denied: one thing, and how many others were.
    pub(super) fn take_denied(&mut self) -> Option<(Box<Denied>, u64)> {
        self.denied.take()
    }

    /// Takes what has happened to flows.
    pub(super) fn take_flows(&mut self) -> Vec<FlowEvent> {
        std::mem::take(&mut self.flows)
    }

    /// Writes what waits, or has it written.
    pub(super) fn kick(self, counters: &Counters) {
        let count = self.links.len();
        let written = self.links.iter().map(|link| {
            let written = link.kick(count);
            if link.is_inner() { 0 } else { written }
        });
        let written: u64 = written.sum();
        if written > 0 {
            counters.bytes_sent.add(written);
        }
    }
}

impl<'a> Outboxes<'a> {
    pub(super) fn new(links: &'a Links, account: &'a Account, counters: &'a Counters) -> Self {
        let touched = Touched::default();
        Self { links, account, counters, open: None, taken: 0, given: 0, said: 0, touched }
    }

    /// Answers a PING.
    pub(super) fn pong(&mut self, peer: PeerId, pong: &[u8]) {
        if let Some(opened) = self.open(peer) {
            opened.pong(pong);
        }
    }

    /// Settles with the account and says who has to write, once the core's lock is released.
    #[must_use]
    pub(super) fn finish(self) -> Touched {
        self.account.settle_tables(self.taken, self.given);
        if self.said > 0 {
            self.counters.messages_sent.add(self.said);
        }
        self.touched
    }

    /// The outbox of that peer, locked, and no other one.
    #[inline]
    fn open(&mut self, peer: PeerId) -> Option<&mut Opened<'a>> {
        if self.open.as_ref().is_none_or(|(id, _)| *id != peer) {
            self.open = None;
            self.open = self.links.get(peer).map(|link| (peer, link.open()));
        }
        self.open.as_mut().map(|(_, opened)| opened)
    }

    /// Says something to that peer, if `append` finds room for it. `None`: it did not. Who has gone
    /// needs none.
    #[inline]
    fn say(
        &mut self,
        peer: PeerId,
        append: impl FnOnce(&mut Opened<'a>) -> Option<Appended>,
    ) -> Option<Pressure> {
        let Some(opened) = self.open(peer) else { return Some(Pressure::Low) };
        let inner = opened.is_inner();
        let appended = append(opened)?;
        self.said += u64::from(!inner);
        Some(self.touch(peer, appended))
    }

    #[inline]
    fn touch(&mut self, peer: PeerId, appended: Appended) -> Pressure {
        if appended.wake {
            self.touched.links.extend(self.links.get(peer).cloned());
        }
        if appended.pressed { Pressure::High } else { Pressure::Low }
    }

    /// What counts when it is decided whether more is taken.
    fn in_use(&self) -> usize {
        (self.account.taken() + self.taken).saturating_sub(self.given)
    }
}

impl Output for Outboxes<'_> {
    fn memory(&self) -> Memory {
        let tables = (self.account.tables() + self.taken).saturating_sub(self.given);
        let arriving = self.account.arriving() + self.account.spare();
        Memory { limit: self.account.limit(), taken: self.in_use(), tables, arriving }
    }

    #[inline]
    fn send(&mut self, peer: PeerId, write: impl FnOnce(&mut Encoder)) -> Pressure {
        self.say(peer, |opened| Some(opened.append(write))).unwrap_or(Pressure::Low)
    }

    #[inline]
    fn offer(&mut self, peer: PeerId, bytes: usize, write: impl FnOnce(&mut Encoder)) -> bool {
        self.say(peer, |opened| opened.offer(bytes, write)).is_some()
    }

    fn spare(
        &mut self,
        peer: PeerId,
        bytes: usize,
        share: usize,
        write: impl FnOnce(&mut Encoder),
    ) -> bool {
        let fits = self.would_take(bytes, 0);
        let offer = |opened: &mut Opened<'_>| opened.offer_within(share, bytes, write);
        self.say(peer, |opened| fits.then_some(opened).and_then(offer)).is_some()
    }

    #[inline]
    fn pass(
        &mut self,
        peer: PeerId,
        bytes: usize,
        waiting_max: usize,
        write: impl FnOnce(&mut Encoder),
    ) -> bool {
        let tight = !self.would_take(bytes, 0);
        self.say(peer, |opened| opened.pass(waiting_max, tight, write)).is_some()
    }

    fn is_full(&mut self, peer: PeerId, waiting_max: usize) -> bool {
        self.open(peer).is_some_and(|opened| opened.is_full(waiting_max))
    }

    fn is_quiet(&mut self, peer: PeerId) -> bool {
        self.open(peer).is_none_or(|opened| opened.is_quiet())
    }

    fn ping(&mut self, peer: PeerId) {
        if let Some(opened) = self.open(peer) {
            let mut ping = Vec::new();
            Command::Ping { ttl_deciseconds: 0, context: b"" }.encode(&mut ping);
            let wake = opened.ping(&ping);
            self.touch(peer, Appended { pressed: false, wake });
        }
    }

    fn resume(&mut self, peer: PeerId) {
        if let Some(opened) = self.open(peer) {
            opened.resume();
        }
    }

    fn close(&mut self, peer: PeerId, why: CloseReason) {
        if let Some(opened) = self.open(peer) {
            opened.close(why);
            self.counters.close(why);
        }
    }

    #[inline]
    fn charge(&mut self, bytes: usize) -> bool {
        let fits = self.would_take(bytes, 0);
        self.taken += if fits { bytes } else { 0 };
        fits
    }

    #[inline]
    fn would_take(&self, bytes: usize, freed: usize) -> bool {
        self.in_use().saturating_sub(freed).saturating_add(bytes) <= self.account.high_mark()
    }

    fn take(&mut self, bytes: usize) {
        self.taken += bytes;
    }

    #[inline]
    fn release(&mut self, bytes: usize) {
        self.given += bytes;
    }

    fn has_room(&self) -> bool {
        self.in_use() <= self.account.low_mark()
    }

    fn flow(&mut self, event: FlowEvent) {
        self.touched.flows.push(event);
    }

    fn denied(&mut self, _: PeerId, denial: &Denial<'_>) {
        match &mut self.touched.denied {
            Some((_, others)) => *others += 1,
            first => *first = Some((Box::new(Denied::new(denial)), 0)),
        }
    }
}
