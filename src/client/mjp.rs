//! Calls over MJP/1.

use std::num::NonZeroU32;
use std::time::Duration;

use tokio::time::timeout;

use super::error::ConnectError;
use super::hear::Heard;
use super::inbox::Tell;
use super::line::Knows;
use super::pending::{Ask, Pending, Request, Sink};
use super::topics::News;
use super::{scatter, topics};
use crate::transport::endpoint::Endpoint;
use crate::transport::session::Session;
use crate::wire::Limits;
use crate::wire::codec::Encoder;
use crate::wire::message::Frames;
use crate::wire::mjp::{
    self, AGENT, Code, FromBroker, HelloLimits, LeaseHeader, LeaseVerb, Malformed, Packed,
    PeerHello, Plain, RequestHeader, StatusHeader, TellHeader, ToBroker, Versions, encode_admin,
    encode_lease,
};

/// Says HELLO and waits for the broker's: its limits, and what it knows.
pub(super) async fn hello(
    session: &mut Session,
    endpoint: &Endpoint,
    patience: Duration,
) -> Result<(HelloLimits, Knows), ConnectError> {
    session.send(|out| {
        ToBroker::Hello(PeerHello { agent: Some(AGENT), versions: Versions::ONE }).encode(out);
    });
    let mut answer = None;
    let waiting = async {
        while answer.is_none() {
            session.turn(|frames| answer = answer.take().or_else(|| greeting(frames))).await?;
        }
        Ok::<_, ConnectError>(())
    };
    match timeout(patience, waiting).await {
        Ok(done) => done?,
        Err(_) => {
            let endpoint = endpoint.to_string();
            return Err(ConnectError::NoHello { endpoint, timeout: patience });
        }
    }
    answer.unwrap_or_else(|| Ok((HelloLimits::default(), Knows::default())))
}

fn greeting(frames: Frames<'_>) -> Option<Result<(HelloLimits, Knows), ConnectError>> {
    match FromBroker::decode(frames) {
        Ok(FromBroker::Hello(hello)) => {
            let has = |feature| hello.features.contains(&feature);
            let knows = Knows {
                keys: has("keys"),
                leases: has("leases"),
                fences: has("fences"),
                retry: has("retry"),
            };
            Some(Ok((hello.limits.unwrap_or_default(), knows)))
        }
        Ok(FromBroker::Error(failure)) if failure.id == 0 => {
            let Fault { code, message, .. } = fault(failure.header);
            Some(Err(ConnectError::Refused { code, message }))
        }
        _ => None,
    }
}

/// Writes what is asked; `left` is the time that it has, `attempts` how often it may still be sent.
pub(super) fn encode(id: u64, pending: &Pending, left: Duration, attempts: u32, out: &mut Encoder) {
    match &pending.ask {
        Ask::Request(request) => {
            encode_request(id, request, pending, left, attempts, out);
        }
        Ask::Status(ask) => {
            let service = ask.service.as_ref().map(|name| name.as_bytes());
            let says = StatusHeader { what: ask.what, service, after: ask.after, max: ask.max };
            ToBroker::Status { id, says }.encode(out);
        }
        Ask::Scatter(ask) => scatter::encode(id, ask, left, out),
        Ask::Publish(publication) => topics::encode_publish(id, publication, out),
        Ask::Subscribe(pattern) => topics::encode_subscribe(id, pattern, out),
        Ask::Admin { says, .. } | Ask::Follow(says) => {
            let mut body = says.frames();
            let header = body.take_first().unwrap_or_default();
            encode_admin(id, header, &body, out);
        }
        Ask::Lease(header) => encode_lease(id, header.first(), out),
        Ask::Observe(lease) => {
            let says = LeaseHeader::new(LeaseVerb::Observe, lease);
            ToBroker::Lease { id, says }.encode(out);
        }
        // It says by itself what there is to be said.
        Ask::Campaign(_) => {}
    }
}

fn encode_request(
    id: u64,
    request: &Request,
    pending: &Pending,
    left: Duration,
    attempts: u32,
    out: &mut Encoder,
) {
    let talks = matches!(pending.sink, Sink::Updates(_)).then_some(true);
    let says = RequestHeader {
        service: &request.service,
        // Rounded up: the broker may give up a moment later than we do, and not before.
        timeout: Some(u64::try_from(left.as_millis()).unwrap_or(u64::MAX).saturating_add(1)),
        attempts: NonZeroU32::new(attempts).filter(|_| request.limited),
        ack: (request.handed_in || request.notice.is_some()).then_some(true),
        parts: (!pending.wants_parts()).then_some(false),
        trace: request.trace.as_deref(),
        state: request.state.as_deref(),
        events: talks,
        asks: talks,
        key: request.key.as_deref(),
        lease: request.fence.as_ref().map(|fence| fence.lease()),
        epoch: request.fence.as_ref().map(|fence| fence.epoch()),
        order: request.order.as_deref(),
        // It is sent again with what is left of it.
        delay: request.delay.map(|delay| {
            let waited = pending.timeout.saturating_sub(left);
            u64::try_from(delay.saturating_sub(waited).as_millis()).unwrap_or(u64::MAX)
        }),
        level: request.level,
        wait: request.handed_in.then_some(false),
    };
    let header = Packed::request(&says);
    let (header, body) = (header.octets(), request.body.frames());
    mjp::Request { id, header, says, body }.encode(out);
}

/// Answers what a worker has asked, unless the answer is too big for the broker.
pub(super) fn encode_tell(tell: &Tell, limits: &Limits, out: &mut Encoder) {
    let fits = super::check_body(0, &tell.body, limits).is_ok();
    let (code, message, body) = if fits {
        (tell.code.as_deref(), tell.message.as_deref(), tell.body.frames())
    } else {
        (Some(Code::TooBig.as_str()), Some("the broker would not take it"), Frames::default())
    };
    let says = TellHeader { ask: tell.ask, code, message };
    let packed = Packed::new(&says);
    let tell = mjp::Tell { id: tell.call, header: packed.octets(), says, body };
    ToBroker::Tell(tell).encode(out);
}

/// Says that nobody waits for an answer any more.
pub(super) fn encode_cancel(id: u64, out: &mut Encoder) {
    ToBroker::Cancel { id }.encode(out);
}

/// Reads what a broker says. `None`: nothing that concerns a call.
#[inline]
pub(super) fn decode(frames: Frames<'_>) -> Option<Heard<'_>> {
    // Almost all messages are this.
    if let Some(Plain::Final(answer)) = Plain::decode(frames) {
        return Some(Heard::Final { id: Some(answer.id), body: answer.body });
    }
    let said = match FromBroker::decode(frames) {
        Ok(said) => said,
        // What is new is survived.
        Err(rejected) if rejected.why == Malformed::UnknownKind => return None,
        Err(rejected) => return Some(malformed(&rejected)),
    };
    match said {
        FromBroker::Final(answer) => Some(Heard::Final { id: Some(answer.id), body: answer.body }),
        FromBroker::Partial(answer) => Some(Heard::Part { id: Some(answer.id), body: answer.body }),
        FromBroker::Error(failure) => {
            let Fault { code, message, retry, epoch } = fault(failure.header);
            Some(if failure.id == 0 {
                Heard::Complaint { code, message }
            } else {
                // A broker that was to deliver it again has done so.
                let said = mjp::Fault::decode(failure.header);
                let tried = said.is_ok_and(|it| it.again == Some(true));
                Heard::Refused { id: failure.id, code, message, retry, epoch, tried }
            })
        }
        FromBroker::Status { id, header } => Some(Heard::Status { id, header }),
        FromBroker::Targets(targets) => Some(match scatter::heard_targets(&targets) {
            Ok(told) => Heard::Told { id: targets.id, told: Box::new(told) },
            Err(why) => malformed(&mjp::Rejected { kind: mjp::kind::TARGETS, id: targets.id, why }),
        }),
        FromBroker::Outcome(outcome) => {
            let told = Box::new(scatter::heard_outcome(&outcome));
            Some(Heard::Told { id: outcome.id, told })
        }
        FromBroker::Note(note) => {
            let told = Box::new(scatter::heard_note(&note));
            Some(Heard::Told { id: note.id, told })
        }
        FromBroker::Lease { id, header } => Some(Heard::Lease { id, header }),
        FromBroker::Admin { id, header, body } => Some(Heard::Admin { id, header, body }),
        FromBroker::Event(mjp::Event { id, header, body }) => {
            Some(Heard::Event { id, header, body })
        }
        FromBroker::Ask(mjp::Ask { id, header, says, body }) => {
            Some(Heard::Question { id, header, says, body })
        }
        FromBroker::Accepted { id, says } => {
            let repeat = says.repeat.unwrap_or(false);
            Some(Heard::Accepted { id, level: says.level, repeat })
        }
        FromBroker::News(news) => Some(Heard::Topic { id: news.id, news: News::of(&news) }),
        FromBroker::Gap { id, says } => Some(Heard::Topic { id, news: News::Missed(says.missed) }),
        FromBroker::Published { id, says } => {
            Some(Heard::Published { id, subscriptions: says.subscriptions })
        }
        FromBroker::Drain { .. } => Some(Heard::Draining),
        // Not for one who only calls, or of no concern here.
        FromBroker::Hello(_)
        | FromBroker::Heartbeat
        | FromBroker::Bye(_)
        | FromBroker::Request(_)
        | FromBroker::Flow(_)
        | FromBroker::Lane(_)
        | FromBroker::Cancel { .. }
        | FromBroker::Group { .. }
        | FromBroker::Tell(_) => None,
    }
}

/// An answer that cannot be read is none, and the only one that comes.
#[cold]
fn malformed<'a>(rejected: &mjp::Rejected) -> Heard<'a> {
    let (code, message) = ("malformed_answer".to_owned(), rejected.why.to_string());
    let ends = matches!(
        rejected.kind,
        mjp::kind::FINAL
            | mjp::kind::ERROR
            | mjp::kind::STATUS
            | mjp::kind::TARGETS
            | mjp::kind::OUTCOME
            | mjp::kind::ADMIN
            | mjp::kind::LEASE
            | mjp::kind::PUBLISHED
    );
    if ends && rejected.id != 0 {
        Heard::Refused { id: rejected.id, code, message, retry: None, epoch: None, tried: false }
    } else {
        Heard::Complaint { code, message }
    }
}

/// What ERROR says.
struct Fault {
    code: String,
    message: String,
    retry: Option<Duration>,
    epoch: Option<u64>,
}

fn fault(header: &[u8]) -> Fault {
    match mjp::Fault::decode(header) {
        Ok(fault) => Fault {
            code: fault.code.to_owned(),
            message: fault.message.unwrap_or_default().to_owned(),
            retry: fault.retry.map(Duration::from_millis),
            epoch: fault.epoch,
        },
        Err(why) => {
            let (code, message) = ("malformed_error".into(), why.to_string());
            Fault { code, message, retry: None, epoch: None }
        }
    }
}
