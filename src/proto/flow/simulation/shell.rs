//! Connections as the table sees them: what comes in, what waits to go out.

use std::collections::{BTreeMap, VecDeque};

use crate::proto::flow::output::{End, FlowEvent, FlowOutput, Words};
use crate::proto::flow::table::FlowId;
use crate::wire::message::{Frames, Message};
use crate::wire::mjp::LaneHeader;
use crate::wire::zio::{FlowLabel, Kind, Shape, Zio};

/// Octets that may wait for an end.
pub(super) const QUEUE: usize = 150;

/// A message under way, and what the judge has to know of it.
#[derive(Debug, Clone)]
pub(super) struct Parcel {
    pub(super) message: Message,
    /// Within MJP, the credit in octets that goes with it.
    pub(super) bytes: Option<u64>,
    /// None if it is none of a flow.
    pub(super) counts: Option<Counts>,
}

/// What a message does to the credit of its flow.
#[derive(Debug, Clone, Copy)]
pub(in crate::proto) struct Counts {
    /// The number of the flow.
    pub(in crate::proto) flow: u64,
    pub(in crate::proto) kind: Kind,
    /// What it has of it, in messages and in octets.
    pub(in crate::proto) credit: u64,
    pub(in crate::proto) octets: u64,
}

impl Parcel {
    pub(super) fn new(message: Message, bytes: Option<u64>, shape: Shape) -> Self {
        let counts = Counts::of(message.frames(), bytes, shape);
        Self { message, bytes, counts }
    }
}

impl Counts {
    /// Reads a message; none if it is none of a flow.
    pub(in crate::proto) fn of(
        message: Frames<'_>,
        bytes: Option<u64>,
        shape: Shape,
    ) -> Option<Self> {
        let zio = Zio::decode(shape, message).ok()?;
        let label = FlowLabel::read(zio.label).ok()?;
        let kind = label.kind();
        let (credit, octets) = match kind {
            Kind::Pay => {
                let credit = label.credit().and_then(|credit| u64::try_from(credit).ok())?;
                (credit, bytes.unwrap_or(0))
            }
            Kind::Dat => (1, u64::try_from(zio.parts_len()).unwrap()),
            Kind::Bot | Kind::Eot => (0, 0),
        };
        Some(Self { flow: zio.coordinates.origin, kind, credit, octets })
    }
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
    /// What may wait for an end within MJP, and those that did not read what they were told.
    pub(super) outbox: usize,
    pub(super) deaf: Vec<usize>,
}

impl Shell {
    fn push(&mut self, to: End, Words { frames, header }: Words<'_>) {
        let Some(at) = self.by_end.get(&to).copied() else { return };
        let link = &mut self.links[at];
        let bytes = LaneHeader::decode(header).unwrap().bytes.filter(|_| to.is_lane());
        link.bytes += frames.bytes();
        link.down.push_back(Parcel::new(frames.to_message(), bytes, link.shape));
        link.pressed |= link.bytes >= QUEUE;
        self.touched.push(at);
        self.largest = self.largest.max(frames.bytes());
    }
}

impl FlowOutput for Shell {
    fn say(&mut self, to: End, words: Words<'_>) {
        assert!(self.by_end.contains_key(&to), "{to:?} is told something and is not there");
        let at = self.by_end[&to];
        let waiting = self.links[at].bytes;
        if to.is_lane() && waiting > 0 && waiting + words.frames.bytes() > self.outbox {
            self.deaf.push(at);
        } else {
            self.push(to, words);
        }
    }

    fn forward(&mut self, to: End, words: Words<'_>, waiting_max: usize) -> bool {
        if self.is_full(to, waiting_max) {
            self.refusals += 1;
            return false;
        }
        self.push(to, words);
        true
    }

    fn is_full(&mut self, to: End, waiting_max: usize) -> bool {
        self.links[self.by_end[&to]].bytes >= waiting_max
    }

    fn resume(&mut self, from: End) {
        self.resumed.extend(self.by_end.get(&from));
    }

    fn decide(&mut self, flow: FlowId, bot: &Message) {
        self.decide.push((flow, bot.clone()));
    }

    fn assign(&mut self, handler: End, flow: FlowId, bot: &Message, _: Option<u64>) {
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
