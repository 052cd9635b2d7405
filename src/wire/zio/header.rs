//! The first two parts: what a message is, and where it belongs.

use std::fmt;

use super::LABEL_MAX;
use super::malformed::Malformed;

const MAGIC: &[u8] = b"ZIO";
/// Octets before the label: magic, level and form.
pub(super) const PREFIX_LEN: usize = 8;

/// How much a message matters, one digit on the wire. Those of flows have [`Self::Undefined`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[expect(missing_docs, reason = "the names are those of ZIO and say all there is")]
pub enum Level {
    #[default]
    Undefined,
    Trace,
    Verbose,
    Debug,
    Info,
    Summary,
    Warning,
    Error,
    Fatal,
}

impl Level {
    /// All of them: the digit is the place.
    pub const ALL: [Self; 9] = [
        Self::Undefined,
        Self::Trace,
        Self::Verbose,
        Self::Debug,
        Self::Info,
        Self::Summary,
        Self::Warning,
        Self::Error,
        Self::Fatal,
    ];

    /// The digit on the wire.
    #[must_use]
    pub fn digit(self) -> u8 {
        b'0' + self as u8
    }

    fn read(digit: u8) -> Result<Self, Malformed> {
        let place = usize::from(digit.wrapping_sub(b'0'));
        Self::ALL.get(place).copied().ok_or(Malformed::BadLevel { level: digit })
    }
}

/// What kind of payload and label a message has: 4 octets of text, filled up with spaces.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Form([u8; 4]);

impl Form {
    /// Messages of flows. Nobody looks at it: the label decides.
    pub const FLOW: Self = Self(*b"FLOW");

    /// A form of up to 4 octets; none if the text is longer.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let mut form = [b' '; 4];
        form.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        Some(Self(form))
    }

    /// The octets.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 4] {
        &self.0
    }
}

impl Default for Form {
    fn default() -> Self {
        Self([b' '; 4])
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.trim_ascii_end().escape_ascii())
    }
}

impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Form({})", self.0.escape_ascii())
    }
}

/// The first part: `ZIO`, level, form, and the label up to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Prefix<'a> {
    /// How much the message matters.
    pub level: Level,
    /// What kind it is.
    pub form: Form,
    /// Free text; in flows a JSON object. Up to [`LABEL_MAX`] octets.
    pub label: &'a str,
}

impl<'a> Prefix<'a> {
    /// Reads the first part.
    ///
    /// # Errors
    /// It is none of ZIO's.
    #[inline]
    pub fn decode(part: &'a [u8]) -> Result<Self, Malformed> {
        let rest = part.strip_prefix(MAGIC).ok_or(Malformed::NoMagic)?;
        let short = Malformed::ShortPrefix { len: part.len() };
        let (level, rest) = rest.split_first().ok_or(short)?;
        let (form, label) = rest.split_first_chunk::<4>().ok_or(short)?;
        let level = Level::read(*level)?;
        if label.len() > LABEL_MAX {
            return Err(Malformed::LabelTooLong { len: label.len() });
        }
        std::str::from_utf8(form).map_err(|_| Malformed::NotText)?;
        let label = std::str::from_utf8(label).map_err(|_| Malformed::NotText)?;
        Ok(Self { level, form: Form(*form), label })
    }

    /// The octets of the part.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut part = Vec::with_capacity(PREFIX_LEN + self.label.len());
        part.extend_from_slice(MAGIC);
        part.push(self.level.digit());
        part.extend_from_slice(&self.form.0);
        part.extend_from_slice(self.label.as_bytes());
        part
    }
}

/// The second part: 24 octets, three numbers with the least significant octet first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Coordinates {
    /// Who made it.
    pub origin: u64,
    /// When, by convention microseconds since 1970.
    pub granule: u64,
    /// Its number among those of its sender in the flow: BOT is 0.
    pub seqno: u64,
}

impl Coordinates {
    /// Octets on the wire.
    pub const LEN: usize = 24;

    /// Reads the second part.
    ///
    /// # Errors
    /// It has another length.
    #[inline]
    pub fn decode(part: &[u8]) -> Result<Self, Malformed> {
        let wrong = Malformed::BadCoordinates { len: part.len() };
        let (origin, rest) = part.split_first_chunk().ok_or(wrong)?;
        let (granule, rest) = rest.split_first_chunk().ok_or(wrong)?;
        let seqno = <&[u8; 8]>::try_from(rest).map_err(|_| wrong)?;
        Ok(Self {
            origin: u64::from_le_bytes(*origin),
            granule: u64::from_le_bytes(*granule),
            seqno: u64::from_le_bytes(*seqno),
        })
    }

    /// The octets of the part.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut part = [0; Self::LEN];
        let numbers = [self.origin, self.granule, self.seqno];
        for (to, number) in part.chunks_exact_mut(8).zip(numbers) {
            to.copy_from_slice(&number.to_le_bytes());
        }
        part
    }
}
