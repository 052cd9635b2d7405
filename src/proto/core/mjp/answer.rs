//! What MJP/1 workers answer.

use crate::id::{PeerId, RequestId};
use crate::proto::clock::Time;
use crate::proto::core::Core;
use crate::proto::dialect::mjp::Action;
use crate::proto::dialect::{Reply, fault};
use crate::proto::output::Output;
use crate::wire::mjp::{Code, Packed, Rejected, ToBroker, kind};

impl Core {
    pub(super) fn on_mjp_answer<O: Output>(
        &mut self,
        now: Time,
        id: PeerId,
        action: Action,
        said: &ToBroker<'_>,
        out: &mut O,
    ) {
        let (token, reply) = match said {
            ToBroker::Partial(answer) => (answer.id, Reply::Part(answer.header, answer.body)),
            ToBroker::Final(answer) => (answer.id, Reply::Final(answer.header, answer.body)),
            ToBroker::Error(failure) => (failure.id, Reply::Error(failure.header)),
            _ => return,
        };
        // A number that is nobody's is as good as that of a request that has ended.
        let request = RequestId::from_token(token).unwrap_or_default();
        let worker = self.peers.get(id).and_then(|peer| peer.worker);
        match (action, worker, reply) {
            (Action::Part, _, Reply::Part(header, body)) => {
                self.note_answer(now, id);
                self.router.part(now, request, header, body, out);
            }
            (Action::Finish, Some(worker), reply) => {
                self.note_answer(now, id);
                self.router.finish(now, worker, request, &reply, out);
            }
            (Action::Late, _, reply) => self.router.finish_late(now, id, request, &reply, out),
            (Action::LatePart, ..) => {
                self.router.part_late(id, request);
                self.dropped += 1;
            }
            _ => self.dropped += 1,
        }
    }

    /// An answer that cannot be read ends its request: the worker believes that it has answered.
    pub(super) fn fail_unreadable<O: Output>(
        &mut self,
        now: Time,
        id: PeerId,
        rejected: &Rejected,
        out: &mut O,
    ) {
        let is_answer = matches!(rejected.kind, kind::PARTIAL | kind::FINAL | kind::ERROR);
        let Some(request) = RequestId::from_token(rejected.id) else { return };
        let Some(worker) = self.peers.get(id).and_then(|peer| peer.worker) else { return };
        if is_answer && self.router.holds(worker, request) {
            self.note_answer(now, id);
            let says = fault(Code::Failed, "the worker's answer was malformed");
            let reply = Packed::new(&says);
            self.router.finish(now, worker, request, &Reply::Error(reply.octets()), out);
        }
    }
}
