//! CURVE (RFC 26): the boxes, and the channel that a finished handshake leaves.
//!
//! ```text
//! handshake --> Channel --> Sealer: plain frames -> MESSAGE frames
//!                      \--> Opener: MESSAGE frames -> plain frames
//! ```
//!
//! The arithmetic stands behind [`Crypto`]; keys that are secret are wiped when they are dropped.

mod channel;
mod crypto;

pub use channel::{Channel, ChannelError, Opener, Sealer, Side};
pub use crypto::{Crypto, Dryoc, Nonce, SecretKey, SharedKey, TAG_LEN};

#[cfg(test)]
mod tests;
