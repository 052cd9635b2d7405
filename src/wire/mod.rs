//! What is said: octets to frames to messages to commands, and back. Pure.

pub mod codec;
pub mod command;
pub mod curve;
pub mod frame;
pub mod greeting;
pub mod mdp;
pub mod message;
pub mod mjp;
pub mod nfp;
pub mod nuropb;
pub mod plain;
pub mod z85;
pub mod zio;

/// What a client or a worker speaks with a broker.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// MJP/1, the broker's own: ids, deadlines, credit, cancel, errors.
    #[default]
    Mjp,
    /// MDP/0.1 (RFC 7).
    Mdp01,
    /// MDP/0.2 (RFC 18).
    Mdp02,
}

/// Limits on what a peer may send, each checked before a single octet is allocated for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Body of one frame, octets. Default 16 MiB.
    pub frame_bytes_max: usize,
    /// Bodies of all frames of one message, octets. Default 32 MiB.
    pub message_bytes_max: usize,
    /// Frames of one message. Default 1,024.
    pub message_frames_max: usize,
    /// Body of one command behind the handshake, octets. Default 4 KiB.
    pub command_bytes_max: usize,
    /// Body of one command of the handshake, octets. Default 1 KiB. CURVE takes 257 and the
    /// metadata, PLAIN 518.
    pub handshake_command_bytes_max: usize,
    /// Metadata of a handshake, octets. Default 512.
    pub metadata_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame_bytes_max: 16 << 20,
            message_bytes_max: 32 << 20,
            message_frames_max: 1024,
            command_bytes_max: 4 << 10,
            handshake_command_bytes_max: 1 << 10,
            metadata_bytes_max: 512,
        }
    }
}
