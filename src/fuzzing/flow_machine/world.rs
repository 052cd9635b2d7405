//! What the table says, kept in its order.

use std::collections::{BTreeMap, BTreeSet};

use crate::proto::flow::{End, FlowEvent, FlowId, FlowOutput, Words};
use crate::wire::message::Message;
use crate::wire::zio::{Shape, Zio};

/// One thing that the table did, in words that the naive broker can say too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Did {
    /// Said to an end: label, with every client id taken out, and number.
    Said(End, String, u64),
    Resumed(End),
    Asked(String),
    Assigned(End, String),
    Ended(&'static str),
}

#[derive(Debug, Default)]
pub(super) struct World {
    pub(super) did: Vec<Did>,
    pub(super) full: BTreeSet<End>,
    pub(super) shapes: BTreeMap<End, Shape>,
    /// The flow that was asked for last, and the BOTs with their ids.
    pub(super) asked: Option<FlowId>,
    pub(super) bots: Vec<(FlowId, u32)>,
    pub(super) charged: usize,
}

/// The number behind `"cid": `, if there is one, and the label without it.
pub(super) fn without_cid(label: &str) -> (String, Option<u32>) {
    let Some((before, rest)) = label.split_once("\"cid\": ") else { return (label.into(), None) };
    let end = rest.find([',', '}']).unwrap_or(rest.len());
    let (number, after) = rest.split_at(end);
    (format!("{before}\"cid\": #{after}"), number.parse().ok())
}

impl World {
    fn bot(&mut self, flow: FlowId, bot: &Message) -> String {
        let zio = Zio::decode(Shape::Single, bot.frames()).expect("a BOT of one frame");
        let (label, cid) = without_cid(zio.label);
        self.bots.push((flow, cid.expect("a BOT for a handler has a cid")));
        label
    }
}

impl FlowOutput for World {
    fn say(&mut self, to: End, words: Words<'_>) {
        let shape = self.shapes.get(&to).copied().expect("an end that is there");
        let zio = Zio::decode(shape, words.frames).expect("a message of its shape");
        self.did.push(Did::Said(to, without_cid(zio.label).0, zio.coordinates.seqno));
    }

    fn forward(&mut self, to: End, words: Words<'_>, waiting_max: usize) -> bool {
        let room = !self.is_full(to, waiting_max);
        if room {
            self.say(to, words);
        }
        room
    }

    fn is_full(&mut self, to: End, _: usize) -> bool {
        self.full.contains(&to)
    }

    fn resume(&mut self, from: End) {
        self.did.push(Did::Resumed(from));
    }

    fn decide(&mut self, flow: FlowId, bot: &Message) {
        let label = self.bot(flow, bot);
        self.did.push(Did::Asked(label));
    }

    fn assign(&mut self, handler: End, flow: FlowId, bot: &Message, _: Option<u64>) {
        let label = self.bot(flow, bot);
        self.did.push(Did::Assigned(handler, label));
    }

    fn charge(&mut self, bytes: usize) -> bool {
        self.charged += bytes;
        true
    }

    fn release(&mut self, bytes: usize) {
        self.charged -= bytes;
    }

    fn event(&mut self, event: FlowEvent) {
        match event {
            FlowEvent::Asked { flow, .. } => self.asked = Some(flow),
            FlowEvent::Ended { outcome, .. } => self.did.push(Did::Ended(outcome.label())),
            _ => {}
        }
    }
}
