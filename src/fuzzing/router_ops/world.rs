//! The world around the core: outboxes that a fuzzer fills, and everything that was said.

use std::collections::BTreeSet;

use crate::fuzzing::pieces::frames_written;
use crate::id::PeerId;
use crate::proto::output::{CloseReason, Output, Pressure};
use crate::wire::codec::Encoder;

/// Something that was said or done to a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::fuzzing) enum Event {
    Send(Vec<Vec<u8>>),
    Close(CloseReason),
}

/// An [`Output`] that keeps everything, and is as full as the fuzzer wants it.
#[derive(Debug, Default)]
pub(in crate::fuzzing) struct World {
    pub(in crate::fuzzing) log: Vec<(PeerId, Event)>,
    pub(in crate::fuzzing) resumed: Vec<PeerId>,
    pub(in crate::fuzzing) pinged: BTreeSet<PeerId>,
    /// Their outboxes are under pressure.
    pub(in crate::fuzzing) pressed: BTreeSet<PeerId>,
    /// Their outboxes take no answer.
    pub(in crate::fuzzing) full: BTreeSet<PeerId>,
    /// Something waits in their outboxes.
    pub(in crate::fuzzing) unread: BTreeSet<PeerId>,
    /// The memory account takes no new work.
    pub(in crate::fuzzing) account_full: bool,
    pub(in crate::fuzzing) charged: usize,
}

impl Output for World {
    fn send(&mut self, peer: PeerId, write: impl FnOnce(&mut Encoder)) -> Pressure {
        self.log.push((peer, Event::Send(frames_written(write))));
        if self.pressed.contains(&peer) { Pressure::High } else { Pressure::Low }
    }

    fn offer(&mut self, peer: PeerId, bytes: usize, write: impl FnOnce(&mut Encoder)) -> bool {
        if self.full.contains(&peer) {
            return false;
        }
        let frames = frames_written(write);
        let sent: usize = frames.iter().map(Vec::len).sum();
        assert!(sent <= bytes + 3000, "{bytes} octets were offered and {sent} sent");
        self.log.push((peer, Event::Send(frames)));
        true
    }

    fn spare(
        &mut self,
        peer: PeerId,
        bytes: usize,
        _: usize,
        write: impl FnOnce(&mut Encoder),
    ) -> bool {
        !self.account_full && !self.pressed.contains(&peer) && self.offer(peer, bytes, write)
    }

    fn pass(
        &mut self,
        peer: PeerId,
        bytes: usize,
        _: usize,
        write: impl FnOnce(&mut Encoder),
    ) -> bool {
        self.offer(peer, bytes, write)
    }

    fn is_full(&mut self, peer: PeerId, _: usize) -> bool {
        self.full.contains(&peer)
    }

    fn is_quiet(&mut self, peer: PeerId) -> bool {
        !self.unread.contains(&peer)
    }

    fn ping(&mut self, peer: PeerId) {
        self.pinged.insert(peer);
    }

    fn resume(&mut self, peer: PeerId) {
        self.resumed.push(peer);
    }

    fn close(&mut self, peer: PeerId, why: CloseReason) {
        self.log.push((peer, Event::Close(why)));
    }

    fn charge(&mut self, bytes: usize) -> bool {
        if !self.account_full {
            self.charged += bytes;
        }
        !self.account_full
    }

    fn would_take(&self, _: usize, _: usize) -> bool {
        !self.account_full
    }

    fn take(&mut self, bytes: usize) {
        self.charged += bytes;
    }

    fn release(&mut self, bytes: usize) {
        assert!(bytes <= self.charged, "{bytes} octets given back of {}", self.charged);
        self.charged -= bytes;
    }

    fn has_room(&self) -> bool {
        !self.account_full
    }
}
