//! tokio: sockets, connections, outboxes.

pub mod endpoint;
