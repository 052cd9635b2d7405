//! Endpoints that peers connect to.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, UnixListener};

use crate::id::{Principal, network_of};

use super::endpoint::Endpoint;
use super::stream::Stream;

/// Connections the system holds for us before we accept them.
const BACKLOG: i32 = 1024;

/// A bound endpoint that is not driven by a runtime yet.
#[derive(Debug)]
pub enum Bound {
    /// TCP.
    Tcp(std::net::TcpListener),
    /// A Unix domain socket, and the file that goes with it.
    Unix(std::os::unix::net::UnixListener, PathBuf),
}

impl Bound {
    /// Binds. `tcp://*:5555` binds IPv6 and IPv4 together; a host name its first address. A file
    /// that an earlier process left behind makes way; the new one is for its owner only.
    ///
    /// # Errors
    /// Those of the system: the address is in use, unknown, or not allowed.
    pub fn new(endpoint: &Endpoint) -> io::Result<Self> {
        match endpoint {
            Endpoint::Tcp(address) => tcp(*address).map(Self::Tcp),
            Endpoint::TcpAny(port) => {
                let v6 = tcp(SocketAddr::from((Ipv6Addr::UNSPECIFIED, *port)));
                let any = v6.or_else(|_| tcp(SocketAddr::from((Ipv4Addr::UNSPECIFIED, *port))));
                any.map(Self::Tcp)
            }
            Endpoint::TcpName { host, port } => {
                let mut addresses = (host.as_str(), *port).to_socket_addrs()?;
                let address = addresses.next().ok_or(ErrorKind::AddrNotAvailable)?;
                tcp(address).map(Self::Tcp)
            }
            Endpoint::Ipc(path) => unix(path),
        }
    }

    /// The endpoint as it is, with the real port.
    ///
    /// # Errors
    /// Those of the system.
    pub fn endpoint(&self) -> io::Result<Endpoint> {
        Ok(match self {
            Self::Tcp(listener) => match listener.local_addr()? {
                any if any.ip().is_unspecified() => Endpoint::TcpAny(any.port()),
                address => Endpoint::Tcp(address),
            },
            Self::Unix(_, path) => Endpoint::Ipc(path.clone()),
        })
    }

    /// Hands the endpoint to the runtime that this is called in.
    ///
    /// # Errors
    /// Those of the system.
    pub fn listen(self) -> io::Result<Listener> {
        Ok(match self {
            Self::Tcp(listener) => Listener::Tcp(TcpListener::from_std(listener)?),
            Self::Unix(listener, path) => Listener::Unix(UnixListener::from_std(listener)?, path),
        })
    }
}

fn tcp(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn unix(path: &Path) -> io::Result<Bound> {
    use std::os::unix::net::UnixStream;
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket());
    let refuses = |error: io::Error| error.kind() == ErrorKind::ConnectionRefused;
    if is_socket && UnixStream::connect(path).is_err_and(refuses) {
        std::fs::remove_file(path)?;
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    // Nobody can connect before it listens: so none that the file lets in only now.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    socket.listen(BACKLOG)?;
    Ok(Bound::Unix(socket.into(), path.to_owned()))
}

/// An endpoint that accepts.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix domain socket, and the file that goes with it.
    Unix(UnixListener, PathBuf),
}

/// A connection that is not driven by a runtime yet, and where it comes from.
#[derive(Debug)]
pub enum Accepted {
    /// TCP.
    Tcp(std::net::TcpStream, SocketAddr),
    /// A Unix domain socket.
    Unix(std::os::unix::net::UnixStream),
}

impl Listener {
    /// The next connection.
    ///
    /// # Errors
    /// Those of the system; `EMFILE` among them, after which accepting may go on.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => {
                let (stream, from) = listener.accept().await?;
                Ok(Accepted::Tcp(stream.into_std()?, from))
            }
            Self::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                Ok(Accepted::Unix(stream.into_std()?))
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Unix(_, path) = self {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Accepted {
    /// The address the connection comes from; none with a Unix domain socket.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp(_, from) => Some(from.ip().to_canonical()),
            Self::Unix(_) => None,
        }
    }

    /// The address that stands for all that its host can have, for what is limited per address.
    #[must_use]
    pub fn network(&self) -> Option<IpAddr> {
        self.address().map(network_of)
    }

    /// On whose behalf the peer speaks, as long as it proves nothing else.
    #[must_use]
    pub fn principal(&self) -> Principal {
        self.address().map_or(Principal::Local, Principal::at)
    }

    /// What to call the peer in a log.
    #[must_use]
    pub fn remote(&self) -> String {
        match self {
            Self::Tcp(_, from) => from.to_string(),
            Self::Unix(_) => "ipc".into(),
        }
    }

    /// Hands the connection to the runtime that this is called in.
    ///
    /// # Errors
    /// Those of the system.
    pub fn into_stream(self) -> io::Result<Stream> {
        match self {
            Self::Tcp(stream, _) => {
                let stream = tokio::net::TcpStream::from_std(stream)?;
                tune(&stream)?;
                Ok(Stream::Tcp(stream))
            }
            Self::Unix(stream) => Ok(Stream::Unix(tokio::net::UnixStream::from_std(stream)?)),
        }
    }
}

/// No delay, and a peer that vanished without a word is noticed within a minute.
///
/// # Errors
/// Those of the system.
pub(super) fn tune(stream: &tokio::net::TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(30))
        .with_interval(Duration::from_secs(10))
        .with_retries(3);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_principal_is_an_address_in_whatever_form() {
        let at = |text: &str| Principal::at(text.parse().unwrap());
        assert_eq!(at("127.0.0.1"), at("::ffff:127.0.0.1"));
        assert_ne!(at("127.0.0.1"), at("127.0.0.2"));
        assert_ne!(at("::1"), at("127.0.0.1"));
        assert_ne!(at("::"), Principal::Local);
    }

    #[test]
    fn the_file_of_a_unix_socket_is_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        let first = Bound::new(&Endpoint::Ipc(path.clone())).unwrap();
        assert_eq!(mode(), 0o600);
        UnixStream::connect(&path).unwrap();
        let error = Bound::new(&Endpoint::Ipc(path.clone())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        // A file that was left behind, with a mode of its own.
        drop(first);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
        let _second = Bound::new(&Endpoint::Ipc(path.clone())).unwrap();
        assert_eq!(mode(), 0o600);
        UnixStream::connect(&path).unwrap();
    }
}
