//! Leases of which something else decides who holds them: the leaders of groups (SPEC 9.15).

use std::sync::Arc;

use super::table::{Leases, Stale};
use crate::id::Principal;
use crate::proto::clock::Time;

/// What such names begin with.
pub const WARD: &str = "$group.";

/// Who holds one.
#[derive(Debug)]
pub(super) struct Ward {
    pub(super) epoch: u64,
    pub(super) name: Arc<str>,
    pub(super) since: Time,
    pub(super) until: Time,
    principal: Principal,
}

/// Who leads a group, as its lease has it: epoch, principal, what the member is called, and until
/// when.
pub type Leader = (u64, Principal, Arc<str>, Time);

impl Leases {
    /// The next epoch, for a holder of something that is not in this table.
    pub fn next_epoch(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// The lease of the group of that name is held by who leads it, or by nobody. Observers are told.
    pub fn set_ward(&mut self, now: Time, group: &str, leader: Option<Leader>) {
        let lease: Arc<str> = [WARD, group].concat().into();
        let before = self.wards.get(&lease).map(|ward| (ward.epoch, ward.since));
        let epoch = leader.as_ref().map(|(epoch, ..)| *epoch);
        let observed = self.by_name.get(&lease).copied();
        match leader {
            Some((epoch, principal, name, until)) => {
                let since = before.filter(|(held, _)| *held == epoch).map_or(now, |(_, at)| at);
                self.wards.insert(lease, Ward { epoch, name, since, until, principal });
            }
            None => {
                self.wards.remove(&lease);
            }
        }
        if let Some(id) = observed.filter(|_| before.map(|(epoch, _)| epoch) != epoch) {
            if let (Some(lease), Some(epoch)) = (self.leases.get_mut(id), epoch) {
                lease.last = epoch;
            }
            self.spread(id);
        }
    }

    /// Leases that leaders of groups hold.
    #[must_use]
    pub fn wards(&self) -> usize {
        self.wards.len()
    }

    pub(super) fn ward_holds(
        &self,
        now: Time,
        lease: &str,
        epoch: u64,
        principal: &Principal,
    ) -> Result<(), Stale> {
        let ward = self.wards.get(lease).filter(|ward| ward.until > now);
        match ward {
            Some(ward) if ward.epoch == epoch && ward.principal == *principal => Ok(()),
            Some(ward) if ward.epoch == epoch => Err(Stale::Stranger),
            ward => Err(Stale::Epoch(ward.map(|ward| ward.epoch))),
        }
    }
}
