//! A lease that is held in etcd.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::keys::Keys;
use super::view::epoch_of;
use super::{Leases, of_etcd};
use crate::engine::etcd::{Etcd, EtcdError, Txn, TxnOutcome};
use crate::lease::{LeaseError, Lost, News, Seat};

/// What was said to the keeper and not yet heard.
const NEWS_MAX: usize = 16;

/// A lease of etcd; dropped, it is given up, and nobody waits for that. What cannot be given up
/// runs out.
#[derive(Debug)]
pub(super) struct Ticket {
    etcd: Etcd,
    pub(super) lease: i64,
    given_up: AtomicBool,
}

impl Ticket {
    pub(super) fn new(etcd: Etcd, lease: i64) -> Self {
        Self { etcd, lease, given_up: AtomicBool::new(false) }
    }

    fn give_up(&self) {
        if self.given_up.swap(true, Ordering::Relaxed) {
            return;
        }
        // The runtime may be at its end, and we with it.
        if let Ok(runtime) = Handle::try_current() {
            let (etcd, lease) = (self.etcd.clone(), self.lease);
            // It ends by itself, within the time that one question may take.
            runtime.spawn(async move {
                if let Err(error) = etcd.revoke(lease).await {
                    tracing::debug!(%error, "a lease is not given up; it runs out");
                }
            });
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.give_up();
    }
}

/// A lease of [`Leases`] that is held.
#[derive(Debug)]
pub struct EtcdSeat {
    leases: Leases,
    keys: Keys,
    ticket: Ticket,
    /// When the key of the holder was made.
    created: i64,
    wanted: Arc<Notify>,
    renewing: JoinHandle<()>,
}

impl Drop for EtcdSeat {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}

impl EtcdSeat {
    /// With the revision at which the key of the holder was made.
    pub(super) fn new(
        leases: Leases,
        keys: Keys,
        ticket: Ticket,
        created: i64,
    ) -> (Self, mpsc::Receiver<News>) {
        let (to, news) = mpsc::channel(NEWS_MAX);
        let wanted = Arc::new(Notify::new());
        let renewal = Renewal {
            etcd: leases.etcd.clone(),
            held: keys.held.clone(),
            lease: ticket.lease,
            created,
        };
        let renewing = tokio::spawn(renewal.run(wanted.clone(), to));
        (Self { leases, keys, ticket, created, wanted, renewing }, news)
    }

    /// A transaction that is carried out as long as this holds.
    fn if_held(&self) -> Txn {
        Txn::default().if_created(&self.keys.held, self.created)
    }

    /// Carries out a transaction; otherwise it reads who holds.
    async fn as_holder(&self, txn: Txn) -> Result<TxnOutcome, LeaseError> {
        let txn = txn.else_get(&self.keys.held);
        match self.leases.etcd.txn(txn.clone()).await {
            // The lease has ended just now, and the next one may hold.
            Err(EtcdError::LeaseGone) => self.leases.etcd.txn(txn).await.map_err(of_etcd),
            outcome => outcome.map_err(of_etcd),
        }
    }

    async fn done_as_holder(&self, txn: Txn) -> Result<(), LeaseError> {
        let outcome = self.as_holder(txn).await?;
        if outcome.succeeded { Ok(()) } else { Err(stale(&outcome)) }
    }

    /// The keys to put, and their values.
    fn saying(&self, value: &[u8]) -> Result<Vec<(String, Vec<u8>)>, LeaseError> {
        if self.keys.own {
            return Ok(vec![(self.keys.said(), value.to_vec())]);
        }
        let properties: Result<BTreeMap<String, String>, _> = serde_json::from_slice(value);
        let properties = properties.map_err(|error| LeaseError::Invalid {
            what: "what the leader says",
            value: error.to_string(),
            range: "it is an object of JSON with texts",
        })?;
        if let Some(name) = properties.keys().find(|name| *name == "leader" || name.contains('/')) {
            let (what, range) = ("a property", "its name is not `leader` and has no `/`");
            return Err(LeaseError::Invalid { what, value: name.clone(), range });
        }
        let put = |(name, text): (String, String)| (self.keys.property(&name), text.into_bytes());
        Ok(properties.into_iter().map(put).collect())
    }

    /// Names the one that comes next, which takes it then.
    async fn resign_to(&self, name: &str) -> Result<(), LeaseError> {
        if !self.keys.own {
            let what = "a successor";
            let range = "NuroPb's keys have no line; resign to whoever comes";
            return Err(LeaseError::Invalid { what, value: name.into(), range });
        }
        loop {
            let (view, _) = self.leases.look(&self.keys).await.map_err(of_etcd)?;
            let current = view.held.as_ref().map(|held| held.created);
            if current != Some(self.created) {
                return Err(LeaseError::Stale { current: current.map(epoch_of) });
            }
            let named = view.line.iter().find(|(_, place)| place.name == name.as_bytes());
            let Some((came, next)) = named else {
                return Err(LeaseError::NoCandidate { name: name.into() });
            };
            let place = self.keys.place(next.lease);
            let txn = self.if_held().if_created(&place, *came);
            let txn = txn.then_delete(&self.keys.held).then_delete(&self.keys.said());
            let txn = txn.then_put(&self.keys.heir(), next.id.as_bytes(), next.lease);
            match self.leases.etcd.txn(txn).await {
                Ok(outcome) if outcome.succeeded => return Ok(()),
                // It waits no more, or we hold no more: look again.
                Ok(_) | Err(EtcdError::LeaseGone) => {}
                Err(error) => return Err(of_etcd(error)),
            }
        }
    }
}

fn stale(outcome: &TxnOutcome) -> LeaseError {
    let holder = outcome.ranges.iter().flatten().next();
    LeaseError::Stale { current: holder.map(|kv| epoch_of(kv.create_revision)) }
}

impl Seat for EtcdSeat {
    fn epoch(&self) -> u64 {
        epoch_of(self.created)
    }

    fn renew(&self) {
        self.wanted.notify_one();
    }

    async fn proclaim(&self, value: &[u8]) -> Result<(), LeaseError> {
        // A property outlives its holder, what a holder says does not.
        let lease = if self.keys.own { self.ticket.lease } else { 0 };
        let mut txn = self.if_held();
        for (key, value) in self.saying(value)? {
            txn = txn.then_put(&key, &value, lease);
        }
        self.done_as_holder(txn).await
    }

    async fn resign(&self, to: Option<&str>) -> Result<(), LeaseError> {
        if let Some(name) = to {
            return self.resign_to(name).await;
        }
        let mut txn = self.if_held().then_delete(&self.keys.held);
        if self.keys.own {
            txn = txn.then_delete(&self.keys.said());
        }
        self.done_as_holder(txn).await
    }

    fn release(&self) {
        self.renewing.abort();
        self.ticket.give_up();
    }
}

/// Renews when somebody wants it.
struct Renewal {
    etcd: Etcd,
    held: String,
    lease: i64,
    created: i64,
}

impl Renewal {
    async fn run(self, wanted: Arc<Notify>, to: mpsc::Sender<News>) {
        loop {
            wanted.notified().await;
            let sent = Instant::now().into_std();
            let news = match self.renew().await {
                Ok(true) => News::Renewed(sent),
                Ok(false) | Err(EtcdError::LeaseGone) => News::Lost(Lost::Expired),
                Err(EtcdError::NotAllowed(_)) => News::Lost(Lost::Denied),
                Err(error) => {
                    tracing::debug!(%error, "a lease is not renewed; it is tried again");
                    continue;
                }
            };
            // Without a place for it the keeper hears that we have ended.
            if to.try_send(news).is_err() || matches!(news, News::Lost(_)) {
                return;
            }
        }
    }

    /// Whether it is still held: somebody may have deleted the key by hand.
    async fn renew(&self) -> Result<bool, EtcdError> {
        self.etcd.keep_alive(self.lease).await?;
        let held = self.etcd.get(&self.held).await?;
        Ok(held.is_some_and(|kv| kv.create_revision == self.created))
    }
}
