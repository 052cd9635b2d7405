//! GROUP `observe`: for who is no member.

use std::collections::BTreeMap;

use crate::id::PeerId;
use crate::proto::clock::Time;
use crate::proto::core::Core;
use crate::proto::group::Event;
use crate::proto::output::Output;
use crate::wire::mjp::{Code, FromBroker, GROUP_NAME_MAX, GroupHeader};

use super::told::written;
use super::{Done, bad, refusal, short};

impl Core {
    /// Answers `observe`: how the group is. From then on its observer is told what its members are,
    /// but for messages and the topics of polls.
    pub(super) fn observe_group<O: Output>(
        &mut self,
        now: Time,
        peer: PeerId,
        id: u64,
        says: &GroupHeader<'_>,
        out: &mut O,
    ) -> Done {
        let group = self.looked_at(peer, says, out)?;
        if group.len() > GROUP_NAME_MAX {
            return Err(bad("`group` has more than 240 octets"));
        }
        if self.router.is_draining() {
            return Err((Code::Draining, self.why_draining().into(), None));
        }
        let cost = self.groups.check_observe(peer, id, group).map_err(refusal)?;
        if !out.charge(cost) {
            return Err(short());
        }
        self.groups.observe(peer, id, group, cost);
        self.say_joined(self.moment(now), (peer, id), group, None, out);
        Ok(())
    }

    /// Tells all who look at a group what has happened there; gives how many were to be told.
    pub(super) fn tell_observers<O: Output>(
        &mut self,
        now: Time,
        group: &str,
        event: &Event,
        out: &mut O,
    ) -> usize {
        if self.groups.observing() == 0 {
            return 0;
        }
        let (share, (packed, body)) = (self.settings.topics.outbox_bytes_max, written(event));
        let (header, body) = (packed.octets(), body.frames());
        let mut told = 0;
        self.groups.tell_observers(now, group, |peer, id| {
            told += 1;
            out.spare(peer, header.len() + body.bytes(), share, |encoder| {
                FromBroker::Group { id, header, body }.encode(encoder);
            })
        });
        told
    }

    /// Tells who has missed something how things are.
    pub(super) fn tell_late_observers<O: Output>(&mut self, now: Time, out: &mut O) {
        let share = self.settings.topics.outbox_bytes_max;
        // A group may be large, and many may look at it.
        let mut rosters = BTreeMap::new();
        for (peer, id, group, missed) in self.groups.take_late(now) {
            let packed = self.state_of(self.moment(now), &group, None, Some(missed));
            let roster = rosters.entry(group).or_insert_with_key(|group| self.roster_of(group));
            let (header, body) = (packed.octets(), roster.frames());
            let fits = out.spare(peer, header.len() + body.bytes(), share, |encoder| {
                FromBroker::Group { id, header, body }.encode(encoder);
            });
            if !fits {
                self.groups.put_off(now, (peer, id), missed);
            }
        }
    }

    /// Ends the observations of a peer that `is_over` says so of; gives their ids.
    pub(super) fn stop_looking(
        &mut self,
        peer: PeerId,
        is_over: impl Fn(&str) -> bool,
    ) -> Vec<u64> {
        let over = self.groups.observed_by(peer).filter(|(_, group)| is_over(group));
        let over: Vec<u64> = over.map(|(id, _)| id).collect();
        for id in &over {
            self.groups.unobserve(peer, *id);
        }
        over
    }
}
