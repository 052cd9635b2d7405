//! A watch that comes back by itself, from the last revision it has seen.

use std::time::Duration;

use tonic::Streaming;

use super::client::{Etcd, prefix_end};
use super::wire::{WatchCreateRequest, WatchRequest, WatchResponse};
use crate::proto::backoff::Backoff;

/// What has become of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: Vec<u8>,
    /// Its value; none if it was deleted, or its lease has run out.
    pub value: Option<Vec<u8>>,
    /// When the key was made; 0 if it was deleted.
    pub created: i64,
    /// The lease it hangs on.
    pub lease: i64,
    /// When this happened.
    pub revision: i64,
}

/// What a watch says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchEvent {
    /// Keys have changed.
    Changes(Vec<Change>),
    /// The stream is broken, and will be opened again; nothing is missed.
    Lost(String),
    /// What happened since is not kept any more: read the keys again, and watch from there.
    Compacted,
}

/// All keys with one beginning.
#[derive(Debug)]
pub struct Watch {
    etcd: Etcd,
    prefix: String,
    /// The first revision that is still to come.
    next: i64,
    stream: Option<Streaming<WatchResponse>>,
    waits: Backoff,
    wait: Option<Duration>,
}

impl Etcd {
    /// Watches all keys with that beginning, from that revision on.
    #[must_use]
    pub fn watch(&self, prefix: &str, from: i64) -> Watch {
        let seed = u64::try_from(from).unwrap_or_default();
        let waits = Backoff::new(Duration::from_millis(100), Duration::from_secs(3), seed);
        let (etcd, prefix) = (self.clone(), prefix.to_owned());
        Watch { etcd, prefix, next: from, stream: None, waits, wait: None }
    }
}

impl Watch {
    /// Waits for the next thing.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: a stream that is opened again begins where the last one ended.
    pub async fn next(&mut self) -> WatchEvent {
        loop {
            if let Some(wait) = self.wait {
                tokio::time::sleep(wait).await;
                self.wait = None;
            }
            let Some(stream) = &mut self.stream else {
                match self.etcd.watch_stream(self.request()).await {
                    Ok(stream) => self.stream = Some(stream),
                    Err(error) => return self.lost(error.to_string()),
                }
                continue;
            };
            match stream.message().await {
                Ok(Some(said)) => {
                    if said.compact_revision > 0 {
                        self.stream = None;
                        return WatchEvent::Compacted;
                    }
                    if said.canceled {
                        return self.lost(said.cancel_reason);
                    }
                    self.waits.reset();
                    let changes = self.changes(said);
                    if !changes.is_empty() {
                        return WatchEvent::Changes(changes);
                    }
                }
                Ok(None) => return self.lost("etcd has ended the stream".into()),
                Err(status) => return self.lost(status.to_string()),
            }
        }
    }

    fn lost(&mut self, why: String) -> WatchEvent {
        self.stream = None;
        self.wait = Some(self.waits.next_wait());
        WatchEvent::Lost(why)
    }

    fn request(&self) -> WatchRequest {
        let create = WatchCreateRequest {
            key: self.prefix.clone().into(),
            range_end: prefix_end(self.prefix.as_bytes()),
            start_revision: self.next,
        };
        WatchRequest { create_request: Some(create) }
    }

    fn changes(&mut self, said: WatchResponse) -> Vec<Change> {
        let mut changes = Vec::with_capacity(said.events.len());
        for event in said.events {
            let Some(kv) = event.kv else { continue };
            self.next = self.next.max(kv.mod_revision + 1);
            changes.push(Change {
                key: kv.key,
                value: (event.kind == 0).then_some(kv.value),
                created: kv.create_revision,
                lease: kv.lease,
                revision: kv.mod_revision,
            });
        }
        changes
    }
}
