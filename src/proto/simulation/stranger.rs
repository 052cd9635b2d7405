//! A peer that says anything: commands in any order and version, wrong ones, garbage.

use crate::wire::command::Command;
use crate::wire::mdp::{Answer, FromWorker, Request, ToWorker, Version};
use crate::wire::message::{Frames, Message};
use crate::wire::mjp::{self, Packed, PeerHello, ReadyHeader, RequestHeader, StatusHeader, What};

use super::actor::{Act, Context, encoded};
use super::nfp_stranger;
use super::plan::{GHOST, MS, SERVED};
use super::tag::{Kind, Piece, Tag};

#[derive(Debug)]
pub(super) struct Stranger {
    me: u32,
    number: u32,
    conn: Option<u32>,
    connect_at: Option<u64>,
    next_at: u64,
    /// What it says most of, this time.
    version: Version,
    /// It speaks MJP this time, or NFP.
    native: bool,
    nfp: bool,
    /// There are peers of NFP.
    mixes: bool,
    /// What it was given to do.
    held: Vec<(Vec<u8>, Tag)>,
    gone: bool,
}

impl Stranger {
    pub(super) fn new(me: u32, mixes: bool) -> Self {
        Self {
            me,
            number: 0,
            conn: None,
            connect_at: Some(0),
            next_at: 0,
            version: Version::V01,
            native: false,
            nfp: false,
            mixes,
            held: Vec::new(),
            gone: false,
        }
    }

    pub(super) fn calm_down(&mut self) -> Option<Act> {
        self.gone = true;
        self.connect_at = None;
        self.conn.take().map(|_| Act::Close)
    }

    pub(super) fn next_wake(&self) -> Option<u64> {
        if self.conn.is_some() { Some(self.next_at) } else { self.connect_at }
    }

    pub(super) fn connected(&mut self, conn: u32, cx: &mut Context<'_>) {
        if self.gone {
            // It was on its way when the calm began; it must not keep a name from a worker.
            return cx.act(Act::Close);
        }
        self.conn = Some(conn);
        self.connect_at = None;
        self.held.clear();
        self.version = cx.rng.pick(&[Version::V01, Version::V02]);
        self.nfp = self.mixes && cx.rng.one_in(3);
        self.native = cx.rng.one_in(3);
        if self.native || self.nfp {
            return;
        }
        if cx.rng.one_in(2) {
            let ready = FromWorker::Ready { service: cx.rng.pick(&SERVED).as_bytes() };
            cx.act(Act::Say(encoded(|encoder| ready.encode(self.version, encoder))));
        }
    }

    pub(super) fn lost(&mut self, cx: &mut Context<'_>) {
        self.conn = None;
        if !self.gone {
            self.connect_at = Some(cx.now + cx.rng.within(MS, 60 * MS));
        }
    }

    pub(super) fn heard(&mut self, message: Frames<'_>) {
        if let Ok(mjp::FromBroker::Request(delivery)) = mjp::FromBroker::decode(message)
            && let Some(tag) = delivery.body.clone().next().and_then(Tag::decode)
        {
            self.held.push((delivery.id.to_be_bytes().to_vec(), tag));
        }
        if let Ok((_, ToWorker::Request(request))) = ToWorker::decode(message)
            && let Some(tag) = request.body.clone().next().and_then(Tag::decode)
        {
            self.held.push((request.address.to_vec(), tag));
        }
    }

    pub(super) fn woken(&mut self, cx: &mut Context<'_>) {
        if self.connect_at.is_some_and(|at| at <= cx.now) {
            self.connect_at = None;
            cx.act(Act::Connect);
        }
        let Some(conn) = self.conn.filter(|_| self.next_at <= cx.now) else { return };
        self.next_at = cx.now + cx.rng.within(MS, 60 * MS);
        if cx.rng.one_in(12) {
            self.lost(cx);
            cx.act(Act::Close);
            return;
        }
        if self.nfp != (self.mixes && cx.rng.one_in(20)) {
            self.number += 1;
            let (client, number) = (self.me, self.number);
            let tag = Tag { client, number, conn, poison: false };
            if cx.rng.one_in(16) {
                // Silence, longer than a worker may keep it.
                self.next_at = cx.now + 900 * MS;
            }
            return nfp_stranger::say_anything(tag, cx);
        }
        let native = self.native != cx.rng.one_in(20);
        let said = if native { self.anything_native(conn, cx) } else { self.anything(conn, cx) };
        cx.act(Act::Say(said));
    }

    fn anything(&mut self, conn: u32, cx: &mut Context<'_>) -> Vec<u8> {
        let version = if cx.rng.one_in(8) { other(self.version) } else { self.version };
        let command = match cx.rng.within(0, 13) {
            0 => return self.request(version, conn, cx),
            1 => FromWorker::Ready { service: cx.rng.pick(&SERVED).as_bytes() },
            2 => FromWorker::Ready { service: b"mmi.service" },
            3 | 4 => FromWorker::Heartbeat,
            5 => FromWorker::Disconnect,
            6..=8 => return self.answer(version, true, cx),
            9 | 10 => return self.answer(Version::V02, false, cx),
            11 => return garbage(version, cx),
            12 => {
                let mut ping = Vec::new();
                let ttl_deciseconds = u16::try_from(cx.rng.within(0, 2)).unwrap();
                Command::Ping { ttl_deciseconds, context: b"?" }.encode(&mut ping);
                self.next_at = cx.now + cx.rng.within(MS, 600 * MS);
                return ping;
            }
            _ => {
                // Silence, longer than a worker may keep it.
                self.next_at = cx.now + 900 * MS;
                FromWorker::Heartbeat
            }
        };
        encoded(|encoder| command.encode(version, encoder))
    }

    fn anything_native(&mut self, conn: u32, cx: &mut Context<'_>) -> Vec<u8> {
        use mjp::ToBroker as Said;
        let id = cx.rng.within(1, 6);
        let said = match cx.rng.within(0, 17) {
            0..=2 => return self.ask(id, conn, cx),
            3 | 4 => {
                let credit = std::num::NonZeroU16::new(cx.rng.pick(&[1, 2, 9]));
                let service = cx.rng.pick(&[SERVED[0], SERVED[1], SERVED[2], "mmi.x"]).as_bytes();
                Said::Ready(ReadyHeader { service, credit, ..ReadyHeader::default() })
            }
            5 => Said::Credit { credit: cx.rng.pick(&[0, 1, 5]) },
            6 => Said::Drain,
            7 => Said::Bye,
            8 => Said::Cancel { id },
            9 => Said::Hello(PeerHello::default()),
            10 => {
                let what = cx.rng.pick(&[What::Broker, What::Services, What::Workers]);
                let service = cx.rng.one_in(2).then_some(&b"echo"[..]);
                Said::Status { id, says: StatusHeader { what, service, after: None, max: None } }
            }
            11 => {
                let octet = cx.rng.pick(&[0x00, 0x10, 0x12, 0x20, 0x21, 0x23, 0x30, 0x31, 0x99]);
                return encoded(|encoder| {
                    encoder.frame(b"MJP1");
                    encoder.frame(&[octet, 0, 0, 0, 0, 0, 0, 0, u8::try_from(id).unwrap()]);
                    encoder.last_frame(b"\xc1");
                });
            }
            12 => {
                return encoded(|encoder| {
                    encoder.frame(b"MJP1");
                    encoder.last_frame(b"\x02");
                });
            }
            13..=16 => return self.answer_native(cx),
            _ => {
                // Silence, longer than a worker may keep it.
                self.next_at = cx.now + 900 * MS;
                Said::Heartbeat
            }
        };
        encoded(|encoder| said.encode(encoder))
    }

    fn ask(&mut self, id: u64, conn: u32, cx: &mut Context<'_>) -> Vec<u8> {
        self.number += 1;
        let tag = Tag { client: self.me, number: self.number, conn, poison: false };
        let body = Message::new(vec![tag.encode()]);
        let service = cx.rng.pick(&[SERVED[0], SERVED[1], SERVED[2], GHOST, "mmi.service"]);
        let says = RequestHeader {
            service: service.as_bytes(),
            timeout: cx.rng.pick(&[None, Some(0), Some(50), Some(600)]),
            ack: Some(cx.rng.one_in(2)),
            ..RequestHeader::default()
        };
        let header = Packed::new(&says);
        let request = mjp::Request { id, header: header.octets(), says, body: body.frames() };
        encoded(|encoder| mjp::ToBroker::Request(request).encode(encoder))
    }

    fn answer_native(&mut self, cx: &mut Context<'_>) -> Vec<u8> {
        let last = cx.rng.one_in(2);
        let (address, tag) = self.whose(last, cx);
        let id = address.try_into().map_or(1, u64::from_be_bytes);
        let body = Message::new(vec![Piece { tag, kind: Kind::Babble }.encode()]);
        let answer = mjp::Answer { id, header: b"", body: body.frames() };
        let fault = mjp::Fault { code: "no_paper", ..mjp::Fault::default() };
        let fault = Packed::new(&fault);
        let said = match (last, cx.rng.one_in(3)) {
            (true, true) => mjp::ToBroker::Error(mjp::Failure { id, header: fault.octets() }),
            (true, false) => mjp::ToBroker::Final(answer),
            (false, _) => mjp::ToBroker::Partial(answer),
        };
        encoded(|encoder| said.encode(encoder))
    }

    fn request(&mut self, version: Version, conn: u32, cx: &mut Context<'_>) -> Vec<u8> {
        self.number += 1;
        let tag = Tag { client: self.me, number: self.number, conn, poison: false };
        let body = Message::new(vec![tag.encode()]);
        let service = match cx.rng.within(0, 4) {
            0 => GHOST.as_bytes().to_vec(),
            1 => format!("unknown{}", cx.rng.within(0, 6)).into_bytes(),
            2 => vec![b'n'; 256],
            _ => cx.rng.pick(&SERVED).as_bytes().to_vec(),
        };
        let body = body.frames();
        let request = Request { version, envelope: Frames::default(), service: &service, body };
        encoded(|encoder| request.encode(encoder))
    }

    /// What it answers: what it holds, what others hold, or nothing that exists.
    fn whose(&mut self, last: bool, cx: &mut Context<'_>) -> (Vec<u8>, Tag) {
        let strange = Tag { client: self.me, number: 0, conn: 0, poison: false };
        let own = if last { self.held.pop() } else { self.held.last().cloned() };
        match (own, cx.gossip.clone()) {
            (Some(own), _) => own,
            (None, Some(others)) if cx.rng.one_in(2) => others,
            _ => (vec![1; 8], strange),
        }
    }

    fn answer(&mut self, version: Version, last: bool, cx: &mut Context<'_>) -> Vec<u8> {
        let (address, tag) = self.whose(last, cx);
        let body = Message::new(vec![Piece { tag, kind: Kind::Babble }.encode()]);
        let answer = Answer { address: &address, body: body.frames() };
        let command = if last { FromWorker::Final(answer) } else { FromWorker::Partial(answer) };
        encoded(|encoder| command.encode(version, encoder))
    }
}

fn other(version: Version) -> Version {
    match version {
        Version::V01 => Version::V02,
        Version::V02 => Version::V01,
    }
}

fn garbage(version: Version, cx: &mut Context<'_>) -> Vec<u8> {
    let header = match version {
        Version::V01 => &[&b""[..], b"MDPW01"][..],
        Version::V02 => &[&b"MDPW02"[..]],
    };
    let rest = match cx.rng.within(0, 5) {
        0 => &[&b"\x63"[..]][..],
        1 => &[&b""[..]],
        2 => &[&b"\x01"[..], b"echo", b"extra"],
        3 => &[&b"\x01"[..], b""],
        4 => &[&b"\x03"[..], b"no address"],
        _ => return encoded(|encoder| encoder.last_frame(b"")),
    };
    let frames: Vec<Vec<u8>> = header.iter().chain(rest).map(|frame| frame.to_vec()).collect();
    encoded(|encoder| encoder.frames(&Message::new(frames).frames()))
}
