//! Keys that nobody has decided about yet: who they are, so that an operator can.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use crate::id::{Principal, PublicKey};

/// Keys that are remembered.
pub const PENDING_MAX: usize = 1_000;
/// Keys that are remembered of one address, or network of IPv6: a stranger cannot have those of
/// others forgotten.
pub const PENDING_PER_ADDRESS_MAX: usize = 100;
/// How long a key is remembered that does not come again.
pub const PENDING_FOR: Duration = Duration::from_secs(24 * 3600);

/// A key that wanted to come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stranger {
    /// The key.
    pub key: PublicKey,
    /// When it first came.
    pub first: Instant,
    /// When it last came.
    pub last: Instant,
    /// How often it came.
    pub attempts: u64,
    /// Where it last came from: the principal that it would be without a key.
    pub from: Principal,
}

/// The keys that wanted to come in and may not yet. Bounded: the one that did not come for the
/// longest time makes room.
#[derive(Debug, Default)]
pub struct Pending {
    strangers: HashMap<PublicKey, Entry>,
    /// By when they last came, oldest first.
    order: BTreeMap<u64, PublicKey>,
    per_network: HashMap<Principal, usize>,
    /// The next place in `order`.
    next: u64,
}

#[derive(Debug)]
struct Entry {
    stranger: Stranger,
    place: u64,
}

impl Pending {
    /// An unknown key came. Time goes on from call to call.
    pub fn note(&mut self, now: Instant, key: PublicKey, from: Principal) {
        self.forget_old(now);
        let before = self.remove(&key);
        let (first, attempts) = before.map_or((now, 0), |before| (before.first, before.attempts));
        let network = from.network();
        if self.per_network.get(&network).is_some_and(|count| *count >= PENDING_PER_ADDRESS_MAX) {
            self.forget_one(|stranger| stranger.from.network() == network);
        }
        if self.strangers.len() >= PENDING_MAX {
            self.forget_one(|_| true);
        }
        let attempts = attempts.saturating_add(1);
        let stranger = Stranger { key, first, last: now, attempts, from };
        let place = self.next;
        self.next += 1;
        self.order.insert(place, key);
        *self.per_network.entry(network).or_default() += 1;
        self.strangers.insert(key, Entry { stranger, place });
    }

    /// Somebody has decided about a key. Returns what was known of it.
    pub fn remove(&mut self, key: &PublicKey) -> Option<Stranger> {
        let Entry { stranger, place } = self.strangers.remove(key)?;
        self.order.remove(&place);
        let network = stranger.from.network();
        if let Some(count) = self.per_network.get_mut(&network) {
            *count -= 1;
            if *count == 0 {
                self.per_network.remove(&network);
            }
        }
        Some(stranger)
    }

    /// The keys, the one that came last first.
    pub fn list(&mut self, now: Instant) -> Vec<Stranger> {
        self.forget_old(now);
        let keys = self.order.values().rev();
        keys.filter_map(|key| self.strangers.get(key)).map(|entry| entry.stranger).collect()
    }

    /// The key of this fingerprint.
    #[must_use]
    pub fn named(&self, fingerprint: &str) -> Option<PublicKey> {
        self.strangers.keys().find(|key| key.fingerprint() == fingerprint).copied()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.strangers.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.strangers.is_empty()
    }

    fn forget_old(&mut self, now: Instant) {
        let is_old =
            |stranger: &Stranger| now.saturating_duration_since(stranger.last) >= PENDING_FOR;
        while let Some(key) = self.order.values().next().copied() {
            if !self.strangers.get(&key).is_some_and(|entry| is_old(&entry.stranger)) {
                return;
            }
            self.remove(&key);
        }
    }

    /// Forgets the one of these that did not come for the longest time.
    fn forget_one(&mut self, of: impl Fn(&Stranger) -> bool) {
        let is_one =
            |key: &&PublicKey| self.strangers.get(key).is_some_and(|entry| of(&entry.stranger));
        if let Some(key) = self.order.values().find(is_one).copied() {
            self.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64) -> PublicKey {
        let mut octets = [0; 32];
        octets[..8].copy_from_slice(&number.to_be_bytes());
        PublicKey(octets)
    }

    fn address(number: u64) -> Principal {
        let mut octets = [0; 16];
        octets[..8].copy_from_slice(&number.to_be_bytes());
        Principal::Address(octets)
    }

    fn epoch() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn second(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    #[test]
    fn who_comes_again_is_counted_and_goes_to_the_front() {
        let (mut pending, epoch) = (Pending::default(), epoch());
        pending.note(epoch, key(1), address(1));
        pending.note(epoch + second(1), key(2), address(2));
        pending.note(epoch + second(2), key(1), address(3));
        let seen = pending.list(epoch + second(3));
        assert_eq!(seen.iter().map(|it| it.key).collect::<Vec<_>>(), [key(1), key(2)]);
        let first = seen[0];
        assert_eq!((first.first, first.last), (epoch, epoch + second(2)));
        assert_eq!((first.attempts, first.from), (2, address(3)));
        assert_eq!(pending.named(&key(2).fingerprint()), Some(key(2)));
        assert_eq!(pending.named(&key(3).fingerprint()), None);
        assert_eq!(pending.remove(&key(1)), Some(first));
        assert_eq!((pending.remove(&key(1)), pending.len()), (None, 1));
    }

    #[test]
    fn the_list_is_bounded_and_the_oldest_makes_room() {
        let (mut pending, epoch) = (Pending::default(), epoch());
        let max = PENDING_MAX as u64;
        for number in 0..max {
            pending.note(epoch + second(number), key(number), address(number));
        }
        // It is the oldest no more.
        pending.note(epoch + second(max), key(0), address(0));
        for number in max..max + 2 {
            pending.note(epoch + second(number), key(number), address(number));
        }
        assert_eq!(pending.len(), PENDING_MAX);
        assert_eq!(pending.order.len(), PENDING_MAX);
        let there = |number| pending.strangers.contains_key(&key(number));
        assert_eq!([0, 1, 2, 3, max, max + 1].map(there), [true, false, false, true, true, true]);
    }

    #[test]
    fn one_address_cannot_have_others_forgotten() {
        let (mut pending, epoch) = (Pending::default(), epoch());
        pending.note(epoch, key(0), address(0));
        let Principal::Address(mut octets) = address(1) else { unreachable!() };
        for number in 1..10_000_u16 {
            // Whichever of its addresses it takes.
            octets[14..].copy_from_slice(&number.to_be_bytes());
            pending.note(epoch + second(1), key(number.into()), Principal::Address(octets));
        }
        assert_eq!(pending.len(), 1 + PENDING_PER_ADDRESS_MAX);
        assert!(
            pending.strangers.contains_key(&key(0)) && pending.strangers.contains_key(&key(9999))
        );
        assert_eq!(pending.per_network[&address(1)], PENDING_PER_ADDRESS_MAX);
    }

    #[test]
    fn a_day_later_all_is_forgotten() {
        let (mut pending, epoch) = (Pending::default(), epoch());
        pending.note(epoch, key(1), address(1));
        pending.note(epoch + second(1), key(2), address(2));
        let soon = epoch + PENDING_FOR;
        assert_eq!(pending.list(soon - second(1)).len(), 2);
        assert_eq!(pending.list(soon).len(), 1);
        pending.note(soon + second(1), key(3), address(3));
        assert_eq!((pending.len(), pending.per_network.len()), (1, 1));
        assert!(!pending.is_empty());
    }
}
