//! Dialects: translations at the edge. Behind them there is one router for all.

pub mod mdp;

use crate::id::RequestId;
use crate::wire::codec::Encoder;
use crate::wire::mdp::{Answer, ToClient, ToWorker, Version};
use crate::wire::message::{Frames, Message};

/// How a caller is answered.
#[derive(Debug)]
pub(crate) enum CallerVoice {
    /// Majordomo: the version, and the frames that came before the header.
    Mdp(Version, Envelope),
}

impl CallerVoice {
    /// Whether the caller takes an answer in parts.
    pub(crate) fn takes_parts(&self) -> bool {
        match self {
            Self::Mdp(version, _) => *version == Version::V02,
        }
    }

    /// Memory that the voice holds besides itself, octets.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Mdp(_, Envelope::Frames(envelope)) => size_of::<Message>() + envelope.bytes(),
            Self::Mdp(_, Envelope::None | Envelope::Delimiter) => 0,
        }
    }

    /// Says an answer, or a part of it.
    #[inline]
    pub(crate) fn answer(
        &self,
        last: bool,
        service: &[u8],
        parts: &[Message],
        body: Frames<'_>,
        out: &mut Encoder,
    ) {
        match self {
            Self::Mdp(version, envelope) => {
                let answer = ToClient { version: *version, last, service, body };
                answer.encode(&envelope.frames(), parts, out);
            }
        }
    }
}

/// The frames before a request's header, which go back with the answer.
#[derive(Debug)]
pub(crate) enum Envelope {
    /// None: MDP/0.2.
    None,
    /// The empty delimiter alone: almost every MDP/0.1 client.
    Delimiter,
    /// More than that: REQ_CORRELATE, or a chain of proxies.
    Frames(Box<Message>),
}

impl Envelope {
    pub(crate) fn keep(envelope: Frames<'_>) -> Self {
        match envelope.len() {
            0 => Self::None,
            1 => Self::Delimiter,
            _ => Self::Frames(Box::new(envelope.to_message())),
        }
    }

    fn frames(&self) -> Frames<'_> {
        match self {
            Self::None => Frames::default(),
            Self::Delimiter => Frames::DELIMITER,
            Self::Frames(envelope) => envelope.frames(),
        }
    }
}

/// How a worker is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WorkerVoice {
    /// Majordomo.
    Mdp(Version),
}

impl WorkerVoice {
    /// Delivers a request.
    #[inline]
    pub(crate) fn request(self, id: RequestId, body: Frames<'_>, out: &mut Encoder) {
        let Self::Mdp(version) = self;
        ToWorker::Request(Answer { address: &id.to_address(), body }).encode(version, out);
    }

    /// Shows that the broker lives.
    pub(crate) fn heartbeat(self, out: &mut Encoder) {
        let Self::Mdp(version) = self;
        ToWorker::Heartbeat.encode(version, out);
    }

    /// Ends the registration.
    pub(crate) fn disconnect(self, out: &mut Encoder) {
        let Self::Mdp(version) = self;
        ToWorker::Disconnect.encode(version, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_is_charged_when_it_is_more_than_the_delimiter() {
        let bytes =
            |envelope: Frames<'_>| CallerVoice::Mdp(Version::V01, Envelope::keep(envelope)).bytes();
        assert_eq!(bytes(Frames::default()), 0);
        assert_eq!(bytes(Frames::DELIMITER), 0);
        let hops = Message::new([&[7_u8; 255][..], &[7; 255], b""]);
        assert!(bytes(hops.frames()) >= 2 * 255);
    }
}
