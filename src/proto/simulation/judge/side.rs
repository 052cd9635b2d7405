//! A connection, from outside: what it speaks, and what is lost with it.

use std::collections::BTreeMap;

use crate::wire::mdp::Version;

use super::super::tag::Tag;
use super::Judge;

/// A connection, from outside.
#[derive(Debug, Default)]
pub(super) struct Side {
    /// The version in which it was spoken to as a worker.
    pub(super) version: Option<Version>,
    pub(super) held: BTreeMap<Vec<u8>, Tag>,
    pub(super) dismissed: bool,
    pub(super) left: bool,
    pub(super) disconnects: u32,
    pub(super) gone: bool,
    /// It had no room for something, and is about to be closed.
    pub(super) full: bool,
    /// What it speaks, once it has said something valid.
    pub(super) dialect: Option<Dialect>,
    /// How often it was lost as a worker.
    pub(super) epoch: u32,
    /// What it may be given as a worker of MJP or NFP; none if it is none.
    pub(super) credit: Option<usize>,
    /// Requests it has open as a caller of MJP, by its ids.
    pub(super) open: BTreeMap<u64, Tag>,
}

/// What a connection speaks; the first valid message decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proto::simulation) enum Dialect {
    Mdp,
    Mjp,
    Nfp,
}

impl Judge {
    /// Whether a connection speaks that; the first message decides.
    pub(in crate::proto::simulation) fn speaks(&mut self, conn: usize, dialect: Dialect) -> bool {
        *self.sides.entry(conn).or_default().dialect.get_or_insert(dialect) == dialect
    }

    /// Whether the broker does not know the connection any more.
    pub(in crate::proto::simulation) fn is_gone(&self, conn: usize) -> bool {
        self.sides.get(&conn).is_some_and(|side| side.gone)
    }

    /// The peer is none any more for the broker: it has gone, or is being closed.
    pub(in crate::proto::simulation) fn lost(&mut self, conn: usize) {
        self.lose(conn);
        self.topics.lost(conn);
        self.flows.lost(conn);
        self.keys.leave(conn, self.asking);
        self.sides.entry(conn).or_default().gone = true;
        self.nfp.forget(conn);
        self.somebody_left = true;
    }

    /// What a worker held waits again.
    pub(super) fn lose(&mut self, conn: usize) {
        self.scatters.lose(conn);
        self.lose_parts(conn);
        self.keys.lose(conn);
        let side = self.sides.entry(conn).or_default();
        side.dismissed = true;
        for tag in std::mem::take(&mut side.held).into_values() {
            let record = self.records.get_mut(&tag).filter(|record| record.ended.is_none());
            if let Some(record) = record {
                record.holder = None;
                record.lost_by = Some(conn);
                record.losses += 1;
                record.asks.lose();
            }
        }
    }
}
