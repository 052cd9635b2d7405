//! A group as it is seen from outside.

use majordomo::group::{Event, GroupError, GroupKind, Groups, Observation, Sight};
use tokio::time::timeout;

use super::house::{GROUP, House, PATIENCE, led, ms};
use super::relay::Relay;

/// In words; how the group is without what kind it is.
fn words(sight: &Sight) -> String {
    match sight {
        Sight::Info(None) => "nobody".into(),
        Sight::Info(Some(info)) => {
            let members: Vec<_> = info.members.iter().map(|peer| peer.member.name()).collect();
            let leader = info.leader.as_ref().map_or("nobody", |leader| leader.member.name());
            format!("{} led by {leader}", members.join(" "))
        }
        Sight::Event(Event::MemberJoined { member, size, .. }) => {
            format!("{} joined of {size}", member.name())
        }
        Sight::Event(Event::MemberLeft { member, reason, .. }) => {
            format!("{} left: {reason}", member.name())
        }
        Sight::Event(Event::LeaderElected(leader)) => format!("{} leads", leader.member.name()),
        Sight::Event(Event::LeaderExited { leader, reason }) => {
            format!("{} does not lead: {reason}", leader.member.name())
        }
        Sight::Unknown => "unknown".into(),
        other => format!("{other:?}"),
    }
}

async fn next(seen: &mut Observation) -> Result<String, GroupError> {
    let sight = timeout(PATIENCE, seen.next()).await.expect("in time");
    sight.expect("it goes on").map(|sight| words(&sight))
}

async fn next_of<const N: usize>(seen: &mut Observation) -> [String; N] {
    let mut all = [const { String::new() }; N];
    for place in &mut all {
        *place = next(seen).await.unwrap();
    }
    all
}

#[tokio::test]
async fn who_is_no_member_sees_each_change_as_it_happens() {
    let house = House::new();
    let mut seen = house.connect().await.observe(GROUP).await.unwrap();
    assert_eq!(next(&mut seen).await.unwrap(), "nobody");
    let anna = house.member("anna", led()).await;
    let bert = house.member("bert", led()).await;
    let told = ["anna joined of 1", "bert joined of 2", "anna leads"];
    assert_eq!(next_of(&mut seen).await, told);
    anna.group.send("not for it").await.unwrap();
    bert.group.leave().await.unwrap();
    let told = ["bert left: said", "anna does not lead: too_few"];
    assert_eq!(next_of(&mut seen).await, told);
    // One that comes later is told first how things are.
    let mut late = house.connect().await.observe(GROUP).await.unwrap();
    assert_eq!(next(&mut late).await.unwrap(), "anna led by nobody");
    drop(late);
    drop(anna);
    assert_eq!(next(&mut seen).await.unwrap(), "anna left: said");
}

#[tokio::test]
async fn an_observer_looks_on_over_another_connection_and_knows_that_it_did_not_see() {
    let house = House::new();
    let relay = Relay::to(&house.endpoint).await;
    let groups = Groups::builder(&relay.endpoint).unwrap();
    let groups = groups.backoff(ms(5), ms(20)).connect().await.unwrap();
    let mut seen = groups.observe(GROUP).await.unwrap();
    assert_eq!(next(&mut seen).await.unwrap(), "nobody");
    let anna = house.member("anna", led()).await;
    assert_eq!(next(&mut seen).await.unwrap(), "anna joined of 1");
    relay.hold_up(true);
    relay.cut();
    assert_eq!(next(&mut seen).await.unwrap(), "unknown");
    let bert = house.member("bert", led()).await;
    anna.group.leader_known().await.unwrap();
    relay.hold_up(false);
    // Attempts to connect may have been under way.
    let now = loop {
        let now = next(&mut seen).await.unwrap();
        if now != "unknown" {
            break now;
        }
    };
    assert_eq!(now, "anna bert led by anna");
    bert.group.leave().await.unwrap();
    assert_eq!(next(&mut seen).await.unwrap(), "bert left: said");
    groups.close().await;
    let end = loop {
        match next(&mut seen).await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!((end, seen.next().await.is_none()), (GroupError::Closed, true));
}

#[tokio::test]
async fn who_may_not_look_is_told_so() {
    let house = House::with(|config| config.group.observers = 1);
    let groups = house.connect().await;
    let first = groups.observe(GROUP).await.unwrap();
    let mut second = groups.observe(GROUP).await.unwrap();
    let refused = next(&mut second).await.unwrap_err();
    assert!(matches!(refused, GroupError::Overloaded { .. }), "{refused}");
    assert!(second.next().await.is_none());
    let invalid = groups.observe("").await.unwrap_err();
    assert!(matches!(invalid, GroupError::Invalid { .. }), "{invalid}");
    // Who has gone looks no more: the next one may.
    drop(first);
    let kind = GroupKind::default().min_size(1);
    let _anna = house.member("anna", kind).await;
    let mut third = groups.observe(GROUP).await.unwrap();
    assert_eq!(next(&mut third).await.unwrap(), "anna led by nobody");
}
