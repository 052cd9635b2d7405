//! What a member says, and how that is written.

use std::sync::Arc;
use std::time::Duration;

use super::{Wants, When};
use crate::group::event::{Outcome, To};
use crate::group::words::{BrokerTime, PollId, Recipient, micros, millis};
use crate::proto::group::{Rule, Vote};
use crate::wire::codec::Encoder;
use crate::wire::message::{Frames, Message};
use crate::wire::mjp::{Group, GroupHeader, GroupVerb, ToBroker};

/// Something that is said to the broker.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::group) enum Say {
    Join,
    Leave,
    Beat {
        epoch: Option<u64>,
    },
    Send(Box<Send>),
    Resign {
        epoch: u64,
        to: Option<Recipient>,
    },
    Open(Arc<Open>),
    Vote {
        poll: PollId,
        vote: Vote,
        error: Option<Duration>,
    },
    Result(PollId),
    Outcome {
        poll: PollId,
        outcome: Outcome,
    },
    /// As `Leave`, and nobody waits for an answer.
    Cancel,
}

/// A message.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::group) struct Send {
    pub(in crate::group) to: To,
    pub(in crate::group) member: Option<Recipient>,
    pub(in crate::group) epoch: Option<u64>,
    pub(in crate::group) sent: Option<BrokerTime>,
    pub(in crate::group) body: Message,
}

/// A poll that is opened.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::group) struct Open {
    pub(in crate::group) poll: PollId,
    pub(in crate::group) rule: Rule,
    /// Default: that of the group.
    pub(in crate::group) timeout: Option<Duration>,
    pub(in crate::group) when: Option<When>,
    pub(in crate::group) error: Option<Duration>,
    pub(in crate::group) topic: Message,
}

impl Say {
    fn verb(&self) -> GroupVerb {
        match self {
            Self::Join => GroupVerb::Join,
            Self::Leave | Self::Cancel => GroupVerb::Leave,
            Self::Beat { .. } => GroupVerb::Beat,
            Self::Send(_) => GroupVerb::Send,
            Self::Resign { .. } => GroupVerb::Resign,
            Self::Open(_) => GroupVerb::Open,
            Self::Vote { .. } => GroupVerb::Vote,
            Self::Result(_) => GroupVerb::Result,
            Self::Outcome { .. } => GroupVerb::Outcome,
        }
    }

    /// Writes it with that id; `seat` is the id of the join, and `left` the time of a poll.
    pub(in crate::group) fn encode(&self, id: u64, seat: u64, wants: &Wants, out: &mut Encoder) {
        if *self == Self::Cancel {
            return ToBroker::Cancel { id: seat }.encode(out);
        }
        let mut says = GroupHeader::new(self.verb(), seat);
        let mut body = Frames::default();
        match self {
            Self::Join => {
                let kind = wants.kind.to_wire();
                says.seat = None;
                says.group = Some(&wants.group);
                says.member = wants.member.as_deref();
                says.own = (!wants.own).then_some(false);
                says.kind_of_group = (!wants.kind.is_empty()).then_some(kind);
            }
            Self::Leave | Self::Cancel => {}
            Self::Beat { epoch } => says.epoch = *epoch,
            Self::Send(send) => {
                says.to = match send.to {
                    To::All => None,
                    To::Leader => Some("leader"),
                    To::Member => Some("member"),
                };
                to_member(&mut says, send.member.as_ref());
                says.epoch = send.epoch;
                says.sent = send.sent.map(|sent| sent.0);
                body = send.body.frames();
            }
            Self::Resign { epoch, to } => {
                says.epoch = Some(*epoch);
                to_member(&mut says, to.as_ref());
            }
            Self::Open(open) => {
                says.poll = Some(open.poll.as_bytes());
                says.kind = Some(open.rule.as_str());
                says.timeout = open.timeout.map(millis);
                match open.when {
                    None => {}
                    Some(When::At(when)) => says.when = Some(when.0),
                    Some(When::In(time)) => says.within = Some(micros(time)),
                }
                says.error = open.error.map(micros);
                body = open.topic.frames();
            }
            Self::Vote { poll, vote, error } => {
                says.poll = Some(poll.as_bytes());
                says.vote = Some(vote.as_str());
                says.error = error.map(micros);
            }
            Self::Result(poll) => says.poll = Some(poll.as_bytes()),
            Self::Outcome { poll, outcome } => {
                says.poll = Some(poll.as_bytes());
                says.outcome = Some(outcome.as_str());
            }
        }
        Group { id, says, body }.encode(out);
    }
}

fn to_member<'a>(says: &mut GroupHeader<'a>, to: Option<&'a Recipient>) {
    says.member = to.map(|to| &*to.name);
    says.incarnation = to.and_then(|to| to.incarnation);
}
