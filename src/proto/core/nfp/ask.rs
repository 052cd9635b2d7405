//! What clients of NFP ask for: direct dispatch, now or not at all.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Display;

use crate::id::{Identity, PeerId, ServiceName};
use crate::proto::clock::Time;
use crate::proto::jobs::{Job as KnownJob, JobId, Progress};
use crate::proto::output::Output;
use crate::proto::rights::Verb as Right;
use crate::proto::router::{Unput, Worker, WorkerId, is_of_the_house};
use crate::wire::message::Frames;
use crate::wire::nfp::body::{self, About, JobBody, NotSent, Target};
use crate::wire::nfp::{Era, Job, Kind, Order, Verb, status};

use super::super::Core;
use super::super::rights::{TOO_OFTEN, why_denied};
use super::super::scatter::is_scatter;
use super::{about, answers_twice, text_of};

/// The service that stands for all services.
pub(super) const ALL: &[u8] = b"all";
/// Why a job is refused that nobody can show to be the holder's.
pub(super) const FENCED: &str = "the service takes requests of the holder of a lease only";
/// The management calls that change how the broker runs, by which the right `admin` asks.
const CHANGES: [&str; 3] = ["disconnect", "restart", "shutdown"];

impl Core {
    /// POST, GET, DELETE, PUT or MMI of a client.
    pub(super) fn on_job<O: Output>(&mut self, now: Time, id: PeerId, job: &Job<'_>, out: &mut O) {
        if self.take_turn(now, id).is_err() {
            return self.refuse_job(id, job, &TOO_OFTEN, out);
        }
        // What stands for all services is asked about for each of them.
        if job.service != ALL && !self.may(id, Right::Call, job.service, out) {
            return self.deny_job(id, job, out);
        }
        if is_of_the_house(job.service) {
            return self.ask_house(now, id, job, out);
        }
        if job.verb == Verb::Mmi {
            let why = "management calls are for mmi.service.broker and the other services of the \
                       broker; give a worker a job by POST";
            return self.refuse_job(id, job, &why, out);
        }
        if is_scatter(job.uuid) {
            let why = "names of jobs that begin with ~ are the broker's own; a NorFab client makes \
                       them of hex digits";
            return self.refuse_job(id, job, &why, out);
        }
        let owner = self.name_of(id);
        let known = self.router.jobs.named(job.uuid).map(|(_, known)| known);
        if known.is_some_and(|known| !self.owns(id, known)) {
            let why = "the job is another client's";
            return self.refuse_job(id, job, &why, out);
        }
        if job.verb == Verb::Delete {
            return self.delete(now, id, job, out);
        }
        let queued = self.is_for_queue(job, known);
        if job.verb == Verb::Put && self.put_to_request(now, id, job, out) {
            return;
        }
        if queued {
            return self.on_queued_job(now, id, job, owner, out);
        }
        let meant = Target::parse(job.target);
        let gone =
            if job.verb == Verb::Get { self.gone_stand_ins(job, &meant) } else { Vec::new() };
        let workers = match self.pick(job, &meant) {
            Ok(workers) => workers,
            Err(_) if !gone.is_empty() => Vec::new(),
            Err(why) => return self.refuse_job(id, job, &why, out),
        };
        let Some(workers) = self.within_rights(id, workers, out) else {
            return self.deny_job(id, job, out);
        };
        match job.verb {
            Verb::Post => self.post(now, id, job, owner, &workers, out),
            Verb::Get => {
                let mut names = self.names_of(&workers);
                names.extend(gone.iter().cloned());
                self.say_dispatched(id, job, &names, out);
                self.pass_on(now, &owner, job, &workers, out);
                self.say_results(id, job, &workers, &gone, out);
            }
            _ => {
                if !workers.iter().any(|worker| self.router.is_nfp(*worker)) {
                    self.say_unput(id, job, &self.names_of(&workers), Unput::NoWord, out);
                }
                self.pass_on(now, &owner, job, &workers, out);
            }
        }
    }

    /// A job for workers: recorded, said to be dispatched, dispatched, in this order.
    fn post<O: Output>(
        &mut self,
        now: Time,
        id: PeerId,
        job: &Job<'_>,
        owner: Identity,
        workers: &[WorkerId],
        out: &mut O,
    ) {
        let says = match JobBody::read(first(job.body)) {
            Ok(says) => says,
            Err(why) => {
                let why = NotSent::BadJob { service: job.service, why };
                return self.refuse_job(id, job, &why, out);
            }
        };
        if let Err(why) = self.take_now(now, workers) {
            return self.refuse_job(id, job, &why, out);
        }
        let strangers = workers.iter().filter(|worker| !self.router.is_nfp(**worker)).count();
        let parts = self.router.cost_of_parts(strangers, job.body.bytes());
        if strangers > 0 && !self.router.has_room_for(id, strangers, parts) {
            let why = "the client has as many open requests as it may; see [client]";
            return self.refuse_job(id, job, &why, out);
        }
        if let Err(why) = self.record(now, (id, &owner), job, &says, (workers, parts), out) {
            return self.refuse_job(id, job, &why, out);
        }
        self.say_dispatched(id, job, &self.names_of(workers), out);
        for worker in workers {
            let order = order(Verb::Post, &owner, job);
            self.router.tell(now, *worker, out, |era, encoder| order.encode(era, encoder));
        }
        self.give_parts(now, id, job, &says, workers, out);
    }

    /// Whether these workers take a job at this moment.
    fn take_now(&mut self, now: Time, workers: &[WorkerId]) -> Result<(), Cow<'static, str>> {
        let router = &self.router;
        if router.is_draining() {
            return Err("the broker stops; ask again when it is back".into());
        }
        if workers.iter().any(|worker| router.is_shut(*worker)) {
            return Err("an operator has paused the service or drains it; ask again later".into());
        }
        let is_fenced = |worker: &WorkerId| {
            let service = router.service_of(*worker).map(ServiceName::as_bytes);
            router.check_fence(now, service, None).is_err()
        };
        if router.has_fences() && workers.iter().any(is_fenced) {
            self.router.leases.count_refused(false);
            return Err(FENCED.into());
        }
        let Some(full) = workers.iter().find(|worker| router.is_congested(**worker)) else {
            return Ok(());
        };
        let name = router.worker(*full).map(|worker| self.name_of(worker.peer()));
        let name = name.map(|name| name.to_string()).unwrap_or_default();
        Err(format!("worker {name} does not read what it was sent; ask again later").into())
    }

    /// Remembers a job, if there is memory for it and for the requests that stand for its `parts`; a
    /// client that repeats one that is open adds workers to it at most.
    fn record<O: Output>(
        &mut self,
        now: Time,
        (id, owner): (PeerId, &Identity),
        job: &Job<'_>,
        says: &JobBody<'_>,
        (workers, parts): (&[WorkerId], usize),
        out: &mut O,
    ) -> Result<(), &'static str> {
        let open = self.router.jobs.named(job.uuid).filter(|(_, known)| known.ended_at.is_none());
        let open = open.map(|(id, _)| id);
        let principal = self.principal_of(id);
        if open.is_none() && !self.router.jobs.has_room(&principal) {
            return Err("too many jobs are open; see limits.jobs and limits.jobs_per_client");
        }
        let newcomers = match open {
            Some(known) => Cow::Owned(self.router.jobs.newcomers(known, workers)),
            None => Cow::Borrowed(workers),
        };
        if !self.router.jobs.takes(open, newcomers.len()) {
            return Err("the job would have too many workers; see limits.job_targets");
        }
        let cost = match open {
            Some(_) => newcomers.len() * KnownJob::TARGET,
            None => KnownJob::cost_of(job.uuid, newcomers.len()),
        };
        if !self.router.charge_forgetting(cost + parts, out) {
            return Err("the broker is short of memory; ask again later");
        }
        // Each part takes its own share of this.
        out.release(parts);
        let Ok(service) = ServiceName::try_from(job.service) else {
            out.release(cost);
            return Err("a service has a name of 1 to 255 octets");
        };
        let known = open.unwrap_or_else(|| {
            // A worker may never answer, and live: no job is open for ever.
            let due = now.after(says.timeout().unwrap_or(JobBody::TIMEOUT_MAX));
            let mut new = KnownJob::new(job.uuid, owner.clone(), service, &says.task, now);
            new.principal = principal;
            self.router.jobs.insert(new, Some(due))
        });
        for worker in newcomers.iter() {
            let Some(peer) = self.router.worker(*worker).map(Worker::peer) else { continue };
            let name = self.name_of(peer);
            self.router.add_to_job(known, *worker, name);
        }
        self.router.jobs.charge(known, cost);
        out.release(self.router.jobs.take_freed());
        Ok(())
    }

    /// Gives workers a command that is no job. Who does not read it is not told twice: clients ask
    /// again.
    fn pass_on<O: Output>(
        &mut self,
        now: Time,
        owner: &Identity,
        job: &Job<'_>,
        workers: &[WorkerId],
        out: &mut O,
    ) {
        for worker in workers {
            if self.router.is_congested(*worker) {
                self.dropped += 1;
                continue;
            }
            let order = order(job.verb, owner, job);
            self.router.tell(now, *worker, out, |era, encoder| order.encode(era, encoder));
        }
    }

    /// The client wants a job no more.
    fn delete<O: Output>(&mut self, now: Time, id: PeerId, job: &Job<'_>, out: &mut O) {
        let Some((known, _)) = self.router.jobs.named(job.uuid) else {
            let answer = body::state("", job.service, job.uuid, "JOB NOT FOUND");
            let not_found = status::NOT_FOUND;
            return self.say_reply(id, Kind::Response, about(job), not_found, answer, out);
        };
        self.call_off(now, known, job.body, out);
        let answer = body::state("", job.service, job.uuid, "CANCELLED");
        self.say_reply(id, Kind::Response, about(job), status::OK, answer, out);
    }

    /// Ends a job that nobody wants any more, and tells its workers so.
    pub(in crate::proto::core) fn call_off<O: Output>(
        &mut self,
        now: Time,
        id: JobId,
        body: Frames<'_>,
        out: &mut O,
    ) {
        let Some(job) = self.router.jobs.get(id) else { return };
        let (client, uuid) = (job.owner.clone(), job.uuid.clone());
        for child in self.router.jobs.children_of(id) {
            self.router.give_up_part(now, child, out);
        }
        let (verb, client, uuid) = (Verb::Delete, client.as_bytes(), &uuid[..]);
        let order = Order { verb, client, uuid, body };
        for worker in self.router.end_job(now, id, Progress::Cancelled) {
            self.router.tell(now, worker, out, |era, encoder| order.encode(era, encoder));
        }
    }

    /// The broker's own services run beside the core, as workers of this process.
    fn ask_house<O: Output>(&mut self, now: Time, id: PeerId, job: &Job<'_>, out: &mut O) {
        let name = self.router.service_id(job.service);
        let worker = name.and_then(|service| self.router.least_loaded(service));
        let worker = worker.filter(|worker| !self.router.is_congested(*worker));
        let Some(worker) = worker else {
            let why = NotSent::NoWorker { service: job.service };
            return self.refuse_job(id, job, &why, out);
        };
        let owner = self.name_of(id);
        // A name may be another peer's when it is looked up: so the order itself says whether the
        // one may do it who gave it. Nobody else sends MMI to a worker.
        let may_change = self.may_change(id, first(job.body), out);
        let order = order(if may_change { Verb::Mmi } else { Verb::Post }, &owner, job);
        self.note_house_order(worker);
        self.router.tell(now, worker, out, |era, encoder| order.encode(era, encoder));
    }

    /// Whether a call changes how the broker runs, and the client may have that done.
    fn may_change<O: Output>(&mut self, id: PeerId, body: &[u8], out: &mut O) -> bool {
        let Ok(JobBody { task, .. }) = JobBody::read(body) else { return false };
        CHANGES.contains(&&*task) && self.may(id, Right::Admin, task.as_bytes(), out)
    }

    /// Those of the workers whose services the client may call; none if it may call none of them.
    fn within_rights<O: Output>(
        &mut self,
        id: PeerId,
        mut workers: Vec<WorkerId>,
        out: &mut O,
    ) -> Option<Vec<WorkerId>> {
        let grants = self.peers.get(id).map(|peer| peer.rights.grants().clone())?;
        if grants.is_open() {
            return Some(workers);
        }
        let was_meant = !workers.is_empty();
        workers.retain(|worker| {
            let service = self.router.service_of(*worker);
            service.is_some_and(|name| grants.allows(Right::Call, name.as_bytes()))
        });
        if was_meant && workers.is_empty() {
            self.deny(id, Right::Call, ALL, out);
            return None;
        }
        Some(workers)
    }

    /// A part of the broker has something to answer: the broker does not stop before it has.
    fn note_house_order(&mut self, worker: WorkerId) {
        let peer = self.router.worker(worker).map(Worker::peer);
        if let Some(peer) = peer.and_then(|peer| self.peers.get_mut(peer)).filter(|p| p.house) {
            peer.asked += 1;
            self.house_asked += 1;
        }
    }

    /// It has answered.
    pub(super) fn note_house_answer(&mut self, id: PeerId) {
        if let Some(peer) = self.peers.get_mut(id).filter(|peer| peer.asked > 0) {
            peer.asked -= 1;
            self.house_asked -= 1;
        }
    }

    /// The workers that a client means.
    fn pick<'a>(&self, job: &Job<'a>, meant: &Target<'_>) -> Result<Vec<WorkerId>, NotSent<'a>> {
        let (service, target) = (job.service, job.target);
        let members = if service == ALL {
            None
        } else {
            let members = self.router.service_id(service).map(|id| self.router.members(id));
            let members = members.filter(|members| !members.is_empty());
            Some(members.ok_or(NotSent::NoWorker { service })?)
        };
        let picked = match (meant, members) {
            (Target::Invalid(why), _) => {
                return Err(NotSent::BadTarget { service, target, why: *why });
            }
            (Target::All, Some(members)) => members.iter().copied().collect(),
            (Target::All, None) => self.everybody(),
            (Target::Any, Some(_)) => {
                let service = self.router.service_id(service);
                service.and_then(|id| self.router.least_loaded(id)).into_iter().collect()
            }
            (Target::Any, None) => self.one_of_each(),
            (Target::Name(name), _) => self.pick_named(job, std::iter::once(*name))?,
            (Target::Names(names), _) => self.pick_named(job, names.iter().map(AsRef::as_ref))?,
        };
        if picked.is_empty() {
            return Err(NotSent::NoMatch { service, target });
        }
        Ok(picked)
    }

    fn pick_named<'a, 'n>(
        &self,
        job: &Job<'a>,
        names: impl Iterator<Item = &'n str>,
    ) -> Result<Vec<WorkerId>, NotSent<'a>> {
        let mut found: Vec<_> =
            names.filter_map(|name| self.worker_named(name.as_bytes())).collect();
        // A worker may have been called by two names.
        let mut once = BTreeSet::new();
        found.retain(|worker| once.insert(*worker));
        let may = |worker: &WorkerId| {
            let service = self.router.service_of(*worker);
            let reserved = service.is_some_and(|name| is_of_the_house(name.as_bytes()));
            let serves = service.is_some_and(|name| name.as_bytes() == job.service);
            !reserved && (serves || job.service == ALL || self.settings.nfp.cross_service)
        };
        let picked: Vec<_> = found.iter().copied().filter(may).collect();
        if picked.is_empty() && !found.is_empty() {
            return Err(NotSent::OtherService { service: job.service, target: job.target });
        }
        Ok(picked)
    }

    /// All workers that are not the broker's own.
    fn everybody(&self) -> Vec<WorkerId> {
        let is_guest = |worker: &&Worker| !self.is_house(worker.peer());
        let ids = self.router.worker_entries().filter(|(_, worker)| is_guest(worker));
        ids.map(|(id, _)| id).collect()
    }

    /// A worker of each service.
    fn one_of_each(&self) -> Vec<WorkerId> {
        let services: BTreeSet<_> = self
            .everybody()
            .into_iter()
            .filter_map(|id| Some(self.router.worker(id)?.service()))
            .collect();
        services.into_iter().filter_map(|service| self.router.least_loaded(service)).collect()
    }

    fn is_house(&self, id: PeerId) -> bool {
        self.peers.get(id).is_some_and(|peer| peer.house)
    }

    fn names_of(&self, workers: &[WorkerId]) -> Vec<String> {
        let named =
            |worker: &WorkerId| Some(text_of(&self.name_of(self.router.worker(*worker)?.peer())));
        workers.iter().filter_map(named).collect()
    }

    /// Says which workers have the job.
    pub(super) fn say_dispatched<O: Output>(
        &mut self,
        id: PeerId,
        job: &Job<'_>,
        names: &[String],
        out: &mut O,
    ) {
        let body = body::dispatched(names, about(job));
        self.say_reply(id, Kind::Response, about(job), status::DISPATCHED, body, out);
    }

    /// Tells a client why its command went to nobody.
    pub(super) fn refuse_job<O: Output>(
        &mut self,
        id: PeerId,
        job: &Job<'_>,
        why: &impl Display,
        out: &mut O,
    ) {
        self.refused_jobs += 1;
        let management = job.verb == Verb::Mmi || answers_twice(job.service);
        self.say_failed(id, about(job), status::FAILED, why, management, out);
    }

    /// Tells a client that it may not do that.
    fn deny_job<O: Output>(&mut self, id: PeerId, job: &Job<'_>, out: &mut O) {
        self.refused_jobs += 1;
        let why = why_denied(Right::Call, job.service);
        let management = job.verb == Verb::Mmi || answers_twice(job.service);
        self.say_failed(id, about(job), status::DENIED, &why, management, out);
    }

    /// Status 400 or 403, in the way of the client's era; a management call reads another command.
    pub(super) fn say_failed<O: Output>(
        &mut self,
        id: PeerId,
        about: About<'_>,
        status: &[u8],
        why: &impl Display,
        management: bool,
        out: &mut O,
    ) {
        let body = match self.era_of(id) {
            Era::Current => body::failed(about, why),
            Era::Old => why.to_string().into_bytes(),
        };
        if management {
            self.say_reply(id, Kind::Response, about, status, body.clone(), out);
            self.say_reply(id, Kind::Mmi, about, status, body, out);
        } else {
            self.say_reply(id, Kind::Response, about, status, body, out);
        }
    }
}

/// The body, which is one frame.
pub(super) fn first(mut body: Frames<'_>) -> &[u8] {
    body.take_first().unwrap_or_default()
}

fn order<'a>(verb: Verb, owner: &'a Identity, job: &Job<'a>) -> Order<'a> {
    Order { verb, client: owner.as_bytes(), uuid: job.uuid, body: job.body }
}
