//! etcd, with the keys of NuroPb (SPEC 17.3): one key on a lease is the seat, the revision of its
//! creation the epoch.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{BoxFuture, Coordinator, Observation, Opened, Refusal, Seat, Session};
use crate::engine::etcd::wire::KeyValue;
use crate::engine::etcd::{Change, Etcd, EtcdError, Lease, Txn, WatchEvent};
use crate::wire::nuropb::KeyNames;

/// The keys of one service in etcd.
#[derive(Debug, Clone)]
pub struct EtcdCoordinator {
    etcd: Etcd,
    keys: KeyNames,
    instance: String,
}

impl EtcdCoordinator {
    /// For an instance of a service.
    #[must_use]
    pub fn new(etcd: Etcd, service: &str, instance: &str) -> Self {
        Self { etcd, keys: KeyNames::new(service), instance: instance.into() }
    }
}

impl Coordinator for EtcdCoordinator {
    fn open(&self, ttl: Duration, seen: mpsc::Sender<Observation>) -> BoxFuture<'_, Opened> {
        Box::pin(async move {
            let lease = self.etcd.grant(ttl).await.map_err(|error| error.to_string())?;
            let watch = Watching::new(self.clone(), lease.id, seen);
            let watching = tokio::spawn(watch.run());
            let coordinator = self.clone();
            let session: Arc<dyn Session> = Arc::new(EtcdSession { coordinator, lease, watching });
            Ok((session, lease.ttl))
        })
    }
}

#[derive(Debug)]
struct EtcdSession {
    coordinator: EtcdCoordinator,
    lease: Lease,
    watching: JoinHandle<()>,
}

impl Drop for EtcdSession {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

impl From<EtcdError> for Refusal {
    fn from(error: EtcdError) -> Self {
        match error {
            EtcdError::LeaseGone => Self::Gone,
            other => Self::Failed(other.to_string()),
        }
    }
}

impl Session for EtcdSession {
    fn campaign(&self) -> BoxFuture<'_, Result<Seat, Refusal>> {
        Box::pin(async move {
            let EtcdCoordinator { etcd, keys, instance } = &self.coordinator;
            let key = keys.leader();
            let put = Txn::default().if_missing(&key);
            let put = put.then_put(&key, instance.as_bytes(), self.lease.id).else_get(&key);
            let outcome = etcd.txn(put).await?;
            if outcome.succeeded {
                let (by, epoch) = (instance.clone(), epoch_of(outcome.revision));
                return Ok(Seat::Held { by, epoch, ours: true });
            }
            let holder = outcome.ranges.iter().flatten().next();
            Ok(holder.map_or_else(
                || Seat::Vacant { after: epoch_of(outcome.revision) },
                |holder| seat_of(holder, self.lease.id),
            ))
        })
    }

    fn renew(&self) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(
            async move { Ok(self.coordinator.etcd.keep_alive(self.lease.id).await.map(|_| ())?) },
        )
    }

    fn resign(&self) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(async move { Ok(self.coordinator.etcd.revoke(self.lease.id).await?) })
    }

    fn put_if_leader<'a>(
        &'a self,
        epoch: u64,
        name: &'a str,
        value: &'a str,
    ) -> BoxFuture<'a, Result<(), Refusal>> {
        Box::pin(async move {
            let EtcdCoordinator { etcd, keys, .. } = &self.coordinator;
            let revision = i64::try_from(epoch).map_err(|_| Refusal::Gone)?;
            let put = Txn::default().if_created(&keys.leader(), revision);
            let put = put.then_put(&keys.property(name), value.as_bytes(), 0);
            if etcd.txn(put).await?.succeeded { Ok(()) } else { Err(Refusal::Gone) }
        })
    }
}

fn epoch_of(revision: i64) -> u64 {
    u64::try_from(revision).unwrap_or_default()
}

fn seat_of(holder: &KeyValue, own_lease: i64) -> Seat {
    Seat::Held {
        by: String::from_utf8_lossy(&holder.value).into_owned(),
        epoch: epoch_of(holder.create_revision),
        ours: holder.lease == own_lease,
    }
}

/// What one session sees.
struct Watching {
    coordinator: EtcdCoordinator,
    lease: i64,
    seen: mpsc::Sender<Observation>,
    properties: BTreeMap<String, String>,
}

impl Watching {
    fn new(coordinator: EtcdCoordinator, lease: i64, seen: mpsc::Sender<Observation>) -> Self {
        Self { coordinator, lease, seen, properties: BTreeMap::new() }
    }

    /// Reads all keys, and follows them from there; again, if too much was missed.
    async fn run(mut self) {
        let prefix = self.coordinator.keys.prefix().to_owned();
        let etcd = self.coordinator.etcd.clone();
        loop {
            let range = match etcd.prefix(&prefix).await {
                Ok(range) => range,
                Err(error) => {
                    tracing::debug!(%error, "cannot read the keys of the service");
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    continue;
                }
            };
            let revision = range.revision;
            if !self.read(range.kvs, revision).await {
                return;
            }
            let mut watch = etcd.watch(&prefix, revision + 1);
            loop {
                match watch.next().await {
                    WatchEvent::Changes(changes) => {
                        if !self.follow(changes).await {
                            return;
                        }
                    }
                    WatchEvent::Lost(why) => tracing::debug!(why, "the watch is broken"),
                    WatchEvent::Compacted => break,
                }
            }
        }
    }

    /// How things are. Whether anybody wants to know.
    async fn read(&mut self, kvs: Vec<KeyValue>, revision: i64) -> bool {
        let leader = self.coordinator.keys.leader();
        let mut seat = Seat::Vacant { after: epoch_of(revision) };
        self.properties.clear();
        for kv in kvs {
            if kv.key == leader.as_bytes() {
                seat = seat_of(&kv, self.lease);
            } else {
                self.property(&kv.key, Some(kv.value));
            }
        }
        let properties = Observation::Properties(self.properties.clone());
        self.seen.send(properties).await.is_ok()
            && self.seen.send(Observation::Seat(seat)).await.is_ok()
    }

    async fn follow(&mut self, changes: Vec<Change>) -> bool {
        let leader = self.coordinator.keys.leader();
        for change in changes {
            let observation = if change.key == leader.as_bytes() {
                Observation::Seat(match change.value {
                    None => Seat::Vacant { after: epoch_of(change.revision) },
                    Some(value) => {
                        let (create_revision, lease) = (change.created, change.lease);
                        let kv = KeyValue { value, create_revision, lease, ..KeyValue::default() };
                        seat_of(&kv, self.lease)
                    }
                })
            } else {
                self.property(&change.key, change.value);
                Observation::Properties(self.properties.clone())
            };
            if self.seen.send(observation).await.is_err() {
                return false;
            }
        }
        true
    }

    /// Names that are not ours, and values that are no text, are of no interest.
    fn property(&mut self, key: &[u8], value: Option<Vec<u8>>) {
        let name = std::str::from_utf8(key).ok();
        let Some(name) = name.and_then(|it| it.strip_prefix(self.coordinator.keys.prefix())) else {
            return;
        };
        match value.map(String::from_utf8) {
            Some(Ok(value)) => self.properties.insert(name.into(), value),
            Some(Err(_)) | None => self.properties.remove(name),
        };
    }
}
