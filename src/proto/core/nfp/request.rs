//! Requests of other dialects at workers that speak NFP.

use crate::id::{PeerId, beginning};
use crate::proto::clock::Time;
use crate::proto::dialect::{Reply, WorkerVoice, fault};
use crate::proto::output::Output;
use crate::proto::router::WorkerId;
use crate::wire::mjp::{Code, Packed};
use crate::wire::nfp::body::EventType;
use crate::wire::nfp::{Kind, Report, status};

use super::super::Core;

impl Core {
    /// So much is said to an MJP caller of what an NFP worker says is wrong, octets.
    const FAULT_TEXT: usize = 1024;

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
            (Kind::Event, _) => {
                if EventType::read(first) == EventType::ResultReady {
                    self.router.fetch(now, worker, request, out);
                }
            }
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
}
