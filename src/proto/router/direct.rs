//! Direct dispatch: a worker is given something now, whatever it has, and no queue knows of it.

use std::collections::BTreeSet;

use crate::id::{Identity, RequestId};
use crate::proto::clock::Time;
use crate::proto::dialect::WorkerVoice;
use crate::proto::jobs::{Ended, JobId, Progress};
use crate::proto::output::{Output, Pressure};
use crate::proto::stats::Outcome;
use crate::wire::codec::Encoder;
use crate::wire::nfp::{Era, Verb};

use super::Router;
use super::service::ServiceId;
use super::worker::{Worker, WorkerId};

impl Router {
    /// The service of that name.
    pub(crate) fn service_id(&self, name: &[u8]) -> Option<ServiceId> {
        self.by_name.get(name).copied()
    }

    /// The workers of a service, in the order of registration.
    pub(crate) fn members(&self, id: ServiceId) -> &BTreeSet<WorkerId> {
        const NOBODY: &BTreeSet<WorkerId> = &BTreeSet::new();
        self.services.get(id).map_or(NOBODY, |service| &service.workers)
    }

    /// All workers.
    pub(crate) fn worker_entries(&self) -> impl Iterator<Item = (WorkerId, &Worker)> {
        self.workers.iter()
    }

    /// The worker of a service with the least to do, the one that has waited longest among equals;
    /// any, if all have as much as they take.
    pub(crate) fn least_loaded(&self, id: ServiceId) -> Option<WorkerId> {
        let service = self.services.get(id)?;
        service.ready.first().or_else(|| service.workers.first().copied())
    }

    /// Whether the worker does not read what it was sent.
    pub(crate) fn is_congested(&self, id: WorkerId) -> bool {
        self.workers.get(id).is_some_and(|worker| worker.congested)
    }

    /// Whether the worker speaks NFP, and is given jobs directly.
    pub(crate) fn is_nfp(&self, id: WorkerId) -> bool {
        let voice = self.workers.get(id).map(|worker| worker.voice);
        matches!(voice, Some(WorkerVoice::Nfp(_)))
    }

    /// Says something to an NFP worker.
    pub(crate) fn tell<O: Output>(
        &mut self,
        now: Time,
        id: WorkerId,
        out: &mut O,
        write: impl FnOnce(Era, &mut Encoder),
    ) {
        let Some(worker) = self.workers.get_mut(id) else { return };
        let WorkerVoice::Nfp(era) = worker.voice else { return };
        worker.last_sent = now;
        if out.send(worker.peer, |encoder| write(era, encoder)) == Pressure::High {
            worker.congested = true;
            self.relist(id);
        }
    }

    /// Gives a worker its part of a job.
    pub(crate) fn add_to_job(&mut self, job: JobId, id: WorkerId, name: Identity) {
        let direct = self.is_nfp(id);
        if self.jobs.add_target(job, Some(id), name, direct).is_some()
            && direct
            && let Some(worker) = self.workers.get_mut(id)
        {
            worker.direct += 1;
            self.relist(id);
        }
    }

    /// Notes how far a worker is with its part of a job.
    pub(crate) fn advance_job(&mut self, now: Time, job: JobId, part: usize, progress: Progress) {
        if let Some(ended) = self.jobs.advance(now, job, part, progress) {
            self.end_part(ended);
        }
    }

    /// Ends whatever of a job is open; returns the workers that have it.
    pub(crate) fn end_job(&mut self, now: Time, job: JobId, progress: Progress) -> Vec<WorkerId> {
        let ended = self.jobs.end_all(now, job, progress);
        ended.iter().for_each(|ended| self.end_part(*ended));
        ended.into_iter().filter_map(|ended| ended.worker).collect()
    }

    /// Ends the jobs whose time is over, and forgets those that ended long ago.
    pub(super) fn expire_jobs<O: Output>(&mut self, now: Time, out: &mut O) {
        while let Some(ended) = self.jobs.pop_due(now) {
            for ended in ended {
                // A job that was posted again may have parts with more time than it has itself.
                let open = |id: &RequestId| self.requests.get(*id).is_some_and(|it| it.is_pinned());
                if let Some(child) = ended.child.filter(open) {
                    self.give_up(now, child, Outcome::TimedOut, out);
                }
                self.end_part(ended);
            }
        }
        out.release(self.jobs.take_freed());
    }

    fn end_part(&mut self, ended: Ended) {
        if let Some(id) = ended.worker.filter(|_| ended.direct)
            && let Some(worker) = self.workers.get_mut(id)
        {
            worker.direct -= 1;
            self.relist(id);
        }
    }

    /// Asks an NFP worker for the result of a request that it holds.
    pub(crate) fn fetch<O: Output>(
        &mut self,
        now: Time,
        worker_id: WorkerId,
        id: RequestId,
        out: &mut O,
    ) {
        let Some(worker) = self.workers.get_mut(worker_id) else { return };
        let voice = worker.voice;
        worker.last_sent = now;
        out.send(worker.peer, |encoder| voice.ask_about(Verb::Get, id, encoder));
    }

    /// Asks an NFP worker for results that are long in coming, the oldest each time and the others in
    /// turn: up to 0.24 it does not say when they are ready, and what it says can be lost with a
    /// connection.
    pub(crate) fn fetch_old<O: Output>(&mut self, now: Time, id: WorkerId, out: &mut O) {
        /// So many of the oldest at a time, and as many of the others.
        const FETCHED: usize = 16;
        let Some(worker) = self.workers.get(id) else { return };
        if !matches!(worker.voice, WorkerVoice::Nfp(_)) || worker.congested {
            return;
        }
        let behind = |request: RequestId| self.requests.get(request)?.links.next();
        let mut old = Vec::new();
        let mut next = worker.held.first();
        while let Some(request) = next.filter(|_| old.len() < FETCHED) {
            old.push(request);
            next = behind(request);
        }
        let (others, last) = (next, worker.fetched);
        let last = last.filter(|last| self.holds(id, *last) && !old.contains(last));
        let begin = last.and_then(behind).or(others);
        next = begin;
        while let Some(request) = next.filter(|_| old.len() < 2 * FETCHED) {
            old.push(request);
            next = behind(request).or(others).filter(|next| Some(*next) != begin);
        }
        if let Some(worker) = self.workers.get_mut(id) {
            worker.fetched = old.get(FETCHED..).and_then(<[_]>::last).copied();
        }
        for request in old {
            self.fetch(now, id, request, out);
        }
    }
}
