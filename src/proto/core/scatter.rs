//! SCATTER: one request to several workers, with an outcome for each.

use crate::id::{Identity, PeerId, ServiceName};
use crate::proto::clock::Time;
use crate::proto::dialect::{CallerVoice, Part, Terms, Way, progress_of};
use crate::proto::jobs::{Job, JobId, Progress};
use crate::proto::output::Output;
use crate::proto::rights::Verb as Right;
use crate::proto::router::{Pin, Worker, WorkerId};
use crate::proto::stats::Outcome;
use crate::wire::message::{Frames, Message};
use crate::wire::mjp::{
    Answer, Code, FromBroker, Packed, ReadyHeader, Recipients, Scatter, Tally, Targets,
};

use super::Core;
use super::mjp::fence::Why;
use super::rights::{TOO_OFTEN, why_denied};

/// Most workers of one scatter.
const TARGETS_MAX: usize = 1000;

/// What the name of a scatter in the table of jobs begins with, and that of no other job.
const SCATTER: &str = "~";

/// The name of a scatter in the table of jobs.
fn uuid_of(peer: PeerId, id: u64) -> String {
    format!("{SCATTER}{:016x}-{id:x}", slotmap::Key::data(&peer).as_ffi())
}

/// Whether only a scatter has such a name.
pub(super) fn is_scatter(uuid: &[u8]) -> bool {
    uuid.starts_with(SCATTER.as_bytes())
}

impl Core {
    /// Whether a scatter of that id is open.
    pub(super) fn is_scattering(&self, peer: PeerId, id: u64) -> bool {
        let jobs = &self.router.jobs;
        jobs.has_scatters() && jobs.named(uuid_of(peer, id).as_bytes()).is_some_and(is_open)
    }

    /// A request to several workers; `kept` is its header and its body.
    pub(super) fn on_scatter<O: Output>(
        &mut self,
        now: Time,
        peer: PeerId,
        scatter: &Scatter<'_>,
        kept: Frames<'_>,
        out: &mut O,
    ) {
        if let Err(why) = self.try_scatter(now, peer, scatter, kept, out) {
            self.object_why(peer, scatter.id, &why, out);
        }
    }

    fn try_scatter<O: Output>(
        &mut self,
        now: Time,
        peer: PeerId,
        scatter: &Scatter<'_>,
        kept: Frames<'_>,
        out: &mut O,
    ) -> Result<(), Why> {
        let (id, says) = (scatter.id, &scatter.says);
        let workers = self.recipients_of(now, peer, scatter, out)?;
        let fence = self.fence(peer, (says.lease, says.epoch));
        let (owner, principal) = (self.name_of(peer), self.principal_of(peer));
        let uuid = uuid_of(peer, id);
        let cost = Job::cost_of(uuid.as_bytes(), workers.len());
        let bytes = kept.bytes() + fence.as_ref().map_or(0, |fence| fence.bytes());
        let parts = self.router.cost_of_parts(workers.len(), bytes);
        if !self.router.has_room_for(peer, workers.len(), parts)
            || !self.router.jobs.has_room(&principal)
            || !self.router.charge_forgetting(cost + parts, out)
        {
            let why = "a limit of the client or the broker is reached";
            return Err((Code::Overloaded, why.into(), None));
        }
        // Each part takes its own share of this.
        out.release(parts);
        let Ok(service) = ServiceName::try_from(says.service) else {
            out.release(cost);
            let why = "a service has a name of 1 to 255 octets";
            return Err((Code::BadRequest, why.into(), None));
        };
        let mut job = Job::new(uuid.as_bytes(), owner, service, "", now);
        (job.principal, job.scatter) = (principal, Some((peer, id)));
        let job = self.router.jobs.insert(job, None);
        self.router.jobs.charge(job, cost);
        out.release(self.router.jobs.take_freed());
        let named: Vec<(WorkerId, Identity)> = workers
            .into_iter()
            .filter_map(|worker| Some((worker, self.name_of(self.router.worker(worker)?.peer()))))
            .collect();
        self.say_targets(peer, id, &named, out);
        let deadline = says.timeout().map(|timeout| now.after(timeout));
        let (terms, events) = (Terms { deadline, attempts: None }, says.events());
        let added: Vec<_> = named
            .into_iter()
            .filter_map(|(worker, name)| {
                let index = self.router.jobs.add_target(job, Some(worker), name.clone(), false)?;
                Some((worker, Part { job, index, name, terms, way: Way::Scatter { id, events } }))
            })
            .collect();
        for (worker, part) in added {
            self.give_part(now, peer, Pin { worker, fence: fence.clone() }, part, kept, out);
        }
        Ok(())
    }

    /// The workers that a scatter is for, if it may be asked at all.
    fn recipients_of<O: Output>(
        &mut self,
        now: Time,
        peer: PeerId,
        scatter: &Scatter<'_>,
        out: &mut O,
    ) -> Result<Vec<WorkerId>, Why> {
        let (id, says) = (scatter.id, &scatter.says);
        let taken = self.router.is_open(peer, id) || self.is_scattering(peer, id);
        if taken || self.is_following(peer, id) {
            let why = "another request of this id is open on the connection";
            return Err((Code::DuplicateId, why.into(), None));
        }
        if self.take_turn(now, peer).is_err() {
            return Err((Code::Overloaded, TOO_OFTEN.into(), None));
        }
        if !self.may(peer, Right::Call, says.service, out) {
            return Err((Code::Denied, why_denied(Right::Call, says.service).into(), None));
        }
        if self.router.is_draining() || self.router.is_closed(says.service) {
            return Err((Code::Draining, self.why_draining().into(), None));
        }
        self.check_fence(now, peer, Some(says.service), (says.lease, says.epoch))?;
        let workers = self.recipients(says.service, &says.to);
        match workers.len() {
            0 => Err((Code::NoTarget, "no worker of the service is meant".into(), None)),
            1..=TARGETS_MAX => Ok(workers),
            _ => {
                let why = "more than 1000 workers are meant; name some of them";
                Err((Code::TooBig, why.into(), None))
            }
        }
    }

    /// Makes the request that stands for one worker's part in a job.
    pub(super) fn give_part<O: Output>(
        &mut self,
        now: Time,
        peer: PeerId,
        pin: Pin,
        part: Part,
        kept: Frames<'_>,
        out: &mut O,
    ) {
        let (job, index) = (part.job, part.index);
        let voice = CallerVoice::Part(Box::new(part));
        match self.router.accept_pinned(now, peer, voice, pin, kept, out) {
            Some(request) => {
                if let Some(target) = self.router.jobs.target_mut(job, index) {
                    target.child = Some(request);
                }
            }
            None => self.end_part(now, job, index, Outcome::WorkerLost, out),
        }
    }

    /// The workers of a service that are meant and take work, in the order of registration.
    fn recipients(&self, service: &[u8], to: &Recipients<'_>) -> Vec<WorkerId> {
        let Some(service) = self.router.service_id(service) else { return Vec::new() };
        let members = self.router.members(service);
        let takes = |id: &WorkerId| self.router.worker(*id).is_some_and(|w| w.credit() > 0);
        match to {
            Recipients::All => members.iter().copied().filter(takes).collect(),
            Recipients::Names(names) => {
                let mut found: Vec<_> =
                    names.iter().filter_map(|name| self.worker_named(name.as_bytes())).collect();
                found.sort_unstable();
                found.dedup();
                found.retain(|worker| members.contains(worker) && takes(worker));
                found
            }
            Recipients::Labels(labels) => {
                let fits = |id: &WorkerId| {
                    let about = self.router.worker(*id).map(Worker::about).unwrap_or_default();
                    let ready = ReadyHeader::decode(about).unwrap_or_default();
                    let has = |(name, value): (&&str, &&str)| {
                        ready.labels.iter().any(|label| label == (*name, *value))
                    };
                    labels.iter().all(has)
                };
                members.iter().copied().filter(takes).filter(fits).collect()
            }
        }
    }

    fn say_targets<O: Output>(
        &mut self,
        peer: PeerId,
        id: u64,
        workers: &[(WorkerId, Identity)],
        out: &mut O,
    ) {
        let name = |(_, name): &(WorkerId, Identity)| {
            String::from_utf8_lossy(name.as_bytes()).into_owned()
        };
        let names = Targets::pack(&workers.iter().map(name).collect::<Vec<_>>());
        let targets = FromBroker::Targets(Targets { id, names: &names });
        self.say(peer, names.len(), out, |encoder| targets.encode(encoder));
    }

    /// The caller wants no more of a scatter.
    pub(super) fn cancel_scatter<O: Output>(
        &mut self,
        now: Time,
        peer: PeerId,
        id: u64,
        out: &mut O,
    ) {
        if !self.router.jobs.has_scatters() {
            return;
        }
        let job = self.router.jobs.named(uuid_of(peer, id).as_bytes());
        let Some(job) = job.map(|(job, _)| job) else { return };
        for child in self.router.jobs.children_of(job) {
            self.router.give_up_part(now, child, out);
        }
    }

    /// Requests that were parts of jobs have ended. False: none have.
    pub(super) fn end_parts<O: Output>(&mut self, now: Time, out: &mut O) -> bool {
        let mut some = false;
        while let Some((job, index, outcome)) = self.router.pop_ended_part() {
            self.end_part(now, job, index, outcome, out);
            some = true;
        }
        some
    }

    fn end_part<O: Output>(
        &mut self,
        now: Time,
        job: JobId,
        index: usize,
        outcome: Outcome,
        out: &mut O,
    ) {
        self.router.advance_job(now, job, index, progress_of(outcome));
        if let Some((peer, id)) = self.router.jobs.take_ended_scatter(job) {
            self.say_tally(peer, id, job, out);
        }
    }

    fn say_tally<O: Output>(&mut self, peer: PeerId, id: u64, job: JobId, out: &mut O) {
        let mut tally = Tally::default();
        for target in self.router.jobs.get(job).iter().flat_map(|job| &job.targets) {
            *match target.progress {
                Progress::Failed => &mut tally.failed,
                Progress::Refused => &mut tally.refused,
                Progress::Lost => &mut tally.lost,
                Progress::TimedOut => &mut tally.timed_out,
                Progress::Cancelled => &mut tally.cancelled,
                _ => &mut tally.replied,
            } += 1;
        }
        let (header, body) = (Packed::new(&tally), Message::new([&b""[..]]));
        let answer = Answer { id, header: header.octets(), body: body.frames() };
        self.say(peer, header.octets().len(), out, |encoder| {
            FromBroker::Final(answer).encode(encoder);
        });
    }
}

fn is_open((_, job): (JobId, &Job)) -> bool {
    job.ended_at.is_none()
}
