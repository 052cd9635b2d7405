//! Requests that are kept on a disk: what becomes of them goes to whoever keeps them.

use crate::id::{PeerId, RequestId};
use crate::proto::clock::Time;
use crate::proto::depot::Remains;
use crate::proto::dialect::{Reply, Shelf, Tried};
use crate::proto::keys::Kept;
use crate::proto::output::Output;
use crate::proto::stats::Outcome;
use crate::proto::titanic::Uuid;
use crate::wire::message::Message;
use crate::wire::mjp::Packed;

use super::Router;
use super::keyed::too_big_fault;
use super::request::Request;

/// How a request that is kept has ended.
#[derive(Debug)]
pub(crate) struct EndOfStored {
    pub(crate) uuid: Uuid,
    pub(crate) outcome: Outcome,
    pub(crate) answer: Option<Message>,
    /// Deliveries before, if it is to be asked again.
    pub(crate) tried: Tried,
    /// What is to be a dead letter.
    pub(crate) remains: Option<Box<Remains>>,
}

/// What has become of a request of level disk.
#[derive(Debug)]
pub(crate) enum DepotNews {
    /// It has ended, that is what was said, and that is to be a dead letter.
    Ended {
        number: u64,
        outcome: Outcome,
        epoch: Option<u64>,
        said: Option<Kept>,
        remains: Option<Box<Remains>>,
    },
    /// It was lost with so many workers, alone with so many of them, and waits again.
    Lost { number: u64, losses: u32, solo_losses: u32 },
    /// It ends, and workers have failed it so often and wanted it to be delivered again.
    Failed { number: u64, failures: u32 },
}

impl DepotNews {
    fn ended(number: u64, (outcome, epoch): (Outcome, Option<u64>), said: Option<Kept>) -> Self {
        Self::Ended { number, outcome, epoch, said, remains: None }
    }
}

impl Router {
    /// The next request of level disk has its place behind all that were accepted, and before all
    /// that will be.
    pub(crate) fn align(&mut self) {
        if let Some(depot) = &mut self.depot {
            self.sequence = depot.align(self.sequence);
        }
    }

    /// All requests of level memory have their places behind those that were found on the disk.
    pub(crate) fn follow_depot(&mut self) {
        let last = self.depot.as_ref().map_or(0, |depot| depot.last());
        self.sequence = self.sequence.max(last + 1);
    }

    /// Whether one of level memory is before a request in its order. Then that is asked later.
    pub(crate) fn holds_up(&mut self, service: &[u8], number: u64) -> bool {
        let order = self.depot.as_ref().and_then(|depot| depot.order_of(number));
        let holds = order.is_some_and(|order| !self.lets_go(service, &order, number));
        if let Some(depot) = self.depot.as_mut().filter(|_| holds) {
            depot.set_aside(number);
        }
        holds
    }

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

    /// Takes something that has become of a request of level disk.
    pub(crate) fn take_depot_news(&mut self) -> Vec<DepotNews> {
        std::mem::take(&mut self.depot_news)
    }

    /// So many requests the workers of a service take together, as far as `most`.
    pub(crate) fn credit_of(&self, name: &[u8], most: usize) -> usize {
        let Some(service) = self.by_name.get(name).and_then(|id| self.services.get(*id)) else {
            return 0;
        };
        let mut credit = 0;
        for worker in service.workers.iter().filter_map(|id| self.workers.get(*id)) {
            credit += worker.credit;
            if credit >= most {
                break;
            }
        }
        credit.min(most)
    }

    /// An answer, or the worker's word that there is none.
    pub(super) fn answer_stored(
        &mut self,
        place: Shelf,
        id: RequestId,
        reply: &Reply<'_>,
    ) -> Outcome {
        let Some(request) = self.requests.get(id) else { return Outcome::Unclaimed };
        let parts = &request.parts;
        let (bytes, frames) = reply.size();
        let too_big = parts.overflow
            || parts.frames + frames > self.settings.answer_frames_max
            || parts.bytes > 0 && parts.bytes + bytes > self.settings.answer_bytes_max;
        match (place, *reply) {
            (Shelf::Titanic(_), Reply::Error(_)) => Outcome::Failed,
            (Shelf::Depot(number), Reply::Error(header)) => {
                let said = Some(Kept::Error(header.into()));
                let outcome = Outcome::Failed;
                self.depot_news.push(DepotNews::ended(number, (outcome, None), said));
                outcome
            }
            (Shelf::Titanic(_), Reply::Part(..) | Reply::Final(..)) if too_big => {
                Outcome::AnswerTooBig
            }
            (Shelf::Depot(number), Reply::Part(..) | Reply::Final(..)) if too_big => {
                let said = Some(Kept::Error(Packed::new(&too_big_fault()).octets().into()));
                let outcome = Outcome::AnswerTooBig;
                self.depot_news.push(DepotNews::ended(number, (outcome, None), said));
                outcome
            }
            (Shelf::Titanic(uuid), Reply::Part(_, body) | Reply::Final(_, body)) => {
                let mut whole = parts.kept.clone();
                whole.push(body.to_message());
                let answer = Some(Message::joined(&whole));
                let outcome = Outcome::Replied;
                let tried = Tried::default();
                self.ended_stored.push(EndOfStored { uuid, outcome, answer, tried, remains: None });
                Outcome::Replied
            }
            (Shelf::Depot(number), Reply::Part(header, body) | Reply::Final(header, body)) => {
                let mut whole = vec![Message::from(header.to_vec())];
                whole.extend_from_slice(&parts.kept);
                whole.push(body.to_message());
                let said = Some(Kept::Final(Box::new(Message::joined(&whole))));
                let outcome = Outcome::Replied;
                self.depot_news.push(DepotNews::ended(number, (outcome, None), said));
                outcome
            }
        }
    }

    /// A request has ended; what was said by a worker has been noted.
    pub(super) fn end_stored(&mut self, place: Shelf, request: &Request, outcome: Outcome) {
        match (place, outcome) {
            (_, Outcome::Replied) => {}
            (Shelf::Titanic(uuid), _) => {
                let (answer, tried, remains) = (None, request.tried(), None);
                self.ended_stored.push(EndOfStored { uuid, outcome, answer, tried, remains });
            }
            (Shelf::Depot(_), Outcome::Failed | Outcome::AnswerTooBig) => {}
            (Shelf::Depot(number), _) => {
                let failures = request.failures();
                if failures > 0 {
                    self.depot_news.push(DepotNews::Failed { number, failures });
                }
                let epoch = self.epoch_for(request, outcome);
                self.depot_news.push(DepotNews::ended(number, (outcome, epoch), None));
            }
        }
    }

    /// What is left of a request that has ended in this step is to be a dead letter, kept where the
    /// request is.
    pub(super) fn leave_remains(&mut self, place: Shelf, left: Remains) {
        let remains = match place {
            Shelf::Titanic(uuid) => {
                let mut ended = self.ended_stored.iter_mut().rev();
                ended.find(|end| end.uuid == uuid).map(|end| &mut end.remains)
            }
            Shelf::Depot(of) => self.depot_news.iter_mut().rev().find_map(|news| match news {
                DepotNews::Ended { number, remains, .. } if *number == of => Some(remains),
                DepotNews::Ended { .. } | DepotNews::Lost { .. } | DepotNews::Failed { .. } => None,
            }),
        };
        if let Some(remains) = remains {
            *remains = Some(Box::new(left));
        }
    }
}
