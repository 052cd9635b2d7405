//! A lease that is held, and the task that renews it.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep_until;

use super::error::{LeaseError, Lost};
use super::{News, Seat};
use crate::proto::lease::{Hold, Standing};

/// A lease, and the epoch by which somebody holds it, or did: a request with it is taken only as
/// long as that holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence {
    pub(crate) lease: Box<str>,
    pub(crate) epoch: u64,
}

impl Fence {
    /// The lease, 1 to 255 octets, and the epoch.
    pub fn new(lease: impl Into<String>, epoch: u64) -> Self {
        Self { lease: lease.into().into_boxed_str(), epoch }
    }

    /// The lease.
    #[must_use]
    pub fn lease(&self) -> &str {
        &self.lease
    }

    /// The epoch.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }
}

impl<S: Seat> From<&Held<S>> for Fence {
    fn from(held: &Held<S>) -> Self {
        Self::new(&*held.lease, held.epoch())
    }
}

/// A lease that is held, as long as this is there. A task renews it by itself.
///
/// Dropped, it is freed, as if it were resigned; nobody waits for that.
#[derive(Debug)]
pub struct Held<S: Seat> {
    lease: Box<str>,
    seat: Arc<S>,
    belief: Arc<Belief>,
    keeper: JoinHandle<()>,
}

/// How far the belief has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Unsure,
    Sure,
    Lost(Lost),
}

#[derive(Debug)]
struct Belief {
    hold: Mutex<Hold>,
    phase: watch::Sender<Phase>,
    /// Resignations to somebody that have not been answered.
    leaving: AtomicUsize,
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl<S: Seat> Held<S> {
    /// What the store has given, and what is believed of it.
    pub(super) fn new(lease: &str, seat: S, news: mpsc::Receiver<News>, hold: Hold) -> Self {
        let phase = if hold.until().is_some() { Phase::Sure } else { Phase::Unsure };
        let (seat, phase) = (Arc::new(seat), watch::Sender::new(phase));
        let belief =
            Arc::new(Belief { hold: Mutex::new(hold), phase, leaving: AtomicUsize::new(0) });
        let keeper = tokio::spawn(keep(seat.clone(), belief.clone(), news));
        Self { lease: lease.into(), seat, belief, keeper }
    }

    /// Waits until it is believed, or lost.
    pub(super) async fn settled(&self) -> Phase {
        self.belief.when(|phase| *phase != Phase::Unsure).await
    }

    /// The lease.
    #[must_use]
    pub fn lease(&self) -> &str {
        &self.lease
    }

    /// By which it is held: larger than that of any holder before.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.seat.epoch()
    }

    /// Until when it is believed to be held if it is not renewed before that, by the clock at this
    /// moment, also right behind a time in which this process was stopped. With a grace shorter than
    /// `ttl` the store may have seen the connection end before that, and have freed the lease: which
    /// only a fence, a grace as long as `ttl` or a lock delay makes harmless (SPEC 9.14).
    ///
    /// # Errors
    /// Why it is not held any more.
    pub fn standing(&self) -> Result<Instant, Lost> {
        if let Phase::Lost(lost) = *self.belief.phase.borrow() {
            return Err(lost);
        }
        if self.belief.leaving.load(Ordering::SeqCst) > 0 {
            return Err(Lost::Resigned);
        }
        let mut hold = self.belief.hold();
        match (hold.standing(now()), hold.until()) {
            (Standing::Holds(_) | Standing::Due, Some(until)) => Ok(until),
            _ => Err(Lost::Expired),
        }
    }

    /// Whether it is held at this moment.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.standing().is_ok()
    }

    /// Waits until it is not held any more. A runtime that is busy, or was stopped, is told late;
    /// [`Self::standing`] is not.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn lost(&self) -> Lost {
        match self.belief.when(|phase| matches!(phase, Phase::Lost(_))).await {
            Phase::Lost(lost) => lost,
            Phase::Sure | Phase::Unsure => Lost::Closed,
        }
    }

    /// Says something to all who observe, instead of what was said before.
    ///
    /// # Errors
    /// [`LeaseError::Lost`], [`LeaseError::Stale`], [`LeaseError::Unreachable`], and what the store
    /// has against it.
    ///
    /// # Cancel safety
    /// It may have been said, or not.
    pub async fn proclaim(&self, value: impl AsRef<[u8]>) -> Result<(), LeaseError> {
        self.standing()?;
        self.seat.proclaim(value.as_ref()).await
    }

    /// Hands over to whoever has waited longest, and holds no more from the moment of the call.
    ///
    /// # Errors
    /// [`LeaseError::Lost`], [`LeaseError::Unreachable`]. It is not held any more in any case.
    ///
    /// # Cancel safety
    /// It is not held any more.
    pub async fn resign(&self) -> Result<(), LeaseError> {
        self.standing()?;
        let _leaving = Leaving::begin(self);
        self.belief.end(Lost::Resigned);
        self.seat.resign(None).await
    }

    /// Hands over to the candidate of that name, which has waited longest of those that have it.
    /// It is not believed to be held while the store is asked.
    ///
    /// # Errors
    /// [`LeaseError::NoCandidate`], and then it goes on holding. Else as [`Self::resign`].
    ///
    /// # Cancel safety
    /// It is not held any more.
    pub async fn resign_to(&self, name: &str) -> Result<(), LeaseError> {
        super::candidate::check_name("the name of the candidate", name)?;
        self.standing()?;
        let mut leaving = Leaving::begin(self);
        let resigned = self.seat.resign(Some(name)).await;
        leaving.stays = matches!(resigned, Err(LeaseError::NoCandidate { .. }));
        resigned
    }
}

/// Who asks to be succeeded, and does not hear what became of it, holds no more.
struct Leaving<'a, S: Seat> {
    held: &'a Held<S>,
    /// There was nobody to hand over to.
    stays: bool,
}

impl<'a, S: Seat> Leaving<'a, S> {
    fn begin(held: &'a Held<S>) -> Self {
        held.belief.leaving.fetch_add(1, Ordering::SeqCst);
        Self { held, stays: false }
    }
}

impl<S: Seat> Drop for Leaving<'_, S> {
    fn drop(&mut self) {
        if !self.stays {
            self.held.belief.end(Lost::Resigned);
            self.held.seat.release();
        }
        self.held.belief.leaving.fetch_sub(1, Ordering::SeqCst);
    }
}

impl<S: Seat> Drop for Held<S> {
    fn drop(&mut self) {
        self.keeper.abort();
        self.seat.release();
    }
}

impl Belief {
    fn hold(&self) -> MutexGuard<'_, Hold> {
        // It is whole between any two statements: a panic elsewhere cannot harm it.
        self.hold.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn when(&self, is: impl FnMut(&Phase) -> bool) -> Phase {
        let mut phases = self.phase.subscribe();
        // The sender lives as long as we do.
        phases.wait_for(is).await.map_or(Phase::Lost(Lost::Closed), |phase| *phase)
    }

    /// It is not held any more, for the first reason that there is: whether this one is it.
    fn end(&self, lost: Lost) -> bool {
        self.hold().lose();
        self.phase.send_if_modified(|phase| {
            let first = !matches!(phase, Phase::Lost(_));
            if first {
                *phase = Phase::Lost(lost);
            }
            first
        })
    }

    fn hear(&self, news: News) -> Option<Lost> {
        match news {
            News::Renewed(sent) => {
                let mut hold = self.hold();
                hold.acked(now(), sent);
                let sure = hold.holds(now());
                drop(hold);
                self.phase.send_if_modified(|phase| {
                    let first = sure && *phase == Phase::Unsure;
                    if first {
                        *phase = Phase::Sure;
                    }
                    first
                });
                None
            }
            News::Parted(grace) => {
                self.hold().part(grace);
                None
            }
            News::Lost(lost) => Some(lost),
        }
    }
}

/// Renews until it is lost.
async fn keep<S: Seat>(seat: Arc<S>, belief: Arc<Belief>, mut news: mpsc::Receiver<News>) {
    let lost = loop {
        let (standing, until) = {
            let mut hold = belief.hold();
            let standing = hold.standing(now());
            if standing == Standing::Due {
                hold.sent(now());
            }
            (standing, hold.until())
        };
        let due = match standing {
            Standing::Lost => break Lost::Expired,
            Standing::Due => {
                seat.renew();
                continue;
            }
            Standing::Holds(due) => until.map_or(due, |until| due.min(until)),
        };
        let alarm = pin!(sleep_until(due.into()));
        tokio::select! {
            said = news.recv() => {
                if let Some(lost) = said.map_or(Some(Lost::Closed), |said| belief.hear(said)) {
                    break lost;
                }
            }
            () = alarm => {}
        }
    };
    // Who resigns lets go itself, when the store has answered.
    if belief.end(lost) {
        seat.release();
    }
}
