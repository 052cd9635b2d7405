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
    /// Those of them that have been answered, in the order of their answers. What was forgotten to
    /// make room for others stays until it is the first.
    pub(super) ended: VecDeque<KeyId>,
}

impl Keys {
    /// Keys that one principal may have.
    pub(super) fn share_max(&self) -> usize {
        self.limits.keys_per_principal_max.unwrap_or(self.limits.keys_max / 4).max(1)
    }

    /// Whether the principal may have one more key, if its oldest answer is forgotten for it.
    pub(super) fn has_share(&self, principal: &Principal) -> bool {
        self.shares.get(principal).is_none_or(|share| {
            let is_there = |id: &KeyId| self.entries.contains_key(*id);
            share.keys < self.share_max() || share.ended.iter().any(is_there)
        })
    }

    /// Makes room for what the principal began last: its own oldest answers go.
    pub(super) fn trim_share(&mut self, principal: &Principal) {
        let most = self.share_max();
        while let Some(share) = self.shares.get_mut(principal)
            && share.keys > most
            && let Some(id) = share.ended.pop_front()
        {
            if self.forget(id) {
                self.stats.evicted += 1;
            }
        }
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
    pub(super) fn leave_share(&mut self, principal: &Principal, stage: &Stage, id: KeyId) {
        let Some(share) = self.shares.get_mut(principal) else { return };
        share.keys -= 1;
        // Answers are forgotten in the order in which they were given.
        if matches!(stage, Stage::Done(_)) && share.ended.front() == Some(&id) {
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
            demand!(count <= most, "{principal} has {count} keys, it may have {most}");
            let done = own().filter(|(_, entry)| matches!(entry.stage, Stage::Done(_)));
            let done: Vec<_> = done.map(|(id, _)| id).collect();
            let listed = share.ended.iter().filter(|id| self.entries.contains_key(**id)).count();
            demand!(listed == done.len(), "{listed} answers of {principal}, not {}", done.len());
            demand!(share.ended.len() == listed, "{principal} has what was forgotten");
        }
        let all: usize = self.shares.values().map(|share| share.keys).sum();
        demand!(all == self.entries.len(), "{all} keys of principals, {}", self.entries.len());
        Ok(())
    }
}
