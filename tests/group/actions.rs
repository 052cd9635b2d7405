//! Timed actions: by one clock, not early, once, and not without a yes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use majordomo::group::{
    ActionBallot, Event, GroupError, Groups, Outcome, Outcomes, PollResult, Status, Vote,
};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::house::{House, Member, PATIENCE, led, ms};
use super::relay::Relay;

/// What a member did.
#[derive(Debug)]
enum Did {
    /// It has begun an action at that moment.
    Acted(&'static str, Instant),
    /// It could not agree.
    Declined(&'static str, GroupError),
}

impl Member {
    /// Agrees to every action, and tells when it does it.
    fn obeys(mut self, name: &'static str, did: mpsc::Sender<Did>) -> mpsc::Receiver<Outcomes> {
        let (heard, outcomes) = mpsc::channel(10);
        tokio::spawn(async move {
            while let Some(event) = self.events.next().await {
                match event {
                    Event::ActionVoteRequest(ballot) => agree(&ballot, name, &did).await,
                    // Not everybody is asked for them.
                    Event::Outcomes(all) => drop(heard.send(all).await),
                    _ => {}
                }
            }
        });
        outcomes
    }
}

async fn agree(ballot: &ActionBallot, name: &'static str, did: &mpsc::Sender<Did>) {
    let to = did.clone();
    let action = move || async move {
        let now = Instant::now();
        to.send(Did::Acted(name, now)).await.map_err(|_| "nobody is there")
    };
    // However busy the machine is.
    let patient = ballot.clone().lateness(ms(10_000));
    if let Err(error) = patient.yes(action).await {
        did.send(Did::Declined(name, error)).await.unwrap();
    }
}

/// A member whose way to the broker takes so long.
async fn far(house: &House, name: &str, there: Duration, back: Duration) -> Member {
    let relay = Relay::slow(&house.endpoint, there, back).await;
    let groups = Groups::connect(&relay.endpoint).await.unwrap();
    let member = Member::join(groups, name, led()).await;
    // The way stays as long as the test does.
    std::mem::forget(relay);
    member
}

#[tokio::test]
async fn all_act_at_one_moment_however_lopsided_their_ways_are() {
    let house = House::new();
    let (did, mut doing) = mpsc::channel(100);
    let anna = house.member("anna", led()).await;
    let bert = far(&house, "bert", ms(0), ms(40)).await;
    let cleo = far(&house, "cleo", ms(40), ms(0)).await;
    anna.group.leader_known().await.unwrap();
    let errors: Vec<_> = [&anna, &bert, &cleo]
        .map(|member| member.group.clock().unwrap().error)
        .into_iter()
        .collect();
    assert!(errors[1] >= ms(20) && errors[2] >= ms(20), "{errors:?}");
    let group = anna.group.clone();
    let mut outcomes = anna.obeys("anna", did.clone());
    let _ = (bert.obeys("bert", did.clone()), cleo.obeys("cleo", did));
    let (asked, after) = (Instant::now(), ms(1500));
    let reading = group.clock().unwrap();
    let poll = group.poll_action("brake", ms(0)).at(reading.now.after(after)).timeout(ms(1000));
    let result = poll.open().await.unwrap();
    assert_eq!((result.status, result.yes), (Status::Yes, 3), "{result:?}");
    // By our own clock, as well as that is known.
    let moment = asked + after;
    for _ in 0..3 {
        let did = timeout(PATIENCE, doing.recv()).await.unwrap().unwrap();
        let Did::Acted(name, at) = did else { panic!("{did:?}") };
        assert!(at + reading.error >= moment, "{name} was {:?} early", moment - at);
        let late = at.saturating_duration_since(moment);
        assert!(late < ms(2000), "{name} was {late:?} late");
    }
    let all = timeout(PATIENCE, outcomes.recv()).await.unwrap().unwrap();
    let done = all.members.iter().map(|(member, outcome)| (member.name(), *outcome));
    let expected = ["anna", "bert", "cleo"].map(|name| (name, Outcome::Done));
    assert_eq!(done.collect::<Vec<_>>(), expected);
    assert!(doing.try_recv().is_err(), "nobody acts twice");
}

#[tokio::test]
async fn who_does_not_know_the_clock_well_enough_votes_no_and_nobody_acts() {
    let house = House::new();
    let (did, mut doing) = mpsc::channel(100);
    let anna = house.member("anna", led()).await;
    let bert = far(&house, "bert", ms(0), ms(60)).await;
    anna.group.leader_known().await.unwrap();
    let group = anna.group.clone();
    let _ = (anna.obeys("anna", did.clone()), bert.obeys("bert", did));
    let poll = group.poll_action("brake", ms(1500)).timeout(ms(1000)).clock_error(ms(25));
    let result = poll.open().await.unwrap();
    assert_eq!((result.status, result.no), (Status::No, 1), "{result:?}");
    tokio::time::sleep(ms(1800)).await;
    let mut did = Vec::new();
    while let Ok(one) = doing.try_recv() {
        did.push(one);
    }
    let [Did::Declined("bert", GroupError::Clock { error, wanted })] = did.as_slice() else {
        panic!("{did:?}")
    };
    assert!(error > wanted && *wanted == ms(25));
}

#[tokio::test]
async fn an_action_that_could_not_be_known_in_time_is_refused() {
    let house = House::new();
    let anna = house.member("anna", led()).await;
    let _bert = house.member("bert", led()).await;
    anna.group.leader_known().await.unwrap();
    let poll = anna.group.poll_action("brake", ms(1000)).timeout(ms(1000));
    assert!(matches!(poll.open().await, Err(GroupError::TooLate { .. })));
}

#[tokio::test]
async fn what_fails_is_told_and_a_yes_without_an_action_is_a_no() {
    let house = House::new();
    let mut anna = house.member("anna", led()).await;
    let mut bert = house.member("bert", led()).await;
    anna.group.leader_known().await.unwrap();
    let group = anna.group.clone();
    let open = || {
        let poll = group.poll_action("brake", ms(900)).timeout(ms(500));
        // A clock has to be known at all.
        poll.clock_error(ms(10_000)).open()
    };
    let asked = |member: Event| match member {
        Event::ActionVoteRequest(ballot) => Some(ballot.lateness(ms(10_000))),
        _ => None,
    };
    let result = tokio::spawn(open());
    let (one, other) = (anna.until(asked).await, bert.until(asked).await);
    let begun = Arc::new(AtomicU32::new(0));
    let count = |begun: &Arc<AtomicU32>, fails: bool| {
        let begun = begun.clone();
        move || async move {
            begun.fetch_add(1, Ordering::SeqCst);
            if fails { Err("the brake is broken") } else { Ok(()) }
        }
    };
    one.yes(count(&begun, true)).await.unwrap();
    // Who agrees twice does what it has said first.
    one.yes(count(&begun, true)).await.unwrap();
    other.yes(count(&begun, false)).await.unwrap();
    assert!(result.await.unwrap().unwrap().is_yes());
    let all = bert.until(|event| match event {
        Event::Outcomes(all) => Some(all),
        _ => None,
    });
    let all = all.await;
    let of = all.members.iter().map(|(member, outcome)| (member.name(), *outcome));
    assert_eq!(of.collect::<Vec<_>>(), [("anna", Outcome::Failed), ("bert", Outcome::Done)]);
    assert_eq!(begun.load(Ordering::SeqCst), 2);
    // Once more: a yes that says nothing of what is to be done.
    let result = tokio::spawn(open());
    let (one, other) = (anna.until(asked).await, bert.until(asked).await);
    other.yes(count(&begun, false)).await.unwrap();
    let bare = group.vote(one.id(), Vote::Yes).await;
    assert_eq!(bare, Err(GroupError::NeedsAction));
    let PollResult { status, no, .. } = result.await.unwrap().unwrap();
    assert_eq!((status, no), (Status::No, 1));
    tokio::time::sleep(ms(1000)).await;
    assert_eq!(begun.load(Ordering::SeqCst), 2, "nobody acts without a yes");
}
