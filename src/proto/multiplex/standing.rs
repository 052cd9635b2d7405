//! What goes on until nobody wants it any more: said anew on each connection, without an end that
//! could be waited for. It takes no place of a call.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::due::Due;
use super::lane::Lane;
use super::{Failure, LaneId, Multiplex, Output};

/// Where it is.
///
/// ```text
///             a lane stands                 ERROR for good
///   Waiting ----------------> On ------------------------------> ended
///    ^  ^                     | |                                  ^
///    |  +------- lost --------+ | ERROR that may pass              |
///    |                          v                                  |
///    +---- its time comes -- Resting                               |
///                                                                  |
///   any: nobody wants it any more, the client ends ----------------+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// For a lane.
    Waiting,
    /// It was said there.
    On(LaneId),
    /// Until it makes sense to say it again.
    Resting { until: Instant },
}

impl Place {
    fn lane(self) -> Option<LaneId> {
        match self {
            Self::On(lane) => Some(lane),
            Self::Waiting | Self::Resting { .. } => None,
        }
    }
}

/// All of one client, in the order in which they began.
#[derive(Debug)]
pub(super) struct Standing<P> {
    entries: BTreeMap<u64, Entry<P>>,
}

#[derive(Debug)]
struct Entry<P> {
    payload: P,
    place: Place,
    /// How often it was refused in a row.
    refused: u32,
}

impl<P> Default for Standing<P> {
    fn default() -> Self {
        Self { entries: BTreeMap::new() }
    }
}

impl<P> Standing<P> {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn insert(&mut self, id: u64, payload: P) {
        self.entries.insert(id, Entry { payload, place: Place::Waiting, refused: 0 });
    }

    pub(super) fn get(&self, id: u64) -> Option<&P> {
        self.entries.get(&id).map(|entry| &entry.payload)
    }

    pub(super) fn place(&self, id: u64) -> Option<Place> {
        self.entries.get(&id).map(|entry| entry.place)
    }

    /// What is kept of it, if it was said on that lane.
    pub(super) fn on(&mut self, lane: LaneId, id: u64) -> Option<&mut P> {
        let entry = self.entries.get_mut(&id)?;
        (entry.place == Place::On(lane)).then_some(&mut entry.payload)
    }

    /// The other side has taken it.
    pub(super) fn taken(&mut self, id: u64) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.refused = 0;
        }
    }

    /// Counts one more refusal on that lane; gives how many came before it in a row.
    pub(super) fn refuse(&mut self, lane: LaneId, id: u64) -> Option<u32> {
        let entry = self.entries.get_mut(&id)?;
        if entry.place != Place::On(lane) {
            return None;
        }
        let before = entry.refused;
        entry.refused = before.saturating_add(1);
        Some(before)
    }

    pub(super) fn set_place(&mut self, id: u64, place: Place) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.place = place;
        }
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<(P, Place)> {
        self.entries.remove(&id).map(|entry| (entry.payload, entry.place))
    }

    /// Those that are there.
    pub(super) fn at(&self, place: Place) -> Vec<u64> {
        let there = self.entries.iter().filter(|(_, entry)| entry.place == place);
        there.map(|(id, _)| *id).collect()
    }

    /// Gives up all of them.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = P> {
        std::mem::take(&mut self.entries).into_values().map(|entry| entry.payload)
    }
}

impl<P> Multiplex<P> {
    /// Somebody wants something that goes on until it is cancelled: it is said on a connection as
    /// soon as there is one, and again on each that follows. Ids are those of calls.
    pub fn stand(&mut self, id: u64, payload: P) {
        if self.closed {
            return self.out.push_back(Output::Fail(payload, Failure::Closed));
        }
        if self.standing.len() >= self.settings.waiting_max {
            return self.out.push_back(Output::Fail(payload, Failure::TooMany));
        }
        self.standing.insert(id, payload);
        self.say_standing(id);
    }

    /// What is kept of something that goes on.
    #[must_use]
    pub fn standing(&self, id: u64) -> Option<&P> {
        self.standing.get(id)
    }

    /// All that goes on, in the order in which it began.
    #[must_use]
    pub fn all_standing(&self) -> Vec<u64> {
        self.standing.entries.keys().copied().collect()
    }

    /// What is kept of something that goes on, and the lane that it was said on, if it is on one.
    pub fn standing_mut(&mut self, id: u64) -> Option<(&mut P, Option<LaneId>)> {
        let entry = self.standing.entries.get_mut(&id)?;
        Some((&mut entry.payload, entry.place.lane()))
    }

    /// As [`Self::cancel`](Multiplex::cancel) of what goes on, but nothing is to be said: gives the
    /// lane that it was said on, if it is on one.
    pub fn withdraw(&mut self, id: u64) -> Option<(P, Option<LaneId>)> {
        let (payload, place) = self.standing.remove(id)?;
        Some((payload, place.lane()))
    }

    /// Something came for what goes on, and was said on that lane. Gives what is kept of it.
    pub fn heard(&mut self, lane: LaneId, id: u64) -> Option<&mut P> {
        self.standing.taken(id);
        self.standing.on(lane, id)
    }

    /// Says what goes on, on a lane that takes something new, if there is one.
    pub(super) fn say_standing(&mut self, id: u64) {
        let open = |lane: &Lane| lane.up().is_some_and(|up| !up.draining);
        let Some(lane) = self.lanes.iter().position(open).map(LaneId) else { return };
        self.standing.set_place(id, Place::On(lane));
        self.out.push_back(Output::Stand(lane, id));
    }

    /// What was said on a lane that is no more, is said on another, or waits for one.
    pub(super) fn displace(&mut self, lane: LaneId) {
        for id in self.standing.at(Place::On(lane)) {
            self.standing.set_place(id, Place::Waiting);
            self.say_standing(id);
        }
    }

    pub(super) fn refused_standing(
        &mut self,
        now: Instant,
        lane: LaneId,
        id: u64,
        retry: Option<Duration>,
    ) -> Option<P> {
        let before = self.standing.refuse(lane, id)?;
        let Some(hint) = retry else {
            return self.standing.remove(id).map(|(payload, _)| payload);
        };
        let until = now + hint + self.backoff.wait_after(before);
        self.standing.set_place(id, Place::Resting { until });
        self.arm(until, Due::Rest(id));
        None
    }
}
