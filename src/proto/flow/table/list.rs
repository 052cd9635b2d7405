//! What can be seen of the table.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::id::{ServiceName, slot_of};
use crate::proto::clock::Time;
use crate::proto::flow::output::{End, Outcome};
use crate::wire::message::Message;
use crate::wire::zio::{Direction, Shape};

use super::FlowTable;
use super::flow::{FlowId, Stage};
use super::member::Place;

/// What has been counted since the beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FlowCounts {
    /// Flows that clients asked for and that were not refused at once.
    pub asked: u64,
    /// Flows for which a handler came.
    pub paired: u64,
    /// DATs forwarded.
    pub dats: u64,
    /// Octets of them.
    pub bytes: u64,
}

/// One flow in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowRow {
    /// Which one.
    pub flow: FlowId,
    /// Who asked for it.
    pub client: End,
    /// Who came.
    pub handler: Option<End>,
    /// What the client does.
    pub direction: Direction,
    /// The service that was asked.
    pub service: Option<ServiceName>,
    /// How far it is.
    pub stage: Stage,
    /// The agreed credit; 0 before there is one.
    pub credit: u64,
    /// The same in octets; none if there is none.
    pub credit_octets: Option<u64>,
    /// DATs forwarded.
    pub dats: u64,
    /// Octets of them.
    pub bytes: u64,
    /// Time since the client's BOT.
    pub age: Duration,
    /// Time since something was last forwarded.
    pub silent: Duration,
}

/// One end in a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndRow {
    /// Which one.
    pub end: End,
    /// How its messages look.
    pub shape: Shape,
    /// Where it stands.
    pub state: &'static str,
    /// Its flow, if it has one.
    pub flow: Option<FlowId>,
    /// Ends within its connection, if that is of MJP.
    pub lanes: usize,
}

impl FlowTable {
    /// Flows that there are, waiting ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.flows.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    /// Flows whose handler has not come.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.by_cid.len()
    }

    /// Offers of flow services.
    #[must_use]
    pub fn handlers(&self) -> usize {
        self.services.offers()
    }

    /// Ends that are connected.
    #[must_use]
    pub fn ends(&self) -> usize {
        self.members.len()
    }

    /// Whether that end is not read because another one is full.
    #[must_use]
    pub fn is_paused(&self, end: End) -> bool {
        self.members.get(&end).is_some_and(|member| member.paused)
    }

    /// The BOT of a flow about which the factory has not decided, as a handler gets it.
    #[must_use]
    pub fn undecided(&self, id: FlowId) -> Option<&Message> {
        let flow = self.flows.get(id).filter(|flow| flow.stage() == Stage::Deciding)?;
        flow.bot()
    }

    /// What has been counted.
    #[must_use]
    pub fn counts(&self) -> FlowCounts {
        self.counts
    }

    /// Messages dropped, by reason.
    #[must_use]
    pub fn dropped(&self) -> &BTreeMap<&'static str, u64> {
        &self.dropped
    }

    /// BOTs answered by EOT, by reason.
    #[must_use]
    pub fn refused(&self) -> &BTreeMap<&'static str, u64> {
        &self.refused
    }

    /// Flows that ended, by outcome.
    #[must_use]
    pub fn outcomes(&self) -> &BTreeMap<&'static str, u64> {
        &self.outcomes
    }

    /// At most `max` flows from the slot `from` on, and where to go on if there may be more.
    #[must_use]
    pub fn page(&self, now: Time, from: u32, max: usize) -> (Vec<FlowRow>, Option<u32>) {
        let rest = self.flows.iter().skip_while(|(id, _)| slot_of(*id) < from);
        let rows: Vec<FlowRow> = rest
            .take(max)
            .map(|(id, flow)| {
                let pair = flow.pair();
                FlowRow {
                    flow: id,
                    client: flow.client,
                    handler: pair.map(|pair| pair.ends.handler),
                    direction: flow.direction,
                    service: flow.service.clone(),
                    stage: flow.stage(),
                    credit: pair.map_or(0, |pair| pair.total),
                    credit_octets: pair.and_then(|pair| pair.octets).map(|octets| octets.total),
                    dats: pair.map_or(0, |pair| pair.dats),
                    bytes: pair.map_or(0, |pair| pair.bytes),
                    age: now.since(flow.since),
                    silent: now.since(pair.map_or(flow.since, |pair| pair.last)),
                }
            })
            .collect();
        let next = rows.last().filter(|_| rows.len() == max).map(|row| slot_of(row.flow) + 1);
        (rows, next)
    }

    /// At most `max` ends from the slot of a peer on, and where to go on if there may be more. All
    /// lanes of a connection are one row.
    #[must_use]
    pub fn ends_page(&self, from: u32, max: usize) -> (Vec<EndRow>, Option<u32>) {
        let rest = self.members.iter().skip_while(|(end, _)| slot_of(end.peer) < from);
        let mut last = None;
        let first = rest.filter(|(end, _)| last.replace(end.peer) != Some(end.peer));
        let rows: Vec<EndRow> = first
            .take(max)
            .map(|(end, member)| {
                let (state, flow) = match member.place {
                    _ if end.is_lane() => ("lanes", None),
                    Place::Idle => ("idle", None),
                    Place::Waiting(id) => ("waiting", Some(id)),
                    Place::Early(id) => ("early", Some(id)),
                    Place::Open(id, _) => ("open", Some(id)),
                    Place::Closed(id, _) => ("closed", Some(id)),
                    Place::Told => ("told", None),
                };
                let lanes = self.lanes.count(end.peer);
                EndRow { end: *end, shape: member.shape, state, flow, lanes }
            })
            .collect();
        let next = rows.last().filter(|_| rows.len() == max);
        let next = next.map(|row| slot_of(row.end.peer).saturating_add(1));
        (rows, next)
    }

    pub(super) fn note_outcome(&mut self, outcome: Outcome) {
        *self.outcomes.entry(outcome.label()).or_default() += 1;
    }
}
