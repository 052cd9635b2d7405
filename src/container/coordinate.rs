//! Who leads: what the runtime asks of a coordination store.

#[cfg(feature = "etcd")]
mod etcd;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

pub use crate::proto::container::{Refusal, Seat};
#[cfg(feature = "etcd")]
pub use etcd::EtcdCoordinator;

/// A future that can be named.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A session and the life of its lease, or why there is none.
pub type Opened = Result<(Arc<dyn Session>, Duration), String>;

/// What is seen in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observation {
    /// Who has the seat of the leader.
    Seat(Seat),
    /// All properties of the service.
    Properties(BTreeMap<String, String>),
}

/// A store in which instances of a service find out who leads, and see what the leader says.
pub trait Coordinator: fmt::Debug + Send + Sync {
    /// Takes out a lease of that life, and begins to watch. Observations come for as long as the
    /// session is kept; the first ones say how things are.
    fn open(&self, ttl: Duration, seen: mpsc::Sender<Observation>) -> BoxFuture<'_, Opened>;
}

/// A lease, and what can be done while it is good.
pub trait Session: fmt::Debug + Send + Sync {
    /// Takes the seat if it is free, and says who has it.
    fn campaign(&self) -> BoxFuture<'_, Result<Seat, Refusal>>;

    /// Renews the lease.
    fn renew(&self) -> BoxFuture<'_, Result<(), Refusal>>;

    /// Gives up the lease, and with it the seat.
    fn resign(&self) -> BoxFuture<'_, Result<(), Refusal>>;

    /// Says something to all instances, if the seat is still held with that epoch.
    fn put_if_leader<'a>(
        &'a self,
        epoch: u64,
        name: &'a str,
        value: &'a str,
    ) -> BoxFuture<'a, Result<(), Refusal>>;
}
