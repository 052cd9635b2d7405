//! How many keys each principal has, so that nobody has the answers of others forgotten.

use std::collections::VecDeque;

use crate::id::Principal;

use super::entry::Stage;
use super::{KeyId, Keys};

/// What one principal has of the table.
#[derive(Debug, Default)]
pub(super) struct Share {
    /// Its keys.
    pub(super) keys: usize,
    /// Those of them that have been answered, in the order of their answers: in which they are
    /// forgotten, too.
    pub(super) ended: VecDeque<KeyId>,
}

impl Share {
    fn running(&self) -> usize {
        self.keys - self.ended.len()
    }
}

impl Keys {
    /// Keys of running requests that one principal may have, and of all if the table is full.
    fn share_max(&self) -> usize {
        self.limits.keys_per_principal_max.unwrap_or(self.limits.keys_max / 4).max(1)
    }

    /// Whether one more request of the principal may run.
    pub(super) fn has_share(&self, principal: &Principal) -> bool {
        let share = self.shares.get(principal);
        share.is_none_or(|share| share.running() < self.share_max())
    }

    /// Forgets the oldest answer to a principal that has more than its share. False: it has not.
    pub(super) fn evict_of(&mut self, principal: &Principal) -> bool {
        let most = self.share_max();
        let share = self.shares.get(principal).filter(|share| share.keys > most);
        let Some(oldest) = share.and_then(|share| share.ended.front().copied()) else {
            return false;
        };
        self.stats.evicted += 1;
        self.forget(oldest)
    }

    /// A key has been answered.
    pub(super) fn note_end(&mut self, id: KeyId) {
        let principal = self.entries.get(id).map(|entry| entry.principal);
        if let Some(share) = principal.and_then(|principal| self.shares.get_mut(&principal)) {
            share.ended.push_back(id);
        }
        self.ended.push_back(id);
        if self.ended.len() > Self::STALE_KEPT + 2 * self.done {
            let Self { entries, ended, .. } = self;
            ended.retain(|id| entries.contains_key(*id));
        }
    }

    /// A key of the principal is forgotten.
    pub(super) fn leave_share(&mut self, principal: &Principal, stage: &Stage) {
        let Some(share) = self.shares.get_mut(principal) else { return };
        share.keys -= 1;
        if let Stage::Done(_) = stage {
            share.ended.pop_front();
        }
        if share.keys == 0 {
            self.shares.remove(principal);
        }
    }

    /// # Errors
    /// The first invariant that does not hold, in words.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn audit_shares(&self) -> Result<(), String> {
        use crate::proto::router::audit::demand;
        for (principal, share) in &self.shares {
            let own = || self.entries.iter().filter(|(_, it)| it.principal == *principal);
            let (count, most) = (own().count(), self.share_max());
            demand!(count == share.keys, "{principal} has {count} keys, not {}", share.keys);
            let done = own().filter(|(_, entry)| matches!(entry.stage, Stage::Done(_))).count();
            let there = |id: &KeyId| {
                let entry = self.entries.get(*id).filter(|entry| entry.principal == *principal);
                entry.is_some_and(|entry| matches!(entry.stage, Stage::Done(_)))
            };
            let whole = done == share.ended.len() && share.ended.iter().all(there);
            demand!(whole, "{principal} has {done} answers, not {:?}", share.ended);
            demand!(share.running() <= most, "{principal} has {share:?} running, {most} may");
        }
        let all: usize = self.shares.values().map(|share| share.keys).sum();
        demand!(all == self.entries.len(), "{all} keys of principals, {}", self.entries.len());
        Ok(())
    }
}
