//! The invariants of the table of leases.

use std::collections::BTreeSet;

use super::table::{Leases, Seat};
use crate::id::PeerId;
use crate::proto::router::audit::demand;

impl Leases {
    /// Memory of campaigns and observations, octets.
    pub(crate) fn charged(&self) -> usize {
        self.charged
    }

    /// Checks that the indices say what the leases say, and that no epoch stands twice.
    pub(crate) fn audit(&self, is_peer: impl Fn(PeerId) -> bool) -> Result<(), String> {
        let (known, named) = (self.leases.len(), self.by_name.len());
        demand!(known == named, "{known} leases, {named} names");
        let (mut epochs, mut cost, mut seats) = (BTreeSet::new(), self.freed, 0);
        let (mut holding, mut waiting, mut observing) = (0, 0, 0);
        for (id, lease) in &self.leases {
            demand!(self.by_name.get(&lease.name) == Some(&id), "{} is not found", lease.name);
            demand!(!lease.is_empty(), "{} is nobody's", lease.name);
            demand!(lease.last <= self.last, "{} is ahead: {}", lease.name, lease.last);
            cost += lease.quiet.map_or(0, |(_, kept)| kept);
            let due = lease.holder.is_some() || lease.quiet.is_some();
            demand!(!due || lease.armed.is_some(), "nobody frees {}", lease.name);
            let free = lease.holder.is_none() && lease.quiet.is_none();
            demand!(!free || lease.line.is_empty(), "{} is free, and one waits", lease.name);
            if let Some(holder) = &lease.holder {
                holding += 1;
                cost += holder.who.cost;
                demand!(lease.last == holder.epoch, "{}: {}", lease.name, holder.epoch);
                demand!(epochs.insert(holder.epoch), "epoch {} twice", holder.epoch);
                let own = self.owners.get(&holder.who.peer).and_then(|o| o.get(&holder.who.id));
                let seated = own == Some(&Seat::Holds(id));
                demand!(seated != holder.gone.is_some(), "{}: seat {own:?}", lease.name);
                seats += usize::from(seated);
            }
            for (number, it) in &lease.line {
                waiting += 1;
                cost += it.cost;
                let own = self.owners.get(&it.peer).and_then(|own| own.get(&it.id));
                demand!(own == Some(&Seat::Waits(id, *number)), "{}: seat {own:?}", lease.name);
            }
            for ((peer, own), paid) in &lease.observers {
                observing += 1;
                cost += paid;
                let seat = self.owners.get(peer).and_then(|seats| seats.get(own));
                demand!(seat == Some(&Seat::Observes(id)), "{}: seat {seat:?}", lease.name);
            }
        }
        seats += waiting + observing;
        let owned: usize = self.owners.values().map(std::collections::BTreeMap::len).sum();
        demand!(owned == seats, "{owned} seats are owned, there are {seats}");
        let stranger = self.owners.keys().find(|peer| !is_peer(**peer));
        demand!(stranger.is_none(), "{stranger:?} has a seat and is no peer");
        demand!(cost == self.charged, "{cost} octets, and {} charged", self.charged);
        let counted = (self.holding, self.waiting, self.observing);
        demand!(counted == (holding, waiting, observing), "{counted:?} are counted");
        let late = self.late.is_empty() || self.again.is_some();
        demand!(late, "nobody tells {:?}", self.late);
        Ok(())
    }
}
