//! Leases, whoever keeps them: one holder at a time for a name, with an epoch that only grows.
//!
//! [`Coordinator`] is what a store of leases can do; a [`Client`](crate::client::Client) is one,
//! with the broker as the arbiter (SPEC 9.14). What is the same over any store is here: a
//! [`Lease`] is campaigned for and observed, and whoever holds it has a [`Held`], which renews by
//! itself, and stops believing before the store frees the lease.
//!
//! ```
//! # use majordomo::broker::Broker;
//! # use majordomo::client::Client;
//! # use majordomo::config::BrokerConfig;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! # runtime.block_on(run())
//! # }
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! # let mut config = BrokerConfig::default();
//! # config.broker.bind = vec!["tcp://127.0.0.1:0".parse()?];
//! # let broker = Broker::bind(config)?;
//! # let endpoint = broker.local_addrs()[0].to_string();
//! # let work = async {};
//! let client = Client::connect(&endpoint).await?;
//! let held = client.lease("billing").value("10.0.0.1").campaign().await?;
//! tokio::select! {
//!     () = work => held.resign().await?,
//!     lost = held.lost() => eprintln!("epoch {} is over: {lost}", held.epoch()),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What a holder must know
//!
//! A process that was stopped and goes on does not know that it holds no more until it looks, and
//! what it says in between is late. [`Held::standing`] looks at the clock; only a fence is sure:
//! [`Call::fence`](crate::client::Call::fence) has the broker refuse what is late, and
//! [`WorkerBuilder::fence`](crate::worker::WorkerBuilder::fence) what has none.
//!
//! The clock is the monotonic one of the process. Where it stands still while the machine sleeps,
//! as it does on Linux, a belief sleeps with it: fence what must not be late.

mod candidate;
mod error;
mod held;
mod seen;

use std::fmt::Debug;
use std::time::{Duration, Instant};

use futures::Stream;
use tokio::sync::mpsc;

pub use candidate::{Candidacy, Lease};
pub use error::{LeaseError, Lost};
pub use held::{Fence, Held};
pub use seen::{Page, Row, Seen};

/// A store of leases. Its clones are the same store.
///
/// Every store keeps these promises, and `tests/lease.rs` asks each of them:
///
/// - One holds at a time, and the others wait in the order of coming.
/// - An epoch is larger than all that were given for that lease before it.
/// - Who does not renew within the time to live is freed, not earlier and soon behind it.
/// - Who resigns hands over at once: to whoever waited longest, or to the one that it has named.
/// - Observers are told of each holder and each value, the newest at least, and see epochs grow.
pub trait Coordinator: Clone + Send + Sync + 'static {
    /// What stands for a lease that is held.
    type Seat: Seat;
    /// What an observer is told; it ends behind an error.
    type Watch: Stream<Item = Result<Seen, LeaseError>> + Send + Unpin + 'static;

    /// Waits in line until it holds, over as many connections as it takes. A candidate whose
    /// connection is lost may lose its place.
    ///
    /// # Errors
    /// [`LeaseError::Held`] if it does not want to wait longer, [`LeaseError::Denied`], and what
    /// the store has against it.
    ///
    /// # Cancel safety
    /// It waits no more; what has been given to it meanwhile is freed at once.
    fn campaign(
        &self,
        candidacy: &Candidacy,
    ) -> impl Future<Output = Result<Granted<Self::Seat>, LeaseError>> + Send;

    /// Has an observer told who holds a lease, now and whenever that changes.
    ///
    /// # Errors
    /// [`LeaseError::Denied`], and what the store has against it.
    fn observe(&self, lease: &str) -> Result<Self::Watch, LeaseError>;

    /// Leases whose names begin with `prefix`, behind `after`, by name.
    ///
    /// # Errors
    /// [`LeaseError::Denied`], [`LeaseError::Unreachable`].
    fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
    ) -> impl Future<Output = Result<Page, LeaseError>> + Send;
}

/// A lease that is held at a store. Dropped, it is released.
pub trait Seat: Debug + Send + Sync + 'static {
    /// By which it is held.
    fn epoch(&self) -> u64;

    /// Has a renewal sent as soon as that can be. [`News::Renewed`] says that one was acknowledged;
    /// one that is not is asked for again by the keeper.
    fn renew(&self);

    /// Says something to all who observe.
    ///
    /// # Errors
    /// [`LeaseError::Stale`] if it does not hold any more; what the store has against it.
    fn proclaim(&self, value: &[u8]) -> impl Future<Output = Result<(), LeaseError>> + Send;

    /// Hands over: to the candidate of that name, or to whoever has waited longest.
    ///
    /// # Errors
    /// [`LeaseError::NoCandidate`], and then it goes on holding; else as [`Self::proclaim`].
    fn resign(&self, to: Option<&str>) -> impl Future<Output = Result<(), LeaseError>> + Send;

    /// Frees the lease, if it is held; nobody waits for that.
    fn release(&self);
}

/// What a store gives to whom it has given a lease.
#[derive(Debug)]
pub struct Granted<S> {
    /// What it is held by.
    pub seat: S,
    /// What the store has to say about it. The store never waits for a place in it: what finds none
    /// is dropped, and its end says [`Lost::Closed`].
    pub news: mpsc::Receiver<News>,
    /// When it was asked for, if it was given at once. What was waited for is not believed before
    /// it has been renewed: nobody knows when it was given.
    pub asked: Option<Instant>,
    /// Time to live.
    pub ttl: Duration,
}

/// What a store says to a holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// A renewal has been acknowledged that was sent at that moment, not later.
    Renewed(Instant),
    /// The connection is lost, and the store keeps the lease for so long when it sees that; it is
    /// renewed on the next one.
    Parted(Duration),
    /// It does not hold any more.
    Lost(Lost),
}
