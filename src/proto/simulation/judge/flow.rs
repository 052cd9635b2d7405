//! Flows as seen from outside: credit is conserved over the octets that really pass, both ends end
//! for a reason, and no more waits for an end than may. The rest is judged as in the simulation of
//! the flow table alone.

use std::collections::BTreeMap;

use crate::id::PeerId;
use crate::proto::flow::simulation::Counts;
use crate::proto::flow::simulation::judge::{Judge as FlowJudge, Parties, UnderWay};
use crate::proto::flow::simulation::party::Party;
use crate::proto::flow::{End, FlowEvent};
use crate::proto::output::CloseReason;
use crate::proto::witness;
use crate::wire::Limits;
use crate::wire::codec::{Decoder, Item};
use crate::wire::message::Frames;
use crate::wire::mjp::{Lane, ToBroker};
use crate::wire::zio::{Kind, Shape};

use super::super::actor::Actor;
use super::super::flow_peer::LANE;
use super::Judge;

/// One connection of a ZIO socket, or of a worker that offers a flow service.
#[derive(Debug)]
struct Conn {
    peer: PeerId,
    actor: usize,
    /// How its messages look; none of a worker.
    shape: Option<Shape>,
    /// By flow: what either side has said and the other one has not taken.
    under_way: BTreeMap<u64, UnderWay>,
    /// The longest message that it was told, octets.
    largest: usize,
}

/// Which way a message has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Out,
    In,
}

/// What the judge knows of flows.
#[derive(Debug, Default)]
pub(in crate::proto::simulation) struct Flows {
    pub(in crate::proto::simulation) judge: FlowJudge,
    pub(in crate::proto::simulation) events: Vec<FlowEvent>,
    conns: BTreeMap<usize, Conn>,
    by_peer: BTreeMap<PeerId, usize>,
}

impl Flows {
    pub(in crate::proto::simulation) fn joined(
        &mut self,
        conn: usize,
        peer: PeerId,
        actor: usize,
        shape: Option<Shape>,
    ) {
        let known = Conn { peer, actor, shape, under_way: BTreeMap::new(), largest: 0 };
        self.conns.insert(conn, known);
        self.by_peer.insert(peer, conn);
    }

    /// Whether a connection is one of these.
    pub(in crate::proto::simulation) fn has(&self, conn: usize) -> bool {
        self.conns.contains_key(&conn)
    }

    pub(super) fn lost(&mut self, conn: usize) {
        self.judge.cut.extend(self.end_of(conn));
    }

    /// The end that a connection is.
    pub(in crate::proto::simulation) fn end_of(&self, conn: usize) -> Option<End> {
        let conn = self.conns.get(&conn)?;
        let lane = if conn.shape == Some(Shape::Bare) { LANE } else { 0 };
        Some(End { peer: conn.peer, lane })
    }

    /// A peer has put octets on their way, whole messages; or they have been put into its outbox.
    pub(in crate::proto::simulation) fn sent(&mut self, conn: usize, octets: &[u8]) {
        let (mut decoder, mut rest) = (Decoder::new(Limits::default()), octets);
        while let Ok(Some(Item::Message(frames))) = decoder.next(&mut rest) {
            self.count(conn, frames, Step::Out);
        }
    }

    /// The other side has taken a message.
    pub(in crate::proto::simulation) fn taken(&mut self, conn: usize, frames: Frames<'_>) {
        self.count(conn, frames, Step::In);
    }

    fn count(&mut self, conn: usize, frames: Frames<'_>, step: Step) {
        let Some(conn) = self.conns.get_mut(&conn) else { return };
        let Some(shape) = conn.shape else { return };
        conn.largest = conn.largest.max(frames.bytes());
        let counts = match ToBroker::decode(frames) {
            Ok(ToBroker::Lane(Lane { says, body, .. })) => Counts::of(body, says.bytes, shape),
            _ if shape == Shape::Bare => None,
            _ => Counts::of(frames, None, shape),
        };
        let Some(Counts { flow, kind, credit, octets }) = counts else { return };
        let all = conn.under_way.entry(flow).or_default();
        let eots = u64::from(kind == Kind::Eot);
        for (sum, more) in
            [(&mut all.credit, credit), (&mut all.octets, octets), (&mut all.eots, eots)]
        {
            *sum = match step {
                Step::Out => sum.wrapping_add(more),
                Step::In => sum.wrapping_sub(more),
            };
        }
    }

    /// How much may wait for each ZIO socket: beside what is queued, one message that found it
    /// almost full, and what the table itself says. A partner within MJP is not held before the
    /// outbox is full, and what waits for one of those is bounded as of all who speak MJP.
    pub(in crate::proto::simulation) fn rooms(
        &self,
        queue: usize,
        outbox: usize,
    ) -> impl Iterator<Item = (usize, usize)> {
        let is_socket = |conn: &Conn| conn.shape.is_some_and(|shape| shape != Shape::Bare);
        let sockets = self.conns.iter().filter(move |(_, conn)| is_socket(conn));
        sockets.map(move |(number, conn)| {
            let pressed = self.judge.pressed.contains(&End::of(conn.peer));
            let queue = if pressed { outbox.max(queue) } else { queue };
            (*number, queue + 5 * (conn.largest + 40))
        })
    }
}

/// Who takes part, and what is on its way.
struct View<'a> {
    conns: &'a BTreeMap<usize, Conn>,
    by_peer: &'a BTreeMap<PeerId, usize>,
    actors: &'a [Actor],
}

impl View<'_> {
    fn actor_of(&self, end: End) -> Option<(usize, &Actor)> {
        let conn = *self.by_peer.get(&end.peer)?;
        Some((conn, self.actors.get(self.conns.get(&conn)?.actor)?))
    }
}

impl Parties for View<'_> {
    fn party_of(&self, end: End) -> Option<&Party> {
        match self.actor_of(end)? {
            (conn, Actor::FlowPeer(peer)) => peer.party_at(conn),
            _ => None,
        }
    }

    fn is_honest(&self, end: End) -> bool {
        matches!(self.actor_of(end), Some((_, Actor::FlowPeer(peer))) if peer.is_honest())
    }

    fn is_tight(&self) -> bool {
        true
    }

    fn under_way(&self, number: u64, ends: [End; 2]) -> UnderWay {
        let conns = ends.iter().filter_map(|end| self.by_peer.get(&end.peer));
        let all = conns.filter_map(|conn| self.conns.get(conn)?.under_way.get(&number));
        all.fold(UnderWay::default(), |sum, one| UnderWay {
            credit: sum.credit.wrapping_add(one.credit),
            octets: sum.octets.wrapping_add(one.octets),
            eots: sum.eots.wrapping_add(one.eots),
        })
    }
}

impl Judge {
    /// The broker ends the connection of a ZIO socket.
    pub(in crate::proto::simulation) fn flow_closed(&mut self, conn: usize, why: CloseReason) {
        let Some(shape) = self.flows.conns.get(&conn).and_then(|conn| conn.shape) else { return };
        // Who does not read what its lanes are told is as one that does not read its answers.
        let deaf = why == CloseReason::SlowReader && shape == Shape::Bare;
        let fair = deaf
            || matches!(
                why,
                CloseReason::Silent
                    | CloseReason::PingExpired
                    | CloseReason::IdentityInUse
                    | CloseReason::Replaced
                    | CloseReason::Revoked
            );
        self.demand(fair, || format!("{conn} has flows, and is closed: {why:?}"));
    }

    /// After an input has been dealt with.
    pub(in crate::proto::simulation) fn check_flows(&mut self, actors: &[Actor]) {
        let Flows { judge, events, conns, by_peer } = &mut self.flows;
        let view = View { conns, by_peer, actors };
        let judged = events.drain(..).try_for_each(|event| {
            if let FlowEvent::Ended { outcome, .. } = event {
                witness::saw("flow", "ended", outcome.label());
            }
            judge.event(event, &view)
        });
        let judged = judged.and_then(|()| judge.credit(&view));
        judge.seen.drain(..).for_each(|what| witness::saw("flow", "seen", what));
        if let Err(why) = judged {
            self.fail(|| why);
        }
    }
}
