//! Polls and timed actions, as members say them.

use std::time::Duration;

use crate::id::PeerId;
use crate::proto::clock::Time;
use crate::proto::core::Core;
use crate::proto::group::{Asked, Feat, Question, Rule, Vote};
use crate::proto::output::Output;
use crate::proto::rights::Verb as Right;
use crate::wire::mjp::{FromBroker, Group, GroupHeader, GroupReport, GroupVerb, Packed, digest_of};

use super::told::millis;
use super::{Done, bad, bad_owned, missing, refusal, short};

impl Core {
    pub(super) fn open_poll<O: Output>(
        &mut self,
        now: Time,
        seat: (PeerId, u64),
        said: &Group<'_>,
        out: &mut O,
    ) -> Done {
        let (says, body) = (&said.says, said.body);
        let poll = says.poll.ok_or_else(|| missing("poll"))?;
        let rule = match says.kind {
            None => Rule::Majority,
            Some(name) => Rule::from_name(name)
                .ok_or_else(|| bad("`kind` is neither majority nor unanimous"))?,
        };
        let max = self.settings.group.limits.timeout_max;
        let timeout = says.timeout.map(Duration::from_millis);
        if timeout.is_some_and(|timeout| timeout.is_zero() || timeout > max) {
            let why = format!("`timeout` is out of range: 1 to {} ms", max.as_millis());
            return Err(bad_owned(why));
        }
        self.may_as_member(seat, Right::Poll, out)?;
        let bytes = self.check_size(seat, body)?;
        if says.when.is_some() && says.within.is_some() {
            return Err(bad("`when` and `in` are two moments; say one of them"));
        }
        let moment = self.moment(now);
        self.groups.take_turn(moment, seat).map_err(refusal)?;
        let (within, error, epoch) = (says.within, says.error, says.epoch);
        // What is asked is what was said: `in` is the same again when it is asked later.
        let digest = digest_of(rule.as_str(), [says.when, within, error], body);
        let when = says.when.or_else(|| Some(moment.clock.saturating_add(within?)));
        let one = Question { poll, rule, timeout, when, error, digest, epoch };
        let cost = match self.groups.check_open(moment, seat, &one).map_err(refusal)? {
            Asked::New(cost) => cost,
            Asked::Open(opened) => {
                self.say_opened(seat.0, said.id, poll, opened, Some(true), out);
                return Ok(());
            }
            Asked::Ended(event) => {
                self.say_event((seat.0, said.id), &event, out);
                return Ok(());
            }
        };
        if !out.charge(cost) {
            return Err(short());
        }
        let Some(opening) = self.groups.open(moment, seat, &one, cost) else {
            out.release(cost);
            return Err(short());
        };
        self.topics.spend(now, opening.recipients.len());
        self.say_opened(seat.0, said.id, poll, opening.opened, None, out);
        let [asks, shows] = [true, false].map(|elector| {
            Packed::new(&GroupReport {
                event: "poll",
                seq: Some(opening.seq),
                member: Some(&opening.member),
                incarnation: Some(opening.incarnation),
                epoch: Some(opening.opened.epoch),
                poll: Some(poll),
                kind: Some(rule.as_str()),
                timeout: Some(millis(opening.opened.timeout)),
                when,
                error,
                elector: Some(elector),
                electorate: Some(opening.opened.electorate),
                ..GroupReport::default()
            })
        });
        for (to, elector) in &opening.recipients {
            let header = if *elector { asks.octets() } else { shows.octets() };
            let message = FromBroker::Group { id: to.id, header, body };
            self.say(to.peer, bytes, out, |encoder| message.encode(encoder));
        }
        Ok(())
    }

    pub(super) fn on_poll<O: Output>(
        &mut self,
        now: Time,
        seat: (PeerId, u64),
        (id, verb): (u64, GroupVerb),
        says: &GroupHeader<'_>,
        out: &mut O,
    ) -> Done {
        let poll = says.poll.ok_or_else(|| missing("poll"))?;
        let mut report = GroupReport { poll: Some(poll), ..GroupReport::default() };
        match verb {
            GroupVerb::Vote => {
                let name = says.vote.ok_or_else(|| missing("vote"))?;
                let vote = Vote::from_name(name)
                    .ok_or_else(|| bad("`vote` is neither yes, no nor abstain"))?;
                let given = self.groups.vote(seat, poll, vote, says.error).map_err(refusal)?;
                report.event = "voted";
                report.vote = Some(given.vote.as_str());
                report.repeat = Some(true).filter(|_| given.repeat);
            }
            GroupVerb::Outcome => {
                let name = says.outcome.ok_or_else(|| missing("outcome"))?;
                let feat = Feat::from_name(name)
                    .ok_or_else(|| bad("`outcome` is neither done, missed nor failed"))?;
                self.groups.outcome(seat, poll, feat).map_err(refusal)?;
                report.event = "noted";
            }
            _ => match self.groups.result(self.moment(now), seat, poll).map_err(refusal)? {
                Ok(event) => {
                    self.say_event((seat.0, id), &event, out);
                    return Ok(());
                }
                Err((opened, counts)) => {
                    report.event = "result";
                    report.epoch = Some(opened.epoch);
                    report.timeout = Some(millis(opened.timeout));
                    report.status = Some("open");
                    report.yes = Some(counts.yes);
                    report.no = Some(counts.no);
                    report.abstain = Some(counts.abstain);
                    report.electorate = Some(opened.electorate);
                }
            },
        }
        self.answer_group(seat.0, id, &report, out);
        Ok(())
    }
}
