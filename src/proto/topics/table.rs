//! Subscriptions: whose they are, what they were told, what they missed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::subject::{Pattern, Subject};
use super::trie::{Reach, TooMany, Trie};
use crate::id::PeerId;
use crate::proto::clock::Time;
use crate::proto::policy::TopicLimits;
use crate::proto::timers::Timers;

/// What was dropped is told by itself if nothing that could tell it has come for so long.
const GAP_AFTER: Duration = Duration::from_secs(1);
/// Places that a publication may look at in the table, for each subscription that it may be for.
const LOOKED_PER_FOUND: usize = 10;

/// Why there is no new subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The peer has one of that id.
    DuplicateId,
    /// The peer, or all together, have as many as they may.
    TooMany,
}

/// What has been counted since the beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Publications taken.
    pub published: u64,
    /// Publications refused.
    pub refused: u64,
    /// Messages said to subscribers.
    pub delivered: u64,
    /// Messages for which there was no room.
    pub dropped: u64,
}

/// All subscriptions of a broker.
#[derive(Debug)]
pub struct Topics {
    limits: TopicLimits,
    patterns: Trie<u64>,
    /// By a number of our own, which grows: those who came first are told first.
    subscriptions: BTreeMap<u64, Subscription>,
    subscribers: BTreeMap<PeerId, Subscriber>,
    last: u64,
    timers: Timers<PeerId>,
    counts: Counts,
    charged: usize,
    /// What publications have cost at this moment, in messages.
    spent: (Time, usize),
}

#[derive(Debug)]
struct Subscription {
    peer: PeerId,
    /// What the peer calls it.
    id: u64,
    pattern: Box<str>,
    /// Publications so far, told or dropped.
    seq: u64,
    /// Of those, dropped and not told of.
    missed: u64,
    cost: usize,
}

#[derive(Debug, Default)]
struct Subscriber {
    by_id: BTreeMap<u64, u64>,
    /// Subscriptions that have missed something and were not told.
    gaps: BTreeSet<u64>,
    /// When they are told.
    armed: Option<Time>,
}

/// One message that is to be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// To whom.
    pub peer: PeerId,
    /// What the peer calls the subscription.
    pub id: u64,
    /// Its number in the subscription.
    pub seq: u64,
    /// Dropped right before it.
    pub missed: Option<u64>,
}

impl Topics {
    /// No subscriptions.
    #[must_use]
    pub fn new(limits: TopicLimits) -> Self {
        Self {
            limits,
            patterns: Trie::new(),
            subscriptions: BTreeMap::new(),
            subscribers: BTreeMap::new(),
            last: 0,
            timers: Timers::new(),
            counts: Counts::default(),
            charged: 0,
            spent: (Time::default(), 0),
        }
    }

    /// Subscriptions of all peers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.subscriptions.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.subscriptions.is_empty()
    }

    /// Subscriptions of one peer.
    #[must_use]
    pub fn len_of(&self, peer: PeerId) -> usize {
        self.subscribers.get(&peer).map_or(0, |subscriber| subscriber.by_id.len())
    }

    /// The subscriptions of one peer: what it calls each, and the pattern.
    pub(in crate::proto) fn patterns_of(&self, peer: PeerId) -> impl Iterator<Item = (u64, &str)> {
        let own = self.subscribers.get(&peer).into_iter().flat_map(|it| &it.by_id);
        own.filter_map(|(id, number)| Some((*id, &*self.subscriptions.get(number)?.pattern)))
    }

    /// What has been counted.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Memory of one subscription, octets.
    #[must_use]
    pub fn cost_of(pattern: Pattern<'_>) -> usize {
        /// Of entries in trees whose nodes are half full, and of a subscriber who has no other.
        const ENTRIES: usize = 2 * size_of::<(u64, Subscription, u64, u64, PeerId, Subscriber)>();
        ENTRIES + pattern.as_str().len() + Trie::<u64>::cost_of(pattern)
    }

    /// Whether the peer may subscribe once more, by that id.
    ///
    /// # Errors
    /// It may not.
    pub fn check(&self, peer: PeerId, id: u64) -> Result<(), Refused> {
        let subscriber = self.subscribers.get(&peer);
        if subscriber.is_some_and(|subscriber| subscriber.by_id.contains_key(&id)) {
            return Err(Refused::DuplicateId);
        }
        let (all, own) = (self.limits.subscriptions_max, self.limits.per_peer_max);
        if self.len() >= all || self.len_of(peer) >= own { Err(Refused::TooMany) } else { Ok(()) }
    }

    /// The peer subscribes; [`Self::check`] has allowed it, and `cost` octets were charged.
    pub fn subscribe(&mut self, peer: PeerId, id: u64, pattern: Pattern<'_>, cost: usize) {
        self.last += 1;
        let number = self.last;
        self.patterns.insert(pattern, number);
        self.subscribers.entry(peer).or_default().by_id.insert(id, number);
        let pattern = pattern.as_str().into();
        let subscription = Subscription { peer, id, pattern, seq: 0, missed: 0, cost };
        self.subscriptions.insert(number, subscription);
        self.charged += cost;
    }

    /// The peer wants no more of that. Gives the octets that are free by it.
    pub fn unsubscribe(&mut self, peer: PeerId, id: u64) -> usize {
        let Some(subscriber) = self.subscribers.get_mut(&peer) else { return 0 };
        let Some(number) = subscriber.by_id.remove(&id) else { return 0 };
        subscriber.gaps.remove(&number);
        if subscriber.by_id.is_empty() {
            self.subscribers.remove(&peer);
        }
        self.forget_subscription(number)
    }

    /// The peer has gone. Gives the octets that are free by it.
    pub fn forget(&mut self, peer: PeerId) -> usize {
        let Some(subscriber) = self.subscribers.remove(&peer) else { return 0 };
        subscriber.by_id.into_values().map(|number| self.forget_subscription(number)).sum()
    }

    fn forget_subscription(&mut self, number: u64) -> usize {
        let Some(gone) = self.subscriptions.remove(&number) else { return 0 };
        if let Ok(pattern) = Pattern::parse(&gone.pattern) {
            self.patterns.remove(pattern, number);
        }
        self.charged -= gone.cost;
        gone.cost
    }

    /// The subscriptions that a publication is for, by their numbers, into `found`: the oldest
    /// first.
    ///
    /// # Errors
    /// There are more than one publication may be for, or it would take too long to find them.
    pub fn find(
        &mut self,
        now: Time,
        subject: Subject<'_>,
        found: &mut Vec<u64>,
    ) -> Result<(), TooMany> {
        let found_max = self.limits.fan_out_max;
        let looked_max = found_max.saturating_mul(LOOKED_PER_FOUND);
        let looked = self.patterns.find(subject, Reach { found_max, looked_max }, found);
        let cost = looked.map_or(found_max, |looked| found.len() + looked / LOOKED_PER_FOUND);
        self.spend(now, cost);
        looked.map(drop)
    }

    /// So many messages are said at this moment, which others have to wait for.
    pub fn spend(&mut self, now: Time, cost: usize) {
        let before = if self.spent.0 == now { self.spent.1 } else { 0 };
        self.spent = (now, before.saturating_add(cost));
    }

    /// Whether what was said has cost so much at this moment that others are to have their turn
    /// before the next publication, or word about a group: all that is read at once comes at one
    /// moment, and the tables are held meanwhile. It is said once; what comes then is another turn.
    #[must_use]
    pub fn take_spent(&mut self, now: Time) -> bool {
        let is_spent = self.spent.0 == now && self.spent.1 >= self.limits.fan_out_max;
        if is_spent {
            self.spent.1 = 0;
        }
        is_spent
    }

    /// A publication was not taken.
    pub fn count_refused(&mut self) {
        self.counts.refused += 1;
    }

    /// A publication was taken.
    pub fn count_published(&mut self) {
        self.counts.published += 1;
    }

    /// Has `offer` say one publication to one subscription, or notes that there was no room.
    pub fn deliver(&mut self, now: Time, number: u64, offer: impl FnOnce(Due) -> bool) {
        let Some(to) = self.subscriptions.get_mut(&number) else { return };
        to.seq += 1;
        let missed = Some(to.missed).filter(|missed| *missed > 0);
        let due = Due { peer: to.peer, id: to.id, seq: to.seq, missed };
        if offer(due) {
            self.counts.delivered += 1;
            if missed.is_some() {
                to.missed = 0;
                if let Some(subscriber) = self.subscribers.get_mut(&due.peer) {
                    subscriber.gaps.remove(&number);
                }
            }
            return;
        }
        self.counts.dropped += 1;
        to.missed += 1;
        if missed.is_none()
            && let Some(subscriber) = self.subscribers.get_mut(&due.peer)
        {
            subscriber.gaps.insert(number);
            if subscriber.armed.is_none() {
                self.arm(now, due.peer);
            }
        }
    }

    fn arm(&mut self, now: Time, peer: PeerId) {
        let at = now.after(GAP_AFTER);
        if let Some(subscriber) = self.subscribers.get_mut(&peer) {
            subscriber.armed = Some(at);
            self.timers.arm(at, peer);
        }
    }

    /// When somebody is to be told what was dropped.
    #[must_use]
    pub fn next_gap(&self) -> Option<Time> {
        self.timers.next()
    }

    /// Has `tell` tell all who are due what was dropped: peer, id and how much. Who has no room
    /// for that is told later.
    pub fn tell_gaps(&mut self, now: Time, mut tell: impl FnMut(PeerId, u64, u64) -> bool) {
        while let Some((at, peer)) = self.timers.pop_due(now) {
            let Some(subscriber) = self.subscribers.get_mut(&peer) else { continue };
            if subscriber.armed != Some(at) {
                continue;
            }
            subscriber.armed = None;
            let subscriptions = &mut self.subscriptions;
            let mut has_room = true;
            subscriber.gaps.retain(|number| {
                let Some(gap) = subscriptions.get_mut(number) else { return false };
                has_room = has_room && tell(peer, gap.id, gap.missed);
                if has_room {
                    gap.missed = 0;
                }
                !has_room
            });
            if !subscriber.gaps.is_empty() {
                self.arm(now, peer);
            }
        }
    }

    /// Memory charged for all subscriptions, octets.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(in crate::proto) fn charged(&self) -> usize {
        self.charged
    }

    /// Checks that the tables say the same.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(in crate::proto) fn audit(&self, is_peer: impl Fn(PeerId) -> bool) -> Result<(), String> {
        use crate::proto::router::audit::demand;
        let known = self.patterns.len();
        demand!(known == self.len(), "{known} patterns, {} subscriptions", self.len());
        let owned: usize = self.subscribers.values().map(|it| it.by_id.len()).sum();
        demand!(owned == self.len(), "{owned} are owned, there are {}", self.len());
        let cost: usize = self.subscriptions.values().map(|it| it.cost).sum();
        demand!(cost == self.charged, "{cost} octets, and {} charged", self.charged);
        for (number, it) in &self.subscriptions {
            demand!(is_peer(it.peer), "{:?} subscribes and is no peer", it.peer);
            let owner = self.subscribers.get(&it.peer);
            let named = owner.and_then(|owner| owner.by_id.get(&it.id));
            demand!(named == Some(number), "{number} is {named:?} to its peer");
            let noted = owner.is_some_and(|owner| owner.gaps.contains(number));
            demand!(noted == (it.missed > 0), "{number} missed {}, noted: {noted}", it.missed);
            demand!(it.missed <= it.seq, "{number} missed {} of {}", it.missed, it.seq);
        }
        for (peer, it) in &self.subscribers {
            demand!(!it.by_id.is_empty(), "{peer:?} is no subscriber");
            demand!(it.gaps.is_empty() || it.armed.is_some(), "nobody tells {peer:?} of its gaps");
            if let Some(at) = it.armed {
                demand!(self.timers.is_armed(at, *peer), "{peer:?}: {at:?} is not armed");
            }
        }
        Ok(())
    }
}
