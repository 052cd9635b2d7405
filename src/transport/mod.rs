//! tokio: sockets, connections, outboxes.

pub mod account;
pub mod codec;
pub mod dial;
pub mod endpoint;
pub mod greet;
pub mod inbound;
mod lane;
pub mod link;
pub mod listener;
mod opening;
mod pulse;
mod sealing;
pub mod session;
mod spares;
pub mod stream;
pub mod workbench;
