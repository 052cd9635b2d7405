//! One connection of a client, as far as its calls are concerned.

use std::time::Instant;

use super::LaneId;
use crate::proto::backoff::Backoff;

/// A connection.
///
/// ```text
///             its time has come             connected
///   Down ---------------------> Dialing ---------------> Up
///    ^                             |                     |
///    +-----------------------------+------- lost --------+
/// ```
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) state: State,
    pub(super) backoff: Backoff,
}

/// Where a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Until it is tried again.
    Down { until: Instant },
    /// Somebody tries.
    Dialing,
    /// Calls go over it.
    Up(Up),
}

/// What there is to know of a connection that stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Up {
    /// Calls sent and not ended.
    pub(super) in_flight: usize,
    /// As many as there may be.
    pub(super) in_flight_max: usize,
    /// The call sent last: on a lane without ids the only one that an answer can be for.
    pub(super) last: u64,
    /// The socket takes nothing for now.
    pub(super) blocked: bool,
    /// The other side takes no calls any more.
    pub(super) draining: bool,
}

impl Lane {
    pub(super) fn new(backoff: Backoff) -> Self {
        Self { state: State::Dialing, backoff }
    }

    pub(super) fn up(&self) -> Option<&Up> {
        match &self.state {
            State::Up(up) => Some(up),
            State::Down { .. } | State::Dialing => None,
        }
    }

    pub(super) fn up_mut(&mut self) -> Option<&mut Up> {
        match &mut self.state {
            State::Up(up) => Some(up),
            State::Down { .. } | State::Dialing => None,
        }
    }

    /// A call on it has ended.
    pub(super) fn release(&mut self) {
        if let Some(up) = self.up_mut() {
            debug_assert!(up.in_flight > 0, "each call that was sent is counted");
            up.in_flight = up.in_flight.saturating_sub(1);
        }
    }

    /// How full it is, if it takes another call.
    pub(super) fn load(&self) -> Option<usize> {
        let open = |up: &&Up| !up.blocked && !up.draining && up.in_flight < up.in_flight_max;
        self.up().filter(open).map(|up| up.in_flight)
    }
}

/// The lane that takes the next call: the one with the fewest in flight.
pub(super) fn least_loaded(lanes: &[Lane]) -> Option<LaneId> {
    let open = lanes.iter().enumerate();
    let open = open.filter_map(|(index, lane)| lane.load().map(|load| (load, index)));
    open.min().map(|(_, index)| LaneId(index))
}
