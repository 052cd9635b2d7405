//! Who looks at a group and is no member of it: told how it is, and all that changes from then on.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use super::table::{Groups, Refused};
use crate::id::PeerId;
use crate::proto::clock::Time;

/// An observation: whose connection it is, and what the peer calls it.
type EyeId = (PeerId, u64);

/// All observations.
#[derive(Debug, Default)]
pub(super) struct Eyes {
    pub(super) eyes: BTreeMap<EyeId, Eye>,
    pub(super) by_group: BTreeMap<Arc<str>, BTreeSet<EyeId>>,
    /// Those that have missed something, and are to be told anew how things are.
    pub(super) late: BTreeSet<EyeId>,
    /// The one of them that had its turn last.
    last: EyeId,
    /// When the next ones have theirs.
    pub(super) again: Option<Time>,
}

#[derive(Debug)]
pub(super) struct Eye {
    pub(super) group: Arc<str>,
    /// So much found no room since it was last told how things are.
    missed: u64,
    pub(super) cost: usize,
}

impl Groups {
    /// When an observer for which there was no room is told how things are.
    const LATER: Duration = Duration::from_millis(100);
    /// So many of them have a turn at a time.
    const LATE_MAX: usize = 100;

    /// Memory that one more observation takes, octets.
    ///
    /// # Errors
    /// It may not begin.
    pub fn check_observe(&self, peer: PeerId, id: u64, group: &str) -> Result<usize, Refused> {
        /// Of entries in trees whose nodes are half full.
        const EYE: usize = 2 * size_of::<(Eye, [EyeId; 3], Arc<str>, BTreeSet<EyeId>)>();
        if self.has_id(peer, id) {
            return Err(Refused::DuplicateId);
        }
        if self.count_of(peer) >= self.limits.per_peer_max {
            return Err(Refused::TooMany("group.per_peer"));
        }
        let others = self.eyes.by_group.get(group).map_or(0, BTreeSet::len);
        if others >= self.limits.observers_max {
            return Err(Refused::TooMany("group.observers"));
        }
        Ok(EYE + 2 * group.len())
    }

    /// An observation begins; [`Self::check_observe`] has allowed it, and what it said was charged.
    pub fn observe(&mut self, peer: PeerId, id: u64, group: &str, cost: usize) {
        self.charged += cost;
        let known = self.eyes.by_group.get_key_value(group).map(|(name, _)| name.clone());
        let group = known.unwrap_or_else(|| group.into());
        self.eyes.by_group.entry(group.clone()).or_default().insert((peer, id));
        self.eyes.eyes.insert((peer, id), Eye { group, missed: 0, cost });
    }

    /// The peer looks no more. False: it has no observation of that id.
    pub fn unobserve(&mut self, peer: PeerId, id: u64) -> bool {
        let Some(eye) = self.eyes.eyes.remove(&(peer, id)) else { return false };
        self.eyes.late.remove(&(peer, id));
        if let Some(others) = self.eyes.by_group.get_mut(&eye.group) {
            others.remove(&(peer, id));
            if others.is_empty() {
                self.eyes.by_group.remove(&eye.group);
            }
        }
        self.freed += eye.cost;
        true
    }

    /// What the peer looks at, and by which ids.
    pub fn observed_by(&self, peer: PeerId) -> impl Iterator<Item = (u64, &str)> {
        let own = self.eyes.eyes.range((peer, 0)..=(peer, u64::MAX));
        own.map(|((_, id), eye)| (*id, &*eye.group))
    }

    /// Observations of all groups.
    #[must_use]
    pub fn observing(&self) -> usize {
        self.eyes.eyes.len()
    }

    /// Something has happened in a group: `say` tells one observer, and says whether there was room.
    /// Who has missed something is told no more of what changes before it knows anew how things are.
    pub fn tell_observers(
        &mut self,
        now: Time,
        group: &str,
        mut say: impl FnMut(PeerId, u64) -> bool,
    ) {
        let Eyes { eyes, by_group, late, again, .. } = &mut self.eyes;
        for who in by_group.get(group).into_iter().flatten() {
            let Some(eye) = eyes.get_mut(who) else { continue };
            if eye.missed > 0 || !say(who.0, who.1) {
                eye.missed = eye.missed.saturating_add(1);
                late.insert(*who);
                again.get_or_insert_with(|| now.after(Self::LATER));
            }
        }
    }

    /// Takes some that are to be told anew how things are: of which group, and how much they have
    /// missed. For whom there is no room [`Self::put_off`] is to be called; those that do not read
    /// have their turns like others, and no more of them.
    pub fn take_late(&mut self, now: Time) -> Vec<(PeerId, u64, Arc<str>, u64)> {
        let Eyes { eyes, late, last, again, .. } = &mut self.eyes;
        if again.is_none_or(|again| again > now) {
            return Vec::new();
        }
        let behind = late.range((Bound::Excluded(*last), Bound::Unbounded));
        let turns = behind.chain(late.range(..=*last)).take(Self::LATE_MAX);
        let turns: Vec<EyeId> = turns.copied().collect();
        for who in &turns {
            late.remove(who);
        }
        *last = turns.last().copied().unwrap_or_default();
        *again = (!late.is_empty()).then(|| now.after(Self::LATER));
        let told = turns.into_iter().filter_map(|who| {
            let eye = eyes.get_mut(&who)?;
            Some((who.0, who.1, eye.group.clone(), std::mem::take(&mut eye.missed)))
        });
        told.collect()
    }

    /// There was no room to tell it.
    pub fn put_off(&mut self, now: Time, (peer, id): (PeerId, u64), missed: u64) {
        if let Some(eye) = self.eyes.eyes.get_mut(&(peer, id)) {
            eye.missed = missed;
            self.eyes.late.insert((peer, id));
            self.eyes.again.get_or_insert_with(|| now.after(Self::LATER));
        }
    }

    /// Whether the peer is a member, or looks, by that id.
    pub(super) fn has_id(&self, peer: PeerId, id: u64) -> bool {
        let member = self.seats.get(&peer).is_some_and(|own| own.contains_key(&id));
        member || self.eyes.eyes.contains_key(&(peer, id))
    }

    /// Memberships and observations of the peer.
    pub(super) fn count_of(&self, peer: PeerId) -> usize {
        let members = self.seats.get(&peer).map_or(0, BTreeMap::len);
        members + self.observed_by(peer).count()
    }
}
