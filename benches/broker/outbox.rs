//! Octets on their way out, as the load generator and the relay keep them.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};

use bytes::{Buf, Bytes};
use majordomo::proto::curve::Sealer;
use tokio::net::tcp::OwnedWriteHalf;

use crate::load::seal;

/// Bodies from this size on are written from where they lie.
pub(crate) const LARGE: usize = 16 << 10;

/// Small pieces in one run, large ones beside it, in order.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// Comes before `run`.
    pieces: VecDeque<Bytes>,
    run: Vec<u8>,
    /// Octets of `run` that are written, while `pieces` is empty.
    written: usize,
    /// What is in boxes and not written, and what makes them. Pieces are for who makes none.
    boxes: Option<(Vec<u8>, Sealer)>,
}

impl Outbox {
    const SLICES: usize = 32;

    /// The same outbox, over a CURVE channel if there is a sealer.
    pub(crate) fn sealed_by(mut self, sealer: Option<Sealer>) -> Self {
        self.boxes = sealer.map(|sealer| (Vec::new(), sealer));
        self
    }

    /// The run, to be appended to.
    pub(crate) fn run(&mut self) -> &mut Vec<u8> {
        &mut self.run
    }

    /// Appends a large piece.
    pub(crate) fn push(&mut self, piece: Bytes) {
        if self.written < self.run.len() {
            let mut run = Bytes::from(std::mem::take(&mut self.run));
            run.advance(self.written);
            self.pieces.push_back(run);
        }
        self.run.clear();
        self.written = 0;
        self.pieces.push_back(piece);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.written == self.run.len()
    }

    /// Writes what the socket takes; true if nothing is left.
    pub(crate) fn flush(&mut self, writer: &OwnedWriteHalf) -> io::Result<bool> {
        if let Some((boxes, sealer)) = &mut self.boxes {
            assert!(self.pieces.is_empty(), "large bodies are not measured with CURVE");
            seal(sealer, &self.run, boxes);
            self.run.clear();
            while !boxes.is_empty() {
                match writer.try_write(boxes) {
                    Ok(count) => drop(boxes.drain(..count)),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                    Err(error) => return Err(error),
                }
            }
            return Ok(true);
        }
        while !self.is_empty() {
            let rest = self.run.get(self.written..).unwrap_or_default();
            let wrote = if self.pieces.is_empty() {
                writer.try_write(rest)
            } else {
                let mut slices = [IoSlice::new(&[]); Self::SLICES];
                let all = self.pieces.iter().map(|piece| &**piece).chain([rest]);
                let mut count = 0;
                for (slice, piece) in slices.iter_mut().zip(all) {
                    *slice = IoSlice::new(piece);
                    count += 1;
                }
                writer.try_write_vectored(&slices[..count])
            };
            match wrote {
                Ok(count) => self.advance(count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn advance(&mut self, mut count: usize) {
        while let Some(first) = self.pieces.front_mut() {
            let taken = count.min(first.len());
            first.advance(taken);
            count -= taken;
            if !first.is_empty() {
                return;
            }
            self.pieces.pop_front();
        }
        self.written += count;
        if self.written == self.run.len() {
            self.run.clear();
            self.written = 0;
        }
    }
}
