//! `flow_machine`: ends of flows, the factory and those who offer services do anything in any
//! order. After every step the table passes its audit, and everybody has been told what a naive
//! broker would have told.

mod model;
mod times;
mod words;
mod world;

use std::time::Duration;

use slotmap::SlotMap;

use self::model::{DECISION, ENDING, HANDLER, Model, WAITING_MAX};
use self::words::Words;
use self::world::World;
use super::pieces::Choices;
use crate::id::{PeerId, ServiceName};
use crate::proto::clock::Time;
use crate::proto::core::Taken;
use crate::proto::flow::{
    Decision, End, FlowId, FlowRule, FlowSettings, FlowTable, HandlerId, Target,
};
use crate::wire::message::Message;
use crate::wire::zio::{Coordinates, Form, Shape, Zio};

struct Stage {
    table: FlowTable,
    world: World,
    model: Model,
    peers: SlotMap<PeerId, ()>,
    /// Everybody who ever was there.
    ends: Vec<End>,
    /// What was not taken and is offered again when its end is read again.
    held: Vec<(End, Words)>,
    flows: Vec<FlowId>,
    cids: Vec<u32>,
    offers: Vec<(u64, End, HandlerId)>,
    offered: u64,
    said: u64,
}

/// Steps of three octets: what, by whom, how.
pub fn flow_machine(input: &[u8]) {
    const STEPS_MAX: usize = 300;
    let mut choices = Choices::new(input);
    let mut stage = Stage::new();
    for _ in 0..STEPS_MAX {
        if choices.is_empty() {
            break;
        }
        let [what, who, how] = [choices.octet(), choices.octet(), choices.octet()];
        stage.step(what, who, how);
        stage.compare();
    }
    stage.finish();
}

fn service() -> ServiceName {
    ServiceName::try_from(&b"service"[..]).expect("a name")
}

fn settings() -> FlowSettings {
    let rule = |stream: &str, target| FlowRule {
        direction: None,
        attributes: vec![("stream".into(), stream.into())],
        target,
    };
    FlowSettings {
        rules: vec![rule("service", Target::Service(service())), rule("factory", Target::Factory)],
        decision_timeout: Duration::from_secs(DECISION),
        handler_timeout: Duration::from_secs(HANDLER),
        end_timeout: Duration::from_secs(ENDING),
        idle_after: None,
        waiting_max: WAITING_MAX,
        ..FlowSettings::default()
    }
}

fn pick<T: Copy>(from: &[T], which: u8) -> Option<T> {
    from.get(usize::from(which) % from.len().max(1)).copied()
}

impl Stage {
    fn new() -> Self {
        Self {
            table: FlowTable::new(settings(), [1; 32]),
            world: World::default(),
            model: Model::default(),
            peers: SlotMap::with_key(),
            ends: Vec::new(),
            held: Vec::new(),
            flows: Vec::new(),
            cids: vec![0, 5],
            offers: Vec::new(),
            offered: 0,
            said: 0,
        }
    }

    fn now(&self) -> Time {
        Time::default().after(Duration::from_secs(self.model.now))
    }

    fn step(&mut self, what: u8, who: u8, how: u8) {
        let now = self.now();
        let end = pick(&self.ends, who);
        match (what, end) {
            (0..=15, _) => self.join(how),
            (16..=23, Some(end)) => self.lose(end),
            (24..=199, Some(end)) => self.speak(end, what, how),
            (200..=217, _) => {
                if let Some(flow) = pick(&self.flows, who) {
                    let decision = match how % 4 {
                        0 => Decision::Refuse,
                        1 => Decision::Service(service()),
                        _ => Decision::Accept,
                    };
                    self.table.decided(now, flow, decision, &mut self.world);
                    self.model.decided(flow, how % 4);
                }
            }
            (218..=221, _) => {
                if let Some(flow) = pick(&self.flows, who) {
                    self.table.declined(now, flow, &mut self.world);
                    self.model.declined(flow);
                }
            }
            (222..=231, _) => self.offer(who, how),
            (232..=239, _) => {
                self.model.now += u64::from(how % 8);
                self.table.tick(self.now(), &mut self.world);
                self.model.tick();
            }
            (240..=247, Some(end)) => {
                self.world.full.insert(end);
            }
            (248..=253, Some(end)) => {
                self.world.full.remove(&end);
                self.table.relieved(end.peer, &mut self.world);
                self.model.relieved(end);
            }
            (254, _) if how < 100 => {
                self.table.stop(now, Duration::from_secs(8), &mut self.world);
                self.model.stop(8);
            }
            _ => {}
        }
    }

    fn join(&mut self, how: u8) {
        if self.model.members.len() >= 8 {
            return;
        }
        // A lane comes with what it says and goes when it is idle: the naive broker has none.
        let end = End::of(self.peers.insert(()));
        let shape = if how.is_multiple_of(5) { Shape::Multipart } else { Shape::Single };
        assert!(self.table.join(end, shape));
        self.model.members.push(end);
        self.world.shapes.insert(end, shape);
        self.ends.push(end);
    }

    fn lose(&mut self, end: End) {
        let now = self.now();
        self.table.leave(now, end.peer, &mut self.world);
        let mut own: Vec<End> = self.model.members.clone();
        own.retain(|other| other.peer == end.peer);
        own.sort_unstable();
        for end in own {
            self.model.lost(end);
        }
        let (gone, left) = self.offers.drain(..).partition(|(_, by, _)| by.peer == end.peer);
        self.offers = left;
        let mut gone: Vec<(u64, End, HandlerId)> = gone;
        gone.sort_by_key(|(_, end, id)| (*end, *id));
        for (number, ..) in gone {
            self.model.withdraw(number);
        }
        self.held.retain(|(other, _)| other.peer != end.peer);
        self.world.full.retain(|other| other.peer != end.peer);
    }

    /// An end says something, unless it is not read.
    fn speak(&mut self, end: End, what: u8, how: u8) {
        if self.model.paused.contains(&end) {
            return;
        }
        self.said += 1;
        let kind = match what {
            24..=99 => "BOT",
            100..=139 => "DAT",
            140..=172 => "PAY",
            _ => "EOT",
        };
        let handler = (60..=99).contains(&what);
        let words = Words {
            kind,
            direction: pick(&["extract", "inject", "inject", "extract", "both"], how)
                .unwrap_or("x"),
            credit: pick(&["2", "1", "3", "0", "2", "-1", "1.5"], how / 5).unwrap_or("1"),
            stream: pick(&["factory", "service", "factory", "refuse"], how / 64).unwrap_or("x"),
            cid: pick(&self.cids, what.wrapping_add(how)).filter(|_| handler),
            seqno: self.said,
        };
        self.offer_message(end, words);
    }

    fn offer_message(&mut self, end: End, words: Words) {
        let label = words.label();
        let coordinates = Coordinates { seqno: words.seqno, ..Coordinates::default() };
        let zio = Zio { form: Form::FLOW, label: &label, coordinates, ..Zio::default() };
        let shape = self.world.shapes.get(&end).copied().unwrap_or(Shape::Single);
        let message: Message = zio.to_message(shape);
        let now = self.now();
        let full = self.world.full.clone();
        let taken = self.table.message(now, end, message.frames(), &mut self.world);
        let expected = self.model.message(end, &words, |end| full.contains(&end));
        assert_eq!(taken == Taken::Yes, expected, "{end:?} {words:?}");
        if !expected {
            self.held.push((end, words));
        }
    }

    fn offer(&mut self, who: u8, how: u8) {
        let now = self.now();
        let known = pick(&self.offers, who);
        match (how % 4, known, pick(&self.ends, who)) {
            (0, Some((number, _, id)), _) => {
                self.offers.retain(|(other, ..)| *other != number);
                self.table.withdraw(now, id, &mut self.world);
                self.model.withdraw(number);
            }
            (1, Some((number, _, id)), _) => {
                let credit = how / 4 % 4;
                self.table.set_credit(now, id, credit.into(), &mut self.world);
                self.model.set_credit(number, credit.into());
            }
            (_, _, Some(end)) => {
                let credit = how / 4 % 4;
                let offered = self.table.offer(now, end, service(), credit.into(), &mut self.world);
                if let Ok(id) = offered {
                    self.offered += 1;
                    self.offers.push((self.offered, end, id));
                    self.model.offer(self.offered, end, credit.into());
                }
            }
            _ => {}
        }
    }

    fn compare(&mut self) {
        loop {
            self.table.audit().expect("the tables are sound");
            assert_eq!(self.table.charged(), self.world.charged);
            self.model.learn(self.world.asked.take(), &self.world.bots);
            for (flow, cid) in self.world.bots.drain(..) {
                self.flows.push(flow);
                self.cids.push(cid);
            }
            let (did, expected) =
                (std::mem::take(&mut self.world.did), std::mem::take(&mut self.model.did));
            assert_eq!(did, expected);
            assert_eq!(self.table.is_empty(), self.model.is_empty());
            // Who is read again says once more what was not taken.
            let paused = &self.model.paused;
            let Some(at) = self.held.iter().position(|(end, _)| !paused.contains(end)) else {
                return;
            };
            let (end, words) = self.held.remove(at);
            self.offer_message(end, words);
        }
    }

    /// Everybody leaves, and nothing is left of them.
    fn finish(mut self) {
        while let Some(end) = self.model.members.last().copied() {
            self.lose(end);
            self.compare();
        }
        for (number, _, id) in std::mem::take(&mut self.offers) {
            self.table.withdraw(self.now(), id, &mut self.world);
            self.model.withdraw(number);
        }
        self.compare();
        assert!(self.table.is_empty() && self.world.charged == 0, "something is left");
        assert_eq!(self.table.is_stopped(), self.model.is_stopped());
    }
}
