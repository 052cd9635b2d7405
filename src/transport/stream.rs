//! TCP or Unix: a byte stream in two halves.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::FutureExt;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream, tcp, unix};

use crate::wire::codec::Encoder;

/// A connected byte stream.
#[derive(Debug)]
pub enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// A Unix domain socket (`ipc://`).
    Unix(UnixStream),
}

impl Stream {
    /// Both halves, which different tasks may use.
    #[must_use]
    pub fn into_split(self) -> (ReadHalf, WriteHalf) {
        match self {
            Self::Tcp(stream) => {
                let (read, write) = stream.into_split();
                (ReadHalf::Tcp(read), WriteHalf::Tcp(write))
            }
            Self::Unix(stream) => {
                let (read, write) = stream.into_split();
                (ReadHalf::Unix(read), WriteHalf::Unix(write))
            }
        }
    }
}

/// The half that octets come from.
#[derive(Debug)]
pub enum ReadHalf {
    /// TCP.
    Tcp(tcp::OwnedReadHalf),
    /// Unix.
    Unix(unix::OwnedReadHalf),
}

impl ReadHalf {
    /// Whether the peer is known to have hung up, found without reading.
    #[must_use]
    pub fn has_hung_up(&self) -> bool {
        let ready = match self {
            Self::Tcp(half) => half.ready(Interest::READABLE).now_or_never(),
            Self::Unix(half) => half.ready(Interest::READABLE).now_or_never(),
        };
        ready.is_some_and(|ready| ready.is_ok_and(|ready| ready.is_read_closed()))
    }
}

impl AsyncRead for ReadHalf {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(half) => Pin::new(half).poll_read(cx, buf),
            Self::Unix(half) => Pin::new(half).poll_read(cx, buf),
        }
    }
}

/// The half that octets go to. Any task may write at once what the socket takes.
#[derive(Debug)]
pub enum WriteHalf {
    /// TCP.
    Tcp(tcp::OwnedWriteHalf),
    /// Unix.
    Unix(unix::OwnedWriteHalf),
}

impl WriteHalf {
    /// Pieces of one vectored write.
    const SLICES: usize = 64;

    /// Writes what the socket takes now.
    ///
    /// # Errors
    /// `WouldBlock` if it takes nothing, or what the socket says.
    pub fn try_write(&self, octets: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(half) => half.try_write(octets),
            Self::Unix(half) => half.try_write(octets),
        }
    }

    /// Writes what the socket takes now of all that waits in `encoder`, which is to be told how
    /// much that was.
    ///
    /// # Errors
    /// As [`Self::try_write`].
    pub fn try_write_from(&self, encoder: &Encoder) -> io::Result<usize> {
        // `send` costs the system less than `writev`, and most writes are one piece.
        if let Some(run) = encoder.run() {
            return self.try_write(run);
        }
        let mut slices = [IoSlice::new(&[]); Self::SLICES];
        let filled = encoder.chunks(&mut slices);
        let slices = slices.get(..filled).unwrap_or_default();
        match self {
            Self::Tcp(half) => half.try_write_vectored(slices),
            Self::Unix(half) => half.try_write_vectored(slices),
        }
    }

    /// Waits until the socket takes octets.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(half) => half.as_ref().poll_write_ready(cx),
            Self::Unix(half) => half.as_ref().poll_write_ready(cx),
        }
    }
}

impl AsyncWrite for WriteHalf {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(half) => Pin::new(half).poll_write(cx, octets),
            Self::Unix(half) => Pin::new(half).poll_write(cx, octets),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(half) => Pin::new(half).poll_shutdown(cx),
            Self::Unix(half) => Pin::new(half).poll_shutdown(cx),
        }
    }
}
