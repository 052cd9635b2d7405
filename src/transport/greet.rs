//! The handshake, over a socket.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use zeroize::{Zeroize, Zeroizing};

use crate::proto::handshake::{Handshake, HandshakeError, Local, Peer};

use super::link::write_all;
use super::stream::{ReadHalf, WriteHalf};
use super::workbench::Workbench;
use crate::wire::greeting::Mechanism;

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
    /// The other side said nothing for too long.
    #[error("the peer was silent for {silence:?} before the handshake was done")]
    Silent {
        /// How long.
        silence: Duration,
    },
    /// The thread that does the arithmetic has ended.
    #[error("the arithmetic of the handshake could not be done")]
    Workbench,
    /// The handshake failed.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
}

/// What a handshake may use besides its socket.
#[derive(Debug, Clone, Copy, Default)]
pub struct Means<'a> {
    /// Where arithmetic is done; without it, here.
    pub bench: Option<&'a Workbench>,
    /// Silence of the other side after which it is given up.
    pub silence: Option<Duration>,
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
    means: Means<'_>,
) -> Result<(Peer, Vec<u8>), GreetError> {
    // A password goes out through the one, or comes in through the other.
    let (mut out, mut buffer) = (Zeroizing::new(Vec::new()), Zeroizing::new(vec![0; READ_BYTES]));
    // NULL has no arithmetic.
    let bench = means.bench.filter(|_| local.security.mechanism() == Mechanism::Curve);
    let mut handshake = Handshake::new(local, &mut out);
    loop {
        write_all(writer, &out).await?;
        out.zeroize();
        let count = match means.silence {
            None => reader.read(&mut buffer).await?,
            Some(silence) => tokio::time::timeout(silence, reader.read(&mut buffer))
                .await
                .map_err(|_| GreetError::Silent { silence })??,
        };
        if count == 0 {
            return Err(GreetError::HungUp);
        }
        let input = buffer.get(..count).unwrap_or_default();
        let step = match bench {
            None => Step::take(handshake, input, out),
            Some(bench) => {
                let input = input.to_vec();
                let step = bench.run(move || Step::take(handshake, &input, out)).await;
                step.ok_or(GreetError::Workbench)?
            }
        };
        (handshake, out) = (step.handshake, step.out);
        match step.result {
            Ok(None) => {}
            Ok(Some(peer)) => {
                write_all(writer, &out).await?;
                return Ok((peer, step.rest));
            }
            Err(error) => {
                write_all(writer, &out).await?;
                return Err(error.into());
            }
        }
    }
}

/// A handshake after it has read some octets.
struct Step {
    handshake: Handshake,
    out: Zeroizing<Vec<u8>>,
    result: Result<Option<Peer>, HandshakeError>,
    /// What came behind it.
    rest: Vec<u8>,
}

impl Step {
    fn take(mut handshake: Handshake, mut input: &[u8], mut out: Zeroizing<Vec<u8>>) -> Self {
        let result = handshake.read(&mut input, &mut out);
        Self { handshake, out, result, rest: input.to_vec() }
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
