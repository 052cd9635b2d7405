//! The invariants of the table.

use std::collections::BTreeSet;

use crate::id::RequestId;
use crate::proto::clock::Time;
use crate::proto::router::audit::demand;

use super::entry::Stage;
use super::{KeyId, Keys, Waiter};

impl Keys {
    /// # Errors
    /// The first invariant that does not hold, in words.
    pub(crate) fn audit(&self) -> Result<(), String> {
        let (count, max) = (self.entries.len(), self.limits.keys_max);
        demand!(count <= max, "{count} keys are known, {max} may");
        demand!(count == self.by_scope.len(), "{count} keys, {} found", self.by_scope.len());
        let (mut done, mut bytes, mut waiting) = (0, 0, 0);
        let mut believed = Vec::new();
        for (id, entry) in &self.entries {
            demand!(self.by_scope.get(&entry.scope) == Some(&id), "{id:?} is not found");
            match &entry.stage {
                Stage::Running { waiters, gone, .. } => {
                    waiting += waiters.len();
                    let most = self.limits.callers_max;
                    demand!(waiters.len() <= most.max(1), "{} wait for {id:?}", waiters.len());
                    let until = waiters.iter().map(Waiter::until).chain(*gone);
                    believed.extend(until.filter(|at| *at < Time::MAX).map(|at| (at, id)));
                }
                Stage::Done(kept) => (done, bytes) = (done + 1, bytes + kept.answer.bytes()),
            }
        }
        demand!(done == self.done, "{} answers are counted, {done} are kept", self.done);
        demand!(bytes == self.bytes, "{} octets are counted, {bytes} are kept", self.bytes);
        demand!(bytes <= self.limits.bytes_max, "{bytes} octets of answers are kept");
        demand!(waiting == self.waiting, "{} callers are counted, {waiting} wait", self.waiting);
        let there: Vec<_> = self.ended.iter().filter(|id| self.answer(**id).is_some()).collect();
        let once: BTreeSet<_> = there.iter().collect();
        let counts = there.len() == done && once.len() == done;
        demand!(counts, "{} answers in line, {done} are kept", there.len());
        let most = 1 + Self::STALE_KEPT + 2 * count;
        demand!(self.ended.len() <= most, "{} in line, {most} may", self.ended.len());
        let first = self.ended.front().is_none_or(|id| self.entries.contains_key(*id));
        demand!(first, "the first in line is forgotten");
        self.audit_shares()?;
        let missing = self.due.missing(believed);
        demand!(missing.is_none(), "{missing:?} is not among the timers");
        demand!(self.freed == 0, "{} octets are not given back", self.freed);
        Ok(())
    }

    /// Memory charged for the table, octets. What counts as the request's own is not in it.
    pub(crate) fn charged(&self) -> usize {
        let more = self.all_waiters().filter(|(_, waiter)| !waiter.owner).count();
        self.entries.len() * Self::ENTRY + self.bytes + more * Waiter::COST
    }

    /// Everybody who waits, and for which request.
    pub(crate) fn all_waiters(&self) -> impl Iterator<Item = (RequestId, &Waiter)> {
        self.entries.values().flat_map(|entry| {
            let (request, waiters) = match &entry.stage {
                Stage::Running { request, waiters, .. } => (*request, waiters.as_slice()),
                Stage::Done(_) => (RequestId::default(), &[][..]),
            };
            waiters.iter().map(move |waiter| (request, waiter))
        })
    }

    /// The requests under way.
    pub(crate) fn requests(&self) -> BTreeSet<(KeyId, RequestId)> {
        let running = self.entries.iter().filter_map(|(id, entry)| match &entry.stage {
            Stage::Running { request, .. } => Some((id, *request)),
            Stage::Done(_) => None,
        });
        running.collect()
    }
}
