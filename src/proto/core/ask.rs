//! REQUEST: accepted, answered by the broker itself, or refused in words.

use std::sync::Arc;

use crate::id::PeerId;
use crate::proto::clock::Time;
use crate::proto::dialect::{CallerVoice, Native, Terms};
use crate::proto::mmi;
use crate::proto::output::Output;
use crate::proto::rights::Verb as Right;
use crate::proto::router::{Refusal, Wanted};
use crate::wire::message::{Frames, Message};
use crate::wire::mjp::{Answer, Code, FromBroker, Request, RequestHeader};

use super::mjp::fence::Said;
use super::rights::{TOO_OFTEN, why_denied};
use super::{Core, Taken};

impl Core {
    /// A request comes.
    pub(super) fn on_ask<O: Output>(
        &mut self,
        now: Time,
        id: PeerId,
        request: &Request<'_>,
        kept: Frames<'_>,
        out: &mut O,
    ) {
        let says = &request.says;
        let kept_by_policy = self.keeps_by_policy || says.level.is_some();
        if kept_by_policy && self.on_deposit(now, id, request, kept, out) {
            return;
        }
        if self.is_for_itself(now, id, request, out) {
            return;
        }
        let voice = CallerVoice::Mjp(native(now, request));
        let wanted = self.wanted(id, says);
        if let Err(why) = self.router.accept(now, id, voice, wanted, kept, out) {
            self.refuse_ask(id, request.id, why, out);
        }
    }

    /// Answers a request that is none for the tables: one for the broker itself, one whose id stands
    /// for a scatter or for what the caller follows, or one that may not be asked.
    #[inline]
    pub(super) fn is_for_itself<O: Output>(
        &mut self,
        now: Time,
        id: PeerId,
        request: &Request<'_>,
        out: &mut O,
    ) -> bool {
        let taken = if self.is_scattering(id, request.id) {
            Some("a scatter of this id is open on the connection")
        } else if self.is_following(id, request.id) {
            Some("the connection follows by this id")
        } else {
            None
        };
        if let Some(message) = taken {
            self.object(id, request.id, Code::DuplicateId, message, out);
            return true;
        }
        if self.take_turn(now, id).is_err() {
            self.object_new(id, request.id, Code::Overloaded, TOO_OFTEN, out);
            return true;
        }
        if self.is_titanic(request.says.service) && !self.router.is_open(id, request.id) {
            let voice = CallerVoice::Mjp(native(now, request));
            let asked = (request.says.service, request.body);
            if self.on_titanic(now, id, voice, asked, out) == Taken::NotYet {
                let refusal =
                    if self.router.is_draining() { Refusal::Draining } else { Refusal::Overloaded };
                self.refuse_ask(id, request.id, refusal, out);
            }
            return true;
        }
        if !self.may(id, Right::Call, request.says.service, out) {
            let why = why_denied(Right::Call, request.says.service);
            self.object_new(id, request.id, Code::Denied, &why, out);
            return true;
        }
        if let Some(delay) = request.says.delay()
            && request.says.timeout().is_some_and(|timeout| delay >= timeout)
        {
            let why = "the delay is not shorter than the timeout: no worker would ever get it";
            self.object_new(id, request.id, Code::BadRequest, why, out);
            return true;
        }
        let said = said(&request.says);
        let fenced = said != (None, None) || self.router.has_fences();
        if fenced && let Err(why) = self.check_fence(now, id, Some(request.says.service), said) {
            if self.router.is_open(id, request.id) {
                self.refuse_ask(id, request.id, Refusal::DuplicateId, out);
            } else {
                self.object_why(id, request.id, &why, out);
            }
            return true;
        }
        let is_mmi =
            request.says.service.starts_with(mmi::PREFIX) && !self.router.is_open(id, request.id);
        if is_mmi {
            self.answer_native_mmi(id, request, out);
        }
        is_mmi
    }

    /// What is asked for, and how it is to be carried out.
    #[inline]
    pub(super) fn wanted<'a>(&self, id: PeerId, says: &RequestHeader<'a>) -> Wanted<'a> {
        Wanted {
            service: says.service,
            fence: self.fence(id, said(says)),
            order: says.order.map(Arc::from),
            delay: says.delay().filter(|delay| !delay.is_zero()),
            place: None,
        }
    }

    /// Tells a caller why a new request is none. If its id is that of an open one, the error would
    /// be the end of that.
    fn object_new<O: Output>(
        &mut self,
        id: PeerId,
        request: u64,
        code: Code,
        why: &str,
        out: &mut O,
    ) {
        if self.router.is_open(id, request) {
            self.refuse_ask(id, request, Refusal::DuplicateId, out);
        } else {
            self.object(id, request, code, why, out);
        }
    }

    /// Tells a caller why its request was not accepted.
    pub(super) fn refuse_ask<O: Output>(
        &mut self,
        id: PeerId,
        request: u64,
        why: Refusal,
        out: &mut O,
    ) {
        let (code, message) = match why {
            // An MJP caller is told, not paused.
            Refusal::NotYet => return,
            Refusal::Overloaded => {
                (Code::Overloaded, "a limit of the client, the service or the broker is reached")
            }
            Refusal::Draining => (Code::Draining, self.why_draining()),
            Refusal::DuplicateId => {
                (Code::DuplicateId, "another request of this id is open on the connection")
            }
            Refusal::Conflict => {
                (Code::KeyConflict, "the key stands for another request; choose a new one")
            }
            Refusal::BadName(_) => (Code::BadRequest, "a service has a name of 1 to 255 octets"),
        };
        self.object(id, request, code, message, out);
    }

    fn answer_native_mmi<O: Output>(&mut self, id: PeerId, request: &Request<'_>, out: &mut O) {
        let service = request.says.service;
        let status = Message::new([mmi::status(&self.router, service, request.body)]);
        let answer = Answer { id: request.id, header: &[], body: status.frames() };
        self.say(id, status.bytes(), out, |encoder| FromBroker::Final(answer).encode(encoder));
    }
}

/// What a request says of a lease.
#[inline]
pub(super) fn said<'a>(says: &RequestHeader<'a>) -> Said<'a> {
    (says.lease, says.epoch)
}

/// What the caller of a request wants.
#[inline]
pub(super) fn native(now: Time, request: &Request<'_>) -> Native {
    let says = &request.says;
    let deadline = says.timeout().map(|timeout| now.after(timeout));
    let terms = Terms { deadline, attempts: says.attempts };
    let (parts, ack) = (says.parts(), says.ack());
    let (events, asks) = (says.events(), says.asks());
    Native { id: request.id, parts, ack, events, asks, terms }
}
