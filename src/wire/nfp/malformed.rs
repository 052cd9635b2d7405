//! Why a message is not NFP.

use super::{CLIENT_MAX, UUID_MAX};
use crate::id::ServiceName;

/// Why a message is not NFP, or not one that may go this way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// No empty frame, or no header of a peer behind it.
    #[error("no NFPC01 or NFPW01 behind an empty first frame")]
    NoHeader,
    /// What a broker says was said to a broker.
    #[error("NFPB01 is what a broker says; a client says NFPC01, a worker NFPW01")]
    BrokerHeader,
    /// A header of a version that there is not yet.
    #[error("NFP of another version; this is version 01")]
    OtherVersion,
    /// The third frame is missing or is no command at all.
    #[error("no command of four characters such as 0x04 (text, not the octet 4)")]
    NoCommand,
    /// No command of this peer.
    #[error("no command of this peer")]
    UnknownCommand,
    /// The service is missing, empty or too long.
    #[error("no service name of 1 to {} octets", ServiceName::LEN_MAX)]
    NoService,
    /// The name of the job is missing, empty or too long.
    #[error("no job uuid of 1 to {UUID_MAX} octets")]
    NoUuid,
    /// The name of the client is missing, empty or too long.
    #[error("no client name of 1 to {CLIENT_MAX} octets")]
    NoClient,
    /// A service or the name of a job is no text.
    #[error("service or job uuid is not UTF-8")]
    NotText,
    /// A command has frames it does not have, or lacks some.
    #[error("too many or too few frames for the command")]
    FrameCount,
}

impl Malformed {
    /// What is wrong with a frame that is none of the commands that may stand there.
    pub(super) fn of_command(octets: &[u8]) -> Self {
        if octets.len() == 4 { Self::UnknownCommand } else { Self::NoCommand }
    }

    /// The value of the label `reason` in the metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::NoHeader => "no_header",
            Self::BrokerHeader => "broker_header",
            Self::OtherVersion => "other_version",
            Self::NoCommand => "no_command",
            Self::UnknownCommand => "unknown_command",
            Self::NoService => "no_service",
            Self::NoUuid => "no_uuid",
            Self::NoClient => "no_client",
            Self::NotText => "not_text",
            Self::FrameCount => "frame_count",
        }
    }
}
