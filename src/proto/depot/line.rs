//! The requests of one service: some are among its waiting ones or at its workers, the others are
//! a range of keys on the disk.

use super::apart::Apart;
use super::record::Lane;

/// Where the requests of a service are.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) lane: Lane,
    /// On their way to a worker, or there.
    pub(super) asked: usize,
    /// Nowhere but on the disk.
    pub(super) behind: usize,
    /// No request with a smaller number is nowhere but on the disk.
    cursor: u64,
    /// Some of those are being read.
    pub(super) loading: bool,
    /// So many were asked when its service refused one more: no other one is read until one of
    /// these has gone, or it is worth a try.
    pub(super) full: Option<usize>,
    /// None of those that are nowhere but on the disk is late before, ms since 1970.
    pub(super) late_from: u64,
    /// Those with an order or a delay, none of which is in the range.
    pub(super) apart: Apart,
}

impl Line {
    pub(super) fn new(lane: Lane) -> Self {
        Self {
            lane,
            asked: 0,
            behind: 0,
            cursor: u64::MAX,
            loading: false,
            full: None,
            late_from: u64::MAX,
            apart: Apart::default(),
        }
    }

    /// A request is on the disk, and nowhere else.
    pub(super) fn lay_down(&mut self, number: u64) {
        self.behind += 1;
        self.cursor = self.cursor.min(number);
    }

    /// Whether the next one in the range was accepted after that number.
    pub(super) fn is_beyond(&self, number: u64) -> bool {
        self.cursor > number
    }

    /// Begins to read; returns from which number on.
    pub(super) fn start_reading(&mut self) -> u64 {
        self.loading = true;
        std::mem::replace(&mut self.cursor, u64::MAX)
    }

    /// There may be more from that number on.
    pub(super) fn go_on_from(&mut self, number: u64) {
        self.cursor = self.cursor.min(number);
    }

    /// Requests that should be on the disk, and were not found there although all of it was read.
    pub(super) fn take_missing(&mut self) -> usize {
        if self.cursor == u64::MAX && !self.loading { std::mem::take(&mut self.behind) } else { 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.asked == 0 && self.behind == 0 && !self.loading && self.apart.is_empty()
    }
}
