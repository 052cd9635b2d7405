//! A ZIO socket, CLIENT or DEALER, or a peer of MJP with one lane: a client or a handler of flows,
//! honest or one that falls silent in the middle, or a stranger that says anything (SPEC 13).

use std::time::Duration;

use crate::proto::clock::Time;
use crate::proto::flow::simulation::party::Party;
use crate::proto::flow::simulation::stranger::Stranger;
use crate::wire::message::{Frames, Message};
use crate::wire::mjp::{FromBroker, Lane, LaneHeader, Packed, ToBroker};
use crate::wire::zio::{Direction, Shape};

use super::actor::{Act, Context, encoded};
use super::plan::MS;
use super::rng::Rng;

/// The lane of one within MJP.
pub(super) const LANE: u64 = 4;

/// What it is there for.
#[derive(Debug)]
pub(super) enum Role {
    /// It asks for so many flows more.
    Client(u32),
    Handler,
    Stranger(Stranger),
}

#[derive(Debug)]
pub(super) struct FlowPeer {
    me: u32,
    pub(super) role: Role,
    pub(super) shape: Shape,
    conn: Option<u32>,
    connect_at: Option<u64>,
    next_at: Option<u64>,
    /// Its flow, if it has one.
    party: Option<Party>,
    flows: u64,
    /// So many messages more, then it says nothing any more, and does not go either.
    words: Option<u32>,
    /// It leaves in the middle, once in so many steps.
    vanishes: u64,
    hurries: bool,
}

impl FlowPeer {
    pub(super) fn new(me: u32, role: Role, rng: &mut Rng) -> Self {
        let silent = !matches!(role, Role::Stranger(_)) && rng.one_in(5);
        Self {
            me,
            role,
            shape: rng.pick(&[Shape::Single, Shape::Multipart, Shape::Bare, Shape::Bare]),
            conn: None,
            connect_at: Some(0),
            next_at: None,
            party: None,
            flows: 0,
            words: silent.then(|| u32::try_from(rng.within(1, 12)).unwrap()),
            vanishes: rng.pick(&[30, 1_000]),
            hurries: false,
        }
    }

    /// Whether it keeps to the rules, and ends what it has begun.
    pub(super) fn is_honest(&self) -> bool {
        self.words.is_none() && !matches!(self.role, Role::Stranger(_))
    }

    /// Its flow, if it is one over that connection.
    pub(super) fn party_at(&self, conn: usize) -> Option<&Party> {
        self.party.as_ref().filter(|party| party.link == conn)
    }

    /// Whether it can be sent for a flow.
    pub(super) fn is_free(&self) -> bool {
        let role = match self.role {
            Role::Handler => self.words != Some(0),
            Role::Stranger(_) => true,
            Role::Client(_) => false,
        };
        role && self.conn.is_some() && self.party.is_none()
    }

    pub(super) fn is_done(&self) -> bool {
        let asks = matches!(self.role, Role::Client(1..));
        !self.is_honest() || (self.party.is_none() && !asks)
    }

    pub(super) fn calm_down(&mut self) -> bool {
        self.vanishes = u64::MAX;
        let goes = matches!(self.role, Role::Stranger(_));
        if goes {
            (self.conn, self.connect_at) = (None, None);
        }
        goes
    }

    /// It asks for nothing more, and ends what it has.
    pub(super) fn hurry(&mut self, now: u64) {
        self.hurries = true;
        if let Role::Client(left) = &mut self.role {
            *left = 0;
        }
        if let Some(party) = &mut self.party {
            party.hurry();
            self.next_at = Some(now);
        }
    }

    pub(super) fn next_wake(&self) -> Option<u64> {
        if self.conn.is_none() {
            return self.connect_at;
        }
        // One that has fallen silent does nothing, however late it is.
        let party = self.party.as_ref().filter(|_| self.words != Some(0));
        let late = party.and_then(|party| party.endpoint.next_timeout());
        let late = late.map(|at| at.micros_since(Time::default()));
        [self.next_at, late].into_iter().flatten().min()
    }

    pub(super) fn connected(&mut self, conn: u32, cx: &mut Context<'_>) {
        let goes = matches!(self.role, Role::Stranger(_)) && cx.calm;
        if goes {
            return cx.act(Act::Close);
        }
        self.conn = Some(conn);
        self.connect_at = None;
        self.next_at = (!matches!(self.role, Role::Handler)).then_some(cx.now);
    }

    pub(super) fn lost(&mut self, cx: &mut Context<'_>) {
        (self.conn, self.party, self.next_at) = (None, None, None);
        if let Role::Stranger(stranger) = &mut self.role {
            // What it was given it would say as another end now.
            *stranger = Stranger::new(0);
        }
        if !(matches!(self.role, Role::Stranger(_)) && cx.calm) {
            self.connect_at = Some(cx.now + cx.rng.within(MS, 150 * MS));
        }
    }

    /// It comes for a flow: with that label and origin, if it is honest.
    pub(super) fn come(
        &mut self,
        label: &str,
        origin: u64,
        direction: Direction,
        cx: &mut Context<'_>,
    ) {
        let Some(conn) = self.conn else { return };
        match &mut self.role {
            Role::Stranger(stranger) => stranger.give(label, cx.rng),
            Role::Client(_) | Role::Handler => {
                let link = usize::try_from(conn).unwrap();
                let label = label.into();
                let mut party = Party::new(link, origin, direction, label, self.shape, cx.rng);
                if self.hurries {
                    party.hurry();
                }
                self.party = Some(party);
                self.soon(cx);
            }
        }
    }

    fn soon(&mut self, cx: &mut Context<'_>) {
        self.next_at = Some(cx.now + cx.rng.within(MS / 10, 25 * MS));
    }

    pub(super) fn woken(&mut self, cx: &mut Context<'_>) {
        if self.conn.is_none() {
            if self.connect_at.is_some_and(|at| at <= cx.now) {
                self.connect_at = None;
                cx.act(Act::Connect);
            }
            return;
        }
        self.next_at = self.next_at.filter(|at| *at > cx.now);
        if self.next_at.is_none() && cx.rng.one_in(self.vanishes) && !cx.calm {
            self.lost(cx);
            let quietly = cx.rng.one_in(4);
            return cx.act(if quietly { Act::Vanish } else { Act::Close });
        }
        if let Role::Stranger(stranger) = &mut self.role {
            let message = stranger.act(self.shape, &cx.flows.cids, cx.rng);
            self.next_at = Some(cx.now + cx.rng.within(MS, 80 * MS));
            let bytes = cx.rng.pick(&[None, Some(0), Some(1), Some(700), Some(u64::MAX)]);
            return say(&message, self.shape, bytes, cx);
        }
        if self.words == Some(0) {
            self.next_at = None;
            return;
        }
        if self.party.is_none() {
            self.ask(cx);
        }
        self.step(cx);
    }

    /// A client asks for its next flow.
    fn ask(&mut self, cx: &mut Context<'_>) {
        let (Role::Client(left @ 1..), Some(conn)) = (&mut self.role, self.conn) else { return };
        *left -= 1;
        self.flows += 1;
        let number = u64::from(self.me + 1) * 10_000 + self.flows;
        let direction = cx.rng.pick(&[Direction::Extract, Direction::Inject]);
        let stream = cx.rng.pick(&[0, 0, 0, 1, 1, 1, 3]);
        let bot = format!(r#"{{"stream": "s{stream}"}}"#);
        let link = usize::try_from(conn).unwrap();
        self.party = Some(Party::new(link, number, direction, bot, self.shape, cx.rng));
    }

    /// Says what is next in its flow.
    fn step(&mut self, cx: &mut Context<'_>) {
        let now = Time::default().after(Duration::from_micros(cx.now));
        let Some(party) = &mut self.party else { return };
        let said = party.act(now, self.shape, cx.rng);
        cx.flows.gave = party.gave().or(cx.flows.gave);
        let goes_on = said.is_some();
        if let Some((message, bytes)) = said {
            say(&message, self.shape, bytes, cx);
            self.words = self.words.map(|left| left - 1);
        }
        if goes_on || self.hurries {
            self.soon(cx);
        }
        self.look_whether_over(cx);
    }

    fn look_whether_over(&mut self, cx: &mut Context<'_>) {
        let over = |party: &mut Party| party.endpoint.state().is_over();
        if let Some(party) = self.party.take_if(over) {
            cx.flows.took = party.answered();
            self.next_at = None;
            if matches!(self.role, Role::Client(1..)) {
                self.soon(cx);
            }
        }
    }

    /// # Errors
    /// The broker said what an end must not be told.
    pub(super) fn heard(&mut self, frames: Frames<'_>, cx: &mut Context<'_>) -> Result<(), String> {
        if matches!(self.role, Role::Stranger(_)) {
            return Ok(());
        }
        let (frames, bytes) = match FromBroker::decode(frames) {
            _ if self.shape != Shape::Bare => (frames, None),
            Ok(FromBroker::Lane(Lane { id: LANE, says, body, .. })) => (body, says.bytes),
            Ok(FromBroker::Drain { .. } | FromBroker::Heartbeat) => return Ok(()),
            other => return Err(format!("{} is told {other:?}", self.me)),
        };
        let Some(party) = &mut self.party else {
            return Err(format!("{} is told something after its flow", self.me));
        };
        let now = Time::default().after(Duration::from_micros(cx.now));
        party.hear(now, &frames.to_message(), self.shape, bytes)?;
        if self.next_at.is_none() {
            self.soon(cx);
        }
        self.look_whether_over(cx);
        Ok(())
    }
}

fn say(message: &Message, shape: Shape, bytes: Option<u64>, cx: &mut Context<'_>) {
    let body = message.frames();
    let says = LaneHeader { bytes };
    let packed = Packed::new(&says);
    let lane = Lane { id: LANE, header: packed.octets(), says, body };
    cx.act(Act::Say(encoded(|encoder| match shape {
        Shape::Bare => ToBroker::Lane(lane).encode(encoder),
        Shape::Single | Shape::Multipart => encoder.frames(&body),
    })));
}
