//! A case of the table over a socket.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use majordomo::fuzzing::handshakes::{Case, End};
use majordomo::wire::greeting::GREETING_LEN;

/// Nothing takes so long but a broker that does not answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What came of a case, as far as its peer can tell.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// READY came.
    Served,
    /// It was closed, and nothing was said about it.
    Closed,
    /// It was told why, and then closed.
    Refused(String),
    /// Something else.
    Odd(String),
}

impl Outcome {
    pub(crate) fn of(end: &End) -> Self {
        match end {
            End::Served(_) => Self::Served,
            End::Closed(_) => Self::Closed,
            End::Refused(reason) => Self::Refused((*reason).into()),
        }
    }
}

/// One side of a connection, and all that the other one has said.
struct Wire {
    stream: TcpStream,
    heard: Vec<u8>,
}

impl Wire {
    fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, heard: Vec::new() }
    }

    /// Hears more; false if the other side has closed.
    fn hear(&mut self) -> bool {
        let mut octets = [0; 4096];
        match self.stream.read(&mut octets) {
            Ok(0) => false,
            Ok(count) => {
                self.heard.extend_from_slice(&octets[..count]);
                true
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => panic!("the other side neither speaks nor closes: {error}"),
        }
    }

    /// Does all that the case does, as far as the other side lets it.
    fn act(&mut self, case: &Case) {
        for act in &case.acts {
            while self.heard.len() < act.after {
                if !self.hear() {
                    return;
                }
            }
            // Who has closed already does not hear the rest.
            let _ = self.stream.write_all(&act.octets(&self.heard));
        }
    }

    /// Bodies of the commands that came behind the greeting.
    fn commands(&self) -> Vec<&[u8]> {
        let mut rest = self.heard.get(GREETING_LEN..).unwrap_or_default();
        let mut bodies = Vec::new();
        while let [flags, size, ..] = *rest {
            let (head, size) = match rest.get(1..9) {
                Some(long) if flags & 2 != 0 => {
                    (9, usize::try_from(u64::from_be_bytes(long.try_into().unwrap())).unwrap())
                }
                _ => (2, usize::from(size)),
            };
            let Some(body) = rest.get(head..head + size) else { break };
            bodies.push(body);
            rest = &rest[head + size..];
        }
        bodies
    }

    /// What the other side has said about it, if it has.
    fn outcome(&self) -> Option<Outcome> {
        self.commands().into_iter().find_map(|body| match body {
            [5, b'R', b'E', b'A', b'D', b'Y', ..] => Some(Outcome::Served),
            [5, b'E', b'R', b'R', b'O', b'R', _, reason @ ..] => {
                Some(Outcome::Refused(reason.escape_ascii().to_string()))
            }
            [7, b'W', b'E', b'L', b'C', b'O', b'M', b'E', ..] => None,
            other => Some(Outcome::Odd(other.escape_ascii().to_string())),
        })
    }
}

/// Plays a client.
pub(crate) fn play(case: &Case, listener: SocketAddr) -> Outcome {
    let mut wire = Wire::new(TcpStream::connect(listener).unwrap());
    wire.act(case);
    loop {
        let outcome = wire.outcome();
        if outcome == Some(Outcome::Served) {
            return Outcome::Served;
        }
        if !wire.hear() {
            return wire.outcome().unwrap_or(Outcome::Closed);
        }
    }
}

/// Plays a server to whoever connects first, until that one leaves.
pub(crate) fn serve(case: &Case, listener: &TcpListener) {
    let mut wire = Wire::new(listener.accept().unwrap().0);
    wire.act(case);
    while wire.hear() {}
}
