//! Where to listen or to connect: `tcp://host:port` or `ipc:///path`.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// An address that sockets are bound to or dialled at. `Display` gives what `FromStr` reads.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Endpoint {
    /// `tcp://127.0.0.1:5555`, `tcp://[::1]:0`: an address of this machine or of another.
    Tcp(SocketAddr),
    /// `tcp://*:5555`: every address of this machine. Only to bind.
    TcpAny(u16),
    /// `tcp://localhost:5555`: a name that is resolved when it is used.
    TcpName {
        /// The name, as given.
        host: String,
        /// The port; 0 lets the system choose one.
        port: u16,
    },
    /// `ipc:///run/majordomo.sock`: a Unix socket in the file system.
    Ipc(PathBuf),
}

/// Why a text is no endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// Neither `tcp://` nor `ipc://`.
    #[error("`{0}` has no known transport; write tcp://127.0.0.1:5555 or ipc:///path/to/socket")]
    Transport(String),
    /// No `:port` at the end.
    #[error("`{0}` has no port; write tcp://127.0.0.1:5555, or port 0 to let the system choose")]
    NoPort(String),
    /// The port is no number of 16 bits.
    #[error("port `{0}` is not a number from 0 to 65535")]
    Port(String),
    /// An IPv6 address whose end cannot be told from the port.
    #[error("the IPv6 address `{0}` needs brackets; write tcp://[::1]:5555")]
    Brackets(String),
    /// Neither an IP address nor a possible host name.
    #[error("`{0}` is neither an IP address nor a host name; write 127.0.0.1, [::1], * or a name")]
    Host(String),
    /// No path, or one that no Unix socket can have.
    #[error("`{path}` is no socket path of 1 to {max} octets; write ipc:///run/majordomo.sock")]
    Path {
        /// The path given.
        path: String,
        /// Longest path, octets.
        max: usize,
    },
}

impl Endpoint {
    /// Longest path of a Unix socket, octets (`sun_path` of Linux without its final zero).
    pub const PATH_LEN_MAX: usize = 107;

    /// Whether only this machine can reach it. A name other than `localhost` can resolve to
    /// anything, so it counts as reachable from outside.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::TcpAny(_) => false,
            Self::TcpName { host, .. } => host.eq_ignore_ascii_case("localhost"),
            Self::Ipc(_) => true,
        }
    }

    /// The port, unless it is a Unix socket.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp(address) => Some(address.port()),
            Self::TcpAny(port) | Self::TcpName { port, .. } => Some(*port),
            Self::Ipc(_) => None,
        }
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "tcp://{address}"),
            Self::TcpAny(port) => write!(f, "tcp://*:{port}"),
            Self::TcpName { host, port } => write!(f, "tcp://{host}:{port}"),
            Self::Ipc(path) => write!(f, "ipc://{}", path.display()),
        }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        if let Some(address) = text.strip_prefix("tcp://") {
            tcp(address)
        } else if let Some(path) = text.strip_prefix("ipc://") {
            ipc(path)
        } else {
            Err(EndpointError::Transport(text.into()))
        }
    }
}

fn tcp(text: &str) -> Result<Endpoint, EndpointError> {
    let no_port = || EndpointError::NoPort(format!("tcp://{text}"));
    let (host, port) = text.rsplit_once(':').ok_or_else(no_port)?;
    if port.ends_with(']') {
        return Err(no_port());
    }
    if host.contains(':') && !host.starts_with('[') {
        return Err(EndpointError::Brackets(text.into()));
    }
    let port = parse_port(port)?;
    if host == "*" {
        return Ok(Endpoint::TcpAny(port));
    }
    // The port is put back in so that `[fe80::1%2]` keeps its scope.
    if let Ok(address) = format!("{host}:{port}").parse() {
        return Ok(Endpoint::Tcp(address));
    }
    if is_host_name(host) {
        return Ok(Endpoint::TcpName { host: host.into(), port });
    }
    Err(EndpointError::Host(host.into()))
}

/// `*` is libzmq's word for "any free port".
fn parse_port(text: &str) -> Result<u16, EndpointError> {
    let port = if text == "*" { "0" } else { text };
    let digits = port.bytes().all(|octet| octet.is_ascii_digit());
    let number = if digits { port.parse().ok() } else { None };
    number.ok_or_else(|| EndpointError::Port(text.into()))
}

/// RFC 1123, and the underscore that container networks use. A name of digits and dots only is a
/// mistyped IPv4 address.
fn is_host_name(host: &str) -> bool {
    let known = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b'_');
    (1..=253).contains(&host.len())
        && host.bytes().all(known)
        && host.bytes().any(|octet| octet.is_ascii_alphabetic())
        && !host.starts_with(['-', '.'])
}

/// Abstract sockets (`@name`) have no file and so no mode that keeps others out: refused.
fn ipc(text: &str) -> Result<Endpoint, EndpointError> {
    let max = Endpoint::PATH_LEN_MAX;
    if !(1..=max).contains(&text.len()) || text.contains('\0') || text.starts_with('@') {
        return Err(EndpointError::Path { path: text.escape_debug().to_string(), max });
    }
    Ok(Endpoint::Ipc(Path::new(text).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_written_as_it_is_read() {
        for (text, loopback, port) in [
            ("tcp://127.0.0.1:5555", true, Some(5555)),
            ("tcp://127.8.8.8:0", true, Some(0)),
            ("tcp://0.0.0.0:5555", false, Some(5555)),
            ("tcp://10.0.0.1:1", false, Some(1)),
            ("tcp://*:5555", false, Some(5555)),
            ("tcp://[::1]:0", true, Some(0)),
            ("tcp://[::]:9", false, Some(9)),
            ("tcp://[::ffff:127.0.0.1]:9", true, Some(9)),
            ("tcp://[fe80::1%3]:65535", false, Some(65535)),
            ("tcp://localhost:5555", true, Some(5555)),
            ("tcp://LocalHost:5555", true, Some(5555)),
            ("tcp://localhost.example.org:5555", false, Some(5555)),
            ("tcp://my_host-1.lan:80", false, Some(80)),
            ("ipc:///run/majordomo.sock", true, None),
            ("ipc://relative.sock", true, None),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.to_string(), text);
            assert_eq!((endpoint.is_loopback(), endpoint.port()), (loopback, port), "{text}");
        }
        assert_eq!("tcp://[::1]:*".parse::<Endpoint>().unwrap().to_string(), "tcp://[::1]:0");
    }

    #[test]
    fn what_is_no_endpoint_is_refused_with_the_part_that_is_wrong() {
        use EndpointError::{Brackets, Host, NoPort, Port, Transport};
        for (text, error) in [
            ("", Transport("".into())),
            ("127.0.0.1:5555", Transport("127.0.0.1:5555".into())),
            ("udp://127.0.0.1:5555", Transport("udp://127.0.0.1:5555".into())),
            ("TCP://127.0.0.1:5555", Transport("TCP://127.0.0.1:5555".into())),
            ("tcp://", NoPort("tcp://".into())),
            ("tcp://localhost", NoPort("tcp://localhost".into())),
            ("tcp://[::1]", NoPort("tcp://[::1]".into())),
            ("tcp://127.0.0.1:", Port("".into())),
            ("tcp://127.0.0.1:70000", Port("70000".into())),
            ("tcp://127.0.0.1:+5", Port("+5".into())),
            ("tcp://127.0.0.1:-1", Port("-1".into())),
            ("tcp://::1:5555", Brackets("::1:5555".into())),
            ("tcp://:5555", Host("".into())),
            ("tcp://256.0.0.1:5555", Host("256.0.0.1".into())),
            ("tcp://[::g]:5555", Host("[::g]".into())),
            ("tcp://a b:5555", Host("a b".into())),
            ("tcp://u@host:5555", Host("u@host".into())),
        ] {
            assert_eq!(text.parse::<Endpoint>(), Err(error), "{text}");
        }
        for path in ["", "@abstract", "/a\0b", &"x".repeat(108)] {
            let parsed = format!("ipc://{path}").parse::<Endpoint>();
            assert!(matches!(parsed, Err(EndpointError::Path { .. })), "{path:?}");
        }
        assert!(format!("ipc://{}", "x".repeat(107)).parse::<Endpoint>().is_ok());
    }
}
