//! Where connections come in: the handshake, and who is let through.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::FutureExt;
use tracing::{debug, error, info, warn};

use crate::proto::handshake::{Local, Peer, Role};
use crate::transport::greet::{GreetError, Means, greet, linger};
use crate::transport::inbound::Inbound;
use crate::transport::link::{Link, OutboxLimits};
use crate::transport::listener::Accepted;
use crate::transport::stream::{ReadHalf, WriteHalf};
use crate::wire::greeting::Mechanism;
use crate::wire::nfp::Era;

use super::connection::Connection;
use super::crowd::TooMany;
use super::permits::Permits;
use super::shared::Shared;

/// How long an unwanted peer may take to read why.
const LINGER: Duration = Duration::from_secs(1);

/// Where a connection comes in, which says something about the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Door {
    /// What is spoken there to prove who one is.
    pub(super) mechanism: Mechanism,
    /// Which header NFP peers expect that come in here.
    pub(super) era: Era,
    /// Nothing but flows is spoken there.
    pub(super) flows_only: bool,
    /// The other end is in this process.
    pub(super) house: bool,
}

impl Door {
    /// That of parts of the broker.
    pub(super) const HOUSE: Self =
        Self { mechanism: Mechanism::Null, era: Era::Current, flows_only: false, house: true };
}

/// Serves one connection from its first octet to its last.
pub(super) async fn serve(
    shared: Arc<Shared>,
    accepted: Accepted,
    door: Door,
    mut permits: Permits,
    wait: Duration,
) {
    let remote = accepted.remote();
    if !wait.is_zero() {
        // Many came from there just now: this one's turn is later.
        tokio::select! {
            () = tokio::time::sleep(wait).boxed() => {}
            () = shared.running.cancelled().boxed() => return,
            () = permits.evicted().boxed() => return note_evicted(&shared, door.mechanism, &remote),
        }
    }
    let principal = accepted.principal();
    let greeted = shake(&shared, accepted, door, &permits, &remote).boxed().await;
    let Some(Greeted { mut peer, early, reader, writer }) = greeted else { return };
    // Who comes in finds the services of the broker there.
    if !door.house && !shared.furnished.is_cancelled() {
        tokio::select! {
            () = shared.furnished.cancelled().boxed() => {}
            () = shared.running.cancelled().boxed() => return,
        }
    }
    permits.handshake_done();
    let principal = peer.proven.unwrap_or(principal);
    if !door.house {
        shared.counters.handshakes(door.mechanism).done.add(1);
    }
    if peer.by_old_key {
        shared.counters.by_old_key.add(1);
        info!(%remote, ?principal, "a peer still knows us by the key before the present one");
    }
    let _place = match shared.crowd.enter(principal) {
        Ok(place) => place,
        Err(TooMany) => {
            shared.counters.rejected_key.add(1);
            if let Some(held_back) = shared.log_refusal() {
                warn!(%remote, ?principal, held_back, "closed: auth.connections_per_key are open");
            }
            return;
        }
    };
    let limits = OutboxLimits { bytes_max: shared.config.limits.outbox };
    let mut link = Link::new(writer, limits, shared.account.clone()).within_process(door.house);
    let mut inbound = Inbound::new(reader, shared.config.wire_limits(), shared.account.clone())
        .with_line(shared.body_line.clone())
        .with_early(early);
    if let Some(channel) = peer.channel.take() {
        let (sealer, opener) = channel.split();
        link = link.with_sealer(sealer, shared.box_bench.clone());
        inbound = inbound.with_opener(opener, shared.box_bench.clone());
    }
    let link = Arc::new(link);
    let joined = Connection::join(shared, link, inbound, (&peer, door, principal), &remote);
    let Some(connection) = joined else { return };
    connection.run(&remote).await;
}

/// A peer after its handshake.
struct Greeted {
    peer: Peer,
    /// What came behind the handshake.
    early: Vec<u8>,
    reader: ReadHalf,
    writer: WriteHalf,
}

/// Shakes hands, and notes why not if there is no peer.
async fn shake(
    shared: &Shared,
    accepted: Accepted,
    door: Door,
    permits: &Permits,
    remote: &str,
) -> Option<Greeted> {
    let principal = accepted.principal();
    let stream = match accepted.into_stream() {
        Ok(stream) => stream,
        Err(error) => {
            debug!(%remote, %error, "the connection broke at once");
            return None;
        }
    };
    let (mut reader, writer) = stream.into_split();
    let timeout = shared.config.handshake.timeout;
    let now = SystemTime::now();
    let Some(security) = shared.guard.security(door.mechanism, principal, now) else {
        error!(%remote, "no randomness for a handshake; closed");
        return None;
    };
    let limits = shared.config.wire_limits();
    let local = Local { role: Role::Accept, security, limits };
    let silence = Some(shared.config.handshake.silence);
    let means = Means { bench: shared.bench.as_ref(), silence };
    let greeting = greet(&mut reader, &writer, local, means);
    let greeting = tokio::time::timeout(timeout, greeting).boxed();
    let greeting = tokio::select! {
        greeting = greeting => greeting,
        () = shared.running.cancelled().boxed() => {
            debug!(%remote, "the broker stops; closed");
            return None;
        }
        () = permits.evicted().boxed() => {
            note_evicted(shared, door.mechanism, remote);
            return None;
        }
    };
    match greeting {
        Ok(Ok((peer, early))) => Some(Greeted { peer, early, reader, writer }),
        Ok(Err(error)) => {
            note_failure(shared, door.mechanism, remote, &error);
            if matches!(error, GreetError::Handshake(_)) {
                let _ = tokio::time::timeout(LINGER, linger(reader, writer)).boxed().await;
            }
            None
        }
        Err(_) => {
            shared.counters.handshakes(door.mechanism).timed_out.add(1);
            if let Some(held_back) = shared.log_refusal() {
                info!(%remote, ?timeout, held_back, "no handshake in time; closed");
            }
            None
        }
    }
}

fn note_evicted(shared: &Shared, mechanism: Mechanism, remote: &str) {
    shared.counters.handshakes(mechanism).evicted.add(1);
    debug!(%remote, "no handshake yet and others wait; closed");
}

fn note_failure(shared: &Shared, mechanism: Mechanism, remote: &str, error: &GreetError) {
    let counts = shared.counters.handshakes(mechanism);
    match error {
        GreetError::Handshake(_) => {
            counts.refused.add(1);
            if let Some(held_back) = shared.log_refusal() {
                warn!(%remote, %error, held_back, "handshake refused");
            }
        }
        GreetError::Silent { .. } => {
            counts.silent.add(1);
            if let Some(held_back) = shared.log_refusal() {
                info!(%remote, %error, held_back, "no handshake; closed");
            }
        }
        _ => {
            counts.hung_up.add(1);
            debug!(%remote, %error, "no handshake");
        }
    }
}
