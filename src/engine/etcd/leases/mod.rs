//! Leases in etcd, behind [`lease::Coordinator`](crate::lease::Coordinator) (SPEC 9.14).
//!
//! A holder is a key on a lease of etcd, and the revision at which that key was made is the epoch.
//! Whoever waits has a key, too, and those keys are the line. Everything is decided by transactions
//! of etcd; nobody has to be told anything by anybody else.
//!
//! ```no_run
//! use majordomo::engine::etcd::{Etcd, EtcdConfig, Leases};
//! use majordomo::lease::Lease;
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let etcd = Etcd::new(EtcdConfig::new("http://127.0.0.1:2379"))?;
//! let leases = Leases::new(etcd.clone());
//! let held = Lease::new(leases.clone(), "billing").name("node-1").campaign().await?;
//! // What is done in etcd in one transaction with this is done by the holder or not at all.
//! let paid = leases.fenced(&held)?.then_put("/billing/last", b"17", 0);
//! assert!(etcd.txn(paid).await?.succeeded);
//! held.resign().await?;
//! # Ok(())
//! # }
//! ```

mod campaign;
mod keys;
mod seat;
mod view;
mod watch;

use std::collections::BTreeMap;

use super::{Etcd, EtcdError, Txn};
use crate::lease::{Candidacy, Coordinator, Fence, Granted, LeaseError, Page, Row};
use keys::{Keys, Layout};
use view::View;

pub use seat::EtcdSeat;
pub use watch::Observation;

/// Rows of a page.
const PAGE: usize = 1_000;

/// The leases that an etcd keeps. Clones are the same store.
///
/// What etcd cannot do is in SPEC 9.14: the time to live is at least 2 s and whole seconds there,
/// the end of a connection frees nothing, and there is no `lock_delay`.
#[derive(Debug, Clone)]
pub struct Leases {
    etcd: Etcd,
    layout: Layout,
}

impl Leases {
    /// What all keys begin with, unless somebody says something else.
    pub const ROOT: &str = "/majordomo/leases/";

    /// Below [`Self::ROOT`].
    #[must_use]
    pub fn new(etcd: Etcd) -> Self {
        Self::below(etcd, Self::ROOT)
    }

    /// All keys begin with `root`, which nobody else uses.
    #[must_use]
    pub fn below(etcd: Etcd, root: impl Into<String>) -> Self {
        Self { etcd, layout: Layout::Own(root.into().into()) }
    }

    /// The keys of NuroPb (SPEC 17.3), so that its instances and these compete for one seat: a
    /// lease is a service, a candidate an instance. What a holder says is an object of JSON with
    /// texts, each of which becomes a key beside that of the leader and stays when the holder goes;
    /// those that it does not name stay as they are. Nobody waits in order, as NuroPb does not, and
    /// nobody can be named as a successor.
    #[must_use]
    pub fn nuropb(etcd: Etcd) -> Self {
        Self { etcd, layout: Layout::Nuropb }
    }

    /// A transaction that does nothing unless that epoch still holds that lease: the fence for
    /// whatever a holder keeps in this etcd.
    ///
    /// # Errors
    /// [`LeaseError::Invalid`]: there can be no such lease.
    pub fn fenced(&self, fence: impl Into<Fence>) -> Result<Txn, LeaseError> {
        let fence = fence.into();
        // An epoch that etcd cannot have holds nothing; no key was made at revision -1.
        let epoch = i64::try_from(fence.epoch()).unwrap_or(-1);
        Ok(Txn::default().if_created(&self.keys(fence.lease())?.held, epoch))
    }

    fn keys(&self, lease: &str) -> Result<Keys, LeaseError> {
        self.layout.keys(lease)
    }

    /// How a lease stands, and at which revision.
    async fn look(&self, keys: &Keys) -> Result<(View, i64), EtcdError> {
        let range = self.etcd.prefix(&keys.prefix).await?;
        Ok((View::read(keys, range.kvs), range.revision))
    }
}

impl Coordinator for Leases {
    type Seat = EtcdSeat;
    type Watch = Observation;

    async fn campaign(&self, candidacy: &Candidacy) -> Result<Granted<EtcdSeat>, LeaseError> {
        campaign::campaign(self, candidacy).await
    }

    fn observe(&self, lease: &str) -> Result<Observation, LeaseError> {
        Ok(Observation::new(self.clone(), self.keys(lease)?))
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Page, LeaseError> {
        let beginning = self.layout.beginning(prefix);
        let range = self.etcd.prefix(&beginning).await.map_err(of_etcd)?;
        let mut found: BTreeMap<String, View> = BTreeMap::new();
        for kv in range.kvs {
            let Some(lease) = self.layout.lease_of(&kv.key) else { continue };
            if !lease.starts_with(prefix) || after.is_some_and(|after| *lease <= *after) {
                continue;
            }
            let keys = self.keys(&lease)?;
            found.entry(lease).or_default().apply(&keys, &kv.into());
        }
        let mut rows =
            found.into_iter().filter(|(_, view)| view.is_known()).map(|(lease, view)| {
                let (epoch, name) = view.held.map(|held| (held.epoch(), held.name())).unzip();
                let waiting = u64::try_from(view.line.len()).unwrap_or(u64::MAX);
                Row { lease, epoch, name: name.flatten(), waiting, ..Row::default() }
            });
        let page: Vec<_> = rows.by_ref().take(PAGE).collect();
        let next = rows.next().and_then(|_| page.last().map(|row| row.lease.clone()));
        Ok(Page { rows: page, next })
    }
}

/// What it means for a lease that etcd has not done it.
fn of_etcd(error: EtcdError) -> LeaseError {
    match error {
        EtcdError::NotAllowed(message) => LeaseError::Denied { message },
        EtcdError::LeaseGone => LeaseError::Stale { current: None },
        EtcdError::TimedOut { timeout, .. } => {
            LeaseError::Unreachable { because: error.to_string(), after: Some(timeout) }
        }
        EtcdError::Unreachable { .. } => {
            LeaseError::Unreachable { because: error.to_string(), after: None }
        }
        EtcdError::Endpoint { .. } | EtcdError::Refused(_) => {
            LeaseError::Refused { code: "etcd".into(), message: error.to_string() }
        }
    }
}
