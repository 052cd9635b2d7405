//! An honest end: it does what the protocol says, at its own pace.

use bytes::Bytes;

use crate::proto::clock::Time;
use crate::proto::flow::endpoint::{Endpoint, Heard, Load, Side, State, Terms};
use crate::proto::simulation::rng::Rng;
use crate::wire::message::Message;
use crate::wire::zio::{Coordinates, Direction, FlowLabel, Form, Kind, Label, Shape, Zio};

/// Seconds that a client waits for its answer before it gives up; some do not wait.
const PATIENCE: u64 = 100;

#[derive(Debug)]
pub(in crate::proto) struct Party {
    pub(in crate::proto) link: usize,
    pub(in crate::proto) endpoint: Endpoint,
    /// The number of the flow: the origin of all that both ends say in it.
    pub(in crate::proto) flow: u64,
    /// The label of its BOT.
    bot: String,
    /// DATs it will give before it ends, or take before it ends itself.
    wants: u64,
    pub(in crate::proto) given: u64,
    pub(in crate::proto) taken: u64,
    /// Messages heard: the number that the next one has to have.
    heard: u64,
    /// Octets of the next DAT, its number not counted.
    next: usize,
    /// It has said EOT before it heard one.
    pub(in crate::proto) ended_first: bool,
    /// It has said that it is done with everything it had to give.
    pub(in crate::proto) gave_all: bool,
}

impl Party {
    pub(in crate::proto) fn new(
        link: usize,
        flow: u64,
        direction: Direction,
        bot: String,
        shape: Shape,
        rng: &mut Rng,
    ) -> Self {
        let timeout = |seconds| Some(std::time::Duration::from_secs(seconds));
        let terms = Terms {
            side: Side::Client,
            direction,
            credit: u32::try_from(rng.within(1, 5)).unwrap(),
            // Half of it is as much as the largest DAT.
            bytes: (shape == Shape::Bare).then(|| rng.within(600, 2_000)),
            answer_timeout: timeout(if rng.one_in(8) { 1 } else { PATIENCE }),
            end_timeout: None,
        };
        Self {
            link,
            endpoint: Endpoint::new(terms),
            flow,
            bot,
            wants: rng.within(0, 9),
            given: 0,
            taken: 0,
            heard: 0,
            next: rng.index(200),
            ended_first: false,
            gave_all: false,
        }
    }

    /// What it says next, if anything, and the credit in octets that goes with it.
    pub(in crate::proto) fn act(
        &mut self,
        now: Time,
        shape: Shape,
        rng: &mut Rng,
    ) -> Option<(Message, Option<u64>)> {
        let late = self.endpoint.handle_timeout(now).is_some();
        let kind = match self.endpoint.state() {
            State::Idle => Kind::Bot,
            State::BotSent if late => Kind::Eot,
            State::Broke | State::Generous if self.given == self.wants => Kind::Eot,
            State::Generous if self.endpoint.affords(self.cost()).is_err() => return None,
            State::Generous => Kind::Dat,
            State::Rich | State::HandsOut if self.taken >= self.wants && rng.one_in(4) => Kind::Eot,
            State::Rich | State::HandsOut
                if self.endpoint.payable() + self.endpoint.payable_octets() > 0 =>
            {
                Kind::Pay
            }
            // A lane gives nothing beyond its credit, not even now.
            State::FinAck if self.endpoint.gives() && shape != Shape::Bare && rng.one_in(4) => {
                Kind::Dat
            }
            State::FinAck => Kind::Eot,
            State::BotSent
            | State::BotHeard
            | State::Broke
            | State::Rich
            | State::HandsOut
            | State::AckFin
            | State::Fin
            | State::Refused => return None,
        };
        self.say(now, kind, shape, rng)
    }

    /// What the next DAT costs: label, coordinates, number and the rest.
    fn cost(&self) -> u64 {
        let head = r#"ZIO0FLOW{"flow": "DAT"}"#.len() + 24 + 8;
        u64::try_from(head + self.next).unwrap()
    }

    fn say(
        &mut self,
        now: Time,
        kind: Kind,
        shape: Shape,
        rng: &mut Rng,
    ) -> Option<(Message, Option<u64>)> {
        let first = self.endpoint.state() != State::FinAck;
        let cost = if kind == Kind::Dat { self.cost() } else { 0 };
        let stamp = self.endpoint.say(now, kind, cost).ok()?;
        let own = match kind {
            Kind::Bot => self.bot.as_str(),
            Kind::Dat | Kind::Pay | Kind::Eot => "{}",
        };
        let label = stamp.label(Label::parse(own).unwrap()).unwrap();
        let mut payload = Vec::new();
        if kind == Kind::Dat {
            payload.push(Bytes::copy_from_slice(&self.given.to_le_bytes()));
            payload.push(Bytes::from(vec![7; self.next]));
            self.next = rng.index(200);
            self.given += 1;
        }
        if kind == Kind::Eot {
            self.ended_first = first;
            self.gave_all = first && self.endpoint.gives();
        }
        let coordinates =
            Coordinates { origin: self.flow, granule: self.given, seqno: stamp.seqno };
        let payload = payload[..].into();
        let level = crate::wire::zio::Level::Undefined;
        let zio = Zio { level, form: Form::FLOW, label: &label, coordinates, payload };
        Some((zio.to_message(shape), stamp.bytes))
    }

    /// What it has to give or take is done with: it ends as soon as it may.
    pub(in crate::proto) fn hurry(&mut self) {
        self.wants = if self.endpoint.gives() { self.given } else { 0 };
    }

    /// The number of its flow and how much it has taken, if that is known to be all of it: it is a
    /// taker that has answered the EOT of its giver.
    pub(in crate::proto) fn answered(&self) -> Option<(u64, u64)> {
        let answered = !self.ended_first && self.endpoint.state() == State::Fin;
        (self.flow != 0 && answered && !self.endpoint.gives()).then_some((self.flow, self.taken))
    }

    /// The number of its flow and how much it has given, if it has ended it by itself.
    pub(in crate::proto) fn gave(&self) -> Option<(u64, u64)> {
        (self.flow != 0 && self.gave_all).then_some((self.flow, self.given))
    }

    /// Takes what comes: it has to be what the protocol allows, and the next in order.
    pub(in crate::proto) fn hear(
        &mut self,
        now: Time,
        message: &Message,
        shape: Shape,
        bytes: Option<u64>,
    ) -> Result<(), String> {
        let zio = Zio::decode(shape, message.frames()).map_err(|why| why.to_string())?;
        let label = FlowLabel::read(zio.label).map_err(|why| why.to_string())?;
        let state = self.endpoint.state();
        let who = || format!("flow {} in {state:?} heard {}", self.flow, zio.label);
        let seqno = zio.coordinates.seqno;
        // What a stranger numbers is its own affair; it does not know the number of the flow.
        let known = self.flow != 0 && zio.coordinates.origin == self.flow;
        if known && seqno != self.heard {
            return Err(format!("{}: number {seqno} instead of {}", who(), self.heard));
        }
        let load = Load { size: u64::try_from(zio.parts_len()).unwrap(), bytes };
        let heard = self.endpoint.hear(now, &label, load);
        let heard = heard.map_err(|why| format!("{}: {why}", who()))?;
        if label.kind() == Kind::Dat {
            let mut payload = zio.payload;
            let number = payload.next().and_then(|part| part.try_into().ok());
            let number = number.map(u64::from_le_bytes);
            if known && number != Some(self.taken) {
                return Err(format!("{}: DAT {number:?} instead of {}", who(), self.taken));
            }
            self.taken += 1;
        }
        if matches!(heard, Heard::Asked { .. }) {
            return Err(format!("{}: it is no server", who()));
        }
        self.heard += 1;
        Ok(())
    }
}
