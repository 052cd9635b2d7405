//! Flows: what ZIO peers say, carried out, and what is to be done about it outside (SPEC 13).

mod handler;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use slotmap::SlotMap;
use smallvec::SmallVec;

use crate::id::PeerId;
use crate::proto::clock::Time;
use crate::proto::dialect::State;
use crate::proto::flow::{
    Decision, End, FlowEvent, FlowId, FlowOutput, FlowSettings, FlowTable, Words,
};
use crate::proto::output::{CloseReason, Output};
use crate::proto::rights::Verb as Right;
use crate::wire::codec::Encoder;
use crate::wire::message::{Frames, Message};
use crate::wire::mjp::{Answer, FromBroker, Lane, LaneHeader, Packed};
use crate::wire::zio::{Shape, is_zio};

use super::peer::Peer;
use super::rights::{Denied, may};
use super::{Core, Taken};

pub(super) use handler::Handler;

/// All flows, and those that the factory is to be asked about.
#[derive(Debug)]
pub(super) struct Flows {
    pub(super) table: FlowTable,
    questions: VecDeque<FlowId>,
    /// Questions that may be there for flows that have ended meanwhile.
    questions_max: usize,
}

/// What the factory is asked: whether a flow is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Which one.
    pub flow: FlowId,
    /// The client's BOT in one frame, as a handler gets it.
    pub bot: Message,
}

impl Flows {
    pub(super) fn new(settings: &FlowSettings, seed: u64) -> Self {
        Self::with_secret(settings, *blake3::hash(&seed.to_le_bytes()).as_bytes())
    }

    fn with_secret(settings: &FlowSettings, secret: [u8; 32]) -> Self {
        Self {
            questions_max: settings.waiting_max.saturating_mul(2),
            table: FlowTable::new(settings.clone(), secret),
            questions: VecDeque::new(),
        }
    }

    /// Forgets questions whose flows have ended, once they are the most.
    fn sweep(&mut self) {
        if self.questions.len() > self.questions_max {
            let table = &self.table;
            self.questions.retain(|id| table.undecided(*id).is_some());
        }
    }
}

/// The world as the flow table sees it, over that of the core.
struct Desk<'a, O> {
    peers: &'a mut SlotMap<PeerId, Peer>,
    denied: &'a mut Denied,
    questions: &'a mut VecDeque<FlowId>,
    events: SmallVec<[FlowEvent; 2]>,
    /// Peers of MJP that do not read what they are told.
    deaf: SmallVec<[PeerId; 1]>,
    out: &'a mut O,
}

/// What LANE takes beside the message and its header, octets.
const LANE: usize = 32;

/// As a ZIO socket, or as a peer of MJP hears it.
#[inline]
fn write(to: End, Words { frames, header }: Words<'_>, encoder: &mut Encoder) {
    if to.is_lane() {
        let says = LaneHeader::default();
        FromBroker::Lane(Lane { id: to.lane, header, says, body: frames }).encode(encoder);
    } else {
        encoder.frames(&frames);
    }
}

impl<O: Output> FlowOutput for Desk<'_, O> {
    fn say(&mut self, to: End, words: Words<'_>) {
        if !to.is_lane() {
            self.out.send(to.peer, |encoder| write(to, words, encoder));
        } else {
            let bytes = LANE + words.header.len() + words.frames.bytes();
            if !self.out.offer(to.peer, bytes, |encoder| write(to, words, encoder)) {
                self.deaf.push(to.peer);
            }
        }
    }

    #[inline]
    fn forward(&mut self, to: End, words: Words<'_>, waiting_max: usize) -> bool {
        let bytes = words.frames.bytes();
        self.out.pass(to.peer, bytes, waiting_max, |encoder| write(to, words, encoder))
    }

    fn is_full(&mut self, to: End, waiting_max: usize) -> bool {
        self.out.is_full(to.peer, waiting_max)
    }

    fn resume(&mut self, from: End) {
        self.out.resume(from.peer);
    }

    fn decide(&mut self, flow: FlowId, _: &Message) {
        self.questions.push_back(flow);
    }

    fn assign(&mut self, handler: End, flow: FlowId, bot: &Message, bytes: Option<u64>) {
        let says = bytes.map(|bytes| Packed::new(&LaneHeader { bytes: Some(bytes) }));
        let header = says.as_ref().map(Packed::octets).unwrap_or_default();
        let given = Answer { id: flow.token(), header, body: bot.frames() };
        self.out.send(handler.peer, |encoder| FromBroker::Flow(given).encode(encoder));
    }

    fn may_open(&mut self, client: End, name: &[u8]) -> bool {
        may(self.peers, self.denied, client.peer, Right::Flow, name, self.out)
    }

    fn may_handle(&mut self, handler: End, name: &[u8]) -> bool {
        may(self.peers, self.denied, handler.peer, Right::Serve, name, self.out)
    }

    fn charge(&mut self, bytes: usize) -> bool {
        self.out.charge(bytes)
    }

    fn release(&mut self, bytes: usize) {
        self.out.release(bytes);
    }

    fn event(&mut self, event: FlowEvent) {
        self.events.push(event);
    }
}

impl Core {
    /// The same core, whose waiting clients nobody can name who does not know the secret; without
    /// one they follow from the seed.
    #[must_use]
    pub fn with_flow_secret(mut self, secret: [u8; 32]) -> Self {
        self.flows = Flows::with_secret(&self.settings.flow, secret);
        self
    }

    /// The flows, to look at.
    #[must_use]
    pub fn flows(&self) -> &FlowTable {
        &self.flows.table
    }

    /// Whether the factory is to be asked about something.
    #[must_use]
    pub fn has_questions(&self) -> bool {
        !self.flows.questions.is_empty()
    }

    /// What the factory is to be asked, the oldest first, and nothing twice.
    pub fn take_questions(&mut self) -> Vec<Question> {
        let Flows { table, questions, .. } = &mut self.flows;
        let asked = questions.drain(..);
        let question = |flow| Some(Question { flow, bot: table.undecided(flow)?.clone() });
        asked.filter_map(question).collect()
    }

    /// The factory has decided about a flow. What comes too late means nothing.
    pub fn decided<O: Output>(
        &mut self,
        now: Instant,
        flow: FlowId,
        decision: Decision,
        out: &mut O,
    ) {
        let now = self.clock.at(now);
        self.with_flows(out, |table, desk| table.decided(now, flow, decision, desk));
        self.see_to_leftovers(now, out);
    }

    /// Whether the peer is an end of flows: all its messages are of them. The first message of a
    /// connection that has said nothing valid may make it one.
    #[inline]
    pub(super) fn has_flows(&mut self, id: PeerId, message: Frames<'_>) -> bool {
        match self.peers.get(id).map(|peer| peer.state) {
            Some(State::Zio) => true,
            Some(State::UNKNOWN) if is_zio(message) => {
                if !self.begin_flows(id, Shape::Multipart) {
                    self.router.doom(id, CloseReason::TooManyEnds);
                }
                true
            }
            _ => false,
        }
    }

    /// The peer is an end of flows from now on. False: there are too many.
    #[must_use]
    pub(super) fn begin_flows(&mut self, id: PeerId, shape: Shape) -> bool {
        if let Some(peer) = self.peers.get_mut(id) {
            peer.state = State::Zio;
        }
        self.flows.table.join(End::of(id), shape)
    }

    /// An end of a flow said something.
    #[inline]
    pub(super) fn on_zio<O: Output>(
        &mut self,
        now: Time,
        id: PeerId,
        message: Frames<'_>,
        out: &mut O,
    ) -> Taken {
        self.with_flows(out, |table, desk| table.message(now, End::of(id), message, desk))
    }

    /// A lane of a peer of MJP said something.
    pub(super) fn on_lane<O: Output>(
        &mut self,
        now: Time,
        id: PeerId,
        said: &Lane<'_>,
        out: &mut O,
    ) {
        let from = End { peer: id, lane: said.id };
        let Lane { body, says, .. } = *said;
        self.with_flows(out, |table, desk| table.lane(now, from, body, says.bytes, desk));
    }

    /// Less waits for a peer than before.
    pub(super) fn relieve_flows<O: Output>(&mut self, id: PeerId, out: &mut O) {
        let may_have = |peer: &Peer| matches!(peer.state, State::Zio | State::Mjp(_));
        if self.peers.get(id).is_some_and(may_have) {
            self.with_flows(out, |table, desk| table.relieved(id, desk));
        }
    }

    /// Whether the peer is not read at the moment, so that its silence means nothing.
    pub(super) fn is_unread(&self, id: PeerId) -> bool {
        self.router.is_paused(id)
            || self.flows.table.is_paused(End::of(id))
            || self.waits_for_disk(id)
    }

    pub(super) fn leave_flows<O: Output>(&mut self, now: Time, id: PeerId, out: &mut O) {
        self.with_flows(out, |table, desk| table.leave(now, id, desk));
    }

    pub(super) fn regrant_flows<O: Output>(&mut self, now: Time, id: PeerId, out: &mut O) {
        self.with_flows(out, |table, desk| table.revoke(now, id, desk));
    }

    pub(super) fn tick_flows<O: Output>(&mut self, now: Time, out: &mut O) {
        self.with_flows(out, |table, desk| table.tick(now, desk));
    }

    pub(super) fn stop_flows<O: Output>(&mut self, now: Time, within: Duration, out: &mut O) {
        self.with_flows(out, |table, desk| table.stop(now, within, desk));
    }

    /// Has the flow table decide, and tells of what has happened.
    #[inline]
    fn with_flows<O: Output, T>(
        &mut self,
        out: &mut O,
        input: impl FnOnce(&mut FlowTable, &mut Desk<'_, O>) -> T,
    ) -> T {
        let mut desk = Desk {
            peers: &mut self.peers,
            denied: &mut self.denied,
            questions: &mut self.flows.questions,
            events: SmallVec::new(),
            deaf: SmallVec::new(),
            out,
        };
        let done = input(&mut self.flows.table, &mut desk);
        let Desk { events, deaf, .. } = desk;
        for peer in deaf {
            self.router.doom(peer, CloseReason::SlowReader);
        }
        if !events.is_empty() {
            self.flows.sweep();
            for event in events {
                out.flow(event);
                self.announce_flow(event, out);
            }
        }
        done
    }
}
