//! What a peer has to be told and what it says, whatever its protocol.

use std::io;

use bytes::Bytes;

use super::line::Line;
use crate::outbox::{LARGE, Outbox};

/// Octets at the start of each body that say whose it is; the rest is filler.
pub(crate) const HEAD: usize = 16;
/// Every octet of the filler.
pub(crate) const FILLER: u8 = 0xa5;
/// The service that is called.
pub(crate) const SERVICE: &str = "bench";

/// Which side of the peer a connection is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Worker,
}

/// What a peer said.
#[derive(Debug)]
pub(crate) enum Said<'a> {
    /// A request to a worker, with the way back, or a reply to a client.
    Message { back: &'a [u8], body: &'a [u8] },
    /// Something that has to be answered with these octets.
    Ask(Vec<u8>),
    /// Something that needs no answer.
    Aside,
}

/// One protocol, from the point of view of clients and workers.
pub(crate) trait Wire: Sized + 'static {
    /// Whatever comes before the first message. `name` is the service, and `credit` what a worker
    /// takes at a time, if that is for a worker to say.
    fn open(line: &mut Line, side: Side, name: &str, credit: u16, body: Body) -> io::Result<Self>;

    /// Takes the next thing from the front of `input`; `None` if it is not complete.
    fn next<'a>(&self, input: &mut &'a [u8]) -> Option<Said<'a>>;

    /// Appends a request.
    fn request(&self, head: &[u8; HEAD], out: &mut Outbox);

    /// Appends the reply that goes `back`.
    fn reply(&self, back: &[u8], head: &[u8; HEAD], out: &mut Outbox);

    /// What a worker says to show that it lives, if it has to.
    fn beat() -> &'static [u8] {
        &[]
    }
}

/// Bodies of one size.
#[derive(Debug, Clone)]
pub(crate) struct Body {
    size: usize,
    filler: Bytes,
}

impl Body {
    pub(crate) fn new(size: usize) -> Self {
        assert!(size > HEAD, "a body has more than {HEAD} octets");
        Self { size, filler: vec![FILLER; size - HEAD].into() }
    }

    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Appends a body.
    pub(crate) fn append(&self, head: &[u8; HEAD], out: &mut Outbox) {
        out.run().extend_from_slice(head);
        if self.size < LARGE {
            out.run().extend_from_slice(&self.filler);
        } else {
            out.push(self.filler.clone());
        }
    }

    /// A body by itself.
    pub(crate) fn with(&self, head: &[u8; HEAD]) -> Vec<u8> {
        [&head[..], &self.filler].concat()
    }

    /// The head of a body that came, which must be whole.
    pub(crate) fn check(&self, body: &[u8]) -> [u8; HEAD] {
        let (head, filler) = body.split_first_chunk().expect("a body has a head");
        assert_eq!(body.len(), self.size, "a body changed its size on the way");
        if self.size < LARGE {
            assert_eq!(filler, &self.filler, "a body changed on the way");
        } else {
            assert_eq!(filler.last(), Some(&FILLER), "the end of a body changed on the way");
        }
        *head
    }
}
