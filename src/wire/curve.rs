//! CURVE (RFC 26): the layout of its commands, without a look into their boxes (SPEC 1.6).
//!
//! ```text
//! client                                     server
//! HELLO    C', box of zeros            --->
//!                                      <---  WELCOME  box of S' and a cookie
//! INITIATE cookie, box of C, vouch,    --->
//!          metadata
//!                                      <---  READY    box of metadata
//! MESSAGE  box of a frame              <-->  MESSAGE
//! ```
//!
//! The server may answer HELLO and INITIATE with ERROR instead. A box is a tag of 16 octets and an
//! inside that is as long as the text it was made of.

mod hello;
mod initiate;
mod message;
mod pair;
mod ready;
mod welcome;

pub use hello::Hello;
pub use initiate::{Initiate, InitiateText};
pub use message::{MESSAGE_OVERHEAD, MessageFrame, NotAMessage};
pub use pair::{PAIR_BOX_LEN, PAIR_LEN, PairBox, pair, pair_halves};
pub use ready::Ready;
pub use welcome::{WELCOME_TEXT_LEN, Welcome};

/// Octets of a tag.
const TAG_LEN: usize = 16;

/// Octets of the part of a nonce that is not a number.
pub const NONCE_LEN: usize = 16;

/// A command of the handshake that is not as long as RFC 26 has it, or of another version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// HELLO and WELCOME have one length.
    #[error("{command} of CURVE has {len} octets instead of {expected}")]
    Length {
        /// The command.
        command: &'static str,
        /// Its octets, name and all.
        len: usize,
        /// Those of RFC 26.
        expected: usize,
    },
    /// INITIATE and READY have a least length.
    #[error("{command} of CURVE has {len} octets; without any metadata it has {least}")]
    Short {
        /// The command.
        command: &'static str,
        /// Its octets, name and all.
        len: usize,
        /// The least ones of RFC 26.
        least: usize,
    },
    /// HELLO of another version.
    #[error("HELLO is of CURVE {major}.{minor}; we speak 1.0")]
    Version {
        /// First number.
        major: u8,
        /// Second number.
        minor: u8,
    },
}

#[cfg(test)]
mod tests;
