//! Handlers of flow services that are workers of MJP: READY with the role `flow` (SPEC 13.5).

use crate::id::{PeerId, ServiceName};
use crate::proto::clock::Time;
use crate::proto::core::Core;
use crate::proto::dialect::{WorkerVoice, fault};
use crate::proto::flow::{End, FlowId, HandlerId, OfferError};
use crate::proto::keepalive::{End as Fate, Watch};
use crate::proto::output::{CloseReason, Output};
use crate::proto::rights::Verb as Right;
use crate::wire::mjp::{Code, FromBroker, ReadyHeader};

/// What a peer offers.
#[derive(Debug)]
pub(in crate::proto::core) struct Handler {
    id: HandlerId,
    pub(in crate::proto::core) service: ServiceName,
    /// When it was last shown that the broker lives.
    sent: Time,
}

impl Core {
    /// Registers a peer that has said READY. False: it is none, and has been told so.
    pub(in crate::proto::core) fn register_handler<O: Output>(
        &mut self,
        now: Time,
        id: PeerId,
        says: &ReadyHeader<'_>,
        out: &mut O,
    ) -> bool {
        if !self.may(id, Right::Serve, says.service, out) {
            self.object_denied(id, 0, Right::Serve, says.service, out);
            return false;
        }
        let Ok(service) = ServiceName::try_from(says.service) else { return false };
        let credit = u32::from(says.credit());
        let offered = self.with_flows(out, |table, desk| {
            table.offer(now, End::of(id), service.clone(), credit, desk)
        });
        let handler = match offered {
            Ok(handler) => handler,
            Err(why) => {
                let draining = matches!(why, OfferError::Stopping);
                let code = if draining { Code::Draining } else { Code::Overloaded };
                let why = why.to_string();
                let bye = FromBroker::Bye(fault(code, &why));
                self.say(id, 64 + why.len(), out, |encoder| bye.encode(encoder));
                return false;
            }
        };
        if let Some(peer) = self.peers.get_mut(id) {
            peer.handler = Some(Handler { id: handler, service, sent: now });
            (peer.registered, peer.beats_heard, peer.beats_sent) = (now, 0, 0);
            if peer.takes_ping {
                out.ping(id);
            }
        }
        self.arm(id, now.after(self.settings.mdp.interval));
        true
    }

    /// The peer, if it is a handler, takes so many flows at a time from now on.
    pub(in crate::proto::core) fn set_handler_credit<O: Output>(
        &mut self,
        now: Time,
        id: PeerId,
        credit: u16,
        out: &mut O,
    ) {
        let Some(handler) = self.handler_of(id).map(|handler| handler.id) else { return };
        let credit = u32::from(credit);
        self.with_flows(out, |table, desk| table.set_credit(now, handler, credit, desk));
    }

    /// The peer is no handler any more. Flows for which it has not come go to others.
    pub(in crate::proto::core) fn withdraw_handler<O: Output>(
        &mut self,
        now: Time,
        id: PeerId,
        out: &mut O,
    ) {
        let handler = self.peers.get_mut(id).and_then(|peer| peer.handler.take());
        if let Some(handler) = handler {
            self.with_flows(out, |table, desk| table.withdraw(now, handler.id, desk));
        }
    }

    /// The peer says that a flow which it was given has failed, so that its client is refused. False
    /// if it has no such flow.
    pub(in crate::proto::core) fn decline_flow<O: Output>(
        &mut self,
        now: Time,
        id: PeerId,
        token: u64,
        out: &mut O,
    ) -> bool {
        let Some(handler) = self.handler_of(id).map(|handler| handler.id) else { return false };
        let given = |flow: &FlowId| self.flows.table.is_given(*flow, handler);
        let Some(flow) = FlowId::from_token(token).filter(given) else { return false };
        self.note_answer(now, id);
        self.with_flows(out, |table, desk| table.declined(now, flow, desk));
        true
    }

    pub(in crate::proto::core) fn handler_of(&self, id: PeerId) -> Option<&Handler> {
        self.peers.get(id)?.handler.as_ref()
    }

    /// Shows a handler that the broker lives, or gives it up. It shows that it lives however many
    /// flows it has: these go over other connections.
    pub(in crate::proto::core) fn look_at_handler<O: Output>(
        &mut self,
        now: Time,
        id: PeerId,
        out: &mut O,
    ) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        let Some(handler) = &mut peer.handler else { return };
        let watch = Watch {
            spoke: peer.spoke,
            heard: peer.heard,
            sent: handler.sent,
            busy: None,
            beats_while_busy: true,
            takes_ping: peer.takes_ping,
            has_ponged: peer.has_ponged,
            pings_open: peer.pings_open,
        };
        let verdict = watch.judge(now, &self.settings.mdp);
        if verdict.beat {
            handler.sent = now;
            if out.is_quiet(id) {
                peer.beats_sent = peer.beats_sent.saturating_add(1);
                out.send(id, |encoder| WorkerVoice::Mjp.heartbeat(&[], encoder));
            }
        }
        match verdict.end {
            Some(Fate::Expired) => self.expire(now, id, Code::Timeout, out),
            Some(Fate::Silent) => self.end(now, id, CloseReason::Silent, out),
            None => self.arm(id, verdict.next),
        }
    }
}
