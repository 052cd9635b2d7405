//! Requests that are for one worker and no other: the parts of a job that a broker has to keep.

use crate::id::{Identity, PeerId, RequestId};
use crate::proto::clock::Time;
use crate::proto::dialect::{CallerVoice, Part, Tried};
use crate::proto::jobs::JobId;
use crate::proto::output::Output;
use crate::proto::stats::Outcome;
use crate::wire::message::Frames;

use super::Router;
use super::fence::Fence;
use super::opening::Opening;
use super::request::{Place, Request};
use super::service::Service;
use super::worker::WorkerId;

/// The worker that a request is for, and the lease that its caller says to hold.
#[derive(Debug)]
pub(crate) struct Pin {
    pub(crate) worker: WorkerId,
    pub(crate) fence: Option<Box<Fence>>,
}

impl From<WorkerId> for Pin {
    fn from(worker: WorkerId) -> Self {
        Self { worker, fence: None }
    }
}

impl Router {
    /// Memory that so many parts of a job take, each with frames and a fence of `bytes`, octets.
    pub(crate) fn cost_of_parts(&self, count: usize, bytes: usize) -> usize {
        // A name, and what stands in the voice and in the index.
        let voice = size_of::<Part>() + 2 * Identity::LEN_MAX;
        count.saturating_mul(Request::cost_of(bytes + voice))
    }

    /// Whether a caller may have so many more requests, of `bytes` together.
    pub(crate) fn has_room_for(&self, caller: PeerId, count: usize, bytes: usize) -> bool {
        let (held, held_bytes) =
            self.callers.get(caller).map_or((0, 0), |caller| (caller.requests, caller.bytes));
        let limits = &self.settings.client;
        let bytes = bytes.saturating_add(held_bytes);
        held + count <= limits.requests_max && (bytes <= limits.bytes_max || held + count == 1)
    }

    /// Accepts a request for one worker. It is delivered at once if the worker takes it, and else
    /// before anything else that it could be given. There has to be memory for it, see
    /// [`Self::cost_of_parts`]. One that is due already has ended when this returns. `None`: there is
    /// no such worker.
    pub(crate) fn accept_pinned<O: Output>(
        &mut self,
        now: Time,
        caller: PeerId,
        voice: CallerVoice,
        Pin { worker: worker_id, fence }: Pin,
        body: Frames<'_>,
        out: &mut O,
    ) -> Option<RequestId> {
        let worker = self.workers.get(worker_id)?;
        let (service_id, free) = (worker.service, worker.level().is_some());
        let free = free && !self.services.get(service_id)?.is_paused();
        let fenced = fence.as_ref().map_or(0, |fence| fence.bytes());
        let cost = Request::cost_of(voice.bytes() + body.bytes() + fenced);
        let service = self.services.get_mut(service_id)?;
        out.take(cost);
        service.stats.accepted += 1;
        let (sequence, deadline) = (self.sequence, voice.terms().deadline);
        let request = self.open(Opening {
            sequence,
            service: service_id,
            caller,
            voice,
            body,
            now,
            place: Place::Pinned(worker_id),
            cost,
            tried: Tried::default(),
            fence,
            course: None,
        });
        self.sequence += 1;
        if let Some(entry) = self.callers.entry(caller) {
            let caller = entry.or_default();
            caller.requests += 1;
            caller.bytes += cost;
        }
        if !self.time(now, request, deadline, out) {
            #[cfg(test)]
            crate::proto::witness::saw("part", "comes", "due");
            return Some(request);
        }
        #[cfg(test)]
        crate::proto::witness::saw("part", "comes", if free { "given" } else { "waits" });
        if free {
            self.deliver(now, worker_id, request, out);
        } else {
            if let Some(worker) = self.workers.get_mut(worker_id) {
                worker.pinned.insert(sequence, request);
            }
            if let Some(caller) = self.callers.get_mut(caller) {
                caller.waiting.push_back(&mut self.requests, request);
            }
        }
        Some(request)
    }

    /// Has the request stand for that part of a job, which was recorded when it had been accepted.
    pub(crate) fn join_job(&mut self, id: RequestId, job: JobId, index: usize) {
        let Some(request) = self.requests.get_mut(id) else { return };
        let CallerVoice::Part(part) = &mut request.voice else { return };
        (part.job, part.index) = (job, index);
        if let Some(target) = self.jobs.target_mut(job, index) {
            target.child = Some(id);
        }
    }

    /// The caller wants a part of a job no more.
    pub(crate) fn give_up_part<O: Output>(&mut self, now: Time, id: RequestId, out: &mut O) {
        self.give_up(now, id, Outcome::Cancelled, out);
    }

    /// Gives a worker what waits for it alone, as far as it has credit.
    #[inline]
    pub(super) fn serve_pinned<O: Output>(&mut self, now: Time, id: WorkerId, out: &mut O) {
        let service = self.workers.get(id).map(|worker| worker.service);
        if service.and_then(|id| self.services.get(id)).is_none_or(Service::is_paused) {
            return;
        }
        while let Some(worker) = self.workers.get_mut(id)
            && worker.level().is_some()
            && let Some((_, request)) = worker.pinned.pop_first()
        {
            if self.take_out(request).is_none_or(|deadline| deadline > now) {
                #[cfg(test)]
                crate::proto::witness::saw("part", "waiting", "given");
                self.deliver(now, id, request, out);
            } else {
                self.end(request, Outcome::TimedOut, out);
            }
        }
    }

    /// What waited for a worker that is lost waits for nobody.
    pub(super) fn lose_pinned<O: Output>(&mut self, id: WorkerId, out: &mut O) {
        while let Some((_, request)) =
            self.workers.get_mut(id).and_then(|worker| worker.pinned.pop_first())
        {
            self.take_out(request);
            self.end(request, Outcome::WorkerLost, out);
        }
    }
}
