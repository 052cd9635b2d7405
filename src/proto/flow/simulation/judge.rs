//! What has to be true, whatever happens.

use std::collections::{BTreeMap, BTreeSet};

use crate::proto::flow::endpoint::State;
use crate::proto::flow::output::{End, FlowEvent, Outcome, Seat};
use crate::proto::flow::table::FlowId;
use crate::wire::zio::Kind;

use super::shell::{Parcel, QUEUE};
use super::world::World;

/// What the judge knows of a flow.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) number: u64,
    pub(super) client: End,
    pub(super) handler: Option<End>,
}

#[derive(Debug, Default)]
pub(super) struct Judge {
    pub(super) flows: BTreeMap<FlowId, Known>,
    /// Who was sent for a flow: another one if the first was lost, and the first may come yet.
    pub(super) sent: BTreeMap<FlowId, BTreeSet<End>>,
    pub(super) cids: BTreeMap<FlowId, u32>,
    /// Of each flow number: DATs that the giver had given when it ended by itself.
    pub(super) given: BTreeMap<u64, u64>,
    /// And DATs that the taker had taken when it answered that.
    pub(super) taken: BTreeMap<u64, u64>,
    /// Ends whose connection was cut.
    pub(super) cut: BTreeSet<End>,
    pub(super) stopping: bool,
}

macro_rules! demand {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            return Err(format!($($text)+));
        }
    };
}

impl World {
    /// After every step.
    pub(super) fn judge(&mut self) -> Result<(), String> {
        self.table.audit()?;
        demand!(self.table.charged() == self.shell.charged, "memory is charged otherwise");
        let events = std::mem::take(&mut self.shell.events);
        events.into_iter().try_for_each(|event| self.judge_event(event))?;
        // Beside what is queued: one message that found it almost full, and what the table says.
        let room = QUEUE + 4 * self.shell.largest;
        for link in &self.shell.links {
            demand!(link.bytes <= room, "{} octets wait for {:?}", link.bytes, link.end);
        }
        if self.table.has_early() {
            self.saw("early");
        }
        let pairs = self.judge.flows.values().filter_map(|it| Some((it, it.handler?)));
        for (known, handler) in pairs {
            self.judge_credit(known, handler)?;
        }
        Ok(())
    }

    fn judge_event(&mut self, event: FlowEvent) -> Result<(), String> {
        self.note(|| format!("{event:?}"));
        match event {
            FlowEvent::Asked { flow, client } => {
                let number = self.party_of(client).map_or(0, |party| party.flow);
                self.judge.flows.insert(flow, Known { number, client, handler: None });
            }
            FlowEvent::Paired { flow, client, handler } => {
                let Some(known) = self.judge.flows.get_mut(&flow) else {
                    return Err(format!("{flow:?} is paired and was not asked for"));
                };
                demand!(known.client == client, "{flow:?} has another client");
                demand!(known.handler.is_none(), "{flow:?} is paired twice");
                known.handler = Some(handler);
                let sent = self.judge.sent.get(&flow);
                let was_sent = sent.is_some_and(|sent| sent.contains(&handler));
                demand!(was_sent, "{flow:?}: {handler:?} came, {sent:?} were sent");
                let cid = self.judge.cids.remove(&flow);
                self.cids.extend(cid);
            }
            FlowEvent::Idle { .. } => self.saw("idle"),
            FlowEvent::Ended { flow, outcome } => {
                let Some(known) = self.judge.flows.remove(&flow) else {
                    return Err(format!("{flow:?} ends twice"));
                };
                self.judge.sent.remove(&flow);
                self.judge_outcome(&known, outcome)?;
            }
        }
        Ok(())
    }

    /// An honest end is never the reason for another end than by the book, unless it was cut.
    fn judge_outcome(&mut self, known: &Known, outcome: Outcome) -> Result<(), String> {
        let culprit = match outcome {
            Outcome::Finished => {
                return self.judge_whole(known.number);
            }
            Outcome::Refused(_) | Outcome::GivenUp => return Ok(()),
            Outcome::Stopped => {
                demand!(self.judge.stopping, "{known:?} was stopped");
                return Ok(());
            }
            Outcome::Lost(seat) => {
                let end = if seat == Seat::Client { Some(known.client) } else { known.handler };
                let cut = end.is_some_and(|end| self.judge.cut.contains(&end));
                demand!(cut, "{known:?}: {seat:?} counts as lost");
                return Ok(());
            }
            Outcome::NoAnswer(seat)
            | Outcome::Abandoned(seat)
            | Outcome::Violated(seat)
            | Outcome::Revoked(seat) => seat,
        };
        let end = if culprit == Seat::Client { Some(known.client) } else { known.handler };
        let honest = end.is_some_and(|end| self.is_honest(end));
        demand!(!honest, "{known:?} ended as {outcome:?}, and {culprit:?} is honest");
        Ok(())
    }

    /// Giver, what is under way, and taker have the agreed credit, all together.
    fn judge_credit(&self, known: &Known, handler: End) -> Result<(), String> {
        let both = (self.party_of(known.client), self.party_of(handler));
        let (Some(client), Some(other)) = both else { return Ok(()) };
        let (one, two) = (&client.endpoint, &other.endpoint);
        let ours = known.number != 0 && client.flow == known.number && other.flow == known.number;
        if !ours || !one.state().is_running() || !two.state().is_running() {
            return Ok(());
        }
        let total = one.total();
        demand!(total == two.total(), "flow {}: {total} and {}", known.number, two.total());
        let own = |parcel: &Parcel| parcel.counts.filter(|(flow, ..)| *flow == known.number);
        let queues = |link: usize| {
            let link = &self.shell.links[link];
            link.up.iter().chain(&link.down).filter_map(own)
        };
        let under_way = || queues(client.link).chain(queues(other.link));
        if under_way().any(|(_, kind, _)| kind == Kind::Eot) {
            // Neither has said it: the broker stops, and what a taker pays reaches nobody.
            demand!(self.judge.stopping, "flow {}: an EOT that nobody said", known.number);
            return Ok(());
        }
        let sum = one.held() + two.held() + under_way().map(|(.., credit)| credit).sum::<u64>();
        demand!(sum == total, "flow {}: {sum} credit of {total}", known.number);
        Ok(())
    }

    /// Of a flow that ended by the book, everything has arrived.
    fn judge_whole(&mut self, flow: u64) -> Result<(), String> {
        let (given, taken) = (self.judge.given.get(&flow), self.judge.taken.get(&flow));
        if let (Some(given), Some(taken)) = (given, taken) {
            demand!(taken == given, "flow {flow}: {taken} DATs of {given} came");
            self.saw("whole");
        }
        Ok(())
    }

    /// An honest end has ended a flow.
    pub(super) fn judge_end(&mut self, end: End) {
        let Some(party) = self.party_of(end) else { return };
        let (flow, taken) = (party.flow, party.taken);
        let answered = !party.ended_first && party.endpoint.state() == State::Fin;
        if flow != 0 && answered && !party.endpoint.gives() {
            self.judge.taken.insert(flow, taken);
        }
    }
}
