//! A client of etcd's v3 interface over gRPC: leases, transactions, keys, watches.
//!
//! Messages are structs written by hand ([`wire`]), so that building needs no compiler for Protocol
//! Buffers. Only what is used here is in them; fields that are not known are skipped.

mod client;
pub mod leases;
mod txn;
mod watch;
pub mod wire;

use std::time::Duration;

use super::Secret;

pub use client::{Etcd, Lease, Range, TxnOutcome};
pub use leases::Leases;
pub use txn::Txn;
pub use watch::{Change, Watch, WatchEvent};

/// Where etcd is, and as whom it is asked.
#[derive(Debug, Clone)]
pub struct EtcdConfig {
    /// Members of the cluster, as `http://HOST:PORT`, or with [`tls`](Self::tls) `https://`; the
    /// next one is tried when one fails.
    pub endpoints: Vec<String>,
    /// How they prove who they are, and we.
    pub tls: Option<EtcdTls>,
    /// A user of etcd, with a password.
    pub user: Option<(String, Secret)>,
    /// A token that somebody else has got; not with a user.
    pub token: Option<Secret>,
    /// How long one question may take. Default 3 s.
    pub timeout: Duration,
}

impl EtcdConfig {
    /// One member, without a user.
    #[must_use]
    pub fn new(endpoint: impl Into<String>) -> Self {
        let endpoints = vec![endpoint.into()];
        let timeout = Duration::from_secs(3);
        Self { endpoints, tls: None, user: None, token: None, timeout }
    }
}

/// Certificates and a key, each as PEM.
#[derive(Debug, Clone)]
pub struct EtcdTls {
    /// Of the authority that vouches for the members of the cluster; no other is believed.
    pub ca: Vec<u8>,
    /// Our own certificate and its private key, for an etcd that wants to know who asks.
    pub identity: Option<(Vec<u8>, Secret)>,
}

/// Why etcd did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EtcdError {
    /// An address cannot be read.
    #[error(
        "`{endpoint}` is no endpoint of etcd: {reason}; write http://HOST:PORT, or https://HOST:PORT"
    )]
    Endpoint {
        /// What was given.
        endpoint: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no connection.
    #[error("etcd at {endpoint} cannot be reached: {reason}")]
    Unreachable {
        /// Who was asked.
        endpoint: String,
        /// What the system says.
        reason: String,
    },
    /// There was no answer in time.
    #[error("etcd at {endpoint} has not answered within {} ms", timeout.as_millis())]
    TimedOut {
        /// Who was asked.
        endpoint: String,
        /// How long it was waited for.
        timeout: Duration,
    },
    /// The lease has run out, or was never there.
    #[error("the lease is not there any more")]
    LeaseGone,
    /// The user, the password or the token is wrong, or the user may not do that.
    #[error("etcd does not allow it: {0}")]
    NotAllowed(String),
    /// Something else.
    #[error("etcd refuses: {0}")]
    Refused(String),
}
