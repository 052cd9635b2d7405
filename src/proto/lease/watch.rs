//! Observers: told who holds a lease, the newest at least.

use std::cmp::Ordering;
use std::ops::Bound;
use std::time::Duration;

use super::table::{LeaseId, Leases, Row, Seat};
use crate::id::PeerId;
use crate::proto::clock::Time;

/// When an observer is told that there was no room for.
const AGAIN: Duration = Duration::from_millis(250);

/// What an observer is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View<'a> {
    /// Whether somebody holds.
    pub held: bool,
    /// The epoch of the holder, or of the last one; 0: none is known.
    pub epoch: u64,
    /// What the holder calls itself.
    pub name: &'a str,
    /// What it says.
    pub value: &'a [u8],
}

impl Leases {
    /// Leases from behind `after` on, as far as their names begin with `prefix`, those that leaders
    /// of groups hold among them.
    pub fn rows<'a>(
        &'a self,
        after: Option<&str>,
        prefix: &'a str,
    ) -> impl Iterator<Item = Row<'a>> {
        // No name is empty, and a prefix is not behind a name that it begins.
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let names = self.by_name.range::<str, _>((from, Bound::Unbounded));
        let mut names = names.take_while(move |(name, _)| name.starts_with(prefix)).peekable();
        let wards = self.wards.range::<str, _>((from, Bound::Unbounded));
        let mut wards = wards.take_while(move |(name, _)| name.starts_with(prefix)).peekable();
        // Both are in the order of names, and a name that is in both is one row.
        std::iter::from_fn(move || {
            let order = match (names.peek(), wards.peek()) {
                (Some((name, _)), Some((ward, _))) => name.cmp(ward),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return None,
            };
            let known = if order.is_le() { names.next() } else { None };
            let led = if order.is_ge() { wards.next() } else { None };
            let lease = known.and_then(|(_, id)| self.leases.get(*id));
            let holder = lease.and_then(|lease| lease.holder.as_ref());
            let holder = holder.map(|it| (it.epoch, &*it.who.name, it.since, it.until()));
            let leader = led.map(|(_, it)| (it.epoch, &*it.name, it.since, it.until));
            let name = known.map(|(name, _)| name).or_else(|| led.map(|(name, _)| name))?;
            Some(Row {
                lease: name,
                holder: leader.or(holder),
                waiting: lease.map_or(0, |lease| lease.line.len()),
                observers: lease.map_or(0, |lease| lease.observers.len()),
            })
        })
    }

    /// Whether the lease takes one more observer.
    #[must_use]
    pub fn has_room_for_observer(&self, lease: &str) -> bool {
        let lease = self.named(lease);
        lease.is_none_or(|lease| lease.observers.len() < self.limits.observers_max)
    }

    /// The peer is told from now on who holds; [`Self::check`] and
    /// [`Self::has_room_for_observer`] have allowed it, and [`Self::cost_of`] it was charged.
    pub fn observe(&mut self, peer: PeerId, id: u64, name: &str) {
        let cost = Self::cost_of(name, "", 0);
        let lease = self.lease_for(name);
        self.charged += cost;
        self.observing += 1;
        self.owners.entry(peer).or_default().insert(id, Seat::Observes(lease));
        if let Some(lease) = self.leases.get_mut(lease) {
            lease.observers.insert((peer, id), cost);
            lease.last = self.wards.get(name).map_or(lease.last, |ward| ward.epoch);
        }
        self.untold.insert((peer, id));
    }

    /// Has `say` tell all observers that are to be told. Those that it has no room for are told
    /// later, and then only what holds then.
    pub fn tell(&mut self, now: Time, mut say: impl FnMut(PeerId, u64, View<'_>) -> bool) {
        while let Some(who) = self.untold.pop_first() {
            let own = self.owners.get(&who.0).and_then(|own| own.get(&who.1));
            let Some(Seat::Observes(lease)) = own else { continue };
            let Some(lease) = self.leases.get(*lease) else { continue };
            let view = match (&lease.holder, self.wards.get(&lease.name)) {
                (_, Some(ward)) => {
                    View { held: true, epoch: ward.epoch, name: &ward.name, value: &[] }
                }
                (Some(holder), None) => View {
                    held: true,
                    epoch: holder.epoch,
                    name: &holder.who.name,
                    value: &holder.who.value,
                },
                (None, None) => View { held: false, epoch: lease.last, name: "", value: &[] },
            };
            if say(who.0, who.1, view) {
                self.late.remove(&who);
            } else {
                self.late.insert(who);
                self.again = self.again.or_else(|| Some(now.after(AGAIN)));
            }
        }
    }

    /// All observers of a lease are to be told.
    pub(super) fn spread(&mut self, id: LeaseId) {
        if let Some(lease) = self.leases.get(id) {
            self.untold.extend(lease.observers.keys().copied());
        }
    }

    pub(super) fn unobserve(&mut self, id: LeaseId, who: (PeerId, u64)) {
        let Some(lease) = self.leases.get_mut(id) else { return };
        if let Some(cost) = lease.observers.remove(&who) {
            self.observing -= 1;
            self.freed += cost;
        }
        self.untold.remove(&who);
        self.late.remove(&who);
        self.leave_seat(who);
        self.tidy(id);
    }
}
