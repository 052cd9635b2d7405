//! An outbox that stays locked for several messages.

use std::sync::MutexGuard;

use crate::proto::output::CloseReason;
use crate::wire::codec::Encoder;

use super::outbox::Outbox;
use super::{Appended, Link};

/// The outbox of a link, locked: who has several messages for a peer locks it once.
///
/// Nobody else can append or write meanwhile; whoever holds it asks the link itself for nothing.
#[derive(Debug)]
pub struct Opened<'a> {
    link: &'a Link,
    outbox: MutexGuard<'a, Outbox>,
}

impl Link {
    /// Locks the outbox.
    #[inline]
    pub fn open(&self) -> Opened<'_> {
        Opened { link: self, outbox: self.lock() }
    }
}

impl Opened<'_> {
    /// As [`Link::is_inner`].
    #[inline]
    #[must_use]
    pub fn is_inner(&self) -> bool {
        self.link.inner
    }

    /// Appends one message, whatever waits already.
    #[inline]
    pub fn append(&mut self, write: impl FnOnce(&mut Encoder)) -> Appended {
        let appended = self.add(write);
        let limits = self.link.limits;
        let pressed = self.outbox.waiting() > limits.high_mark();
        if pressed {
            self.outbox.press(limits.low_mark());
        }
        Appended { pressed, ..appended }
    }

    /// Appends one message of about `bytes`, if it fits.
    #[inline]
    pub fn offer(&mut self, bytes: usize, write: impl FnOnce(&mut Encoder)) -> Option<Appended> {
        self.offer_within(self.link.limits.bytes_max, bytes, write)
    }

    /// Appends one message of about `bytes`, if no more than `bytes_max` wait then.
    #[inline]
    pub fn offer_within(
        &mut self,
        bytes_max: usize,
        bytes: usize,
        write: impl FnOnce(&mut Encoder),
    ) -> Option<Appended> {
        let waiting = self.outbox.waiting();
        if waiting > 0 && waiting.saturating_add(bytes) > bytes_max {
            return None;
        }
        Some(self.add(write))
    }

    /// Appends one message unless `waiting_max` octets or more wait, or any do and `tight` says that
    /// memory is short. If not, [`Call::Relieved`](super::Call::Relieved) follows when half as much
    /// waits.
    #[inline]
    pub fn pass(
        &mut self,
        waiting_max: usize,
        tight: bool,
        write: impl FnOnce(&mut Encoder),
    ) -> Option<Appended> {
        let waiting = self.outbox.waiting();
        if waiting > 0 && (tight || waiting >= waiting_max) {
            self.outbox.press(waiting_max / 2);
            return None;
        }
        Some(self.add(write))
    }

    #[inline]
    fn add(&mut self, write: impl FnOnce(&mut Encoder)) -> Appended {
        self.outbox.append(write);
        Appended { pressed: false, wake: self.outbox.touch() }
    }

    /// Whether `waiting_max` octets or more wait. If so,
    /// [`Call::Relieved`](super::Call::Relieved) follows when half as much does.
    pub fn is_full(&mut self, waiting_max: usize) -> bool {
        let full = self.outbox.waiting() >= waiting_max.max(1);
        if full {
            self.outbox.press(waiting_max / 2);
        }
        full
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.outbox.waiting() == 0
    }

    /// Appends a PING, unless one waits; whether the task of the link has to be told.
    pub fn ping(&mut self, ping: &[u8]) -> bool {
        if self.outbox.ping_until > self.outbox.written {
            return false;
        }
        self.outbox.append(|encoder| encoder.octets(ping));
        self.outbox.ping_until = self.outbox.appended;
        self.outbox.touch()
    }

    /// Appends a PONG, unless one waits: a flood of PINGs gets one answer a write. The task of the
    /// link, which has read the PING, sees it by itself.
    pub fn pong(&mut self, pong: &[u8]) {
        if self.outbox.pong_until <= self.outbox.written {
            self.outbox.append(|encoder| encoder.octets(pong));
            self.outbox.pong_until = self.outbox.appended;
        }
    }

    /// Has the task go on reading.
    pub fn resume(&mut self) {
        self.outbox.resume = true;
        self.outbox.wake();
    }

    /// Has the task end the connection. The first reason holds.
    pub fn close(&mut self, why: CloseReason) {
        self.outbox.close.get_or_insert(why);
        self.outbox.wake();
    }
}
