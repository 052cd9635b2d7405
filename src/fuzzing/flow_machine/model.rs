//! A broker of flows as simple as can be: lists that are searched from the front, and no state of
//! an end but what follows from the flows.

use super::words::{Words, reverse};
use super::world::Did;
use crate::proto::flow::{End, FlowId};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stage {
    Deciding { until: u64, early: Option<(End, Words)> },
    Queued { until: u64 },
    Coming { until: u64 },
    Open(Pair),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pair {
    /// Client and handler.
    pub(super) ends: [End; 2],
    pub(super) closed: [bool; 2],
    said_eot: [bool; 2],
    last: [u64; 2],
    pub(super) giver: usize,
    total: u64,
    out: u64,
    /// When something last went.
    pub(super) touched: u64,
}

#[derive(Debug)]
pub(super) struct Flow {
    pub(super) id: Option<FlowId>,
    cid: Option<u32>,
    client: End,
    bot: Words,
    pub(super) stage: Stage,
    /// Its place among those that wait for the service, and which offer has it.
    number: u64,
    offer: Option<u64>,
}

#[derive(Debug)]
struct Offer {
    number: u64,
    end: End,
    credit: usize,
    used: u64,
}

/// The settings, in seconds.
pub(super) const DECISION: u64 = 5;
pub(super) const HANDLER: u64 = 7;
pub(super) const ENDING: u64 = 11;
pub(super) const WAITING_MAX: usize = 3;

#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) now: u64,
    pub(super) members: Vec<End>,
    pub(super) told: Vec<End>,
    pub(super) paused: Vec<End>,
    pub(super) flows: Vec<Flow>,
    offers: Vec<Offer>,
    clock: u64,
    /// When the takers are cut, and when it is over.
    pub(super) stop: Option<(Option<u64>, u64)>,
    pub(super) did: Vec<Did>,
}

/// Where an end stands: which flow, and which side of it.
enum Place {
    Idle,
    Told,
    Waiting(usize),
    Early(usize),
    Open(usize, usize),
    Closed(usize, usize),
}

impl Model {
    fn place(&self, end: End) -> Place {
        for (at, flow) in self.flows.iter().enumerate() {
            match &flow.stage {
                Stage::Open(pair) => {
                    for (side, (other, closed)) in pair.ends.iter().zip(pair.closed).enumerate() {
                        if *other == end {
                            return if closed {
                                Place::Closed(at, side)
                            } else {
                                Place::Open(at, side)
                            };
                        }
                    }
                }
                Stage::Deciding { early: Some((early, _)), .. } if *early == end => {
                    return Place::Early(at);
                }
                _ if flow.client == end => return Place::Waiting(at),
                _ => {}
            }
        }
        if self.told.contains(&end) { Place::Told } else { Place::Idle }
    }

    fn say(&mut self, to: End, label: &str, seqno: u64) {
        self.did.push(Did::Said(to, label.into(), seqno));
    }

    pub(super) fn eot(&mut self, to: End, seqno: u64) {
        self.say(to, r#"{"flow": "EOT"}"#, seqno);
    }

    pub(super) fn resume(&mut self, end: End) {
        if self.paused.contains(&end) && self.members.contains(&end) {
            self.paused.retain(|other| *other != end);
            self.did.push(Did::Resumed(end));
        }
    }

    /// Whether the message is taken. `full` says for whom there is no room.
    pub(super) fn message(&mut self, from: End, said: &Words, full: impl Fn(End) -> bool) -> bool {
        if !self.members.contains(&from) {
            return true;
        }
        let place = self.place(from);
        match (place, said.kind) {
            (Place::Open(at, side), "DAT" | "PAY" | "EOT") => {
                return self.forward(from, at, side, said, full);
            }
            (Place::Idle | Place::Told, "BOT") => {
                if full(from) {
                    self.paused.push(from);
                    return false;
                }
                self.on_bot(from, said);
            }
            (Place::Closed(at, side), "BOT") => {
                if full(from) {
                    self.paused.push(from);
                    return false;
                }
                self.with_pair(at, |pair| {
                    pair.closed = [true; 2];
                    pair.said_eot = std::array::from_fn(|it| pair.said_eot(it) || it == side);
                });
                self.end_pair(at, "abandoned");
                self.on_bot(from, said);
            }
            (Place::Idle, "DAT" | "PAY") => {
                if full(from) {
                    self.paused.push(from);
                    return false;
                }
                self.eot(from, said.seqno);
                self.told.push(from);
            }
            (Place::Told, "EOT") => self.told.retain(|end| *end != from),
            (Place::Closed(at, side), "EOT") => self.with_pair(at, |pair| {
                pair.said_eot = std::array::from_fn(|it| pair.said_eot(it) || it == side);
            }),
            (Place::Waiting(at), "EOT") => {
                self.eot(from, 0);
                self.forget(at, "given_up");
            }
            (Place::Early(at), "EOT") => {
                if let Some(Stage::Deciding { early, .. }) =
                    self.flows.get_mut(at).map(|flow| &mut flow.stage)
                {
                    *early = None;
                }
                self.eot(from, 0);
            }
            _ => {}
        }
        true
    }

    fn with_pair(&mut self, at: usize, change: impl FnOnce(&mut Pair)) {
        if let Some(Stage::Open(pair)) = self.flows.get_mut(at).map(|flow| &mut flow.stage) {
            change(pair);
        }
    }

    fn waiting(&self) -> usize {
        self.flows.iter().filter(|flow| !matches!(flow.stage, Stage::Open(_))).count()
    }

    fn on_bot(&mut self, from: End, said: &Words) {
        self.told.retain(|end| *end != from);
        let taken = match said.cid {
            None | Some(0) => self.ask(from, said),
            Some(cid) => self.come(from, cid, said),
        };
        if !taken {
            self.did.push(said.refusal(from, said.cid.is_some()));
        }
    }

    fn ask(&mut self, client: End, said: &Words) -> bool {
        let known = matches!(said.direction, "extract" | "inject");
        let room = self.waiting() < WAITING_MAX;
        let target = said.stream;
        if self.stop.is_some() || !known || said.number().is_none() || !room || target == "refuse" {
            return false;
        }
        let until = self.now + DECISION;
        let stage = Stage::Deciding { until, early: None };
        let bot = said.clone();
        let flow = Flow { id: None, cid: None, client, bot, stage, number: 0, offer: None };
        self.flows.push(flow);
        let at = self.flows.len() - 1;
        if target == "service" {
            self.queue(at);
        } else {
            self.did.push(Did::Asked(said.for_handler()));
        }
        true
    }

    fn queue(&mut self, at: usize) {
        self.clock += 1;
        let (number, until) = (self.clock, self.now + HANDLER);
        if let Some(flow) = self.flows.get_mut(at) {
            flow.number = number;
            flow.stage = Stage::Queued { until };
        }
        self.dispatch();
    }

    fn dispatch(&mut self) {
        loop {
            let queued =
                self.flows.iter_mut().filter(|it| matches!(it.stage, Stage::Queued { .. }));
            let Some(flow) = queued.min_by_key(|flow| flow.number) else { return };
            let number = flow.number;
            let busy: Vec<u64> = self.flows.iter().filter_map(|flow| flow.offer).collect();
            let free = self.offers.iter_mut().filter(|offer| {
                busy.iter().filter(|number| **number == offer.number).count() < offer.credit
            });
            let Some(offer) = free.min_by_key(|offer| (offer.used, offer.number)) else { return };
            self.clock += 1;
            offer.used = self.clock;
            let (holder, end, until) = (offer.number, offer.end, self.now + HANDLER);
            let flow = self.flows.iter_mut().find(|flow| flow.number == number);
            let Some(flow) = flow else { return };
            flow.offer = Some(holder);
            flow.stage = Stage::Coming { until };
            self.did.push(Did::Assigned(end, flow.bot.for_handler()));
        }
    }

    fn come(&mut self, from: End, cid: u32, said: &Words) -> bool {
        let waits = |flow: &Flow| !matches!(flow.stage, Stage::Open(_)) && flow.cid == Some(cid);
        let Some(at) = self.flows.iter().position(waits) else { return false };
        let Some(flow) = self.flows.get_mut(at) else { return false };
        let fits = said.direction == reverse(flow.bot.direction);
        if !fits || said.number().is_none_or(|credit| credit < 1) {
            return false;
        }
        match &mut flow.stage {
            Stage::Coming { .. } => {
                self.pair(at, from, said);
                true
            }
            Stage::Deciding { early: early @ None, .. } => {
                *early = Some((from, said.clone()));
                true
            }
            Stage::Deciding { .. } | Stage::Queued { .. } | Stage::Open(_) => false,
        }
    }

    fn pair(&mut self, at: usize, handler: End, said: &Words) {
        let Some(flow) = self.flows.get_mut(at) else { return };
        let client = flow.client;
        flow.stage = Stage::Open(Pair {
            ends: [client, handler],
            closed: [false; 2],
            said_eot: [false; 2],
            last: [flow.bot.seqno, said.seqno],
            giver: usize::from(flow.bot.direction == "inject"),
            total: said.number().and_then(|credit| u64::try_from(credit).ok()).unwrap_or(0),
            out: 0,
            touched: self.now,
        });
        self.say(handler, &said.bot("BOT", reverse(said.direction), None), said.seqno);
        self.say(client, &said.bot("BOT", said.direction, None), said.seqno);
    }

    fn forward(
        &mut self,
        from: End,
        at: usize,
        side: usize,
        said: &Words,
        full: impl Fn(End) -> bool,
    ) -> bool {
        let now = self.now;
        let Some(Stage::Open(pair)) = self.flows.get_mut(at).map(|flow| &mut flow.stage) else {
            return true;
        };
        let credit = said.number().and_then(|credit| u64::try_from(credit).ok());
        let out = match said.kind {
            "EOT" => Some(pair.out),
            _ if pair.said_eot(1 - side) => Some(pair.out),
            "DAT" if pair.giver == side && pair.out > 0 => Some(pair.out - 1),
            "PAY" if pair.giver != side => {
                credit.filter(|credit| *credit <= pair.total - pair.out).map(|it| pair.out + it)
            }
            _ => None,
        };
        let Some(out) = out else {
            let outcome = if pair.closed == [false; 2] { "violated" } else { "stopped" };
            self.end_pair(at, outcome);
            return true;
        };
        let Some(to) = pair.ends.get(1 - side).copied() else { return true };
        if full(to) {
            self.paused.push(from);
            return false;
        }
        (pair.out, pair.touched) = (out, now);
        pair.last = std::array::from_fn(|it| if it == side { said.seqno } else { pair.last(it) });
        let over = said.kind == "EOT" && {
            pair.said_eot = std::array::from_fn(|it| pair.said_eot(it) || it == side);
            pair.closed = std::array::from_fn(|it| pair.closed(it) || it == side);
            pair.closed == [true; 2]
        };
        self.say(to, &said.label(), said.seqno);
        if over {
            self.end_pair(at, "finished");
        }
        true
    }

    pub(super) fn end_pair(&mut self, at: usize, outcome: &'static str) {
        let Some(Stage::Open(pair)) = self.flows.get(at).map(|flow| flow.stage.clone()) else {
            return;
        };
        for (side, end) in pair.ends.into_iter().enumerate() {
            if !self.members.contains(&end) {
                continue;
            }
            if !pair.closed(1 - side) {
                self.eot(end, pair.last(1 - side) + 1);
            }
            if !pair.said_eot(side) {
                self.told.push(end);
            }
        }
        pair.ends.into_iter().for_each(|end| self.resume(end));
        self.forget(at, outcome);
    }

    fn forget(&mut self, at: usize, outcome: &'static str) {
        let flow = self.flows.remove(at);
        if let Stage::Deciding { early: Some((end, bot)), .. } = &flow.stage {
            self.did.push(bot.refusal(*end, true));
        }
        self.did.push(Did::Ended(outcome));
        self.dispatch();
    }

    /// The BOT of a flow that waits, answered by EOT.
    pub(super) fn refuse(&mut self, at: usize) {
        let Some(flow) = self.flows.get(at) else { return };
        self.did.push(flow.bot.refusal(flow.client, true));
        self.forget(at, "refused");
    }

    /// The table has given names to what is new here.
    pub(super) fn learn(&mut self, asked: Option<FlowId>, bots: &[(FlowId, u32)]) {
        for flow in self.flows.iter_mut().filter(|flow| flow.id.is_none()) {
            flow.id = asked;
        }
        for (id, cid) in bots {
            let flow = self.flows.iter_mut().find(|flow| flow.id == Some(*id));
            flow.into_iter().for_each(|flow| flow.cid = Some(*cid));
        }
    }

    pub(super) fn decided(&mut self, id: FlowId, how: u8) {
        let Some(at) = self.flows.iter().position(|flow| flow.id == Some(id)) else { return };
        let Some(flow) = self.flows.get_mut(at) else { return };
        let Stage::Deciding { early, .. } = &mut flow.stage else { return };
        match how {
            0 => self.refuse(at),
            1 => {
                if let Some((end, bot)) = early.take() {
                    self.did.push(bot.refusal(end, true));
                }
                self.queue(at);
            }
            _ => {
                let early = early.take();
                flow.stage = Stage::Coming { until: self.now + HANDLER };
                if let Some((end, bot)) = early {
                    self.pair(at, end, &bot);
                }
            }
        }
    }

    pub(super) fn declined(&mut self, id: FlowId) {
        let given = |flow: &Flow| {
            flow.id == Some(id)
                && flow.offer.is_some()
                && matches!(flow.stage, Stage::Coming { .. })
        };
        if let Some(at) = self.flows.iter().position(given) {
            self.refuse(at);
        }
    }

    pub(super) fn offer(&mut self, number: u64, end: End, credit: usize) {
        self.clock += 1;
        let used = self.clock;
        self.offers.push(Offer { number, end, credit, used });
        self.dispatch();
    }

    pub(super) fn set_credit(&mut self, number: u64, credit: usize) {
        for offer in self.offers.iter_mut().filter(|offer| offer.number == number) {
            offer.credit = credit;
        }
        self.dispatch();
    }

    pub(super) fn withdraw(&mut self, number: u64) {
        self.offers.retain(|offer| offer.number != number);
        for flow in self.flows.iter_mut().filter(|flow| flow.offer == Some(number)) {
            flow.offer = None;
            if let Stage::Coming { until } = flow.stage {
                flow.stage = Stage::Queued { until };
            }
        }
        self.dispatch();
    }

    pub(super) fn lost(&mut self, end: End) {
        if !self.members.contains(&end) {
            return;
        }
        let place = self.place(end);
        self.members.retain(|other| *other != end);
        self.told.retain(|other| *other != end);
        self.paused.retain(|other| *other != end);
        match place {
            Place::Idle | Place::Told => {}
            Place::Waiting(at) => self.forget(at, "lost"),
            Place::Early(at) => {
                if let Some(Stage::Deciding { early, .. }) =
                    self.flows.get_mut(at).map(|flow| &mut flow.stage)
                {
                    *early = None;
                }
            }
            Place::Open(at, _) | Place::Closed(at, _) => self.end_pair(at, "lost"),
        }
    }

    pub(super) fn relieved(&mut self, end: End) {
        self.resume(end);
        if let Place::Open(at, side) | Place::Closed(at, side) = self.place(end)
            && let Some(Stage::Open(pair)) = self.flows.get(at).map(|flow| &flow.stage)
            && let Some(partner) = pair.ends.get(1 - side).copied()
        {
            self.resume(partner);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }
}

impl Pair {
    fn closed(&self, side: usize) -> bool {
        self.closed.get(side).copied().unwrap_or_default()
    }

    fn said_eot(&self, side: usize) -> bool {
        self.said_eot.get(side).copied().unwrap_or_default()
    }

    pub(super) fn last(&self, side: usize) -> u64 {
        self.last.get(side).copied().unwrap_or_default()
    }
}
