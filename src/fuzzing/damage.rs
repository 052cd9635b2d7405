//! What happens to a frame on its way, and a handshake that hears it.

use super::handshakes::{Ours, local};
use super::pieces::{Choices, Cuts};
use crate::proto::handshake::{Handshake, HandshakeError, Peer};

/// Octets that are other ones, missing, or too many.
#[derive(Debug, Clone, Default)]
pub(super) struct Damage<'a> {
    flips: Vec<(usize, u8)>,
    cut: Option<usize>,
    /// What comes behind the frame.
    pub(super) behind: &'a [u8],
}

impl<'a> Damage<'a> {
    /// No octets at all are no damage.
    pub(super) fn read(choices: &mut Choices<'a>) -> Self {
        let how = choices.octet();
        let flips = (0..how % 4).map(|_| (place(choices), choices.octet())).collect();
        let cut = (how & 0x10 != 0).then(|| place(choices));
        let behind = if how & 0x20 == 0 {
            &[]
        } else {
            let len = usize::from(choices.octet());
            choices.octets(len)
        };
        Self { flips, cut, behind }
    }

    /// The frame as it arrives, without what comes behind it.
    pub(super) fn apply(&self, frame: &[u8]) -> Vec<u8> {
        let mut octets = frame.to_vec();
        for (at, flip) in &self.flips {
            octets.iter_mut().skip(*at).take(1).for_each(|octet| *octet ^= flip);
        }
        octets.truncate(self.cut.unwrap_or(usize::MAX));
        octets
    }
}

fn place(choices: &mut Choices<'_>) -> usize {
    usize::from(choices.octet()) << 8 | usize::from(choices.octet())
}

/// A number of eight octets.
pub(super) fn number(choices: &mut Choices<'_>) -> u64 {
    choices.octets(8).iter().fold(0, |number, octet| number << 8 | u64::from(*octet))
}

/// One of our sides, that hears a stream in turns, and in pieces.
#[derive(Debug)]
pub(super) struct Listener<'a> {
    handshake: Handshake,
    cuts: Cuts<'a>,
    pub(super) result: Result<Option<Peer>, HandshakeError>,
    /// All that it has said.
    pub(super) said: Vec<u8>,
    /// Octets that it has left for the traffic.
    pub(super) left: usize,
}

impl<'a> Listener<'a> {
    pub(super) fn new(ours: Ours, cuts: Cuts<'a>) -> Self {
        let mut said = Vec::new();
        let handshake = Handshake::new(local(ours, 0), &mut said);
        Self { handshake, cuts, result: Ok(None), said, left: 0 }
    }

    pub(super) fn hear(&mut self, mut octets: &[u8]) {
        while !octets.is_empty() {
            let mut piece = self.cuts.next(&mut octets);
            if self.result != Ok(None) {
                self.left += piece.len();
                continue;
            }
            self.result = self.handshake.read(&mut piece, &mut self.said);
            self.left = piece.len();
            if self.result == Ok(None) {
                assert_eq!(self.left, 0, "octets were left lying");
                continue;
            }
            let said = self.said.len();
            let after = self.handshake.read(&mut &b"x"[..], &mut self.said);
            assert_eq!((after, self.said.len()), (Err(HandshakeError::Ended), said));
        }
    }
}
