//! What the broker says of a group, as words of ours.

use std::sync::Arc;
use std::time::Duration;

use crate::group::event::{Event, GroupMessage, Outcome, Outcomes, PollResult, Status, To};
use crate::group::words::{BrokerTime, Leader, MemberId, Peer, PollId, Reason, View};
use crate::proto::group::{Charter, GroupLimits, Rule};
use crate::wire::message::Message;
use crate::wire::mjp::{GroupReport, GroupRoster};

/// The member that a report is about.
pub(super) fn member(report: &GroupReport<'_>) -> Option<MemberId> {
    Some(MemberId::new(report.member?, report.incarnation?))
}

/// How a member finds the group when it has joined.
pub(super) fn view(report: &GroupReport<'_>, body: &Message) -> Option<View> {
    let own = member(report)?;
    let roster = GroupRoster::decode(body.first()).ok()?;
    let members: Vec<_> = roster
        .members?
        .iter()
        .map(|row| Peer {
            member: MemberId::new(row.member, row.incarnation),
            suspect: row.suspect.unwrap_or_default(),
        })
        .collect();
    let leader = report.leader.zip(report.epoch).and_then(|(name, epoch)| {
        let leads = members.iter().find(|peer| peer.member.name() == name)?;
        Some(Leader { member: leads.member.clone(), epoch })
    });
    Some(View { number: report.view?, own, members, leader })
}

/// What kind of group it is.
pub(in crate::group) fn charter(report: &GroupReport<'_>) -> Option<Arc<Charter>> {
    let says = report.kind_of_group.as_ref()?;
    // How many members there may be, and how much they may say, is the broker's to say.
    let (members_max, message_bytes_max) = (usize::MAX, usize::MAX);
    let limits = GroupLimits { members_max, message_bytes_max, ..GroupLimits::default() };
    Charter::default().with(says, &limits).ok().map(Arc::new)
}

pub(super) fn message(
    report: &GroupReport<'_>,
    body: Message,
    received: Option<BrokerTime>,
) -> Option<GroupMessage> {
    let to = match report.to? {
        "all" => To::All,
        "leader" => To::Leader,
        _ => To::Member,
    };
    let taken = report.taken.map(BrokerTime);
    Some(GroupMessage {
        from: member(report)?,
        to,
        epoch: report.epoch,
        body,
        seq: report.seq?,
        sent: report.sent.map(BrokerTime),
        taken,
        received: received.filter(|_| taken.is_some()),
    })
}

pub(super) fn poll(report: &GroupReport<'_>) -> Option<PollId> {
    report.poll.map(PollId::heard)
}

pub(super) fn rule(report: &GroupReport<'_>) -> Rule {
    report.kind.and_then(Rule::from_name).unwrap_or(Rule::Majority)
}

pub(super) fn result(report: &GroupReport<'_>) -> Option<PollResult> {
    Some(PollResult {
        poll: poll(report)?,
        status: Status::of(report.status?),
        rule: rule(report),
        yes: report.yes.unwrap_or_default(),
        no: report.no.unwrap_or_default(),
        abstain: report.abstain.unwrap_or_default(),
        electorate: report.electorate.unwrap_or_default(),
        epoch: report.epoch,
        when: report.when.map(BrokerTime),
        reason: report.reason.map(|reason| Reason::of(Some(reason))),
    })
}

pub(super) fn outcomes(report: &GroupReport<'_>, body: &Message) -> Option<Outcomes> {
    let roster = GroupRoster::decode(body.first()).ok()?;
    let members = roster.members?;
    let members = members
        .iter()
        .map(|row| (MemberId::new(row.member, row.incarnation), Outcome::of(row.outcome)));
    let when = report.when.map(BrokerTime);
    Some(Outcomes { poll: poll(report)?, when, members: members.collect() })
}

/// Times of the broker are in ms, and those of clocks in µs.
pub(super) fn ms(ms: Option<u64>) -> Duration {
    Duration::from_millis(ms.unwrap_or_default())
}

/// Something that has happened in a group, as it is seen from outside. `None`: nothing of that.
pub(in crate::group) fn event_of(report: &GroupReport<'_>, body: &Message) -> Option<Event> {
    let size = || usize::try_from(report.size.unwrap_or_default()).unwrap_or(usize::MAX);
    let leader = || Some(Leader { member: member(report)?, epoch: report.epoch? });
    Some(match report.event {
        "view" => {
            let (member, view) = (member(report)?, report.view?);
            match report.change? {
                "joined" => Event::MemberJoined { member, view, size: size() },
                "suspect" => Event::MemberSuspect { member, view },
                "alive" => Event::MemberAlive { member, view },
                "left" => {
                    let reason = Reason::of(report.reason);
                    Event::MemberLeft { member, reason, view, size: size() }
                }
                _ => return None,
            }
        }
        "elected" => Event::LeaderElected(leader()?),
        "exited" => Event::LeaderExited { leader: leader()?, reason: Reason::of(report.reason) },
        "result" => Event::VoteResult(result(report)?),
        "outcomes" => Event::Outcomes(outcomes(report, body)?),
        _ => return None,
    })
}
