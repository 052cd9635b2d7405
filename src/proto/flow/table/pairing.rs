//! A handler comes for a client.

use std::num::NonZeroU32;

use crate::proto::clock::Time;
use crate::proto::core::Taken;
use crate::proto::flow::output::{End, FlowEvent, FlowOutput, Refusal, Seat};
use crate::proto::flow::words::{self, Bot};
use crate::wire::zio::Direction;

use super::FlowTable;
use super::flow::{Both, Early, Flow, FlowId, Octets, Pair, Progress, Route};
use super::member::Place;

impl FlowTable {
    /// A handler's BOT. Only a client that waits for one can get it, and only one: who names a
    /// client that has a handler, or nobody, is refused.
    pub(super) fn come<O: FlowOutput>(
        &mut self,
        now: Time,
        from: End,
        cid: NonZeroU32,
        bot: &Bot<'_>,
        out: &mut O,
    ) -> Result<(), Refusal> {
        let id = *self.by_cid.get(&cid).ok_or(Refusal::UnknownCid)?;
        let flow = self.flows.get(id).ok_or(Refusal::UnknownCid)?;
        check(flow, bot)?;
        Self::asked_of(from, bot)?;
        if !out.may_handle(from, flow.name()) {
            return Err(Refusal::Denied);
        }
        match &flow.progress {
            Progress::Coming { .. } => self.pair(now, id, from, bot, out),
            Progress::Deciding { early: None, .. } => self.keep_early(id, from, bot, out),
            // Nobody can know the id of one that was given to no handler.
            Progress::Deciding { .. } | Progress::Queued { .. } | Progress::Open(_) => {
                Err(Refusal::UnknownCid)
            }
        }
    }

    /// The factory's handler may be faster than the factory's answer.
    fn keep_early<O: FlowOutput>(
        &mut self,
        id: FlowId,
        end: End,
        said: &Bot<'_>,
        out: &mut O,
    ) -> Result<(), Refusal> {
        if said.frames.bytes() > self.settings.bot_bytes_max {
            return Err(Refusal::TooLong);
        }
        let bot = said.frames.to_message();
        let charged = bot.bytes();
        if !self.charge(charged, out) {
            return Err(Refusal::NoMemory);
        }
        if let Some(flow) = self.flows.get_mut(id)
            && let Progress::Deciding { early, .. } = &mut flow.progress
        {
            *early = Some(Early { end, bot, bytes: said.bytes, charged });
        }
        self.place(end, Place::Early(id));
        Ok(())
    }

    /// What was kept is dealt with now that the factory has accepted.
    pub(super) fn come_late<O: FlowOutput>(
        &mut self,
        now: Time,
        id: FlowId,
        early: &Early,
        out: &mut O,
    ) {
        self.release(early.charged, out);
        if let Some(bot) = self.read_early(early)
            && let Err(why) = self.pair(now, id, early.end, &bot, out)
        {
            self.refuse_bot(early.end, &bot, why, out);
            self.place(early.end, Place::Idle);
        }
    }

    fn read_early<'a>(&self, early: &'a Early) -> Option<Bot<'a>> {
        let shape = self.shape_of(early.end)?;
        Bot::read(shape, early.bot.frames(), early.bytes).ok()
    }

    /// A handler that came early gets nothing.
    pub(super) fn refuse_early<O: FlowOutput>(&mut self, early: &Early, why: Refusal, out: &mut O) {
        self.release(early.charged, out);
        if let Some(bot) = self.read_early(early) {
            self.refuse_bot(early.end, &bot, why, out);
        }
        self.place(early.end, Place::Idle);
    }

    /// A handler that came early does not want to wait.
    pub(super) fn withdraw_early<O: FlowOutput>(
        &mut self,
        end: End,
        id: FlowId,
        said: &Bot<'_>,
        out: &mut O,
    ) -> Taken {
        self.take_early(id, out);
        self.say(end, None, |shape| words::first_eot(said.zio.coordinates, shape), out);
        self.place(end, Place::Idle);
        Taken::Yes
    }

    /// Forgets a handler that came early.
    pub(super) fn take_early<O: FlowOutput>(&mut self, id: FlowId, out: &mut O) {
        if let Some(flow) = self.flows.get_mut(id)
            && let Progress::Deciding { early, .. } = &mut flow.progress
            && let Some(early) = early.take()
        {
            self.release(early.charged, out);
        }
    }

    /// The two talk from now on. Both get the handler's BOT: first the handler, its direction
    /// reversed, then the client; a fast taker's PAY finds the pair.
    fn pair<O: FlowOutput>(
        &mut self,
        now: Time,
        id: FlowId,
        end: End,
        bot: &Bot<'_>,
        out: &mut O,
    ) -> Result<(), Refusal> {
        let octets = self.agree(id, end, bot.bytes.filter(|_| end.is_lane()))?;
        let client = self.flows.get(id).map(|flow| flow.client);
        let shape_of = |end| self.shape_of(end).ok_or(Refusal::UnknownCid);
        let to_client = shape_of(client.ok_or(Refusal::UnknownCid)?)?;
        let to_handler = shape_of(end)?;
        let Some(flow) = self.flows.get_mut(id) else { return Err(Refusal::UnknownCid) };
        let (client, direction) = (flow.client, flow.direction);
        let total = bot.label.credit().and_then(|credit| u64::try_from(credit).ok());
        // The BOT is not kept any more.
        let freed = flow.bot().map_or(0, crate::wire::message::Message::bytes);
        let freed = freed.min(flow.charged);
        flow.charged -= freed;
        let coordinates = bot.zio.coordinates;
        flow.progress = Progress::Open(Pair {
            ends: Both { client, handler: end },
            routes: Both {
                client: Route::new(to_client, flow.said),
                handler: Route::new(to_handler, coordinates),
            },
            giver: if direction == Direction::Extract { Seat::Client } else { Seat::Handler },
            total: total.unwrap_or_default(),
            handed_out: 0,
            octets: octets.map(|total| Octets { total, handed_out: 0 }),
            last: now,
            idle: false,
            dats: 0,
            bytes: 0,
        });
        let cid = flow.cid;
        self.by_cid.remove(&cid);
        self.release(freed, out);
        self.place(client, Place::Open(id, Seat::Client));
        self.place(end, Place::Open(id, Seat::Handler));
        self.counts.paired += 1;
        out.event(FlowEvent::Paired { flow: id, client, handler: end });
        self.say(end, octets, |shape| bot.mirrored(direction.reversed(), shape), out);
        self.say(client, octets, |shape| bot.for_client(shape), out);
        self.arm(id, self.settings.idle_after.map(|idle| now.after(idle)));
        Ok(())
    }
}

/// What a handler's BOT has to say.
fn check(flow: &Flow, bot: &Bot<'_>) -> Result<(), Refusal> {
    match bot.label.direction() {
        None => Err(Refusal::BadDirection),
        Some(direction) if direction == flow.direction => Err(Refusal::SameDirection),
        Some(_) => {
            let credit = bot.label.credit().is_some_and(|credit| credit > 0);
            if credit { Ok(()) } else { Err(Refusal::BadCredit) }
        }
    }
}
