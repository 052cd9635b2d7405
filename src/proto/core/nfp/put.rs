//! PUT of a client whose job stands in requests: answers to what their workers have asked, and what a
//! worker of NFP takes without asking. NorFab's clients give a job up at status 400, so one that
//! reaches nobody is told by an event.

use crate::id::{PeerId, RequestId};
use crate::proto::clock::Time;
use crate::proto::dialect::{Talk, WorkerVoice, question_of};
use crate::proto::jobs::Target;
use crate::proto::output::Output;
use crate::proto::router::Unput;
use crate::wire::message::{Frames, Message};
use crate::wire::mjp::{Packed, TellHeader};
use crate::wire::nfp::body::{Answered, Happened};
use crate::wire::nfp::{Job, Kind, status};

use super::super::Core;
use super::ask::first;
use super::{about, text_of};

/// What a worker of MJP is told of a question that its client cancels.
const DECLINED: &str = "declined";

impl Core {
    /// Gives a PUT to a worker for whose part a request stands. False: it is for workers of NFP that
    /// have the job itself.
    pub(super) fn put_to_request<O: Output>(
        &mut self,
        now: Time,
        id: PeerId,
        job: &Job<'_>,
        out: &mut O,
    ) -> bool {
        let Some((_, known)) = self.router.jobs.named(job.uuid) else { return false };
        if known.stand_ins().next().is_none() {
            return false;
        }
        let answer = Answered::read(first(job.body));
        let asked = answer.as_ref().and_then(|it| Some((it, question_of(&it.input)?)));
        // A queued job has one part. Of any other that part is meant whose worker has asked.
        let (queued, request) = (known.is_queued(), asked.map(|(_, (request, _))| request));
        let is_meant = |target: &&Target| queued || request.is_some() && target.child == request;
        let target = known.targets.iter().find(is_meant);
        let (child, name) = target.map_or((None, None), |it| (it.child, Some(text_of(&it.name))));
        let names = name.as_slice();
        let told = match (asked, child) {
            (Some((answer, question)), Some(child))
                if question.0 == child && self.answer(now, id, (answer, question), out) =>
            {
                self.say_answered(id, job, names, answer, out);
                return true;
            }
            (Some(_), _) => Err(Unput::NotAsked),
            (None, Some(child)) if queued => self.router.put(now, child, job.body, out),
            (None, None) if queued => Err(Unput::Over),
            (None, _) => return false,
        };
        if let Err(why) = told {
            self.say_unput(id, job, names, why, out);
        }
        true
    }

    /// Tells a worker what it has asked. False: it has not, or was told already.
    fn answer<O: Output>(
        &mut self,
        now: Time,
        id: PeerId,
        (answer, (request, ask)): (&Answered, (RequestId, u64)),
        out: &mut O,
    ) -> bool {
        self.router.tell_question(now, id, (request, ask), out, |voice, input, encoder| {
            if let WorkerVoice::Nfp(_) = voice {
                let body = Message::new([answer.write(input.unwrap_or_default())]);
                return voice.put(request, body.frames(), encoder);
            }
            let code = answer.cancel.then_some(DECLINED);
            let says = TellHeader { ask, code, message: None };
            let (packed, body) = (Packed::new(&says), answer.octets().map(|it| Message::new([it])));
            let body = body.as_ref().map_or_else(Frames::default, Message::frames);
            let talk = Talk { header: packed.octets(), body };
            voice.tell(request, input, &says, &talk, encoder);
        })
    }

    /// Tells a client that what it answers is known to the worker, as a NorFab worker does.
    fn say_answered<O: Output>(
        &mut self,
        id: PeerId,
        job: &Job<'_>,
        names: &[String],
        answer: &Answered,
        out: &mut O,
    ) {
        self.say_of_put(id, job, names, out, |happened| happened.answered(answer));
    }

    /// Tells a client that its PUT reaches nobody. The job goes on.
    pub(super) fn say_unput<O: Output>(
        &mut self,
        id: PeerId,
        job: &Job<'_>,
        names: &[String],
        why: Unput,
        out: &mut O,
    ) {
        self.dropped += 1;
        let why = format!("PUT reaches nobody: {why}");
        self.say_of_put(id, job, names, out, |happened| {
            let said = Happened { severity: "warning", message: &why, ..happened };
            said.write(Frames::default())
        });
    }

    fn say_of_put<O: Output>(
        &mut self,
        id: PeerId,
        job: &Job<'_>,
        names: &[String],
        out: &mut O,
        write: impl FnOnce(Happened<'_>) -> Vec<u8>,
    ) {
        let known = self.router.jobs.named(job.uuid).map(|(_, known)| known);
        let body = write(Happened {
            worker: names.first().map(String::as_str).unwrap_or_default(),
            service: job.service,
            uuid: job.uuid,
            task: known.map(|known| &*known.task).unwrap_or_default(),
            ..Happened::default()
        });
        self.say_reply(id, Kind::Event, about(job), status::OK, body, out);
    }
}
