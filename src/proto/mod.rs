//! What is decided: state machines `(now, input) -> output`. Pure: no tokio, no socket, no clock,
//! no randomness, and ordered wherever order reaches the wire.

pub mod handshake;
pub mod policy;
