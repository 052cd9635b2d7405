//! The routing tables: services, workers, requests, and who waits for whom.
//!
//! One set for all dialects. A request is in exactly one place: waiting for its service, among the
//! suspects, in flight at one worker, or ended.

mod accept;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod audit;
mod bury;
mod callers;
mod course;
mod deadlines;
mod direct;
mod dispatch;
mod ending;
mod explain;
mod fence;
mod founders;
mod gate;
mod hold;
mod keyed;
mod list;
mod opening;
mod pinned;
mod queue;
mod rate;
mod ready;
mod request;
mod retry;
mod revive;
mod service;
mod settle;
mod stored;
mod talk;
mod view;
mod worker;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use slotmap::{SecondaryMap, SlotMap};

use crate::id::{PeerId, RequestId, ServiceName};

use super::clock::Time;
use super::dead::{DeadLetters, Letter, LetterId};
use super::depot::Depot;
use super::jobs::{JobId, Jobs};
use super::keys::Keys;
use super::lease::Leases;
use super::output::{CloseReason, Output};
use super::policy::{ServicePolicy, Settings};
use super::stats::{Outcome, ServiceStats};
use super::timers::Timers;

pub(crate) use accept::Offer;
pub use accept::Refusal;
use callers::{Caller, Pause};
pub(crate) use explain::{Situation, Standing};
pub(crate) use fence::{Fence, Fenced, Wanted};
use hold::Agenda;
pub(crate) use keyed::{Asked, say_kept};
pub(crate) use pinned::Pin;
use request::Request;
pub(crate) use revive::Unrevived;
use service::Service;
pub(crate) use service::is_of_the_house;
pub use service::{Gate, ServiceId};
pub(crate) use stored::{DepotNews, EndOfStored};
pub use talk::TalkStats;
pub(crate) use talk::{NewAsk, Unput};
pub use view::ServiceView;
pub use worker::{Worker, WorkerId};

/// Hashes names and handles, seeded from the core's seed.
pub(crate) type Hasher = foldhash::fast::SeedableRandomState;

/// The routing tables and the decisions over them.
#[derive(Debug)]
pub struct Router {
    settings: Arc<Settings>,
    policies: Vec<Arc<ServicePolicy>>,
    hasher: Hasher,
    by_name: HashMap<ServiceName, ServiceId, Hasher>,
    services: SlotMap<ServiceId, Service>,
    workers: SlotMap<WorkerId, Worker>,
    requests: SlotMap<RequestId, Box<Request>>,
    /// Boxes for requests to come, with nothing in them.
    #[expect(clippy::vec_box, reason = "it is the boxes that are kept")]
    boxes: Vec<Box<Request>>,
    callers: SecondaryMap<PeerId, Caller>,
    /// Requests accepted so far: the order of acceptance.
    sequence: u64,
    /// Callers that are not read because memory is short, or the broker stops.
    paused: BTreeSet<PeerId>,
    /// Callers that are not read because there are too many services, in the order of coming.
    paused_for_name: VecDeque<PeerId>,
    /// What principals have asked lately, if that is limited.
    rates: Option<rate::Rates>,
    /// Callers with room for many names and none of them, until the next look at the clock.
    roomy: Vec<PeerId>,
    /// Decides the jitter of back-offs.
    seed: u64,
    draining: bool,
    /// Deadlines of requests that wait for a service without workers.
    expiries: Timers<ServiceId>,
    /// Deadlines of requests, and how many open ones have one.
    deadlines: Timers<RequestId>,
    timed: usize,
    /// Requests that wait for their time, and when the waiting of others is over.
    delayed: Agenda,
    expiring: Agenda,
    /// Requests that may have become the first of their order. The core sees to them after each
    /// input, and to letters that have not been put away.
    moved_up: Vec<RequestId>,
    /// Orders of which one has ended, and others may be on the disk. The core sees to them likewise.
    moved_orders: Vec<(ServiceName, Arc<[u8]>)>,
    buried: Vec<Letter>,
    /// Requests that were dead letters, by what they are called.
    revived: BTreeMap<LetterId, RequestId>,
    /// Requests that were not accepted and became letters.
    overflows: u64,
    /// Requests that ended without an answer.
    pub(crate) dead: DeadLetters,
    /// Requests that have ended, while a worker owes an answer to them.
    husks: usize,
    /// Peers that cannot be served any more. The core ends them after each input.
    doomed: Vec<(PeerId, CloseReason)>,
    /// Requests that were parts of jobs and have ended. The core sees to them after each input.
    ended_parts: Vec<(JobId, usize, Outcome)>,
    /// Requests that are kept on a disk, and have ended. The core sees to them after each input.
    ended_stored: Vec<EndOfStored>,
    /// What has become of requests of level disk, likewise.
    depot_news: Vec<DepotNews>,
    /// What happened at services that have been forgotten.
    forgotten: ServiceStats,
    /// How many of the services are of the house.
    house_services: usize,
    /// What was said in the middle of requests.
    talk: TalkStats,
    /// What was asked of fixed sets of workers.
    pub(crate) jobs: Jobs,
    /// What was asked under a key, so that it can be asked again.
    pub(crate) keys: Keys,
    /// Who holds what, and how many workers want a fence.
    pub(crate) leases: Leases,
    fenced_workers: usize,
    /// Requests of level disk, if there is a disk.
    pub(crate) depot: Option<Box<Depot>>,
}

impl Router {
    /// Empty tables. `seed` makes the hashes unpredictable from outside.
    #[must_use]
    pub fn new(settings: Arc<Settings>, seed: u64) -> Self {
        let hasher = Hasher::with_seed(seed, foldhash::SharedSeed::global_fixed());
        let rules = settings.rules.iter().map(|rule| &rule.policy);
        let jobs = Jobs::new(settings.nfp.jobs, &hasher);
        let keys = Keys::new(settings.keys, hasher.clone());
        let leases = Leases::new(settings.lease);
        let dead = DeadLetters::new(settings.dead);
        let policies = rules.chain([&settings.policy]).cloned().map(Arc::new).collect();
        let rates = settings.client.rate.map(|rate| rate::Rates::new(rate, hasher.clone()));
        Self {
            settings,
            policies,
            by_name: HashMap::with_hasher(hasher.clone()),
            hasher,
            services: SlotMap::with_key(),
            workers: SlotMap::with_key(),
            requests: SlotMap::with_key(),
            boxes: Vec::new(),
            callers: SecondaryMap::new(),
            sequence: 0,
            paused: BTreeSet::new(),
            paused_for_name: VecDeque::new(),
            rates,
            roomy: Vec::new(),
            seed,
            draining: false,
            expiries: Timers::new(),
            deadlines: Timers::new(),
            timed: 0,
            delayed: Agenda::new(),
            expiring: Agenda::new(),
            moved_up: Vec::new(),
            moved_orders: Vec::new(),
            buried: Vec::new(),
            revived: BTreeMap::new(),
            overflows: 0,
            dead,
            husks: 0,
            doomed: Vec::new(),
            ended_parts: Vec::new(),
            ended_stored: Vec::new(),
            depot_news: Vec::new(),
            forgotten: ServiceStats::default(),
            house_services: 0,
            talk: TalkStats::default(),
            jobs,
            keys,
            leases,
            fenced_workers: 0,
            depot: None,
        }
    }

    /// Whether the peer is not read now: its silence is our doing.
    #[must_use]
    pub(crate) fn is_paused(&self, peer: PeerId) -> bool {
        self.callers.get(peer).is_some_and(|caller| caller.paused.is_some())
    }

    /// Whether at least one worker offers the service.
    #[must_use]
    pub fn is_served(&self, name: &[u8]) -> bool {
        self.by_name
            .get(name)
            .is_some_and(|id| self.service(*id).is_some_and(|s| !s.workers.is_empty()))
    }

    /// A worker that is registered.
    #[must_use]
    pub fn worker(&self, id: WorkerId) -> Option<&Worker> {
        self.workers.get(id)
    }

    /// The name of the service that a worker offers.
    #[must_use]
    pub fn service_of(&self, id: WorkerId) -> Option<&ServiceName> {
        self.name_of(self.workers.get(id)?.service)
    }

    /// The name of a service.
    #[must_use]
    pub fn name_of(&self, id: ServiceId) -> Option<&ServiceName> {
        Some(&self.services.get(id)?.name)
    }

    /// The policy of a worker's service, and how long it has held its oldest request.
    #[must_use]
    pub fn holding(&self, id: WorkerId, now: Time) -> Option<(&ServicePolicy, Duration)> {
        let worker = self.workers.get(id)?;
        let service = self.services.get(worker.service)?;
        let oldest = worker.held.first().and_then(|request| self.requests.get(request));
        let held = oldest.map_or(Duration::ZERO, |request| now.since(request.delivered_at));
        Some((&service.policy, held))
    }

    /// Notes that the worker has just been sent something.
    pub fn note_sent(&mut self, now: Time, id: WorkerId) {
        if let Some(worker) = self.workers.get_mut(id) {
            worker.last_sent = now;
        }
    }

    /// Notes that a peer cannot be served any more.
    pub(crate) fn doom(&mut self, peer: PeerId, why: CloseReason) {
        self.doomed.push((peer, why));
    }

    /// Whether a peer cannot be served any more, and is still there.
    pub(crate) fn is_doomed(&self, peer: PeerId) -> bool {
        self.doomed.iter().any(|(doomed, _)| *doomed == peer)
    }

    /// Whether nothing is left over of what has happened that others have to be told of.
    #[inline]
    pub(crate) fn is_settled(&self) -> bool {
        self.doomed.is_empty()
            && self.ended_parts.is_empty()
            && self.moved_up.is_empty()
            && self.buried.is_empty()
            && self.leases.is_quiet()
            && !self.jobs.has_news()
    }

    /// Takes a peer that cannot be served any more, and why.
    pub fn pop_doomed(&mut self) -> Option<(PeerId, CloseReason)> {
        self.doomed.pop()
    }

    /// Takes a request that was a part of a job and has ended.
    pub(crate) fn pop_ended_part(&mut self) -> Option<(JobId, usize, Outcome)> {
        self.ended_parts.pop()
    }

    /// From now on no request is accepted.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// Whether nothing is left that could still be finished: no request is in flight, and those
    /// that wait have no worker, or their service is paused.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        let is_stuck = |s: &Service| s.workers.is_empty() || s.is_paused();
        let is_done = |s: &Service| s.in_flight == s.husks && (s.waiting() == 0 || is_stuck(s));
        let is_paused =
            |worker: &Worker| self.service(worker.service).is_none_or(Service::is_paused);
        let has_none = |worker: &Worker| worker.pinned.is_empty() || is_paused(worker);
        self.services.values().all(is_done) && self.workers.values().all(has_none)
    }

    /// Accepted requests that have not ended.
    #[must_use]
    pub fn open_requests(&self) -> usize {
        self.requests.len() - self.husks
    }

    /// Whether the broker takes no requests any more.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining
    }

    /// Requests that ended without an answer.
    #[must_use]
    pub fn dead(&self) -> &DeadLetters {
        &self.dead
    }

    /// What was asked under keys.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// When requests are to be looked at, whether they expire.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Time> {
        let requests = self.expiries.next().into_iter().chain(self.deadlines.next());
        let rated = self.rates.as_ref().and_then(rate::Rates::next);
        let tables = [self.jobs.next_due(), self.keys.next_due(), self.leases.next_due()];
        let held = [self.next_held(), self.dead.next_due()];
        requests.chain(rated).chain(tables.into_iter().chain(held).flatten()).min()
    }

    /// Services offered or asked for, those of the house not counted.
    #[must_use]
    pub fn services_len(&self) -> usize {
        self.services.len() - self.house_services
    }

    /// Workers registered.
    #[must_use]
    pub fn workers_len(&self) -> usize {
        self.workers.len()
    }

    /// What happened at services that have been forgotten.
    #[must_use]
    pub fn forgotten(&self) -> &ServiceStats {
        &self.forgotten
    }

    fn service(&self, id: ServiceId) -> Option<&Service> {
        self.services.get(id)
    }

    /// The service of that name, made if there is room for one more; or what to wait for.
    fn service_for<O: Output>(
        &mut self,
        now: Time,
        name: ServiceName,
        out: &mut O,
    ) -> Result<ServiceId, Pause> {
        if let Some(id) = self.by_name.get(name.as_bytes()) {
            return Ok(*id);
        }
        if self.services.len() >= self.settings.services_max {
            return Err(Pause::Name);
        }
        let policy = self.policy_for(name.as_bytes()).cloned();
        let Some(policy) = policy else { return Err(Pause::Broker) };
        // However short memory is: a worker is what makes room.
        out.take(Service::cost_of(&name));
        let service = Service::new(name.clone(), policy, now, self.hasher.clone());
        self.house_services += usize::from(service.house);
        let id = self.services.insert(service);
        self.by_name.insert(name, id);
        Ok(id)
    }

    /// Whether some caller is not read until memory is given back, which no input tells of.
    pub(crate) fn awaits_memory(&self) -> bool {
        !self.paused.is_empty()
    }

    /// How a service of that name is served, whether it is there or not.
    fn policy_for(&self, name: &[u8]) -> Option<&Arc<ServicePolicy>> {
        let rule = self.settings.rules.iter().position(|rule| rule.matches(name));
        self.policies.get(rule.unwrap_or(self.settings.rules.len()))
    }

    /// Whether NFP jobs for any worker of the service wait in its queue.
    pub(crate) fn queues_jobs(&self, name: &[u8]) -> bool {
        self.policy_for(name).is_some_and(|policy| policy.queue)
    }

    /// Forgets the service if nobody offers it and nobody waits for it.
    #[inline]
    fn forget_if_empty<O: Output>(&mut self, id: ServiceId, out: &mut O) {
        if self.services.get(id).is_some_and(Service::is_empty) {
            self.forget_service(id, out);
        }
    }

    fn forget_service<O: Output>(&mut self, id: ServiceId, out: &mut O) {
        let Some(service) = self.services.remove(id) else { return };
        self.house_services -= usize::from(service.house);
        self.by_name.remove(&service.name);
        out.release(Service::cost_of(&service.name));
        self.release_founder(service.founder);
        self.forgotten.add(&service.stats);
        self.resume(service.paused, out);
        self.resume_paused(out);
    }

    /// Reads these callers again.
    fn resume<O: Output>(&mut self, callers: BTreeSet<PeerId>, out: &mut O) {
        for peer in callers {
            if let Some(caller) = self.callers.get_mut(peer) {
                caller.paused = None;
                out.resume(peer);
            }
        }
    }

    /// Reads the callers again that were paused because the broker was full, if it is not: all
    /// who wait for memory, and of those who wait for a name as many as there can be new ones.
    #[inline]
    pub(crate) fn resume_paused<O: Output>(&mut self, out: &mut O) {
        if !(self.draining || self.paused.is_empty() && self.paused_for_name.is_empty()) {
            self.resume_some(out);
        }
    }

    fn resume_some<O: Output>(&mut self, out: &mut O) {
        if !self.paused.is_empty() && out.has_room() {
            let paused = std::mem::take(&mut self.paused);
            self.resume(paused, out);
        }
        let room = self.settings.services_max.saturating_sub(self.services.len());
        for _ in 0..room.min(self.paused_for_name.len()) {
            let paused = self.paused_for_name.pop_front();
            self.resume(paused.into_iter().collect(), out);
        }
    }
}
