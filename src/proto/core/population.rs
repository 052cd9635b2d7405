//! How many peers of each kind there are.

use crate::id::slot_of;
use crate::proto::dialect::{State, mdp, nfp};

use super::Core;

/// Peers by what they have shown themselves to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Population {
    /// Nothing valid was said yet.
    pub unknown: usize,
    /// Clients.
    pub clients: usize,
    /// Registered workers.
    pub workers: usize,
    /// Workers that are none any more.
    pub dismissed: usize,
    /// Ends of flows.
    pub ends: usize,
}

impl Core {
    /// Peers by what they have shown themselves to be.
    #[must_use]
    pub fn population(&self) -> Population {
        let mut population = Population::default();
        self.populate(0, usize::MAX, &mut population);
        population
    }

    /// Counts at most `max` peers from the slot `from` on; returns where to go on, if there may
    /// be more.
    pub fn populate(&self, from: u32, max: usize, population: &mut Population) -> Option<u32> {
        let (mut counted, mut last) = (0, from);
        let rest = self.peers.iter().skip_while(|(id, _)| slot_of(*id) < from);
        for (id, peer) in rest.take(max) {
            (counted, last) = (counted + 1, slot_of(id));
            if peer.house {
                continue;
            }
            *match peer.state {
                State::UNKNOWN | State::Nfp(nfp::State::New) => &mut population.unknown,
                state if state.is_worker() => &mut population.workers,
                State::Mdp(mdp::State::Dismissed(_)) | State::Nfp(nfp::State::Dismissed) => {
                    &mut population.dismissed
                }
                State::Zio => &mut population.ends,
                State::Mdp(_) | State::Mjp(_) | State::Nfp(_) => &mut population.clients,
            } += 1;
        }
        (counted == max).then(|| last.saturating_add(1))
    }
}
