//! NuroPb 0.1.1: what services of its Python package say to one another over RabbitMQ (SPEC 17.2).
//!
//! A message is a JSON object in UTF-8 with some headers and properties beside it. Here is what is
//! in them and how things are called; what carries them is somebody else's.

mod body;
mod json;
mod names;

pub use body::{
    Body, Call, CallType, ErrorBody, Event, Response, class, decode, encode_call, encode_event,
    encode_response,
};
pub use json::to_python;
pub use names::{KeyNames, Topology, fits_short_string, topic_matches};

use serde::{Deserialize, Serialize};

/// The version of the protocol, the only one that is taken.
pub const PROTOCOL: &str = "0.1.1";
/// The version of the Python library whose layout this is; sent, and never looked at.
pub const VERSION: &str = "0.1.8";
/// The type of all bodies.
pub const CONTENT_TYPE: &str = "application/json";
/// The method that every service has.
pub const DESCRIBE: &str = "nuropb_describe";

/// The names of the headers.
pub mod header {
    /// [`PROTOCOL`](super::PROTOCOL).
    pub const PROTOCOL: &str = "nuropb_protocol";
    /// [`VERSION`](super::VERSION).
    pub const VERSION: &str = "nuropb_version";
    /// A [`Kind`](super::Kind).
    pub const TYPE: &str = "nuropb_type";
    /// Text of the caller, or nothing.
    pub const TRACE_ID: &str = "trace_id";
    /// `yes`, or an empty text.
    pub const ENCRYPTED: &str = "encrypted";
}

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A call that waits for an answer.
    Request,
    /// A call that does not.
    Command,
    /// Something has happened.
    Event,
    /// The answer to a request.
    Response,
}

impl Kind {
    /// As the header says it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Command => "command",
            Self::Event => "event",
            Self::Response => "response",
        }
    }
}

impl std::str::FromStr for Kind {
    type Err = Bad;

    fn from_str(text: &str) -> Result<Self, Bad> {
        match text {
            "request" => Ok(Self::Request),
            "command" => Ok(Self::Command),
            "event" => Ok(Self::Event),
            "response" => Ok(Self::Response),
            other => Err(Bad::Kind(shortened(other))),
        }
    }
}

/// Headers of a message, as far as they say anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers {
    /// The version of the protocol.
    pub protocol: Option<String>,
    /// What the message is.
    pub kind: Option<String>,
    /// The caller's own mark.
    pub trace_id: Option<String>,
    /// Whether the body is encrypted.
    pub encrypted: bool,
}

impl Headers {
    /// What the message is, if it is one that can be read.
    ///
    /// # Errors
    ///
    /// Another protocol or version, or an unknown type.
    pub fn kind(&self) -> Result<Kind, Bad> {
        match self.protocol.as_deref() {
            Some(PROTOCOL) => {}
            other => return Err(Bad::Protocol(other.map(shortened))),
        }
        self.kind.as_deref().unwrap_or_default().parse()
    }

    /// The message with that body, as far as it can be read without a key.
    ///
    /// # Errors
    ///
    /// See [`Self::kind`] and [`decode`].
    pub fn read(&self, octets: &[u8]) -> Result<(Kind, Body), Bad> {
        let kind = self.kind()?;
        // NuroPb marks events, and does not encrypt them.
        let body = match kind {
            Kind::Request | Kind::Command | Kind::Response if self.encrypted => {
                Body::Sealed(octets.to_vec())
            }
            _ => decode(kind, octets)?,
        };
        Ok((kind, body))
    }
}

/// Why a message cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Bad {
    /// It is of another protocol, or of another version of it.
    #[error("the header nuropb_protocol is {0:?}, and only {PROTOCOL} is understood")]
    Protocol(Option<String>),
    /// Nobody knows that type.
    #[error("the header nuropb_type is `{0}`: request, command, event and response are known")]
    Kind(String),
    /// Its body is encrypted, and there is no key.
    #[error("the body is encrypted, and this end has no key")]
    Encrypted,
    /// Its body is no object of JSON, or lacks something.
    #[error("the body: {0}")]
    Body(String),
}

/// What a peer says, for an error: not all of it.
fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(protocol: &str, kind: &str) -> Headers {
        Headers { protocol: Some(protocol.into()), kind: Some(kind.into()), ..Headers::default() }
    }

    #[test]
    fn only_known_versions_and_types_are_taken() {
        for kind in [Kind::Request, Kind::Command, Kind::Event, Kind::Response] {
            assert_eq!(headers("0.1.1", kind.as_str()).kind(), Ok(kind));
        }
        assert_eq!(Headers::default().kind(), Err(Bad::Protocol(None)));
        assert_eq!(headers("0.1.2", "event").kind(), Err(Bad::Protocol(Some("0.1.2".into()))));
        assert_eq!(headers("0.1.1", "reply").kind(), Err(Bad::Kind("reply".into())));
        let encrypted = |kind| Headers { encrypted: true, ..headers("0.1.1", kind) };
        for kind in [Kind::Request, Kind::Command, Kind::Response] {
            let read = encrypted(kind.as_str()).read(b"AA==.AA==");
            assert_eq!(read, Ok((kind, Body::Sealed(b"AA==.AA==".to_vec()))));
        }
        let event = encrypted("event").read(b"{\"topic\": \"t\"}");
        assert!(matches!(event, Ok((Kind::Event, Body::Event(_)))), "{event:?}");
        let long = headers("0.1.1", &"x".repeat(1000));
        assert_eq!(long.kind(), Err(Bad::Kind("x".repeat(64))));
    }
}
