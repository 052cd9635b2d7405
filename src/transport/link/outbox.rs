//! What waits to be written to one peer.

use std::cell::RefCell;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use crate::proto::output::CloseReason;
use crate::transport::account::{Account, Charge};
use crate::wire::codec::Encoder;

use super::Arriving;

#[derive(Debug)]
pub(super) struct Outbox {
    pub(super) encoder: Encoder,
    /// Octets that were taken out to be sealed, and are not written.
    pub(super) sealing: usize,
    pub(super) charge: Charge,
    pub(super) waker: Option<Waker>,
    /// Its task knows that something waits.
    pub(super) touched: bool,
    /// It was touched together with many others, and may be put off.
    pub(super) crowd: Option<Crowd>,
    /// The core is to be told when no more octets than that wait.
    pub(super) relieve_at: Option<usize>,
    pub(super) relieved: bool,
    pub(super) resume: bool,
    pub(super) close: Option<CloseReason>,
    pub(super) broken: bool,
    /// Where in the stream of octets the last PING and the last PONG end that were queued.
    pub(super) ping_until: u64,
    pub(super) pong_until: u64,
    /// Octets ever appended, and ever written.
    pub(super) appended: u64,
    pub(super) written: u64,
    /// Octets that the socket took, in boxes or not.
    pub(super) sent: u64,
    /// What is to be written next is being put into a box elsewhere.
    pub(super) at_bench: bool,
    /// How much was sent when somebody last looked, and since when that has not changed.
    pub(super) seen: Option<(u64, Instant)>,
    pub(super) arriving: Option<Arriving>,
}

/// How far an outbox among many is put off: one write for several messages costs as much as for one.
#[derive(Debug)]
pub(super) struct Crowd {
    /// Looks at it that are left; at the last one it is written.
    looks: u8,
    /// Octets ever appended when they were last asked.
    appended: u64,
}

impl Crowd {
    /// At this look it is written at the latest.
    const LOOKS_MAX: u8 = 8;
}

impl Outbox {
    pub(super) fn new(account: Arc<Account>) -> Self {
        Self {
            encoder: Encoder::default(),
            sealing: 0,
            charge: Charge::new(account),
            waker: None,
            touched: false,
            crowd: None,
            relieve_at: None,
            relieved: false,
            resume: false,
            close: None,
            broken: false,
            ping_until: 0,
            pong_until: 0,
            appended: 0,
            written: 0,
            sent: 0,
            at_bench: false,
            seen: None,
            arriving: None,
        }
    }

    #[inline]
    pub(super) fn append(&mut self, write: impl FnOnce(&mut Encoder)) {
        if self.broken {
            return;
        }
        if self.encoder.is_empty() {
            self.encoder = Encoder::with_buffer(take_buffer());
        }
        let before = self.encoder.len();
        write(&mut self.encoder);
        self.appended += (self.encoder.len() - before) as u64;
        self.settle();
    }

    /// Octets of plain frames appended and not written.
    #[inline]
    pub(super) fn waiting(&self) -> usize {
        self.encoder.len() + self.sealing
    }

    /// The socket takes nothing any more.
    pub(super) fn break_off(&mut self) {
        self.broken = true;
        self.encoder = Encoder::default();
        self.sealing = 0;
        self.settle();
    }

    /// Has the core told when no more than `octets` wait.
    pub(super) fn press(&mut self, octets: usize) {
        self.relieve_at = self.relieve_at.max(Some(octets));
    }

    /// Tells the core that so much of the outbox has emptied as it wanted to know.
    pub(super) fn relieve(&mut self) {
        if self.relieve_at.is_some_and(|octets| self.waiting() <= octets) {
            self.relieve_at = None;
            self.relieved = true;
            self.wake();
        }
    }

    /// Tells the account what is held.
    #[inline]
    pub(super) fn settle(&mut self) {
        self.charge.set(self.encoder.bytes_held());
    }

    /// Notes that it was touched together with many others.
    pub(super) fn join_crowd(&mut self) {
        self.crowd.get_or_insert(Crowd { looks: Crowd::LOOKS_MAX, appended: 0 });
    }

    /// Whether to ask the sockets once more before it is written: it is one of many, the last look
    /// brought more for it, and it is small.
    pub(super) fn put_off(&mut self, octets_max: usize) -> bool {
        let (waiting, appended) = (self.waiting(), self.appended);
        let goes_on = self.crowd.as_mut().is_some_and(|crowd| {
            let more = std::mem::replace(&mut crowd.appended, appended) < appended;
            crowd.looks = crowd.looks.saturating_sub(1);
            more && crowd.looks > 0 && waiting < octets_max
        });
        if !goes_on {
            self.crowd = None;
        }
        goes_on
    }

    /// Notes that something waits; true if the task does not know yet.
    #[inline]
    pub(super) fn touch(&mut self) -> bool {
        !std::mem::replace(&mut self.touched, true)
    }

    pub(super) fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }
}

thread_local! {
    /// Buffers of outboxes that are empty now. A busy connection gets a warm one back; an idle one
    /// holds none.
    static BUFFERS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Buffers kept for a thread.
const BUFFERS_MAX: usize = 16;
/// Larger buffers are not kept, octets.
const BUFFER_BYTES_MAX: usize = 256 << 10;

fn take_buffer() -> Vec<u8> {
    BUFFERS.with_borrow_mut(Vec::pop).unwrap_or_default()
}

pub(super) fn give_buffer(buffer: Vec<u8>) {
    if (1..=BUFFER_BYTES_MAX).contains(&buffer.capacity()) {
        BUFFERS.with_borrow_mut(|buffers| {
            if buffers.len() < BUFFERS_MAX {
                buffers.push(buffer);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FEW: usize = 1000;

    fn outbox() -> Outbox {
        Outbox::new(Arc::new(Account::new(1 << 20)))
    }

    fn say(outbox: &mut Outbox, octets: usize) {
        outbox.append(|encoder| encoder.octets(&vec![0; octets]));
    }

    #[test]
    fn one_of_many_is_put_off_as_long_as_more_comes_for_it() {
        let mut outbox = outbox();
        say(&mut outbox, 1);
        assert!(!outbox.put_off(FEW), "alone");
        outbox.join_crowd();
        assert!(outbox.put_off(FEW));
        say(&mut outbox, 1);
        assert!(outbox.put_off(FEW));
        assert!(!outbox.put_off(FEW), "nothing came");
        say(&mut outbox, 1);
        assert!(!outbox.put_off(FEW), "that has ended");
    }

    #[test]
    fn nobody_is_put_off_for_ever_or_while_much_waits() {
        let mut outbox = outbox();
        outbox.join_crowd();
        let mut looks = 0;
        loop {
            say(&mut outbox, 1);
            if !outbox.put_off(FEW) {
                break;
            }
            looks += 1;
            // Whoever is touched again has no more time for that.
            outbox.join_crowd();
        }
        assert_eq!(looks, Crowd::LOOKS_MAX - 1);
        outbox.join_crowd();
        say(&mut outbox, FEW);
        assert!(!outbox.put_off(FEW));
    }
}
