//! What a member does when something happens: the handlers of RIAPS.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::ballot::{ActionBallot, Ballot};
use super::event::{Event, Gap, GroupMessage, Outcome, Outcomes, Parted, PollResult, To};
use super::member::Group;
use super::words::{Leader, MemberId, PollId, Reason, View};

/// What a member does when something happens. Each of them does nothing unless it is written; the
/// first ten have the names that they have in RIAPS, without `handle`.
///
/// They are called one after the other, in the order in which the group sees what happens, and
/// the next one when the one before has returned. So one that waits for the result of a poll, or
/// for anything else that another one is to do, has to spawn that.
///
/// Each incarnation joins and leaves once for a handler, over lost connections too: who has gone
/// meanwhile has left ([`Reason::Other`] `"unseen"`) when this member has joined again.
///
/// ```
/// use majordomo::group::{ActionBallot, Ballot, Group, GroupMessage, Handler, Vote};
///
/// struct Escort;
///
/// impl Handler for Escort {
///     async fn group_message(&mut self, _: &Group, message: GroupMessage) {
///         println!("{}: {:?}", message.from, message.body);
///     }
///
///     async fn vote_request(&mut self, _: &Group, ballot: Ballot) {
///         let _ = ballot.vote(Vote::Yes).await;
///     }
///
///     async fn action_vote_request(&mut self, _: &Group, ballot: ActionBallot) {
///         let brake = || async { Ok::<_, std::io::Error>(println!("braking")) };
///         if let Err(error) = ballot.yes(brake).await {
///             eprintln!("not me: {error}");
///         }
///     }
/// }
/// ```
#[expect(unused_variables, reason = "the bodies that are here do nothing")]
pub trait Handler: Send {
    /// A message to all members.
    fn group_message(
        &mut self,
        group: &Group,
        message: GroupMessage,
    ) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// A message to the leader, which this member is, or was when the broker took it. Answer with
    /// [`Group::send_to_member`] and `&message.from`.
    fn message_to_leader(
        &mut self,
        group: &Group,
        message: GroupMessage,
    ) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// A message of the leader to this member.
    fn message_from_leader(
        &mut self,
        group: &Group,
        message: GroupMessage,
    ) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// Members are asked about something: vote, if this one [may](Ballot::is_elector).
    fn vote_request(&mut self, group: &Group, ballot: Ballot) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// Members are asked whether they will do something at a moment.
    fn action_vote_request(
        &mut self,
        group: &Group,
        ballot: ActionBallot,
    ) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// A poll has ended, of whomever.
    fn vote_result(
        &mut self,
        group: &Group,
        result: PollResult,
    ) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// A member is there: this one too, and those that it has found.
    fn member_joined(
        &mut self,
        group: &Group,
        member: MemberId,
    ) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// A member has left.
    fn member_left(
        &mut self,
        group: &Group,
        member: MemberId,
        reason: Reason,
    ) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// Somebody leads from now on: this member too, perhaps.
    fn leader_elected(&mut self, group: &Group, leader: Leader) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// Somebody leads no more.
    fn leader_exited(
        &mut self,
        group: &Group,
        leader: Leader,
        reason: Reason,
    ) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// A message of another member that does not lead, to this one.
    fn member_message(
        &mut self,
        group: &Group,
        message: GroupMessage,
    ) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// A member is silent for too long, or has said something again.
    fn member_suspect(
        &mut self,
        group: &Group,
        member: MemberId,
        suspect: bool,
    ) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// This member has joined, for the first time or again. It is called before
    /// [`Self::member_joined`] is for who is there.
    fn joined(&mut self, group: &Group, view: &View) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// This is no member now.
    fn parted(&mut self, group: &Group, parted: Parted) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// Something was dropped here.
    fn gap(&mut self, group: &Group, gap: Gap) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// What has become of an action here.
    fn acted(
        &mut self,
        group: &Group,
        poll: PollId,
        outcome: Outcome,
    ) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// What has become of an action everywhere.
    fn outcomes(&mut self, group: &Group, outcomes: Outcomes) -> impl Future<Output = ()> + Send {
        async {}
    }
}

/// Tells a handler of all that happens.
pub(super) async fn run(group: &Group, handler: impl Handler) -> Parted {
    let mut events = group.events();
    let mut caller = Caller { group, handler, members: BTreeSet::new(), leader: None };
    while let Some(event) = events.next().await {
        if let Some(parted) = caller.call(event).await {
            return parted;
        }
    }
    Parted::Left
}

/// A handler, and what it has been told.
struct Caller<'a, H> {
    group: &'a Group,
    handler: H,
    members: BTreeSet<MemberId>,
    leader: Option<Leader>,
}

impl<H: Handler> Caller<'_, H> {
    /// Tells of one event; why it was the last one, if it was.
    async fn call(&mut self, event: Event) -> Option<Parted> {
        let (group, handler) = (self.group, &mut self.handler);
        match event {
            Event::Joined(view) => self.joined(view).await,
            Event::Parted(parted) => {
                let last = parted.is_final().then(|| parted.clone());
                handler.parted(group, parted).await;
                return last;
            }
            Event::MemberJoined { member, .. } => self.member_joined(member).await,
            Event::MemberSuspect { member, .. } => {
                handler.member_suspect(group, member, true).await
            }
            Event::MemberAlive { member, .. } => handler.member_suspect(group, member, false).await,
            Event::MemberLeft { member, reason, .. } => self.member_left(member, reason).await,
            Event::LeaderElected(leader) => self.leader_elected(leader).await,
            Event::LeaderExited { leader, reason } => self.leader_exited(leader, reason).await,
            Event::Message(message) => match message.to {
                To::All => handler.group_message(group, message).await,
                To::Leader => handler.message_to_leader(group, message).await,
                To::Member if message.epoch.is_some() => {
                    handler.message_from_leader(group, message).await;
                }
                To::Member => handler.member_message(group, message).await,
            },
            Event::Gap(gap) => handler.gap(group, gap).await,
            Event::VoteRequest(ballot) => handler.vote_request(group, ballot).await,
            Event::ActionVoteRequest(ballot) => handler.action_vote_request(group, ballot).await,
            Event::VoteResult(result) => handler.vote_result(group, result).await,
            Event::Acted { poll, outcome } => handler.acted(group, poll, outcome).await,
            Event::Outcomes(outcomes) => handler.outcomes(group, outcomes).await,
        }
        None
    }

    async fn joined(&mut self, view: Arc<View>) {
        self.handler.joined(self.group, &view).await;
        let unseen = || Reason::Other("unseen".into());
        let there: BTreeSet<_> = view.members.iter().map(|peer| peer.member.clone()).collect();
        let gone: Vec<_> = self.members.difference(&there).cloned().collect();
        if let Some(leader) = self.leader.clone()
            && view.leader.as_ref() != Some(&leader)
        {
            self.leader_exited(leader, unseen()).await;
        }
        for member in gone {
            self.member_left(member, unseen()).await;
        }
        for peer in &view.members {
            self.member_joined(peer.member.clone()).await;
        }
        if let Some(leader) = view.leader.clone() {
            self.leader_elected(leader).await;
        }
    }

    async fn member_joined(&mut self, member: MemberId) {
        if self.members.insert(member.clone()) {
            self.handler.member_joined(self.group, member).await;
        }
    }

    async fn member_left(&mut self, member: MemberId, reason: Reason) {
        if self.members.remove(&member) {
            self.handler.member_left(self.group, member, reason).await;
        }
    }

    async fn leader_elected(&mut self, leader: Leader) {
        if self.leader.as_ref() != Some(&leader) {
            self.leader = Some(leader.clone());
            self.handler.leader_elected(self.group, leader).await;
        }
    }

    async fn leader_exited(&mut self, leader: Leader, reason: Reason) {
        if self.leader.take_if(|known| *known == leader).is_some() {
            self.handler.leader_exited(self.group, leader, reason).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Weak;
    use std::time::Duration;

    use tokio::sync::mpsc;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::config::MemberConfig;
    use crate::group::ballot::Asked;
    use crate::group::event::Status;
    use crate::group::groups::{Channel, Desk};
    use crate::group::member::Inner;
    use crate::group::shared::Shared;
    use crate::group::words::BrokerTime;
    use crate::proto::group::Rule;
    use crate::wire::Limits;
    use crate::wire::message::Message;

    /// Writes down by which name it was called, and with what.
    #[derive(Default)]
    struct Notes(Vec<String>);

    /// The first frame of a message.
    fn says(message: &GroupMessage) -> String {
        String::from_utf8_lossy(message.body.first()).into_owned()
    }

    /// Writes down what it is given.
    macro_rules! shown {
        ($($name:ident($what:ident: $kind:ty) $text:expr;)*) => {$(
            async fn $name(&mut self, _: &Group, $what: $kind) {
                self.0.push(format!("{} {}", stringify!($name), $text));
            }
        )*};
    }

    impl Handler for Notes {
        shown! {
            group_message(it: GroupMessage) says(&it);
            message_to_leader(it: GroupMessage) says(&it);
            message_from_leader(it: GroupMessage) says(&it);
            member_message(it: GroupMessage) says(&it);
            vote_request(it: Ballot) it.id();
            action_vote_request(it: ActionBallot) it.id();
            vote_result(it: PollResult) it.poll;
            member_joined(it: MemberId) it;
            leader_elected(it: Leader) format!("{} {}", it.member, it.epoch);
            joined(it: &View) it.number;
            parted(it: Parted) it;
            gap(it: Gap) it.messages;
            outcomes(it: Outcomes) it.poll;
        }

        async fn member_left(&mut self, _: &Group, member: MemberId, reason: Reason) {
            self.0.push(format!("member_left {member} {reason}"));
        }

        async fn leader_exited(&mut self, _: &Group, leader: Leader, reason: Reason) {
            self.0.push(format!("leader_exited {} {} {reason}", leader.member, leader.epoch));
        }

        async fn member_suspect(&mut self, _: &Group, member: MemberId, suspect: bool) {
            self.0.push(format!("member_suspect {member} {suspect}"));
        }

        async fn acted(&mut self, _: &Group, poll: PollId, outcome: Outcome) {
            self.0.push(format!("acted {poll} {}", outcome.as_str()));
        }
    }

    fn group() -> Group {
        let (commands, _) = mpsc::channel(1);
        let desk = Arc::new(Desk::new(Limits::default()));
        let ended = CancellationToken::new();
        let channel = Channel::new(MemberConfig::default(), commands, desk, ended);
        let shared = Arc::new(Shared::new(10, 1000));
        let (name, channel) = ("Escort.1".into(), Arc::new(channel));
        Group { inner: Arc::new(Inner { name, own: true, number: 1, shared, channel }) }
    }

    fn poll(name: &str) -> PollId {
        PollId::new(name).unwrap()
    }

    fn asked(name: &str) -> Asked {
        Asked {
            poll: poll(name),
            topic: Message::default(),
            rule: Rule::Majority,
            by: MemberId::new("anna", 1),
            epoch: None,
            timeout: Duration::ZERO,
            elector: true,
            electorate: 3,
        }
    }

    fn message(to: To, epoch: Option<u64>, body: &'static str) -> Event {
        let (from, body) = (MemberId::new("bert", 2), Message::from(body));
        let (seq, sent, taken, received) = (1, None, None, None);
        Event::Message(GroupMessage { from, to, epoch, body, seq, sent, taken, received })
    }

    fn result(name: &str) -> PollResult {
        PollResult {
            poll: poll(name),
            status: Status::Yes,
            rule: Rule::Majority,
            yes: 2,
            no: 0,
            abstain: 0,
            electorate: 3,
            epoch: None,
            when: None,
            reason: None,
        }
    }

    #[tokio::test]
    async fn each_of_the_seventeen_handlers_is_called_for_its_own() {
        let [anna, bert, cleo] = [("anna", 1), ("bert", 2), ("cleo", 3)]
            .map(|(name, incarnation)| MemberId::new(name, incarnation));
        let view = View { number: 7, own: anna.clone(), members: Vec::new(), leader: None };
        let leader = Leader { member: anna, epoch: 40 };
        let (ballot, action) = (asked("value"), asked("action"));
        let (when, lateness) = (BrokerTime(1), Duration::ZERO);
        let action =
            ActionBallot { group: Weak::new(), asked: action, when, error: None, lateness };
        let all = Outcomes { poll: poll("everywhere"), when: None, members: Vec::new() };
        let events = [
            Event::Joined(Arc::new(view)),
            Event::MemberJoined { member: bert.clone(), view: 8, size: 2 },
            Event::MemberSuspect { member: cleo.clone(), view: 9 },
            Event::MemberAlive { member: cleo, view: 10 },
            Event::MemberLeft { member: bert, reason: Reason::Expired, view: 11, size: 1 },
            Event::LeaderElected(leader.clone()),
            Event::LeaderExited { leader, reason: Reason::TooFew },
            message(To::All, Some(40), "to all"),
            message(To::Leader, None, "to the leader"),
            message(To::Member, Some(40), "from the leader"),
            message(To::Member, None, "from a member"),
            Event::Gap(Gap { messages: 5, others: 6 }),
            Event::VoteRequest(Ballot { group: Weak::new(), asked: ballot }),
            Event::ActionVoteRequest(action),
            Event::VoteResult(result("decided")),
            Event::Acted { poll: poll("here"), outcome: Outcome::Missed },
            Event::Outcomes(all),
            Event::Parted(Parted::Expired),
        ];
        let (group, handler) = (group(), Notes::default());
        let mut caller = Caller { group: &group, handler, members: BTreeSet::new(), leader: None };
        for event in events {
            assert_eq!(caller.call(event).await, None);
        }
        let told = [
            "joined 7",
            "member_joined bert#2",
            "member_suspect cleo#3 true",
            "member_suspect cleo#3 false",
            "member_left bert#2 expired",
            "leader_elected anna#1 40",
            "leader_exited anna#1 40 too_few",
            "group_message to all",
            "message_to_leader to the leader",
            "message_from_leader from the leader",
            "member_message from a member",
            "gap 5",
            "vote_request value",
            "action_vote_request action",
            "vote_result decided",
            "acted here missed",
            "outcomes everywhere",
            "parted the broker took this member for dead",
        ];
        assert_eq!(caller.handler.0, told);
        assert_eq!(caller.call(Event::Parted(Parted::Left)).await, Some(Parted::Left));
    }
}
