//! EVENT, ASK and TELL: what is said in the middle of a request.

use crate::id::{PeerId, RequestId};
use crate::proto::clock::Time;
use crate::proto::dialect::Talk;
use crate::proto::dialect::mjp::Event;
use crate::proto::output::Output;
use crate::proto::router::NewAsk;
use crate::wire::message::Frames;
use crate::wire::mjp::{Ask, Code, FromBroker, Packed, Tell, TellHeader, ToBroker};

use super::Core;

impl Core {
    /// What is said in the middle of a request, given what the peer `holds` and was asked.
    pub(super) fn talk_event_of(
        &self,
        id: PeerId,
        said: &ToBroker<'_>,
        holds: impl Fn(u64) -> bool,
    ) -> Event {
        match said {
            ToBroker::Event(event) if holds(event.id) => Event::Event,
            ToBroker::Ask(ask) if holds(ask.id) => Event::Ask,
            ToBroker::Tell(tell) if self.router.is_asked(id, tell.id, tell.says.ask) => Event::Tell,
            _ => Event::StrayTalk,
        }
    }

    /// A worker speaks of a request that it holds, or the caller of one tells what was asked.
    pub(super) fn on_talk<O: Output>(
        &mut self,
        now: Time,
        id: PeerId,
        said: &ToBroker<'_>,
        out: &mut O,
    ) {
        match said {
            ToBroker::Event(event) => {
                let Some(request) = RequestId::from_token(event.id) else { return };
                self.note_answer(now, id);
                self.worker_events += 1;
                let talk = Talk { header: event.header, body: event.body };
                self.router.event(request, &talk, out);
            }
            ToBroker::Ask(ask) => {
                self.note_answer(now, id);
                self.ask(now, id, ask, out);
            }
            ToBroker::Tell(tell) => {
                let talk = Talk { header: tell.header, body: tell.body };
                self.router.tell_worker(now, id, tell.id, &tell.says, &talk, out);
            }
            _ => {}
        }
    }

    fn ask<O: Output>(&mut self, now: Time, id: PeerId, ask: &Ask<'_>, out: &mut O) {
        let Some(request) = RequestId::from_token(ask.id) else { return };
        let new = NewAsk { number: Some(ask.says.ask), input: None };
        let talk = Talk { header: ask.header, body: ask.body };
        if let Err((code, why)) = self.router.ask_caller(request, new, |_, say| say(&talk), out) {
            self.say_unasked(now, id, ask, code, why, out);
        }
    }

    /// Tells a worker that its question has no answer. Not by ERROR: it would take that for
    /// something about its delivery, or about itself, and nothing there has ended.
    fn say_unasked<O: Output>(
        &mut self,
        now: Time,
        id: PeerId,
        ask: &Ask<'_>,
        code: Code,
        why: &str,
        out: &mut O,
    ) {
        let says = TellHeader { ask: ask.says.ask, code: Some(code.as_str()), message: Some(why) };
        let packed = Packed::new(&says);
        let (header, body) = (packed.octets(), Frames::default());
        let tell = FromBroker::Tell(Tell { id: ask.id, header, says, body });
        self.say(id, header.len(), out, |encoder| tell.encode(encoder));
        if let Some(worker) = self.peers.get(id).and_then(|peer| peer.worker) {
            self.router.note_sent(now, worker);
        }
    }
}
