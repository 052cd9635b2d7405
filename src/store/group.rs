//! When a group of batches is closed, to be committed with one synchronisation.

use std::time::{Duration, Instant};

use crate::proto::durable::Batch;

/// Records of a group.
pub(super) const RECORDS_MAX: usize = 512;
/// Octets of a group.
pub(super) const BYTES_MAX: usize = 1 << 20;
/// How long a group waits for more after its first batch.
pub(super) const WAIT: Duration = Duration::from_millis(2);

/// Where a group is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// Nothing of it is stored.
    Before,
    /// It is stored, and nobody knows.
    Stored,
    /// The core knows, and has said what there was to say.
    Told,
}

/// What the point is called at which a batch is then.
fn point_of(what: &str, moment: Moment) -> &'static str {
    let [before, stored, told] = match what {
        "accept" => ["accept.before_store", "accept.after_store", "accept.after_ack"],
        "dispatch" => ["dispatch.before_mark", "dispatch.after_mark", "dispatch.after_send"],
        "requeue" => ["requeue.before", "requeue.after", ""],
        "reply" => ["reply.before_store", "reply.after_store", "reply.after_send"],
        "forget" => ["forget.before", "forget.after", ""],
        "dead" => ["dlq.before", "dlq.after", "dlq.after_told"],
        "revive" => ["dlq.before_requeue", "dlq.after_requeue", "dlq.requeued"],
        "rewrite" => ["dlq.before_edit", "dlq.after_edit", ""],
        "unbury" => ["dlq.before_drop", "dlq.after_drop", ""],
        "outcome" => ["outcome.evict", "outcome.evicted", ""],
        _ => [""; 3],
    };
    match moment {
        Moment::Before => before,
        Moment::Stored => stored,
        Moment::Told => told,
    }
}

/// Batches that are committed together.
#[derive(Debug, Default)]
pub(super) struct Group {
    batches: Vec<Batch>,
    records: usize,
    bytes: usize,
    since: Option<Instant>,
}

impl Group {
    pub(super) fn add(&mut self, now: Instant, batch: Batch) {
        self.since.get_or_insert(now);
        self.records += batch.writes.len();
        self.bytes += batch.writes.iter().map(crate::proto::durable::Write::bytes).sum::<usize>();
        self.batches.push(batch);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Octets of all that is to be written.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn records(&self) -> usize {
        self.records
    }

    pub(super) fn batches(&self) -> &[Batch] {
        &self.batches
    }

    /// Comes to the named points of what is in it.
    pub(super) fn pass(&self, moment: Moment) {
        if cfg!(feature = "fail-points") {
            for batch in &self.batches {
                super::fail::point(point_of(batch.what, moment));
            }
        }
    }

    /// The number up to which all is stored once the group is.
    pub(super) fn up_to(&self) -> u64 {
        self.batches.last().map_or(0, |batch| batch.number)
    }

    /// How long it may wait for more; zero: it is closed. `None`: there is nothing in it.
    pub(super) fn waits(&self, now: Instant) -> Option<Duration> {
        let since = self.since?;
        if self.records >= RECORDS_MAX || self.bytes >= BYTES_MAX {
            return Some(Duration::ZERO);
        }
        Some(WAIT.saturating_sub(now.saturating_duration_since(since)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::durable::{Key, Write};

    fn batch(number: u64, records: usize, bytes: usize) -> Batch {
        let write = Write::Put(Key::new(b'h', b"k"), vec![0; bytes].into());
        Batch { number, what: "test", writes: vec![write; records] }
    }

    #[test]
    fn a_group_closes_by_records_by_octets_or_by_time() {
        let start = tokio::time::Instant::now().into_std();
        let mut group = Group::default();
        assert_eq!(group.waits(start), None);
        group.add(start, batch(1, 1, 1));
        assert_eq!(group.waits(start), Some(WAIT));
        assert_eq!(group.waits(start + WAIT), Some(Duration::ZERO));
        group.add(start + WAIT / 2, batch(2, RECORDS_MAX - 2, 1));
        assert_eq!(group.waits(start + WAIT / 2), Some(WAIT / 2), "since the first");
        group.add(start + WAIT / 2, batch(3, 1, 1));
        assert_eq!((group.waits(start), group.up_to()), (Some(Duration::ZERO), 3));
        let mut group = Group::default();
        group.add(start, batch(1, 1, BYTES_MAX - 3));
        assert_eq!(group.waits(start), Some(WAIT));
        group.add(start, batch(2, 1, 1));
        assert_eq!(group.waits(start), Some(Duration::ZERO));
    }
}
