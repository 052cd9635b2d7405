//! How the caller of a job hears of one worker's part in it.

use crate::id::Identity;
use crate::proto::jobs::{JobId, Progress};
use crate::proto::stats::Outcome;
use crate::wire::codec::Encoder;
use crate::wire::message::{Frames, Message};
use crate::wire::mjp::{self, Fault, FromBroker, OutcomeHeader};

use super::{Reply, Terms};

/// One worker's part in a job, where a request stands for it.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) job: JobId,
    /// Of the target.
    pub(crate) index: usize,
    /// Of the worker.
    pub(crate) name: Identity,
    pub(crate) terms: Terms,
    pub(crate) way: Way,
}

/// How a job was asked for.
#[derive(Debug)]
pub(crate) enum Way {
    /// By SCATTER of MJP, with this id.
    Scatter(u64),
}

impl Part {
    pub(super) fn answer(
        &self,
        _service: &[u8],
        parts: &[Message],
        reply: &Reply<'_>,
        out: &mut Encoder,
    ) {
        let Way::Scatter(id) = self.way;
        let (outcome, header, body) = match *reply {
            // Parts are kept until the answer is whole.
            Reply::Part(..) => return,
            Reply::Final(header, body) => (Progress::Replied, header, body),
            Reply::Error(header) => (Progress::Failed, header, Frames::default()),
        };
        let says = OutcomeHeader {
            target: self.target(),
            outcome: outcome.label(),
            code: None,
            message: None,
        };
        mjp::Outcome { id, says, header, body }.encode(parts, out);
    }

    pub(super) fn error(&self, outcome: Outcome, fault: &Fault<'_>, out: &mut Encoder) {
        let Way::Scatter(id) = self.way;
        let says = OutcomeHeader {
            target: self.target(),
            outcome: progress_of(outcome).label(),
            code: Some(fault.code),
            message: fault.message,
        };
        let (header, body) = (&[][..], Frames::default());
        FromBroker::Outcome(mjp::Outcome { id, says, header, body }).encode(out);
    }

    fn target(&self) -> &str {
        // Whoever has no text as its name was given one.
        std::str::from_utf8(self.name.as_bytes()).unwrap_or_default()
    }
}

/// What the end of a request is for the job that it is a part of.
pub(crate) fn progress_of(outcome: Outcome) -> Progress {
    match outcome {
        Outcome::Replied | Outcome::Unclaimed => Progress::Replied,
        Outcome::Failed | Outcome::AnswerTooBig => Progress::Failed,
        Outcome::Refused => Progress::Refused,
        Outcome::WorkerLost | Outcome::Dead | Outcome::Expired => Progress::Lost,
        Outcome::TimedOut => Progress::TimedOut,
        Outcome::CallerGone | Outcome::Cancelled => Progress::Cancelled,
    }
}
