//! One call from end to end, by MJP/1: what has to work before a broker is of use.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::client::head;
use super::line::Line;
use super::mjp::Mjp;
use super::wire::{Body, HEAD, SERVICE, Said, Side, Wire};
use crate::outbox::Outbox;

const SIZE: usize = 64;
/// A broker that says nothing for so long has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connects a worker and a client, and waits until the client has the right reply.
pub(crate) fn first_call(addr: SocketAddr) -> io::Result<()> {
    let (mut worker, mut client) = (End::open(addr, Side::Worker)?, End::open(addr, Side::Client)?);
    let (head, mut out) = (head(0, 0, 1), Outbox::default());
    client.wire.request(&head, &mut out);
    client.stream.write_all(out.run())?;
    let (back, asked) = worker.hear()?;
    let mut out = Outbox::default();
    worker.wire.reply(&back, &asked, &mut out);
    worker.stream.write_all(out.run())?;
    let (_, answered) = client.hear()?;
    assert_eq!(answered, head, "a reply to another request");
    Ok(())
}

struct End {
    stream: TcpStream,
    wire: Mjp,
}

impl End {
    fn open(addr: SocketAddr, side: Side) -> io::Result<Self> {
        let mut line = Line::open(addr, None)?;
        line.stream().set_read_timeout(Some(PATIENCE))?;
        let wire = Mjp::open(&mut line, side, SERVICE, 1, Body::new(SIZE))?;
        let (stream, _) = line.into_parts();
        Ok(Self { stream, wire })
    }

    /// The next message: the way back, and the head of its body.
    fn hear(&mut self) -> io::Result<(Vec<u8>, [u8; HEAD])> {
        let (mut octets, mut buffer) = (Vec::new(), [0; 4096]);
        loop {
            let count = self.stream.read(&mut buffer)?;
            if count == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            octets.extend_from_slice(&buffer[..count]);
            let mut input = &octets[..];
            while let Some(said) = self.wire.next(&mut input) {
                match said {
                    Said::Message { back, body } => {
                        return Ok((back.to_vec(), Body::new(SIZE).check(body)));
                    }
                    Said::Ask(answer) => self.stream.write_all(&answer)?,
                    Said::Aside => {}
                }
            }
            let left = input.len();
            octets.drain(..octets.len() - left);
        }
    }
}
