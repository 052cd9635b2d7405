//! What peers say.

use std::num::{NonZeroU16, NonZeroU32};

use super::{Stage, topics};
use crate::fuzzing::pieces::{Choices, frames_written};
use crate::id::PeerId;
use crate::wire::mdp::{self, FromWorker, Version};
use crate::wire::message::{Frames, Message};
use crate::wire::mjp::{
    Answer, Ask, AskHeader, Event, Failure, Fault, Packed, PeerHello, ReadyHeader, Recipients,
    Request, RequestHeader, Scatter, ScatterHeader, StatusHeader, Tell, TellHeader, ToBroker, What,
};

const SERVICES: [&[u8]; 6] = [b"plain", b"once", b"again", b"wide", b"three", b"mmi.service"];

/// The label that some workers have.
const ZONE: (&str, &str) = ("zone", "here");

impl Stage {
    /// What a peer says, as the octets have it.
    pub(super) fn script(
        &self,
        what: u8,
        id: PeerId,
        how: u8,
        choices: &mut Choices<'_>,
    ) -> Option<Message> {
        let service = SERVICES.get(usize::from(how) % SERVICES.len()).copied()?;
        let small = u64::from(how % 8);
        let said = match what {
            60..=87 => return Some(request(service, choices)),
            88..=95 => return Some(scatter(service, choices)),
            96..=107 => ToBroker::Cancel { id: small },
            108..=125 => ToBroker::Ready(ReadyHeader {
                service,
                credit: NonZeroU16::new(u16::from(how >> 5)),
                labels: how.is_multiple_of(5).then_some(ZONE).into_iter().collect(),
                description: how.is_multiple_of(3).then_some("something to remember"),
                ..ReadyHeader::default()
            }),
            126..=133 => ToBroker::Credit { credit: u16::from(how % 5) },
            134..=139 => ToBroker::Drain,
            140..=145 => ToBroker::Bye,
            146..=185 => return Some(self.answer(id, how, choices.octet())),
            186..=189 => ToBroker::Hello(PeerHello::default()),
            190..=195 => ToBroker::Status {
                id: small + 100,
                says: StatusHeader {
                    what: *[What::Broker, What::Services, What::Workers]
                        .get(usize::from(how) % 3)?,
                    service: (how >= 128).then_some(service),
                    after: (how % 4 == 1).then_some(u64::from(how)),
                    max: NonZeroU16::new(u16::from(how % 4)),
                },
            },
            196..=199 => ToBroker::Heartbeat,
            200..=201 => return Some(topics::script(how, choices.octet())),
            202..=203 => return Some(self.talk(id, how, choices.octet())),
            204..=215 => return Some(anything(how, choices)),
            _ => return Some(self.stock(what, id, how, service)),
        };
        Some(Message::new(frames_written(|out| said.encode(out))))
    }

    /// What the peer holds, or what somebody held once.
    fn token(&self, id: PeerId, which: u8) -> u64 {
        let held = self.peers.get(&id).map(|peer| peer.held.as_slice()).unwrap_or_default();
        let of = |tokens: &[u64]| tokens.get(usize::from(which) % tokens.len().max(1)).copied();
        let own = if which < 220 { of(held) } else { None };
        own.or_else(|| of(&self.tokens)).unwrap_or_else(|| u64::from(which))
    }

    fn answer(&self, peer: PeerId, how: u8, which: u8) -> Message {
        let id = self.token(peer, which);
        let body = Message::new([vec![how], vec![7; usize::from(how % 4) * 1500]]);
        let answer = Answer { id, header: b"\x80", body: body.frames() };
        let fault = Packed::new(&Fault { code: "failed", ..Fault::default() });
        let said = match how % 5 {
            0 | 1 => ToBroker::Final(answer),
            2 | 3 => ToBroker::Partial(answer),
            _ => ToBroker::Error(Failure { id, header: fault.octets() }),
        };
        Message::new(frames_written(|out| said.encode(out)))
    }

    /// Something in the middle of a request, or of none.
    fn talk(&self, peer: PeerId, how: u8, which: u8) -> Message {
        let ask = u64::from(how / 4 % 4);
        let (id, body) = (self.token(peer, which), Message::new([vec![how]]));
        let body = if how % 8 == 7 { Frames::default() } else { body.frames() };
        let asks = Packed::new(&AskHeader { ask, message: None });
        let tells = Packed::new(&TellHeader { ask, ..TellHeader::default() });
        let says = TellHeader::default();
        let said = match how % 4 {
            0 => ToBroker::Event(Event { id, header: b"\xc1", body }),
            1 => {
                let says = AskHeader::default();
                ToBroker::Ask(Ask { id, header: asks.octets(), says, body })
            }
            2 => ToBroker::Tell(Tell { id, header: tells.octets(), says, body }),
            _ => {
                let id = u64::from(which % 8);
                ToBroker::Tell(Tell { id, header: tells.octets(), says, body })
            }
        };
        Message::new(frames_written(|out| said.encode(out)))
    }

    /// A peer of MDP.
    fn stock(&self, what: u8, id: PeerId, how: u8, service: &[u8]) -> Message {
        let version = if how >= 128 { Version::V01 } else { Version::V02 };
        let body = Message::new([vec![how], vec![]]);
        let address = self.token(id, how).to_be_bytes();
        let answer = mdp::Answer { address: &address, body: body.frames() };
        let command = match what {
            216..=231 => {
                let envelope = Frames::default();
                let request = mdp::Request { version, envelope, service, body: body.frames() };
                return Message::new(frames_written(|out| request.encode(out)));
            }
            232..=239 => FromWorker::Ready { service },
            240..=247 => FromWorker::Final(answer),
            248..=251 if version == Version::V02 => FromWorker::Partial(answer),
            252..=253 => FromWorker::Disconnect,
            _ => FromWorker::Heartbeat,
        };
        Message::new(frames_written(|out| command.encode(version, out)))
    }
}

fn request(service: &[u8], choices: &mut Choices<'_>) -> Message {
    let [id, terms, ack] = [(); 3].map(|()| choices.octet());
    let says = RequestHeader {
        service,
        timeout: [None, Some(0), Some(40), Some(700), Some(60_000)]
            .get(usize::from(terms % 5))
            .copied()
            .flatten(),
        attempts: NonZeroU32::new(u32::from(terms >> 5)),
        ack: Some(ack.is_multiple_of(2)),
        parts: Some(ack.is_multiple_of(3)),
        trace: ack
            .is_multiple_of(7)
            .then_some("00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"),
        state: None,
        events: Some(!ack.is_multiple_of(5)),
        asks: Some(!ack.is_multiple_of(4)),
        key: None,
        lease: None,
        epoch: None,
        order: None,
        delay: None,
        level: None,
        wait: None,
    };
    if ack >= 0xc0 {
        return keyed(id, RequestHeader { trace: None, ..says });
    }
    let (header, body) = (Packed::new(&says), Message::new([vec![id], vec![3; 40]]));
    let id = u64::from(id % 8);
    let request = Request { id, header: header.octets(), says, body: body.frames() };
    Message::new(frames_written(|out| request.encode(out)))
}

/// A request with one of a few keys; under each there may be two different ones. Nobody waits for
/// ever.
fn keyed(id: u8, says: RequestHeader<'_>) -> Message {
    const KEYS: [&[u8]; 4] = [b"a", b"b", b"c", b"d"];
    let key = KEYS.get(usize::from(id >> 3) % KEYS.len()).copied();
    let timeout = Some(says.timeout.unwrap_or(1000).min(1000));
    let says = RequestHeader { key, timeout, ..says };
    let (header, body) = (Packed::new(&says), Message::new([vec![id >> 7], vec![3; 40]]));
    let (id, header, body) = (u64::from(id % 8), header.octets(), body.frames());
    Message::new(frames_written(|out| Request { id, header, says, body }.encode(out)))
}

fn scatter(service: &[u8], choices: &mut Choices<'_>) -> Message {
    let [id, terms] = [(); 2].map(|()| choices.octet());
    let to = match terms >> 6 {
        0 | 1 => Recipients::All,
        2 => Recipients::Names(vec!["a", "b", "a"]),
        _ => Recipients::Labels([ZONE].into()),
    };
    let timeout = [None, Some(0), Some(40), Some(700)].get(usize::from(terms % 4)).copied();
    let events = Some(terms & 8 != 0);
    let says =
        ScatterHeader { timeout: timeout.flatten(), events, ..ScatterHeader::new(service, to) };
    let (header, body) = (Packed::new(&says), Message::new([vec![id], vec![4; 40]]));
    let (id, header, body) = (u64::from(id % 8), header.octets(), body.frames());
    let scatter = Scatter { id, header, says: says.clone(), body };
    Message::new(frames_written(|out| scatter.encode(out)))
}

/// Frames as the fuzzer likes them, behind the signature.
fn anything(how: u8, choices: &mut Choices<'_>) -> Message {
    let mut frames = vec![b"MJP1".to_vec()];
    let mut second = vec![choices.octet() % 0x40];
    second.extend(u64::from(how % 4).to_be_bytes());
    second.truncate(if how >= 0xf0 { 5 } else { 9 });
    frames.push(second);
    for _ in 0..how % 4 {
        let len = usize::from(choices.octet() % 24);
        frames.push(choices.octets(len).to_vec());
    }
    Message::new(frames)
}
