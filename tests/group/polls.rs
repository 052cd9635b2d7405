//! Polls on values: decided as soon as they are, counted once, and always answered.

use std::time::Instant;

use majordomo::group::{
    Event, GroupError, GroupKind, PollId, PollResult, Polls, Reason, Status, Vote,
};
use serde::{Deserialize, Serialize};

use super::house::{House, Member, PATIENCE, led, ms};
use super::relay::Relay;

impl Member {
    /// Votes so in every poll from now on; gives the results that it hears.
    fn votes(mut self, vote: Option<Vote>) -> tokio::sync::mpsc::Receiver<PollResult> {
        let (heard, results) = tokio::sync::mpsc::channel(100);
        tokio::spawn(async move {
            while let Some(event) = self.events.next().await {
                match (event, vote) {
                    (Event::VoteRequest(ballot), Some(vote)) if ballot.is_elector() => {
                        let _ = ballot.vote(vote).await;
                    }
                    (Event::VoteResult(result), _) => {
                        let _ = heard.try_send(result);
                    }
                    _ => {}
                }
            }
        });
        results
    }

    async fn asked(&mut self) -> majordomo::group::Ballot {
        self.until(|event| match event {
            Event::VoteRequest(ballot) => Some(ballot),
            _ => None,
        })
        .await
    }
}

/// Three members, the first of which leads and asks.
async fn three(house: &House, kind: impl Fn() -> GroupKind) -> [Member; 3] {
    let anna = house.member("anna", kind()).await;
    let bert = house.member("bert", kind()).await;
    let cleo = house.member("cleo", kind()).await;
    anna.group.leader_known().await.unwrap();
    [anna, bert, cleo]
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Course {
    degrees: u16,
    fast: bool,
}

#[tokio::test]
async fn a_majority_decides_and_nobody_waits_for_the_rest() {
    let house = House::new();
    let [anna, mut bert, cleo] = three(&house, led).await;
    let mut silent = cleo.votes(None);
    let group = anna.group.clone();
    let course = Course { degrees: 270, fast: true };
    let poll = group.poll_value(&course).unwrap().timeout(PATIENCE);
    let begin = Instant::now();
    let opened = tokio::spawn(poll.open());
    let ballot = bert.asked().await;
    assert_eq!(ballot.decode::<Course>().unwrap(), course);
    assert_eq!((ballot.by().name(), ballot.electorate()), ("anna", 3));
    ballot.vote(Vote::Yes).await.unwrap();
    group.vote(ballot.id(), Vote::Yes).await.unwrap();
    let result = opened.await.unwrap().unwrap();
    assert!(begin.elapsed() < PATIENCE);
    assert_eq!((result.status, result.yes, result.electorate), (Status::Yes, 2, 3));
    assert_eq!(result.epoch, group.leader().map(|leader| leader.epoch));
    // All hear the same.
    assert_eq!(silent.recv().await.unwrap(), result);
    assert_eq!(bert.group.result(ballot.id()).await, Ok(Some(result)));
    let unknown = PollId::new("never").unwrap();
    assert_eq!(bert.group.result(&unknown).await, Err(GroupError::PollOver));
}

#[tokio::test]
async fn votes_count_once_and_are_not_changed() {
    let house = House::new();
    let [anna, mut bert, _cleo] = three(&house, led).await;
    let (group, id) = (anna.group.clone(), PollId::new("north").unwrap());
    let open = |topic: &'static str| group.poll(topic).id(id.clone()).timeout(PATIENCE).open();
    let (one, same) = (tokio::spawn(open("north?")), tokio::spawn(open("north?")));
    let ballot = bert.asked().await;
    assert_eq!(bert.group.result(&id).await, Ok(None), "it is open");
    for _ in 0..3 {
        ballot.vote(Vote::No).await.unwrap();
    }
    assert_eq!(ballot.vote(Vote::Yes).await, Err(GroupError::VoteChanged));
    // Another poll of that name is none, whoever opens it; the same one is, of the same principal.
    assert_eq!(open("south?").await, Err(GroupError::PollTaken));
    let other = bert.group.poll("south?").id(id.clone()).open().await;
    assert_eq!(other, Err(GroupError::PollTaken));
    let other = tokio::spawn(bert.group.poll("north?").id(id.clone()).open());
    // A newcomer is told of it later, and has no vote.
    let dora = house.member("dora", led()).await;
    let stranger = dora.group.vote(&id, Vote::No).await;
    assert!(matches!(stranger, Err(GroupError::NotMember { .. })), "{stranger:?}");
    group.vote(&id, Vote::No).await.unwrap();
    let result = one.await.unwrap().unwrap();
    assert_eq!(same.await.unwrap().unwrap(), result);
    assert_eq!(other.await.unwrap().unwrap(), result);
    assert_eq!((result.status, result.yes, result.no, result.electorate), (Status::No, 0, 2, 3));
    assert_eq!(ballot.vote(Vote::Yes).await, Err(GroupError::PollOver));
    // Whoever opens it again has its result.
    assert_eq!(open("north?").await, Ok(result));
}

#[tokio::test]
async fn a_unanimous_poll_fails_with_the_first_no_and_abstaining_is_none() {
    let house = House::new();
    let [anna, bert, cleo] = three(&house, led).await;
    let group = anna.group.clone();
    let _ = (anna.votes(Some(Vote::Yes)), bert.votes(Some(Vote::Yes)));
    let _ = cleo.votes(Some(Vote::Abstain));
    let open = || group.poll("all of us?").unanimous().timeout(PATIENCE).open();
    let result = open().await.unwrap();
    assert_eq!((result.status, result.yes, result.abstain), (Status::Yes, 2, 1));
    let dora = house.member("dora", led()).await;
    let _ = dora.votes(Some(Vote::No));
    let result = open().await.unwrap();
    assert_eq!((result.status, result.no, result.electorate), (Status::No, 1, 4));
}

#[tokio::test]
async fn who_is_silent_lets_the_time_run_out() {
    let house = House::new();
    let [anna, mut bert, _cleo] = three(&house, led).await;
    let group = anna.group.clone();
    let opened = tokio::spawn(group.poll("?").timeout(ms(300)).open());
    bert.asked().await.vote(Vote::Yes).await.unwrap();
    let result = opened.await.unwrap().unwrap();
    assert_eq!((result.status, result.yes, result.electorate), (Status::Timeout, 1, 3));
}

#[tokio::test]
async fn who_leaves_without_a_vote_takes_the_majority_with_it() {
    let house = House::new();
    let [anna, mut bert, cleo] = three(&house, || led().expected_size(4)).await;
    let group = anna.group.clone();
    let opened = tokio::spawn(group.poll("?").timeout(PATIENCE).open());
    bert.asked().await.vote(Vote::Yes).await.unwrap();
    cleo.group.leave().await.unwrap();
    // Of four, three would have to say yes, and two are left.
    let result = opened.await.unwrap().unwrap();
    assert_eq!((result.status, result.yes, result.electorate), (Status::NoQuorum, 1, 4));
}

#[tokio::test]
async fn a_new_leader_aborts_open_polls_or_takes_them_over() {
    for polls in [Polls::Aborted, Polls::Durable] {
        let house = House::new();
        let [anna, mut bert, mut cleo] = three(&house, || led().polls(polls)).await;
        let group = bert.group.clone();
        let opened = tokio::spawn(group.poll("?").timeout(PATIENCE).open());
        let (own, ballot) = (bert.asked().await, cleo.asked().await);
        let before = bert.group.leader().unwrap().epoch;
        anna.group.resign().await.unwrap();
        bert.until_led_by("bert").await;
        if polls == Polls::Durable {
            own.vote(Vote::Yes).await.unwrap();
            ballot.vote(Vote::Yes).await.unwrap();
        }
        let result = opened.await.unwrap().unwrap();
        match polls {
            Polls::Aborted => {
                assert_eq!(result.status, Status::Aborted);
                assert_eq!(result.reason, Some(Reason::LeaderChanged));
            }
            Polls::Durable => {
                assert_eq!(result.status, Status::Yes);
                assert!(result.epoch.unwrap() > before);
            }
        }
    }
}

#[tokio::test]
async fn whoever_has_opened_a_poll_hears_of_it_over_the_next_connection() {
    let house = House::new();
    for member in three(&house, led).await {
        let _ = member.votes(Some(Vote::Yes));
    }
    let relay = Relay::slow(&house.endpoint, ms(0), ms(50)).await;
    let groups = majordomo::group::Groups::builder(&relay.endpoint).unwrap();
    let groups = groups.backoff(ms(5), ms(50)).connect().await.unwrap();
    let far = Member::join(groups, "dora", led()).await;
    far.group.leader_known().await.unwrap();
    let group = far.group.clone();
    let opened = tokio::spawn(group.poll("?").timeout(PATIENCE).open());
    // The answer is on its way back for a while.
    tokio::time::sleep(ms(25)).await;
    relay.cut();
    let result = opened.await.unwrap().unwrap();
    assert_eq!((result.status, result.yes, result.electorate), (Status::Yes, 3, 4));
}

#[tokio::test]
async fn whoever_has_no_name_hears_of_its_poll_over_the_next_connection_too() {
    let house = House::new();
    let [mut anna, mut bert, mut cleo] = three(&house, led).await;
    let relay = Relay::to(&house.endpoint).await;
    let groups = majordomo::group::Groups::builder(&relay.endpoint).unwrap();
    let groups = groups.backoff(ms(5), ms(50)).connect().await.unwrap();
    let nameless = groups.group(super::house::GROUP).join().await.unwrap();
    let before = nameless.id().unwrap();
    nameless.leader_known().await.unwrap();
    let opened = tokio::spawn(nameless.poll("?").timeout(PATIENCE).open());
    let ballots = [bert.asked().await, cleo.asked().await];
    relay.cut();
    // It comes back under another name, and asks again, before anybody has voted.
    bert.until(|event| match event {
        Event::MemberJoined { member, .. } => member.name().starts_with('~').then_some(()),
        _ => None,
    })
    .await;
    while nameless.id().is_none_or(|now| now == before) {
        tokio::time::sleep(ms(5)).await;
    }
    for ballot in ballots {
        ballot.vote(Vote::Yes).await.unwrap();
    }
    anna.asked().await.vote(Vote::Yes).await.unwrap();
    let result = opened.await.unwrap().unwrap();
    assert_eq!((result.status, result.yes, result.electorate), (Status::Yes, 3, 4));
}

#[tokio::test]
async fn without_a_broker_there_is_an_answer_too() {
    let house = House::new();
    let relay = Relay::slow(&house.endpoint, ms(0), ms(0)).await;
    let builder = majordomo::group::Groups::builder(&relay.endpoint).unwrap();
    let groups = builder.timeout(ms(500)).connect().await.unwrap();
    let anna = Member::join(groups, "anna", led()).await;
    let _bert = house.member("bert", led()).await;
    anna.group.leader_known().await.unwrap();
    let group = anna.group.clone();
    let opened = tokio::spawn(group.poll("?").timeout(ms(300)).open());
    tokio::time::sleep(ms(50)).await;
    relay.close();
    let answer = opened.await.unwrap();
    assert_eq!(answer, Err(GroupError::NoResult { after: ms(800) }));
    let apart = group.send("x").await;
    assert!(matches!(apart, Err(GroupError::Apart { .. })), "{apart:?}");
    assert!(!group.is_leader() && group.id().is_none());
}
