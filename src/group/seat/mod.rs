//! One membership, as its own side sees it: pure, with the time as an argument.
//!
//! ```text
//!             connected            joined
//!   Apart  -------------> Joining --------> Member(incarnation)
//!     ^ \                   |  ^               |   |
//!     |  +------------------+  | wait          |   | expired
//!     |     lost      refused  v for now       |   v
//!     |                     Waiting <----------|---+
//!     +----------------------------------------+ lost
//!   left, replaced, denied, refused for good: Over
//! ```
//!
//! What has happened is published when an input has been taken wholly. Between "elected" and the
//! answer to the first beat nobody knows until when this member may believe that it leads; so what
//! is heard in between waits for that answer, and whoever is told that it leads, does.

mod ask;
mod hear;
mod life;
mod polls;
mod report;
mod say;
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "an epoch to count from")]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::Inner;
use super::ballot::Action;
use super::error::GroupError;
use super::event::{Event, Parted, PollResult};
use super::kind::GroupKind;
use super::shared::{Shared, Standing};
use super::words::{MemberId, PollId, Reason, View};
use crate::proto::backoff::Backoff;
use crate::proto::group::{Charter, ClockSync, Standpoint};

use ask::Asks;
pub(super) use ask::{Reply, Wish};
pub(super) use polls::{Agreed, Opened, When};
use polls::{Promise, Request};
pub(super) use report::{charter, event_of};
pub(super) use say::{Open, Say, Send};

/// What is joined, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wants {
    pub(super) group: Box<str>,
    /// What it calls itself; the broker finds a name for who has none.
    pub(super) member: Option<Box<str>>,
    /// What it sends to all comes back to it.
    pub(super) own: bool,
    pub(super) kind: GroupKind,
}

/// What the task is to do.
pub(super) enum Output {
    /// To be said with that id; `seat` is the id of the join.
    Say { id: u64, seat: u64, say: Say },
    /// To be begun at `at` and not behind `until`.
    Act { poll: PollId, at: Instant, until: Instant, action: Action },
    /// The connection is of no use.
    Dead { because: &'static str },
    /// The membership is over, and nobody is to ask it any more.
    Over,
}

/// One membership.
pub(super) struct Seat {
    number: u32,
    /// Ids given so far.
    said: u32,
    pub(super) wants: Wants,
    answer_timeout: Duration,
    backoff: Backoff,
    connected: bool,
    phase: Phase,
    clock: ClockSync,
    asks: Asks,
    /// Polls that were opened here, and who waits for their results.
    requests: BTreeMap<PollId, Request>,
    /// Actions that were agreed to, and whose polls have not ended.
    promises: BTreeMap<PollId, Promise>,
    /// Actions that are wanted, and that this member has not agreed to.
    wanted: VecDeque<PollResult>,
    /// Actions that were begun, or missed, last.
    acted: VecDeque<PollId>,
    shared: Arc<Shared>,
    group: Weak<Inner>,
    now: Instant,
    /// To be told when the input has been taken.
    events: Vec<Event>,
    /// To be told when it is known until when this member may believe that it leads.
    held: Vec<Event>,
    outputs: VecDeque<Output>,
}

enum Phase {
    /// There is no connection.
    Apart,
    /// It is asked for, by the join of that id; an answer comes until then.
    Joining {
        id: u64,
        until: Instant,
    },
    /// It was refused, and is asked for again then.
    Waiting {
        at: Instant,
    },
    Member(Box<Inside>),
    Over,
}

/// What a member knows of its group.
struct Inside {
    /// Of the join.
    id: u64,
    own: MemberId,
    charter: Arc<Charter>,
    view: Arc<View>,
    /// Its place in the order, the newest epoch, and whether it leads.
    point: Standpoint,
    lead: Option<Lead>,
    /// The leadership that has ended here before the broker has said so.
    ended: Option<u64>,
    /// Beats that have not been answered, and when they were sent.
    beats: VecDeque<(u64, Instant)>,
    next_beat: Instant,
}

/// The leadership of this member.
struct Lead {
    epoch: u64,
    since: Instant,
    /// A beat with it has been answered.
    sure: bool,
    /// It was resigned, and that has not been answered.
    leaving: bool,
}

impl Seat {
    /// Longest time for which events wait until it is known whether this member leads.
    const HELD_TIME: Duration = Duration::from_secs(1);
    /// Most of them.
    const HELD_MAX: usize = 1024;
    /// Actions that are remembered, so that none of them is begun twice.
    const ACTED_MAX: usize = 1000;
    /// Actions that are remembered for who agrees to them when that was decided already.
    const WANTED_MAX: usize = 1000;

    pub(super) fn new(
        number: u32,
        wants: Wants,
        answer_timeout: Duration,
        backoff: Backoff,
        shared: Arc<Shared>,
        group: Weak<Inner>,
        now: Instant,
    ) -> Self {
        Self {
            number,
            said: 0,
            wants,
            answer_timeout,
            backoff,
            connected: false,
            phase: Phase::Apart,
            clock: ClockSync::default(),
            asks: Asks::default(),
            requests: BTreeMap::new(),
            promises: BTreeMap::new(),
            wanted: VecDeque::new(),
            acted: VecDeque::new(),
            shared,
            group,
            now,
            events: Vec::new(),
            held: Vec::new(),
            outputs: VecDeque::new(),
        }
    }

    /// The seat that has said something with that id.
    pub(super) fn number_of(id: u64) -> u32 {
        u32::try_from(id >> 32).unwrap_or_default()
    }

    pub(super) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// There is a connection.
    pub(super) fn connected(&mut self, now: Instant) {
        self.now = now;
        self.connected = true;
        if matches!(self.phase, Phase::Apart) {
            self.join();
        }
        self.settle();
    }

    /// The connection is lost, and with it the membership.
    pub(super) fn disconnected(&mut self, now: Instant, because: &Arc<str>) {
        self.now = now;
        self.connected = false;
        self.clock = ClockSync::default();
        let lost = GroupError::Lost { because: because.clone() };
        let left = self.asks.lose(&lost);
        match std::mem::replace(&mut self.phase, Phase::Apart) {
            Phase::Over => self.phase = Phase::Over,
            // With the connection it has left all the same.
            _ if left => self.over(Parted::Left),
            Phase::Member(_) => {
                self.part(Parted::Disconnected { because: because.clone() });
            }
            Phase::Apart | Phase::Joining { .. } | Phase::Waiting { .. } => {}
        }
        self.shared.known().because = Some(because.clone());
        self.settle();
    }

    /// Something is due.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        match &self.phase {
            Phase::Joining { until, .. } if *until <= now => {
                self.dead("the broker does not answer a join");
            }
            Phase::Waiting { at } if *at <= now && self.connected => self.join(),
            Phase::Member(_) => self.live(),
            _ => {}
        }
        self.asks.expire(now, self.answer_timeout);
        self.expire_requests();
        self.settle();
    }

    /// When something is due next.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let own = match &self.phase {
            Phase::Apart | Phase::Over => None,
            Phase::Joining { until: at, .. } | Phase::Waiting { at } => Some(*at),
            Phase::Member(inside) => Some(inside.next_timeout(self.now, !self.held.is_empty())),
        };
        let requests = self.requests.values().map(|request| request.until).min();
        [own, self.asks.next_timeout(), requests].into_iter().flatten().min()
    }

    /// It leaves, and nobody waits for that: nobody holds the group any more, or the connection is
    /// closed for good.
    pub(super) fn abandon(&mut self, now: Instant, parted: Parted) {
        self.now = now;
        match &self.phase {
            Phase::Joining { id, .. } => self.say_at(*id, 0, Say::Cancel),
            Phase::Member(inside) => self.say_at(inside.id, 0, Say::Cancel),
            Phase::Apart | Phase::Waiting { .. } | Phase::Over => {}
        }
        self.over(parted);
        self.settle();
    }

    fn join(&mut self) {
        let id = self.next_id();
        let until = self.now + self.answer_timeout;
        self.phase = Phase::Joining { id, until };
        self.say_at(id, id, Say::Join);
    }

    /// It is no member now, but will be again.
    fn part(&mut self, parted: Parted) {
        self.phase = Phase::Apart;
        self.clock = ClockSync::default();
        self.tell(Event::Parted(parted));
        // Nobody waits for the answer to a beat any more.
        self.events.append(&mut self.held);
    }

    /// It is no member any more.
    fn over(&mut self, parted: Parted) {
        if matches!(self.phase, Phase::Over) {
            return;
        }
        self.phase = Phase::Over;
        let error = match &parted {
            Parted::Closed => GroupError::Closed,
            Parted::Refused(error) => error.clone(),
            _ => GroupError::Left,
        };
        self.asks.end(&error);
        for (_, request) in std::mem::take(&mut self.requests) {
            request.end(&Err(error.clone()));
        }
        self.promises.clear();
        self.wanted.clear();
        let mut events = std::mem::take(&mut self.events);
        events.append(&mut self.held);
        self.shared.publish(
            |known| {
                known.view = None;
                known.lead = None;
            },
            &events,
        );
        self.shared.standing.send_if_modified(|standing| {
            *standing = match (&*standing, &parted) {
                (Standing::New, Parted::Refused(error)) => Standing::Refused(error.clone()),
                (Standing::New, Parted::Closed) => Standing::Refused(GroupError::Closed),
                _ => Standing::Over,
            };
            true
        });
        self.shared.end(parted);
        self.outputs.push_back(Output::Over);
    }

    fn dead(&mut self, because: &'static str) {
        self.outputs.push_back(Output::Dead { because });
    }

    /// Tells it when the input has been taken, or when it is known whether this member leads.
    fn tell(&mut self, event: Event) {
        if self.is_unsure() || !self.held.is_empty() {
            self.held.push(event);
        } else {
            self.events.push(event);
        }
    }

    /// Whether it was elected and does not know yet until when it leads.
    fn is_unsure(&self) -> bool {
        let Phase::Member(inside) = &self.phase else { return false };
        let Some(lead) = &inside.lead else { return false };
        !lead.sure && self.now < lead.since + Self::HELD_TIME && self.held.len() < Self::HELD_MAX
    }

    /// Writes down what is known, and tells what has happened.
    fn settle(&mut self) {
        if !self.is_unsure() {
            self.events.append(&mut self.held);
        }
        let events = std::mem::take(&mut self.events);
        let (phase, clock) = (&self.phase, &self.clock);
        self.shared.publish(
            |known| match phase {
                Phase::Member(inside) => {
                    known.view = Some(inside.view.clone());
                    known.charter = Some(inside.charter.clone());
                    let lead = inside.lead.as_ref().filter(|lead| !lead.leaving);
                    known.lead = lead.map(|_| inside.point.clone());
                    known.clock = clock.clone();
                    known.because = None;
                }
                Phase::Apart | Phase::Joining { .. } | Phase::Waiting { .. } | Phase::Over => {
                    known.view = None;
                    known.lead = None;
                    known.clock = ClockSync::default();
                }
            },
            &events,
        );
        if matches!(self.phase, Phase::Member(_)) {
            self.shared.standing.send_if_modified(|standing| {
                let new = *standing == Standing::New;
                *standing = Standing::Member;
                new
            });
        }
    }

    fn next_id(&mut self) -> u64 {
        // 0 stands for no id.
        self.said = self.said.checked_add(1).unwrap_or(1);
        (u64::from(self.number) << 32) | u64::from(self.said)
    }

    fn say_at(&mut self, seat: u64, id: u64, say: Say) {
        self.outputs.push_back(Output::Say { id, seat, say });
    }

    /// This member's own leadership ends, before the broker says so.
    fn lose_lead(&mut self, reason: Reason) {
        let Phase::Member(inside) = &mut self.phase else { return };
        let Some(lead) = inside.lead.take() else { return };
        inside.point.exited(lead.epoch);
        inside.ended = Some(lead.epoch);
        inside.next_beat = self.now;
        let view = Arc::make_mut(&mut inside.view);
        if let Some(leader) = view.leader.take_if(|leader| leader.epoch == lead.epoch) {
            self.tell(Event::LeaderExited { leader, reason });
        }
    }
}
