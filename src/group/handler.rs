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
