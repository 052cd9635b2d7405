//! Publishing and subscribing, as a peer sees it: what it hears is what it has subscribed to, in
//! order, and what is missing was said.

use std::collections::{BTreeMap, BTreeSet};

use crate::wire::message::Message;
use crate::wire::mjp::{News, Packed, Publish, PublishHeader, SubscribeHeader, ToBroker};

use super::actor::{Act, Context, encoded};

/// Ids from here on are those of subscriptions and publications.
pub(super) const IDS: u64 = 2_000_000;

const SUBJECTS: [&str; 6] = ["a", "a.b", "a.b.c", "a.c", "b", "$a"];
const PATTERNS: [&str; 9] = ["a", "a.b", "*", ">", "a.>", "a.*", "*.b", "a..b", "$a.>"];

/// The subscriptions of one peer.
#[derive(Debug, Default)]
pub(super) struct Listener {
    last: u64,
    open: BTreeMap<u64, Heard>,
    /// Ids that were used while they were open.
    doubled: BTreeSet<u64>,
}

/// What was heard for one subscription.
#[derive(Debug)]
struct Heard {
    pattern: &'static str,
    /// Publications, those included that were missed.
    seq: u64,
    /// By publisher: the number of the last one.
    latest: BTreeMap<String, u64>,
}

impl Listener {
    /// Subscribes, unsubscribes or publishes.
    pub(super) fn act(&mut self, conn: u32, cx: &mut Context<'_>) {
        let first = self.open.keys().next().copied();
        match (cx.rng.within(0, 9), first) {
            (0..=1, Some(id)) => self.unsubscribe(id, cx),
            (2, Some(id)) => {
                self.doubled.insert(id);
                subscribe(id, "a", cx);
            }
            (3..=5, _) if !cx.calm => {
                self.last += 1;
                let (id, pattern) = (IDS + self.last, cx.rng.pick(&PATTERNS));
                let heard = Heard { pattern, seq: 0, latest: BTreeMap::new() };
                self.open.insert(id, heard);
                subscribe(id, pattern, cx);
            }
            // Several at once find less room.
            _ => (0..cx.rng.within(1, 4)).for_each(|_| self.publish(conn, cx)),
        }
        // What they cost is to leave room for requests in the end.
        while cx.calm && self.open.len() > 1 {
            let id = self.open.keys().next_back().copied().unwrap_or_default();
            self.unsubscribe(id, cx);
        }
    }

    fn unsubscribe(&mut self, id: u64, cx: &mut Context<'_>) {
        self.open.remove(&id);
        self.doubled.remove(&id);
        say(&ToBroker::Unsubscribe { id }, cx);
    }

    /// Publishes something: whose it is, and the how manieth.
    pub(super) fn publish(&mut self, conn: u32, cx: &mut Context<'_>) {
        self.last += 1;
        let says = PublishHeader::new(cx.rng.pick(&SUBJECTS));
        let header = Packed::new(&says);
        let mut frames = vec![format!("{conn} {}", self.last).into_bytes()];
        match cx.rng.within(0, 9) {
            0 => frames.push(vec![7; 5_000]),
            1..=3 => frames.push(vec![9; 200]),
            _ => {}
        }
        let (header, body) = (header.octets(), Message::new(frames));
        // Id 0 in an ERROR would be taken for what is wrong with the connection.
        let quiet = !says.subject.starts_with('$') && cx.rng.one_in(3);
        let id = if quiet { 0 } else { IDS + self.last };
        say(&ToBroker::Publish(Publish { id, header, says, body: body.frames() }), cx);
    }

    /// The connection is gone.
    pub(super) fn lost(&mut self) {
        (self.open, self.doubled) = (BTreeMap::new(), BTreeSet::new());
    }

    /// # Errors
    /// The broker said something wrong.
    pub(super) fn news(&mut self, news: &News<'_>) -> Result<(), String> {
        // What was on its way when it was given up, still arrives.
        let Some(heard) = self.open.get_mut(&news.id) else { return self.is_known(news.id) };
        let says = &news.says;
        heard.seq += says.missed.unwrap_or(0) + 1;
        if says.seq != heard.seq || says.missed == Some(0) {
            return Err(format!("{says:?} of {}, where {} is due", heard.pattern, heard.seq));
        }
        let body = news.body.clone().next().unwrap_or_default();
        let text = std::str::from_utf8(body).map_err(|error| error.to_string())?;
        let (publisher, number) = text.split_once(' ').ok_or("a body that nobody published")?;
        let number = number.parse().map_err(|error| format!("{text}: {error}"))?;
        let before = heard.latest.insert(publisher.into(), number);
        if before.is_some_and(|before| before >= number) {
            return Err(format!("{text} came behind {before:?}"));
        }
        Ok(())
    }

    /// # Errors
    /// The broker said something wrong.
    pub(super) fn gap(&mut self, id: u64, missed: u64) -> Result<(), String> {
        match self.open.get_mut(&id) {
            Some(_) if missed == 0 => Err(format!("nothing is missing in {id}")),
            Some(heard) => {
                heard.seq += missed;
                Ok(())
            }
            None => self.is_known(id),
        }
    }

    /// # Errors
    /// The broker said something wrong.
    pub(super) fn refused(&mut self, id: u64, code: &str) -> Result<(), String> {
        let known = ["overloaded", "draining", "bad_request", "forbidden", "duplicate_id"];
        if !known.contains(&code) {
            return Err(format!("{id} is refused by {code}"));
        }
        if code == "duplicate_id" {
            // It may have been given up meanwhile.
            self.doubled.remove(&id);
        } else if !self.doubled.remove(&id) {
            self.open.remove(&id);
        }
        self.is_known(id)
    }

    /// # Errors
    /// Nobody used that id.
    pub(super) fn is_known(&self, id: u64) -> Result<(), String> {
        let known = (IDS + 1..=IDS + self.last).contains(&id);
        if known { Ok(()) } else { Err(format!("nobody has used {id}")) }
    }
}

fn subscribe(id: u64, subject: &str, cx: &mut Context<'_>) {
    let ack = cx.rng.one_in(2).then_some(true);
    say(&ToBroker::Subscribe { id, says: SubscribeHeader { subject, ack } }, cx);
}

fn say(said: &ToBroker<'_>, cx: &mut Context<'_>) {
    cx.act(Act::Say(encoded(|encoder| said.encode(encoder))));
}
