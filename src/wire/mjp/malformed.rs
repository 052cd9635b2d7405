//! Why a message is not MJP/1.

use super::pack::{DEPTH_MAX, HEADER_MAX};

/// Why a message is not MJP/1, or not one that may go this way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// The first frame is not the signature.
    #[error("no MJP1 in the first frame")]
    NoSignature,
    /// The second frame is missing or has another size.
    #[error("no second frame of 9 octets: kind (1) and id (8, most significant first)")]
    NoKind,
    /// The kind is none of version 1.
    #[error("unknown kind; this is MJP/1")]
    UnknownKind,
    /// The kind exists, but goes the other way.
    #[error("this kind goes the other way")]
    WrongWay,
    /// A request or a query without an id of its own.
    #[error("id 0 is that of the connection; give a request another one")]
    ZeroId,
    /// The header is too big.
    #[error("header longer than limits.mjp_header, which is {HEADER_MAX} octets at most")]
    HeaderTooBig,
    /// The header is nested too deep.
    #[error("header nested deeper than {DEPTH_MAX} levels")]
    TooDeep,
    /// The header is no map, has a key that is no text, ends too early or goes on behind the map.
    #[error("header is not one whole MessagePack map with text keys")]
    BadHeader,
    /// A known key has a value that it cannot have.
    #[error("header: `{key}` has the wrong type, is out of range, or is there twice")]
    BadValue {
        /// The key.
        key: &'static str,
    },
    /// A key that has to be there is not.
    #[error("header: `{key}` is missing")]
    MissingKey {
        /// The key.
        key: &'static str,
    },
    /// A request or an answer has no body.
    #[error("no body; send at least one frame behind the header, which may be empty")]
    NoBody,
    /// A command without a body has more frames than its header.
    #[error("frames behind the header of a command that has no body")]
    FrameCount,
}

impl Malformed {
    /// The value of the label `reason` in the metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::NoSignature => "no_signature",
            Self::NoKind => "no_kind",
            Self::UnknownKind => "unknown_kind",
            Self::WrongWay => "wrong_way",
            Self::ZeroId => "zero_id",
            Self::HeaderTooBig => "header_too_big",
            Self::TooDeep => "header_too_deep",
            Self::BadHeader => "bad_header",
            Self::BadValue { .. } => "bad_value",
            Self::MissingKey { .. } => "missing_key",
            Self::NoBody => "no_body",
            Self::FrameCount => "frame_count",
        }
    }
}

/// A message that is not MJP/1, with what could be read of it: whom to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Rejected {
    /// The kind, see [`kind`](super::kind); 0 if there is none.
    pub kind: u8,
    /// The id; 0 if there is none.
    pub id: u64,
    /// What is wrong.
    pub why: Malformed,
}
