//! The text protocol of NATS: a queue group of workers, one inbox for each client.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::str;
use std::sync::atomic::{AtomicU32, Ordering};

use super::line::Line;
use super::wire::{Body, HEAD, Said, Side, Wire};
use crate::outbox::Outbox;

/// A NATS client.
#[derive(Debug)]
pub(crate) struct Nats {
    body: Body,
    side: Side,
    /// The line before the body of a request.
    before: Vec<u8>,
    /// What the line before a reply ends with.
    size: Vec<u8>,
}

fn line(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        let mut octet = [0];
        stream.read_exact(&mut octet)?;
        line.push(octet[0]);
    }
    Ok(line)
}

impl Wire for Nats {
    fn open(connection: &mut Line, side: Side, name: &str, _: u16, body: Body) -> io::Result<Self> {
        let stream = connection.stream();
        static INBOXES: AtomicU32 = AtomicU32::new(0);
        let inbox = format!("_INBOX.{}", INBOXES.fetch_add(1, Ordering::Relaxed));
        assert!(line(stream)?.starts_with(b"INFO "), "not a NATS server");
        let subscription = match side {
            Side::Client => format!("SUB {inbox} 1"),
            Side::Worker => format!("SUB {name} workers 1"),
        };
        write!(stream, "CONNECT {{\"verbose\":false}}\r\n{subscription}\r\nPING\r\n")?;
        assert_eq!(line(stream)?, b"PONG\r\n", "the subscription is known to the server");
        let before = format!("PUB {name} {inbox} {}\r\n", body.size()).into();
        let size = format!(" {}\r\n", body.size()).into();
        Ok(Self { body, side, before, size })
    }

    fn next<'a>(&self, input: &mut &'a [u8]) -> Option<Said<'a>> {
        let end = input.iter().position(|&octet| octet == b'\n')?;
        let (line, rest) = input.split_at(end + 1);
        let line = line.strip_suffix(b"\r\n").expect("lines end with CR LF");
        let Some(line) = line.strip_prefix(b"MSG ") else {
            *input = rest;
            assert!(!line.starts_with(b"-ERR"), "{}", line.escape_ascii());
            let ping = line == b"PING";
            return Some(if ping { Said::Ask(b"PONG\r\n".into()) } else { Said::Aside });
        };
        let mut words = line.rsplit(|&octet| octet == b' ');
        let size = words.next().and_then(|word| str::from_utf8(word).ok()?.parse().ok());
        let size: usize = size.expect("MSG ends with the size");
        let back = words.next().filter(|_| self.side == Side::Worker).unwrap_or_default();
        let (body, rest) = rest.split_at_checked(size)?;
        *input = rest.split_at_checked(2)?.1;
        Some(Said::Message { back, body })
    }

    fn request(&self, head: &[u8; HEAD], out: &mut Outbox) {
        out.run().extend_from_slice(&self.before);
        self.body.append(head, out);
        out.run().extend_from_slice(b"\r\n");
    }

    fn reply(&self, back: &[u8], head: &[u8; HEAD], out: &mut Outbox) {
        let run = out.run();
        run.extend_from_slice(b"PUB ");
        run.extend_from_slice(back);
        run.extend_from_slice(&self.size);
        self.body.append(head, out);
        out.run().extend_from_slice(b"\r\n");
    }
}
