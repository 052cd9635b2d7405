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
    epoch: u64,
    principal: Principal,
    until: Time,
}

impl Leases {
    /// The next epoch, for a holder of something that is not in this table.
    pub fn next_epoch(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// The lease of the group of that name is held by that epoch and principal, until that time, or
    /// by nobody.
    pub fn set_ward(&mut self, group: &str, holder: Option<(u64, Principal, Time)>) {
        let name: Arc<str> = [WARD, group].concat().into();
        match holder {
            Some((epoch, principal, until)) => {
                self.wards.insert(name, Ward { epoch, principal, until });
            }
            None => {
                self.wards.remove(&name);
            }
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
