//! MJP/1, our own dialect: request ids, deadlines, credit, cancel and errors, both ends (SPEC 9).
//!
//! Every message is the signature, kind and id, a header (one MessagePack map), and for requests
//! and answers a body. Headers of requests and answers are kept as they came, so that they are
//! forwarded without being written again.

mod admin;
mod code;
mod header;
mod malformed;
mod opening;
mod pack;
mod plain;
mod repeat;
mod report;
mod scatter;

pub use admin::{
    AdminEvent, AdminHeader, AdminReport, ClientReport, JobReport, RegistrationReport,
    TargetReport, Verb,
};
pub use code::Code;
pub use header::{
    AcceptedHeader, BrokerHello, DeliveryHeader, Fault, HelloLimits, Labels, PeerHello,
    ReadyHeader, RequestHeader, StatusHeader, Versions, What,
};
pub use malformed::{Malformed, Rejected};
pub use pack::{DEPTH_MAX, HEADER_MAX, Packed};
pub use plain::Plain;
pub use repeat::Digest;
pub use report::{BrokerReport, Report, ServiceReport, WorkerReport};
pub use scatter::{Outcome, OutcomeHeader, Recipients, Scatter, ScatterHeader, Tally, Targets};

use header::{CreditHeader, DrainHeader};
use opening::{Opening, bare, open, with_header};

use super::codec::Encoder;
use super::frame::MORE;
use super::message::{Frames, Message};

/// The first frame of every message.
pub const SIGNATURE: &[u8; 4] = b"MJP1";

/// The first octet of the second frame.
pub mod kind {
    /// Both ways.
    pub const HELLO: u8 = 0x01;
    /// Both ways.
    pub const HEARTBEAT: u8 = 0x02;
    /// Both ways.
    pub const DRAIN: u8 = 0x03;
    /// Both ways.
    pub const BYE: u8 = 0x04;
    /// From a client, and to a worker.
    pub const REQUEST: u8 = 0x10;
    /// From a client, and to a worker.
    pub const CANCEL: u8 = 0x11;
    /// From a client, and back.
    pub const STATUS: u8 = 0x12;
    /// From a client, and back.
    pub const ADMIN: u8 = 0x16;
    /// From a client.
    pub const SCATTER: u8 = 0x18;
    /// To a client.
    pub const ACCEPTED: u8 = 0x20;
    /// From a worker, and to a client.
    pub const PARTIAL: u8 = 0x21;
    /// From a worker, and to a client.
    pub const FINAL: u8 = 0x22;
    /// From a worker, and to a client or, for what it said itself, to any peer.
    pub const ERROR: u8 = 0x23;
    /// To a client.
    pub const TARGETS: u8 = 0x27;
    /// To a client.
    pub const OUTCOME: u8 = 0x28;
    /// From a worker.
    pub const READY: u8 = 0x30;
    /// From a worker.
    pub const CREDIT: u8 = 0x31;
}

/// Whether a message is of this dialect, right or wrong.
#[inline]
#[must_use]
pub fn is_mjp(mut message: Frames<'_>) -> bool {
    message.take_first() == Some(SIGNATURE)
}

/// What a peer says to a broker.
#[derive(Debug, Clone)]
pub enum ToBroker<'a> {
    /// Who it is, and which versions it speaks.
    Hello(PeerHello<'a>),
    /// The peer lives.
    Heartbeat,
    /// The worker wants no more work.
    Drain,
    /// The worker leaves; what it holds goes back.
    Bye,
    /// A client's request.
    Request(Request<'a>),
    /// A client's request to several workers.
    Scatter(Scatter<'a>),
    /// The client wants no answer any more.
    Cancel {
        /// Of the request.
        id: u64,
    },
    /// A client asks about the broker.
    Status {
        /// Comes back with the answer.
        id: u64,
        /// What is asked.
        says: StatusHeader<'a>,
    },
    /// A client looks closer, or wants something changed.
    Admin {
        /// Comes back with the answer.
        id: u64,
        /// What is to be done.
        says: AdminHeader<'a>,
    },
    /// More of the answer follows.
    Partial(Answer<'a>),
    /// The request is done.
    Final(Answer<'a>),
    /// The request has failed.
    Error(Failure<'a>),
    /// The worker offers a service.
    Ready(ReadyHeader<'a>),
    /// Requests that the worker takes at a time from now on.
    Credit {
        /// 0 or more.
        credit: u16,
    },
}

/// What a broker says to a peer.
#[derive(Debug, Clone)]
pub enum FromBroker<'a> {
    /// Who it is, and what it takes.
    Hello(BrokerHello<'a>),
    /// The broker lives.
    Heartbeat,
    /// Nothing new comes to this worker; or, with a time, the broker stops.
    Drain {
        /// Time until it stops, ms.
        within: Option<u64>,
    },
    /// The peer is no worker any more.
    Bye(Fault<'a>),
    /// Work.
    Request(Delivery<'a>),
    /// Nobody wants the answer any more; one is owed all the same.
    Cancel {
        /// Of the delivery.
        id: u64,
    },
    /// The answer to STATUS.
    Status {
        /// As asked.
        id: u64,
        /// As it stands on the wire.
        header: &'a [u8],
    },
    /// The answer to ADMIN, or something that has happened.
    Admin {
        /// As asked.
        id: u64,
        /// As it stands on the wire.
        header: &'a [u8],
    },
    /// The broker answers for the request from now on.
    Accepted {
        /// Of the request.
        id: u64,
        /// How far.
        says: AcceptedHeader<'a>,
    },
    /// The broker answers for the scatter from now on.
    Targets(Targets<'a>),
    /// The end of one worker's part in a scatter.
    Outcome(Outcome<'a>),
    /// A part of the answer.
    Partial(Answer<'a>),
    /// All the rest of it.
    Final(Answer<'a>),
    /// The request has failed; with id 0, what the peer said was no good.
    Error(Failure<'a>),
}

/// A client's request.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Chosen by the client, not 0, unique among its open requests on the connection.
    pub id: u64,
    /// The header as it stands on the wire; this is what is forwarded.
    pub header: &'a [u8],
    /// What the header says.
    pub says: RequestHeader<'a>,
    /// One frame or more, opaque.
    pub body: Frames<'a>,
}

/// A request on its way to a worker.
#[derive(Debug, Clone, Copy)]
pub struct Delivery<'a> {
    /// Chosen by the broker; answers carry it.
    pub id: u64,
    /// The client's header as it stood on the wire, see [`RequestHeader::decode`].
    pub header: &'a [u8],
    /// What the broker adds.
    pub says: DeliveryHeader<'a>,
    /// One frame or more, opaque.
    pub body: Frames<'a>,
}

/// An answer to a request, or a part of it.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// Of the request, or of the delivery.
    pub id: u64,
    /// The header as it stands on the wire; the worker's own affair.
    pub header: &'a [u8],
    /// One frame or more, opaque.
    pub body: Frames<'a>,
}

/// An error instead of an answer.
#[derive(Debug, Clone, Copy)]
pub struct Failure<'a> {
    /// Of the request, or of the delivery.
    pub id: u64,
    /// The header as it stands on the wire, see [`Fault::decode`].
    pub header: &'a [u8],
}

impl<'a> ToBroker<'a> {
    /// Reads what a peer says to a broker.
    ///
    /// # Errors
    /// The message is none that a peer may say; kind and id are there as far as they could be
    /// read, so that the broker knows whom to answer (SPEC 9.5).
    #[inline]
    pub fn decode(message: Frames<'a>) -> Result<Self, Rejected> {
        let opening = Opening::decode(message)?;
        Self::decode_kind(&opening).map_err(|why| Rejected {
            kind: opening.kind,
            id: opening.id,
            why,
        })
    }

    #[inline]
    fn decode_kind(opening: &Opening<'a>) -> Result<Self, Malformed> {
        let header = opening.header;
        match opening.kind {
            kind::REQUEST => {
                let (id, body) = (opening.own_id()?, opening.body()?);
                let says = RequestHeader::decode(header)?;
                return Ok(Self::Request(Request { id, header, says, body }));
            }
            kind::PARTIAL => return opening.answer().map(Self::Partial),
            kind::FINAL => return opening.answer().map(Self::Final),
            kind::SCATTER => return Scatter::decode(opening).map(Self::Scatter),
            kind::ACCEPTED | kind::TARGETS | kind::OUTCOME => return Err(Malformed::WrongWay),
            _ => {}
        }
        let command = match opening.kind {
            kind::HELLO => Self::Hello(PeerHello::decode(header)?),
            kind::HEARTBEAT => Self::Heartbeat,
            kind::DRAIN => Self::Drain,
            kind::BYE => Self::Bye,
            kind::CANCEL => Self::Cancel { id: opening.id },
            kind::STATUS => {
                Self::Status { id: opening.own_id()?, says: StatusHeader::decode(header)? }
            }
            kind::ADMIN => {
                Self::Admin { id: opening.own_id()?, says: AdminHeader::decode(header)? }
            }
            kind::ERROR => Self::Error(opening.failure()?),
            kind::READY => Self::Ready(ReadyHeader::decode(header)?),
            kind::CREDIT => Self::Credit { credit: pack::read::<CreditHeader>(header)?.credit },
            _ => return Err(Malformed::UnknownKind),
        };
        opening.bare()?;
        Ok(command)
    }

    /// Writes the command as a peer does.
    pub fn encode(&self, out: &mut Encoder) {
        match self {
            Self::Hello(says) => with_header(kind::HELLO, 0, Packed::new(says).octets(), out),
            Self::Heartbeat => bare(kind::HEARTBEAT, 0, out),
            Self::Drain => bare(kind::DRAIN, 0, out),
            Self::Bye => bare(kind::BYE, 0, out),
            Self::Request(request) => request.encode(out),
            Self::Scatter(scatter) => scatter.encode(out),
            Self::Cancel { id } => bare(kind::CANCEL, *id, out),
            Self::Status { id, says } => {
                with_header(kind::STATUS, *id, Packed::new(says).octets(), out);
            }
            Self::Admin { id, says } => {
                with_header(kind::ADMIN, *id, Packed::new(says).octets(), out);
            }
            Self::Partial(answer) => answer.encode(kind::PARTIAL, &[], out),
            Self::Final(answer) => answer.encode(kind::FINAL, &[], out),
            Self::Error(failure) => failure.encode(out),
            Self::Ready(says) => with_header(kind::READY, 0, Packed::new(says).octets(), out),
            Self::Credit { credit } => {
                let says = Packed::new(&CreditHeader { credit: *credit });
                with_header(kind::CREDIT, 0, says.octets(), out);
            }
        }
    }
}

impl<'a> FromBroker<'a> {
    /// Reads what a broker says to a peer.
    ///
    /// # Errors
    /// The message is none that a broker may say. A peer ignores what has an unknown kind.
    #[inline]
    pub fn decode(message: Frames<'a>) -> Result<Self, Rejected> {
        let opening = Opening::decode(message)?;
        Self::decode_kind(&opening).map_err(|why| Rejected {
            kind: opening.kind,
            id: opening.id,
            why,
        })
    }

    #[inline]
    fn decode_kind(opening: &Opening<'a>) -> Result<Self, Malformed> {
        let (id, header) = (opening.id, opening.header);
        match opening.kind {
            kind::REQUEST => return Delivery::decode(opening).map(Self::Request),
            kind::PARTIAL => return opening.answer().map(Self::Partial),
            kind::FINAL => return opening.answer().map(Self::Final),
            kind::TARGETS => return Targets::decode(opening).map(Self::Targets),
            kind::OUTCOME => return Outcome::decode(opening).map(Self::Outcome),
            kind::SCATTER | kind::READY | kind::CREDIT => return Err(Malformed::WrongWay),
            _ => {}
        }
        let command = match opening.kind {
            kind::HELLO => Self::Hello(BrokerHello::decode(header)?),
            kind::HEARTBEAT => Self::Heartbeat,
            kind::DRAIN => Self::Drain { within: pack::read::<DrainHeader>(header)?.within },
            kind::BYE => Self::Bye(Fault::decode(header)?),
            kind::CANCEL => Self::Cancel { id },
            kind::STATUS => Self::Status { id, header },
            kind::ADMIN => Self::Admin { id, header },
            kind::ACCEPTED => Self::Accepted { id, says: AcceptedHeader::decode(header)? },
            kind::ERROR => Self::Error(opening.failure()?),
            _ => return Err(Malformed::UnknownKind),
        };
        opening.bare()?;
        Ok(command)
    }

    /// Writes the command as a broker does.
    #[inline]
    pub fn encode(&self, out: &mut Encoder) {
        match self {
            Self::Request(delivery) => delivery.encode(out),
            Self::Partial(answer) => answer.encode(kind::PARTIAL, &[], out),
            Self::Final(answer) => answer.encode(kind::FINAL, &[], out),
            Self::Error(failure) => failure.encode(out),
            Self::Targets(targets) => targets.encode(out),
            Self::Outcome(outcome) => outcome.encode(&[], out),
            Self::Hello(says) => with_header(kind::HELLO, 0, Packed::new(says).octets(), out),
            Self::Heartbeat => bare(kind::HEARTBEAT, 0, out),
            Self::Drain { within: None } => bare(kind::DRAIN, 0, out),
            Self::Drain { within } => {
                let says = Packed::new(&DrainHeader { within: *within });
                with_header(kind::DRAIN, 0, says.octets(), out);
            }
            Self::Bye(says) => with_header(kind::BYE, 0, Packed::new(says).octets(), out),
            Self::Cancel { id } => bare(kind::CANCEL, *id, out),
            Self::Status { id, header } => with_header(kind::STATUS, *id, header, out),
            Self::Admin { id, header } => with_header(kind::ADMIN, *id, header, out),
            Self::Accepted { id, says } => {
                with_header(kind::ACCEPTED, *id, Packed::new(says).octets(), out);
            }
        }
    }
}

impl Request<'_> {
    /// Writes the request as a client does: `header` goes as it is, `says` is not looked at.
    #[inline]
    pub fn encode(&self, out: &mut Encoder) {
        open(kind::REQUEST, self.id, MORE, out);
        out.frame(self.header);
        out.frames(&self.body);
    }
}

impl<'a> Delivery<'a> {
    #[inline]
    fn decode(opening: &Opening<'a>) -> Result<Self, Malformed> {
        let mut body = opening.rest;
        let says = DeliveryHeader::decode(body.take_first().unwrap_or_default())?;
        if body.is_empty() {
            return Err(Malformed::NoBody);
        }
        Ok(Self { id: opening.id, header: opening.header, says, body })
    }

    /// Writes the request as a broker does.
    #[inline]
    pub fn encode(&self, out: &mut Encoder) {
        open(kind::REQUEST, self.id, MORE, out);
        out.frame(self.header);
        if self.says == DeliveryHeader::FIRST {
            out.frame(DeliveryHeader::FIRST_OCTETS);
        } else {
            out.frame(Packed::delivery(&self.says).octets());
        }
        out.frames(&self.body);
    }
}

impl Answer<'_> {
    /// Writes FINAL behind `earlier` parts of the body, for a caller that wants all in one.
    pub fn encode_whole(&self, earlier: &[Message], out: &mut Encoder) {
        self.encode(kind::FINAL, earlier, out);
    }

    #[inline]
    fn encode(&self, kind: u8, earlier: &[Message], out: &mut Encoder) {
        open(kind, self.id, MORE, out);
        out.frame(self.header);
        for part in earlier {
            out.frames_and_more(&part.frames());
        }
        out.frames(&self.body);
    }
}

impl Failure<'_> {
    #[inline]
    fn encode(&self, out: &mut Encoder) {
        with_header(kind::ERROR, self.id, self.header, out);
    }
}

impl Fault<'_> {
    /// Writes ERROR for the request `id`; 0 is the connection.
    pub fn encode(&self, id: u64, out: &mut Encoder) {
        with_header(kind::ERROR, id, Packed::new(self).octets(), out);
    }
}

#[cfg(test)]
mod tests;
