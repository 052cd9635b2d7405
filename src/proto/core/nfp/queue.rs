//! Jobs of NFP clients that wait in the queue of a service, by its policy `queue`: whichever worker
//! is free takes one, as a request, and another one if that is lost. The broker stands for all of
//! them, as a worker of the name `any`.

use crate::id::{Identity, PeerId, ServiceName};
use crate::proto::clock::Time;
use crate::proto::dialect::{CallerVoice, Part, Post, Terms, Way};
use crate::proto::jobs::{Job as KnownJob, JobId};
use crate::proto::output::Output;
use crate::proto::router::Refusal;
use crate::wire::nfp::body::{self, JobBody, NotSent, Target};
use crate::wire::nfp::{Job, Kind, Verb, status};

use super::super::Core;
use super::ask::{ALL, FENCED};
use super::{about, is_reserved};

/// The name of the worker that the broker is in a queued job.
const ANY: &str = "any";

impl Core {
    /// Whether a command is about a job that waits in a queue, or is to.
    pub(super) fn is_for_queue(&self, job: &Job<'_>, known: Option<&KnownJob>) -> bool {
        match known {
            Some(known) if known.ended_at.is_none() || job.verb != Verb::Post => known.is_queued(),
            _ => {
                job.verb == Verb::Post
                    && self.router.queues_jobs(job.service)
                    && Target::parse(job.target) == Target::Any
                    // Nobody could ever take it: one is all services, the others are the broker's.
                    && job.service != ALL
                    && !is_reserved(job.service)
            }
        }
    }

    /// POST or GET of such a job, which is nobody else's.
    pub(super) fn on_queued_job<O: Output>(
        &mut self,
        now: Time,
        id: PeerId,
        job: &Job<'_>,
        owner: Identity,
        out: &mut O,
    ) {
        match job.verb {
            Verb::Post => {
                let known = self.router.jobs.named(job.uuid);
                let is_open = known.is_some_and(|(_, known)| known.ended_at.is_none());
                let put =
                    if is_open { Ok(()) } else { self.put_in_queue(now, id, job, owner, out) };
                if let Err(why) = put {
                    return self.refuse_job(id, job, &why, out);
                }
                // A worker that has been given it says nothing before the next turn.
                self.say_dispatched(id, job, &[ANY.into()], out);
                let accepted = body::state(ANY, job.service, job.uuid, "ACCEPTED");
                self.say_reply(id, Kind::Response, about(job), status::ACCEPTED, accepted, out);
            }
            Verb::Get => {
                self.say_dispatched(id, job, &[ANY.into()], out);
                self.say_result(id, job, ANY, out);
            }
            // PUT is seen to before.
            _ => self.dropped += 1,
        }
    }

    fn put_in_queue<O: Output>(
        &mut self,
        now: Time,
        id: PeerId,
        job: &Job<'_>,
        owner: Identity,
        out: &mut O,
    ) -> Result<(), String> {
        const FULL: &str = "a limit of the client, the service or the broker is reached; ask again \
                            later";
        let service = job.service;
        let says = JobBody::read(job.body.clone().take_first().unwrap_or_default())
            .map_err(|why| NotSent::BadJob { service, why }.to_string())?;
        let deadline = says.timeout().map(|timeout| now.after(timeout));
        if deadline.is_some_and(|deadline| deadline <= now) {
            return Err("the time of the job is over".into());
        }
        if self.router.check_fence(now, Some(service), None).is_err() {
            self.router.leases.count_refused(false);
            return Err(FENCED.into());
        }
        let name = ServiceName::try_from(service).map_err(|why| why.to_string())?;
        let principal = self.principal_of(id);
        if !self.router.jobs.has_room(&principal) {
            return Err(FULL.into());
        }
        let target = Identity::made_of(ANY);
        let (uuid, task) = (job.uuid.into(), says.task.as_ref().into());
        let way = Way::Post(Post { uuid, task, era: self.era_of(id), queued: true });
        let terms = Terms { deadline, attempts: None };
        // The job is recorded once its request is accepted: one of the same uuid, which has ended, is
        // remembered if this one is refused.
        let (none, index) = (JobId::default(), 0);
        let part = Part { job: none, index, name: target.clone(), terms, way };
        let voice = CallerVoice::Part(Box::new(part));
        let cost = voice.beside();
        let request = self.router.accept(now, id, voice, service.into(), job.body, out);
        let request = request.map_err(|why| match why {
            Refusal::Draining => "the broker stops, or an operator drains the service",
            _ => FULL,
        })?;
        let mut known = KnownJob::new(job.uuid, owner, name, &says.task, now);
        known.principal = principal;
        let known = self.router.jobs.insert(known, None);
        self.router.jobs.charge(known, cost);
        self.router.jobs.add_target(known, None, target, false);
        self.router.join_job(request, known, index);
        out.release(self.router.jobs.take_freed());
        Ok(())
    }
}
