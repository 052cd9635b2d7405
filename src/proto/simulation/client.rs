//! A client: one request at a time or many, patient or not.

use std::collections::BTreeMap;

use crate::wire::mdp::{Request, ToClient, Version};
use crate::wire::message::{Frames, Message};

use super::actor::{Act, Context, encoded};
use super::plan::{GHOST, MIXED, MS, SERVED};
use super::tag::{Kind as PieceKind, Piece, Tag};

/// What sort of client.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    version: Version,
    /// REQ_CORRELATE, or a proxy: frames before the delimiter.
    envelope: bool,
    /// Requests open at a time.
    window: usize,
    /// Pause between two requests at most.
    pause: u64,
    /// It leaves in the middle, once in so many requests.
    vanishes: Option<u64>,
    /// How long it waits for an answer.
    patience: u64,
    /// Asks a service that nobody offers, once in so many requests.
    ghosts: u64,
    /// Whoever takes the request crashes, once in so many.
    poison: u64,
    /// There are workers of NFP.
    mixes: bool,
}

impl Kind {
    pub(super) fn draw(rng: &mut super::rng::Rng, mixes: bool) -> Self {
        let version = rng.pick(&[Version::V01, Version::V01, Version::V02]);
        Self {
            version,
            envelope: version == Version::V01 && rng.one_in(3),
            window: rng.pick(&[1, 4, 16]),
            pause: rng.pick(&[5 * MS, 80 * MS]),
            vanishes: rng.pick(&[None, Some(8)]),
            patience: rng.pick(&[600 * MS, 2_000 * MS]),
            ghosts: rng.pick(&[6, 15]),
            poison: rng.pick(&[12, 60]),
            mixes,
        }
    }
}

#[derive(Debug)]
struct Open {
    service: &'static str,
    tag: Tag,
    until: u64,
    parts: u8,
}

#[derive(Debug)]
pub(super) struct Client {
    me: u32,
    kind: Kind,
    quota: u32,
    number: u32,
    conn: Option<u32>,
    open: BTreeMap<u32, Open>,
    next_at: u64,
    connect_at: Option<u64>,
    /// Asked in the calm at the end.
    probes: Vec<&'static str>,
}

impl Client {
    pub(super) fn new(me: u32, kind: Kind, quota: u32) -> Self {
        Self {
            me,
            kind,
            quota,
            number: 0,
            conn: None,
            open: BTreeMap::new(),
            next_at: 0,
            connect_at: Some(0),
            probes: Vec::new(),
        }
    }

    /// Nothing is asked or awaited any more.
    pub(super) fn is_done(&self) -> bool {
        self.quota == 0 && self.probes.is_empty() && self.open.is_empty()
    }

    pub(super) fn next_wake(&self) -> Option<u64> {
        let patience = self.open.values().map(|open| open.until).min();
        let wants = self.quota > 0 || !self.probes.is_empty();
        let ask = (self.conn.is_some() && wants && self.open.len() < self.kind.window)
            .then_some(self.next_at);
        [self.connect_at, patience, ask].into_iter().flatten().min()
    }

    pub(super) fn connected(&mut self, conn: u32) {
        self.conn = Some(conn);
        self.connect_at = None;
    }

    pub(super) fn lost(&mut self, cx: &mut Context<'_>) {
        self.conn = None;
        self.open.clear();
        self.connect_at = Some(cx.now + cx.rng.within(MS, 150 * MS));
    }

    pub(super) fn calm_down(&mut self) {
        self.kind.vanishes = None;
        self.kind.patience = 800 * MS;
        self.kind.pause = MS;
    }

    /// Asks each service once more, and so many more requests: now they have to be answered.
    pub(super) fn probe(&mut self, more: u32) {
        self.quota += more;
        self.probes.extend(SERVED);
    }

    pub(super) fn woken(&mut self, cx: &mut Context<'_>) {
        if self.connect_at.is_some_and(|at| at <= cx.now) {
            self.connect_at = None;
            cx.act(Act::Connect);
        }
        let Some(conn) = self.conn else { return };
        if self.open.values().any(|open| open.until <= cx.now) {
            if self.kind.window == 1 {
                // As a REQ client does: a new socket, and the request is given up.
                return self.leave(cx);
            }
            self.open.retain(|_, open| open.until > cx.now);
        }
        if self.open.len() < self.kind.window && self.next_at <= cx.now {
            self.ask(conn, cx);
        }
    }

    fn leave(&mut self, cx: &mut Context<'_>) {
        self.lost(cx);
        let quietly = cx.rng.one_in(4) && !cx.calm;
        cx.act(if quietly { Act::Vanish } else { Act::Close });
    }

    fn ask(&mut self, conn: u32, cx: &mut Context<'_>) {
        let service = if let Some(service) = self.probes.pop() {
            service
        } else if self.quota > 0 {
            self.quota -= 1;
            match cx.rng.within(0, 7) {
                0 if self.kind.mixes => MIXED,
                _ if cx.rng.one_in(self.kind.ghosts) => GHOST,
                _ => cx.rng.pick(&SERVED),
            }
        } else {
            return;
        };
        self.number += 1;
        let poison = !cx.calm && service != GHOST && cx.rng.one_in(self.kind.poison);
        let tag = Tag { client: self.me, number: self.number, conn, poison };
        let until = cx.now + self.kind.patience;
        self.open.insert(self.number, Open { service, tag, until, parts: 0 });
        self.next_at = cx.now + cx.rng.within(MS / 2, self.kind.pause);
        let mut frames = vec![if service == MIXED { tag.to_job(None) } else { tag.encode() }];
        match cx.rng.within(0, 9) {
            _ if service == MIXED && cx.rng.one_in(2) => {}
            0 => frames.push(vec![7; 5_000]),
            1..=3 => frames.push(vec![9; 200]),
            _ => {}
        }
        let body = Message::new(frames);
        let envelope = self.envelope(self.number);
        cx.act(Act::Say(encoded(|encoder| {
            let version = self.kind.version;
            let (envelope, body) = (envelope.frames(), body.frames());
            Request { version, envelope, service: service.as_bytes(), body }.encode(encoder);
        })));
        if cx.rng.one_in(20) {
            let probe = if cx.rng.one_in(2) { "mmi.service" } else { "mmi.other" };
            let body = Message::new(vec![b"echo".to_vec()]);
            cx.act(Act::Say(encoded(|encoder| {
                let version = self.kind.version;
                let (envelope, body) = (envelope.frames(), body.frames());
                Request { version, envelope, service: probe.as_bytes(), body }.encode(encoder);
            })));
        }
        if self.kind.vanishes.is_some_and(|one_in| cx.rng.one_in(one_in)) {
            self.leave(cx);
        }
    }

    /// The frames before the header; they are to come back.
    fn envelope(&self, number: u32) -> Message {
        match (self.kind.version, self.kind.envelope) {
            (Version::V02, _) => Message::default(),
            (Version::V01, false) => Frames::DELIMITER.to_message(),
            (Version::V01, true) => {
                // Encoded by hand: the last of these frames has another one after it.
                let frames = vec![number.to_be_bytes().to_vec(), Vec::new(), b"header".to_vec()];
                let message = Message::new(frames);
                let (whole, mut rest) = (message.frames(), message.frames());
                rest.take_first();
                rest.take_first();
                whole.before(&rest).to_message()
            }
        }
    }

    /// # Errors
    /// The broker said something wrong.
    pub(super) fn heard(&mut self, message: Frames<'_>) -> Result<(), String> {
        let mut message = message;
        let mut correlation = None;
        if self.kind.envelope {
            correlation = message.take_first().and_then(|f| f.try_into().ok());
        }
        let answer = ToClient::decode(message).map_err(|e| format!("a client heard: {e}"))?;
        if answer.version != self.kind.version {
            return Err(format!("a client of {:?} heard {:?}", self.kind.version, answer.version));
        }
        if answer.service.starts_with(b"mmi.") {
            let status = answer.body.clone().next();
            let known = [&b"200"[..], b"404", b"501"].contains(&status.unwrap_or_default());
            return if known { Ok(()) } else { Err("an unknown MMI status".into()) };
        }
        let pieces: Vec<Piece> = answer.body.filter_map(Piece::decode).collect();
        let Some(tag) = pieces.first().map(|piece| piece.tag) else {
            return Err("an answer without a tag".into());
        };
        if tag.client != self.me || Some(tag.conn) != self.conn {
            return Err(format!("client {} on {:?} got the answer to {tag:?}", self.me, self.conn));
        }
        if correlation.is_some_and(|octets| u32::from_be_bytes(octets) != tag.number) {
            return Err(format!("the answer to {tag:?} came back in another envelope"));
        }
        // It may have been given up.
        let Some(open) = self.open.get_mut(&tag.number) else { return Ok(()) };
        if open.tag != tag || open.service.as_bytes() != answer.service {
            return Err(format!("the answer to {:?} is {tag:?} of another service", open.tag));
        }
        let mut whole = true;
        for piece in &pieces {
            whole &= piece.tag == tag;
            match piece.kind {
                PieceKind::Part(index) => {
                    // Delivered again: parts start over.
                    whole &= index == open.parts || index == 0 && open.service == "parts";
                    open.parts = index + 1;
                }
                PieceKind::End(parts) => {
                    let again = self.kind.version == Version::V02 && open.service == "parts";
                    whole &= open.parts == parts || again;
                }
                PieceKind::Babble => {}
            }
        }
        if !whole {
            return Err(format!("the answer to {tag:?} is not whole: {pieces:?}, {}", open.parts));
        }
        if answer.last {
            self.open.remove(&tag.number);
        }
        Ok(())
    }
}
