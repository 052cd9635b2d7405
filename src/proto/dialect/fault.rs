//! What the broker says of a request in words of its own: that it was accepted, or why it failed.

use crate::proto::stats::Outcome;
use crate::wire::codec::Encoder;
use crate::wire::mjp::{AcceptedHeader, Code, Fault, FromBroker, Level};

/// Says that a request was accepted, or that it was before, and what it survives.
pub(crate) fn say_accepted(id: u64, level: Level, repeat: bool, out: &mut Encoder) {
    let says = AcceptedHeader { level: level.as_str(), repeat: repeat.then_some(true) };
    FromBroker::Accepted { id, says }.encode(out);
}

/// What is said to a caller whose request ended so, if it was not answered.
pub(crate) fn fault_of(outcome: Outcome) -> Option<Fault<'static>> {
    let (code, message) = match outcome {
        Outcome::Replied | Outcome::Unclaimed | Outcome::CallerGone | Outcome::Failed => {
            return None;
        }
        Outcome::WorkerLost => (
            Code::WorkerLost,
            "the worker was lost with the request, which may not be delivered again; it may have \
             been carried out",
        ),
        Outcome::Dead => {
            (Code::Poison, "each worker that had the request was lost, the last ones with it alone")
        }
        Outcome::Expired => (Code::Unserved, "no worker offered the service in its time"),
        Outcome::AnswerTooBig => {
            (Code::TooBig, "the answer is over limits.frames or limits.message")
        }
        Outcome::TimedOut => (Code::Timeout, "the timeout of the request has passed"),
        Outcome::Cancelled => (Code::Cancelled, "cancelled by its caller"),
        Outcome::Refused => (
            Code::BadRequest,
            "the worker speaks NFP: a request is one frame, a JSON object with a task",
        ),
        Outcome::StaleEpoch => (Code::StaleEpoch, STALE),
        Outcome::Unfenced => (
            Code::FenceRequired,
            "the service takes requests of the holder of a lease only; say `lease` and `epoch`",
        ),
    };
    Some(fault(code, message))
}

/// What is said to who does not hold its lease any more.
pub(crate) const STALE: &str = "the epoch is not that of who holds the lease; campaign again";

/// An error of the broker, with the time after which a retry makes sense, if it does.
pub(crate) fn fault(code: Code, message: &str) -> Fault<'_> {
    /// Time after which a retry makes sense, ms.
    const RETRY: u64 = 100;
    let retry = code.may_retry().then_some(RETRY);
    Fault { code: code.as_str(), message: Some(message), retry, epoch: None, again: None }
}
