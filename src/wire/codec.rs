//! Octets to messages and commands, and back: incremental, and bounded whatever a peer announces.

mod body;
mod decoder;
mod encoder;

pub use body::{LargeBody, Shelf};
pub use decoder::{Decoder, Item};
pub use encoder::Encoder;

use super::frame::FrameError;

/// Octets that end a connection: the peer broke the framing or one of our limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The flags of a frame are wrong.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// One frame is too big.
    #[error("frame of {size} octets exceeds limits.frame = {max}; raise it or send chunks")]
    FrameTooBig {
        /// Octets announced.
        size: u64,
        /// The limit.
        max: usize,
    },
    /// The frames of a message are too big together.
    #[error(
        "message of {size} octets so far exceeds limits.message = {max}; raise it or send chunks"
    )]
    MessageTooBig {
        /// Octets of the frames so far, the announced one included.
        size: usize,
        /// The limit.
        max: usize,
    },
    /// A message has too many frames.
    #[error("message has more than limits.frames = {max} frames; raise it or send fewer")]
    TooManyFrames {
        /// The limit.
        max: usize,
    },
    /// A command is too big.
    #[error("command of {size} octets exceeds limits.command = {max}")]
    CommandTooBig {
        /// Octets announced.
        size: u64,
        /// The limit.
        max: usize,
    },
}

impl CodecError {
    /// The value of the label `reason` in the metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Frame(FrameError::ReservedFlags { .. }) => "reserved_flags",
            Self::Frame(FrameError::MoreOnCommand { .. }) => "more_on_command",
            Self::FrameTooBig { .. } => "frame_too_big",
            Self::MessageTooBig { .. } => "message_too_big",
            Self::TooManyFrames { .. } => "too_many_frames",
            Self::CommandTooBig { .. } => "command_too_big",
        }
    }
}

#[cfg(test)]
mod tests;
