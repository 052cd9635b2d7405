//! Majordomo: MDP/0.1 (RFC 7) and MDP/0.2 (RFC 18), both ends (SPEC 4).

use super::codec::Encoder;
use super::message::{Frames, Message};
use crate::id::ServiceName;

/// Longest frame of a caller's envelope, octets.
pub const ENVELOPE_FRAME_MAX: usize = 255;
/// Most frames of a caller's envelope, the empty delimiter included.
pub const ENVELOPE_FRAMES_MAX: usize = 8;

/// The two versions on the wire. They share their ideas and not one octet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Version {
    /// RFC 7: empty delimiter, one REPLY.
    V01,
    /// RFC 18: no delimiter, any number of PARTIAL and one FINAL.
    V02,
}

impl Version {
    fn client(self) -> &'static [u8] {
        match self {
            Self::V01 => b"MDPC01",
            Self::V02 => b"MDPC02",
        }
    }

    fn worker(self) -> &'static [u8] {
        match self {
            Self::V01 => b"MDPW01",
            Self::V02 => b"MDPW02",
        }
    }
}

/// What a peer says to a broker.
#[derive(Debug, Clone, Copy)]
pub enum ToBroker<'a> {
    /// A client's request.
    Request(Request<'a>),
    /// A worker's command.
    Worker(Version, FromWorker<'a>),
}

/// A client's request.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The version the client speaks.
    pub version: Version,
    /// Frames before the header, the empty delimiter included; they go back with the reply
    /// (RFC 28). MDP/0.2 has none.
    pub envelope: Frames<'a>,
    /// The name of the service, as given.
    pub service: &'a [u8],
    /// One frame or more, opaque.
    pub body: Frames<'a>,
}

/// A worker's command.
#[derive(Debug, Clone, Copy)]
pub enum FromWorker<'a> {
    /// The worker offers a service.
    Ready {
        /// The name of the service, as given.
        service: &'a [u8],
    },
    /// More of the answer follows (MDP/0.2).
    Partial(Answer<'a>),
    /// REPLY of MDP/0.1, FINAL of MDP/0.2: the request is done.
    Final(Answer<'a>),
    /// The worker lives.
    Heartbeat,
    /// The worker leaves.
    Disconnect,
    /// READY that names no service, or has other frames than its name.
    BadReady(Malformed),
    /// An answer without address, empty frame or body.
    BadAnswer(Malformed),
    /// No command of a worker.
    Invalid(Malformed),
}

/// An answer to a request.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// The client address, echoed.
    pub address: &'a [u8],
    /// One frame or more, opaque.
    pub body: Frames<'a>,
}

/// Why a message is not MDP. A client's is dropped and counted, a worker's ends its registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// A single empty frame: PROBE_ROUTER, which means nothing.
    #[error("empty message (PROBE_ROUTER)")]
    Probe,
    /// No protocol header where one belongs.
    #[error("no MDPC01, MDPW01, MDPC02 or MDPW02 header; MDP/0.1 puts an empty frame before it")]
    NoHeader,
    /// The empty delimiter of MDP/0.1 before a header of MDP/0.2.
    #[error("MDP/0.2 header behind an empty frame; RFC 18 has no delimiter, and needs DEALER")]
    DelimitedV02,
    /// A header of some other Majordomo.
    #[error("header of another Majordomo dialect (MDPC0X, MDPC03, zproto); speak RFC 7 or RFC 18")]
    ForeignDialect,
    /// The envelope is too long.
    #[error("more than 8 frames, or a frame of more than 255 octets, before the header")]
    EnvelopeTooBig,
    /// The request names no service that there can be: the name is missing, empty or too long.
    #[error("request without a service name of 1 to {} octets", ServiceName::LEN_MAX)]
    NoService,
    /// The request has no body.
    #[error("request without a body; send at least one frame, which may be empty")]
    NoBody,
    /// The command octet is missing or not exactly one octet.
    #[error("no command frame of one octet")]
    NoCommand,
    /// The command octet is unknown.
    #[error("unknown command octet")]
    UnknownCommand,
    /// A command has frames it does not have.
    #[error("too many or too few frames for the command")]
    FrameCount,
    /// An answer without address, empty frame or body.
    #[error("answer without client address, empty frame and body")]
    BadAnswer,
}

impl Malformed {
    /// The value of the label `reason` in the metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::NoHeader => "no_header",
            Self::DelimitedV02 => "delimited_v02",
            Self::ForeignDialect => "foreign_dialect",
            Self::EnvelopeTooBig => "envelope_too_big",
            Self::NoService => "no_service",
            Self::NoBody => "no_body",
            Self::NoCommand => "no_command",
            Self::UnknownCommand => "unknown_command",
            Self::FrameCount => "frame_count",
            Self::BadAnswer => "bad_answer",
        }
    }
}

impl<'a> ToBroker<'a> {
    /// Reads what a peer says to a broker. `Err` carries no version: nobody knows who speaks.
    ///
    /// # Errors
    /// The message is neither a client's request nor from a worker.
    #[inline]
    pub fn decode(message: Frames<'a>) -> Result<Self, Malformed> {
        let mut rest = message;
        let first = rest.take_first().ok_or(Malformed::NoHeader)?;
        match first {
            b"" => {
                let mut after = rest;
                match after.take_first() {
                    Some(b"MDPC01") => Request::decode(Version::V01, message.before(&rest), after),
                    Some(b"MDPW01") => {
                        Ok(Self::Worker(Version::V01, FromWorker::decode_v01(after)))
                    }
                    None => Err(Malformed::Probe),
                    Some(header) => Err(misplaced(header)),
                }
            }
            b"MDPC02" => {
                let envelope = Frames::default();
                match rest.take_first() {
                    Some([1]) => Request::decode(Version::V02, envelope, rest),
                    Some([_]) => Err(Malformed::UnknownCommand),
                    _ => Err(Malformed::NoCommand),
                }
            }
            b"MDPW02" => Ok(Self::Worker(Version::V02, FromWorker::decode_v02(rest))),
            _ => Self::decode_enveloped(message),
        }
    }

    /// A request behind an envelope of several frames, such as REQ_CORRELATE makes.
    fn decode_enveloped(message: Frames<'a>) -> Result<Self, Malformed> {
        let mut rest = message;
        for _ in 0..ENVELOPE_FRAMES_MAX {
            match rest.take_first() {
                Some(b"") => {
                    let envelope = message.before(&rest);
                    return match rest.take_first() {
                        Some(b"MDPC01") => Request::decode(Version::V01, envelope, rest),
                        Some(header) => Err(misplaced(header)),
                        None => Err(Malformed::NoHeader),
                    };
                }
                Some(frame) if frame.len() > ENVELOPE_FRAME_MAX => {
                    return Err(Malformed::EnvelopeTooBig);
                }
                Some(header) if misplaced(header) == Malformed::ForeignDialect => {
                    return Err(Malformed::ForeignDialect);
                }
                Some(_) => {}
                None => return Err(Malformed::NoHeader),
            }
        }
        Err(Malformed::EnvelopeTooBig)
    }
}

/// What to say of a header that stands where MDP/0.1 has its own.
fn misplaced(header: &[u8]) -> Malformed {
    match header {
        b"MDPC02" | b"MDPW02" => Malformed::DelimitedV02,
        [b'M', b'D', b'P', b'C' | b'W', b'0', b'X' | b'3'] | [0xAA, 0xA4, ..] => {
            Malformed::ForeignDialect
        }
        _ => Malformed::NoHeader,
    }
}

impl<'a> Request<'a> {
    /// The request of a plain client of MDP/0.1, if `message` is a good one: how almost every one
    /// begins is compared at once, not frame by frame. `None`: ask [`ToBroker::decode`].
    #[inline]
    #[must_use]
    pub fn decode_plain(message: Frames<'a>) -> Option<Self> {
        let mut rest = message.strip_prefix(b"\x01\x00\x01\x06MDPC01", 2)?;
        let service = rest.take_first()?;
        let good = (1..=ServiceName::LEN_MAX).contains(&service.len()) && !rest.is_empty();
        let request =
            Self { version: Version::V01, envelope: Frames::DELIMITER, service, body: rest };
        good.then_some(request)
    }

    #[inline]
    fn decode(
        version: Version,
        envelope: Frames<'a>,
        mut rest: Frames<'a>,
    ) -> Result<ToBroker<'a>, Malformed> {
        match rest.take_first() {
            None | Some(b"") => Err(Malformed::NoService),
            Some(service) if service.len() > ServiceName::LEN_MAX => Err(Malformed::NoService),
            Some(_) if rest.is_empty() => Err(Malformed::NoBody),
            Some(service) => Ok(ToBroker::Request(Self { version, envelope, service, body: rest })),
        }
    }

    /// Writes the request as a client does.
    pub fn encode(&self, out: &mut Encoder) {
        match self.version {
            Version::V01 if self.envelope.is_empty() => out.frame(b""),
            Version::V01 => out.frames(&self.envelope),
            Version::V02 => {}
        }
        out.frame(self.version.client());
        if self.version == Version::V02 {
            out.frame(&[1]);
        }
        out.frame(self.service);
        out.frames(&self.body);
    }
}

impl<'a> FromWorker<'a> {
    #[inline]
    fn decode_v01(mut rest: Frames<'a>) -> Self {
        match rest.take_first() {
            Some([1]) => Self::ready(rest),
            Some([3]) => Answer::decode(rest).map_or_else(Self::BadAnswer, Self::Final),
            Some([4]) => Self::bare(Self::Heartbeat, rest),
            Some([5]) => Self::bare(Self::Disconnect, rest),
            Some([_]) => Self::Invalid(Malformed::UnknownCommand),
            _ => Self::Invalid(Malformed::NoCommand),
        }
    }

    #[inline]
    fn decode_v02(mut rest: Frames<'a>) -> Self {
        match rest.take_first() {
            Some([1]) => Self::ready(rest),
            Some([3]) => Answer::decode(rest).map_or_else(Self::BadAnswer, Self::Partial),
            Some([4]) => Answer::decode(rest).map_or_else(Self::BadAnswer, Self::Final),
            Some([5]) => Self::bare(Self::Heartbeat, rest),
            Some([6]) => Self::bare(Self::Disconnect, rest),
            Some([_]) => Self::Invalid(Malformed::UnknownCommand),
            _ => Self::Invalid(Malformed::NoCommand),
        }
    }

    fn ready(mut rest: Frames<'a>) -> Self {
        match (rest.take_first(), rest.is_empty()) {
            (None | Some(b""), _) => Self::BadReady(Malformed::NoService),
            (Some(service), true) => Self::Ready { service },
            (Some(_), false) => Self::BadReady(Malformed::FrameCount),
        }
    }

    fn bare(command: Self, rest: Frames<'a>) -> Self {
        if rest.is_empty() { command } else { Self::Invalid(Malformed::FrameCount) }
    }

    /// Writes the command as a worker of `version` does. MDP/0.1 has no PARTIAL and nobody has
    /// a way to write an invalid command; both write nothing.
    pub fn encode(&self, version: Version, out: &mut Encoder) {
        let octet = match (self, version) {
            (Self::Ready { .. }, _) => 1,
            (Self::Final(_), Version::V01) | (Self::Partial(_), Version::V02) => 3,
            (Self::Final(_), Version::V02) | (Self::Heartbeat, Version::V01) => 4,
            (Self::Heartbeat, Version::V02) | (Self::Disconnect, Version::V01) => 5,
            (Self::Disconnect, Version::V02) => 6,
            (Self::Partial(_), Version::V01)
            | (Self::BadReady(_) | Self::BadAnswer(_) | Self::Invalid(_), _) => return,
        };
        if version == Version::V01 {
            out.frame(b"");
        }
        out.frame(version.worker());
        match self {
            Self::Ready { service } => {
                out.frame(&[octet]);
                out.last_frame(service);
            }
            Self::Partial(answer) | Self::Final(answer) => {
                out.frame(&[octet]);
                out.frame(answer.address);
                out.frame(b"");
                out.frames(&answer.body);
            }
            _ => out.last_frame(&[octet]),
        }
    }
}

impl<'a> Answer<'a> {
    /// The answer of a worker of MDP/0.1, if `message` is a good one, as [`Request::decode_plain`].
    #[inline]
    #[must_use]
    pub fn decode_plain(message: Frames<'a>) -> Option<Self> {
        let mut rest = message.strip_prefix(b"\x01\x00\x01\x06MDPW01\x01\x01\x03", 3)?;
        let address = rest.take_first()?;
        let body = rest.strip_prefix(b"\x01\x00", 1).filter(|body| !body.is_empty())?;
        Some(Self { address, body })
    }

    /// Address, empty frame, body: what requests and answers of both versions end with.
    #[inline]
    fn decode(mut rest: Frames<'a>) -> Result<Self, Malformed> {
        match (rest.take_first(), rest.take_first(), rest.is_empty()) {
            (Some(address), Some(b""), false) => Ok(Self { address, body: rest }),
            _ => Err(Malformed::BadAnswer),
        }
    }
}

/// What a broker says to a worker.
#[derive(Debug, Clone, Copy)]
pub enum ToWorker<'a> {
    /// Work.
    Request(Answer<'a>),
    /// The broker lives.
    Heartbeat,
    /// The broker will say nothing more; register anew on a new connection.
    Disconnect,
}

impl<'a> ToWorker<'a> {
    /// Writes the command for a worker of `version`.
    // By a call the body would be moved right after it was put together, and be waited for.
    #[inline(always)]
    pub fn encode(&self, version: Version, out: &mut Encoder) {
        match version {
            Version::V01 => out.octets(b"\x01\x00\x01\x06MDPW01"),
            Version::V02 => out.octets(b"\x01\x06MDPW02"),
        }
        match (self, version) {
            (Self::Request(request), _) => {
                out.octets(b"\x01\x01\x02");
                // Ours all have 8 octets; a length known to the compiler costs no call.
                match <&[u8; 8]>::try_from(request.address) {
                    Ok(address) => {
                        out.octets(b"\x01\x08");
                        out.octets(address);
                    }
                    Err(_) => out.frame(request.address),
                }
                out.octets(b"\x01\x00");
                out.frames(&request.body);
            }
            (Self::Heartbeat, Version::V01) => out.octets(b"\x00\x01\x04"),
            (Self::Heartbeat, Version::V02) | (Self::Disconnect, Version::V01) => {
                out.octets(b"\x00\x01\x05");
            }
            (Self::Disconnect, Version::V02) => out.octets(b"\x00\x01\x06"),
        }
    }

    /// Reads what a broker says to a worker.
    ///
    /// # Errors
    /// The message is not a broker's.
    pub fn decode(message: Frames<'a>) -> Result<(Version, Self), Malformed> {
        let mut rest = message;
        let version = match rest.take_first() {
            Some(b"MDPW02") => Version::V02,
            Some(b"") if rest.take_first() == Some(b"MDPW01") => Version::V01,
            _ => return Err(Malformed::NoHeader),
        };
        let command = match (rest.take_first(), version) {
            (Some([2]), _) => Self::Request(Answer::decode(rest)?),
            (Some([4]), Version::V01) | (Some([5]), Version::V02) => Self::Heartbeat,
            (Some([5]), Version::V01) | (Some([6]), Version::V02) => Self::Disconnect,
            (Some([_]), _) => return Err(Malformed::UnknownCommand),
            _ => return Err(Malformed::NoCommand),
        };
        Ok((version, command))
    }
}

/// What a broker says to a client: a part of the answer, or all the rest of it.
#[derive(Debug, Clone, Copy)]
pub struct ToClient<'a> {
    /// The version the client speaks.
    pub version: Version,
    /// The last answer to this request. MDP/0.1 knows no other.
    pub last: bool,
    /// The service, as requested.
    pub service: &'a [u8],
    /// One frame or more, opaque.
    pub body: Frames<'a>,
}

impl<'a> ToClient<'a> {
    /// Writes the answer: `envelope`, the frames that came before the request's header, goes
    /// first; `earlier` parts of the body go before the rest of it.
    #[inline]
    pub fn encode(&self, envelope: &Frames<'_>, earlier: &[Message], out: &mut Encoder) {
        out.frames(envelope);
        match (self.version, self.last) {
            (Version::V01, _) => out.octets(b"\x01\x06MDPC01"),
            (Version::V02, false) => out.octets(b"\x01\x06MDPC02\x01\x01\x02"),
            (Version::V02, true) => out.octets(b"\x01\x06MDPC02\x01\x01\x03"),
        }
        out.frame(self.service);
        for part in earlier {
            out.frames_and_more(&part.frames());
        }
        out.frames(&self.body);
    }

    /// Reads what a broker says to a client whose envelope is at most the empty delimiter.
    ///
    /// # Errors
    /// The message is not a broker's.
    pub fn decode(message: Frames<'a>) -> Result<Self, Malformed> {
        let mut rest = message;
        let (version, last) = match rest.take_first() {
            Some(b"") if rest.take_first() == Some(b"MDPC01") => (Version::V01, true),
            Some(b"MDPC02") => match rest.take_first() {
                Some([2]) => (Version::V02, false),
                Some([3]) => (Version::V02, true),
                Some([_]) => return Err(Malformed::UnknownCommand),
                _ => return Err(Malformed::NoCommand),
            },
            _ => return Err(Malformed::NoHeader),
        };
        match (rest.take_first(), rest.is_empty()) {
            (Some(service), false) => Ok(Self { version, last, service, body: rest }),
            (None, _) => Err(Malformed::NoService),
            (Some(_), true) => Err(Malformed::NoBody),
        }
    }
}

#[cfg(test)]
mod tests;
