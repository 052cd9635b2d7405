//! A job, and the parts of it.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{Identity, PeerId, Principal, RequestId, ServiceName, beginning};
use crate::proto::clock::Time;
use crate::proto::router::WorkerId;

use super::Progress;

/// One worker's part of a job.
#[derive(Debug)]
pub struct Target {
    /// The registration that was asked; none: whichever takes it from the queue.
    pub worker: Option<WorkerId>,
    /// The name of the worker.
    pub name: Identity,
    /// How far it is.
    pub progress: Progress,
    /// It was sent the job directly, and takes it as work.
    pub direct: bool,
    /// The request that stands for it, if there is one.
    pub child: Option<RequestId>,
    /// Its answer, kept until the job is forgotten, where the worker does not keep it.
    pub result: Option<Box<[u8]>>,
}

/// A job.
#[derive(Debug)]
pub struct Job {
    /// Its name: the client's choice.
    pub uuid: Box<[u8]>,
    /// The name of the client.
    pub owner: Identity,
    /// On whose behalf that one spoke: nobody else of its name is its owner.
    pub principal: Principal,
    /// The service asked.
    pub service: ServiceName,
    /// What is to be done, as far as it was said; shortened.
    pub task: Box<str>,
    /// Whom it was given to.
    pub targets: Vec<Target>,
    /// When it came.
    pub created_at: Time,
    /// When the last target ended.
    pub ended_at: Option<Time>,
    /// The MJP caller that waits for all of it, and what that calls it.
    pub scatter: Option<(PeerId, u64)>,
    /// The workers among the targets.
    pub(super) workers: BTreeSet<WorkerId>,
    /// The last target of each name that was not sent the job directly.
    pub(super) stand_ins: BTreeMap<Identity, usize>,
    /// Memory charged for it, octets.
    pub(super) cost: usize,
    /// Targets that have not ended.
    pub(super) open: usize,
    /// The deadline that counts: of the job while it is open, of its memory afterwards.
    pub(super) due: Option<Time>,
}

impl Job {
    /// Longest text kept of a task, octets.
    pub const TASK_MAX: usize = 128;

    /// A job of nobody yet.
    #[must_use]
    pub fn new(uuid: &[u8], owner: Identity, service: ServiceName, task: &str, now: Time) -> Self {
        Self {
            uuid: uuid.into(),
            owner,
            principal: Principal::default(),
            service,
            task: beginning(task, Self::TASK_MAX).into(),
            targets: Vec::new(),
            created_at: now,
            ended_at: None,
            scatter: None,
            workers: BTreeSet::new(),
            stand_ins: BTreeMap::new(),
            cost: 0,
            open: 0,
            due: None,
        }
    }

    /// Memory that a job of so many targets takes, octets.
    #[must_use]
    pub fn cost_of(uuid: &[u8], targets: usize) -> usize {
        // The uuid stands in the index too.
        size_of::<Self>() + Self::TASK_MAX + 2 * uuid.len() + targets * Self::TARGET
    }

    /// Memory that one more target takes, octets: its name, and its places in the indices.
    pub const TARGET: usize = 2 * size_of::<(Target, WorkerId, Identity, usize)>();

    /// Whether it was given to the queue of its service, and to no worker by name.
    #[must_use]
    pub fn is_queued(&self) -> bool {
        // Such a job has one target.
        self.targets.first().is_some_and(|target| target.worker.is_none())
    }

    /// The target of that name that was not sent the job directly; if there are more than one, the
    /// last.
    #[must_use]
    pub fn stand_in(&self, name: &[u8]) -> Option<&Target> {
        self.targets.get(*self.stand_ins.get(name)?)
    }

    /// All of them, each name once.
    pub fn stand_ins(&self) -> impl Iterator<Item = &Target> {
        self.stand_ins.values().filter_map(|index| self.targets.get(*index))
    }

    /// Where all its targets stand together: the least advanced that has not ended, or the worst
    /// end.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let all = || self.targets.iter().map(|target| target.progress);
        let open = all().filter(|progress| !progress.is_end()).min();
        open.or_else(|| all().max()).unwrap_or(Progress::Failed)
    }
}
