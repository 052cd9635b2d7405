//! A BOT, up to the moment when a handler comes.

use crate::id::ServiceName;
use crate::proto::clock::Time;
use crate::proto::core::Taken;
use crate::proto::flow::output::{End, FlowEvent, FlowOutput, Outcome, Refusal};
use crate::proto::flow::rules::Target;
use crate::proto::flow::words::{self, Bot};
use crate::wire::zio::{Cid, Direction};

use super::FlowTable;
use super::flow::{Flow, FlowId, Progress};
use super::lane::Reserved;
use super::member::Place;
use super::service::{HandlerId, OfferError};

/// What the factory says about a flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// A handler will come, or has come already.
    Accept,
    /// The client is told EOT.
    Refuse,
    /// Those are asked who offer that flow service.
    Service(ServiceName),
}

/// What a client asks for.
#[derive(Debug, Clone, Copy)]
struct Asked {
    client: End,
    direction: Direction,
    bytes: Option<u64>,
    reserved: Option<Reserved>,
}

impl FlowTable {
    /// A BOT of an end that has no flow is answered in every case, by BOT or by EOT: clients wait
    /// for it without a limit.
    pub(super) fn on_bot<O: FlowOutput>(
        &mut self,
        now: Time,
        from: End,
        bot: &Bot<'_>,
        out: &mut O,
    ) -> Taken {
        if self.must_wait(from, out) {
            return Taken::NotYet;
        }
        let taken = match bot.label.cid() {
            _ if !self.enter(from) => Err(Refusal::NoLane),
            Cid::Absent => self.ask(now, from, bot, out),
            Cid::Is(cid) => self.come(now, from, cid, bot, out),
            Cid::Invalid => Err(Refusal::BadCid),
        };
        if let Err(why) = taken {
            self.refuse_bot(from, bot, why, out);
            self.place(from, Place::Idle);
        }
        Taken::Yes
    }

    /// Answers a BOT by EOT, at once.
    pub(super) fn refuse_bot<O: FlowOutput>(
        &mut self,
        to: End,
        bot: &Bot<'_>,
        why: Refusal,
        out: &mut O,
    ) {
        *self.refused.entry(why.label()).or_default() += 1;
        self.say(to, None, |shape| bot.refusal(shape), out);
    }

    /// A client asks for a flow.
    fn ask<O: FlowOutput>(
        &mut self,
        now: Time,
        client: End,
        bot: &Bot<'_>,
        out: &mut O,
    ) -> Result<(), Refusal> {
        if self.stop.is_some() {
            return Err(Refusal::Stopping);
        }
        let direction = bot.label.direction().ok_or(Refusal::BadDirection)?;
        bot.label.credit().ok_or(Refusal::BadCredit)?;
        let bytes = Self::asked_of(client, bot)?;
        if bot.frames.bytes() > self.settings.bot_bytes_max {
            return Err(Refusal::TooLong);
        }
        if self.by_cid.len() >= self.settings.waiting_max {
            return Err(Refusal::TooMany);
        }
        let target = self.settings.target_of(&bot.label).clone();
        if target == Target::Refuse {
            return Err(Refusal::Rule);
        }
        if !out.may_open(client, target.name()) {
            return Err(Refusal::Denied);
        }
        let reserved = self.reserve(client, direction, bytes)?;
        let bytes = reserved.map(|reserved| reserved.bytes).or(bytes);
        let asked = Asked { client, direction, bytes, reserved };
        self.wait_for(now, asked, bot, target, out)
    }

    fn wait_for<O: FlowOutput>(
        &mut self,
        now: Time,
        Asked { client, direction, bytes, reserved }: Asked,
        bot: &Bot<'_>,
        target: Target,
        out: &mut O,
    ) -> Result<(), Refusal> {
        let cid = self.cids.next(|cid| self.by_cid.contains_key(&cid));
        let said = bot.zio.coordinates;
        let bot = bot.for_handler(direction, cid);
        let charged = size_of::<Flow>() + bot.bytes();
        if !self.charge(charged, out) {
            if let Some(reserved) = reserved {
                self.lanes.release(reserved);
            }
            return Err(Refusal::NoMemory);
        }
        let id = self.flows.insert(Flow {
            client,
            direction,
            cid,
            said,
            bytes,
            reserved,
            progress: Progress::Deciding { bot, early: None },
            service: None,
            handler: None,
            charged,
            since: now,
            due: None,
        });
        self.by_cid.insert(cid, id);
        self.place(client, Place::Waiting(id));
        self.counts.asked += 1;
        out.event(FlowEvent::Asked { flow: id, client });
        if let Target::Service(name) = target {
            self.queue(now, id, name, out);
        } else {
            self.arm(id, Some(now.after(self.settings.decision_timeout)));
            if let Some(bot) = self.flows.get(id).and_then(Flow::bot) {
                out.decide(id, bot);
            }
        }
        Ok(())
    }

    /// The factory has answered. What comes too late means nothing.
    pub fn decided<O: FlowOutput>(
        &mut self,
        now: Time,
        id: FlowId,
        decision: Decision,
        out: &mut O,
    ) {
        let Some(flow) = self.flows.get_mut(id) else { return };
        let Progress::Deciding { bot, early } = &mut flow.progress else { return };
        let (bot, early) = (std::mem::take(bot), early.take());
        match decision {
            Decision::Refuse => {
                flow.progress = Progress::Deciding { bot, early };
                self.refuse_flow(now, id, Refusal::Factory, out);
            }
            Decision::Accept => {
                flow.progress = Progress::Coming { bot, number: 0 };
                self.arm(id, Some(now.after(self.settings.handler_timeout)));
                if let Some(early) = early {
                    self.come_late(now, id, &early, out);
                }
            }
            Decision::Service(name) => {
                flow.progress = Progress::Deciding { bot, early: None };
                if let Some(early) = early {
                    self.refuse_early(&early, Refusal::UnknownCid, out);
                }
                self.queue(now, id, name, out);
            }
        }
    }

    /// The flow waits for a handler of that service, maybe for no time at all.
    fn queue<O: FlowOutput>(&mut self, now: Time, id: FlowId, name: ServiceName, out: &mut O) {
        let number = self.services.wait(&name, id);
        let Some(flow) = self.flows.get_mut(id) else { return };
        let Progress::Deciding { bot, .. } = &mut flow.progress else { return };
        flow.progress = Progress::Queued { bot: std::mem::take(bot), number };
        flow.service = Some(name.clone());
        self.arm(id, Some(now.after(self.settings.handler_timeout)));
        self.dispatch(now, &name, out);
    }

    /// Gives flows that wait for a service to those who are free.
    pub(super) fn dispatch<O: FlowOutput>(&mut self, now: Time, name: &ServiceName, out: &mut O) {
        while let Some((id, handler)) = self.services.next(name) {
            let Some(flow) = self.flows.get_mut(id) else { continue };
            let Progress::Queued { bot, number } = &mut flow.progress else { continue };
            flow.progress = Progress::Coming { bot: std::mem::take(bot), number: *number };
            flow.handler = Some(handler);
            if let (Some(bot), Some(to)) = (flow.bot(), self.services.get(handler)) {
                out.assign(to.end, id, bot, flow.bytes);
            }
            self.arm(id, Some(now.after(self.settings.handler_timeout)));
        }
    }

    /// Somebody offers a flow service and takes `credit` flows at a time. It is given flows by
    /// [`FlowOutput::assign`], and comes for each with a BOT of any end that says its `cid`.
    ///
    /// # Errors
    /// There are too many, or the broker stops.
    pub fn offer<O: FlowOutput>(
        &mut self,
        now: Time,
        end: End,
        service: ServiceName,
        credit: u32,
        out: &mut O,
    ) -> Result<HandlerId, OfferError> {
        if self.stop.is_some() {
            return Err(OfferError::Stopping);
        }
        let id = self.services.offer(end, service.clone(), credit)?;
        self.dispatch(now, &service, out);
        Ok(id)
    }

    /// A handler takes so many flows at a time from now on.
    pub fn set_credit<O: FlowOutput>(
        &mut self,
        now: Time,
        handler: HandlerId,
        credit: u32,
        out: &mut O,
    ) {
        self.services.set_credit(handler, credit);
        if let Some(name) = self.services.get(handler).map(|it| it.service.clone()) {
            self.dispatch(now, &name, out);
        }
    }

    /// A handler takes no flows any more. Those for which it has not come go to others.
    pub fn withdraw<O: FlowOutput>(&mut self, now: Time, handler: HandlerId, out: &mut O) {
        let Some(name) = self.services.get(handler).map(|it| it.service.clone()) else { return };
        for id in self.services.withdraw(handler) {
            let Some(flow) = self.flows.get_mut(id) else { continue };
            flow.handler = None;
            if let Progress::Coming { bot, number } = &mut flow.progress {
                let (bot, number) = (std::mem::take(bot), *number);
                flow.progress = Progress::Queued { bot, number };
                self.services.wait_again(&name, id, number);
            }
        }
        self.dispatch(now, &name, out);
    }

    /// Whether that handler was given the flow, and has not come for it.
    #[must_use]
    pub fn is_given(&self, id: FlowId, handler: HandlerId) -> bool {
        self.flows.get(id).is_some_and(|flow| {
            flow.handler == Some(handler) && matches!(flow.progress, Progress::Coming { .. })
        })
    }

    /// A handler that was given a flow does not want it: the client is told EOT.
    pub fn declined<O: FlowOutput>(&mut self, now: Time, id: FlowId, out: &mut O) {
        let given = |flow: &Flow| {
            flow.handler.is_some() && matches!(flow.progress, Progress::Coming { .. })
        };
        if self.flows.get(id).is_some_and(given) {
            self.refuse_flow(now, id, Refusal::Factory, out);
        }
    }

    /// Answers a client that waits by EOT: the BOT as a handler would have got it, `cid` included,
    /// as ZIO's own broker says it.
    pub(super) fn refuse_flow<O: FlowOutput>(
        &mut self,
        now: Time,
        id: FlowId,
        why: Refusal,
        out: &mut O,
    ) {
        let Some(flow) = self.flows.get(id) else { return };
        *self.refused.entry(why.label()).or_default() += 1;
        let client = flow.client;
        if let Some(bot) = flow.bot() {
            self.say(client, None, |shape| words::refused(bot, shape), out);
        }
        self.place(client, Place::Idle);
        self.forget(now, id, Outcome::Refused(why), out);
    }
}
