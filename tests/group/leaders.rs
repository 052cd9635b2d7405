//! One leader at a time: elected, lost, resigned, deposed.

use std::time::{Duration, Instant};

use majordomo::client::{CallError, Client};
use majordomo::group::{Event, Group, GroupError, GroupKind, Groups, MemberId, Reason, Vote};
use majordomo::lease::Seen;
use majordomo::wire::mjp::{AdminHeader, Verb};

use super::house::{GROUP, House, Member, PATIENCE, led, ms};
use super::relay::Relay;

impl Member {
    async fn until_exit(&mut self) -> (String, Reason) {
        self.until(|event| match event {
            Event::LeaderExited { leader, reason } => {
                Some((leader.member.name().to_owned(), reason))
            }
            _ => None,
        })
        .await
    }
}

#[tokio::test]
async fn the_next_one_leads_as_soon_as_the_connection_of_the_leader_ends() {
    let house = House::new();
    let anna = house.apart("anna", led());
    let mut bert = house.member("bert", led()).await;
    let mut cleo = house.member("cleo", led()).await;
    let before = bert.until_led_by("anna").await;
    let begin = Instant::now();
    anna.kill();
    let after = bert.until_led_by("bert").await;
    assert!(after > before);
    assert!(begin.elapsed() < Duration::from_secs(5), "that is no silence: {:?}", begin.elapsed());
    assert_eq!(cleo.until_exit().await, ("anna".into(), Reason::Closed));
    assert_eq!(cleo.until_led_by("bert").await, after);
    assert!(bert.group.is_leader() && !cleo.group.is_leader());
    assert_eq!(bert.group.leading().unwrap().epoch(), after);
}

#[tokio::test]
async fn a_leader_that_stands_still_leads_no_more_and_knows_it_when_it_goes_on() {
    let house = House::new();
    let kind = || {
        let kind = GroupKind::default().leader(true).ttl(ms(1000));
        kind.peer_timeout(ms(60_000)).election_max(ms(50_000)).election_min(ms(40_000))
    };
    let kind = || kind().heartbeat(ms(30_000));
    let anna = house.apart("anna", kind());
    let mut bert = house.member("bert", kind()).await;
    bert.until_led_by("anna").await;
    // It believes it as soon as its first beat is answered.
    let leading = loop {
        if let Some(leading) = anna.run(|_, member| member.group.leading()).await {
            break leading;
        }
        tokio::time::sleep(ms(5)).await;
    };
    let (go, gone) = std::sync::mpsc::channel();
    let paused = anna.run(move |_, member| {
        gone.recv().unwrap();
        // The first look behind the pause, before anything has been heard.
        member.group.is_leader()
    });
    let taken = async {
        let epoch = bert.until_led_by("bert").await;
        go.send(()).unwrap();
        epoch
    };
    let (believes, epoch) = tokio::join!(paused, taken);
    assert!(!believes, "it believes only until its lease is over");
    assert!(epoch > leading.epoch());
    // What it says as the leader that it was reaches nobody.
    let said = anna.run(move |runtime, _| {
        let said = runtime.block_on(leading.send("obey"));
        assert!(!leading.is_current());
        said
    });
    assert_eq!(said.await, Err(GroupError::NotLeading));
    let exited = anna.run(|runtime, member| runtime.block_on(member.until_exit()));
    assert_eq!(exited.await, ("anna".into(), Reason::Silent));
    bert.group.send("last").await.unwrap();
    let message = bert.until(|event| match event {
        Event::Message(message) => Some(message),
        _ => None,
    });
    assert_eq!(message.await.body.first(), b"last");
    // It is a member all the time.
    assert_eq!(bert.group.size(), 2);
}

#[tokio::test]
async fn a_leader_hands_over_to_who_is_next_or_to_whom_it_names() {
    let house = House::new();
    let mut anna = house.member("anna", led()).await;
    let mut bert = house.member("bert", led()).await;
    let mut cleo = house.member("cleo", led()).await;
    anna.until_led_by("anna").await;
    cleo.until_size(3).await;
    let nobody = anna.group.resign_to("dora").await;
    assert!(matches!(nobody, Err(GroupError::NotMember { .. })), "{nobody:?}");
    assert!(anna.group.is_leader(), "it goes on leading");
    anna.group.resign_to("cleo").await.unwrap();
    assert!(!anna.group.is_leader());
    cleo.until_led_by("cleo").await;
    assert!(cleo.group.is_leader());
    assert_eq!(bert.group.resign().await, Err(GroupError::NotLeading));
    cleo.group.leading().unwrap().resign().await.unwrap();
    // Who has been there for longest, and has not resigned since.
    let epoch = bert.until_led_by("bert").await;
    assert_eq!(anna.until_led_by("bert").await, epoch);
    assert_eq!(anna.group.leader(), bert.group.leader());
}

#[tokio::test]
async fn an_operator_has_a_leader_hand_over() {
    let house = House::new();
    let mut anna = house.member("anna", led()).await;
    let mut bert = house.member("bert", led()).await;
    anna.until_led_by("anna").await;
    let resign = |owner| AdminHeader { name: Some(GROUP), owner, ..AdminHeader::new(Verb::Resign) };
    let stranger = Client::connect(&house.endpoint).await.unwrap();
    let denied = stranger.admin(&resign(None)).await.unwrap_err();
    assert!(denied.to_string().starts_with("denied: "), "{denied}");
    let office = Client::connect(&house.office).await.unwrap();
    let nobody = office.admin(&resign(Some("cleo"))).await.unwrap_err();
    assert!(nobody.to_string().starts_with("not_member: "), "{nobody}");
    assert!(anna.group.is_leader());
    office.admin(&resign(Some("bert"))).await.unwrap();
    assert_eq!(anna.until_exit().await, ("anna".into(), Reason::Resigned));
    bert.until_led_by("bert").await;
    assert!(!anna.group.is_leader() && bert.group.is_leader());
    let unknown = AdminHeader { name: Some("Escort.7"), ..resign(None) };
    let unknown = office.admin(&unknown).await.unwrap_err();
    assert!(unknown.to_string().starts_with("not_found: "), "{unknown}");
}

#[tokio::test]
async fn with_fewer_than_min_size_nobody_leads() {
    let house = House::new();
    let kind = || led().min_size(3);
    let mut anna = house.member("anna", kind()).await;
    let _bert = house.member("bert", kind()).await;
    anna.until_size(2).await;
    assert!(!anna.group.has_leader());
    let cleo = house.member("cleo", kind()).await;
    anna.until_led_by("anna").await;
    assert!(anna.group.is_leader());
    cleo.group.leave().await.unwrap();
    assert_eq!(anna.until_exit().await, ("anna".into(), Reason::TooFew));
    assert!(!anna.group.is_leader() && !anna.group.has_leader());
}

#[tokio::test]
async fn what_groups_there_are_and_who_leads_them_is_seen_from_outside() {
    let house = House::new();
    let mut anna = house.member("anna", led()).await;
    let _bert = house.member("bert", led()).await;
    let epoch = anna.until_led_by("anna").await;
    let _flat = anna.groups.group("Flat.1").join().await.unwrap();
    let outside = house.connect().await;
    let rows = outside.list("").await.unwrap();
    let names: Vec<_> = rows.iter().map(|row| (&*row.group, row.size)).collect();
    assert_eq!(names, [(GROUP, 2), ("Flat.1", 1)]);
    assert_eq!((rows[0].leader.as_deref(), rows[0].epoch), (Some("anna"), Some(epoch)));
    assert_eq!(outside.list("Flat").await.unwrap().len(), 1);
    let info = outside.info(GROUP).await.unwrap().unwrap();
    assert_eq!(info.leader.unwrap().member, anna.group.id().unwrap());
    assert_eq!((info.members.len(), info.kind.leader), (2, true));
    assert_eq!(outside.info("Escort.7").await, Ok(None));
}

#[tokio::test]
async fn a_leader_has_a_fence_and_its_lease_is_seen_by_clients() {
    let house = House::new();
    let mut anna = house.member("anna", led()).await;
    let _bert = house.member("bert", led()).await;
    let epoch = anna.until_led_by("anna").await;
    let fence = anna.group.leading().unwrap().fence();
    assert_eq!((fence.lease(), fence.epoch()), ("$group.Escort.1", epoch));
    let client = Client::connect(&house.endpoint).await.unwrap();
    let asked = client.call("bank", ["1"]).fence(fence.clone()).timeout(ms(200)).await;
    assert!(!matches!(asked, Ok(_) | Err(CallError::Stale { .. })), "nobody offers it: {asked:?}");
    let mut seen = client.lease("$group.Escort.1").observe().unwrap();
    let held = |epoch, name: &str| {
        Some(Ok(Seen::Held { epoch, name: Some(name.into()), value: Vec::new() }))
    };
    assert_eq!(seen.next().await, held(epoch, "anna"));
    anna.group.resign().await.unwrap();
    let next = anna.until_led_by("bert").await;
    assert_eq!(seen.next().await, held(next, "bert"));
    let stale = client.call("bank", ["1"]).fence(fence).await;
    assert_eq!(stale, Err(CallError::Stale { current: Some(next) }));
    let rows = client.leases("$group.").await.unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].epoch, rows[0].name.as_deref()), (Some(next), Some("bert")));
}

#[tokio::test]
async fn members_come_back_to_a_broker_that_was_started_anew() {
    let mut house = House::new();
    let relay = Relay::to(&house.endpoint).await;
    let kind = || led().min_size(1).consensus_timeout(ms(15_000));
    let mut members = Vec::new();
    for name in ["anna", "bert", "cleo"] {
        let groups = Groups::builder(&relay.endpoint).unwrap().backoff(ms(5), ms(50));
        members.push(Member::join(groups.connect().await.unwrap(), name, kind()).await);
    }
    members[0].until_size(3).await;
    let before = members[1].until_led_by("anna").await;
    let ids: Vec<_> = members.iter().map(|it| it.group.id().unwrap()).collect();
    let opened = tokio::spawn(members[1].group.poll("?").open());
    for member in &mut members {
        let asks = |event| matches!(event, Event::VoteRequest(_)).then_some(());
        member.until(asks).await;
    }
    // Nobody hears what the old one says at its end, as if it had been killed.
    relay.hold_up(true);
    house.restart();
    relay.cut();
    relay.hold_up(false);
    let groups: Vec<_> = members.iter().map(|it| it.group.clone()).collect();
    for mut member in members {
        tokio::spawn(async move {
            while let Some(event) = member.events.next().await {
                if let Event::VoteRequest(ballot) = event {
                    let _ = ballot.vote(Vote::Yes).await;
                }
            }
        });
    }
    let back = async {
        let is_back = |(group, old): (&Group, &MemberId)| {
            let is_new = group.id().is_some_and(|now| now != *old);
            is_new && group.size() == 3 && group.has_leader()
        };
        // Who leads believes it when its first beat was answered.
        while !groups.iter().zip(&ids).all(is_back) || !groups.iter().any(Group::is_leader) {
            tokio::time::sleep(ms(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, back).await.expect("all are back");
    for (group, id) in groups.iter().zip(&ids) {
        let now = group.id().unwrap();
        assert!(now.name() == id.name() && now.incarnation() > id.incarnation(), "{now} {id}");
        let leader = group.leader().unwrap();
        assert!(leader.epoch > before, "{leader:?} behind {before}");
        assert_eq!(Some(leader), groups[0].leader());
    }
    assert_eq!(groups.iter().filter(|group| group.is_leader()).count(), 1);
    // It was opened again, by the same name for it.
    let result = opened.await.unwrap().unwrap();
    assert!(result.is_yes() && result.epoch.unwrap() > before, "{result:?}");
}

/// A flood both ways does not starve what keeps a group together.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_leads_on_under_a_flood_both_ways_and_nobody_is_suspect() {
    const FLOOD: Duration = ms(6_000);
    let house = House::new();
    // Shorter than the flood; long enough for a busy machine.
    let kind = || {
        let kind = GroupKind::default().leader(true).heartbeat(ms(2_000)).ttl(ms(4_000));
        kind.election_min(ms(5_000)).election_max(ms(6_000)).peer_timeout(ms(8_000))
    };
    let mut anna = house.member("anna", kind()).await;
    let bert = house.member("bert", kind()).await;
    let cleo = house.member("cleo", kind()).await;
    let epoch = anna.until_led_by("anna").await;
    anna.until_size(3).await;
    let groups = [anna.group.clone(), bert.group.clone(), cleo.group.clone()];
    let view = anna.group.view().unwrap().number;
    let until = tokio::time::Instant::now() + FLOOD;
    let mut senders = Vec::new();
    for group in groups.iter().flat_map(|group| std::iter::repeat_n(group, 8)) {
        let group = group.clone();
        senders.push(tokio::spawn(async move {
            let (mut sent, body) = (0_u64, vec![7; 1024]);
            while tokio::time::Instant::now() < until {
                // Who leads says it to all, as their leader; the others say it to who leads.
                let taken = match group.leading() {
                    Some(leading) => leading.send(body.clone()).await,
                    None => group.send_to_leader(body.clone()).await,
                };
                match taken {
                    Ok(_) => sent += 1,
                    Err(GroupError::Overloaded { .. }) => tokio::time::sleep(ms(1)).await,
                    Err(error) => panic!("{error}"),
                }
            }
            sent
        }));
    }
    let mut sent = 0;
    for sender in senders {
        sent += sender.await.unwrap();
    }
    assert!(sent > 1_000, "that is no flood: {sent}");
    for group in &groups {
        let now = group.view().expect("it is a member");
        assert_eq!(now.number, view, "nobody was suspect, and nobody has left: {now:?}");
        assert_eq!(now.leader.as_ref().map(|leader| leader.epoch), Some(epoch));
    }
    assert_eq!(anna.group.leading().map(|leading| leading.epoch()), Some(epoch));
}
