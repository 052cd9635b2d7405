//! tokio: sockets, connections, outboxes.
