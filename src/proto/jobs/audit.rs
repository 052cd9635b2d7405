//! The invariants of the table of jobs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use hashbrown::HashMap;

use crate::proto::router::{Hasher, WorkerId};

use super::{Job, JobId, Jobs};

impl Jobs {
    /// Memory of all jobs, octets.
    pub(crate) fn charged(&self) -> usize {
        self.jobs.values().map(|job| job.cost).sum::<usize>() + self.freed
    }

    /// Open parts of a worker that it was given directly.
    pub(crate) fn parts_of(&self, worker: WorkerId) -> usize {
        let parts = self.by_worker.get(&worker).into_iter().flatten();
        let target = |(id, index): (&JobId, &usize)| self.jobs.get(*id)?.targets.get(*index);
        parts.filter_map(target).filter(|target| target.direct).count()
    }

    /// Checks that the indices say what the jobs say.
    pub(crate) fn audit(&self) -> Result<(), String> {
        let max = self.limits.jobs_max;
        if self.jobs.len() > max {
            return Err(format!("{} jobs of {max}", self.jobs.len()));
        }
        if self.by_uuid.len() != self.jobs.len() {
            return Err("jobs and their names differ in number".into());
        }
        let ended = self.jobs.values().filter(|job| job.ended_at.is_some());
        let bytes: usize = ended.map(|job| job.cost).sum();
        if bytes != self.ended_bytes {
            return Err(format!("ended jobs take {bytes} octets, {} counted", self.ended_bytes));
        }
        let unended = || self.jobs.values().filter(|job| job.ended_at.is_none());
        if unended().count() != self.open {
            return Err(format!("{} jobs are open, {} counted", unended().count(), self.open));
        }
        audit_shares(&self.open_by_owner, unended().map(|job| &job.owner))?;
        audit_shares(&self.open_by_principal, unended().map(|job| &job.principal))?;
        let mut open = 0;
        for (id, job) in &self.jobs {
            if self.by_uuid.get(&job.uuid) != Some(&id) {
                return Err(format!("{id:?} is not found by its name"));
            }
            let results = job.targets.iter().filter_map(|target| target.result.as_ref());
            let kept: usize = results.map(|result| result.len()).sum();
            let cost = Job::cost_of(&job.uuid, job.targets.len()) + kept;
            if cost != job.cost {
                return Err(format!("{id:?} takes {cost} octets, {} are charged", job.cost));
            }
            let known: BTreeSet<_> = job.targets.iter().filter_map(|it| it.worker).collect();
            let indirect = job.targets.iter().enumerate().filter(|(_, target)| !target.direct);
            let last: BTreeMap<_, _> = indirect.map(|(at, it)| (it.name.clone(), at)).collect();
            if known != job.workers || last != job.stand_ins {
                return Err(format!("{id:?}: the indices of its targets are wrong"));
            }
            let queued = job.targets.iter().any(|target| target.worker.is_none());
            if queued && job.targets.len() > 1 {
                return Err(format!("{id:?} waits in a queue, and is others' too"));
            }
            let parts = job.targets.iter().enumerate();
            let left: Vec<_> = parts.filter(|(_, target)| !target.progress.is_end()).collect();
            if left.len() != job.open || (job.open == 0) != job.ended_at.is_some() {
                return Err(format!("{id:?}: {} open, {} counted", left.len(), job.open));
            }
            for (index, target) in left {
                let Some(worker) = target.worker else { continue };
                if self.part_of(worker, id) != Some(index) {
                    return Err(format!("{id:?}: part {index} is not found by its worker"));
                }
                open += 1;
            }
        }
        let listed: usize = self.by_worker.values().map(BTreeMap::len).sum();
        if open != listed {
            return Err(format!("{open} parts are open, {listed} listed"));
        }
        Ok(())
    }
}

/// Checks how many open jobs each one is told to have, by whose they are.
fn audit_shares<'a, K: Ord + Debug + 'a>(
    told: &HashMap<K, usize, Hasher>,
    open: impl Iterator<Item = &'a K>,
) -> Result<(), String> {
    let mut counted = BTreeMap::<_, usize>::new();
    for whose in open {
        *counted.entry(whose).or_default() += 1;
    }
    let told: BTreeMap<_, _> = told.iter().map(|(whose, open)| (whose, *open)).collect();
    if told != counted {
        return Err(format!("{counted:?} are open, {told:?} told"));
    }
    Ok(())
}
