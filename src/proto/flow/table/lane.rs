//! Ends within connections of MJP (SPEC 13.11): how many there are, and how many octets may be
//! under way to them.

use std::collections::BTreeMap;

use crate::id::PeerId;
use crate::proto::clock::Time;
use crate::proto::flow::output::{End, FlowOutput, Refusal, Words};
use crate::proto::flow::words::Bot;
use crate::wire::message::Frames;
use crate::wire::zio::{Direction, Kind, Shape};

use super::FlowTable;
use super::flow::FlowId;
use super::member::{Member, Place};

/// Of what a taker asks for it gets all, or this much at least; otherwise its flow is refused.
const BYTES_MIN: u64 = 64 << 10;

/// Lanes of all connections that have any, and what was promised to the takers among them.
#[derive(Debug, Default)]
pub(super) struct Lanes(BTreeMap<PeerId, Used>);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Used {
    lanes: usize,
    bytes: u64,
}

impl Lanes {
    /// Lanes of one connection.
    pub(super) fn count(&self, peer: PeerId) -> usize {
        self.0.get(&peer).map_or(0, |used| used.lanes)
    }

    fn open(&mut self, peer: PeerId) {
        self.0.entry(peer).or_default().lanes += 1;
    }

    pub(super) fn close(&mut self, peer: PeerId) {
        self.change(peer, |used| used.lanes = used.lanes.saturating_sub(1));
    }

    /// Of so many octets for a taker as many as there are left, if that is enough.
    fn reserve(&mut self, peer: PeerId, bytes: u64, max: u64) -> Option<Reserved> {
        let used = self.0.get(&peer).map_or(0, |used| used.bytes);
        let granted = bytes.min(max.saturating_sub(used));
        if granted < bytes.min(BYTES_MIN) {
            return None;
        }
        self.0.entry(peer).or_default().bytes += granted;
        Some(Reserved { peer, bytes: granted })
    }

    /// Gives back what was reserved.
    pub(super) fn release(&mut self, reserved: Reserved) {
        self.change(reserved.peer, |used| used.bytes = used.bytes.saturating_sub(reserved.bytes));
    }

    fn change(&mut self, peer: PeerId, change: impl FnOnce(&mut Used)) {
        let Some(used) = self.0.get_mut(&peer) else { return };
        change(used);
        if *used == Used::default() {
            self.0.remove(&peer);
        }
    }
}

/// Octets that were promised to a taker within that connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reserved {
    peer: PeerId,
    pub(super) bytes: u64,
}

impl FlowTable {
    /// A lane of a peer of MJP said something, and the octets that its header names. Nothing that it
    /// says is held.
    #[inline]
    pub fn lane<O: FlowOutput>(
        &mut self,
        now: Time,
        from: End,
        frames: Frames<'_>,
        bytes: Option<u64>,
        out: &mut O,
    ) {
        let place = self.members.get(&from).map_or(Place::Idle, |member| member.place);
        match Bot::read(Shape::Bare, frames, bytes) {
            Ok(said) => self.said(now, from, place, &said, out),
            Err(why) => self.count_malformed(why),
        };
    }

    /// Whether an end is there; a lane comes to be, if there may be more of them.
    pub(super) fn enter(&mut self, end: End) -> bool {
        if !end.is_lane() || self.members.contains_key(&end) {
            return true;
        }
        let room = self.lanes.count(end.peer) < self.settings.lanes_max
            && self.members.len() < self.settings.ends_max;
        if room {
            self.members.insert(end, Member::new(Shape::Bare));
            self.lanes.open(end.peer);
        }
        room
    }

    /// The credit in octets that a BOT asks for: a lane has to, and others cannot.
    pub(super) fn asked_of(end: End, bot: &Bot<'_>) -> Result<Option<u64>, Refusal> {
        if !end.is_lane() {
            return Ok(None);
        }
        bot.bytes.filter(|bytes| *bytes > 0).map(Some).ok_or(Refusal::BadCredit)
    }

    /// As much of a credit in octets as there is left for the end, if it takes.
    pub(super) fn reserve(
        &mut self,
        end: End,
        does: Direction,
        bytes: Option<u64>,
    ) -> Result<Option<Reserved>, Refusal> {
        let Some(bytes) = bytes.filter(|_| does == Direction::Inject) else { return Ok(None) };
        let reserved = self.lanes.reserve(end.peer, bytes, self.settings.lane_bytes_max);
        reserved.map(Some).ok_or(Refusal::NoLane)
    }

    /// What the client of a flow and the handler that comes for it agree on, in octets: the smaller
    /// of both credits, and of what is left for the taker. None if either is no lane.
    pub(super) fn agree(
        &mut self,
        id: FlowId,
        handler: End,
        bytes: Option<u64>,
    ) -> Result<Option<u64>, Refusal> {
        let Some(flow) = self.flows.get_mut(id) else { return Err(Refusal::UnknownCid) };
        let both = flow.bytes.zip(bytes).map(|(client, handler)| client.min(handler));
        if let Some(reserved) = flow.reserved.take() {
            // The client takes; it was asked for more, maybe.
            let spare = reserved.bytes.saturating_sub(both.unwrap_or(0));
            flow.reserved = both.map(|bytes| Reserved { bytes, ..reserved });
            self.lanes.release(Reserved { bytes: spare, ..reserved });
            return Ok(both);
        }
        let handler_does = flow.direction.reversed();
        let reserved = self.reserve(handler, handler_does, both)?;
        if let Some(flow) = self.flows.get_mut(id) {
            flow.reserved = reserved;
        }
        Ok(reserved.map(|reserved| reserved.bytes).or(both))
    }

    /// Lanes and reserved octets by connection, to be compared.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn audit_lanes(&self) -> Result<(), String> {
        let mut used = BTreeMap::<PeerId, Used>::new();
        for (end, member) in self.members.iter().filter(|(end, _)| end.is_lane()) {
            if member.place == Place::Idle || member.paused {
                return Err(format!("{end:?} is a lane that is idle or held"));
            }
            used.entry(end.peer).or_default().lanes += 1;
        }
        for reserved in self.flows.values().filter_map(|flow| flow.reserved) {
            used.entry(reserved.peer).or_default().bytes += reserved.bytes;
        }
        let Self { lanes, settings, .. } = self;
        let (lanes_max, bytes_max) = (settings.lanes_max, settings.lane_bytes_max);
        if used.values().any(|used| used.lanes > lanes_max || used.bytes > bytes_max) {
            return Err(format!("more than {lanes_max} lanes or {bytes_max} octets: {used:?}"));
        }
        if used == lanes.0 { Ok(()) } else { Err(format!("{used:?} is in use, {lanes:?} counted")) }
    }
}

/// A message that is not held where it finds no room: only as long as the peer has less than
/// `outbox_max` octets, but small ones however short memory is.
pub(super) fn press_on<O: FlowOutput>(
    to: End,
    words: Words<'_>,
    kind: Kind,
    outbox_max: usize,
    out: &mut O,
) -> bool {
    if kind == Kind::Dat {
        return out.forward(to, words, outbox_max);
    }
    let room = !out.is_full(to, outbox_max);
    if room {
        out.say(to, words);
    }
    room
}
