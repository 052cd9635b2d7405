//! GROUP: who is a member, who leads, what is said in which order, and what polls decide.

mod observe;
mod polls;
mod told;

use crate::id::PeerId;
use crate::proto::clock::Time;
use crate::proto::core::Core;
use crate::proto::core::report::count;
use crate::proto::core::rights::why_denied;
use crate::proto::dialect::STALE;
use crate::proto::group::{Groups, Joining, Left, Now, Refused, To, UNNAMED};
use crate::proto::output::Output;
use crate::proto::rights::{Grants, Verb as Right};
use crate::wire::message::Frames;
use crate::wire::mjp::{
    Code, FromBroker, GROUP_NAME_MAX, Group, GroupHeader, GroupReport, GroupVerb, Packed,
};

use super::fence::Why;
use told::millis;

/// What stands before the name of a group where who looks at it is asked for a right.
const LOOK: &str = "group.";
/// Octets that one message may have the broker copy, for all its members together.
const COPIED_MAX: usize = 64 << 20;
/// Octets of what the broker says of a message, the longest name included.
const ADDED: usize = 192 + 255;
/// Frames that are not the body: signature, kind and id, and the header.
const FRAMES_BEFORE: usize = 3;

type Done = Result<(), Why>;

impl Core {
    /// The groups, to look at.
    #[must_use]
    pub fn groups(&self) -> &Groups {
        &self.groups
    }

    /// Carries out GROUP, and answers it.
    pub(super) fn on_group<O: Output>(
        &mut self,
        now: Time,
        peer: PeerId,
        said: &Group<'_>,
        out: &mut O,
    ) {
        // Who speaks is alive before anything else happens.
        self.groups.heard(self.moment(now), peer);
        self.tell_groups(now, out);
        if let Err(why) = self.try_group(now, peer, said, out) {
            self.object_why(peer, said.id, &why, out);
        }
        self.tell_groups(now, out);
    }

    fn try_group<O: Output>(
        &mut self,
        now: Time,
        peer: PeerId,
        said: &Group<'_>,
        out: &mut O,
    ) -> Done {
        let (id, says) = (said.id, &said.says);
        let Some(verb) = GroupVerb::from_name(says.verb) else {
            return Err((Code::Unsupported, "no verb of this broker".into(), None));
        };
        let quiet = matches!(
            verb,
            GroupVerb::Beat | GroupVerb::Send | GroupVerb::Vote | GroupVerb::Outcome
        );
        if id == 0 && !quiet {
            return Err(bad("the id is 0; the answer needs one"));
        }
        if !verb.has_body() && !said.body.is_empty() {
            return Err(bad("frames stand behind the header, and the verb has none"));
        }
        match verb {
            GroupVerb::Join => return self.join_group(now, peer, id, says, out),
            GroupVerb::List => return self.list_groups(peer, id, says, out),
            GroupVerb::Info => return self.tell_group(now, peer, id, says, out),
            GroupVerb::Observe => return self.observe_group(now, peer, id, says, out),
            _ => {}
        }
        let seat = (peer, says.seat.ok_or_else(|| missing("seat"))?);
        match verb {
            GroupVerb::Leave => {
                self.groups
                    .leave_seat(self.moment(now), peer, seat.1, Left::Said)
                    .map_err(refusal)?;
                self.tell_groups(now, out);
                let says = GroupReport { event: "left", ..GroupReport::default() };
                self.answer_group(peer, id, &says, out);
                Ok(())
            }
            GroupVerb::Beat => self.beat(now, seat, id, says, out),
            GroupVerb::Send => self.send(now, seat, said, out),
            GroupVerb::Resign => self.resign(now, seat, id, says, out),
            GroupVerb::Open => self.open_poll(now, seat, said, out),
            _ => self.on_poll(now, seat, (id, verb), says, out),
        }
    }

    fn join_group<O: Output>(
        &mut self,
        now: Time,
        peer: PeerId,
        id: u64,
        says: &GroupHeader<'_>,
        out: &mut O,
    ) -> Done {
        let group = says.group.ok_or_else(|| missing("group"))?;
        if group.len() > GROUP_NAME_MAX {
            return Err(bad("`group` has more than 240 octets"));
        }
        if !self.may(peer, Right::Group, group.as_bytes(), out) {
            return Err((Code::Denied, why_denied(Right::Group, group.as_bytes()).into(), None));
        }
        if self.router.is_draining() {
            return Err((Code::Draining, self.why_draining().into(), None));
        }
        let Some(known) = self.peers.get(peer) else { return Ok(()) };
        let identity = known.identity.as_ref().map(|it| String::from_utf8_lossy(it.as_bytes()));
        let (principal, expected) = (known.principal, says.kind_of_group.clone());
        let expected = expected.unwrap_or_default();
        // Who is in it already, or the configuration, says what it is; otherwise who comes first.
        let settings = &self.settings.group;
        let held = self.groups.charter(group).or_else(|| settings.charter_of(group)).cloned();
        let charter = match held {
            Some(held) => {
                if let Some(key) = held.conflict(&expected) {
                    let why = format!("the group has another `{key}`; say none of it, or the same");
                    return Err((Code::GroupConflict, why.into(), None));
                }
                held
            }
            None => crate::proto::group::Charter::default()
                .with(&expected, &settings.limits)
                .map_err(|unfit| bad_owned(format!("`type`: {unfit}")))?,
        };
        // An identity that the broker might give to another one is no name, as elsewhere.
        let identity = identity.as_deref().filter(|name| !name.starts_with(UNNAMED));
        let member = says.member.or(identity);
        let own = says.own.unwrap_or(true);
        let (principal, charter) = (&principal, &charter);
        let may_lead = known.rights.grants().allows(Right::Lead, group.as_bytes());
        let one = Joining { peer, id, principal, group, member, charter, own, may_lead };
        let cost = self.groups.check_join(&one).map_err(refusal)?;
        if !out.charge(cost) {
            return Err(short());
        }
        let moment = self.moment(now);
        let joined = self.groups.join(moment, &one);
        // Others hear of it at once, and the member first of all that it is one.
        self.say_joined(moment, (peer, id), group, Some(&joined), out);
        Ok(())
    }

    fn beat<O: Output>(
        &mut self,
        now: Time,
        seat: (PeerId, u64),
        id: u64,
        says: &GroupHeader<'_>,
        out: &mut O,
    ) -> Done {
        let moment = self.moment(now);
        let ttl = self.groups.beat(moment, seat, says.epoch).map_err(refusal)?;
        let report = GroupReport {
            event: "beat",
            epoch: says.epoch,
            clock: Some(moment.clock),
            ttl: ttl.map(millis),
            ..GroupReport::default()
        };
        self.answer_group(seat.0, id, &report, out);
        Ok(())
    }

    fn send<O: Output>(
        &mut self,
        now: Time,
        seat: (PeerId, u64),
        said: &Group<'_>,
        out: &mut O,
    ) -> Done {
        let (says, body) = (&said.says, said.body);
        let to = match says.to {
            None | Some("all") => To::All,
            Some("leader") => To::Leader,
            Some("member") => {
                To::Member(says.member.ok_or_else(|| missing("member"))?, says.incarnation)
            }
            Some(_) => return Err(bad("`to` is neither all, leader nor member")),
        };
        self.may_as_member(seat, Right::Send, out)?;
        let bytes = self.check_size(seat, body)?;
        let copied = ADDED + body.bytes_copied();
        let members = self.groups.size_of_group(seat).map_err(refusal)?;
        if to == To::All && copied.saturating_mul(members) > COPIED_MAX {
            let why = "64 MiB and more would have to be copied; send less, or fewer small frames";
            return Err((Code::TooBig, why.into(), None));
        }
        let moment = self.moment(now);
        self.groups.take_turn(moment, seat).map_err(refusal)?;
        let taken = self.groups.send(moment, seat, to, says.epoch).map_err(refusal)?;
        self.topics.spend(now, taken.recipients.len());
        let report = GroupReport {
            event: "message",
            seq: Some(taken.seq),
            member: Some(&taken.member),
            incarnation: Some(taken.incarnation),
            epoch: says.epoch,
            to: Some(says.to.unwrap_or("all")),
            sent: says.sent.filter(|_| taken.timed),
            taken: Some(moment.clock).filter(|_| taken.timed),
            ..GroupReport::default()
        };
        // Almost all have missed nothing, and get the same octets.
        let packed = Packed::new(&report);
        let share = self.settings.group.limits.queue_bytes_max;
        let size = count(taken.recipients.len());
        for to in taken.recipients {
            self.groups.deliver(moment, to, |missed| {
                let behind = missed.map(|missed| {
                    Packed::new(&GroupReport { missed: Some(missed), ..report.clone() })
                });
                let header = behind.as_ref().unwrap_or(&packed).octets();
                let message = FromBroker::Group { id: to.id, header, body };
                out.spare(to.peer, bytes, share, |encoder| message.encode(encoder))
            });
        }
        let says = GroupReport {
            event: "ack",
            seq: Some(taken.seq),
            size: Some(size),
            ..GroupReport::default()
        };
        self.answer_group(seat.0, said.id, &says, out);
        Ok(())
    }

    /// Whether a member may do that in its group.
    pub(super) fn may_as_member<O: Output>(
        &mut self,
        (peer, id): (PeerId, u64),
        right: Right,
        out: &mut O,
    ) -> Done {
        let Some((group, _)) = self.groups.seat(peer, id) else { return Ok(()) };
        let known = self.peers.get(peer);
        if known.is_none_or(|known| known.rights.grants().allows(right, group.as_bytes())) {
            return Ok(());
        }
        let group = group.to_owned();
        // It is counted.
        self.may(peer, right, group.as_bytes(), out);
        Err((Code::Denied, why_denied(right, group.as_bytes()).into(), None))
    }

    /// Octets of a message of a member with that body, as its receivers get it.
    fn check_size(&self, seat: (PeerId, u64), body: Frames<'_>) -> Result<usize, Why> {
        let (max, wire) = (self.groups.message_bytes_max(seat), &self.settings.wire);
        let max = max.map_err(refusal)?;
        let octets: usize = body.map(<[u8]>::len).sum();
        if octets > max {
            let why = format!("the body has {octets} octets; {max} is the most in this group");
            return Err((Code::TooBig, why.into(), None));
        }
        let bytes = ADDED + body.bytes();
        if body.len() + FRAMES_BEFORE > wire.message_frames_max || bytes > wire.message_bytes_max {
            let why = "with what the broker adds it would be over limits.frames or limits.message";
            return Err((Code::TooBig, why.into(), None));
        }
        Ok(bytes)
    }

    fn resign<O: Output>(
        &mut self,
        now: Time,
        seat: (PeerId, u64),
        id: u64,
        says: &GroupHeader<'_>,
        out: &mut O,
    ) -> Done {
        let epoch = says.epoch.ok_or_else(|| missing("epoch"))?;
        let to = says.member.map(|member| (member, says.incarnation));
        self.groups.resign(self.moment(now), seat, epoch, to).map_err(refusal)?;
        self.tell_groups(now, out);
        let says = GroupReport { event: "resigned", epoch: Some(epoch), ..GroupReport::default() };
        self.answer_group(seat.0, id, &says, out);
        Ok(())
    }

    /// The peer wants no more of a campaign, an observation or a membership, if it has one of that
    /// id.
    pub(super) fn cancel_seat<O: Output>(&mut self, now: Time, peer: PeerId, id: u64, out: &mut O) {
        self.cancel_lease(now, peer, id, out);
        let looked = self.groups.unobserve(peer, id);
        if looked || self.groups.leave_seat(self.moment(now), peer, id, Left::Said).is_ok() {
            self.tell_groups(now, out);
        }
    }

    /// The connection of a peer has ended: it is a member of nothing any more, and looks at nothing.
    pub(in crate::proto::core) fn leave_groups<O: Output>(
        &mut self,
        now: Time,
        peer: PeerId,
        out: &mut O,
    ) {
        self.stop_looking(peer, |_| true);
        self.tell_groups(now, out);
        while let Some(id) = self.groups.first_seat_of(peer) {
            let _ = self.groups.leave_seat(self.moment(now), peer, id, Left::Closed);
            self.tell_news(now, out);
        }
        // Nobody who leaves in this moment comes to lead in it.
        self.tell_groups(now, out);
    }

    /// The peer has other rights now: what it may not be a member of, it is not, and what it may not
    /// look at, it does not.
    pub(in crate::proto::core) fn regrant_groups<O: Output>(
        &mut self,
        now: Time,
        peer: PeerId,
        grants: &Grants,
        out: &mut O,
    ) {
        let over = self.groups.seats_of(peer);
        let over = over.filter(|(_, group)| !grants.allows(Right::Group, group.as_bytes()));
        let over: Vec<u64> = over.map(|(id, _)| id).collect();
        let blind = self.stop_looking(peer, |group| {
            !grants.allows(Right::Call, ["mmi.", LOOK, group].concat().as_bytes())
        });
        for id in blind {
            let why = "the right `call` has been taken away; it is over";
            self.object(peer, id, Code::Denied, why, out);
        }
        for id in over {
            let _ = self.groups.leave_seat(self.moment(now), peer, id, Left::Denied);
            self.tell_groups(now, out);
            let why = "the right `group` has been taken away; you are no member any more";
            self.object(peer, id, Code::Denied, why, out);
        }
        let seats = self.groups.seats_of(peer);
        let leads = seats.map(|(id, it)| (id, grants.allows(Right::Lead, it.as_bytes())));
        for (id, may_lead) in leads.collect::<Vec<_>>() {
            self.groups.set_may_lead(self.moment(now), peer, id, may_lead);
        }
        self.tell_groups(now, out);
    }

    /// Does what is due in groups.
    pub(in crate::proto::core) fn tick_groups<O: Output>(&mut self, now: Time, out: &mut O) {
        let moment = self.moment(now);
        while let Some(silence) = self.groups.pop_silence(moment) {
            let spoke = self.peers.get(silence.peer).map_or(now, |known| known.spoke);
            // Who is not read cannot be heard: that is no silence.
            let spoke = if self.is_unread(silence.peer) { now } else { spoke };
            self.groups.look_at(moment, silence, spoke);
        }
        self.groups.tick(moment);
        self.tell_groups(now, out);
        self.tell_late_observers(now, out);
        let share = self.settings.group.limits.queue_bytes_max;
        self.groups.tell_gaps(moment, |peer, id, missed| {
            let says = GroupReport { event: "gap", missed: Some(missed), ..GroupReport::default() };
            let packed = Packed::new(&says);
            let (header, body) = (packed.octets(), Frames::default());
            let gap = FromBroker::Group { id, header, body };
            out.spare(peer, 64, share, |encoder| gap.encode(encoder))
        });
    }

    pub(in crate::proto::core) fn moment(&self, time: Time) -> Now {
        Now { time, clock: self.clock.micros() }
    }
}

fn bad(why: &'static str) -> Why {
    (Code::BadRequest, why.into(), None)
}

fn bad_owned(why: String) -> Why {
    (Code::BadRequest, why.into(), None)
}

fn missing(key: &str) -> Why {
    bad_owned(format!("header: `{key}` is missing"))
}

fn short() -> Why {
    (Code::Overloaded, "the broker's memory is short".into(), None)
}

fn refusal(refused: Refused) -> Why {
    let (code, why) = match refused {
        Refused::DuplicateId => {
            (Code::DuplicateId, "another join or observation of this id is open on the connection")
        }
        Refused::TooMany(limit) => {
            return (Code::Overloaded, format!("{limit} is reached").into(), None);
        }
        Refused::NameReserved => {
            (Code::BadRequest, "names of members that begin with ~ are the broker's to give")
        }
        Refused::NameTaken => (Code::NameTaken, "another member of the group has the name"),
        Refused::NotMember => (Code::NotMember, "no member, or no elector, that may do or get it"),
        Refused::NotCoordinated => {
            (Code::NotCoordinated, "the group has no leader and no polls by its type")
        }
        Refused::NoLeader => (Code::NoLeader, "nobody leads the group now"),
        Refused::Stale(epoch) => return (Code::StaleEpoch, STALE.into(), epoch),
        Refused::Conflict => (Code::KeyConflict, "another poll has this id; choose another one"),
        Refused::NoPoll => (Code::NotFound, "no poll of this id is open or known"),
        Refused::Over => (Code::PollOver, "the poll has ended, or all is known of its action"),
        Refused::Changed => (Code::VoteChanged, "something else was said before, and counts"),
        Refused::TooOften(rate) => {
            let why = format!("a member of this group says no more than `rate` = {rate} a second");
            return (Code::Overloaded, why.into(), None);
        }
        Refused::TooLate(earliest) => {
            let why = format!("`when` has to be later than {earliest} µs: timeout and margin");
            return (Code::TooLate, why.into(), None);
        }
    };
    (code, why.into(), None)
}
