//! The lane of a client at a service: its requests in the order in which they were accepted. Clients
//! take turns.

use std::collections::BTreeMap;

use super::super::tag::Tag;
use super::Judge;
use super::record::Record;

impl Judge {
    /// Acceptance order for each client and service; clients take turns.
    pub(super) fn check_turn(&mut self, tag: Tag, service: &[u8], fresh: bool) {
        let older = self.waiting(tag.conn, service).next().filter(|older| *older < tag);
        self.demand(older.is_none(), || format!("{tag:?} is delivered before {older:?}"));
        let more = self.waiting(tag.conn, service).next().is_some();
        let lane = (tag.conn, service.to_vec());
        self.overtaken.remove(&lane);
        if more {
            self.overtaken.insert(lane, BTreeMap::new());
        }
        if !fresh {
            return;
        }
        for ((conn, other), overtaken) in &mut self.overtaken {
            if *conn != tag.conn && other == service {
                let times = overtaken.entry(tag.conn).or_default();
                *times += 1;
                if *times > 2 && self.violation.is_none() {
                    self.violation = Some(format!("{tag:?} is served before {conn} {times} times"));
                }
            }
        }
    }

    /// The requests that were asked on a connection and wait, suspects apart, oldest first.
    pub(super) fn waiting<'a>(
        &'a self,
        conn: u32,
        service: &'a [u8],
    ) -> impl Iterator<Item = Tag> + 'a {
        let waits = move |record: &Record| {
            record.tracked
                && record.holder.is_none()
                && record.ended.is_none()
                && !record.is_held()
                && record.losses < 2
                && record.service == service
        };
        let mine =
            self.records.iter().filter(move |(tag, record)| tag.conn == conn && waits(record));
        mine.map(|(tag, _)| *tag)
    }

    /// Forgets the turns of a client that waits for nothing.
    pub(super) fn drop_lanes(&mut self, conn: u32) {
        let lanes = self.overtaken.keys().filter(|(other, _)| *other == conn);
        let empty = lanes.filter(|(conn, service)| self.waiting(*conn, service).next().is_none());
        for lane in empty.cloned().collect::<Vec<_>>() {
            self.overtaken.remove(&lane);
        }
    }
}
