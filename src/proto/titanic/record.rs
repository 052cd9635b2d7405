//! The octets of what is kept of a request (SPEC 15.4).

use bytes::{BufMut, Bytes, BytesMut};

use crate::id::{Principal, ServiceName};
use crate::proto::durable::Key;
use crate::wire::message::{Frames, Message};

use super::uuid::Uuid;

/// Heads: what there is to know of a request without its bodies.
pub const HEADS: u8 = b'h';
/// Bodies of requests.
pub const BODIES: u8 = b'b';
/// Bodies of answers.
pub const ANSWERS: u8 = b'a';

/// The version of the head, its first octet.
const VERSION: u8 = 1;

pub(super) fn head_key(uuid: Uuid) -> Key {
    Key::new(HEADS, &uuid.octets())
}

pub(super) fn body_key(uuid: Uuid) -> Key {
    Key::new(BODIES, &uuid.octets())
}

pub(super) fn answer_key(uuid: Uuid) -> Key {
    Key::new(ANSWERS, &uuid.octets())
}

/// How far a request has come, as it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// It has no answer.
    Waiting = 0,
    /// It may have been given to a worker, and may not be given to another one.
    Begun = 1,
    /// It has an answer.
    Answered = 2,
    /// It will have none.
    Failed = 3,
}

/// What is kept of a request besides its bodies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) progress: Progress,
    /// Its place in the order of acceptance.
    pub(super) sequence: u64,
    /// When it was accepted and, if it was, answered; ms since 1970.
    pub(super) accepted: u64,
    pub(super) ended: u64,
    /// Octets of the bodies as they are kept; 0: there is none.
    pub(super) request_bytes: u64,
    pub(super) answer_bytes: u64,
    /// Who asked.
    pub(super) owner: Principal,
    /// What was asked for.
    pub(super) service: ServiceName,
}

/// No request has such a number, and no record so many octets: there is room to count on.
pub(in crate::proto) const NUMBER_MAX: u64 = 1 << 60;

/// Why a record cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The key is none of ours.
    #[error("its key is none of its kind")]
    Key,
    /// It was written by a later version.
    #[error("it has version {0} and this program knows version 1")]
    Version(u8),
    /// It ends too early, or has a value that there is not.
    #[error("it is too short, or one of its fields has no such value")]
    Malformed,
}

/// The key of the record without which a head is of no use: its body, or its answer.
#[must_use]
pub fn companion(key: &[u8], value: &[u8]) -> Option<Key> {
    if key.first() != Some(&HEADS) {
        return None;
    }
    let uuid = uuid_in(key).ok()?;
    match Head::decode(value).ok()?.progress {
        Progress::Waiting | Progress::Begun => Some(body_key(uuid)),
        Progress::Answered => Some(answer_key(uuid)),
        Progress::Failed => None,
    }
}

impl Head {
    pub(super) fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(75 + self.service.as_bytes().len());
        out.extend_from_slice(&[VERSION, self.progress as u8]);
        for number in
            [self.sequence, self.accepted, self.ended, self.request_bytes, self.answer_bytes]
        {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.extend_from_slice(&self.owner.octets());
        out.extend_from_slice(self.service.as_bytes());
        out.into()
    }

    pub(super) fn decode(octets: &[u8]) -> Result<Self, RecordError> {
        let bad = RecordError::Malformed;
        let (&[version, progress], rest) = octets.split_first_chunk().ok_or(bad)?;
        if version != VERSION {
            return Err(RecordError::Version(version));
        }
        let progress = match progress {
            0 => Progress::Waiting,
            1 => Progress::Begun,
            2 => Progress::Answered,
            3 => Progress::Failed,
            _ => return Err(bad),
        };
        let (sequence, rest) = number(rest)?;
        let (accepted, rest) = number(rest)?;
        let (ended, rest) = number(rest)?;
        let (request_bytes, rest) = number(rest)?;
        let (answer_bytes, rest) = number(rest)?;
        if [sequence, request_bytes, answer_bytes].into_iter().any(|it| it > NUMBER_MAX) {
            return Err(bad);
        }
        let (owner, service) = rest.split_first_chunk().ok_or(bad)?;
        let owner = Principal::from_octets(owner).ok_or(bad)?;
        let service = ServiceName::try_from(service).map_err(|_| bad)?;
        Ok(Self {
            progress,
            sequence,
            accepted,
            ended,
            request_bytes,
            answer_bytes,
            owner,
            service,
        })
    }
}

fn number(octets: &[u8]) -> Result<(u64, &[u8]), RecordError> {
    let (number, rest) = octets.split_first_chunk().ok_or(RecordError::Malformed)?;
    Ok((u64::from_be_bytes(*number), rest))
}

/// A body: each frame with its length before it, 4 octets.
pub(super) fn encode_body(body: Frames<'_>) -> Bytes {
    let mut out = BytesMut::with_capacity(body.bytes() + 4 * body.len());
    for frame in body {
        out.put_u32(u32::try_from(frame.len()).unwrap_or(u32::MAX));
        out.put_slice(frame);
    }
    out.freeze()
}

/// The frames of a body; large ones share its memory. `None`: it is none.
pub(super) fn decode_body(octets: &Bytes) -> Option<Message> {
    let (mut frames, mut at) = (Vec::new(), 0);
    while at < octets.len() {
        let size = octets.get(at..)?.first_chunk()?;
        let from = at + size.len();
        at = from.checked_add(usize::try_from(u32::from_be_bytes(*size)).ok()?)?;
        octets.get(from..at)?;
        frames.push(octets.slice(from..at));
    }
    (!frames.is_empty()).then(|| Message::new(frames))
}

/// The UUID in a key.
pub(super) fn uuid_in(key: &[u8]) -> Result<Uuid, RecordError> {
    let octets = key.get(1..).and_then(|uuid| uuid.try_into().ok()).ok_or(RecordError::Key)?;
    Ok(Uuid::from_octets(octets))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::UserName;

    fn head() -> Head {
        Head {
            progress: Progress::Answered,
            sequence: 7,
            accepted: 1_795_349_873_870,
            ended: 1_795_349_873_999,
            request_bytes: 9,
            answer_bytes: 1 << 40,
            owner: Principal::User(UserName::try_from(&b"bob"[..]).unwrap()),
            service: ServiceName::try_from(&b"echo"[..]).unwrap(),
        }
    }

    #[test]
    fn a_head_comes_back_and_a_broken_one_does_not() {
        let octets = head().encode();
        assert_eq!(octets.len(), 2 + 5 * 8 + 33 + 4);
        assert_eq!(Head::decode(&octets), Ok(head()));
        for len in 0..=octets.len() - 4 {
            assert!(Head::decode(&octets[..len]).is_err(), "{len}");
        }
        let mut later = octets.to_vec();
        later[0] = 2;
        assert_eq!(Head::decode(&later), Err(RecordError::Version(2)));
        for (at, value) in [(1, 4), (42, 9)] {
            let mut broken = octets.to_vec();
            broken[at] = value;
            assert_eq!(Head::decode(&broken), Err(RecordError::Malformed), "{at}");
        }
        // The sequence, and the octets of request and answer: nobody has ever counted so far.
        for at in [2, 26, 34] {
            let mut broken = octets.to_vec();
            broken[at] = 0xff;
            assert_eq!(Head::decode(&broken), Err(RecordError::Malformed), "{at}");
        }
    }

    #[test]
    fn bodies_come_back_with_their_frames() {
        let body = Message::new([&b""[..], b"one", &[7; 5000], b""]);
        let octets = encode_body(body.frames());
        assert_eq!(decode_body(&octets), Some(body));
        for len in 0..octets.len() {
            let cut = decode_body(&octets.slice(..len));
            assert!(cut.is_none_or(|cut| cut.frames().len() < 4), "{len}");
        }
        assert_eq!(decode_body(&Bytes::from_static(&[255; 8])), None);
    }
}
