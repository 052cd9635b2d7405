//! Requests that are kept on a disk: what becomes of them goes to whoever keeps them.

use crate::id::{PeerId, RequestId};
use crate::proto::clock::Time;
use crate::proto::dialect::Reply;
use crate::proto::output::Output;
use crate::proto::stats::Outcome;
use crate::proto::titanic::Uuid;
use crate::wire::message::Message;

use super::Router;

/// How a request that is kept has ended.
#[derive(Debug)]
pub(crate) struct EndOfStored {
    pub(crate) uuid: Uuid,
    pub(crate) outcome: Outcome,
    pub(crate) answer: Option<Message>,
}

impl Router {
    /// The requests of that caller are limited by whoever asks them.
    pub(crate) fn free_of_limits(&mut self, caller: PeerId) {
        if let Some(entry) = self.callers.entry(caller) {
            entry.or_default().exempt = true;
        }
    }

    /// Whether requests of the service are not delivered again once a worker had them.
    pub(crate) fn is_once(&self, name: &[u8]) -> bool {
        self.policy_for(name).is_some_and(|policy| policy.at_most_once)
    }

    /// Takes a request that is kept and has ended.
    pub(crate) fn pop_end_of_stored(&mut self) -> Option<EndOfStored> {
        self.ended_stored.pop()
    }

    /// Ends a request that is not wanted any more.
    pub(crate) fn recall<O: Output>(&mut self, now: Time, id: RequestId, out: &mut O) {
        self.give_up(now, id, Outcome::Cancelled, out);
    }

    /// Ends the requests of the caller that no worker has.
    pub(crate) fn recall_waiting<O: Output>(&mut self, caller: PeerId, out: &mut O) {
        while let Some(id) = self.callers.get(caller).and_then(|caller| caller.waiting.first()) {
            self.end_waiting(id, Outcome::Cancelled, out);
        }
    }

    /// An answer, or the worker's word that there is none.
    pub(super) fn answer_stored(
        &mut self,
        uuid: Uuid,
        id: RequestId,
        reply: &Reply<'_>,
    ) -> Outcome {
        let Some(request) = self.requests.get(id) else { return Outcome::Unclaimed };
        let parts = &request.parts;
        let (bytes, frames) = reply.size();
        let body = match reply {
            Reply::Error(_) => return Outcome::Failed,
            Reply::Part(_, body) | Reply::Final(_, body) => body,
        };
        if parts.overflow
            || parts.frames + frames > self.settings.answer_frames_max
            || parts.bytes > 0 && parts.bytes + bytes > self.settings.answer_bytes_max
        {
            return Outcome::AnswerTooBig;
        }
        let mut whole = parts.kept.clone();
        whole.push(body.to_message());
        let answer = Some(Message::joined(&whole));
        self.ended_stored.push(EndOfStored { uuid, outcome: Outcome::Replied, answer });
        Outcome::Replied
    }

    /// A request has ended, and not by an answer: those have been noted.
    pub(super) fn end_stored(&mut self, uuid: Uuid, outcome: Outcome) {
        if outcome != Outcome::Replied {
            self.ended_stored.push(EndOfStored { uuid, outcome, answer: None });
        }
    }
}
