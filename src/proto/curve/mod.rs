//! CURVE (RFC 26): keys and boxes, and the channel that a finished handshake leaves. The handshake
//! itself is one of those in [`handshake`](super::handshake).
//!
//! ```text
//! handshake --> Channel --> Sealer: plain frames -> MESSAGE frames
//!                      \--> Opener: MESSAGE frames -> plain frames
//! ```
//!
//! The arithmetic stands behind [`Crypto`]; keys that are secret are wiped when they are dropped.

mod channel;
mod crypto;
mod key_pair;
pub(crate) mod nonce;

pub use channel::{Channel, ChannelError, Opener, Sealer, Side};
pub use crypto::{Crypto, Dryoc, Nonce, SecretKey, SharedKey, TAG_LEN};
pub use key_pair::KeyPair;

#[cfg(test)]
mod tests;
