//! What peers are told of groups, in words of the wire.

use std::sync::Arc;
use std::time::Duration;

use crate::id::PeerId;
use crate::proto::clock::Time;
use crate::proto::core::Core;
use crate::proto::core::report::count;
use crate::proto::core::rights::why_denied;
use crate::proto::group::{Change, Charter, Event, Feat, Joined, Now, Opened, Row};
use crate::proto::output::Output;
use crate::proto::rights::Verb as Right;
use crate::wire::message::Message;
use crate::wire::mjp::{
    AdminEvent, Code, FromBroker, GROUP_NAME_MAX, GroupHeader, GroupReport, GroupRoster, GroupRow,
    HEADER_MAX, MemberRow, Packed,
};

use super::{Done, LOOK, Why, missing};

impl Core {
    /// Settles the groups, tells their members and followers, and gives memory back.
    pub(in crate::proto::core) fn tell_groups<O: Output>(&mut self, now: Time, out: &mut O) {
        if self.groups.is_quiet() {
            return;
        }
        let moment = self.moment(now);
        self.groups.settle(moment, || self.router.leases.next_epoch());
        self.tell_news(now, out);
    }

    /// Tells members and followers what has happened in groups, settled or not, and gives memory
    /// back.
    pub(super) fn tell_news<O: Output>(&mut self, now: Time, out: &mut O) {
        while let Some((group, holder)) = self.groups.pop_ward() {
            self.router.leases.set_ward(now, &group, holder);
        }
        // The same is said to many, one behind another: it is written once.
        let mut last: Option<(Arc<Event>, Packed, Message)> = None;
        let mut told = 0;
        while let Some(news) = self.groups.pop_news() {
            told += 1;
            if last.as_ref().is_none_or(|(event, ..)| !Arc::ptr_eq(event, &news.event)) {
                let (packed, body) = written(&news.event);
                last = Some((news.event.clone(), packed, body));
            }
            if let Some((_, packed, body)) = &last {
                self.say_group((news.peer, news.id), packed, body, out);
            }
        }
        while let Some((group, event)) = self.groups.pop_event() {
            self.announce_group(&group, &event, out);
            told += self.tell_observers(now, &group, &event, out);
        }
        self.topics.spend(now, told);
        out.release(self.groups.take_freed());
        self.keep_mark(out);
    }

    /// Says what cannot be lost: who does not read it is closed.
    fn say_group<O: Output>(
        &mut self,
        (peer, id): (PeerId, u64),
        packed: &Packed,
        body: &Message,
        out: &mut O,
    ) {
        let (header, body) = (packed.octets(), body.frames());
        self.say(peer, header.len() + body.bytes(), out, |encoder| {
            FromBroker::Group { id, header, body }.encode(encoder);
        });
    }

    /// Says what has happened, to one that asks.
    pub(super) fn say_event<O: Output>(&mut self, to: (PeerId, u64), event: &Event, out: &mut O) {
        let (packed, body) = written(event);
        self.say_group(to, &packed, &body, out);
    }

    /// Answers what was asked, unless no answer is wanted.
    pub(super) fn answer_group<O: Output>(
        &mut self,
        peer: PeerId,
        id: u64,
        says: &GroupReport<'_>,
        out: &mut O,
    ) {
        if id != 0 {
            self.say_group((peer, id), &Packed::new(says), &Message::default(), out);
        }
    }

    /// Says what a group is and who is in it: to a new member, or to whom it may concern.
    pub(super) fn say_joined<O: Output>(
        &mut self,
        now: Now,
        to: (PeerId, u64),
        group: &str,
        joined: Option<&Joined>,
        out: &mut O,
    ) {
        let packed = self.state_of(now, group, joined, None);
        self.say_group(to, &packed, &self.roster_of(group), out);
    }

    /// Who is in a group, if anybody is.
    pub(super) fn roster_of(&self, group: &str) -> Message {
        if self.groups.row(group).is_none() {
            return Message::default();
        }
        let members = self.groups.members_of(group);
        let members = members.map(|(incarnation, member)| MemberRow {
            member: &member.name,
            incarnation,
            suspect: Some(true).filter(|_| member.suspect),
            outcome: None,
        });
        let roster = Packed::new(&GroupRoster { members: Some(members.collect()) });
        Message::new([roster.octets().to_vec()])
    }

    /// What a group is, and how much the one who is told has missed.
    pub(super) fn state_of(
        &self,
        now: Now,
        group: &str,
        joined: Option<&Joined>,
        missed: Option<u64>,
    ) -> Packed {
        let Some(row) = self.groups.row(group) else {
            let nobody =
                GroupReport { event: "info", size: Some(0), missed, ..GroupReport::default() };
            return Packed::new(&nobody);
        };
        let report = GroupReport {
            event: if joined.is_some() { "joined" } else { "info" },
            seq: joined.map(|joined| joined.seq),
            view: Some(row.view),
            member: joined.map(|joined| &*joined.member),
            incarnation: joined.map(|joined| joined.incarnation),
            size: Some(count(row.size)),
            epoch: row.leader.map(|(_, epoch)| epoch),
            leader: row.leader.map(|(name, _)| name),
            kind_of_group: Some(row.charter.to_wire()),
            unused: Some(Charter::UNUSED.to_vec()).filter(|_| row.charter.leader),
            clock: joined.map(|_| now.clock),
            missed,
            ..GroupReport::default()
        };
        Packed::new(&report)
    }

    pub(super) fn say_opened<O: Output>(
        &mut self,
        peer: PeerId,
        id: u64,
        poll: &[u8],
        opened: Opened,
        repeat: Option<bool>,
        out: &mut O,
    ) {
        let says = GroupReport {
            event: "opened",
            epoch: Some(opened.epoch),
            poll: Some(poll),
            timeout: Some(millis(opened.timeout)),
            repeat,
            electorate: Some(opened.electorate),
            ..GroupReport::default()
        };
        self.answer_group(peer, id, &says, out);
    }

    /// Answers `info`.
    pub(super) fn tell_group<O: Output>(
        &mut self,
        now: Time,
        peer: PeerId,
        id: u64,
        says: &GroupHeader<'_>,
        out: &mut O,
    ) -> Done {
        let group = self.looked_at(peer, says, out)?;
        if self.groups.row(group).is_none() {
            return Err((Code::NotFound, "the group has no members".into(), None));
        }
        self.say_joined(self.moment(now), (peer, id), group, None, out);
        Ok(())
    }

    /// The group that the peer wants to look at, if it may.
    pub(super) fn looked_at<'a, O: Output>(
        &mut self,
        peer: PeerId,
        says: &GroupHeader<'a>,
        out: &mut O,
    ) -> Result<&'a str, Why> {
        let group = says.group.ok_or_else(|| missing("group"))?;
        let what = [LOOK, group].concat();
        if self.may_look(peer, &what, out) {
            return Ok(group);
        }
        let name = ["mmi.", &what].concat();
        Err((Code::Denied, why_denied(Right::Call, name.as_bytes()).into(), None))
    }

    /// Answers `list`.
    pub(super) fn list_groups<O: Output>(
        &mut self,
        peer: PeerId,
        id: u64,
        says: &GroupHeader<'_>,
        out: &mut O,
    ) -> Done {
        /// Octets of a row besides its names.
        const ROW: usize = 96;
        if !self.may_look(peer, "groups", out) {
            return Err((Code::Denied, why_denied(Right::Call, b"mmi.groups").into(), None));
        }
        let (mut groups, mut bytes, mut next) = (Vec::new(), 0, None);
        for row in self.groups.rows(says.after, says.prefix.unwrap_or_default()) {
            bytes += ROW + row.group.len() + row.leader.map_or(0, |(name, _)| name.len());
            if groups.len() >= says.max() || bytes > HEADER_MAX - 2 * GROUP_NAME_MAX {
                next = groups.last().map(|row: &GroupRow<'_>| row.group);
                break;
            }
            groups.push(row_of(&row));
        }
        let packed = Packed::new(&GroupReport {
            event: "list",
            groups: Some(groups),
            next,
            ..GroupReport::default()
        });
        self.say_group((peer, id), &packed, &Message::default(), out);
        Ok(())
    }

    /// Tells followers (ADMIN).
    fn announce_group<O: Output>(&mut self, group: &str, event: &Event, out: &mut O) {
        let group = Some(group);
        let says = match event {
            Event::View { change, member, .. } => {
                let (event, state) = match change {
                    Change::Joined => ("group.joined", None),
                    Change::Suspect => ("group.suspect", None),
                    Change::Alive => ("group.alive", None),
                    Change::Left(why) => ("group.left", Some(why.as_str())),
                };
                AdminEvent { event, name: Some(member), state, group, ..AdminEvent::default() }
            }
            Event::Elected { member, epoch, .. } => AdminEvent {
                event: "group.elected",
                name: Some(member),
                group,
                epoch: Some(*epoch),
                ..AdminEvent::default()
            },
            Event::Exited { member, epoch, why, .. } => AdminEvent {
                event: "group.exited",
                name: Some(member),
                state: Some(why.as_str()),
                group,
                epoch: Some(*epoch),
                ..AdminEvent::default()
            },
            Event::Result { result, .. } => AdminEvent {
                event: "group.result",
                uuid: Some(&result.poll),
                state: Some(result.status.as_str()),
                group,
                epoch: Some(result.epoch),
                ..AdminEvent::default()
            },
            Event::Outcomes { poll, .. } => AdminEvent {
                event: "group.outcomes",
                uuid: Some(poll),
                group,
                ..AdminEvent::default()
            },
        };
        self.announce(&says, out);
    }
}

/// An event as members are told.
pub(super) fn written(event: &Event) -> (Packed, Message) {
    let report = report_of(event);
    let body = match event {
        Event::Outcomes { outcomes, .. } => {
            let members = outcomes.iter().map(|(member, incarnation, feat)| MemberRow {
                member,
                incarnation: *incarnation,
                suspect: None,
                outcome: Some(feat.map_or("silent", Feat::as_str)),
            });
            let roster = Packed::new(&GroupRoster { members: Some(members.collect()) });
            Message::new([roster.octets().to_vec()])
        }
        _ => Message::default(),
    };
    (Packed::new(&report), body)
}

fn report_of(event: &Event) -> GroupReport<'_> {
    match event {
        Event::View { seq, view, change, member, incarnation, size } => GroupReport {
            event: "view",
            seq: Some(*seq),
            view: Some(*view),
            change: Some(change.as_str()),
            member: Some(member),
            incarnation: Some(*incarnation),
            reason: match change {
                Change::Left(why) => Some(why.as_str()),
                Change::Joined | Change::Suspect | Change::Alive => None,
            },
            size: Some(*size),
            ..GroupReport::default()
        },
        Event::Elected { seq, member, incarnation, epoch, ttl } => GroupReport {
            event: "elected",
            seq: Some(*seq),
            member: Some(member),
            incarnation: Some(*incarnation),
            epoch: Some(*epoch),
            ttl: Some(millis(*ttl)),
            ..GroupReport::default()
        },
        Event::Exited { seq, member, incarnation, epoch, why } => GroupReport {
            event: "exited",
            seq: Some(*seq),
            member: Some(member),
            incarnation: Some(*incarnation),
            reason: Some(why.as_str()),
            epoch: Some(*epoch),
            ..GroupReport::default()
        },
        Event::Result { seq, result } => GroupReport {
            event: "result",
            seq: Some(*seq),
            reason: result.reason,
            epoch: Some(result.epoch),
            poll: Some(&result.poll),
            kind: Some(result.rule.as_str()),
            when: result.when,
            status: Some(result.status.as_str()),
            yes: Some(result.counts.yes),
            no: Some(result.counts.no),
            abstain: Some(result.counts.abstain),
            electorate: Some(result.electorate),
            ..GroupReport::default()
        },
        Event::Outcomes { seq, poll, when, .. } => GroupReport {
            event: "outcomes",
            seq: Some(*seq),
            poll: Some(poll),
            when: Some(*when),
            ..GroupReport::default()
        },
    }
}

fn row_of<'a>(row: &Row<'a>) -> GroupRow<'a> {
    GroupRow {
        group: row.group,
        size: count(row.size),
        view: row.view,
        leader: row.leader.map(|(name, _)| name),
        epoch: row.leader.map(|(_, epoch)| epoch),
        polls: count(row.polls),
    }
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
