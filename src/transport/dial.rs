//! Connecting, and connecting again.

use std::io;
use std::net::Ipv4Addr;

use tokio::net::{TcpStream, UnixStream};

pub use crate::proto::backoff::Backoff;

use super::endpoint::Endpoint;
use super::listener::tune;
use super::stream::Stream;

/// Connects once. `tcp://*:5555` is this machine.
///
/// # Errors
/// Those of the system, and of name resolution.
pub async fn dial(endpoint: &Endpoint) -> io::Result<Stream> {
    let stream = match endpoint {
        Endpoint::Tcp(address) => TcpStream::connect(address).await?,
        Endpoint::TcpAny(port) => TcpStream::connect((Ipv4Addr::LOCALHOST, *port)).await?,
        Endpoint::TcpName { host, port } => TcpStream::connect((host.as_str(), *port)).await?,
        Endpoint::Ipc(path) => return UnixStream::connect(path).await.map(Stream::Unix),
    };
    tune(&stream)?;
    Ok(Stream::Tcp(stream))
}

/// Connects, however long it takes.
///
/// # Cancel safety
/// An attempt that is under way is given up.
pub async fn dial_until_connected(endpoint: &Endpoint, backoff: &mut Backoff) -> Stream {
    loop {
        match dial(endpoint).await {
            Ok(stream) => return stream,
            Err(error) => {
                let wait = backoff.next_wait();
                tracing::debug!(%endpoint, %error, ?wait, "cannot connect yet");
                tokio::time::sleep(wait).await;
            }
        }
    }
}
