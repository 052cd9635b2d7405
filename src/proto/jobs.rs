//! Jobs: something asked of a fixed set of workers, and how each of them is about it.
//!
//! An NFP job is named by a uuid that its client chose, and is worked at outside the queues: the
//! table only remembers whose it is and how far it has come, for people and for the next command
//! about it. The table is bounded, and what has ended is kept for some time.

#[cfg(any(test, feature = "fuzzing"))]
mod audit;
mod job;
mod news;
mod progress;

use std::collections::{BTreeMap, VecDeque};
use std::hash::Hash;
use std::time::Duration;

use hashbrown::HashMap;
use slotmap::SlotMap;

use crate::id::{Identity, PeerId, Principal, RequestId};

use super::clock::Time;
use super::output::Output;
use super::router::{Hasher, WorkerId};
use super::timers::Timers;

pub use job::{Job, Target};
pub use progress::Progress;

slotmap::new_key_type! {
    /// A job.
    pub struct JobId;
}

/// How far a job may grow, and how long it is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobLimits {
    /// Jobs remembered, open and ended ones.
    pub jobs_max: usize,
    /// Open jobs of one principal, whatever its clients are called.
    pub open_per_client_max: usize,
    /// Workers of one job, each registration counted.
    pub targets_max: usize,
    /// How long a job is remembered after its end.
    pub kept: Duration,
    /// Memory of the jobs that have ended, octets; the last one may have more.
    pub ended_bytes_max: usize,
}

impl Default for JobLimits {
    fn default() -> Self {
        Self {
            jobs_max: 100_000,
            open_per_client_max: 10_000,
            targets_max: 16_384,
            kept: Duration::from_secs(10 * 60),
            ended_bytes_max: 64 << 20,
        }
    }
}

/// What an end means for the tables around.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Whose part has ended, if it was anybody's.
    pub worker: Option<WorkerId>,
    /// It had the job directly.
    pub direct: bool,
    /// The request that stood for it.
    pub child: Option<RequestId>,
}

/// All jobs.
#[derive(Debug)]
pub struct Jobs {
    limits: JobLimits,
    jobs: SlotMap<JobId, Job>,
    by_uuid: HashMap<Box<[u8]>, JobId, Hasher>,
    open_by_owner: HashMap<Identity, usize, Hasher>,
    open_by_principal: HashMap<Principal, usize, Hasher>,
    /// The open parts of each worker, of which it has one of a job at most.
    by_worker: HashMap<WorkerId, BTreeMap<JobId, usize>, Hasher>,
    due: Timers<JobId>,
    /// Ended jobs in the order of their ends; some are forgotten already.
    ended: VecDeque<JobId>,
    /// Memory of the ended jobs, octets.
    ended_bytes: usize,
    /// How many of the open jobs are scatters.
    open_scatters: usize,
    /// Memory of jobs that were forgotten, to be given back.
    freed: usize,
    open: usize,
    /// Jobs that have begun or ended, while somebody wants to know.
    news: Option<Vec<(JobId, bool)>>,
    /// Jobs ended so far, by how, in the order of [`Progress::ENDS`].
    ended_with: [u64; Progress::ENDS.len()],
}

impl Jobs {
    /// No jobs.
    #[must_use]
    pub(super) fn new(limits: JobLimits, hasher: &Hasher) -> Self {
        Self {
            limits,
            jobs: SlotMap::with_key(),
            by_uuid: HashMap::with_hasher(hasher.clone()),
            open_by_owner: HashMap::with_hasher(hasher.clone()),
            open_by_principal: HashMap::with_hasher(hasher.clone()),
            by_worker: HashMap::with_hasher(hasher.clone()),
            due: Timers::new(),
            ended: VecDeque::new(),
            ended_bytes: 0,
            open_scatters: 0,
            freed: 0,
            open: 0,
            news: None,
            ended_with: [0; Progress::ENDS.len()],
        }
    }

    /// Whether `principal` may have one more open job: a job outlives the connection of its client,
    /// and the name. The oldest ended job makes room for it.
    pub fn has_room(&mut self, principal: &Principal) -> bool {
        let open = self.open_by_principal.get(principal).copied().unwrap_or_default();
        while self.jobs.len() >= self.limits.jobs_max {
            if !self.evict() {
                return false;
            }
        }
        open < self.limits.open_per_client_max
    }

    /// Forgets the oldest ended job. False: there is none.
    pub fn evict(&mut self) -> bool {
        while let Some(oldest) = self.ended.pop_front() {
            if self.jobs.contains_key(oldest) {
                self.forget(oldest);
                return true;
            }
        }
        false
    }

    /// Adds a job that has no targets yet. One of the same name is forgotten.
    pub fn insert(&mut self, job: Job, due: Option<Time>) -> JobId {
        if let Some(old) = self.by_uuid.get(&job.uuid) {
            self.forget(*old);
        }
        let (uuid, owner, principal) = (job.uuid.clone(), job.owner.clone(), job.principal);
        self.open_scatters += usize::from(job.scatter.is_some());
        let id = self.jobs.insert(job);
        self.open += 1;
        self.by_uuid.insert(uuid, id);
        *self.open_by_owner.entry(owner).or_default() += 1;
        *self.open_by_principal.entry(principal).or_default() += 1;
        self.arm(id, due);
        self.note(id, false);
        id
    }

    /// Those of `workers` that have no part of a job yet, not even one that has ended.
    #[must_use]
    pub fn newcomers(&self, id: JobId, workers: &[WorkerId]) -> Vec<WorkerId> {
        let job = self.jobs.get(id);
        let is_known = |worker: &WorkerId| job.is_some_and(|job| job.workers.contains(worker));
        workers.iter().copied().filter(|worker| !is_known(worker)).collect()
    }

    /// Whether a job that is open, or a new one, may have so many more targets.
    #[must_use]
    pub fn takes(&self, id: Option<JobId>, more: usize) -> bool {
        let known = id.and_then(|id| self.jobs.get(id)).map_or(0, |job| job.targets.len());
        known + more <= self.limits.targets_max
    }

    /// Gives a worker that has none, or the queue, a part of an open job. Returns which one that is.
    pub fn add_target(
        &mut self,
        id: JobId,
        worker: Option<WorkerId>,
        name: Identity,
        direct: bool,
    ) -> Option<usize> {
        let job = self.jobs.get_mut(id).filter(|job| job.ended_at.is_none())?;
        let index = job.targets.len();
        let (progress, child, result) = (Progress::Dispatched, None, None);
        job.workers.extend(worker);
        if !direct {
            job.stand_ins.insert(name.clone(), index);
        }
        job.targets.push(Target { worker, name, progress, direct, child, result });
        job.open += 1;
        if let Some(worker) = worker {
            self.by_worker.entry(worker).or_default().insert(id, index);
        }
        Some(index)
    }

    /// Notes memory that was charged for a job: it is given back when the job is forgotten.
    pub fn charge(&mut self, id: JobId, cost: usize) {
        if let Some(job) = self.jobs.get_mut(id) {
            job.cost += cost;
            self.ended_bytes += if job.ended_at.is_some() { cost } else { 0 };
        }
    }

    /// A job.
    #[must_use]
    pub fn get(&self, id: JobId) -> Option<&Job> {
        self.jobs.get(id)
    }

    /// One worker's part of a job.
    pub fn target_mut(&mut self, id: JobId, index: usize) -> Option<&mut Target> {
        self.jobs.get_mut(id)?.targets.get_mut(index)
    }

    /// Keeps a worker's result for the client, if there is memory for it. One that is there already
    /// was too big together, and is replaced by what is said of that.
    pub fn keep_result<O: Output>(&mut self, id: JobId, part: usize, result: Vec<u8>, out: &mut O) {
        let Some(target) = self.target_mut(id, part) else { return };
        let (before, after) = (target.result.take().map_or(0, |it| it.len()), result.len());
        let fits = out.charge(after);
        if fits {
            target.result = Some(result.into());
        }
        self.charge(id, if fits { after } else { 0 });
        if let Some(job) = self.jobs.get_mut(id) {
            job.cost -= before;
            self.ended_bytes -= if job.ended_at.is_some() { before } else { 0 };
        }
        out.release(before);
    }

    /// The job of that name.
    #[must_use]
    pub fn named(&self, uuid: &[u8]) -> Option<(JobId, &Job)> {
        let id = *self.by_uuid.get(uuid)?;
        Some((id, self.jobs.get(id)?))
    }

    /// A worker's open part of a job.
    #[must_use]
    pub fn part_of(&self, worker: WorkerId, id: JobId) -> Option<usize> {
        self.by_worker.get(&worker)?.get(&id).copied()
    }

    /// Notes how far a worker is; returns what that ends.
    pub fn advance(
        &mut self,
        now: Time,
        id: JobId,
        index: usize,
        progress: Progress,
    ) -> Option<Ended> {
        let job = self.jobs.get_mut(id)?;
        let target = job.targets.get_mut(index)?;
        if target.progress.is_end() {
            return None;
        }
        target.progress = progress;
        if !progress.is_end() {
            return None;
        }
        let (worker, direct) = (target.worker, target.direct);
        let ended = Ended { worker, direct, child: target.child.take() };
        job.open -= 1;
        let all = job.open == 0;
        if let Some(worker) = worker {
            self.take_from(worker, id);
        }
        if all {
            self.end(now, id);
        }
        Some(ended)
    }

    /// The requests that stand for open parts of a job.
    #[must_use]
    pub fn children_of(&self, id: JobId) -> Vec<RequestId> {
        let targets = self.jobs.get(id).into_iter().flat_map(|job| &job.targets);
        targets.filter_map(|target| target.child).collect()
    }

    /// Takes the caller that waits for a scatter, if all of that has ended.
    pub fn take_ended_scatter(&mut self, id: JobId) -> Option<(PeerId, u64)> {
        let scatter = self.jobs.get_mut(id).filter(|job| job.ended_at.is_some())?.scatter.take();
        self.open_scatters -= usize::from(scatter.is_some());
        scatter
    }

    /// Ends whatever of a job is open.
    pub fn end_all(&mut self, now: Time, id: JobId, progress: Progress) -> Vec<Ended> {
        let targets = self.jobs.get(id).map_or(0, |job| job.targets.len());
        (0..targets).filter_map(|index| self.advance(now, id, index, progress)).collect()
    }

    /// A worker is lost with whatever parts it had. Where a request stands for a part, the end of
    /// that is the end of the part.
    pub fn lose_worker(&mut self, now: Time, worker: WorkerId) {
        for (id, index) in self.by_worker.get(&worker).cloned().unwrap_or_default() {
            if self.target_mut(id, index).is_some_and(|target| target.child.is_none()) {
                self.advance(now, id, index, Progress::Lost);
            }
        }
    }

    /// The next job whose time is over, with what that ends; ended ones are forgotten.
    pub fn pop_due(&mut self, now: Time) -> Option<Vec<Ended>> {
        let (at, id) = self.due.pop_due(now)?;
        match self.jobs.get(id) {
            Some(job) if job.due != Some(at) => Some(Vec::new()),
            Some(job) if job.ended_at.is_none() => Some(self.end_all(now, id, Progress::TimedOut)),
            Some(_) => {
                self.forget(id);
                Some(Vec::new())
            }
            None => Some(Vec::new()),
        }
    }

    /// When [`Self::pop_due`] has something.
    #[must_use]
    pub fn next_due(&self) -> Option<Time> {
        self.due.next()
    }

    /// Memory of the jobs that have ended, octets: what [`Self::evict`] can give back.
    #[must_use]
    pub fn ended_bytes(&self) -> usize {
        self.ended_bytes
    }

    /// Memory of what was forgotten since the last call, octets.
    pub fn take_freed(&mut self) -> usize {
        std::mem::take(&mut self.freed)
    }

    /// Whether somebody waits for a scatter.
    #[must_use]
    pub fn has_scatters(&self) -> bool {
        self.open_scatters > 0
    }

    /// Jobs that have not ended.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open
    }

    /// The same of the clients of that name.
    #[must_use]
    pub fn open_of(&self, owner: &Identity) -> usize {
        self.open_by_owner.get(owner).copied().unwrap_or_default()
    }

    /// Jobs that ended so far, by how: as the worst of their targets.
    pub fn ended(&self) -> impl Iterator<Item = (Progress, u64)> {
        Progress::ENDS.into_iter().zip(self.ended_with)
    }

    /// Jobs remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// The jobs from the slot `from` on, each with its slot.
    pub fn from(&self, from: u32) -> impl Iterator<Item = (u32, &Job)> {
        let rest = self.jobs.iter().skip_while(move |(id, _)| crate::id::slot_of(*id) < from);
        rest.map(|(id, job)| (crate::id::slot_of(id), job))
    }

    fn end(&mut self, now: Time, id: JobId) {
        /// So many forgotten jobs are left among the ended ones, and as many as others.
        const FORGOTTEN_KEPT: usize = 1024;
        let Some(job) = self.jobs.get_mut(id) else { return };
        job.ended_at = Some(now);
        let (ended, owner, principal) = (job.progress(), job.owner.clone(), job.principal);
        self.ended_bytes += job.cost;
        self.close(&owner, &principal);
        self.note(id, true);
        let ends = Progress::ENDS.iter().zip(&mut self.ended_with);
        for (_, count) in ends.filter(|(end, _)| **end == ended) {
            *count += 1;
        }
        let kept_until = now.after(self.limits.kept);
        self.arm(id, Some(kept_until));
        while self.ended_bytes > self.limits.ended_bytes_max && self.evict() {}
        self.ended.push_back(id);
        let Self { ended, due, jobs, .. } = self;
        if ended.len() > FORGOTTEN_KEPT + 2 * jobs.len() {
            ended.retain(|id| jobs.contains_key(*id));
        }
        if due.len() > FORGOTTEN_KEPT + 2 * jobs.len() {
            due.sweep(|at, id| jobs.get(id).is_some_and(|job| job.due == Some(at)));
        }
    }

    /// A client, and whoever it is, has one open job less.
    fn close(&mut self, owner: &Identity, principal: &Principal) {
        fn take_one<K: Eq + Hash>(open: &mut HashMap<K, usize, Hasher>, whose: &K) {
            if let Some(count) = open.get_mut(whose) {
                *count -= 1;
                if *count == 0 {
                    open.remove(whose);
                }
            }
        }
        self.open -= 1;
        take_one(&mut self.open_by_owner, owner);
        take_one(&mut self.open_by_principal, principal);
    }

    fn arm(&mut self, id: JobId, at: Option<Time>) {
        if let Some(job) = self.jobs.get_mut(id) {
            job.due = at;
            if let Some(at) = at {
                self.due.arm(at, id);
            }
        }
    }

    /// Notes that a worker has no open part of the job any more.
    fn take_from(&mut self, worker: WorkerId, id: JobId) {
        if let Some(parts) = self.by_worker.get_mut(&worker) {
            parts.remove(&id);
            if parts.is_empty() {
                self.by_worker.remove(&worker);
            }
        }
    }

    fn forget(&mut self, id: JobId) {
        let Some(job) = self.jobs.remove(id) else { return };
        self.freed += job.cost;
        self.open_scatters -= usize::from(job.scatter.is_some());
        self.by_uuid.remove(&job.uuid);
        for target in job.targets.iter().filter(|target| !target.progress.is_end()) {
            if let Some(worker) = target.worker {
                self.take_from(worker, id);
            }
        }
        if job.ended_at.is_some() {
            self.ended_bytes -= job.cost;
        } else {
            self.close(&job.owner, &job.principal);
        }
    }
}
