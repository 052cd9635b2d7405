//! Buffers of large bodies that nobody reads any more, kept for a while for the next ones.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Buffers that wait for a body of about their size, up to so many octets. The oldest make room.
#[derive(Debug)]
pub(super) struct Spares {
    octets_max: usize,
    kept: Mutex<Kept>,
    /// Octets of all of them, readable without their lock.
    octets: AtomicUsize,
}

#[derive(Debug, Default)]
struct Kept {
    buffers: VecDeque<Vec<u8>>,
    /// When somebody first looked since one was taken, or the first of them came.
    idle_since: Option<Instant>,
}

impl Spares {
    /// A smaller buffer costs the system less than looking for one, octets.
    const BUFFER_MIN: usize = 256 << 10;
    /// How long buffers are kept of which none is taken.
    const REST_MAX: Duration = Duration::from_secs(10);

    pub(super) fn new(octets_max: usize) -> Self {
        Self { octets_max, kept: Mutex::default(), octets: AtomicUsize::new(0) }
    }

    /// Octets that all buffers here have.
    pub(super) fn octets(&self) -> usize {
        self.octets.load(Ordering::Relaxed)
    }

    /// Whether a buffer of that size would be kept, if there is memory for it.
    pub(super) fn keeps(&self, size: usize) -> bool {
        (Self::BUFFER_MIN..=self.octets_max).contains(&size)
    }

    /// An empty buffer that holds `size` octets and an eighth more at most.
    pub(super) fn take(&self, size: usize) -> Option<Vec<u8>> {
        if self.octets() == 0 {
            return None;
        }
        let mut kept = self.lock();
        let fits = |buffer: &Vec<u8>| (size..=size + size / 8).contains(&buffer.capacity());
        // The last one may still lie in a cache of the processor.
        let at = kept.buffers.iter().rposition(fits)?;
        let buffer = kept.buffers.remove(at)?;
        kept.idle_since = None;
        self.octets.fetch_sub(buffer.capacity(), Ordering::Relaxed);
        Some(buffer)
    }

    /// Keeps a buffer.
    pub(super) fn put(&self, mut buffer: Vec<u8>) {
        if !self.keeps(buffer.capacity()) {
            return;
        }
        buffer.clear();
        let mut kept = self.lock();
        if kept.buffers.is_empty() {
            kept.idle_since = None;
        }
        while self.octets() + buffer.capacity() > self.octets_max {
            let Some(oldest) = kept.buffers.pop_front() else { break };
            self.octets.fetch_sub(oldest.capacity(), Ordering::Relaxed);
        }
        self.octets.fetch_add(buffer.capacity(), Ordering::Relaxed);
        kept.buffers.push_back(buffer);
    }

    /// Frees all of them; whether there were any.
    pub(super) fn clear(&self) -> bool {
        self.free(&mut self.lock())
    }

    /// Frees all of them if none has been taken for a while.
    pub(super) fn rest(&self, now: Instant) {
        if self.octets() == 0 {
            return;
        }
        let mut kept = self.lock();
        let idle_since = *kept.idle_since.get_or_insert(now);
        if now.saturating_duration_since(idle_since) >= Self::REST_MAX {
            self.free(&mut kept);
        }
    }

    fn free(&self, kept: &mut Kept) -> bool {
        let any = !kept.buffers.is_empty();
        kept.buffers = VecDeque::new();
        self.octets.store(0, Ordering::Relaxed);
        any
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // They are whole between any two statements: a panic elsewhere cannot harm them.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn buffer(size: usize) -> Vec<u8> {
        vec![1; size]
    }

    #[test]
    fn a_buffer_is_for_a_body_of_its_size() {
        let spares = Spares::new(8 * MIB);
        spares.put(buffer(MIB));
        assert_eq!(spares.octets(), MIB);
        for other in [MIB + 1, MIB - MIB / 8, MIB / 2] {
            assert!(spares.take(other).is_none(), "{other}");
        }
        let taken = spares.take(MIB - MIB / 16).unwrap();
        assert_eq!((taken.len(), taken.capacity(), spares.octets()), (0, MIB, 0));
        assert!(spares.take(MIB).is_none());
    }

    #[test]
    fn the_oldest_make_room_and_what_is_too_large_or_small_is_not_kept() {
        let spares = Spares::new(3 * MIB);
        for size in [2 * MIB, MIB, MIB + MIB / 2, 4 * MIB, 1000] {
            spares.put(buffer(size));
        }
        assert_eq!(spares.octets(), 2 * MIB + MIB / 2);
        assert!(spares.take(2 * MIB).is_none());
        assert!(spares.take(MIB + MIB / 2).is_some() && spares.take(MIB).is_some());
        Spares::new(0).put(buffer(MIB));
    }

    #[test]
    fn buffers_that_nobody_takes_are_freed() {
        let (spares, start) = (Spares::new(8 * MIB), tokio::time::Instant::now().into_std());
        let after = |seconds| start + Duration::from_secs(seconds);
        spares.put(buffer(MIB));
        spares.rest(after(0));
        let taken = spares.take(MIB).unwrap();
        spares.put(taken);
        for seconds in [9, 18] {
            spares.rest(after(seconds));
            assert_eq!(spares.octets(), MIB, "{seconds}");
        }
        spares.rest(after(19));
        assert_eq!(spares.octets(), 0);
        spares.put(buffer(MIB));
        spares.rest(after(100));
        assert_eq!(spares.octets(), MIB, "it came since the last look");
    }
}
