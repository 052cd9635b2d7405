//! What members say to each other.

use majordomo::group::{Event, Gap, GroupError, GroupKind, GroupMessage, To};

use super::house::{GROUP, House, Member, led};

impl Member {
    async fn heard(&mut self) -> GroupMessage {
        self.until(|event| match event {
            Event::Message(message) => Some(message),
            _ => None,
        })
        .await
    }
}

#[tokio::test]
async fn all_members_hear_all_in_one_order_and_each_sender_in_its_own() {
    const EACH: u32 = 100;
    let house = House::new();
    let mut members = Vec::new();
    for name in ["anna", "bert", "cleo"] {
        members.push(house.member(name, GroupKind::default()).await);
    }
    let senders: Vec<_> = members.iter().map(|member| member.group.clone()).collect();
    let talk = senders.into_iter().map(|group| async move {
        for number in 0..EACH {
            let ack = group.send_value(&number).await.unwrap();
            assert_eq!(ack.size, 3);
        }
    });
    let talk = tokio::spawn(futures::future::join_all(talk));
    let mut orders = Vec::new();
    for member in &mut members {
        let mut order = Vec::new();
        for _ in 0..3 * EACH {
            let message = member.heard().await;
            let number: u32 = message.decode().unwrap();
            order.push((message.seq, message.from.name().to_owned(), number));
        }
        assert!(order.is_sorted_by(|one, next| one.0 < next.0));
        for name in ["anna", "bert", "cleo"] {
            let own: Vec<_> = order.iter().filter(|it| it.1 == name).map(|it| it.2).collect();
            assert_eq!(own, (0..EACH).collect::<Vec<_>>());
        }
        orders.push(order);
    }
    talk.await.unwrap();
    assert!(orders.iter().all(|order| *order == orders[0]));
}

#[tokio::test]
async fn a_message_goes_to_whom_it_is_for() {
    let house = House::new();
    let mut anna = house.member("anna", led()).await;
    let mut bert = house.member("bert", led()).await;
    let groups = house.connect().await;
    let cleo = groups.group(GROUP).member("cleo").own_messages(false).join().await.unwrap();
    let epoch = anna.until_led_by("anna").await;
    assert_eq!(cleo.leader_known().await.unwrap().epoch, epoch);
    // All but itself, as it has joined without that.
    assert_eq!(cleo.send(["a", "b"]).await.unwrap().size, 2);
    let (at_anna, at_bert) = (anna.heard().await, bert.heard().await);
    assert_eq!((at_anna.to, at_anna.seq), (To::All, at_bert.seq));
    assert_eq!(at_anna.body.frames().collect::<Vec<_>>(), [b"a", b"b"]);
    assert_eq!(at_anna.epoch, None);
    assert_eq!(cleo.send_to_leader("to you").await.unwrap().size, 1);
    let asked = anna.heard().await;
    assert_eq!((asked.to, asked.body.first()), (To::Leader, &b"to you"[..]));
    // What a leader says has its epoch, whoever it is for.
    anna.group.send_to_member("bert", "from your leader").await.unwrap();
    let led = bert.heard().await;
    assert_eq!((led.to, led.epoch), (To::Member, Some(epoch)));
    cleo.send_to_member("bert", "between us").await.unwrap();
    assert_eq!(bert.heard().await.epoch, None);
    let stranger = cleo.send_to_member("dora", "hello?").await;
    assert!(matches!(stranger, Err(GroupError::NotMember { .. })), "{stranger:?}");
    let large = cleo.send(vec![0; 20 << 20]).await;
    assert!(matches!(large, Err(GroupError::TooBig { .. })), "{large:?}");
    let refused = cleo.send(vec![0; 2 << 20]).await;
    assert!(matches!(refused, Err(GroupError::Refused { .. })), "{refused:?}");
    // The connection has not suffered.
    cleo.send("still").await.unwrap();
    assert_eq!(bert.heard().await.body.first(), b"still");
}

#[tokio::test]
async fn where_nobody_leads_there_is_nobody_to_say_it_to() {
    let house = House::new();
    let alone = house.member("anna", led()).await;
    assert_eq!(alone.group.send_to_leader("x").await, Err(GroupError::NoLeader));
    assert_eq!(alone.group.poll("x").open().await, Err(GroupError::NoLeader));
    assert_eq!(alone.group.resign().await, Err(GroupError::NotLeading));
    let flat = alone.groups.group("Flat.1").join().await.unwrap();
    assert_eq!(flat.send_to_leader("x").await, Err(GroupError::NotCoordinated));
    assert_eq!(flat.poll("x").open().await, Err(GroupError::NotCoordinated));
    assert_eq!(flat.leader_known().await, Err(GroupError::NotCoordinated));
    // Without a leader it is a cheap way to tell all.
    assert_eq!(flat.send("x").await.unwrap().size, 1);
}

#[tokio::test]
async fn who_does_not_read_is_told_what_it_has_missed() {
    const SENT: u64 = 200;
    let house = House::new();
    let mut builder = house.builder();
    builder.config().events_max = 20;
    let groups = builder.connect().await.unwrap();
    let mut slow = Member::join(groups, "slow", GroupKind::default()).await;
    let fast = house.member("fast", GroupKind::default()).await;
    for number in 0..SENT {
        fast.group.send_value(&number).await.unwrap();
    }
    let (mut heard, mut missed) = (0, 0);
    while heard + missed < SENT {
        match slow.next().await {
            Event::Message(message) => {
                assert_eq!(message.decode::<u64>().unwrap(), heard + missed);
                heard += 1;
            }
            Event::Gap(Gap { messages, others: 0 }) => missed += messages,
            Event::Gap(gap) => panic!("{gap:?}"),
            _ => {}
        }
    }
    assert!(heard > 0 && missed > 0, "{heard} {missed}");
}

#[tokio::test]
async fn a_connection_that_is_not_read_costs_its_member_messages_and_not_its_place() {
    const SENT: u64 = 150;
    const SIZE: usize = 200 << 10;
    let house = House::with(|config| config.group.queue = 1 << 20);
    let slow = house.apart("slow", GroupKind::default());
    let fast = house.member("fast", GroupKind::default()).await;
    let (go, gone) = std::sync::mpsc::channel();
    let paused = slow.run(move |_, _| gone.recv().unwrap());
    let flood = async {
        for _ in 0..SENT {
            fast.group.send(vec![7; SIZE]).await.unwrap();
        }
        go.send(()).unwrap();
    };
    tokio::join!(paused, flood);
    let (heard, missed) = slow
        .run(|runtime, member| {
            runtime.block_on(async {
                let (mut heard, mut missed) = (0, 0);
                while heard + missed < SENT {
                    match member.next().await {
                        Event::Message(_) => heard += 1,
                        Event::Gap(gap) => missed += gap.messages,
                        Event::Parted(parted) => panic!("{parted}"),
                        _ => {}
                    }
                }
                (heard, missed)
            })
        })
        .await;
    assert!(missed > 0 && heard > 0, "{heard} {missed}");
    assert_eq!(fast.group.size(), 2);
}
