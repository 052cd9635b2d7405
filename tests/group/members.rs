//! Joining, views, and what becomes of them when connections are lost.

use std::sync::{Arc, Mutex};

use majordomo::group::{
    BrokerTime, Event, Group, GroupError, GroupKind, GroupMessage, Handler, Leader, MemberId,
    Parted, Reason, View,
};

use super::house::{GROUP, House, Member, led, ms};
use super::relay::Relay;

#[tokio::test]
async fn all_members_see_the_same_views_under_the_same_numbers() {
    let house = House::new();
    let mut members = Vec::new();
    for name in ["anna", "bert", "cleo"] {
        members.push(house.member(name, GroupKind::default()).await);
    }
    for name in ["dora", "emil"] {
        let late = house.member(name, GroupKind::default()).await;
        late.group.leave().await.unwrap();
        assert_eq!((late.group.view(), late.group.size()), (None, 0));
    }
    let anna = members.remove(0);
    let gone = anna.group.id().unwrap();
    // The connection of one ends, with all that goes over it.
    anna.groups.close().await;
    let mut seen = Vec::new();
    for member in &mut members {
        let mut changes = Vec::new();
        loop {
            let (view, change) = match member.next().await {
                Event::MemberJoined { member, view, size } => (view, format!("+{member} {size}")),
                Event::MemberLeft { member, view, size, reason } => {
                    let last = member == gone;
                    changes.push((view, format!("-{member} {size} {reason}")));
                    if last {
                        break;
                    }
                    continue;
                }
                _ => continue,
            };
            changes.push((view, change));
        }
        assert!(changes.is_sorted_by(|one, next| one.0 + 1 == next.0), "{changes:?}");
        seen.push(changes);
    }
    // Each has seen what has happened since it was there.
    let (bert, cleo) = (&seen[0], &seen[1]);
    assert!(bert.ends_with(cleo), "{bert:?} {cleo:?}");
    let names = |member: &Member| {
        let view = member.group.view().unwrap();
        view.members.iter().map(|peer| peer.member.clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(&members[0]), names(&members[1]));
    assert_eq!(members[0].group.size(), 2);
}

#[tokio::test]
async fn the_same_group_is_the_same_object_and_several_go_over_one_connection() {
    let house = House::new();
    let groups = house.connect().await;
    let kind = || GroupKind::default().timed(true);
    let join = |member: &str| groups.group(GROUP).member(member).kind(kind()).join();
    let (one, same) = tokio::join!(join("anna"), join("anna"));
    let (one, same) = (one.unwrap(), same.unwrap());
    assert_eq!(one.id(), same.id());
    let other = join("bert").await.unwrap();
    assert_ne!(one.id(), other.id());
    let elsewhere = groups.group("Escort.2").member("anna").join().await.unwrap();
    assert_eq!((one.size(), elsewhere.size()), (2, 1));
    assert_eq!((one.name(), elsewhere.name()), (GROUP, "Escort.2"));
    assert!(one.kind().unwrap().timed);
    // What a second one relies on has to be so.
    let differs = groups.group(GROUP).member("anna").kind(GroupKind::default().min_size(5));
    assert!(matches!(differs.join().await, Err(GroupError::Conflict { .. })));
    let silent = groups.group(GROUP).member("anna").kind(kind()).own_messages(false);
    assert!(matches!(silent.join().await, Err(GroupError::Conflict { .. })));
    // The last one that holds it leaves with it.
    let id = same.id().unwrap();
    drop((one, same));
    let mut events = other.events();
    loop {
        match events.next().await.unwrap() {
            Event::MemberLeft { member, reason, .. } => {
                assert_eq!((member, reason), (id, Reason::Said));
                break;
            }
            _ => continue,
        }
    }
    let again = join("anna").await.unwrap();
    assert_ne!(again.id(), Some(MemberId::new("anna", 1)));
}

#[tokio::test]
async fn what_cannot_be_joined_is_refused_with_the_reason() {
    let house = House::new();
    let anna = house.member("anna", led()).await;
    let groups = house.connect().await;
    let taken = groups.group(GROUP).member("anna").join().await;
    assert!(matches!(taken, Err(GroupError::NameTaken { .. })), "{taken:?}");
    let conflict = groups.group(GROUP).kind(GroupKind::default().leader(false)).join().await;
    assert!(matches!(conflict, Err(GroupError::Conflict { .. })), "{conflict:?}");
    let times = GroupKind::default().heartbeat(ms(3000));
    let unfit = groups.group("Escort.9").kind(times).join().await;
    assert!(
        matches!(&unfit, Err(GroupError::Invalid { message }) if message.contains("heartbeat"))
    );
    for (group, member) in [("", "anna"), (&*"g".repeat(241), "anna"), ("g", &*"m".repeat(256))] {
        let refused = groups.group(group).member(member).join().await;
        assert!(matches!(refused, Err(GroupError::Invalid { .. })), "{refused:?}");
    }
    // Nobody was disturbed by that.
    assert_eq!(anna.group.size(), 1);
    // Who says no name is given one.
    let nameless = groups.group(GROUP).join().await.unwrap();
    assert!(nameless.id().unwrap().name().starts_with('~'));
}

#[tokio::test]
async fn a_lost_connection_ends_an_incarnation_and_the_next_one_begins_by_itself() {
    let house = House::new();
    let relay = Relay::slow(&house.endpoint, ms(0), ms(0)).await;
    let mut bert = house.member("bert", led()).await;
    let groups = majordomo::group::Groups::builder(&relay.endpoint).unwrap();
    let groups = groups.backoff(ms(5), ms(50)).connect().await.unwrap();
    let mut anna = Member::join(groups, "anna", led()).await;
    let first = anna.group.id().unwrap();
    anna.until_led_by("bert").await;
    for round in 0..3 {
        let before = anna.group.id().unwrap();
        relay.cut();
        let parted = anna.until(|event| match event {
            Event::Parted(parted) => Some(parted),
            _ => None,
        });
        let parted = parted.await;
        assert!(matches!(parted, Parted::Disconnected { .. }), "{round}: {parted:?}");
        let after = anna.until(|event| match event {
            Event::Joined(view) => Some(view.own.clone()),
            _ => None,
        });
        let after = after.await;
        assert!(after.incarnation() > before.incarnation(), "{before} {after}");
        assert_eq!(after.name(), "anna");
    }
    // The other one has seen each of them come and go once.
    let mut there = Vec::new();
    let last = anna.group.id().unwrap();
    while !there.ends_with(&[format!("+{last}")]) {
        match bert.next().await {
            Event::MemberJoined { member, .. } => there.push(format!("+{member}")),
            Event::MemberLeft { member, .. } => there.push(format!("-{member}")),
            _ => {}
        }
    }
    assert_eq!(there.len(), 7, "{there:?}");
    for pair in there.chunks(2).filter(|pair| pair.len() == 2) {
        assert_eq!(pair[0][1..], pair[1][1..], "{there:?}");
    }
    assert_eq!(there[0], format!("+{first}"));
    // And it talks on.
    bert.group.send_to_member(&last, "still there?").await.unwrap();
    let said = anna.until(|event| match event {
        Event::Message(message) => Some(message),
        _ => None,
    });
    assert_eq!(said.await.body.first(), b"still there?");
    let stale = bert.group.send_to_member(&first, "and you?").await;
    assert!(matches!(stale, Err(GroupError::NotMember { .. })), "{stale:?}");
}

/// Writes down what it is called for.
struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    fn note(&self, what: String) {
        self.0.lock().unwrap().push(what);
    }
}

impl Handler for Notes {
    async fn group_message(&mut self, _: &Group, message: GroupMessage) {
        self.note(format!("all {}", message.decode::<String>().unwrap()));
    }

    async fn message_to_leader(&mut self, group: &Group, message: GroupMessage) {
        self.note(format!("leader {}", message.decode::<String>().unwrap()));
        group.send_value_to_member(&message.from, "answer").await.unwrap();
    }

    async fn member_joined(&mut self, _: &Group, member: MemberId) {
        self.note(format!("+{}", member.name()));
    }

    async fn member_left(&mut self, _: &Group, member: MemberId, reason: Reason) {
        self.note(format!("-{} {reason}", member.name()));
    }

    async fn leader_elected(&mut self, group: &Group, leader: Leader) {
        let own = leader.member == group.id().unwrap();
        assert!(!own || group.is_leader(), "whoever is told that it leads, does");
        self.note(format!("leads {}", leader.member.name()));
    }

    async fn leader_exited(&mut self, _: &Group, leader: Leader, reason: Reason) {
        self.note(format!("exits {} {reason}", leader.member.name()));
    }

    async fn joined(&mut self, _: &Group, view: &View) {
        self.note(format!("joined {}", view.members.len()));
    }
}

#[tokio::test]
async fn a_handler_is_called_for_what_happens_in_its_order() {
    let house = House::new();
    let notes = Arc::new(Mutex::new(Vec::new()));
    let groups = house.connect().await;
    let anna = groups.group(GROUP).member("anna").kind(led()).join().await.unwrap();
    let handled = tokio::spawn({
        let (anna, notes) = (anna.clone(), Notes(notes.clone()));
        async move { anna.handle(notes).await }
    });
    let mut bert = house.member("bert", led()).await;
    bert.until_led_by("anna").await;
    bert.group.send_value("one").await.unwrap();
    bert.group.send_value_to_leader("two").await.unwrap();
    let answer = bert.until(|event| match event {
        Event::Message(message) if message.epoch.is_some() => Some(message),
        _ => None,
    });
    let answer = answer.await;
    assert_eq!(answer.decode::<String>().unwrap(), "answer");
    assert_eq!(answer.from, anna.id().unwrap());
    bert.group.leave().await.unwrap();
    while !notes.lock().unwrap().contains(&"-bert said".to_owned()) {
        tokio::time::sleep(ms(5)).await;
    }
    anna.leave().await.unwrap();
    assert_eq!(handled.await.unwrap(), Parted::Left);
    let notes = notes.lock().unwrap().clone();
    let begin = ["joined 1", "+anna", "+bert", "leads anna", "all one", "leader two"];
    assert_eq!(notes[..6], begin, "{notes:?}");
    assert!(notes.contains(&"exits anna too_few".to_owned()), "{notes:?}");
}

#[tokio::test]
async fn a_timed_group_says_when_by_one_clock() {
    let house = House::new();
    let kind = GroupKind::default().timed(true);
    let anna = house.member("anna", kind.clone()).await;
    let mut bert = house.member("bert", kind).await;
    anna.group.send("now").await.unwrap();
    let message = bert.until(|event| match event {
        Event::Message(message) => Some(message),
        _ => None,
    });
    let message = message.await;
    let (anna, bert) = (anna.group.clock().unwrap().error, bert.group.clock().unwrap().error);
    let slack = anna + bert + ms(1);
    let times = [message.sent, message.taken, message.received].map(Option::unwrap);
    let [sent, taken, received] = times;
    assert!(sent.0 <= taken.after(slack).0 && taken.0 <= received.after(slack).0, "{times:?}");
    assert!(received > BrokerTime(0));
}
