//! An observer of one lease.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::keys::Keys;
use super::view::View;
use super::{Leases, of_etcd};
use crate::engine::etcd::{EtcdError, WatchEvent};
use crate::lease::{LeaseError, Seen};
use crate::proto::backoff::Backoff;

/// What an observer has not read yet; the watch waits for it.
const UNREAD_MAX: usize = 64;

/// Who holds a lease, now and whenever that changes.
#[derive(Debug)]
pub struct Observation {
    seen: mpsc::Receiver<Result<Seen, LeaseError>>,
    task: JoinHandle<()>,
}

impl Observation {
    /// To be called within a runtime of tokio.
    pub(super) fn new(leases: Leases, keys: Keys) -> Self {
        let (to, seen) = mpsc::channel(UNREAD_MAX);
        let task = tokio::spawn(follow(leases, keys, to));
        Self { seen, task }
    }
}

impl Drop for Observation {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Stream for Observation {
    type Item = Result<Seen, LeaseError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.seen.poll_recv(context)
    }
}

/// Tells how things are, and follows them from there, until nobody listens or it may not.
async fn follow(leases: Leases, keys: Keys, to: mpsc::Sender<Result<Seen, LeaseError>>) {
    let mut waits = Backoff::new(Duration::from_millis(100), Duration::from_secs(3), 0);
    let (mut view, mut told) = (View::default(), None);
    loop {
        let revision = match leases.look(&keys).await {
            Ok((now, revision)) => {
                waits.reset();
                view = now.again(&view);
                revision
            }
            Err(error @ EtcdError::NotAllowed(_)) => {
                let _ = to.send(Err(of_etcd(error))).await;
                return;
            }
            Err(error) => {
                tracing::debug!(%error, "the keys of a lease cannot be read");
                if !tell(&to, &mut told, Seen::Unknown).await {
                    return;
                }
                sleep(waits.next_wait()).await;
                continue;
            }
        };
        if !tell(&to, &mut told, view.seen(&keys)).await {
            return;
        }
        let mut watch = leases.etcd.watch(&keys.prefix, revision + 1);
        loop {
            match watch.next().await {
                WatchEvent::Changes(changes) => {
                    for change in &changes {
                        // Several changes of one revision are one.
                        view.apply(&keys, change);
                    }
                    if !tell(&to, &mut told, view.seen(&keys)).await {
                        return;
                    }
                }
                WatchEvent::Lost(why) => {
                    tracing::debug!(why, "the watch of a lease is broken");
                    if !tell(&to, &mut told, Seen::Unknown).await {
                        return;
                    }
                    sleep(waits.next_wait()).await;
                    break;
                }
                WatchEvent::Compacted => break,
            }
        }
    }
}

/// Tells what has changed. Whether anybody wants to know.
async fn tell(
    to: &mpsc::Sender<Result<Seen, LeaseError>>,
    told: &mut Option<Seen>,
    seen: Seen,
) -> bool {
    if told.as_ref() == Some(&seen) {
        return !to.is_closed();
    }
    *told = Some(seen.clone());
    to.send(Ok(seen)).await.is_ok()
}
