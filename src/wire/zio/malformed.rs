//! Why a message is not ZIO, or its label none of a flow.

use super::{DEPTH_MAX, LABEL_MAX, PARTS_MAX};

/// Why a message is not ZIO, or its label none of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// RFC 41: CLIENT and SERVER have messages of one frame.
    #[error("message of {frames} frames; a CLIENT sends one")]
    FrameCount {
        /// How many there are.
        frames: usize,
    },
    /// A message of several frames does not begin with an empty one.
    #[error("no empty frame before the parts")]
    NoDelimiter,
    /// The frame ends within the size of a part, or within the part.
    #[error("part {part} ends {missing} octets behind the frame")]
    PartCut {
        /// Which part, from 0.
        part: usize,
        /// Octets that are not there.
        missing: usize,
    },
    /// Prefix or coordinates are missing.
    #[error("message of {parts} parts; prefix and coordinates make two")]
    TooFewParts {
        /// How many there are.
        parts: usize,
    },
    /// There are too many parts.
    #[error("message of more than {PARTS_MAX} parts; join some")]
    TooManyParts,
    /// The first part does not begin with `ZIO`.
    #[error("the first part does not begin with ZIO")]
    NoMagic,
    /// The first part is too short for level and form.
    #[error("prefix of {len} octets; ZIO, level and form take 8")]
    ShortPrefix {
        /// How many there are.
        len: usize,
    },
    /// The level is not one of `0` to `8`.
    #[error("level {level:#04x}; levels are the digits 0 to 8")]
    BadLevel {
        /// The octet that stands there.
        level: u8,
    },
    /// Form or label is no text.
    #[error("form or label is not UTF-8")]
    NotText,
    /// The label is too long.
    #[error("label of {len} octets, more than {LABEL_MAX}; move some into the payload")]
    LabelTooLong {
        /// How many there are.
        len: usize,
    },
    /// The second part does not have 24 octets.
    #[error("coordinates of {len} octets; origin, granule and seqno take 24")]
    BadCoordinates {
        /// How many there are.
        len: usize,
    },
    /// The label is no JSON.
    #[error("label: no JSON at octet {at}")]
    BadJson {
        /// Where it goes wrong.
        at: usize,
    },
    /// An attribute of the label is nested too deep.
    #[error("label: an attribute is nested deeper than {DEPTH_MAX} levels")]
    TooDeep,
    /// The label is JSON and no object.
    #[error("label: no JSON object")]
    NoObject,
    /// The label has no attribute `flow`.
    #[error("label: no attribute `flow`")]
    NoFlow,
    /// It has another value than the four.
    #[error("label: `flow` is none of BOT, DAT, PAY, EOT")]
    UnknownFlow,
}

impl Malformed {
    /// The value of the label `reason` in the metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::FrameCount { .. } => "frame_count",
            Self::NoDelimiter => "no_delimiter",
            Self::PartCut { .. } => "part_cut",
            Self::TooFewParts { .. } => "too_few_parts",
            Self::TooManyParts => "too_many_parts",
            Self::NoMagic => "no_magic",
            Self::ShortPrefix { .. } => "short_prefix",
            Self::BadLevel { .. } => "bad_level",
            Self::NotText => "not_text",
            Self::LabelTooLong { .. } => "label_too_long",
            Self::BadCoordinates { .. } => "bad_coordinates",
            Self::BadJson { .. } => "bad_json",
            Self::TooDeep => "too_deep",
            Self::NoObject => "no_object",
            Self::NoFlow => "no_flow",
            Self::UnknownFlow => "unknown_flow",
        }
    }
}
