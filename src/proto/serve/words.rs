//! What a worker and a broker say to each other, in each protocol.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::time::Duration;

use crate::id::ServiceName;
use crate::id::beginning;
use crate::proto::policy::Keepalive;
use crate::wire::Protocol;
use crate::wire::codec::Encoder;
use crate::wire::mdp::{self, FromWorker, ToWorker, Version};
use crate::wire::message::{Frames, Message};
use crate::wire::mjp::{
    self, AskHeader, BrokerHello, Code, Fault, FromBroker, HelloLimits, Packed, PeerHello,
    ReadyHeader,
};

use super::{Heard, Say, Token};

/// What a worker offers, and how it speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// How it speaks.
    pub protocol: Protocol,
    /// The service.
    pub service: ServiceName,
    /// Requests at a time, at least 1. MDP does not say it.
    pub credit: u16,
    /// For people and for listings; only MJP says them.
    pub labels: BTreeMap<String, String>,
    /// Of the worker's program; only MJP says it.
    pub version: Option<String>,
    /// Of the service; only MJP says it.
    pub description: Option<String>,
    /// The lease whose holder alone may ask; only MJP says it.
    pub fence: Option<String>,
}

/// A request as it came. What MDP does not say is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// One frame or more.
    pub body: Message,
    /// The how manieth delivery this is, from 1. MDP: 1.
    pub attempt: u32,
    /// Time that the caller still waits.
    pub timeout: Option<Duration>,
    /// The name that the caller gave itself.
    pub identity: Option<Box<[u8]>>,
    /// Who the caller has proven to be, as the broker says. Only MJP says it.
    pub caller: Option<Box<Caller>>,
    /// `traceparent` of W3C Trace Context.
    pub trace: Option<Box<str>>,
    /// The caller's idempotency key.
    pub key: Option<Box<[u8]>>,
    /// `tracestate` of W3C Trace Context.
    pub state: Option<Box<str>>,
}

/// Who a caller has proven to be. The broker says it, and nobody can say it in its place.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Caller {
    fingerprint: Option<Box<str>>,
    name: Option<Box<str>>,
}

impl Caller {
    /// The fingerprint of its key (CURVE), as `majordomo key show` prints it. `None`: it is a user
    /// with a password (PLAIN).
    #[must_use]
    pub fn fingerprint(&self) -> Option<&str> {
        self.fingerprint.as_deref()
    }

    /// What the operator of the broker calls it; of a user the name that it logged in by. `None`:
    /// its key is known by no name.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    fn of(says: &mjp::DeliveryHeader<'_>) -> Option<Box<Self>> {
        let (fingerprint, name) = (says.fingerprint.map(Into::into), says.name.map(Into::into));
        let caller = Self { fingerprint, name };
        (caller != Self::default()).then(|| Box::new(caller))
    }
}

/// How large a message may be that a broker takes. What it does not say is not there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Taken {
    /// One frame, octets.
    pub frame: Option<u64>,
    /// All frames of one message, octets.
    pub message: Option<u64>,
    /// Frames of one message.
    pub frames: Option<u64>,
    /// One header, octets.
    pub header: Option<u64>,
    /// Events and questions; `None`: whatever.
    pub talk: Option<bool>,
}

/// Something said in the middle of a request: an event, or a question with its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Talk {
    /// As it goes on the wire.
    pub header: Box<[u8]>,
    /// No frame or more.
    pub body: Message,
}

/// What the caller answers, or the broker for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The number of the question.
    pub ask: u64,
    /// There is no answer, and this is why.
    pub code: Option<Box<str>>,
    /// The same for people.
    pub message: Option<Box<str>>,
    /// No frame or more.
    pub body: Message,
}

/// An answer, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// One frame or more.
    Body(Message),
    /// There is none.
    Failure(Failure),
}

impl Reply {
    /// An answer of at least one frame: one that has none gets an empty one, as on the wire an
    /// answer cannot be without.
    #[must_use]
    pub fn body(body: Message) -> Self {
        Self::Body(if body.frames().is_empty() { Message::new([""]) } else { body })
    }
}

/// Why a request has no answer.
///
/// MJP says it to the caller as ERROR. MDP has no errors: there the answer is one frame of JSON,
/// `{"error":{"code":"failed","message":"...","retry":250}}`, which a caller can tell from a good
/// answer only if it knows the service.
///
/// Every error of the standard library's kind can be turned into one, so `?` works in a handler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Stable, for programs; `failed` if nothing better is known.
    pub code: String,
    /// For people: what happened, and what to do.
    pub message: String,
    /// The caller may try again after that time. `None`: it makes no sense.
    pub retry: Option<Duration>,
    /// The broker is to deliver the request again, here or to another worker.
    pub again: bool,
}

impl Failure {
    /// A failure that trying again does not mend.
    #[must_use]
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), retry: None, again: false }
    }

    /// The caller may try again after that time, whole milliseconds.
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Self {
        Self { retry: Some(wait), ..self }
    }

    /// The broker is to deliver the request again, when the back-off of the service has passed, or
    /// after [`retry_after`](Self::retry_after) if that is said, too. It does so as often as the
    /// service's `attempts` allow; then the caller gets this failure. Needs MJP.
    ///
    /// ```
    /// use majordomo::worker::Failure;
    ///
    /// let busy = Failure::new("busy", "the disk is full").again();
    /// assert!(busy.again);
    /// ```
    #[must_use]
    pub fn again(self) -> Self {
        Self { again: true, ..self }
    }

    /// The code of the protocol, with a sentence.
    pub(crate) fn known(code: Code, message: impl Into<String>) -> Self {
        Self::new(code.as_str(), message)
    }

    fn retry_ms(&self) -> Option<u64> {
        self.retry.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX))
    }

    fn to_json(&self) -> Message {
        let mut error = serde_json::Map::new();
        error.insert("code".into(), self.code.as_str().into());
        error.insert("message".into(), self.message.as_str().into());
        if let Some(retry) = self.retry_ms() {
            error.insert("retry".into(), retry.into());
        }
        Message::new([serde_json::json!({ "error": error }).to_string()])
    }

    /// The header of an ERROR. One that is too long for a header loses the end of its message.
    fn to_header(&self) -> Packed {
        let fault = |message| {
            let code = beginning(&self.code, Self::CODE_MAX);
            Packed::new(&Fault {
                code,
                message: Some(message),
                retry: self.retry_ms(),
                epoch: None,
                again: self.again.then_some(true),
            })
        };
        fault(beginning(&self.message, Self::MESSAGE_MAX))
    }

    /// Longest code that is sent, octets.
    pub const CODE_MAX: usize = 255;
    /// Longest message that is sent, octets; the end of a longer one is cut off.
    pub const MESSAGE_MAX: usize = 8 << 10;
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::known(Code::Failed, error.to_string())
    }
}

impl Offer {
    /// Reads what a broker says. `Err` is the reason why it says nothing to us.
    ///
    /// # Errors
    /// A sentence for the log.
    pub fn hear(&self, frames: Frames<'_>) -> Result<Heard<Box<Delivery>>, String> {
        match self.version() {
            None => hear_mjp(frames),
            Some(version) => {
                let heard = ToWorker::decode(frames).map_err(|why| why.to_string())?;
                match heard {
                    (other, _) if other != version => Err("another version of MDP".into()),
                    (_, ToWorker::Request(request)) => {
                        let token = Token::Address(request.address.into());
                        let delivery = Delivery::plain(request.body.to_message());
                        Ok(Heard::Request(token, Box::new(delivery)))
                    }
                    (_, ToWorker::Heartbeat) => Ok(Heard::Heartbeat),
                    (_, ToWorker::Disconnect) => Ok(Heard::Dismissed { why: "DISCONNECT".into() }),
                }
            }
        }
    }

    /// Writes what a worker says. MDP/0.1 has no parts; a part is not said there, and neither
    /// version has a word for a change of credit.
    pub fn say(&self, say: &Say<Reply>, out: &mut Encoder) {
        match self.version() {
            None => self.say_mjp(say, out),
            Some(version) => self.say_mdp(version, say, out),
        }
    }

    fn version(&self) -> Option<Version> {
        match self.protocol {
            Protocol::Mjp => None,
            Protocol::Mdp01 => Some(Version::V01),
            Protocol::Mdp02 => Some(Version::V02),
        }
    }

    fn say_mdp(&self, version: Version, say: &Say<Reply>, out: &mut Encoder) {
        let answer = |token: &Token, reply: &Reply, last: bool, out: &mut Encoder| {
            let Token::Address(address) = token else { return };
            let json;
            let body = match reply {
                Reply::Body(body) => body,
                Reply::Failure(failure) => {
                    json = failure.to_json();
                    &json
                }
            };
            let answer = mdp::Answer { address, body: body.frames() };
            let command =
                if last { FromWorker::Final(answer) } else { FromWorker::Partial(answer) };
            command.encode(version, out);
        };
        match say {
            Say::Ready => {
                FromWorker::Ready { service: self.service.as_bytes() }.encode(version, out);
            }
            Say::Heartbeat => FromWorker::Heartbeat.encode(version, out),
            Say::Part(token, reply) => answer(token, reply, false, out),
            Say::Last(token, reply) => answer(token, reply, true, out),
            Say::Goodbye => FromWorker::Disconnect.encode(version, out),
            Say::Event(..)
            | Say::Ask(..)
            | Say::Credit(_)
            | Say::Cancelled(_)
            | Say::Unreadable(..)
            | Say::Drain => {}
        }
    }

    fn say_mjp(&self, say: &Say<Reply>, out: &mut Encoder) {
        let fault = |token: &Token, failure: &Failure, out: &mut Encoder| {
            let Token::Id(id) = *token else { return };
            let header = failure.to_header();
            mjp::ToBroker::Error(mjp::Failure { id, header: header.octets() }).encode(out);
        };
        let answer = |token: &Token, reply: &Reply, last: bool, out: &mut Encoder| {
            let Token::Id(id) = *token else { return };
            match reply {
                Reply::Failure(failure) => fault(token, failure, out),
                Reply::Body(body) => {
                    let answer = mjp::Answer { id, header: &[], body: body.frames() };
                    let say = if last {
                        mjp::ToBroker::Final(answer)
                    } else {
                        mjp::ToBroker::Partial(answer)
                    };
                    say.encode(out);
                }
            }
        };
        match say {
            Say::Ready => {
                let agent = Some(concat!("majordomo/", env!("CARGO_PKG_VERSION")));
                mjp::ToBroker::Hello(PeerHello { agent, ..PeerHello::default() }).encode(out);
                mjp::ToBroker::Ready(self.ready()).encode(out);
            }
            Say::Credit(credit) => mjp::ToBroker::Credit { credit: *credit }.encode(out),
            Say::Heartbeat => mjp::ToBroker::Heartbeat.encode(out),
            Say::Part(token, reply) => answer(token, reply, false, out),
            Say::Last(token, reply) => answer(token, reply, true, out),
            Say::Event(Token::Id(id), talk) => {
                let (header, body) = (&*talk.header, talk.body.frames());
                mjp::ToBroker::Event(mjp::Event { id: *id, header, body }).encode(out);
            }
            Say::Ask(Token::Id(id), talk) => {
                let (header, body) = (&*talk.header, talk.body.frames());
                let says = AskHeader::default();
                mjp::ToBroker::Ask(mjp::Ask { id: *id, header, says, body }).encode(out);
            }
            Say::Event(Token::Address(_), _) | Say::Ask(Token::Address(_), _) => {}
            Say::Cancelled(token) => {
                fault(token, &Failure::known(Code::Cancelled, "it was not begun"), out);
            }
            Say::Unreadable(token, why) => {
                fault(token, &Failure::known(Code::BadRequest, why.as_str()), out);
            }
            Say::Drain => mjp::ToBroker::Drain.encode(out),
            Say::Goodbye => mjp::ToBroker::Bye.encode(out),
        }
    }

    fn ready(&self) -> ReadyHeader<'_> {
        ReadyHeader {
            service: self.service.as_bytes(),
            role: None,
            credit: NonZeroU16::new(self.credit),
            labels: self.labels.iter().map(|(name, value)| (&**name, &**value)).collect(),
            version: self.version.as_deref(),
            description: self.description.as_deref(),
            fence: self.fence.as_deref(),
        }
    }
}

impl Delivery {
    /// A request of which nothing is known but its body.
    fn plain(body: Message) -> Self {
        let (timeout, identity, caller) = (None, None, None);
        let (trace, state, key) = (None, None, None);
        Self { body, attempt: 1, timeout, identity, caller, trace, state, key }
    }
}

fn hear_hello(hello: &BrokerHello<'_>) -> Heard<Box<Delivery>> {
    let says = hello.heartbeat.zip(hello.liveness);
    let keepalive = says.map(|(interval, liveness)| Keepalive {
        interval: Duration::from_millis(interval.max(1)),
        liveness: liveness.max(1),
    });
    let talk = Some(hello.features.contains(&"events"));
    let limits = hello.limits.unwrap_or_default();
    let HelloLimits { frame, message, frames, header, .. } = limits;
    Heard::Hello { keepalive, takes: Taken { frame, message, frames, header, talk } }
}

fn hear_mjp(frames: Frames<'_>) -> Result<Heard<Box<Delivery>>, String> {
    let heard = match FromBroker::decode(frames) {
        Ok(heard) => heard,
        // Left unanswered it would keep its credit.
        Err(rejected) if rejected.kind == mjp::kind::REQUEST && rejected.id != 0 => {
            return Ok(Heard::Unreadable(Token::Id(rejected.id), rejected.why.to_string()));
        }
        Err(rejected) => return Err(rejected.to_string()),
    };
    Ok(match heard {
        FromBroker::Request(request) => {
            let said = mjp::RequestHeader::decode(request.header).ok();
            let delivery = Delivery {
                body: request.body.to_message(),
                attempt: request.says.attempt.get(),
                timeout: request.says.timeout.map(Duration::from_millis),
                identity: request.says.identity.map(Into::into),
                caller: Caller::of(&request.says),
                trace: said.and_then(|said| said.trace).map(Into::into),
                state: said.and_then(|said| said.state).map(Into::into),
                key: said.and_then(|said| said.key).map(Into::into),
            };
            Heard::Request(Token::Id(request.id), Box::new(delivery))
        }
        FromBroker::Cancel { id } => Heard::Cancel(id),
        FromBroker::Tell(tell) => {
            let told = Told {
                ask: tell.says.ask,
                code: tell.says.code.map(Into::into),
                message: tell.says.message.map(Into::into),
                body: tell.body.to_message(),
            };
            Heard::Told(tell.id, Box::new(told))
        }
        FromBroker::Heartbeat => Heard::Heartbeat,
        FromBroker::Hello(hello) => hear_hello(&hello),
        FromBroker::Drain { within: None } => Heard::Drained,
        FromBroker::Drain { within: Some(_) } => Heard::Stopping,
        FromBroker::Bye(why) => Heard::Dismissed { why: sentence(why) },
        // What we said was no good: whatever it was, we are not the worker that we think we are.
        FromBroker::Error(failure) if failure.id == 0 => {
            let why = Fault::decode(failure.header).map_err(|why| why.to_string())?;
            Heard::Dismissed { why: sentence(why) }
        }
        FromBroker::Error(failure) => {
            let fault = Fault::decode(failure.header).map_err(|why| why.to_string())?;
            let message = fault.message.unwrap_or_default().to_owned();
            Heard::Refused { id: failure.id, code: fault.code.to_owned(), message }
        }
        FromBroker::Published { id, says } => {
            Heard::Published { id, subscriptions: says.subscriptions }
        }
        FromBroker::Status { .. }
        | FromBroker::Admin { .. }
        | FromBroker::Lease { .. }
        | FromBroker::Group { .. }
        | FromBroker::Targets(_)
        | FromBroker::Outcome(_)
        | FromBroker::Note(_)
        | FromBroker::Accepted { .. }
        | FromBroker::Flow(_)
        | FromBroker::Lane(_)
        | FromBroker::News(_)
        | FromBroker::Gap { .. }
        | FromBroker::Partial(_)
        | FromBroker::Final(_)
        | FromBroker::Event(_)
        | FromBroker::Ask(_) => Heard::Other,
    })
}

fn sentence(fault: Fault<'_>) -> String {
    match fault.message {
        Some(message) => format!("{}: {message}", fault.code),
        None => fault.code.into(),
    }
}

#[cfg(test)]
mod tests;
