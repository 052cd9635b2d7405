//! Many calls over few connections: id -> waiting caller.
//!
//! A *lane* is one connection. Where the protocol has ids (MJP/1) there is one lane with many calls
//! in flight; where it has none (MDP) a lane carries one call at a time, and a call that is given
//! up takes its connection with it, since its answer could not be told from the next one's.
//!
//! The machine decides and does nothing: inputs come by method, with the time; what is to be done
//! is drained from [`Multiplex::poll_output`] before the next input.

mod call;
mod due;
mod lane;
mod standing;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use self::call::{Call, Event, State, Step};
use self::due::{Deadlines, Due, Queue};
use self::lane::{Lane, Up, least_loaded};
use self::standing::{Place, Standing};
use super::backoff::Backoff;

pub use call::{Failure, Terms};

/// One connection, by number from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneId(pub usize);

/// What a client is told before it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Connections, 1 or more.
    pub lanes: usize,
    /// Whether answers carry the id of their call. Without it a lane has one call in flight.
    pub ids: bool,
    /// Calls in flight on one lane.
    pub in_flight_max: usize,
    /// Calls that wait for a place.
    pub waiting_max: usize,
    /// First wait before something is tried again.
    pub backoff_base: Duration,
    /// Longest such wait.
    pub backoff_cap: Duration,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output<P> {
    /// Dial, and shake hands.
    Connect(LaneId),
    /// Drop the connection; `Connect` follows.
    Disconnect(LaneId),
    /// Send the request of that call.
    Send(LaneId, u64),
    /// Say that nobody waits for that call any more.
    Cancel(LaneId, u64),
    /// Say what goes on until it is stopped.
    Stand(LaneId, u64),
    /// Say that it is to stop.
    Leave(LaneId, u64),
    /// The call has no answer: tell the caller why.
    Fail(P, Failure),
}

/// The calls of one client. `P` is what its owner keeps of a call until it ends: the request, and
/// the way to the caller.
///
/// ```
/// use std::time::{Duration, Instant};
/// use majordomo::proto::multiplex::{LaneId, Multiplex, Output, Settings, Terms};
///
/// let now = tokio::time::Instant::now().into_std();
/// let mut calls = Multiplex::new(Settings::default(), 7);
/// let lane = LaneId(0);
/// assert_eq!(calls.poll_output(), Some(Output::Connect(lane)));
/// calls.connected(lane);
/// let terms = Terms { deadline: now + Duration::from_secs(1), attempts: 3, repeats: false };
/// calls.call(now, 1, terms, "the caller");
/// assert_eq!(calls.poll_output(), Some(Output::Send(lane, 1)));
/// assert_eq!(calls.done(lane, Some(1)), Some("the caller"));
/// ```
#[derive(Debug)]
pub struct Multiplex<P> {
    settings: Settings,
    calls: HashMap<u64, Call<P>, foldhash::fast::FixedState>,
    lanes: Vec<Lane>,
    queue: Queue,
    /// Calls that wait for a place; `queue` may hold more than those.
    waiting: usize,
    /// What goes on until it is stopped.
    standing: Standing<P>,
    deadlines: Deadlines,
    backoff: Backoff,
    closed: bool,
    out: VecDeque<Output<P>>,
}

impl Default for Settings {
    /// As for MJP/1.
    fn default() -> Self {
        Self {
            lanes: 1,
            ids: true,
            in_flight_max: 1000,
            waiting_max: 100_000,
            backoff_base: Duration::from_millis(100),
            backoff_cap: Duration::from_secs(5),
        }
    }
}

impl<P> Multiplex<P> {
    /// No calls; every lane is to be dialed. The seed decides the jitter.
    #[must_use]
    pub fn new(settings: Settings, seed: u64) -> Self {
        let backoff = |stream: u64| {
            let seed = seed.wrapping_add(stream.wrapping_mul(0xD6E8_FEB8_6659_FD93));
            Backoff::new(settings.backoff_base, settings.backoff_cap, seed)
        };
        let lanes = settings.lanes.max(1);
        Self {
            calls: HashMap::with_hasher(foldhash::fast::FixedState::with_seed(seed)),
            lanes: (1..).take(lanes).map(|number| Lane::new(backoff(number))).collect(),
            queue: Queue::default(),
            waiting: 0,
            standing: Standing::default(),
            deadlines: Deadlines::default(),
            backoff: backoff(0),
            closed: false,
            out: (0..lanes).map(|lane| Output::Connect(LaneId(lane))).collect(),
            settings,
        }
    }

    /// Somebody calls. The id is new, and larger than those before.
    pub fn call(&mut self, now: Instant, id: u64, terms: Terms, payload: P) {
        let failure = if self.closed {
            Failure::Closed
        } else if terms.deadline <= now {
            Failure::Expired { sent: false }
        } else if self.waiting >= self.settings.waiting_max {
            Failure::TooMany
        } else {
            self.calls.insert(id, Call::new(payload, terms));
            self.arm(terms.deadline, Due::Call(id));
            return self.wait_last(id);
        };
        self.out.push_back(Output::Fail(payload, failure));
    }

    /// The caller of `id` has gone. Gives back what was kept of the call.
    pub fn cancel(&mut self, id: u64) -> Option<P> {
        let Some(call) = self.calls.remove(&id) else {
            let (payload, place) = self.standing.remove(id)?;
            if let Place::On(lane) = place {
                self.out.push_back(Output::Leave(lane, id));
            }
            return Some(payload);
        };
        self.give_up(id, call.state, true);
        Some(call.payload)
    }

    /// What is kept of a call that is to be sent, the time that it has left at `now`, and how often
    /// it may be sent, this time included.
    #[must_use]
    #[inline]
    pub fn get(&self, now: Instant, id: u64) -> Option<(&P, Duration, u32)> {
        self.calls.get(&id).map(|call| (&call.payload, call.left(now), call.attempts_left()))
    }

    /// A part of an answer came; without an id it is for the only call that it can be for. Gives
    /// what is kept of the call.
    pub fn part(&mut self, lane: LaneId, id: Option<u64>) -> Option<(u64, &mut P)> {
        let id = self.meant(lane, id)?;
        let call = self.calls.get_mut(&id)?;
        (call.on(Event::Part(lane)) == Step::Go).then_some((id, &mut call.payload))
    }

    /// Something is said of a call that was sent on that lane, and ends nothing: it may be sent
    /// again all the same. Gives how often it was sent so far, and what is kept of it.
    pub fn at_work(&mut self, lane: LaneId, id: u64) -> Option<(u32, &mut P)> {
        let call = self.calls.get_mut(&id)?;
        (call.lane() == Some(lane)).then_some((call.sent, &mut call.payload))
    }

    /// The lane of a call that is at work, if it has been sent so often and no more.
    #[must_use]
    pub fn lane_of(&self, id: u64, sent: u32) -> Option<LaneId> {
        self.calls.get(&id).filter(|call| call.sent == sent)?.lane()
    }

    /// The answer came, or the rest of it. Gives back what was kept of the call, which has ended.
    #[inline]
    pub fn done(&mut self, lane: LaneId, id: Option<u64>) -> Option<P> {
        let id = self.meant(lane, id)?;
        let Entry::Occupied(mut call) = self.calls.entry(id) else { return None };
        if call.get_mut().on(Event::Final(lane)) != Step::Done {
            return None;
        }
        let payload = call.remove().payload;
        self.release(lane);
        Some(payload)
    }

    /// The request was refused; with `retry`, it may be tried again after that time. Gives back
    /// what was kept of the call if it has ended by that.
    pub fn refused(
        &mut self,
        now: Instant,
        lane: LaneId,
        id: u64,
        retry: Option<Duration>,
    ) -> Option<P> {
        let Entry::Occupied(mut call) = self.calls.entry(id) else {
            return self.refused_standing(now, lane, id, retry);
        };
        let before = call.get().attempts().saturating_sub(1);
        let again = retry.map(|hint| now + hint + self.backoff.wait_after(before));
        let step = call.get_mut().on(Event::Refused(lane, again));
        if step == Step::Done {
            let payload = call.remove().payload;
            self.release(lane);
            return Some(payload);
        }
        if let Step::Rest(until) = step {
            self.release(lane);
            self.arm(until, Due::Rest(id));
        }
        None
    }

    /// The lane stands.
    pub fn connected(&mut self, lane: LaneId) {
        let in_flight_max = if self.settings.ids { self.settings.in_flight_max.max(1) } else { 1 };
        if let Some(lane) = self.lanes.get_mut(lane.0) {
            let (in_flight, last, blocked, draining) = (0, 0, false, false);
            lane.state = lane::State::Up(Up { in_flight, in_flight_max, last, blocked, draining });
        }
        for id in self.standing.at(Place::Waiting) {
            self.say_standing(id);
        }
    }

    /// The other side of the lane takes so many calls at a time, and no more.
    pub fn limit(&mut self, lane: LaneId, in_flight_max: usize) {
        if let Some(up) = self.lanes.get_mut(lane.0).and_then(Lane::up_mut) {
            up.in_flight_max = up.in_flight_max.min(in_flight_max).max(1);
        }
    }

    /// Whether the socket of the lane takes more for now.
    #[inline]
    pub fn room(&mut self, lane: LaneId, room: bool) {
        if let Some(up) = self.lanes.get_mut(lane.0).and_then(Lane::up_mut) {
            up.blocked = !room;
        }
    }

    /// The other side of the lane takes no new calls: they wait for the next connection.
    pub fn draining(&mut self, lane: LaneId) {
        if let Some(up) = self.lanes.get_mut(lane.0).and_then(Lane::up_mut) {
            up.draining = true;
        }
    }

    /// The other side of the lane was of use: the next wait before dialing is short again.
    pub fn useful(&mut self, lane: LaneId) {
        if let Some(lane) = self.lanes.get_mut(lane.0) {
            lane.backoff.reset();
        }
    }

    /// The lane was lost, or could not be had.
    pub fn lost(&mut self, now: Instant, lane: LaneId) {
        let Some(entry) = self.lanes.get_mut(lane.0) else { return };
        let until = now + entry.backoff.next_wait();
        entry.state = lane::State::Down { until };
        self.arm(until, Due::Lane(lane.0));
        self.drop_sent(lane);
        self.displace(lane);
    }

    /// What is due, is done.
    pub fn timeout(&mut self, now: Instant) {
        while let Some((at, due)) = self.deadlines.pop_due(now) {
            match due {
                Due::Call(id) => self.expire(id),
                Due::Rest(id) => {
                    let call = self.calls.get_mut(&id);
                    if call.is_some_and(|call| call.on(Event::Rested(at)) == Step::WaitLast) {
                        self.wait_last(id);
                    }
                    if self.standing.place(id) == Some(Place::Resting { until: at }) {
                        self.standing.set_place(id, Place::Waiting);
                        self.say_standing(id);
                    }
                }
                Due::Lane(number) => {
                    if let Some(lane) = self.lanes.get_mut(number)
                        && lane.state == (lane::State::Down { until: at })
                    {
                        lane.state = lane::State::Dialing;
                        self.out.push_back(Output::Connect(LaneId(number)));
                    }
                }
            }
        }
    }

    /// When [`Self::timeout`] has something to do, at the earliest.
    #[must_use]
    #[inline]
    pub fn next_timeout(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// Takes no more calls.
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// Ends all calls, for ever.
    pub fn abandon(&mut self) {
        self.closed = true;
        let mut ids: Vec<_> = self.calls.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            self.fail(id, Failure::Closed, true);
        }
        let standing = self.standing.take_all();
        self.out.extend(standing.map(|payload| Output::Fail(payload, Failure::Closed)));
    }

    /// Calls that have not ended. What goes on until it is stopped is not among them.
    #[must_use]
    pub fn open(&self) -> usize {
        self.calls.len()
    }

    /// The next thing to be done; requests come last, and only if their lane has room.
    #[inline]
    pub fn poll_output(&mut self) -> Option<Output<P>> {
        if let Some(output) = self.out.pop_front() {
            return Some(output);
        }
        while self.waiting > 0 {
            let lane = least_loaded(&self.lanes)?;
            let id = self.queue.pop()?;
            let Some(call) = self.calls.get_mut(&id) else { continue };
            if call.on(Event::Chosen(lane)) == Step::Go {
                self.waiting -= 1;
                if let Some(up) = self.lanes.get_mut(lane.0).and_then(Lane::up_mut) {
                    up.in_flight += 1;
                    up.last = id;
                }
                return Some(Output::Send(lane, id));
            }
        }
        None
    }

    /// The id that an answer without one is for.
    #[inline]
    fn meant(&self, lane: LaneId, id: Option<u64>) -> Option<u64> {
        match id {
            Some(id) => Some(id),
            None => self.lanes.get(lane.0)?.up().map(|up| up.last),
        }
    }

    fn release(&mut self, lane: LaneId) {
        if let Some(lane) = self.lanes.get_mut(lane.0) {
            lane.release();
        }
    }

    fn wait_last(&mut self, id: u64) {
        self.waiting += 1;
        let calls = &self.calls;
        let waits = |id| calls.get(&id).is_some_and(|call| call.state == State::Waiting);
        self.queue.push_last(id, self.waiting, waits);
    }

    fn arm(&mut self, at: Instant, due: Due) {
        let (calls, standing) = (&self.calls, &self.standing);
        let holds = |at, due| match due {
            Due::Call(id) => calls.contains_key(&id),
            Due::Rest(id) => {
                calls.get(&id).is_some_and(|call| call.state == State::Resting { until: at })
                    || standing.place(id) == Some(Place::Resting { until: at })
            }
            Due::Lane(_) => true,
        };
        self.deadlines.arm(at, due, calls.len() + standing.len(), holds);
    }

    fn expire(&mut self, id: u64) {
        if let Some(call) = self.calls.get(&id) {
            let sent = call.sent > 0;
            // The other side knows the deadline and ends the call by itself.
            self.fail(id, Failure::Expired { sent }, false);
        }
    }

    fn fail(&mut self, id: u64, failure: Failure, tell: bool) {
        if let Some(call) = self.calls.remove(&id) {
            self.give_up(id, call.state, tell);
            self.out.push_back(Output::Fail(call.payload, failure));
        }
    }

    /// A call ends that has no answer yet.
    fn give_up(&mut self, id: u64, state: State, tell: bool) {
        match state {
            State::Waiting => self.waiting -= 1,
            State::Resting { .. } => {}
            State::Sent { lane, .. } if self.settings.ids => {
                self.release(lane);
                if tell {
                    self.out.push_back(Output::Cancel(lane, id));
                }
            }
            State::Sent { lane, .. } => {
                if let Some(lane) = self.lanes.get_mut(lane.0) {
                    lane.state = lane::State::Dialing;
                }
                self.out.push_back(Output::Disconnect(lane));
                self.out.push_back(Output::Connect(lane));
                self.displace(lane);
            }
        }
    }

    /// The calls of a lane that was lost go first, in their old order, or end.
    fn drop_sent(&mut self, lane: LaneId) {
        let on_it =
            |call: &Call<P>| matches!(call.state, State::Sent { lane: on, .. } if on == lane);
        let sent = self.calls.iter().filter(|(_, call)| on_it(call));
        let mut ids: Vec<_> = sent.map(|(id, _)| *id).collect();
        ids.sort_unstable();
        for id in ids.iter().rev() {
            let Some(call) = self.calls.get_mut(id) else { continue };
            if call.on(Event::Lost(lane)) == Step::WaitFirst {
                self.waiting += 1;
                self.queue.push_first(*id);
            }
        }
        for id in ids {
            let Entry::Occupied(call) = self.calls.entry(id) else { continue };
            if on_it(call.get()) {
                let payload = call.remove().payload;
                self.out.push_back(Output::Fail(payload, Failure::Lost));
            }
        }
    }

    #[cfg(test)]
    fn check(&self) {
        let waiting = self.calls.values().filter(|call| call.state == State::Waiting).count();
        assert_eq!(self.waiting, waiting);
        for (number, lane) in self.lanes.iter().enumerate() {
            let on_it = |call: &&Call<P>| matches!(call.state, State::Sent { lane, .. } if lane.0 == number);
            let sent = self.calls.values().filter(on_it).count();
            assert_eq!(lane.up().map_or(0, |up| up.in_flight), sent);
            assert!(lane.up().is_none_or(|up| up.in_flight <= self.settings.in_flight_max));
        }
    }
}

#[cfg(test)]
mod lossy;
#[cfg(test)]
mod tests;
