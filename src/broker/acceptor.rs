//! Connections are accepted, under permits, and spread over the threads.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;
use tracing::{debug, error, info};

use crate::transport::endpoint::Endpoint;
use crate::transport::listener::{Accepted, Bound, Listener};

use super::connection::serve;
use super::shared::Shared;

/// How long to wait when the system cannot accept: most likely there are no file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Acceptor {
    shared: Arc<Shared>,
    threads: Vec<Handle>,
    next_thread: AtomicUsize,
    tasks: TaskTracker,
    connections: Arc<Semaphore>,
    unfinished: Arc<Semaphore>,
    addresses: Addresses,
}

/// Unfinished handshakes by address.
type Addresses = Arc<Mutex<HashMap<IpAddr, usize>>>;

/// What a connection may use as long as it lives.
#[derive(Debug)]
pub(super) struct Permits {
    _connection: OwnedSemaphorePermit,
    handshake: Option<HandshakePermit>,
}

#[derive(Debug)]
struct HandshakePermit {
    _unfinished: OwnedSemaphorePermit,
    address: Option<(Addresses, IpAddr)>,
}

impl Permits {
    /// The handshake is done: others may have theirs.
    pub(super) fn handshake_done(&mut self) {
        self.handshake = None;
    }
}

impl Drop for HandshakePermit {
    fn drop(&mut self) {
        let Some((addresses, address)) = &self.address else { return };
        let mut addresses = addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = addresses.get_mut(address) {
            *count -= 1;
            if *count == 0 {
                addresses.remove(address);
            }
        }
    }
}

impl Acceptor {
    pub(super) fn new(shared: Arc<Shared>, threads: Vec<Handle>, tasks: TaskTracker) -> Self {
        Self {
            connections: Arc::new(Semaphore::new(shared.config.limits.connections)),
            unfinished: Arc::new(Semaphore::new(shared.config.handshake.unfinished_max)),
            addresses: Addresses::default(),
            next_thread: AtomicUsize::new(0),
            shared,
            threads,
            tasks,
        }
    }

    /// Accepts until the broker stops accepting.
    pub(super) async fn run(self: Arc<Self>, bound: Bound, endpoint: Endpoint) {
        let listener = match bound.listen() {
            Ok(listener) => listener,
            Err(error) => {
                self.shared.deaf.store(true, Ordering::Relaxed);
                return error!(%endpoint, %error, "cannot listen");
            }
        };
        info!(%endpoint, "listening");
        let stopped = self.shared.accepting.clone();
        tokio::select! {
            () = stopped.cancelled() => {}
            () = self.accept_all(&listener, &endpoint) => {}
        }
    }

    async fn accept_all(&self, listener: &Listener, endpoint: &Endpoint) {
        // Without a permit nothing is accepted: newcomers wait in the system's backlog, and
        // nobody who makes progress is dropped for them.
        while let (Ok(connection), Ok(unfinished)) = (
            self.connections.clone().acquire_owned().await,
            self.unfinished.clone().acquire_owned().await,
        ) {
            match listener.accept().await {
                Ok(accepted) => self.hand_out(accepted, connection, unfinished),
                Err(error) => {
                    self.shared.counters.accept_errors.add(1);
                    if let Some(held_back) = self.shared.log_refusal() {
                        error!(%endpoint, %error, held_back, "cannot accept; trying again");
                    }
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
        }
    }

    /// Gives the connection to the next thread.
    fn hand_out(
        &self,
        accepted: Accepted,
        connection: OwnedSemaphorePermit,
        unfinished: OwnedSemaphorePermit,
    ) {
        self.shared.counters.accepted.add(1);
        let address = accepted.address().filter(|address| !address.is_loopback());
        if !address.is_none_or(|address| self.count_address(address)) {
            self.shared.counters.rejected_address.add(1);
            return debug!(remote = %accepted.remote(), "too many unfinished handshakes; closed");
        }
        let address = address.map(|address| (self.addresses.clone(), address));
        let handshake = HandshakePermit { _unfinished: unfinished, address };
        let permits = Permits { _connection: connection, handshake: Some(handshake) };
        let next = self.next_thread.fetch_add(1, Ordering::Relaxed);
        if let Some(thread) = self.threads.get(next % self.threads.len()) {
            self.tasks.spawn_on(serve(self.shared.clone(), accepted, permits), thread);
        }
    }

    /// Counts one more unfinished handshake from there; false if there are too many.
    fn count_address(&self, address: IpAddr) -> bool {
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let count = addresses.entry(address).or_default();
        if *count >= self.shared.config.handshake.unfinished_per_address_max {
            return false;
        }
        *count += 1;
        true
    }
}
