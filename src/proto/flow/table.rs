//! The broker's part in flows: who waits for whom, who talks to whom.
//!
//! ```text
//! of an end:   Idle --BOT--> Waiting --paired--> Open --own EOT--> Closed --partner's EOT--> Idle
//!               ^ \             | refused                                                     ^
//!               |  +--BOT with cid, too early--> Early --accepted--> Open                     |
//!               |                                                                             |
//!               +--own EOT, own BOT-- Told <--EOT said by the broker, in place of the partner-+
//! of a flow:   Deciding --accept--> Coming --handler's BOT--> Open --both EOTs--> gone
//!                      \--service--> Queued --a handler is free--^ (to Coming)
//! ```
//!
//! Nothing that an end says is fatal to anybody but its own flow. What may be forwarded goes on as
//! it came, and only then counts; what may not is dropped and counted.
//!
//! A lane within a connection of MJP is known for as long as it is not Idle. Its peer is always
//! read, so nothing that it says is held: where there is no room its flow ends.

#[cfg(any(test, feature = "fuzzing"))]
mod audit;
mod ending;
mod flow;
mod forward;
mod lane;
mod list;
mod member;
mod opening;
mod pairing;
mod service;
mod stop;
#[cfg(test)]
mod tests;

pub use flow::{FlowId, Stage};
pub use list::{EndRow, FlowCounts, FlowRow};
pub use opening::Decision;
pub use service::{HandlerId, OfferError};

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use slotmap::SlotMap;

use crate::id::PeerId;
use crate::proto::clock::Time;
use crate::proto::core::Taken;
use crate::proto::timers::Timers;
use crate::wire::message::Frames;
use crate::wire::zio::{Kind, Malformed, Shape};

use super::cid::Cids;
use super::output::{End, FlowOutput, Words};
use super::policy::FlowSettings;
use super::words::{self, Bot};

use flow::Flow;
use lane::Lanes;
use member::{Member, Place};
use service::Services;
use stop::Stop;

/// Deadlines that may be there for nothing.
const TIMERS_SPARE: usize = 64;

/// All flows of a broker.
#[derive(Debug)]
pub struct FlowTable {
    settings: FlowSettings,
    cids: Cids,
    members: BTreeMap<End, Member>,
    /// What the connections of MJP have within them.
    lanes: Lanes,
    /// Members that have been told EOT and have not said theirs.
    told: usize,
    flows: SlotMap<FlowId, Flow>,
    /// Flows that wait for a handler.
    by_cid: BTreeMap<NonZeroU32, FlowId>,
    services: Services,
    timers: Timers<FlowId>,
    stop: Option<Stop>,
    counts: FlowCounts,
    dropped: BTreeMap<&'static str, u64>,
    refused: BTreeMap<&'static str, u64>,
    outcomes: BTreeMap<&'static str, u64>,
    charged: usize,
}

impl FlowTable {
    /// A table without flows. Client ids follow from the secret, which nobody else may know.
    #[must_use]
    pub fn new(settings: FlowSettings, secret: [u8; 32]) -> Self {
        Self {
            services: Services::new(settings.handlers_max),
            settings,
            cids: Cids::new(secret),
            members: BTreeMap::new(),
            lanes: Lanes::default(),
            told: 0,
            flows: SlotMap::with_key(),
            by_cid: BTreeMap::new(),
            timers: Timers::new(),
            stop: None,
            counts: FlowCounts::default(),
            dropped: BTreeMap::new(),
            refused: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            charged: 0,
        }
    }

    /// There is a new end, whose messages have that shape. False: there are too many.
    #[must_use]
    pub fn join(&mut self, end: End, shape: Shape) -> bool {
        let room = self.members.len() < self.settings.ends_max && !self.members.contains_key(&end);
        if room {
            self.members.insert(end, Member::new(shape));
        }
        room
    }

    /// An end said something; not a lane, for that see [`Self::lane`].
    #[inline]
    pub fn message<O: FlowOutput>(
        &mut self,
        now: Time,
        from: End,
        message: Frames<'_>,
        out: &mut O,
    ) -> Taken {
        let Some(member) = self.members.get(&from) else {
            self.drop_message("no_end");
            return Taken::Yes;
        };
        let (shape, place) = (member.shape, member.place);
        match Bot::read(shape, message, None) {
            Ok(said) => self.said(now, from, place, &said, out),
            Err(why) => self.count_malformed(why),
        }
    }

    /// What an end says, by where it stands.
    #[inline]
    fn said<O: FlowOutput>(
        &mut self,
        now: Time,
        from: End,
        place: Place,
        said: &Bot<'_>,
        out: &mut O,
    ) -> Taken {
        match (place, said.label.kind()) {
            (Place::Open(id, seat), Kind::Dat | Kind::Pay | Kind::Eot) => {
                self.forward(now, from, (id, seat), said, out)
            }
            (Place::Idle | Place::Told, Kind::Bot) => self.on_bot(now, from, said, out),
            (Place::Closed(id, seat), Kind::Bot) => {
                if self.must_wait(from, out) {
                    return Taken::NotYet;
                }
                self.abandon(now, id, seat, out);
                self.on_bot(now, from, said, out)
            }
            (Place::Idle, Kind::Dat | Kind::Pay) => self.free(from, said, out),
            (Place::Told | Place::Closed(..), Kind::Eot) => self.said_eot(from),
            (Place::Waiting(id), Kind::Eot) => self.give_up(now, from, id, said, out),
            (Place::Early(id), Kind::Eot) => self.withdraw_early(from, id, said, out),
            (Place::Idle, Kind::Eot) => self.drop_message("eot_without_flow"),
            (Place::Told, Kind::Dat | Kind::Pay) => self.drop_message("after_end"),
            (Place::Closed(..), Kind::Dat | Kind::Pay) => self.drop_message("after_eot"),
            (Place::Open(..), Kind::Bot) => self.drop_message("bot_in_flow"),
            (Place::Waiting(_) | Place::Early(_), Kind::Bot | Kind::Dat | Kind::Pay) => {
                self.drop_message("before_answer")
            }
        }
    }

    /// Less waits for a peer that was full.
    pub fn relieved<O: FlowOutput>(&mut self, peer: PeerId, out: &mut O) {
        let ends: Vec<End> = self.members.range(End::all_of(peer)).map(|(end, _)| *end).collect();
        for end in ends {
            self.relieve(end, out);
        }
    }

    fn relieve<O: FlowOutput>(&mut self, end: End, out: &mut O) {
        self.resume(end, out);
        let Some(member) = self.members.get(&end) else { return };
        let partner = match member.place {
            Place::Open(id, seat) | Place::Closed(id, seat) => {
                self.pair_of(id).map(|pair| pair.end(seat.other()))
            }
            Place::Idle | Place::Waiting(_) | Place::Early(_) | Place::Told => None,
        };
        if let Some(partner) = partner {
            self.resume(partner, out);
        }
    }

    /// An end is lost, or its lane was closed.
    pub fn lost<O: FlowOutput>(&mut self, now: Time, end: End, out: &mut O) {
        self.lose(now, end, out);
        self.lose_handlers(now, end, out);
    }

    /// A connection is lost, with all its ends.
    pub fn leave<O: FlowOutput>(&mut self, now: Time, peer: PeerId, out: &mut O) {
        let ends: Vec<End> = self.members.range(End::all_of(peer)).map(|(end, _)| *end).collect();
        for end in ends {
            self.lose(now, end, out);
        }
        for end in self.services.ends_of(peer) {
            self.lose_handlers(now, end, out);
        }
    }

    fn lose_handlers<O: FlowOutput>(&mut self, now: Time, end: End, out: &mut O) {
        for handler in self.services.of_end(end) {
            self.withdraw(now, handler, out);
        }
    }

    /// Does what is due.
    pub fn tick<O: FlowOutput>(&mut self, now: Time, out: &mut O) {
        while let Some((at, id)) = self.timers.pop_due(now) {
            if self.flows.get(id).is_some_and(|flow| flow.due == Some(at)) {
                self.look_at(now, at, id, out);
            }
        }
        self.look_at_stop(now, out);
    }

    /// When something is due.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Time> {
        let stop = self.stop.as_ref().and_then(Stop::next_timeout);
        [self.timers.next(), stop].into_iter().flatten().min()
    }

    /// An end that has no flow speaks as if it had one, maybe because the broker was started anew:
    /// it is told once that there is none.
    fn free<O: FlowOutput>(&mut self, end: End, said: &Bot<'_>, out: &mut O) -> Taken {
        if self.must_wait(end, out) {
            return Taken::NotYet;
        }
        if !self.enter(end) {
            return self.drop_message("without_flow");
        }
        // What the partner of the flow would have said last is not known.
        self.say(end, None, |shape| words::eot(said.zio.coordinates, shape), out);
        self.place(end, Place::Told);
        self.drop_message("without_flow")
    }

    fn said_eot(&mut self, end: End) -> Taken {
        let Some(member) = self.members.get(&end) else { return Taken::Yes };
        match member.place {
            Place::Closed(id, seat) => {
                let flow = self.flows.get_mut(id);
                if let Some(pair) = flow.and_then(Flow::pair_mut) {
                    pair.route_mut(seat).said_eot = true;
                }
            }
            _ => self.place(end, Place::Idle),
        }
        Taken::Yes
    }

    /// Says something to an end, in its shape, and with a credit in octets if it is a lane.
    fn say<O: FlowOutput>(
        &self,
        to: End,
        bytes: Option<u64>,
        words: impl FnOnce(Shape) -> crate::wire::message::Message,
        out: &mut O,
    ) {
        let Some(shape) = self.shape_of(to) else { return };
        let (message, header) = (words(shape), words::header(bytes));
        out.say(to, Words { frames: message.frames(), header: &header });
    }

    /// How the messages of an end look; none if it is not there.
    fn shape_of(&self, end: End) -> Option<Shape> {
        let of_lane = end.is_lane().then_some(Shape::Bare);
        of_lane.or_else(|| self.members.get(&end).map(|member| member.shape))
    }

    /// Whether more waits for an end than the broker adds to: it is read again later. A lane never
    /// has to wait, or all that its peer says would.
    fn must_wait<O: FlowOutput>(&mut self, end: End, out: &mut O) -> bool {
        let full = !end.is_lane() && out.is_full(end, self.settings.queue_bytes_max);
        if full {
            self.pause(end);
        }
        full
    }

    fn pause(&mut self, end: End) {
        if let Some(member) = self.members.get_mut(&end) {
            member.paused = true;
        }
    }

    fn resume<O: FlowOutput>(&mut self, end: End, out: &mut O) {
        if let Some(member) = self.members.get_mut(&end)
            && std::mem::take(&mut member.paused)
        {
            out.resume(end);
        }
    }

    fn place(&mut self, end: End, place: Place) {
        if let Some(member) = self.members.get_mut(&end) {
            let was = std::mem::replace(&mut member.place, place);
            self.told -= usize::from(was == Place::Told);
            self.told += usize::from(place == Place::Told);
            if end.is_lane() && place == Place::Idle {
                self.members.remove(&end);
                self.lanes.close(end.peer);
            }
        }
    }

    fn drop_message(&mut self, why: &'static str) -> Taken {
        *self.dropped.entry(why).or_default() += 1;
        Taken::Yes
    }

    fn count_malformed(&mut self, why: Malformed) -> Taken {
        self.drop_message(why.label())
    }

    /// Sets the one deadline of a flow that counts.
    fn arm(&mut self, id: FlowId, at: Option<Time>) {
        let Some(flow) = self.flows.get_mut(id) else { return };
        if flow.due == at {
            return;
        }
        flow.due = at;
        if let Some(at) = at {
            self.timers.arm(at, id);
        }
        self.sweep();
    }

    /// Forgets deadlines that do not count any more, once they are the most.
    fn sweep(&mut self) {
        if self.timers.len() > 2 * self.flows.len() + TIMERS_SPARE {
            let flows = &self.flows;
            self.timers.sweep(|at, id| flows.get(id).is_some_and(|flow| flow.due == Some(at)));
        }
    }

    fn charge<O: FlowOutput>(&mut self, bytes: usize, out: &mut O) -> bool {
        let room = out.charge(bytes);
        self.charged += if room { bytes } else { 0 };
        room
    }

    fn release<O: FlowOutput>(&mut self, bytes: usize, out: &mut O) {
        self.charged = self.charged.saturating_sub(bytes);
        if bytes > 0 {
            out.release(bytes);
        }
    }
}
