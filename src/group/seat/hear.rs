//! What the broker tells of a group.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Inside, Lead, Phase, Seat, report};
use crate::group::ballot::{ActionBallot, Asked, Ballot};
use crate::group::error::GroupError;
use crate::group::event::{Event, Gap, Parted};
use crate::group::words::{BrokerTime, Leader, MemberId, Peer, Reason};
use crate::proto::group::Standpoint;
use crate::wire::message::Message;
use crate::wire::mjp::GroupReport;

/// What the broker may not say.
const WRONG: &str = "what the broker says of a group makes no sense";

impl Seat {
    /// The broker says something with that id, which is one of this seat.
    pub(in crate::group) fn hear(
        &mut self,
        now: Instant,
        id: u64,
        report: &GroupReport<'_>,
        body: Message,
    ) {
        self.now = now;
        match &self.phase {
            Phase::Joining { id: join, .. } if *join == id => self.joined(id, report, &body),
            Phase::Member(inside) if inside.id == id => {
                if self.happened(report, body).is_none() {
                    self.dead(WRONG);
                }
            }
            Phase::Member(_) if report.event == "beat" => {
                self.beaten(id, report.clock, report.epoch);
            }
            Phase::Member(_) => self.answered(id, report),
            // An answer to somebody who has gone.
            Phase::Apart | Phase::Joining { .. } | Phase::Waiting { .. } | Phase::Over => {}
        }
        self.settle();
    }

    /// The broker refuses what has that id.
    pub(in crate::group) fn hear_error(
        &mut self,
        now: Instant,
        id: u64,
        code: &str,
        message: &str,
    ) {
        self.now = now;
        match &self.phase {
            Phase::Joining { id: join, .. } if *join == id => {
                self.not_joined(GroupError::of(code, message));
            }
            Phase::Member(inside) if inside.id == id => {
                self.over(Parted::Refused(GroupError::of(code, message)));
            }
            Phase::Member(_) => self.refused(id, code, message),
            Phase::Apart | Phase::Joining { .. } | Phase::Waiting { .. } | Phase::Over => {}
        }
        self.settle();
    }

    fn not_joined(&mut self, error: GroupError) {
        let again = self.shared.standing.borrow().clone() == super::Standing::Member;
        if again && error.may_pass() {
            let at = self.now + self.backoff.next_wait();
            self.phase = Phase::Waiting { at };
        } else {
            self.over(Parted::Refused(error));
        }
    }

    fn joined(&mut self, id: u64, says: &GroupReport<'_>, body: &Message) {
        let Phase::Joining { until, .. } = self.phase else { return };
        let (Some(view), Some(charter), Some(seq)) =
            (report::view(says, body), report::charter(says), says.seq)
        else {
            return self.dead(WRONG);
        };
        if let Some(clock) = says.clock {
            let sent = until.checked_sub(self.answer_timeout).unwrap_or(self.now);
            self.clock.answered(sent, self.now, clock);
        }
        self.backoff.reset();
        let point = Standpoint::new(view.own.incarnation(), view.number, seq, says.epoch);
        let view = Arc::new(view);
        self.phase = Phase::Member(Box::new(Inside {
            id,
            own: view.own.clone(),
            next_beat: self.now + charter.heartbeat,
            charter,
            view: view.clone(),
            point,
            lead: None,
            ended: None,
            beats: VecDeque::new(),
        }));
        self.tell(Event::Joined(view));
        self.ask_again();
    }

    /// Something has happened. `None`: it cannot have.
    fn happened(&mut self, says: &GroupReport<'_>, body: Message) -> Option<()> {
        if says.event != "gap" {
            let Phase::Member(inside) = &mut self.phase else { return Some(()) };
            // What was, a leader's that does not lead any more among it, is not for anybody.
            let epoch = says.epoch.filter(|_| matches!(says.event, "elected" | "message"));
            if !inside.point.hears(says.seq?, epoch) {
                self.missed(says.missed);
                return Some(());
            }
        }
        match says.event {
            "view" => self.viewed(says),
            "elected" => self.elected(says),
            "exited" => self.exited(says),
            "message" => self.said(says, body),
            "gap" => {
                self.missed(says.missed);
                Some(())
            }
            "poll" => self.asked(says, body),
            "result" => {
                let result = report::result(says)?;
                self.poll_ended(&result);
                self.tell(Event::VoteResult(result));
                Some(())
            }
            "outcomes" => {
                self.tell(Event::Outcomes(report::outcomes(says, &body)?));
                Some(())
            }
            // What is new is survived.
            _ => Some(()),
        }
    }

    fn viewed(&mut self, says: &GroupReport<'_>) -> Option<()> {
        let Phase::Member(inside) = &mut self.phase else { return Some(()) };
        let (member, number) = (report::member(says)?, says.view?);
        if !inside.point.sees(number) {
            return None;
        }
        let own = inside.own == member;
        let view = Arc::make_mut(&mut inside.view);
        view.number = number;
        let place = view.members.iter().position(|peer| peer.member == member);
        let event = match (says.change?, place) {
            ("joined", None) => {
                view.members.push(Peer { member: member.clone(), suspect: false });
                Event::MemberJoined { member, view: number, size: view.members.len() }
            }
            ("suspect", Some(place)) => {
                view.members.get_mut(place)?.suspect = true;
                Event::MemberSuspect { member, view: number }
            }
            ("alive", Some(place)) => {
                view.members.get_mut(place)?.suspect = false;
                Event::MemberAlive { member, view: number }
            }
            ("left", Some(place)) => {
                view.members.remove(place);
                let (reason, size) = (Reason::of(says.reason), view.members.len());
                if own {
                    self.put_out(reason);
                    return Some(());
                }
                Event::MemberLeft { member, reason, view: number, size }
            }
            ("joined" | "suspect" | "alive" | "left", _) => return None,
            // What is new is survived.
            _ => return Some(()),
        };
        self.tell(event);
        Some(())
    }

    /// The broker has this member for none any more.
    fn put_out(&mut self, reason: Reason) {
        match reason {
            Reason::Replaced => self.over(Parted::Replaced),
            Reason::Said => self.over(Parted::Left),
            Reason::Denied => {
                let message = "the right to be a member was taken away".to_owned();
                self.over(Parted::Refused(GroupError::Denied { message }));
            }
            _ => {
                let because = GroupError::Lost { because: "the broker took it for dead".into() };
                if self.asks.lose(&because) {
                    return self.over(Parted::Left);
                }
                self.part(Parted::Expired);
                self.join();
            }
        }
    }

    fn elected(&mut self, says: &GroupReport<'_>) -> Option<()> {
        let now = self.now;
        let Phase::Member(inside) = &mut self.phase else { return Some(()) };
        let (member, epoch) = (report::member(says)?, says.epoch?);
        let leader = Leader { member, epoch };
        let own = inside.own == leader.member;
        Arc::make_mut(&mut inside.view).leader = Some(leader.clone());
        if own {
            let ttl = says.ttl.map_or(inside.charter.ttl, Duration::from_millis);
            inside.point.elected(inside.own.incarnation(), epoch, ttl);
            inside.lead = Some(Lead { epoch, since: now, sure: false, leaving: false });
            self.beat();
        } else {
            inside.point.elected(leader.member.incarnation(), epoch, Duration::ZERO);
            inside.lead = None;
        }
        self.tell(Event::LeaderElected(leader));
        Some(())
    }

    fn exited(&mut self, says: &GroupReport<'_>) -> Option<()> {
        let Phase::Member(inside) = &mut self.phase else { return Some(()) };
        let (member, epoch) = (report::member(says)?, says.epoch?);
        inside.point.exited(epoch);
        inside.lead.take_if(|lead| lead.epoch == epoch);
        let view = Arc::make_mut(&mut inside.view);
        view.leader.take_if(|leader| leader.epoch == epoch);
        if inside.ended.take_if(|ended| *ended == epoch).is_some() {
            // It was told when this member stopped believing it.
            return Some(());
        }
        let leader = Leader { member, epoch };
        self.tell(Event::LeaderExited { leader, reason: Reason::of(says.reason) });
        Some(())
    }

    fn missed(&mut self, missed: Option<u64>) {
        if let Some(messages) = missed.filter(|missed| *missed > 0) {
            self.tell(Event::Gap(Gap { messages, others: 0 }));
        }
    }

    fn said(&mut self, says: &GroupReport<'_>, body: Message) -> Option<()> {
        let received = self.received();
        self.missed(says.missed);
        let message = report::message(says, body, received)?;
        self.tell(Event::Message(message));
        Some(())
    }

    fn asked(&mut self, says: &GroupReport<'_>, body: Message) -> Option<()> {
        let by: MemberId = report::member(says)?;
        let asked = Asked {
            poll: report::poll(says)?,
            topic: body,
            rule: report::rule(says),
            by,
            epoch: says.epoch,
            timeout: report::ms(says.timeout),
            elector: says.elector.unwrap_or_default(),
            electorate: says.electorate.unwrap_or_default(),
        };
        let group = self.group.clone();
        let Some(when) = says.when.map(BrokerTime) else {
            self.tell(Event::VoteRequest(Ballot { group, asked }));
            return Some(());
        };
        if asked.elector {
            // The better the clock is known, the better it is done.
            self.beat();
        }
        let (error, lateness) = (says.error.map(Duration::from_micros), ActionBallot::LATENESS);
        let ballot = ActionBallot { group, asked, when, error, lateness };
        self.tell(Event::ActionVoteRequest(ballot));
        Some(())
    }
}
