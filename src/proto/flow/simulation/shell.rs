//! Connections as the table sees them: what comes in, what waits to go out.

use std::collections::{BTreeMap, VecDeque};

use crate::proto::flow::output::{End, FlowEvent, FlowOutput};
use crate::proto::flow::table::FlowId;
use crate::wire::message::{Frames, Message};
use crate::wire::zio::{FlowLabel, Kind, Shape, Zio};

/// Octets that may wait for an end.
pub(super) const QUEUE: usize = 150;

/// A message under way, and what the judge has to know of it.
#[derive(Debug, Clone)]
pub(super) struct Parcel {
    pub(super) message: Message,
    /// The number of its flow, and what it does to credit; none if it is none of a flow.
    pub(super) counts: Option<(u64, Kind, u64)>,
}

impl Parcel {
    pub(super) fn new(message: Message, shape: Shape) -> Self {
        let counts = counts(message.frames(), shape);
        Self { message, counts }
    }
}

/// The number of a message's flow, and what it does to credit; none if it is none of a flow.
pub(in crate::proto) fn counts(message: Frames<'_>, shape: Shape) -> Option<(u64, Kind, u64)> {
    let zio = Zio::decode(shape, message).ok()?;
    let label = FlowLabel::read(zio.label).ok()?;
    let credit = match label.kind() {
        Kind::Pay => label.credit().and_then(|credit| u64::try_from(credit).ok())?,
        Kind::Dat => 1,
        Kind::Bot | Kind::Eot => 0,
    };
    Some((zio.coordinates.origin, label.kind(), credit))
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) end: End,
    pub(super) shape: Shape,
    pub(super) alive: bool,
    /// Said by the peer, not yet read by the broker.
    pub(super) up: VecDeque<Parcel>,
    /// The first of them was not taken.
    pub(super) held: bool,
    /// Said by the broker, not yet read by the peer.
    pub(super) down: VecDeque<Parcel>,
    pub(super) bytes: usize,
    /// It has been full, and the table was not told that it is not any more.
    pub(super) pressed: bool,
    /// The peer reads nothing until then, in microseconds.
    pub(super) stalled: u64,
    /// An event is under way that reads, or delivers, the next message.
    pub(super) reading: bool,
    pub(super) delivering: bool,
}

impl Link {
    pub(super) fn new(end: End, shape: Shape) -> Self {
        Self {
            end,
            shape,
            alive: true,
            up: VecDeque::new(),
            held: false,
            down: VecDeque::new(),
            bytes: 0,
            pressed: false,
            stalled: 0,
            reading: false,
            delivering: false,
        }
    }
}

/// What the table has said and not been heard yet.
#[derive(Debug, Default)]
pub(super) struct Shell {
    pub(super) links: Vec<Link>,
    pub(super) by_end: BTreeMap<End, usize>,
    pub(super) decide: Vec<(FlowId, Message)>,
    pub(super) assigned: Vec<(End, FlowId, Message)>,
    pub(super) resumed: Vec<usize>,
    pub(super) touched: Vec<usize>,
    pub(super) events: Vec<FlowEvent>,
    pub(super) charged: usize,
    pub(super) memory: usize,
    /// Messages that were refused for lack of room.
    pub(super) refusals: u64,
    pub(super) largest: usize,
}

impl Shell {
    fn push(&mut self, to: End, frames: Frames<'_>) {
        let Some(at) = self.by_end.get(&to).copied() else { return };
        let link = &mut self.links[at];
        link.bytes += frames.bytes();
        link.down.push_back(Parcel::new(frames.to_message(), link.shape));
        link.pressed |= link.bytes >= QUEUE;
        self.touched.push(at);
        self.largest = self.largest.max(frames.bytes());
    }
}

impl FlowOutput for Shell {
    fn say(&mut self, to: End, message: &Message) {
        assert!(self.by_end.contains_key(&to), "{to:?} is told something and is not there");
        self.push(to, message.frames());
    }

    fn forward(&mut self, to: End, frames: Frames<'_>, queue_bytes_max: usize) -> bool {
        if self.is_full(to, queue_bytes_max) {
            self.refusals += 1;
            return false;
        }
        self.push(to, frames);
        true
    }

    fn is_full(&self, to: End, queue_bytes_max: usize) -> bool {
        self.links[self.by_end[&to]].bytes >= queue_bytes_max
    }

    fn resume(&mut self, from: End) {
        self.resumed.extend(self.by_end.get(&from));
    }

    fn decide(&mut self, flow: FlowId, bot: &Message) {
        self.decide.push((flow, bot.clone()));
    }

    fn assign(&mut self, handler: End, flow: FlowId, bot: &Message) {
        self.assigned.push((handler, flow, bot.clone()));
    }

    fn charge(&mut self, bytes: usize) -> bool {
        let room = self.charged + bytes <= self.memory;
        self.charged += if room { bytes } else { 0 };
        room
    }

    fn release(&mut self, bytes: usize) {
        self.charged -= bytes;
    }

    fn event(&mut self, event: FlowEvent) {
        self.events.push(event);
    }
}
