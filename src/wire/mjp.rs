//! MJP/1, our own dialect: request ids, deadlines, credit, cancel and errors, both ends (SPEC 9).
//!
//! Every message is the signature, kind and id, a header (one MessagePack map), and for requests
//! and answers a body. Headers of requests and answers are kept as they came, so that they are
//! forwarded without being written again.

mod admin;
mod code;
mod dead;
mod explain;
mod group;
mod header;
mod hello;
mod keys;
pub mod kind;
mod lane;
mod lease;
mod level;
mod malformed;
mod opening;
mod pack;
mod passed;
mod plain;
mod repeat;
mod report;
mod request;
mod scatter;
mod store;
mod talk;
mod texts;
mod topics;
mod verb;

pub use admin::{
    AdminEvent, AdminHeader, AdminReport, ClientReport, EndReport, FlowReport, JobReport,
    RegistrationReport, TargetReport,
};
pub use code::Code;
pub use dead::{DeadHeader, DeadReport, LetterReport, SeenReport};
pub use explain::{ExplainReport, PolicyReport, StandReport, StateReport};
pub use group::{
    GROUP_NAME_MAX, Group, GroupHeader, GroupReport, GroupRoster, GroupRow, GroupType, GroupVerb,
    MemberRow,
};
pub use header::{
    AcceptedHeader, DeliveryHeader, Fault, Labels, ReadyHeader, RequestHeader, StatusHeader, What,
};
pub use hello::{AGENT, BrokerHello, HelloLimits, PeerHello, Versions};
pub use keys::{ChangeReport, DecisionReport, KeyHeader, KeyReport, StrangerReport, encode_admin};
pub use lane::{Lane, LaneHeader};
pub use lease::{
    LEASE_NAME_MAX, LeaseHeader, LeaseReport, LeaseRow, LeaseVerb, encode_lease, fenced,
};
pub use level::Level;
pub use malformed::{Malformed, Rejected};
pub use pack::{DEPTH_MAX, HEADER_MAX, Packed};
pub use passed::Passed;
pub use plain::Plain;
pub use repeat::{Digest, digest_of};
pub use report::{
    BrokerReport, FlowsReport, MemoryReport, Report, ServiceReport, StoreReport, StoreState,
    WorkerReport,
};
pub use request::{Answer, Delivery, Failure, Request};
pub use scatter::{
    Note, NoteHeader, Outcome, OutcomeHeader, Recipients, Scatter, ScatterHeader, Tally, Targets,
};
pub use store::{BackupHeader, BackupReport};
pub use talk::{Ask, AskHeader, Event, EventHeader, Tell, TellHeader};
pub use topics::{
    GapHeader, News, NewsHeader, Publish, PublishHeader, PublishedHeader, SUBJECT_MAX,
    SubscribeHeader,
};
pub use verb::Verb;

use header::{CreditHeader, DrainHeader};
use opening::{Opening, bare, open, with_header};

use super::codec::Encoder;
use super::frame::MORE;
use super::message::Frames;

/// The first frame of every message.
pub const SIGNATURE: &[u8; 4] = b"MJP1";

/// Whether a message is of this dialect, right or wrong.
#[inline]
#[must_use]
pub fn is_mjp(mut message: Frames<'_>) -> bool {
    message.take_first() == Some(SIGNATURE)
}

/// What a peer says to a broker.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "read and carried out at once: nothing keeps one")]
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
        /// What is meant with it: no frame or more.
        body: Frames<'a>,
    },
    /// A client holds a lease, wants to, or asks who does.
    Lease {
        /// Comes back with the answer.
        id: u64,
        /// What is to be done.
        says: LeaseHeader<'a>,
    },
    /// A member of a group, or who wants to be one, or asks about it.
    Group(Group<'a>),
    /// A message of a flow of which this peer is an end.
    Lane(Lane<'a>),
    /// A client wants what is published of some subjects.
    Subscribe {
        /// Chosen by the client, not 0, unique among its subscriptions on the connection.
        id: u64,
        /// Which subjects.
        says: SubscribeHeader<'a>,
    },
    /// The client wants no more of a subscription.
    Unsubscribe {
        /// Of the subscription.
        id: u64,
    },
    /// Something for all who have subscribed to it.
    Publish(Publish<'a>),
    /// More of the answer follows.
    Partial(Answer<'a>),
    /// The request is done.
    Final(Answer<'a>),
    /// The request has failed.
    Error(Failure<'a>),
    /// Something happens while the request is worked on.
    Event(Event<'a>),
    /// The worker asks its caller.
    Ask(Ask<'a>),
    /// A caller answers its worker.
    Tell(Tell<'a>),
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
    /// A flow for a handler: the BOT that it has to say, in one frame. The header is a
    /// [`LaneHeader`].
    Flow(Answer<'a>),
    /// A message of a flow of which the peer is an end.
    Lane(Lane<'a>),
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
        /// What it is about: no frame or more.
        body: Frames<'a>,
    },
    /// The answer to LEASE, or something that has happened to one.
    Lease {
        /// As asked.
        id: u64,
        /// As it stands on the wire, see [`LeaseReport::decode`].
        header: &'a [u8],
    },
    /// The answer to GROUP, or something that has happened in one.
    Group {
        /// As asked; of what happens in a group that of the `join`.
        id: u64,
        /// As it stands on the wire, see [`GroupReport::decode`].
        header: &'a [u8],
        /// A message, what a poll is about, or a [`GroupRoster`]; no frame or more.
        body: Frames<'a>,
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
    /// Something happens at one worker in its part of a scatter.
    Note(Note<'a>),
    /// Something that was published, to a subscriber.
    News(News<'a>),
    /// How many subscriptions it was for.
    Published {
        /// As asked.
        id: u64,
        /// How many.
        says: PublishedHeader,
    },
    /// Something was dropped, and nothing has come behind it.
    Gap {
        /// Of the subscription.
        id: u64,
        /// How much.
        says: GapHeader,
    },
    /// A part of the answer.
    Partial(Answer<'a>),
    /// All the rest of it.
    Final(Answer<'a>),
    /// The request has failed; with id 0, what the peer said was no good.
    Error(Failure<'a>),
    /// Something happens while the request is worked on.
    Event(Event<'a>),
    /// The worker of a request asks.
    Ask(Ask<'a>),
    /// The caller of a request answers, or cannot.
    Tell(Tell<'a>),
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
            kind::ADMIN => {
                let (id, body) = (opening.own_id()?, opening.rest);
                return Ok(Self::Admin { id, says: AdminHeader::decode(header)?, body });
            }
            kind::PUBLISH => return Publish::decode(opening).map(Self::Publish),
            kind::GROUP => return Group::decode(opening).map(Self::Group),
            kind::LANE => return Lane::decode(opening).map(Self::Lane),
            kind::EVENT => return Ok(Self::Event(Event::decode(opening))),
            kind::ASK => return Ask::decode(opening).map(Self::Ask),
            kind::TELL => return Tell::decode(opening).map(Self::Tell),
            kind::ACCEPTED | kind::TARGETS | kind::OUTCOME => return Err(Malformed::WrongWay),
            kind::NOTE | kind::FLOW | kind::MESSAGE => return Err(Malformed::WrongWay),
            kind::PUBLISHED | kind::GAP => return Err(Malformed::WrongWay),
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
            kind::LEASE => Self::Lease { id: opening.own_id()?, says: pack::read(header)? },
            kind::SUBSCRIBE => Self::Subscribe { id: opening.own_id()?, says: pack::read(header)? },
            kind::UNSUBSCRIBE => Self::Unsubscribe { id: opening.id },
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
            Self::Status { id, says } => topics::encode(kind::STATUS, *id, says, out),
            Self::Admin { id, says, body } => {
                encode_admin(*id, Packed::new(says).octets(), body, out);
            }
            Self::Lease { id, says } => topics::encode(kind::LEASE, *id, says, out),
            Self::Group(group) => group.encode(out),
            Self::Lane(lane) => lane.encode(out),
            Self::Subscribe { id, says } => topics::encode(kind::SUBSCRIBE, *id, says, out),
            Self::Unsubscribe { id } => bare(kind::UNSUBSCRIBE, *id, out),
            Self::Publish(publish) => publish.encode(out),
            Self::Partial(answer) => answer.encode(kind::PARTIAL, &[], out),
            Self::Final(answer) => answer.encode(kind::FINAL, &[], out),
            Self::Error(failure) => failure.encode(out),
            Self::Event(event) => event.encode(out),
            Self::Ask(ask) => ask.encode(out),
            Self::Tell(tell) => tell.encode(out),
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
            kind::FLOW => return opening.answer().map(Self::Flow),
            kind::LANE => return Lane::decode(opening).map(Self::Lane),
            kind::TARGETS => return Targets::decode(opening).map(Self::Targets),
            kind::OUTCOME => return Outcome::decode(opening).map(Self::Outcome),
            kind::NOTE => return Note::decode(opening).map(Self::Note),
            kind::MESSAGE => return News::decode_whole(opening).map(Self::News),
            kind::GROUP => return Ok(Self::Group { id, header, body: opening.rest }),
            kind::EVENT => return Ok(Self::Event(Event::decode(opening))),
            kind::ASK => return Ask::decode(opening).map(Self::Ask),
            kind::TELL => return Tell::decode(opening).map(Self::Tell),
            kind::ADMIN => return Ok(Self::Admin { id, header, body: opening.rest }),
            kind::SCATTER | kind::READY | kind::CREDIT => return Err(Malformed::WrongWay),
            kind::SUBSCRIBE | kind::UNSUBSCRIBE | kind::PUBLISH => return Err(Malformed::WrongWay),
            _ => {}
        }
        let command = match opening.kind {
            kind::HELLO => Self::Hello(BrokerHello::decode(header)?),
            kind::HEARTBEAT => Self::Heartbeat,
            kind::DRAIN => Self::Drain { within: pack::read::<DrainHeader>(header)?.within },
            kind::BYE => Self::Bye(Fault::decode(header)?),
            kind::CANCEL => Self::Cancel { id },
            kind::STATUS => Self::Status { id, header },
            kind::LEASE => Self::Lease { id, header },
            kind::ACCEPTED => Self::Accepted { id, says: AcceptedHeader::decode(header)? },
            kind::PUBLISHED => Self::Published { id, says: pack::read(header)? },
            kind::GAP => Self::Gap { id, says: pack::read(header)? },
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
            Self::Flow(answer) => answer.encode(kind::FLOW, &[], out),
            Self::Lane(lane) => lane.encode(out),
            Self::Partial(answer) => answer.encode(kind::PARTIAL, &[], out),
            Self::Final(answer) => answer.encode(kind::FINAL, &[], out),
            Self::Error(failure) => failure.encode(out),
            Self::Event(event) => event.encode(out),
            Self::Ask(ask) => ask.encode(out),
            Self::Tell(tell) => tell.encode(out),
            Self::Targets(targets) => targets.encode(out),
            Self::Outcome(outcome) => outcome.encode(&[], out),
            Self::Note(note) => note.encode(out),
            Self::News(news) => news.encode(out),
            Self::Group { id, header, body } => group::encode(*id, header, body, out),
            Self::Published { id, says } => topics::encode(kind::PUBLISHED, *id, says, out),
            Self::Gap { id, says } => topics::encode(kind::GAP, *id, says, out),
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
            Self::Admin { id, header, body } => encode_admin(*id, header, body, out),
            Self::Lease { id, header } => with_header(kind::LEASE, *id, header, out),
            Self::Accepted { id, says } => {
                with_header(kind::ACCEPTED, *id, Packed::new(says).octets(), out);
            }
        }
    }
}

#[cfg(test)]
mod tests;
