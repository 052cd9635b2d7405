//! What peers of MDP say, and are told; and what is delivered to a worker, whatever that speaks.

use crate::wire::mdp::{FromWorker, ToWorker, Version};
use crate::wire::message::Frames;

use super::super::repeater::is_keyed;
use super::super::tag::{Piece, Tag};
use super::{Judge, Turn};

impl Judge {
    /// A worker's command is about to be given to the broker.
    pub(in crate::proto::simulation) fn commanded(
        &mut self,
        conn: usize,
        version: Version,
        command: &FromWorker<'_>,
    ) {
        self.end_turn();
        let side = self.sides.entry(conn).or_default();
        let (answer, last) = match command {
            FromWorker::Final(answer) => (answer, true),
            FromWorker::Partial(answer) => (answer, false),
            FromWorker::Ready { .. } => {
                side.version.get_or_insert(version);
                return;
            }
            FromWorker::Disconnect if side.version.is_none_or(|own| own == version) => {
                side.left = true;
                return self.lose(conn);
            }
            _ => return,
        };
        if let Some(tag) = side.held.get(answer.address).copied() {
            if side.version == Some(version) {
                if last {
                    side.held.remove(answer.address);
                }
                self.keyed_answered((conn, answer.address), tag, last, false);
                self.part_answered(conn, tag, last, false);
                self.turn = self.turn_of(tag, last, false);
                if last && self.turn.is_some() {
                    self.records.entry(tag).and_modify(|record| record.holder = None);
                }
            }
        } else if let Some(tag) = self.addresses.get(answer.address).copied() {
            self.keyed_answered((conn, answer.address), tag, last, false);
            let record = self.records.get(&tag);
            let late = record.is_some_and(|r| r.holder.is_none() && r.lost_by == Some(conn));
            self.turn = (late && last).then_some(Turn { tag, last, binding: false, error: false });
        }
    }

    pub(super) fn said_to_worker(&mut self, conn: usize, version: Version, command: ToWorker<'_>) {
        let side = self.sides.entry(conn).or_default();
        if matches!(command, ToWorker::Disconnect) {
            side.disconnects += 1;
            let (count, left) = (side.disconnects, side.left);
            self.demand(count <= 2 && !left, || {
                format!("connection {conn} got DISCONNECT for the {count}. time, left: {left}")
            });
            return self.lose(conn);
        }
        let over = side.dismissed || side.left;
        self.demand(!over, || format!("dismissed connection {conn} got {command:?}"));
        if let ToWorker::Request(request) = command {
            let side = self.sides.entry(conn).or_default();
            side.version = Some(version);
            let Some(tag) = request.body.clone().next().and_then(Tag::decode) else {
                return self.fail(|| "a request without a tag was delivered".into());
            };
            self.delivered(conn, request.address.to_vec(), tag);
        }
    }

    pub(super) fn said_to_client(&mut self, conn: usize, message: Frames<'_>) {
        let frames: Vec<&[u8]> = message.collect();
        let more = frames.windows(2).any(|pair| pair == [&b"MDPC02"[..], &[2]]);
        let pieces: Vec<Piece> = frames.iter().filter_map(|frame| Piece::decode(frame)).collect();
        let Some(tag) = pieces.first().map(|piece| piece.tag) else {
            let mmi = frames.iter().any(|frame| frame.starts_with(b"mmi."));
            return self.demand(mmi, || format!("connection {conn} got {frames:?}"));
        };
        let mine = tag.conn as usize == conn && pieces.iter().all(|piece| piece.tag == tag);
        self.demand(mine, || format!("connection {conn} got the answer to {tag:?}"));
        let turn = self.turn;
        self.demand(turn.is_some_and(|t| t.tag == tag && t.last != more && !t.error), || {
            format!("{tag:?} was answered by somebody who does not hold it: {turn:?}")
        });
        self.count_reply(tag, more);
    }

    pub(super) fn delivered(&mut self, conn: usize, address: Vec<u8>, tag: Tag) {
        if self.scatters.has(tag) {
            return self.part_given(conn, address, tag);
        }
        if self.jobs.has(tag) {
            return self.stand_in_given(conn, address, tag);
        }
        if is_keyed(tag) {
            return self.keyed_delivered(conn, address, tag);
        }
        let Some(record) = self.records.get_mut(&tag) else {
            return self.fail(|| format!("{tag:?} was delivered and never asked"));
        };
        let policy = self.settings.policy_of(&record.service).clone();
        let service = record.service.clone();
        let (ended, holder) = (record.ended, record.holder.replace(conn));
        let (deliveries, forwarded, losses) = (record.deliveries, record.forwarded, record.losses);
        record.deliveries += 1;
        let side = self.sides.entry(conn).or_default();
        side.held.insert(address.clone(), tag);
        let (held, side_credit) = (side.held.len(), side.credit);
        self.addresses.insert(address, tag);
        self.demand(ended.is_none(), || format!("{tag:?} ended as {ended:?} and is delivered"));
        self.demand(holder.is_none(), || format!("{tag:?} goes to {conn} and is at {holder:?}"));
        let credit = side_credit.unwrap_or(policy.prefetch as usize);
        self.demand(held <= credit, || {
            format!("connection {conn} holds {held}, its credit is {credit}")
        });
        self.check_terms(tag);
        self.check_hold(tag);
        self.demand(deliveries == 0 || !policy.at_most_once, || {
            format!("{tag:?} is delivered again, which its service forbids")
        });
        self.demand(!forwarded || policy.resend_after_partial, || {
            format!("{tag:?} is delivered again after a PARTIAL")
        });
        self.demand(deliveries < 2 + policy.attempts, || {
            format!("{tag:?} is delivered more than {deliveries} times")
        });
        self.demand(losses < 2 || held == 1, || format!("suspect {tag:?} is not alone"));
        let alone = self.sides.get(&conn).is_some_and(|side| {
            let losses = |t: &Tag| self.records.get(t).map_or(0, |record| record.losses);
            let suspect = |t: &&Tag| **t != tag && losses(t) >= 2;
            !side.held.values().any(|t| suspect(&t))
        });
        self.demand(alone, || format!("{tag:?} goes to {conn}, which has a suspect"));
        if losses < 2 {
            self.check_turn(tag, &service, losses == 0);
        }
    }
}
