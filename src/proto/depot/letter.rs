//! The octets of a dead letter on the disk (SPEC 15.4, 16.2).

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use crate::id::{Identity, Principal, ServiceName};
use crate::proto::dead::{Cause, LetterId, Seen, SeenEnd};
use crate::proto::titanic::RecordError;
use crate::wire::message::{Frames, Message};
use crate::wire::mjp::{Packed, RequestHeader};

use super::record::{Before, Reader, VERSION, frames_from, put_frames, put_short};

/// A worker that had a request, how that ended, and when, ms since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SeenThen {
    pub(crate) worker: Box<str>,
    pub(crate) end: SeenEnd,
    pub(crate) at: u64,
}

/// All that is kept of a dead letter.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Record {
    pub(crate) cause: Cause,
    /// That of the request when it was first accepted.
    pub(crate) id: LetterId,
    /// When it was first accepted, when it died, and when it is to be forgotten (0: never); ms
    /// since 1970.
    pub(crate) accepted: u64,
    pub(crate) died: u64,
    pub(crate) expires: u64,
    /// Deliveries, and times that it has died.
    pub(crate) attempts: u32,
    pub(crate) deaths: u32,
    pub(crate) owner: Principal,
    /// Who asked, as workers see it: the identity, and what its key is called.
    pub(crate) identity: Option<Identity>,
    pub(crate) called: Option<Arc<str>>,
    /// What it asked for, and where it is kept.
    pub(crate) service: ServiceName,
    pub(crate) queue: ServiceName,
    /// What the last worker said.
    pub(crate) message: Option<Box<str>>,
    pub(crate) seen: Vec<SeenThen>,
    /// The first frame is the caller's header.
    pub(crate) has_header: bool,
    /// The caller's header, if there is one, and the body.
    pub(crate) text: Message,
}

impl Record {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(1024 + self.text.bytes());
        out.put_slice(&[VERSION, self.cause as u8]);
        for number in [self.id.0, self.accepted, self.died, self.expires] {
            out.put_u64(number);
        }
        out.put_u32(self.attempts);
        out.put_u32(self.deaths);
        out.put_slice(&self.owner.octets());
        put_short(self.identity.as_ref().map_or(&[], Identity::as_bytes), &mut out);
        put_short(self.called.as_ref().map_or(&[], |called| called.as_bytes()), &mut out);
        put_short(self.service.as_bytes(), &mut out);
        put_short(self.queue.as_bytes(), &mut out);
        let message = self.message.as_deref().unwrap_or_default();
        out.put_u16(u16::try_from(message.len()).unwrap_or(0));
        out.put_slice(message.as_bytes());
        out.put_u8(u8::try_from(self.seen.len()).unwrap_or(0));
        for SeenThen { worker, end, at } in &self.seen {
            out.put_u8(*end as u8);
            out.put_u64(*at);
            put_short(worker.as_bytes(), &mut out);
        }
        out.put_u8(u8::from(self.has_header));
        put_frames(self.text.frames(), &mut out);
        out.freeze()
    }

    pub(crate) fn decode(octets: &Bytes) -> Result<Self, RecordError> {
        let bad = RecordError::Malformed;
        let mut reader = Reader::new(octets)?;
        let cause = Cause::ALL.get(usize::from(reader.octet()?)).copied().ok_or(bad)?;
        let (id, accepted) = (LetterId(reader.number()?), reader.number()?);
        let (died, expires) = (reader.number()?, reader.number()?);
        let (attempts, deaths) = (reader.count()?, reader.count()?);
        let owner = Principal::from_octets(&reader.array()?).ok_or(bad)?;
        let identity = Some(reader.short()?).filter(|identity| !identity.is_empty());
        let identity = identity.map(Identity::try_from).transpose().map_err(|_| bad)?;
        let called = reader.text()?.map(Arc::from);
        let service = ServiceName::try_from(reader.short()?).map_err(|_| bad)?;
        let queue = ServiceName::try_from(reader.short()?).map_err(|_| bad)?;
        let len = usize::from(u16::from_be_bytes(reader.array()?));
        let (message, rest) = reader.0.split_at_checked(len).ok_or(bad)?;
        let message = std::str::from_utf8(message).map_err(|_| bad)?;
        reader.0 = rest;
        let count = usize::from(reader.octet()?);
        if count > Seen::MAX {
            return Err(bad);
        }
        let mut seen = Vec::with_capacity(count);
        for _ in 0..count {
            let end = SeenEnd::from_number(reader.octet()?).ok_or(bad)?;
            let at = reader.number()?;
            let worker = std::str::from_utf8(reader.short()?).map_err(|_| bad)?.into();
            seen.push(SeenThen { worker, end, at });
        }
        let has_header = reader.flag()?;
        let text = frames_from(octets, octets.len() - reader.0.len(), 1)?;
        Ok(Self {
            cause,
            id,
            accepted,
            died,
            expires,
            attempts,
            deaths,
            owner,
            identity,
            called,
            service,
            queue,
            message: Some(message).filter(|message| !message.is_empty()).map(Into::into),
            seen,
            has_header,
            text,
        })
    }

    /// The caller's header, if there is one, and the body.
    pub(crate) fn split(&self) -> (Option<&[u8]>, Frames<'_>) {
        let mut body = self.text.frames();
        let header = if self.has_header { body.take_first() } else { None };
        (header, body)
    }

    /// The order that its own header says.
    pub(super) fn order(&self) -> Option<Arc<[u8]>> {
        let (header, _) = self.split();
        RequestHeader::decode(header?).ok()?.order.map(Arc::from)
    }

    /// Octets of the body.
    pub(super) fn body_len(&self) -> usize {
        self.split().1.map(<[u8]>::len).sum()
    }

    /// Header and body of a request of that.
    pub(super) fn kept(&self) -> Message {
        if self.has_header && self.text.frames().len() > 1 {
            return self.text.clone();
        }
        let service = self.service.as_bytes();
        let own = Packed::new(&RequestHeader { service, ..RequestHeader::default() });
        let (header, body) = self.split();
        let header = Message::from(header.unwrap_or_else(|| own.octets()).to_vec());
        let body = if body.is_empty() { Message::new([""]) } else { body.to_message() };
        Message::joined(&[header, body])
    }

    /// What a request was that is of that.
    pub(super) fn before(&self) -> Before {
        let Self { id, accepted, attempts, deaths, .. } = self;
        Before { id: id.0, accepted: *accepted, attempts: *attempts, deaths: *deaths }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::PublicKey;

    fn record() -> Record {
        let seen = |worker: &str, end, at| SeenThen { worker: worker.into(), end, at };
        Record {
            cause: Cause::Exhausted,
            id: LetterId::of_kept(7),
            accepted: 1_795_349_873_870,
            died: 1_795_349_973_870,
            expires: 0,
            attempts: 3,
            deaths: 1,
            owner: Principal::Key(PublicKey([7; 32])),
            identity: Some(Identity::try_from(&b"me"[..]).unwrap()),
            called: Some("Bob".into()),
            service: ServiceName::try_from(&b"pay.in"[..]).unwrap(),
            queue: ServiceName::try_from(&b"pay.dead"[..]).unwrap(),
            message: Some("no paper".into()),
            seen: vec![seen("w1", SeenEnd::Lost, 5), seen("", SeenEnd::Failed, 9)],
            has_header: true,
            text: Message::new([&b"\x81\xa1x\x01"[..], b"", &[7; 5000], b"end"]),
        }
    }

    #[test]
    fn a_letter_comes_back_and_a_broken_one_does_not() {
        let plain = Record {
            cause: Cause::Overflow,
            owner: Principal::Local,
            identity: None,
            called: None,
            message: None,
            seen: Vec::new(),
            has_header: false,
            text: Message::new(["x"]),
            ..record()
        };
        for record in [record(), plain] {
            let octets = record.encode();
            assert_eq!(Record::decode(&octets).as_ref(), Ok(&record));
            for len in 0..octets.len() {
                let cut = Record::decode(&octets.slice(..len));
                assert!(cut.is_err() || cut.unwrap().text != record.text, "{len}");
            }
            let mut later = octets.to_vec();
            later[0] = 9;
            assert_eq!(Record::decode(&later.into()), Err(RecordError::Version(9)));
        }
    }

    #[test]
    fn what_is_no_cause_no_end_or_too_much_is_refused() {
        let octets = record().encode();
        for (at, bad) in [(1, Cause::ALL.len()), (1, 255)] {
            let mut octets = octets.to_vec();
            octets[at] = u8::try_from(bad).unwrap();
            assert_eq!(Record::decode(&octets.into()), Err(RecordError::Malformed));
        }
        let seen = SeenThen { worker: "w".into(), end: SeenEnd::Lost, at: 1 };
        let many = Record { seen: vec![seen; Seen::MAX + 1], ..record() };
        assert_eq!(Record::decode(&many.encode()), Err(RecordError::Malformed));
    }

    #[test]
    fn a_request_of_a_letter_has_a_header_and_a_body() {
        assert_eq!(record().kept(), record().text);
        let bare = Record { has_header: false, text: Message::new(["x"]), ..record() };
        let kept = bare.kept();
        let says = RequestHeader::decode(kept.first()).unwrap();
        assert_eq!((says.service, kept.frames().nth(1)), (&b"pay.in"[..], Some(&b"x"[..])));
        let empty = Record { text: Message::new([&b"\x80"[..]]), ..record() };
        assert_eq!(empty.kept(), Message::new([&b"\x80"[..], b""]));
    }
}
