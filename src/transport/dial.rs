//! Connecting, and connecting again.

use std::io::{self, ErrorKind};
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};

pub use crate::proto::backoff::Backoff;

use super::endpoint::Endpoint;
use super::listener::tune;
use super::stream::Stream;

/// Connects once. `tcp://*:5555` is this machine. Where many connect at a time this waits its turn,
/// however long it takes.
///
/// # Errors
/// Those of the system, and of name resolution.
///
/// # Cancel safety
/// The attempt is given up.
pub async fn dial(endpoint: &Endpoint) -> io::Result<Stream> {
    let stream = match endpoint {
        Endpoint::Tcp(address) => TcpStream::connect(address).await?,
        Endpoint::TcpAny(port) => TcpStream::connect((Ipv4Addr::LOCALHOST, *port)).await?,
        Endpoint::TcpName { host, port } => TcpStream::connect((host.as_str(), *port)).await?,
        Endpoint::Ipc(path) => return dial_path(path).await.map(Stream::Unix),
    };
    tune(&stream)?;
    Ok(Stream::Tcp(stream))
}

/// TCP waits for a place among those that are to be accepted; a Unix socket that must not block is
/// told to come again.
async fn dial_path(path: &Path) -> io::Result<UnixStream> {
    const LONGEST: Duration = Duration::from_millis(64);
    let mut wait = Duration::from_millis(1);
    loop {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(LONGEST);
            }
            result => return result,
        }
    }
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

#[cfg(test)]
mod tests {
    use socket2::{Domain, SockAddr, Socket, Type};
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_place_among_those_to_be_accepted_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        listener.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        listener.listen(1).unwrap();
        let mut connected = Vec::new();
        let endpoint = Endpoint::Ipc(path);
        while let Ok(stream) = timeout(Duration::from_millis(50), dial(&endpoint)).await {
            connected.push(stream.unwrap());
        }
        assert!((1..10).contains(&connected.len()), "{} have a place", connected.len());
        let late = tokio::spawn(async move { dial(&endpoint).await });
        listener.accept().unwrap();
        late.await.unwrap().unwrap();
    }
}
