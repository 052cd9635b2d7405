//! How callers and workers are spoken to, each in its own dialect.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::id::{Identity, RequestId, number_in};
use crate::proto::dead::{LetterId, Past};
use crate::proto::keys::{KeyId, Keys};
use crate::proto::stats::Outcome;
use crate::proto::titanic::Uuid;
use crate::wire::codec::Encoder;
use crate::wire::mdp::{self, ToClient, Version};
use crate::wire::message::{Frames, Message};
use crate::wire::mjp::{
    self, Code, DeliveryHeader, Fault, FromBroker, Level, Packed, RequestHeader,
};

use crate::wire::nfp::body::{self, JobBody};
use crate::wire::nfp::{Era, Order, ToWorker, Verb};

use super::fault::{fault, fault_of, say_accepted};
use super::{Asker, Part, Terms, Way};

/// The entry by which a caller's id finds its request, in a table that is half full, octets.
const ENTRY: usize = 2 * size_of::<(u64, RequestId, u8)>();

/// How a caller is answered.
#[derive(Debug, Default)]
pub(crate) enum CallerVoice {
    /// Majordomo: the version, and the frames that came before the header.
    Mdp(Version, Envelope),
    /// MJP/1.
    Mjp(Native),
    /// As a part of a job.
    Part(Box<Part>),
    /// MJP/1, to all who have asked it under one key.
    Keyed(Box<Keyed>),
    /// By keeping the answer on a disk.
    Stored(Box<Stored>),
    /// Not at all: it was a dead letter, and its caller has been told so.
    Revived(Box<Revived>),
    /// Not at all: the request has ended, and only its worker does not know.
    #[default]
    Nobody,
}

/// A request that was a dead letter and was put back.
#[derive(Debug)]
pub(crate) struct Revived {
    pub(crate) id: LetterId,
    /// Deliveries before that.
    pub(crate) attempts: u32,
    /// Times that it has died.
    pub(crate) deaths: u32,
    /// When it was first accepted.
    pub(crate) accepted_at: Past,
    /// Who asked, which workers see.
    pub(crate) asker: Asker,
    /// The first frame that is kept is the caller's header.
    pub(crate) has_header: bool,
}

/// A request that is kept on a disk until it is answered.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) place: Shelf,
    /// Who asked, which workers see.
    pub(crate) asker: Asker,
    pub(crate) terms: Terms,
    /// What has become of it so far.
    pub(crate) tried: Tried,
}

/// Deliveries of a request that have ended, and after which it waited again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tried {
    /// Workers it was lost with, and how often it was alone with them.
    pub(crate) losses: u32,
    pub(crate) solo_losses: u32,
    /// How often workers have failed it and wanted it to be delivered again.
    pub(crate) failures: u32,
}

/// Who keeps a request on a disk, and by which name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shelf {
    /// Titanic.
    Titanic(Uuid),
    /// The depot: it is a request of MJP/1, with a header.
    Depot(u64),
}

/// A request that can be asked again, by its key. Who waits for the answer stands with the key.
#[derive(Debug)]
pub(crate) struct Keyed {
    pub(crate) key: KeyId,
    /// Who asked first. The deadline is that of whoever waits longest.
    pub(crate) first: Native,
    /// Who that is, which workers see even when it has gone.
    pub(crate) asker: Asker,
}

impl Keyed {
    /// Memory that it takes, octets.
    pub(crate) const BYTES: usize = ENTRY + size_of::<Self>() + Identity::LEN_MAX;
}

/// What an MJP caller wants of one request.
#[derive(Debug)]
pub(crate) struct Native {
    /// Its own name for the request.
    pub(crate) id: u64,
    /// It takes parts of the answer as they come.
    pub(crate) parts: bool,
    /// It wants to know that the request was accepted.
    pub(crate) ack: bool,
    /// It wants to know what happens.
    pub(crate) events: bool,
    /// It can be asked.
    pub(crate) asks: bool,
    pub(crate) terms: Terms,
}

/// What a worker says to a request, or a part of that.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reply<'a> {
    /// A part of the answer: the worker's header, if its dialect has one, and the body.
    Part(&'a [u8], Frames<'a>),
    /// The answer, or the rest of it.
    Final(&'a [u8], Frames<'a>),
    /// An error instead: the worker's header.
    Error(&'a [u8]),
}

impl Reply<'_> {
    /// Octets and frames of the body.
    pub(crate) fn size(&self) -> (usize, usize) {
        match self {
            Self::Part(header, body) | Self::Final(header, body) => {
                (header.len() + body.bytes(), body.len())
            }
            Self::Error(header) => (header.len(), 0),
        }
    }
}

impl CallerVoice {
    /// Whether the caller takes an answer in parts.
    pub(crate) fn takes_parts(&self) -> bool {
        match self {
            Self::Mdp(version, _) => *version == Version::V02,
            Self::Mjp(native) => native.parts,
            // What is kept for a repeat is whole; who takes parts is told beside that.
            Self::Part(_) | Self::Keyed(_) | Self::Stored(_) => false,
            Self::Revived(_) | Self::Nobody => true,
        }
    }

    /// Whether the caller can be told that something went wrong. One that cannot is not read while
    /// there is no room.
    pub(crate) fn takes_errors(&self) -> bool {
        matches!(self, Self::Mjp(_) | Self::Part(_) | Self::Keyed(_) | Self::Stored(_))
    }

    /// Whether the first frame that is kept of a request is its header.
    pub(crate) fn has_header(&self) -> bool {
        match self {
            Self::Mjp(_) | Self::Keyed(_) => true,
            Self::Part(part) => matches!(part.way, Way::Scatter { .. }),
            Self::Stored(stored) => matches!(stored.place, Shelf::Depot(_)),
            Self::Revived(revived) => revived.has_header,
            Self::Mdp(..) | Self::Nobody => false,
        }
    }

    /// What the caller calls the request, if it can speak of it again.
    pub(crate) fn id(&self) -> Option<u64> {
        match self {
            Self::Mjp(native) => Some(native.id),
            Self::Keyed(keyed) => Some(keyed.first.id),
            Self::Mdp(..) | Self::Part(_) | Self::Stored(_) | Self::Revived(_) | Self::Nobody => {
                None
            }
        }
    }

    pub(crate) fn terms(&self) -> Terms {
        match self {
            Self::Mjp(native) => native.terms,
            Self::Keyed(keyed) => keyed.first.terms,
            Self::Part(part) => part.terms,
            Self::Stored(stored) => stored.terms,
            Self::Mdp(..) | Self::Revived(_) | Self::Nobody => Terms::default(),
        }
    }

    /// Deliveries of the request before it was asked.
    pub(crate) fn tried(&self) -> Tried {
        match self {
            Self::Stored(stored) => stored.tried,
            Self::Mjp(_)
            | Self::Mdp(..)
            | Self::Part(_)
            | Self::Keyed(_)
            | Self::Revived(_)
            | Self::Nobody => Tried::default(),
        }
    }

    pub(crate) fn wants_ack(&self) -> bool {
        match self {
            Self::Mjp(native) => native.ack,
            Self::Keyed(keyed) => keyed.first.ack,
            Self::Mdp(..) | Self::Part(_) | Self::Stored(_) | Self::Revived(_) | Self::Nobody => {
                false
            }
        }
    }

    /// The key by which the request can be asked again.
    pub(crate) fn key(&self) -> Option<KeyId> {
        match self {
            Self::Keyed(keyed) => Some(keyed.key),
            Self::Mjp(_)
            | Self::Mdp(..)
            | Self::Part(_)
            | Self::Stored(_)
            | Self::Revived(_)
            | Self::Nobody => None,
        }
    }

    /// Memory that the voice holds besides itself, octets.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Mdp(_, Envelope::Frames(envelope)) => size_of::<Message>() + envelope.bytes(),
            Self::Mdp(_, Envelope::None | Envelope::Delimiter) | Self::Nobody => 0,
            Self::Mjp(_) => ENTRY,
            Self::Keyed(_) => Keyed::BYTES,
            Self::Stored(_) => ENTRY + size_of::<Stored>(),
            Self::Revived(_) => size_of::<Revived>() + Identity::LEN_MAX,
            Self::Part(part) => ENTRY + size_of::<Part>() + part.name.as_bytes().len(),
        }
    }

    /// Memory of what is remembered of the request in another table, octets: it is charged with the
    /// request, and given back by that table.
    pub(crate) fn beside(&self) -> usize {
        match self {
            Self::Keyed(_) => Keys::ENTRY,
            Self::Part(part) => part.beside(),
            Self::Mjp(_) | Self::Mdp(..) | Self::Stored(_) | Self::Revived(_) | Self::Nobody => 0,
        }
    }

    /// Says an answer, or a part of it. To an error MDP has no word.
    #[inline]
    pub(crate) fn answer(
        &self,
        service: &[u8],
        parts: &[Message],
        reply: &Reply<'_>,
        out: &mut Encoder,
    ) {
        match (self, *reply) {
            (Self::Mdp(version, envelope), Reply::Part(_, body) | Reply::Final(_, body)) => {
                let last = matches!(reply, Reply::Final(..));
                let answer = ToClient { version: *version, last, service, body };
                answer.encode(&envelope.frames(), parts, out);
            }
            (Self::Mjp(native), Reply::Part(header, body)) => {
                FromBroker::Partial(mjp::Answer { id: native.id, header, body }).encode(out);
            }
            (Self::Mjp(native), Reply::Final(header, body)) => {
                mjp::Answer { id: native.id, header, body }.encode_whole(parts, out);
            }
            (Self::Mjp(native), Reply::Error(header)) => {
                FromBroker::Error(mjp::Failure { id: native.id, header }).encode(out);
            }
            (Self::Part(part), reply) => part.answer(service, parts, &reply, out),
            (Self::Mdp(..), Reply::Error(_))
            | (Self::Keyed(_) | Self::Stored(_) | Self::Revived(_) | Self::Nobody, _) => {}
        }
    }

    /// Says that the request was accepted.
    pub(crate) fn accepted(&self, out: &mut Encoder) {
        match self {
            Self::Mjp(native) => native.accepted(false, out),
            Self::Keyed(keyed) => keyed.first.accepted(false, out),
            Self::Mdp(..) | Self::Part(_) | Self::Stored(_) | Self::Revived(_) | Self::Nobody => {}
        }
    }

    /// Says that the request ended without an answer.
    pub(crate) fn error(
        &self,
        service: &[u8],
        (outcome, epoch): (Outcome, Option<u64>),
        out: &mut Encoder,
    ) {
        let Some(fault) = fault_of(outcome).map(|fault| Fault { epoch, ..fault }) else { return };
        match self {
            Self::Mjp(native) => fault.encode(native.id, out),
            Self::Part(part) => part.error(service, outcome, &fault, out),
            Self::Mdp(..) | Self::Keyed(_) | Self::Stored(_) | Self::Revived(_) | Self::Nobody => {}
        }
    }
}

impl Native {
    /// Says that the request was accepted, or that it was before.
    pub(crate) fn accepted(&self, repeat: bool, out: &mut Encoder) {
        say_accepted(self.id, Level::Memory, repeat, out);
    }
}

/// The frames before a request's header, which go back with the answer.
#[derive(Debug)]
pub(crate) enum Envelope {
    /// None: MDP/0.2.
    None,
    /// The empty delimiter alone: almost every MDP/0.1 client.
    Delimiter,
    /// More than that: REQ_CORRELATE, or a chain of proxies.
    Frames(Box<Message>),
}

impl Envelope {
    pub(crate) fn keep(envelope: Frames<'_>) -> Self {
        match envelope.len() {
            0 => Self::None,
            1 => Self::Delimiter,
            _ => Self::Frames(Box::new(envelope.to_message())),
        }
    }

    fn frames(&self) -> Frames<'_> {
        match self {
            Self::None => Frames::default(),
            Self::Delimiter => Frames::DELIMITER,
            Self::Frames(envelope) => envelope.frames(),
        }
    }
}

/// A request on its way to a worker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work<'a> {
    pub(crate) id: RequestId,
    pub(crate) service: &'a [u8],
    /// The caller's header, if its dialect has one.
    pub(crate) header: Option<&'a [u8]>,
    pub(crate) body: Frames<'a>,
    /// The how manieth delivery, from 1.
    pub(crate) attempt: u32,
    /// Time that its caller still waits.
    pub(crate) left: Option<Duration>,
    /// Who its caller is, if that is known.
    pub(crate) asker: Option<&'a Asker>,
}

/// How a worker is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WorkerVoice {
    /// Majordomo.
    Mdp(Version),
    /// MJP/1.
    Mjp,
    /// NorFab's protocol.
    Nfp(Era),
}

impl WorkerVoice {
    /// What the name of a request begins with where NFP has the name of a client.
    const NFP_REQUEST: &str = "+";

    /// The request that an NFP worker means by the name of a client.
    pub(crate) fn nfp_request(client: &[u8]) -> Option<RequestId> {
        let token = client.strip_prefix(Self::NFP_REQUEST.as_bytes())?;
        RequestId::from_token(number_in(token)?)
    }

    /// Whether a request with such a body can be said to the worker.
    pub(crate) fn can_say(self, mut body: Frames<'_>) -> bool {
        let Self::Nfp(_) = self else { return true };
        JobBody::read(body.take_first().unwrap_or_default()).is_ok() && body.is_empty()
    }

    /// Asks an NFP worker for the result of a request, or to end it.
    pub(crate) fn ask_about(self, verb: Verb, id: RequestId, out: &mut Encoder) {
        self.order(verb, id, Message::new([&b"{}"[..]]).frames(), out);
    }

    /// Says something about a request to an NFP worker; the others have no such words.
    pub(super) fn order(self, verb: Verb, id: RequestId, body: Frames<'_>, out: &mut Encoder) {
        let Self::Nfp(era) = self else { return };
        let token = id.token();
        let client = format!("{}{token:016x}", Self::NFP_REQUEST);
        let uuid = format!("{token:032x}");
        let (client, uuid) = (client.as_bytes(), uuid.as_bytes());
        Order { verb, client, uuid, body }.encode(era, out);
    }

    /// Delivers a request.
    #[inline]
    pub(crate) fn request(self, work: &Work<'_>, out: &mut Encoder) {
        match self {
            Self::Mdp(version) => {
                let address = &work.id.to_address();
                let answer = mdp::Answer { address, body: work.body };
                mdp::ToWorker::Request(answer).encode(version, out);
            }
            Self::Mjp => work.encode(out),
            Self::Nfp(_) => {
                let mut body = work.body;
                let body = body.take_first().unwrap_or_default();
                let left = work.left.map(|left| left.as_secs().max(1));
                let body = Message::new([body::completed(body, left)]);
                self.order(Verb::Post, work.id, body.frames(), out);
            }
        }
    }

    /// Asks a worker to stop working on a request. MDP has no word for it.
    pub(crate) fn cancel(self, id: RequestId, out: &mut Encoder) {
        match self {
            Self::Mdp(_) => {}
            Self::Mjp => FromBroker::Cancel { id: id.token() }.encode(out),
            Self::Nfp(_) => self.ask_about(Verb::Delete, id, out),
        }
    }

    /// Whether a worker can be asked to stop working on a request.
    pub(crate) fn takes_cancel(self) -> bool {
        !matches!(self, Self::Mdp(_))
    }

    /// The name of the dialect.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Mdp(Version::V01) => "MDP/0.1",
            Self::Mdp(Version::V02) => "MDP/0.2",
            Self::Mjp => "MJP/1",
            Self::Nfp(_) => "NFP",
        }
    }

    /// Tells a worker that somebody wants it to go.
    pub(crate) fn disconnect(self, service: &[u8], out: &mut Encoder) {
        match self {
            Self::Mdp(version) => mdp::ToWorker::Disconnect.encode(version, out),
            Self::Mjp => {
                let why = fault(Code::Cancelled, "an administrator had the worker disconnected");
                FromBroker::Bye(why).encode(out);
            }
            Self::Nfp(era) => ToWorker::Disconnect { service }.encode(era, out),
        }
    }

    /// Shows that the broker lives.
    pub(crate) fn heartbeat(self, service: &[u8], out: &mut Encoder) {
        match self {
            Self::Mdp(version) => mdp::ToWorker::Heartbeat.encode(version, out),
            Self::Mjp => FromBroker::Heartbeat.encode(out),
            Self::Nfp(era) => ToWorker::Keepalive { service }.encode(era, out),
        }
    }
}

impl Work<'_> {
    fn encode(&self, out: &mut Encoder) {
        let attempt = NonZeroU32::new(self.attempt).unwrap_or(NonZeroU32::MIN);
        // Rounded up: a worker is not to believe that no time is left while there is some.
        let left = self.left.map(|left| left.as_micros().div_ceil(1000));
        let timeout = left.map(|left| u64::try_from(left).unwrap_or(u64::MAX));
        let asker = self.asker.map(Asker::says).unwrap_or_default();
        let says = DeliveryHeader { attempt, timeout, ..asker };
        let write = |header, out: &mut Encoder| {
            mjp::Delivery { id: self.id.token(), header, says, body: self.body }.encode(out);
        };
        match self.header {
            Some(header) => write(header, out),
            None => {
                let header = RequestHeader { service: self.service, ..RequestHeader::default() };
                write(Packed::new(&header).octets(), out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_is_charged_when_it_is_more_than_the_delimiter() {
        let bytes =
            |envelope: Frames<'_>| CallerVoice::Mdp(Version::V01, Envelope::keep(envelope)).bytes();
        assert_eq!(bytes(Frames::default()), 0);
        assert_eq!(bytes(Frames::DELIMITER), 0);
        let hops = Message::new([&[7_u8; 255][..], &[7; 255], b""]);
        assert!(bytes(hops.frames()) >= 2 * 255);
    }

    #[test]
    fn the_terms_of_mjp_take_no_allocation_and_little_room() {
        assert!(size_of::<CallerVoice>() <= 40, "{}", size_of::<CallerVoice>());
    }
}
