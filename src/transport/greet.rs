//! The handshake, over a socket.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::proto::handshake::{Handshake, HandshakeError, Local, Peer};

use super::link::write_all;
use super::stream::{ReadHalf, WriteHalf};

/// Octets read at a time before a peer is known.
const READ_BYTES: usize = 512;
/// Octets of an unwanted peer that are thrown away so that it can read why it is unwanted.
const LINGER_BYTES: usize = 64 << 10;

/// Why there is no peer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GreetError {
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The other side hung up.
    #[error("the peer hung up before the handshake was done")]
    HungUp,
    /// The handshake failed.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
}

/// Shakes hands. Returns the peer, and octets that came behind its handshake.
///
/// # Errors
/// There is no peer; if it is to stay away for good it has been told so.
///
/// # Cancel safety
/// None: the connection is of no use afterwards.
pub async fn greet(
    reader: &mut ReadHalf,
    writer: &WriteHalf,
    local: Local,
) -> Result<(Peer, Vec<u8>), GreetError> {
    let mut out = Vec::new();
    let mut handshake = Handshake::new(local, &mut out);
    let mut buffer = vec![0; READ_BYTES];
    loop {
        write_all(writer, &out).await?;
        out.clear();
        let count = reader.read(&mut buffer).await?;
        if count == 0 {
            return Err(GreetError::HungUp);
        }
        let mut input = buffer.get(..count).unwrap_or_default();
        match handshake.read(&mut input, &mut out) {
            Ok(None) => {}
            Ok(Some(peer)) => {
                write_all(writer, &out).await?;
                return Ok((peer, input.to_vec()));
            }
            Err(error) => {
                write_all(writer, &out).await?;
                return Err(error.into());
            }
        }
    }
}

/// Lets an unwanted peer read what it was told: closing with its octets unread would reset the
/// connection and take our last words back.
pub async fn linger(mut reader: ReadHalf, mut writer: WriteHalf) {
    if writer.shutdown().await.is_err() {
        return;
    }
    let mut buffer = vec![0; READ_BYTES];
    let mut left = LINGER_BYTES;
    while let Ok(count @ 1..) = reader.read(&mut buffer).await {
        left = left.saturating_sub(count);
        if left == 0 {
            return;
        }
    }
}
