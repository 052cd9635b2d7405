//! Requests of other dialects at workers that speak NFP.

use crate::id::{PeerId, RequestId, beginning};
use crate::proto::clock::Time;
use crate::proto::dialect::{Reply, Talk, WorkerVoice, fault};
use crate::proto::output::Output;
use crate::proto::router::{NewAsk, Worker, WorkerId};
use crate::wire::message::Frames;
use crate::wire::mjp::{AskHeader, Code, EventHeader, Packed, TellHeader};
use crate::wire::nfp::body::{Asked, Event, EventType};
use crate::wire::nfp::{Kind, Report, status};

use super::super::Core;

impl Core {
    /// So much is said to an MJP caller of what an NFP worker says is wrong, octets.
    const FAULT_TEXT: usize = 1024;
    /// So much of each text of an event, or of a question, stands in the header; all of it is in
    /// the body.
    const EVENT_TEXT: usize = 1024;

    /// What a worker says about a request that it holds. False if it is about something else.
    pub(super) fn on_request_report<O: Output>(
        &mut self,
        now: Time,
        peer: PeerId,
        worker: WorkerId,
        report: &Report<'_>,
        out: &mut O,
    ) -> bool {
        let Some(request) = WorkerVoice::nfp_request(report.client) else { return false };
        if !self.router.holds(worker, request) {
            // Only the broker makes such names, for requests; this one has ended.
            self.router.finish_late(now, peer, request, &Reply::Error(&[]), out);
            return true;
        }
        let body = report.body();
        let first = body.clone().take_first().unwrap_or_default();
        match (report.kind, report.status) {
            (Kind::Event, _) => self.on_request_event(now, peer, worker, request, body, out),
            (Kind::Stream, _) => self.router.part(now, request, &[], body, out),
            (Kind::Response, s) if s == status::OK => {
                self.router.finish(now, worker, request, &Reply::Final(&[], body), out);
            }
            (Kind::Response, s)
                if s == status::ACCEPTED || s == status::PENDING || s == status::WAITING => {}
            (Kind::Response | Kind::Mmi, _) => {
                let text = std::str::from_utf8(first).unwrap_or("the job failed");
                let text = beginning(text, Self::FAULT_TEXT);
                let packed = Packed::new(&fault(Code::Failed, text));
                self.router.finish(now, worker, request, &Reply::Error(packed.octets()), out);
            }
        }
        true
    }

    /// What happens at a request is told to a caller that wants to know; what its worker asks is
    /// asked, if the caller can be.
    fn on_request_event<O: Output>(
        &mut self,
        now: Time,
        peer: PeerId,
        worker: WorkerId,
        request: RequestId,
        body: Frames<'_>,
        out: &mut O,
    ) {
        let first = body.clone().take_first().unwrap_or_default();
        let event = Event::read(first);
        let asked = match event.event_type {
            EventType::InputRequest => Asked::read(first),
            _ => None,
        };
        if let Some(asked) = asked {
            match self.pass_question(request, &asked, body, out) {
                Ok(()) => return,
                // The caller may want to know that something was asked; the worker need not wait.
                Err((code, _)) => self.decline(peer, worker, request, &asked, code, out),
            }
        }
        let severity = event.severity.to_lowercase();
        let text = |text| Some(beginning(text, Self::EVENT_TEXT)).filter(|text| !text.is_empty());
        let packed = Packed::new(&EventHeader {
            message: text(&event.message),
            severity: text(&severity),
            status: text(&event.status),
            task: text(&event.task),
            ..EventHeader::default()
        });
        self.router.event(request, &Talk { header: packed.octets(), body }, out);
        if event.event_type == EventType::ResultReady {
            self.router.fetch(now, worker, request, out);
        }
    }

    fn pass_question<O: Output>(
        &mut self,
        request: RequestId,
        asked: &Asked,
        body: Frames<'_>,
        out: &mut O,
    ) -> Result<(), (Code, &'static str)> {
        let new = NewAsk { number: None, input: Some(&asked.id) };
        let message = Some(beginning(&asked.question, Self::EVENT_TEXT));
        let write = |ask, say: &mut dyn FnMut(&Talk<'_>)| {
            let packed = Packed::new(&AskHeader { ask, message });
            say(&Talk { header: packed.octets(), body });
        };
        self.router.ask_caller(request, new, write, out)
    }

    /// Tells a worker that its question has no answer.
    fn decline<O: Output>(
        &mut self,
        peer: PeerId,
        worker: WorkerId,
        request: RequestId,
        asked: &Asked,
        code: Code,
        out: &mut O,
    ) {
        /// Octets of such a PUT besides the name of the question.
        const PUT: usize = 256;
        let Some(voice) = self.router.worker(worker).map(Worker::voice) else { return };
        let says = TellHeader { code: Some(code.as_str()), ..TellHeader::default() };
        let nothing = Talk { header: &[], body: Frames::default() };
        self.say(peer, PUT + asked.id.len(), out, |encoder| {
            voice.tell(request, Some(&asked.id), &says, &nothing, encoder);
        });
    }
}
