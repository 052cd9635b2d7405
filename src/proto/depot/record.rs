//! The octets of what is kept of a request of level disk, and of its outcome (SPEC 15.6).

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use crate::id::{Identity, Principal, ServiceName};
use crate::proto::dialect::{Asker, Proof, Tried};
use crate::proto::durable::Key;
use crate::proto::keys::{Kept, Scope};
use crate::proto::router::Fence;
use crate::proto::titanic::{NUMBER_MAX, RecordError};
use crate::wire::message::{Frames, Message};
use crate::wire::mjp::Digest;

/// Requests without an outcome.
pub const REQUESTS: u8 = b'r';
/// Those of them that have an order or a delay: apart from the others, so that these can be read one
/// after the other.
pub const APART: u8 = b'w';
/// What is to be known of some of them besides: that they may have begun, or were lost.
pub const MARKS: u8 = b'm';
/// Outcomes of requests with a key.
pub const OUTCOMES: u8 = b'o';
/// Dead letters.
pub const LETTERS: u8 = b'd';

/// The version of each record, its first octet.
pub(super) const VERSION: u8 = 1;
/// Of a request that was a dead letter.
const REVIVED: u8 = 2;
/// Of a request that has an order or a delay.
const HELD: u8 = 3;

/// Which service a request is for: requests of one stand together, in the order of acceptance.
pub(super) type Lane = [u8; 16];

/// The lane of a service.
pub(super) fn lane_of(service: &ServiceName) -> Lane {
    let digest = blake3::hash(service.as_bytes());
    digest.as_bytes().first_chunk().copied().unwrap_or_default()
}

fn placed(space: u8, lane: &Lane, number: u64) -> Key {
    let mut name = [0; 24];
    let (first, last) = name.split_at_mut(16);
    first.copy_from_slice(lane);
    last.copy_from_slice(&number.to_be_bytes());
    Key::new(space, &name)
}

pub(super) fn request_key(lane: &Lane, number: u64) -> Key {
    placed(REQUESTS, lane, number)
}

pub(super) fn apart_key(lane: &Lane, number: u64) -> Key {
    placed(APART, lane, number)
}

/// The key of a request that is held so, or not at all.
pub(super) fn key_of(lane: &Lane, number: u64, hold: Option<&Hold>) -> Key {
    placed(if hold.is_some() { APART } else { REQUESTS }, lane, number)
}

pub(super) fn lane_key(lane: &Lane) -> Key {
    Key::new(REQUESTS, lane)
}

pub(super) fn apart_lane_key(lane: &Lane) -> Key {
    Key::new(APART, lane)
}

pub(super) fn mark_key(lane: &Lane, number: u64) -> Key {
    placed(MARKS, lane, number)
}

pub(super) fn outcome_key(number: u64) -> Key {
    Key::new(OUTCOMES, &number.to_be_bytes())
}

pub(super) fn letter_key(number: u64) -> Key {
    Key::new(LETTERS, &number.to_be_bytes())
}

/// The number in a key.
pub(super) fn number_in(key: &[u8]) -> Result<u64, RecordError> {
    let len = match key.first() {
        Some(&(REQUESTS | APART | MARKS)) => 1 + 24,
        Some(&(OUTCOMES | LETTERS)) => 1 + 8,
        _ => return Err(RecordError::Key),
    };
    let number = key.last_chunk().filter(|_| key.len() == len).ok_or(RecordError::Key)?;
    let number = u64::from_be_bytes(*number);
    if number <= NUMBER_MAX { Ok(number) } else { Err(RecordError::Key) }
}

/// By which a repeat is known as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) scope: Scope,
    pub(crate) digest: Digest,
}

/// What is kept of a request besides its header and body.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Head {
    /// ms since 1970.
    pub(crate) accepted: u64,
    /// It is not carried out any more from then on, ms since 1970.
    pub(crate) until: u64,
    /// Deliveries at most; 0: as the service has it.
    pub(crate) attempts: u32,
    pub(crate) owner: Principal,
    /// Who asks, as workers see it: the identity, and what its key is called.
    pub(crate) identity: Option<Identity>,
    pub(crate) called: Option<Arc<str>>,
    pub(crate) service: ServiceName,
    pub(crate) name: Option<Name>,
    pub(crate) fence: Option<Box<Fence>>,
    /// What it was before it was put back, if it was a dead letter.
    pub(crate) before: Option<Before>,
    /// Why it stands apart from the others of its service, if it does.
    pub(crate) hold: Option<Hold>,
}

/// What may keep a request from a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hold {
    /// Requests of the service with the same one run one at a time.
    pub(crate) order: Option<Arc<[u8]>>,
    /// No worker gets it before, ms since 1970; 0: no delay.
    pub(crate) not_before: u64,
}

/// What a request was as a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Before {
    /// Its id as a letter.
    pub(crate) id: u64,
    /// When it was first accepted, ms since 1970.
    pub(crate) accepted: u64,
    /// Deliveries, and times that it has died.
    pub(crate) attempts: u32,
    pub(crate) deaths: u32,
}

/// Reads a record from its beginning on.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    /// Of a version that is known.
    pub(super) fn new(octets: &'a [u8]) -> Result<Self, RecordError> {
        match octets.split_first() {
            Some((&VERSION, rest)) => Ok(Self(rest)),
            Some((version, _)) => Err(RecordError::Version(*version)),
            None => Err(RecordError::Malformed),
        }
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let (array, rest) = self.0.split_first_chunk().ok_or(RecordError::Malformed)?;
        self.0 = rest;
        Ok(*array)
    }

    pub(super) fn octet(&mut self) -> Result<u8, RecordError> {
        self.array().map(|[octet]| octet)
    }

    pub(super) fn number(&mut self) -> Result<u64, RecordError> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn count(&mut self) -> Result<u32, RecordError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn flag(&mut self) -> Result<bool, RecordError> {
        match self.octet()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(RecordError::Malformed),
        }
    }

    /// Up to 255 octets behind their number.
    pub(super) fn short(&mut self) -> Result<&'a [u8], RecordError> {
        let len = usize::from(self.octet()?);
        let (short, rest) = self.0.split_at_checked(len).ok_or(RecordError::Malformed)?;
        self.0 = rest;
        Ok(short)
    }

    pub(super) fn text(&mut self) -> Result<Option<&'a str>, RecordError> {
        let text = std::str::from_utf8(self.short()?).map_err(|_| RecordError::Malformed)?;
        Ok(Some(text).filter(|text| !text.is_empty()))
    }

    fn before(&mut self) -> Result<Before, RecordError> {
        let (id, accepted) = (self.number()?, self.number()?);
        Ok(Before { id, accepted, attempts: self.count()?, deaths: self.count()? })
    }

    fn hold(&mut self) -> Result<Hold, RecordError> {
        let not_before = self.number()?;
        let order = Some(self.short()?).filter(|order| !order.is_empty()).map(Arc::from);
        Ok(Hold { order, not_before })
    }

    pub(super) fn name(&mut self) -> Result<Option<Name>, RecordError> {
        if !self.flag()? {
            return Ok(None);
        }
        let (scope, digest) = (Scope::from(self.array()?), Digest::from(self.array()?));
        Ok(Some(Name { scope, digest }))
    }
}

pub(super) fn put_short(octets: &[u8], out: &mut BytesMut) {
    let octets = octets.get(..octets.len().min(255)).unwrap_or_default();
    out.put_u8(u8::try_from(octets.len()).unwrap_or(u8::MAX));
    out.put_slice(octets);
}

fn put_name(name: Option<&Name>, out: &mut BytesMut) {
    out.put_u8(u8::from(name.is_some()));
    if let Some(name) = name {
        out.put_slice(name.scope.octets());
        out.put_slice(name.digest.octets());
    }
}

pub(super) fn put_frames(frames: Frames<'_>, out: &mut BytesMut) {
    for frame in frames {
        out.put_u32(u32::try_from(frame.len()).unwrap_or(u32::MAX));
        out.put_slice(frame);
    }
}

/// The frames from there to the end, so many at least: large ones share the memory of the record.
pub(super) fn frames_from(
    octets: &Bytes,
    mut at: usize,
    least: usize,
) -> Result<Message, RecordError> {
    let bad = RecordError::Malformed;
    let mut frames = Vec::new();
    while at < octets.len() {
        let size = octets.get(at..).and_then(|rest| rest.first_chunk()).ok_or(bad)?;
        let size = usize::try_from(u32::from_be_bytes(*size)).map_err(|_| bad)?;
        let from = at + 4;
        at = from.checked_add(size).filter(|at| *at <= octets.len()).ok_or(bad)?;
        frames.push(octets.slice(from..at));
    }
    if frames.len() < least { Err(bad) } else { Ok(Message::new(frames)) }
}

impl Head {
    /// The record: the head, then header and body.
    pub(super) fn encode(&self, kept: Frames<'_>) -> Bytes {
        let mut out = BytesMut::with_capacity(512 + kept.bytes() + 4 * kept.len());
        out.put_u8(match (&self.hold, &self.before) {
            (Some(_), _) => HELD,
            (None, Some(_)) => REVIVED,
            (None, None) => VERSION,
        });
        out.put_u64(self.accepted);
        out.put_u64(self.until);
        out.put_u32(self.attempts);
        out.put_slice(&self.owner.octets());
        put_short(self.service.as_bytes(), &mut out);
        put_short(self.identity.as_ref().map_or(&[], Identity::as_bytes), &mut out);
        put_short(self.called.as_ref().map_or(&[], |called| called.as_bytes()), &mut out);
        put_name(self.name.as_ref(), &mut out);
        out.put_u8(u8::from(self.fence.is_some()));
        if let Some(fence) = &self.fence {
            put_short(fence.lease.as_bytes(), &mut out);
            out.put_u64(fence.epoch);
        }
        if self.hold.is_some() {
            out.put_u8(u8::from(self.before.is_some()));
        }
        if let Some(before) = &self.before {
            out.put_u64(before.id);
            out.put_u64(before.accepted);
            out.put_u32(before.attempts);
            out.put_u32(before.deaths);
        }
        if let Some(hold) = &self.hold {
            out.put_u64(hold.not_before);
            put_short(hold.order.as_deref().unwrap_or_default(), &mut out);
        }
        put_frames(kept, &mut out);
        out.freeze()
    }

    /// The head; and where header and body begin.
    pub(super) fn decode(octets: &[u8]) -> Result<(Self, usize), RecordError> {
        let bad = RecordError::Malformed;
        let (mut reader, is_revived, is_held) = match octets.split_first() {
            Some((&REVIVED, rest)) => (Reader(rest), true, false),
            Some((&HELD, rest)) => (Reader(rest), false, true),
            _ => (Reader::new(octets)?, false, false),
        };
        let (accepted, until) = (reader.number()?, reader.number()?);
        let attempts = reader.count()?;
        let owner = Principal::from_octets(&reader.array()?).ok_or(bad)?;
        let service = ServiceName::try_from(reader.short()?).map_err(|_| bad)?;
        let identity = Some(reader.short()?).filter(|identity| !identity.is_empty());
        let identity = identity.map(Identity::try_from).transpose().map_err(|_| bad)?;
        let called = reader.text()?.map(Arc::from);
        let name = reader.name()?;
        let fence = if reader.flag()? {
            let lease = reader.text()?.ok_or(bad)?.into();
            Some(Box::new(Fence { lease, epoch: reader.number()?, principal: owner }))
        } else {
            None
        };
        let is_revived = is_revived || is_held && reader.flag()?;
        let before = if is_revived { Some(reader.before()?) } else { None };
        let hold = if is_held { Some(reader.hold()?) } else { None };
        let at = octets.len() - reader.0.len();
        Ok((
            Self {
                accepted,
                until,
                attempts,
                owner,
                identity,
                called,
                service,
                name,
                fence,
                before,
                hold,
            },
            at,
        ))
    }

    /// The head, and header and body behind it.
    pub(crate) fn read(octets: &Bytes) -> Result<(Self, Message), RecordError> {
        let (head, at) = Self::decode(octets)?;
        Ok((head, frames_from(octets, at, 2)?))
    }

    /// Who asks, as workers see it.
    pub(super) fn asker(&self) -> Asker {
        let proof = Proof::of(&self.owner, self.called.as_ref());
        Asker { identity: self.identity.clone(), proof }
    }
}

/// What is noted of a request while it has no outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    /// It may have been given to a worker, and may not be given to one again.
    pub(crate) begun: bool,
    /// Workers it was lost with, and how often it was alone with them.
    pub(crate) losses: u32,
    pub(crate) solo_losses: u32,
    /// How often workers have failed it and wanted it again, which is not on the disk.
    pub(crate) failures: u32,
}

impl Mark {
    pub(super) fn tried(self) -> Tried {
        Tried { losses: self.losses, solo_losses: self.solo_losses, failures: self.failures }
    }

    pub(super) fn encode(self) -> Bytes {
        let mut out = BytesMut::with_capacity(10);
        out.put_slice(&[VERSION, u8::from(self.begun)]);
        out.put_u32(self.losses);
        out.put_u32(self.solo_losses);
        out.freeze()
    }

    pub(super) fn decode(octets: &[u8]) -> Result<Self, RecordError> {
        let mut reader = Reader::new(octets)?;
        let (begun, losses) = (reader.flag()?, reader.count()?);
        let solo_losses = reader.count()?;
        let mark = Self { begun, losses, solo_losses, failures: 0 };
        if reader.0.is_empty() { Ok(mark) } else { Err(RecordError::Malformed) }
    }
}

/// What is kept of an outcome besides what was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OutcomeHead {
    /// ms since 1970.
    pub(crate) ended: u64,
    pub(crate) name: Name,
    is_error: bool,
}

impl OutcomeHead {
    /// The record of what is said to who asks again.
    pub(super) fn encode(ended: u64, name: Name, said: &Kept) -> Bytes {
        let mut out = BytesMut::with_capacity(128 + said.bytes());
        out.put_slice(&[VERSION, u8::from(matches!(said, Kept::Error(_)))]);
        out.put_u64(ended);
        put_name(Some(&name), &mut out);
        match said {
            Kept::Final(said) => put_frames(said.frames(), &mut out),
            Kept::Error(header) => out.put_slice(header),
        }
        out.freeze()
    }

    /// The head; and where what was said begins.
    pub(super) fn decode(octets: &[u8]) -> Result<(Self, usize), RecordError> {
        let mut reader = Reader::new(octets)?;
        let is_error = reader.flag()?;
        let ended = reader.number()?;
        let name = reader.name()?.ok_or(RecordError::Malformed)?;
        Ok((Self { ended, name, is_error }, octets.len() - reader.0.len()))
    }

    /// What was said.
    pub(super) fn said(octets: &Bytes) -> Result<Kept, RecordError> {
        let (head, at) = Self::decode(octets)?;
        if head.is_error {
            return Ok(Kept::Error(octets.get(at..).unwrap_or_default().into()));
        }
        Ok(Kept::Final(Box::new(frames_from(octets, at, 2)?)))
    }
}

/// A record that can be read, written again.
#[cfg(feature = "fuzzing")]
pub(crate) fn reread(space: u8, octets: &Bytes) -> Option<Bytes> {
    match space {
        REQUESTS | APART => {
            let (head, kept) = Head::read(octets).ok()?;
            Some(head.encode(kept.frames()))
        }
        MARKS => Some(Mark::decode(octets).ok()?.encode()),
        OUTCOMES => {
            let (head, _) = OutcomeHead::decode(octets).ok()?;
            let said = OutcomeHead::said(octets).ok()?;
            Some(OutcomeHead::encode(head.ended, head.name, &said))
        }
        LETTERS => Some(super::letter::Record::decode(octets).ok()?.encode()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{PublicKey, UserName};

    fn head() -> Head {
        let owner = Principal::User(UserName::try_from(&b"bob"[..]).unwrap());
        Head {
            accepted: 1_795_349_873_870,
            until: 1_795_349_973_870,
            attempts: 3,
            owner,
            identity: Some(Identity::try_from(&b"me"[..]).unwrap()),
            called: Some("Bob".into()),
            service: ServiceName::try_from(&b"echo"[..]).unwrap(),
            name: Some(Name { scope: Scope::from([7; 32]), digest: Digest::from([8; 32]) }),
            fence: Some(Box::new(Fence { lease: "l".into(), epoch: 9, principal: owner })),
            before: None,
            hold: None,
        }
    }

    fn kept() -> Message {
        Message::new([&b"\x81\xa1x\x01"[..], b"", &[7; 5000], b"end"])
    }

    #[test]
    fn a_request_comes_back_and_a_broken_one_does_not() {
        let plain = Head {
            attempts: 0,
            owner: Principal::Key(PublicKey([7; 32])),
            identity: None,
            called: None,
            name: None,
            fence: None,
            ..head()
        };
        let before = Some(Before { id: 7, accepted: 5, attempts: 3, deaths: 1 });
        let hold = Some(Hold { order: Some(b"account 7"[..].into()), not_before: 9 });
        let later = Some(Hold { order: None, not_before: u64::MAX });
        let held = [
            Head { hold: hold.clone(), ..head() },
            Head { hold, before, ..plain.clone() },
            Head { hold: later, ..plain.clone() },
        ];
        let others = [head(), Head { before, ..plain.clone() }, plain];
        for head in held.into_iter().chain(others) {
            let octets = head.encode(kept().frames());
            assert_eq!(Head::read(&octets), Ok((head.clone(), kept())));
            let (_, at) = Head::decode(&octets).unwrap();
            for len in 0..octets.len() {
                let cut = Head::read(&octets.slice(..len));
                assert!(cut.is_err() || len > at && cut.unwrap().1 != kept(), "{len}");
            }
            let mut later = octets.to_vec();
            later[0] = 4;
            assert_eq!(Head::decode(&later), Err(RecordError::Version(4)));
        }
    }

    #[test]
    fn an_outcome_comes_back_as_it_was() {
        let name = head().name.unwrap();
        let said = Kept::Final(Box::new(kept()));
        let octets = OutcomeHead::encode(5, name, &said);
        let Ok(Kept::Final(again)) = OutcomeHead::said(&octets) else { panic!("no final") };
        assert_eq!(*again, kept());
        assert_eq!(OutcomeHead::decode(&octets).unwrap().0.ended, 5);
        let octets = OutcomeHead::encode(5, name, &Kept::Error(b"\x80"[..].into()));
        let Ok(Kept::Error(header)) = OutcomeHead::said(&octets) else { panic!("no error") };
        assert_eq!(&header[..], b"\x80");
    }

    #[test]
    fn a_mark_comes_back_and_a_longer_one_does_not() {
        let mark = Mark { begun: true, losses: 3, solo_losses: 1, failures: 0 };
        let octets = mark.encode();
        assert_eq!(Mark::decode(&octets), Ok(mark));
        assert!(Mark::decode(&octets[..9]).is_err());
        assert!(Mark::decode(&[&octets[..], b"x"].concat()).is_err());
    }

    #[test]
    fn requests_of_a_service_stand_together_in_their_order() {
        let lane = lane_of(&head().service);
        let (first, second) = (request_key(&lane, 255), request_key(&lane, 256));
        assert!(first < second && first.octets().starts_with(lane_key(&lane).octets()));
        assert_eq!(number_in(second.octets()), Ok(256));
        let apart = apart_key(&lane, 256);
        assert!(!apart.octets().starts_with(lane_key(&lane).octets()), "they are not among them");
        assert_eq!(number_in(apart.octets()), Ok(256));
        assert_eq!(number_in(outcome_key(7).octets()), Ok(7));
        assert_eq!(number_in(&outcome_key(7).octets()[..8]), Err(RecordError::Key));
        assert_eq!(number_in(b"zzzzzzzzz"), Err(RecordError::Key));
    }
}
