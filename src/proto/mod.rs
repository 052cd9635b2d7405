//! What is decided: state machines `(now, input) -> output`. Pure: no tokio, no socket, no clock,
//! no randomness, and ordered wherever order reaches the wire.

pub mod backoff;
pub mod clock;
pub mod container;
pub mod core;
pub mod curve;
pub mod dead;
pub mod depot;
pub mod dialect;
pub mod durable;
pub mod flow;
pub mod group;
pub mod handshake;
pub mod jobs;
pub mod keepalive;
pub mod keys;
pub mod lease;
mod ledger;
pub mod mmi;
pub mod multiplex;
pub mod output;
pub mod policy;
pub mod rights;
pub mod router;
pub mod serve;
#[cfg(test)]
mod simulation;
pub mod stats;
pub mod timers;
pub mod titanic;
pub mod topics;
#[cfg(test)]
pub(crate) mod witness;
