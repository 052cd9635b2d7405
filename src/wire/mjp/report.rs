//! What a broker tells about itself: the header that answers STATUS (SPEC 9.3).

use serde::{Deserialize, Serialize};

use super::header::{Labels, bin, text_or_bin};
use super::malformed::Malformed;
use super::pack;

/// The answer to STATUS: what was asked is there, the rest is not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report<'a> {
    /// The broker as a whole.
    #[serde(
        default,
        borrow,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "pack::map"
    )]
    pub broker: Option<BrokerReport<'a>>,
    /// A page of services.
    #[serde(
        default,
        borrow,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "pack::maps"
    )]
    pub services: Option<Vec<ServiceReport<'a>>>,
    /// A page of workers.
    #[serde(
        default,
        borrow,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "pack::maps"
    )]
    pub workers: Option<Vec<WorkerReport<'a>>>,
    /// `after` of the next page. Absent: this was the last one. A page may be empty and not the
    /// last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

impl<'a> Report<'a> {
    /// Reads the header from the octets of its frame.
    ///
    /// # Errors
    /// The header is no map with text keys, or has a known key with a wrong value.
    pub fn decode(octets: &'a [u8]) -> Result<Self, Malformed> {
        pack::read(octets)
    }
}

/// The broker as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerReport<'a> {
    /// Program and version, for people.
    pub agent: &'a str,
    /// Time since its start, ms; pauses in which it did not run are not in it.
    pub uptime: u64,
    /// It stops, and takes no requests.
    pub draining: bool,
    /// Peers connected.
    pub peers: u64,
    /// Services offered or asked for.
    pub services: u64,
    /// Workers registered.
    pub workers: u64,
    /// Requests accepted that have not ended.
    pub open: u64,
    /// Subscriptions of all peers.
    #[serde(default)]
    pub subscriptions: u64,
    /// Idempotency keys known, of running and of answered requests.
    #[serde(default)]
    pub keys: u64,
    /// Leases that somebody holds.
    #[serde(default)]
    pub leases: u64,
    /// Groups that have members, or results of polls.
    #[serde(default)]
    pub groups: u64,
    /// Dead letters. Absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead: Option<u64>,
    /// Flows of ZIO.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flows: Option<FlowsReport>,
    /// Other machines reach it, and nobody is authenticated.
    #[serde(default)]
    pub insecure: bool,
    /// What it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryReport>,
    /// What it has on its disk. Absent: it has no store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreReport>,
}

/// Flows as a whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowsReport {
    /// Those that have both ends.
    pub open: u64,
    /// Clients whose handler has not come.
    pub waiting: u64,
    /// Offers of flow services.
    pub handlers: u64,
}

/// What peers make the broker hold, octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryReport {
    /// What it may be: `limits.memory`.
    pub limit: u64,
    /// What it is, in all: the three parts below.
    pub used: u64,
    /// Requests that have not ended, registrations, subscriptions.
    pub requests: u64,
    /// Jobs that have ended, and answers kept for repeats.
    pub remembered: u64,
    /// What is on its way in or out.
    pub connections: u64,
}

/// What is on the disk of the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreReport {
    /// Requests of level disk without an outcome.
    pub requests: u64,
    /// Octets of them.
    pub bytes: u64,
    /// Those of them that are in memory, too.
    pub in_memory: u64,
    /// Outcomes that are kept for who asks again.
    pub outcomes: u64,
    /// Octets of those.
    pub outcomes_bytes: u64,
    /// `ok`; `full`: nothing new is taken; `failed`: nothing is stored any more.
    pub state: StoreState,
}

/// How the store of a broker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreState {
    /// It takes what is new.
    Ok,
    /// It takes nothing new.
    Full,
    /// Nothing is stored any more.
    Failed,
}

/// A service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceReport<'a> {
    /// Its name.
    #[serde(borrow, serialize_with = "text_or_bin", deserialize_with = "super::header::octets")]
    pub service: &'a [u8],
    /// Workers registered.
    pub workers: u64,
    /// Requests waiting.
    pub waiting: u64,
    /// Requests at workers.
    pub in_flight: u64,
    /// Age of the oldest waiting request, ms. Absent: none waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<u64>,
    /// Requests accepted since the service is known.
    pub accepted: u64,
    /// Requests answered.
    pub replied: u64,
    /// Requests ended in another way.
    pub failed: u64,
    /// Dead letters in its queue. Absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead: Option<u64>,
    /// `paused` or `draining`. Absent: neither.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub state: Option<&'a str>,
}

/// A worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerReport<'a> {
    /// The name of the service that it offers.
    #[serde(borrow, serialize_with = "text_or_bin", deserialize_with = "super::header::octets")]
    pub service: &'a [u8],
    /// The name that it gave itself.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none", serialize_with = "bin")]
    pub identity: Option<&'a [u8]>,
    /// What it speaks: `MJP/1`, `MDP/0.1` or `MDP/0.2`.
    pub dialect: &'a str,
    /// Requests it takes at a time.
    pub credit: u64,
    /// Requests it holds.
    pub in_flight: u64,
    /// It may be given another request.
    pub ready: bool,
    /// As in READY.
    #[serde(default, borrow, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels<'a>,
    /// As in READY.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub version: Option<&'a str>,
    /// As in READY.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub description: Option<&'a str>,
}
