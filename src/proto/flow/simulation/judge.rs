//! What has to be true, whatever happens.

use std::collections::{BTreeMap, BTreeSet};

use crate::proto::flow::output::{End, FlowEvent, Outcome, Seat};
use crate::proto::flow::table::FlowId;
use crate::wire::zio::Kind;

use super::party::Party;
use super::shell::{Parcel, QUEUE};
use super::world::{ROOMY, World};

/// What the judge knows of a flow.
#[derive(Debug)]
pub(in crate::proto) struct Known {
    pub(in crate::proto) number: u64,
    pub(in crate::proto) client: End,
    pub(in crate::proto) handler: Option<End>,
}

/// What is on its way between two ends.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::proto) struct UnderWay {
    /// DATs, and what PAYs say; the same in octets.
    pub(in crate::proto) credit: u64,
    pub(in crate::proto) octets: u64,
    pub(in crate::proto) eots: u64,
}

/// Who takes part, as the judge has to know them.
pub(in crate::proto) trait Parties {
    /// Who has a flow there, if that is known.
    fn party_of(&self, end: End) -> Option<&Party>;

    fn is_honest(&self, end: End) -> bool;

    /// Whether outboxes are so small that honest ends within MJP fill them.
    fn is_tight(&self) -> bool;

    /// What both ends have said of that flow, and the other one has not heard.
    fn under_way(&self, number: u64, ends: [End; 2]) -> UnderWay;
}

/// What has to be true of flows, in whatever simulation they are.
#[derive(Debug, Default)]
pub(in crate::proto) struct Judge {
    pub(in crate::proto) flows: BTreeMap<FlowId, Known>,
    /// Who was sent for a flow: another one if the first was lost, and the first may come yet.
    pub(in crate::proto) sent: BTreeMap<FlowId, BTreeSet<End>>,
    pub(in crate::proto) cids: BTreeMap<FlowId, u32>,
    /// Ids of clients that have a handler: strangers have seen them.
    pub(in crate::proto) known_cids: Vec<u32>,
    /// Of each flow number: DATs that the giver had given when it ended by itself.
    pub(in crate::proto) given: BTreeMap<u64, u64>,
    /// And DATs that the taker had taken when it answered that.
    pub(in crate::proto) taken: BTreeMap<u64, u64>,
    /// Ends whose connection was cut.
    pub(in crate::proto) cut: BTreeSet<End>,
    /// Ends for which more may wait, as nothing makes a partner within MJP wait.
    pub(in crate::proto) pressed: BTreeSet<End>,
    pub(in crate::proto) stopping: bool,
    /// What has happened, and was not taken notice of yet.
    pub(in crate::proto) seen: Vec<&'static str>,
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
        let mut judge = std::mem::take(&mut self.judge);
        let events = std::mem::take(&mut self.shell.events);
        let judged = events.into_iter().try_for_each(|event| {
            self.note(|| format!("{event:?}"));
            judge.event(event, &*self)
        });
        let judged = judged.and_then(|()| judge.credit(&*self));
        judge.seen.drain(..).for_each(|what| self.saw(what));
        self.judge = judge;
        // Beside what is queued: one message that found it almost full, and what the table says.
        for link in &self.shell.links {
            let pressed = link.end.is_lane() || self.judge.pressed.contains(&link.end);
            let over = if pressed { self.outbox } else { QUEUE };
            let room = over + 4 * self.shell.largest;
            demand!(link.bytes <= room, "{} octets wait for {:?}", link.bytes, link.end);
        }
        if self.table.has_early() {
            self.saw("early");
        }
        judged
    }

    /// An honest end has ended a flow.
    pub(super) fn judge_end(&mut self, end: End) {
        let Some(taken) = self.party_of(end).and_then(Party::answered) else { return };
        self.judge.taken.extend([taken]);
    }
}

impl Parties for World {
    fn party_of(&self, end: End) -> Option<&Party> {
        Self::party_of(self, end)
    }

    fn is_honest(&self, end: End) -> bool {
        Self::is_honest(self, end)
    }

    fn is_tight(&self) -> bool {
        self.outbox < ROOMY
    }

    fn under_way(&self, number: u64, ends: [End; 2]) -> UnderWay {
        let mut all = UnderWay::default();
        for link in ends.iter().filter_map(|end| self.shell.by_end.get(end)) {
            let link = &self.shell.links[*link];
            let own = |parcel: &Parcel| parcel.counts.filter(|counts| counts.flow == number);
            for counts in link.up.iter().chain(&link.down).filter_map(own) {
                all.credit += counts.credit;
                all.octets += counts.octets;
                all.eots += u64::from(counts.kind == Kind::Eot);
            }
        }
        all
    }
}

impl Judge {
    /// Something has happened to a flow.
    ///
    /// # Errors
    /// It must not have.
    pub(in crate::proto) fn event(
        &mut self,
        event: FlowEvent,
        all: &impl Parties,
    ) -> Result<(), String> {
        match event {
            FlowEvent::Asked { flow, client } => {
                let number = all.party_of(client).map_or(0, |party| party.flow);
                self.flows.insert(flow, Known { number, client, handler: None });
            }
            FlowEvent::Paired { flow, client, handler } => {
                let Some(known) = self.flows.get_mut(&flow) else {
                    return Err(format!("{flow:?} is paired and was not asked for"));
                };
                demand!(known.client == client, "{flow:?} has another client");
                demand!(known.handler.is_none(), "{flow:?} is paired twice");
                known.handler = Some(handler);
                let sent = self.sent.get(&flow);
                let was_sent = sent.is_some_and(|sent| sent.contains(&handler));
                demand!(was_sent, "{flow:?}: {handler:?} came, {sent:?} were sent");
                if client.is_lane() || handler.is_lane() {
                    self.pressed.extend([client, handler]);
                }
                let cid = self.cids.remove(&flow);
                self.known_cids.extend(cid);
            }
            FlowEvent::Idle { .. } => self.seen.push("idle"),
            FlowEvent::Ended { flow, outcome } => {
                let Some(known) = self.flows.remove(&flow) else {
                    return Err(format!("{flow:?} ends twice"));
                };
                self.sent.remove(&flow);
                self.outcome(&known, outcome, all)?;
            }
        }
        Ok(())
    }

    /// An honest end is never the reason for another end than by the book, unless it was cut.
    fn outcome(
        &mut self,
        known: &Known,
        outcome: Outcome,
        all: &impl Parties,
    ) -> Result<(), String> {
        let culprit = match outcome {
            Outcome::Finished => return self.whole(known.number),
            Outcome::Refused(_) | Outcome::GivenUp => return Ok(()),
            Outcome::Stopped => {
                demand!(self.stopping, "{known:?} was stopped");
                return Ok(());
            }
            Outcome::Lost(seat) => {
                let end = if seat == Seat::Client { Some(known.client) } else { known.handler };
                let cut = end.is_some_and(|end| self.cut.contains(&end));
                demand!(cut, "{known:?}: {seat:?} counts as lost");
                return Ok(());
            }
            Outcome::Overrun(_) => {
                // Who is made to wait by nothing but credit does not fill an outbox with that.
                let ends = [Some(known.client), known.handler];
                let honest = ends.into_iter().flatten().all(|end| all.is_honest(end));
                demand!(all.is_tight() || !honest, "{known:?}: {outcome:?} of honest ends");
                return Ok(());
            }
            Outcome::NoAnswer(seat)
            | Outcome::Abandoned(seat)
            | Outcome::Violated(seat)
            | Outcome::Revoked(seat) => seat,
        };
        let end = if culprit == Seat::Client { Some(known.client) } else { known.handler };
        let honest = end.is_some_and(|end| all.is_honest(end));
        demand!(!honest, "{known:?} ended as {outcome:?}, and {culprit:?} is honest");
        Ok(())
    }

    /// Giver, what is under way, and taker have the agreed credit, all together, in every flow.
    ///
    /// # Errors
    /// They have more or less.
    pub(in crate::proto) fn credit(&mut self, all: &impl Parties) -> Result<(), String> {
        let mut octets = false;
        let pairs = self.flows.values().filter_map(|it| Some((it, it.handler?)));
        for (known, handler) in pairs {
            self.credit_of(known, handler, all, &mut octets)?;
        }
        self.seen.extend(octets.then_some("octets"));
        Ok(())
    }

    fn credit_of(
        &self,
        known: &Known,
        handler: End,
        all: &impl Parties,
        octets: &mut bool,
    ) -> Result<(), String> {
        let both = (all.party_of(known.client), all.party_of(handler));
        let (Some(client), Some(other)) = both else { return Ok(()) };
        let (one, two) = (&client.endpoint, &other.endpoint);
        let ours = known.number != 0 && client.flow == known.number && other.flow == known.number;
        if !ours || !one.state().is_running() || !two.state().is_running() {
            return Ok(());
        }
        let total = one.total();
        demand!(total == two.total(), "flow {}: {total} and {}", known.number, two.total());
        let under_way = all.under_way(known.number, [known.client, handler]);
        if under_way.eots > 0 {
            // Neither has said it: the broker stops, and what a taker pays reaches nobody.
            demand!(self.stopping, "flow {}: an EOT that nobody said", known.number);
            return Ok(());
        }
        let sum = one.held() + two.held() + under_way.credit;
        demand!(sum == total, "flow {}: {sum} credit of {total}", known.number);
        match (one.octets(), two.octets()) {
            (None, None) => {}
            (Some((total, one)), Some((other, two))) => {
                demand!(total == other, "flow {}: {total} and {other} octets", known.number);
                let sum = one + two + under_way.octets;
                demand!(sum == total, "flow {}: {sum} octets of {total}", known.number);
                *octets = true;
            }
            (one, two) => return Err(format!("flow {}: {one:?} and {two:?}", known.number)),
        }
        Ok(())
    }

    /// Of a flow that ended by the book, everything has arrived.
    fn whole(&mut self, flow: u64) -> Result<(), String> {
        let (given, taken) = (self.given.get(&flow), self.taken.get(&flow));
        if let (Some(given), Some(taken)) = (given, taken) {
            demand!(taken == given, "flow {flow}: {taken} DATs of {given} came");
            self.seen.push("whole");
        }
        Ok(())
    }
}
