//! Connections are accepted, under permits, and spread over the threads.

use std::fmt;
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::transport::endpoint::Endpoint;
use crate::transport::listener::{Accepted, Bound, Listener};

use super::entrance::{Door, serve};
use super::permits::{Handshakes, Permits};
use super::rates::Rates;
use super::shared::{Shared, now};

/// How long to wait when the system cannot accept: most likely there are no file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Acceptor {
    shared: Arc<Shared>,
    threads: Vec<Handle>,
    next_thread: AtomicUsize,
    tasks: TaskTracker,
    connections: Arc<Semaphore>,
    handshakes: Arc<Handshakes>,
    rates: Mutex<Rates>,
}

impl Acceptor {
    pub(super) fn new(shared: Arc<Shared>, threads: Vec<Handle>, tasks: TaskTracker) -> Self {
        let limits = &shared.config.handshake;
        let per_address_max = limits.unfinished_per_address_max;
        Self {
            connections: Arc::new(Semaphore::new(shared.config.limits.connections)),
            handshakes: Handshakes::new(limits.unfinished_max, per_address_max),
            rates: Mutex::new(Rates::new(limits, now())),
            next_thread: AtomicUsize::new(0),
            shared,
            threads,
            tasks,
        }
    }

    /// Accepts until the broker stops accepting.
    pub(super) async fn run(self: Arc<Self>, bound: Bound, endpoint: Endpoint, door: Door) {
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
            () = self.accept_all(&listener, &endpoint, door) => {}
        }
    }

    async fn accept_all(&self, listener: &Listener, endpoint: &Endpoint, door: Door) {
        // Without a permit nothing is accepted: newcomers wait in the system's backlog.
        while let Ok(connection) = self.connections.clone().acquire_owned().await {
            match listener.accept().await {
                Ok(accepted) => {
                    self.shared.counters.accepted.add(1);
                    let network = accepted.network();
                    if !self.is_welcome(accepted.address()) {
                        self.turn_away(&accepted, Unwelcome::Network);
                        continue;
                    }
                    let Some(handshake) = self.handshakes.begin(network).await else {
                        self.turn_away(&accepted, Unwelcome::TooMany);
                        continue;
                    };
                    // Who is turned away takes no turn from those who come from there as well.
                    let wait = self.lock_rates().take(now(), network, door.mechanism);
                    let permits = Permits::new(connection, handshake);
                    self.hand_out(accepted, door, permits, wait.begin);
                    if !wait.accepting.is_zero() {
                        tokio::time::sleep(wait.accepting).await;
                    }
                }
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
    fn hand_out(&self, accepted: Accepted, door: Door, permits: Permits, wait: Duration) {
        let next = self.next_thread.fetch_add(1, Ordering::Relaxed);
        if let Some(thread) = self.threads.get(next % self.threads.len()) {
            let serve = serve(self.shared.clone(), accepted, door, permits, wait);
            self.tasks.spawn_on(serve, thread);
        }
    }

    /// A part of the broker comes in: it takes nobody's place.
    pub(super) fn admit_house(&self, stream: UnixStream) {
        self.hand_out(Accepted::Unix(stream), Door::HOUSE, Permits::house(), Duration::ZERO);
    }

    /// Whether peers may come from there.
    fn is_welcome(&self, address: Option<IpAddr>) -> bool {
        let networks = &self.shared.config.auth.networks;
        let within = |address| networks.iter().any(|network| network.contains(&address));
        networks.is_empty() || address.is_none_or(within)
    }

    fn lock_rates(&self) -> MutexGuard<'_, Rates> {
        // The times in it are whole between any two statements.
        self.rates.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn_away(&self, accepted: &Accepted, why: Unwelcome) {
        match why {
            Unwelcome::Network => self.shared.counters.rejected_network.add(1),
            Unwelcome::TooMany => self.shared.counters.rejected_address.add(1),
        }
        if let Some(held_back) = self.shared.log_refusal() {
            warn!(remote = %accepted.remote(), held_back, "closed: {why}");
        }
    }
}

/// Why a connection is closed before its first octet.
#[derive(Debug, Clone, Copy)]
enum Unwelcome {
    Network,
    TooMany,
}

impl fmt::Display for Unwelcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Network => "it comes from none of auth.networks",
            Self::TooMany => {
                "handshake.unfinished_per_address_max handshakes are under way from there"
            }
        })
    }
}
