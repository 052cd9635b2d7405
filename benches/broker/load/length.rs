//! What the raw relay speaks: a length of 4 octets, an address of 4, a body.

use std::io::{self, Write};

use super::line::Line;
use super::wire::{Body, HEAD, Said, Side, Wire};
use crate::outbox::Outbox;
use crate::relay::{CLIENT, HEADER, WORKER};

/// A client or worker of the relay.
#[derive(Debug)]
pub(crate) struct Length {
    body: Body,
}

impl Wire for Length {
    fn open(line: &mut Line, side: Side, _: &str, _: u16, body: Body) -> io::Result<Self> {
        line.stream().write_all(&[if side == Side::Client { CLIENT } else { WORKER }])?;
        Ok(Self { body })
    }

    fn next<'a>(&self, input: &mut &'a [u8]) -> Option<Said<'a>> {
        let (header, rest) = input.split_first_chunk::<HEADER>()?;
        let (size, back) = header.split_first_chunk()?;
        let size = u32::from_le_bytes(*size) as usize;
        let (body, rest) = rest.split_at_checked(size)?;
        *input = rest;
        Some(Said::Message { back, body })
    }

    fn request(&self, head: &[u8; HEAD], out: &mut Outbox) {
        self.reply(&[0; 4], head, out);
    }

    fn reply(&self, back: &[u8], head: &[u8; HEAD], out: &mut Outbox) {
        let size = u32::try_from(self.body.size()).expect("bodies are small");
        out.run().extend_from_slice(&size.to_le_bytes());
        out.run().extend_from_slice(back);
        self.body.append(head, out);
    }
}
