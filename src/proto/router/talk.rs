//! What a worker and the caller of a request say to each other while it is worked on.

use crate::id::{PeerId, RequestId, ServiceName};
use crate::proto::clock::Time;
use crate::proto::dialect::{Talk, WorkerVoice};
use crate::proto::output::{Output, Pressure};
use crate::wire::codec::Encoder;
use crate::wire::message::Frames;
use crate::wire::mjp::{Code, Packed, TellHeader};

use super::request::{Place, Request};
use super::{Router, WorkerId};

/// What was said in the middle of requests, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TalkStats {
    /// Events that were passed on.
    pub events: u64,
    /// Events of which the caller wants to hear nothing, or cannot.
    pub events_unwanted: u64,
    /// Events that found no room in the caller's outbox.
    pub events_missed: u64,
    /// Questions that were passed on.
    pub asks: u64,
    /// Questions that were not: nobody can be asked, or not so many.
    pub asks_refused: u64,
    /// Answers to them that were passed on.
    pub tells: u64,
}

/// What the workers of one request have asked its caller, and were not told.
#[derive(Debug, Default)]
pub(super) struct Asks {
    asks: Vec<Ask>,
    /// The largest number so far.
    last: u64,
}

/// A question.
#[derive(Debug)]
struct Ask {
    number: u64,
    /// What an NFP worker calls it.
    input: Option<Box<str>>,
    /// The worker was lost: the answer is nobody's, and no other question may have its number.
    void: bool,
}

/// A question that a worker wants to ask.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewAsk<'a> {
    /// The worker's own. `None`: its dialect has names for them, and the broker counts.
    pub(crate) number: Option<u64>,
    pub(crate) input: Option<&'a str>,
}

/// Why a PUT reaches nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unput {
    /// No worker has the job.
    #[error("no worker has the job now, and nobody asks; say it again when one has it")]
    Waits,
    /// The job has ended.
    #[error("the job has ended")]
    Over,
    /// Its worker speaks another dialect.
    #[error(
        "the worker does not speak NFP, and takes nothing by PUT but the answer to what it has asked"
    )]
    NoWord,
    /// So much waits for its worker that it gets no more.
    #[error("the worker does not read what it was sent; say it again later")]
    NotRead,
    /// It is the answer to a question that is not open.
    #[error("the question is not open: it was answered, or its worker has lost the job")]
    NotAsked,
}

impl Ask {
    fn cost(&self) -> usize {
        size_of::<Self>() + self.input.as_deref().map_or(0, str::len)
    }
}

impl Asks {
    fn open(&self) -> impl Iterator<Item = &Ask> {
        self.asks.iter().filter(|ask| !ask.void)
    }

    /// A number that no question had.
    fn next(&self) -> u64 {
        self.last.wrapping_add(1)
    }

    /// Memory charged for them, octets.
    pub(super) fn cost(&self) -> usize {
        size_of::<Self>() + self.asks.iter().map(Ask::cost).sum::<usize>()
    }

    /// Checks what always holds. Requests that wait have no worker that asks.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn audit(&self, waits: bool, asks_max: usize) -> Result<(), String> {
        let open = self.open().count();
        let numbers: std::collections::BTreeSet<_> = self.asks.iter().map(|it| it.number).collect();
        let whole = numbers.len() == self.asks.len() && open <= asks_max && !(waits && open > 0);
        if whole { Ok(()) } else { Err(format!("{self:?}, waits: {waits}, {asks_max} may be")) }
    }
}

impl Request {
    /// Memory charged for what is asked, octets.
    pub(super) fn asks_cost(&self) -> usize {
        self.asks.as_ref().map_or(0, |asks| asks.cost())
    }

    /// The worker is lost: whatever it has asked is answered to nobody.
    pub(super) fn void_asks<O: Output>(&mut self, out: &mut O) {
        for ask in self.asks.iter_mut().flat_map(|asks| &mut asks.asks) {
            ask.void = true;
            out.release(ask.input.take().map_or(0, |input| input.len()));
        }
    }
}

impl Router {
    /// What happens at the worker that holds the request is told to a caller that wants to know,
    /// unless so much waits for that one that its answers would be in danger.
    pub(crate) fn event<O: Output>(&mut self, id: RequestId, talk: &Talk<'_>, out: &mut O) {
        let Some(request) = self.requests.get(id) else { return };
        if !request.voice.takes_events() || !self.callers.contains_key(request.caller) {
            self.talk.events_unwanted += 1;
            #[cfg(test)]
            crate::proto::witness::saw("talk", "event", "unwanted");
            return;
        }
        let service = self.services.get(request.service).map(|service| &service.name);
        let service = service.map(ServiceName::as_bytes).unwrap_or_default();
        let share = self.settings.topics.outbox_bytes_max;
        let told = out.spare(request.caller, talk.bytes(), share, |encoder| {
            request.voice.event(service, talk, encoder);
        });
        #[cfg(test)]
        crate::proto::witness::saw("talk", "event", if told { "told" } else { "missed" });
        *(if told { &mut self.talk.events } else { &mut self.talk.events_missed }) += 1;
    }

    /// The worker that holds the request asks its caller; `talk` makes the message of the number.
    ///
    /// # Errors
    /// Why the caller is not asked.
    pub(crate) fn ask_caller<O: Output>(
        &mut self,
        id: RequestId,
        new: NewAsk<'_>,
        talk: impl FnOnce(u64, &mut dyn FnMut(&Talk<'_>)),
        out: &mut O,
    ) -> Result<(), (Code, &'static str)> {
        let asked = self.try_to_ask(id, new, talk, out);
        #[cfg(test)]
        {
            let became = asked.as_ref().map_or_else(|(code, _)| code.as_str(), |()| "asked");
            crate::proto::witness::saw("talk", "ask", became);
        }
        *(if asked.is_ok() { &mut self.talk.asks } else { &mut self.talk.asks_refused }) += 1;
        asked
    }

    fn try_to_ask<O: Output>(
        &mut self,
        id: RequestId,
        new: NewAsk<'_>,
        talk: impl FnOnce(u64, &mut dyn FnMut(&Talk<'_>)),
        out: &mut O,
    ) -> Result<(), (Code, &'static str)> {
        let Some(request) = self.requests.get_mut(id) else {
            return Err((Code::NoCaller, "the request has ended"));
        };
        if !request.voice.takes_asks() {
            return Err((Code::NoCaller, "the caller cannot be asked, or does not want to be"));
        }
        let caller = request.caller;
        if !self.callers.contains_key(caller) {
            return Err((Code::NoCaller, "the caller has gone"));
        }
        let known = request.asks.as_deref();
        let number = new.number.unwrap_or_else(|| known.map_or(1, Asks::next));
        if known.is_some_and(|asks| asks.asks.iter().any(|ask| ask.number == number)) {
            let why = "another question of the request has this number, and no answer";
            return Err((Code::DuplicateId, why));
        }
        if known.map_or(0, |asks| asks.open().count()) >= self.settings.mjp.asks_max {
            return Err((Code::Overloaded, "limits.asks of this request are open"));
        }
        let ask = Ask { number, input: new.input.map(Into::into), void: false };
        let cost = ask.cost() + if known.is_none() { size_of::<Asks>() } else { 0 };
        if !out.charge(cost) {
            return Err((Code::Overloaded, "the broker is short of memory"));
        }
        let mut fits = false;
        let voice = &request.voice;
        let service = self.services.get(request.service).map(|service| &service.name);
        let service = service.map(ServiceName::as_bytes).unwrap_or_default();
        talk(number, &mut |talk| {
            fits = out.offer(caller, talk.bytes(), |out| voice.ask(id, service, talk, out));
        });
        if !fits {
            out.release(cost);
            return Err((Code::Overloaded, "the caller does not read what waits for it"));
        }
        let asks = request.asks.get_or_insert_default();
        asks.last = asks.last.max(number);
        asks.asks.push(ask);
        Ok(())
    }

    /// Whether the present worker of a caller's request has asked that.
    pub(crate) fn is_asked(&self, caller: PeerId, name: u64, number: u64) -> bool {
        self.asked(caller, name, number).is_some()
    }

    fn asked(&self, caller: PeerId, name: u64, number: u64) -> Option<(RequestId, usize)> {
        let id = self.named(caller, name)?;
        Some((id, self.open_ask(caller, id, number)?))
    }

    /// Where the question of that number is, if its answer is wanted, and from this caller.
    fn open_ask(&self, caller: PeerId, id: RequestId, number: u64) -> Option<usize> {
        // Of those who wait for the answer to one key only the first is asked.
        let request = self.requests.get(id).filter(|request| request.caller == caller)?;
        let asks = &request.asks.as_ref()?.asks;
        let at = asks.iter().position(|ask| ask.number == number)?;
        let void = asks.get(at)?.void;
        #[cfg(test)]
        crate::proto::witness::saw("talk", "tell", if void { "void" } else { "open" });
        Some(at).filter(|_| !void)
    }

    /// The caller answers what the worker of its request has asked.
    pub(crate) fn tell_worker<O: Output>(
        &mut self,
        now: Time,
        caller: PeerId,
        name: u64,
        says: &TellHeader<'_>,
        talk: &Talk<'_>,
        out: &mut O,
    ) {
        let Some((id, at)) = self.asked(caller, name, says.ask) else { return };
        self.tell_asked(now, (id, at), out, |voice, input, encoder| {
            voice.tell(id, input, says, talk, encoder);
        });
    }

    /// The same for a caller that names request and question; `write` answers, given what the worker
    /// speaks and what it calls the question. False: it is not open.
    pub(crate) fn tell_question<O: Output>(
        &mut self,
        now: Time,
        caller: PeerId,
        (id, number): (RequestId, u64),
        out: &mut O,
        write: impl FnOnce(WorkerVoice, Option<&str>, &mut Encoder),
    ) -> bool {
        let open = self.open_ask(caller, id, number);
        open.is_some_and(|at| self.tell_asked(now, (id, at), out, write))
    }

    fn tell_asked<O: Output>(
        &mut self,
        now: Time,
        (id, at): (RequestId, usize),
        out: &mut O,
        write: impl FnOnce(WorkerVoice, Option<&str>, &mut Encoder),
    ) -> bool {
        let Some(request) = self.requests.get_mut(id) else { return false };
        let (Place::InFlight(worker_id), Some(asks)) = (request.place, &mut request.asks) else {
            return false;
        };
        let ask = asks.asks.swap_remove(at);
        out.release(ask.cost());
        self.talk.tells += 1;
        self.say_to(now, worker_id, out, |voice, encoder| {
            write(voice, ask.input.as_deref(), encoder);
        });
        true
    }

    /// Says something to a worker in the middle of what it has.
    fn say_to<O: Output>(
        &mut self,
        now: Time,
        id: WorkerId,
        out: &mut O,
        write: impl FnOnce(WorkerVoice, &mut Encoder),
    ) {
        let Some(worker) = self.workers.get_mut(id) else { return };
        worker.last_sent = now;
        let voice = worker.voice;
        let pressure = out.send(worker.peer, |encoder| write(voice, encoder));
        if pressure == Pressure::High {
            worker.congested = true;
            self.relist(id);
        }
    }

    /// A client of NFP has something for whoever has its queued job.
    ///
    /// # Errors
    /// Nobody gets it.
    pub(crate) fn put<O: Output>(
        &mut self,
        now: Time,
        id: RequestId,
        body: Frames<'_>,
        out: &mut O,
    ) -> Result<(), Unput> {
        let request = self.requests.get(id).ok_or(Unput::Over)?;
        let Place::InFlight(worker_id) = request.place else { return Err(Unput::Waits) };
        let worker = self.workers.get(worker_id).ok_or(Unput::Waits)?;
        if !worker.voice.takes_put() {
            return Err(Unput::NoWord);
        }
        if worker.congested {
            return Err(Unput::NotRead);
        }
        self.say_to(now, worker_id, out, |voice, encoder| voice.put(id, body, encoder));
        Ok(())
    }

    /// Who was asked waits no more, and the request goes on: its worker is told that nobody answers.
    pub(super) fn leave_asks<O: Output>(&mut self, id: RequestId, out: &mut O) {
        let Some(request) = self.requests.get_mut(id) else { return };
        let (Place::InFlight(worker), Some(asks)) = (request.place, &mut request.asks) else {
            return;
        };
        let Some(worker) = self.workers.get(worker) else { return };
        for ask in asks.asks.iter_mut().filter(|ask| !ask.void) {
            let (code, message) = (Some(Code::NoCaller.as_str()), Some("the caller has gone"));
            let says = TellHeader { ask: ask.number, code, message };
            let (packed, input) = (Packed::new(&says), ask.input.take());
            let talk = Talk { header: packed.octets(), body: Frames::default() };
            // Management gets through: it is said once a question.
            out.send(worker.peer, |encoder| {
                worker.voice.tell(id, input.as_deref(), &says, &talk, encoder);
            });
            ask.void = true;
            out.release(input.map_or(0, |input| input.len()));
        }
    }

    /// What was said in the middle of requests.
    #[must_use]
    pub fn talk(&self) -> &TalkStats {
        &self.talk
    }
}
