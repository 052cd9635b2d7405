//! `tokio_util` codecs over [`crate::wire::codec`], for whoever has a stream to himself.

use bytes::BytesMut;
use tokio_util::codec;

use crate::wire::Limits;
use crate::wire::codec::{CodecError, Decoder, Item};
use crate::wire::command::{Command, CommandError};
use crate::wire::frame::{HEADER_LEN_MAX, Header, MORE};
use crate::wire::message::Message;

/// ZMTP traffic after a handshake.
#[derive(Debug)]
pub struct ZmtpCodec {
    decoder: Decoder,
}

/// What a peer said, kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// A message.
    Message(Message),
    /// PING, to be answered with this PONG: a whole frame.
    Ping(Vec<u8>),
    /// Another command that asks for nothing.
    Command,
}

/// What goes to a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Say {
    /// A message.
    Message(Message),
    /// A whole command frame.
    Command(Vec<u8>),
}

/// A connection that is of no use any more.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ZmtpError {
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The peer broke the framing or a limit.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The peer sent a command that cannot be read.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The peer ended the connection for good.
    #[error("the peer sent ERROR: {reason}; it will not have us, so do not come back as we are")]
    Refused {
        /// What it said, escaped.
        reason: String,
    },
}

impl ZmtpCodec {
    /// A codec for the octets that follow a handshake.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { decoder: Decoder::new(limits) }
    }
}

impl codec::Decoder for ZmtpCodec {
    type Item = Heard;
    type Error = ZmtpError;

    fn decode(&mut self, source: &mut BytesMut) -> Result<Option<Heard>, ZmtpError> {
        let mut input: &[u8] = source;
        let heard = match self.decoder.next(&mut input)? {
            None => None,
            Some(Item::Message(frames)) => Some(Heard::Message(frames.to_message())),
            Some(Item::Command(body)) => Some(match Command::decode(body)? {
                Command::Ping { context, .. } => {
                    let mut pong = Vec::new();
                    Command::Pong { context }.encode(&mut pong);
                    Heard::Ping(pong)
                }
                Command::Error { reason } => {
                    let reason = reason.escape_ascii().to_string();
                    return Err(ZmtpError::Refused { reason });
                }
                _ => Heard::Command,
            }),
        };
        let taken = source.len() - input.len();
        bytes::Buf::advance(source, taken);
        Ok(heard)
    }
}

impl codec::Encoder<Say> for ZmtpCodec {
    type Error = ZmtpError;

    fn encode(&mut self, say: Say, target: &mut BytesMut) -> Result<(), ZmtpError> {
        match say {
            Say::Command(frame) => target.extend_from_slice(&frame),
            Say::Message(message) => {
                let mut frames = message.frames();
                while let Some(body) = frames.take_first() {
                    let flags = if frames.is_empty() { 0 } else { MORE };
                    let mut header = Vec::with_capacity(HEADER_LEN_MAX);
                    Header::encode(flags, body.len(), &mut header);
                    target.extend_from_slice(&header);
                    target.extend_from_slice(body);
                }
            }
        }
        Ok(())
    }
}
