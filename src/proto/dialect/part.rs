//! How the caller of a job hears of one worker's part in it.

use crate::id::Identity;
use crate::proto::jobs::{Job, JobId, Progress};
use crate::proto::stats::Outcome;
use crate::wire::codec::Encoder;
use crate::wire::message::{Frames, Message};
use crate::wire::mjp::{self, Fault, FromBroker, OutcomeHeader};
use crate::wire::nfp::{self, Era, Kind, body, status};

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
    /// By SCATTER of MJP.
    Scatter {
        /// Its id.
        id: u64,
        /// The caller wants to know what happens.
        events: bool,
    },
    /// By POST of NFP.
    Post(Post),
}

/// What an NFP client calls a job.
#[derive(Debug)]
pub(crate) struct Post {
    pub(crate) uuid: Box<[u8]>,
    pub(crate) task: Box<str>,
    pub(crate) era: Era,
    /// Any worker may have it.
    pub(crate) queued: bool,
}

impl Part {
    /// Whether it is for any worker, and waits for one.
    pub(crate) fn is_queued(&self) -> bool {
        matches!(&self.way, Way::Post(post) if post.queued)
    }

    /// Memory of the job, if it comes with the request, octets.
    pub(super) fn beside(&self) -> usize {
        match &self.way {
            Way::Post(post) if post.queued => Job::cost_of(&post.uuid, 1),
            Way::Post(_) | Way::Scatter { .. } => 0,
        }
    }

    pub(super) fn answer(
        &self,
        service: &[u8],
        parts: &[Message],
        reply: &Reply<'_>,
        out: &mut Encoder,
    ) {
        let id = match &self.way {
            Way::Scatter { id, .. } => *id,
            Way::Post(post) => {
                let done = matches!(reply, Reply::Final(..));
                return self.say_ready(post, service, done, out);
            }
        };
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
            epoch: None,
        };
        mjp::Outcome { id, says, header, body }.encode(parts, out);
    }

    pub(super) fn error(
        &self,
        service: &[u8],
        outcome: Outcome,
        fault: &Fault<'_>,
        out: &mut Encoder,
    ) {
        let id = match &self.way {
            Way::Scatter { id, .. } => *id,
            Way::Post(post) => return self.say_ready(post, service, false, out),
        };
        let says = OutcomeHeader {
            target: self.target(),
            outcome: progress_of(outcome).label(),
            code: Some(fault.code),
            message: fault.message,
            epoch: fault.epoch,
        };
        let (header, body) = (&[][..], Frames::default());
        FromBroker::Outcome(mjp::Outcome { id, says, header, body }).encode(out);
    }

    /// Tells an NFP client that it can have the result, which the broker keeps for it.
    fn say_ready(&self, post: &Post, service: &[u8], done: bool, out: &mut Encoder) {
        let status = if done { "completed" } else { "failed" };
        let event = body::result_ready(self.target(), service, &post.uuid, &post.task, status);
        let body = Message::new([event]);
        let reply = nfp::Reply {
            kind: Kind::Event,
            service,
            uuid: &post.uuid,
            status: &status::OK[..],
            body: body.frames(),
        };
        reply.encode(post.era, out);
    }

    /// The result as an NFP client will fetch it, if that is how the job was asked for.
    pub(crate) fn result(
        &self,
        service: &[u8],
        parts: &[Message],
        reply: &Reply<'_>,
    ) -> Option<Vec<u8>> {
        let Way::Post(post) = &self.way else { return None };
        let outcome = match *reply {
            Reply::Part(..) => return None,
            Reply::Final(_, body) => {
                let earlier = parts.iter().flat_map(Message::frames);
                Ok(earlier.chain(body).collect())
            }
            Reply::Error(header) => Err(Fault::decode(header)
                .map_or_else(|_| "the worker failed".into(), |fault| said(&fault))),
        };
        Some(body::result(self.target(), service, &post.uuid, &post.task, outcome))
    }

    /// The same, where the broker has to say what happened.
    pub(crate) fn result_of(&self, service: &[u8], outcome: Outcome) -> Option<Vec<u8>> {
        let Way::Post(post) = &self.way else { return None };
        let fault = super::fault_of(outcome)?;
        let why = said(&fault);
        Some(body::result(self.target(), service, &post.uuid, &post.task, Err(why)))
    }

    pub(super) fn target(&self) -> &str {
        // Whoever has no text as its name was given one.
        std::str::from_utf8(self.name.as_bytes()).unwrap_or_default()
    }
}

fn said(fault: &Fault<'_>) -> String {
    format!("{}: {}", fault.code, fault.message.unwrap_or_default())
}

/// What the end of a request is for the job that it is a part of.
pub(crate) fn progress_of(outcome: Outcome) -> Progress {
    match outcome {
        Outcome::Replied | Outcome::Unclaimed => Progress::Replied,
        Outcome::Failed | Outcome::AnswerTooBig => Progress::Failed,
        Outcome::Refused | Outcome::StaleEpoch | Outcome::Unfenced => Progress::Refused,
        Outcome::WorkerLost | Outcome::Dead | Outcome::Expired => Progress::Lost,
        Outcome::TimedOut => Progress::TimedOut,
        Outcome::CallerGone | Outcome::Cancelled => Progress::Cancelled,
    }
}
