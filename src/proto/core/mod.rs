//! The core: every decision of a broker, in one state machine without a socket or a clock.
//!
//! Inputs are calls with the time as an argument; outputs go to an [`Output`] as they are decided.
//! Peers join, speak, fall silent and leave; each dialect translates, the router routes.

mod admin;
mod ask;
#[cfg(any(test, feature = "fuzzing"))]
mod audit;
mod depot;
mod disk;
mod flow;
mod keys;
mod leftovers;
mod mdp;
mod mjp;
mod names;
mod nfp;
mod peer;
mod population;
mod report;
mod rights;
mod roster;
mod scatter;
mod talk;
#[cfg(test)]
mod tests;
mod titanic;
mod topics;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use slotmap::SlotMap;

use crate::id::PeerId;
use crate::wire::mdp::{Answer, Request, Version};
use crate::wire::message::Frames;
use crate::wire::mjp::{Code, Level, Plain, is_mjp};
use crate::wire::nfp::is_nfp;

use super::clock::{Clock, Time};
use super::group::Groups;
use super::output::{CloseReason, Output};
use super::policy::{ServicePolicy, Settings};
use super::rights::Verb;
use super::router::{Refusal, Router};
use super::stats::Loss;
use super::timers::Timers;
use super::topics::Topics;

pub use admin::Errand;
use flow::Flows;
pub use flow::Question;
use names::{Claim, Kinship, Names};
pub use peer::Hello;
use peer::Peer;
pub use population::Population;
pub use rights::{Denial, Regranted};
pub use roster::{ClientRow, Page, WorkerRow};

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It was dealt with, or dropped and counted.
    Yes,
    /// There is no room for it, or others have their turn first. Read no more from this peer, and
    /// offer the message again after [`Output::resume`].
    NotYet,
}

/// Whether a new peer may speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Read from it.
    Open,
    /// Do not read from it before [`Output::resume`]: it has the name of a peer that may be dead.
    Wait,
    /// Close it: it has the name of a peer that lives.
    Refused(CloseReason),
}

/// A whole broker's decisions.
#[derive(Debug)]
pub struct Core {
    settings: Arc<Settings>,
    clock: Clock,
    peers: SlotMap<PeerId, Peer>,
    names: Names,
    router: Router,
    timers: Timers<PeerId>,
    invalid: BTreeMap<&'static str, u64>,
    dropped: u64,
    refused_jobs: u64,
    worker_events: u64,
    /// What peers wanted to do and might not, by the number of the verb.
    denied: rights::Denied,
    /// Peers that are parts of the broker, and what they have not answered yet.
    household: usize,
    house_workers: usize,
    house_asked: usize,
    followers: admin::Followers,
    errands: admin::Errands,
    topics: Topics,
    groups: Groups,
    /// What is kept on a disk, if there is one.
    titanic: Option<Box<titanic::Kept>>,
    /// What there is beside the table of requests of level disk, if there is one.
    keeper: Option<Box<depot::Keeper>>,
    numbers: disk::Numbers,
    /// Some services have level disk as their policy.
    keeps_by_policy: bool,
    flows: Flows,
}

impl Core {
    /// So many timers of peers that nobody waits for are left alone, and as many as peers.
    const TIMERS_KEPT: usize = 1024;

    /// A core that starts at `now`. The seed makes its hashes unpredictable from outside.
    #[must_use]
    pub fn new(settings: Settings, seed: u64, now: Instant) -> Self {
        let keeps = |policy: &ServicePolicy| policy.level != Level::Memory;
        let keeps_by_policy =
            keeps(&settings.policy) || settings.rules.iter().any(|rule| keeps(&rule.policy));
        let settings = Arc::new(settings);
        Self {
            topics: Topics::new(settings.topics),
            groups: Groups::new(settings.group.limits),
            flows: Flows::new(&settings.flow, seed),
            router: Router::new(settings.clone(), seed),
            settings,
            clock: Clock::new(now),
            peers: SlotMap::with_key(),
            names: Names::default(),
            timers: Timers::new(),
            invalid: BTreeMap::new(),
            dropped: 0,
            refused_jobs: 0,
            worker_events: 0,
            denied: [0; Verb::ALL.len()],
            household: 0,
            house_workers: 0,
            house_asked: 0,
            followers: admin::Followers::new(),
            errands: admin::Errands::default(),
            titanic: None,
            keeper: None,
            numbers: disk::Numbers::default(),
            keeps_by_policy,
        }
    }

    /// A peer has finished its handshake.
    pub fn join<O: Output>(
        &mut self,
        now: Instant,
        hello: Hello,
        out: &mut O,
    ) -> (PeerId, Admission) {
        let now = self.clock.at(now);
        let (identity, shape) = (hello.identity.clone(), hello.shape);
        self.household += usize::from(hello.house);
        let id = self.peers.insert(Peer::new(hello, now));
        self.announce_peer("peer.joined", id, out);
        self.introduce(id);
        if shape.is_some_and(|shape| !self.begin_flows(id, shape)) {
            self.remove(now, id, Loss::Closed, out);
            return (id, Admission::Refused(CloseReason::TooManyEnds));
        }
        let Some(identity) = identity else { return (id, Admission::Open) };
        let claim = self.names.claim(identity, id);
        #[cfg(test)]
        crate::proto::witness::saw("name", "claim", claim.label());
        let admission = match (claim, self.kinship(claim, id)) {
            (Claim::Holder, _) => Admission::Open,
            // Who can prove to be the same need not wait until nobody is there.
            (Claim::Contender { holder }, Kinship::Same) => {
                self.end(now, holder, CloseReason::Replaced, out);
                Admission::Open
            }
            (Claim::Contender { holder }, Kinship::Unproven) if self.can_show_life(holder) => {
                if let Some(peer) = self.peers.get_mut(id) {
                    peer.contest = Some(now);
                }
                out.ping(holder);
                self.arm(id, now.after(Peer::CONTEST));
                Admission::Wait
            }
            (Claim::Contender { .. } | Claim::Refused, _) => {
                Admission::Refused(CloseReason::IdentityInUse)
            }
        };
        if let Admission::Refused(_) = admission {
            self.remove(now, id, Loss::Closed, out);
        }
        self.see_to_leftovers(now, out);
        (id, admission)
    }

    /// Octets came from a peer; `speaking` if they belong to a message, whole or not.
    #[inline]
    pub fn hear(&mut self, now: Instant, id: PeerId, speaking: bool) {
        let now = self.clock.at(now);
        if let Some(peer) = self.peers.get_mut(id) {
            peer.heard = now;
            peer.pings_open = 0;
            if speaking {
                peer.spoke = now;
            }
        }
    }

    /// A peer said something.
    #[inline]
    pub fn message<O: Output>(
        &mut self,
        now: Instant,
        id: PeerId,
        message: Frames<'_>,
        out: &mut O,
    ) -> Taken {
        let now = self.clock.at(now);
        // Almost all messages are one of these.
        let taken = if let Some(request) = Request::decode_plain(message) {
            self.on_request(now, id, request, out)
        } else if let Some(answer) = Answer::decode_plain(message) {
            self.on_final(now, id, Version::V01, answer, out);
            Taken::Yes
        } else if let Some(plain) = Plain::decode(message)
            && self.on_plain(now, id, &plain, out)
        {
            Taken::Yes
        } else if self.has_flows(id, message) {
            self.on_zio(now, id, message, out)
        } else if is_mjp(message) {
            self.on_mjp(now, id, message, out)
        } else if is_nfp(message) {
            self.on_nfp(now, id, message, out);
            Taken::Yes
        } else {
            self.on_mdp(now, id, message, out)
        };
        self.see_to_leftovers(now, out);
        taken
    }

    /// A peer sent a PING; its time to live is how long it wants to be silent at most.
    pub fn pinged(&mut self, now: Instant, id: PeerId, ttl: Duration) {
        let now = self.clock.at(now);
        let Some(peer) = self.peers.get_mut(id) else { return };
        peer.ttl = (!ttl.is_zero()).then_some(ttl);
        if let Some(ttl) = peer.ttl {
            self.arm(id, now.after(ttl));
        }
    }

    /// A peer answered a PING.
    pub fn ponged(&mut self, id: PeerId) {
        if let Some(peer) = self.peers.get_mut(id) {
            peer.has_ponged = true;
        }
    }

    /// The outbox of a peer, once under pressure, has emptied.
    pub fn relieved<O: Output>(&mut self, now: Instant, id: PeerId, out: &mut O) {
        let now = self.clock.at(now);
        if let Some(worker) = self.peers.get(id).and_then(|peer| peer.worker) {
            self.router.relieve(now, worker, out);
        }
        self.relieve_flows(id, out);
        self.see_to_leftovers(now, out);
    }

    /// The connection of a peer has ended.
    pub fn leave<O: Output>(&mut self, now: Instant, id: PeerId, out: &mut O) {
        let now = self.clock.at(now);
        self.remove(now, id, Loss::Closed, out);
        self.see_to_leftovers(now, out);
    }

    /// Gives up a peer that the shell cannot serve any more.
    pub fn give_up<O: Output>(&mut self, now: Instant, id: PeerId, why: CloseReason, out: &mut O) {
        let now = self.clock.at(now);
        self.end(now, id, why, out);
        self.see_to_leftovers(now, out);
    }

    /// Does what is due. To be called at [`Self::next_timeout`], and at least every
    /// [`Clock::TICK_MAX`], or the core believes that the process was stopped.
    pub fn tick<O: Output>(&mut self, now: Instant, out: &mut O) {
        let now = self.clock.at(now);
        while let Some((at, id)) = self.timers.pop_due(now) {
            if self.peers.get(id).is_some_and(|peer| peer.armed == Some(at)) {
                self.look_at(now, id, out);
            }
        }
        // A part that has ended so far is not due any more.
        self.see_to_leftovers(now, out);
        self.router.expire(now, out);
        self.router.resume_paused(out);
        self.router.resume_rated(now, out);
        self.tick_titanic(now, out);
        self.tick_depot(now, out);
        self.tell_gaps(now, out);
        self.tick_groups(now, out);
        self.tick_flows(now, out);
        self.see_to_leftovers(now, out);
    }

    /// When the next deadline is due.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        let flows = self.flows.table.next_timeout();
        let depot = self.depot().and_then(super::depot::Depot::next_due);
        let groups = self.groups.next_due();
        let own = [self.timers.next(), self.router.next_expiry(), self.topics.next_gap()];
        let next = own.into_iter().chain([flows, depot, groups]);
        let next = next.flatten().min()?;
        Some(self.clock.instant_of(next))
    }

    /// From now on no request is accepted; who can be told so is told, and how long those that
    /// have been accepted may take.
    pub fn drain<O: Output>(&mut self, now: Instant, within: Duration, out: &mut O) {
        let now = self.clock.at(now);
        self.router.drain();
        self.recall_titanic(now, out);
        self.recall_depot(now, out);
        self.stop_flows(now, within, out);
        // Without a time it would be the echo of a worker's own DRAIN.
        self.announce_end(u64::try_from(within.as_millis()).unwrap_or(u64::MAX), out);
        self.see_to_leftovers(now, out);
    }

    /// Whether nothing is left that could still be finished.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        let stored = self.is_disk_quiet();
        let house = self.house_asked == 0;
        stored && house && self.router.is_drained() && self.flows.table.is_settled()
    }

    /// Says DISCONNECT or BYE to every worker. What they hold goes back to the queues.
    pub fn dismiss_all<O: Output>(&mut self, now: Instant, out: &mut O) {
        let now = self.clock.at(now);
        let workers: Vec<PeerId> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.state.is_worker())
            .map(|(id, _)| id)
            .collect();
        for id in workers {
            self.expire(now, id, Code::Draining, out);
        }
        self.see_to_leftovers(now, out);
    }

    /// What the core was told before it started.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The routing tables, to look at.
    #[must_use]
    pub fn router(&self) -> &Router {
        &self.router
    }

    /// The subscriptions, to look at.
    #[must_use]
    pub fn topics(&self) -> &Topics {
        &self.topics
    }

    /// Broker time at `now`.
    pub fn time(&mut self, now: Instant) -> Time {
        self.clock.at(now)
    }

    /// Stalls of our own noticed so far.
    #[must_use]
    pub fn stalls(&self) -> u64 {
        self.clock.stalls()
    }

    /// Messages of no dialect, by what was wrong.
    #[must_use]
    pub fn invalid(&self) -> &BTreeMap<&'static str, u64> {
        &self.invalid
    }

    /// Valid messages dropped because the peer may not say them.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Commands of NFP clients that went to nobody, and were answered by 400.
    #[must_use]
    pub fn refused_jobs(&self) -> u64 {
        self.refused_jobs
    }

    /// EVENTs of workers.
    #[must_use]
    pub fn worker_events(&self) -> u64 {
        self.worker_events
    }

    fn count_invalid(&mut self, reason: &'static str) {
        *self.invalid.entry(reason).or_default() += 1;
    }

    /// Arms the timer of a peer, unless it fires before that anyway.
    fn arm(&mut self, id: PeerId, at: Time) {
        if let Some(peer) = self.peers.get_mut(id)
            && peer.armed.is_none_or(|armed| armed > at)
        {
            peer.armed = Some(at);
            self.timers.arm(at, id);
            let Self { timers, peers, .. } = self;
            if timers.len() > Self::TIMERS_KEPT + 2 * peers.len() {
                timers.sweep(|at, id| peers.get(id).is_some_and(|peer| peer.armed == Some(at)));
            }
        }
    }

    /// Whether the peer would answer a PING and we would hear it.
    fn can_show_life(&self, id: PeerId) -> bool {
        self.peers.get(id).is_some_and(|peer| peer.takes_ping) && !self.is_unread(id)
    }

    /// A timer of the peer has fired.
    fn look_at<O: Output>(&mut self, now: Time, id: PeerId, out: &mut O) {
        let unread = self.is_unread(id);
        let Some(peer) = self.peers.get_mut(id) else { return };
        peer.armed = None;
        if let Some(ttl) = peer.ttl {
            // Who is not read cannot be heard: that is no silence.
            let heard = if unread { now } else { peer.heard };
            let until = heard.after(ttl);
            if until <= now {
                return self.end(now, id, CloseReason::PingExpired, out);
            }
            self.arm(id, until);
        }
        self.decide_contest(now, id, out);
        self.look_at_worker(now, id, out);
    }

    /// Forgets a peer: what it held goes back, what it asked for ends.
    fn remove<O: Output>(&mut self, now: Time, id: PeerId, loss: Loss, out: &mut O) {
        self.forget_follower(id);
        self.forget_paused(id);
        self.leave_depot(id, out);
        self.leave_flows(now, id, out);
        out.release(self.topics.forget(id));
        if let Some(worker) = self.peers.get(id).and_then(|peer| peer.worker) {
            self.announce_worker("worker.lost", id, worker, out);
        }
        self.announce_peer("peer.left", id, out);
        let Some(peer) = self.peers.remove(id) else { return };
        self.household -= usize::from(peer.house);
        self.house_workers -= usize::from(peer.house && peer.worker.is_some());
        self.house_asked -= peer.asked;
        self.router.forget_peer(now, id, peer.worker, loss, out);
        self.leave_groups(now, id, out);
        if let Some(name) = &peer.identity
            && let Some(heir) = self.names.release(name, id)
            && let Some(heir_peer) = self.peers.get_mut(heir)
        {
            heir_peer.contest = None;
            out.resume(heir);
        }
    }
}
