//! The invariants of the table, all checked in one pass. Tests and fuzz targets call it after
//! every step.

use std::collections::BTreeMap;

use crate::proto::flow::output::{End, Seat};
use crate::proto::router::audit::demand;
use crate::wire::message::Message;

use super::flow::{Flow, FlowId, Pair, Progress};
use super::member::Place;
use super::{FlowTable, TIMERS_SPARE};

impl FlowTable {
    /// Checks every invariant. To be called between two inputs.
    ///
    /// # Errors
    /// The first one that does not hold, in words.
    pub fn audit(&self) -> Result<(), String> {
        self.audit_members()?;
        let (mut waiting, mut given) = (BTreeMap::new(), BTreeMap::new());
        let (mut charged, mut cids, mut due) = (0, 0, Vec::new());
        for (id, flow) in &self.flows {
            if let Some(handler) = flow.handler {
                given.insert(id, handler);
            }
            if let (Progress::Queued { number, .. }, Some(name)) = (&flow.progress, &flow.service) {
                waiting.insert(id, (name.clone(), *number));
            }
            charged += flow.charged + self.audit_flow(id, flow)?;
            cids += usize::from(flow.pair().is_none());
            due.extend(flow.due.map(|at| (at, id)));
        }
        let missing = self.timers.missing(due);
        demand!(missing.is_none(), "{missing:?} is not among the timers");
        demand!(cids == self.by_cid.len(), "{cids} wait, {} are named", self.by_cid.len());
        demand!(charged == self.charged, "{charged} octets, {} charged", self.charged);
        demand!(self.by_cid.len() <= self.settings.waiting_max, "too many wait");
        let timers = self.timers.len();
        demand!(timers <= 2 * self.flows.len() + TIMERS_SPARE, "{timers} deadlines");
        self.audit_lanes()?;
        self.services.audit(&waiting, &given)
    }

    fn audit_members(&self) -> Result<(), String> {
        let mut told = 0;
        for (end, member) in &self.members {
            let is_its = match member.place {
                Place::Idle => true,
                Place::Told => {
                    told += 1;
                    true
                }
                Place::Waiting(id) => {
                    let flow = self.flows.get(id);
                    flow.is_some_and(|flow| flow.client == *end && flow.pair().is_none())
                }
                Place::Early(id) => match self.flows.get(id).map(|flow| &flow.progress) {
                    Some(Progress::Deciding { early: Some(early), .. }) => early.end == *end,
                    _ => false,
                },
                Place::Open(id, seat) => self.has_seat(id, seat, *end, false),
                Place::Closed(id, seat) => self.has_seat(id, seat, *end, true),
            };
            demand!(is_its, "{end:?} stands at {:?}, which is not so", member.place);
        }
        demand!(told == self.told, "{told} were told, {} counted", self.told);
        demand!(self.members.len() <= self.settings.ends_max, "too many ends");
        Ok(())
    }

    fn has_seat(&self, id: FlowId, seat: Seat, end: End, closed: bool) -> bool {
        self.pair_of(id)
            .is_some_and(|pair| pair.end(seat) == end && pair.route(seat).closed == closed)
    }

    /// Gives the memory that is charged beside the flow's own.
    fn audit_flow(&self, id: FlowId, flow: &Flow) -> Result<usize, String> {
        let place = |end: End| self.members.get(&end).map(|member| member.place);
        let kept = flow.bot().map_or(0, Message::bytes);
        let own = size_of::<Flow>() + kept;
        demand!(flow.charged == own, "{id:?} takes {own} octets, {} charged", flow.charged);
        if let Some(pair) = flow.pair() {
            return self.audit_pair(id, pair).map(|()| 0);
        }
        demand!(self.by_cid.get(&flow.cid) == Some(&id), "{id:?} is not found by its cid");
        demand!(place(flow.client) == Some(Place::Waiting(id)), "{id:?}: its client is elsewhere");
        demand!(flow.due.is_some(), "{id:?} waits for ever");
        match &flow.progress {
            Progress::Deciding { early: Some(early), .. } => {
                let there = place(early.end) == Some(Place::Early(id));
                demand!(there, "{id:?}: its early handler is elsewhere");
                Ok(early.charged)
            }
            Progress::Queued { .. } => {
                demand!(flow.handler.is_none(), "{id:?} waits and has a handler");
                Ok(0)
            }
            Progress::Deciding { .. } | Progress::Coming { .. } | Progress::Open(_) => Ok(0),
        }
    }

    fn audit_pair(&self, id: FlowId, pair: &Pair) -> Result<(), String> {
        let closed = [Seat::Client, Seat::Handler].map(|seat| pair.route(seat).closed);
        demand!(closed != [true; 2], "{id:?} has ended on both sides");
        demand!(pair.end(Seat::Client) != pair.end(Seat::Handler), "{id:?} is with itself");
        let checked = self.settings.check_credit || pair.has_lane();
        let bounded = pair.handed_out <= pair.total || !checked;
        demand!(bounded, "{id:?}: {} of {} handed out", pair.handed_out, pair.total);
        let lanes = pair.end(Seat::Client).is_lane() && pair.end(Seat::Handler).is_lane();
        demand!(pair.octets.is_some() == lanes, "{id:?} has {:?} and lanes: {lanes}", pair.octets);
        let bounded = pair.octets.is_none_or(|octets| octets.handed_out <= octets.total);
        demand!(bounded, "{id:?}: {:?}", pair.octets);
        for seat in [Seat::Client, Seat::Handler] {
            let member = self.members.get(&pair.end(seat)).map(|member| member.place);
            let there = matches!(member, Some(Place::Open(at, own) | Place::Closed(at, own))
                if at == id && own == seat);
            demand!(there, "{id:?}: its {seat:?} is elsewhere");
        }
        Ok(())
    }

    /// Whether a handler waits for the factory's answer.
    #[cfg(test)]
    pub(in crate::proto::flow) fn has_early(&self) -> bool {
        self.members.values().any(|member| matches!(member.place, Place::Early(_)))
    }

    /// Memory charged, octets.
    #[must_use]
    pub fn charged(&self) -> usize {
        self.charged
    }
}
