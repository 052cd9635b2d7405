//! SUBSCRIBE and PUBLISH at the desk: who hears what, and what is said of what was dropped.

use super::*;
use crate::id::Identity;
use crate::proto::policy::TopicLimits;
use crate::wire::mjp::{
    Fault, FromBroker, Packed, Publish, PublishHeader, StatusHeader, SubscribeHeader, ToBroker,
    What,
};

impl Desk {
    pub(super) fn subscribe(&mut self, peer: PeerId, id: u64, subject: &str) {
        self.mjp(peer, &ToBroker::Subscribe { id, says: SubscribeHeader { subject, ack: None } });
    }

    pub(super) fn publish(&mut self, peer: PeerId, id: u64, subject: &str, body: &str) {
        let says = PublishHeader::new(subject);
        let (header, body) = (Packed::new(&says), Message::new([body.as_bytes().to_vec()]));
        let (header, body) = (header.octets(), body.frames());
        self.mjp(peer, &ToBroker::Publish(Publish { id, header, says, body }));
    }

    /// What a peer was told since it was last asked.
    pub(super) fn news(&mut self, peer: PeerId) -> Vec<String> {
        let said = self.said.to.remove(peer).unwrap_or_default();
        let told = said.iter().map(|message| match FromBroker::decode(message.frames()).unwrap() {
            FromBroker::News(mut news) => {
                let says = news.says;
                let missed = says.missed.map(|missed| format!(" missed {missed}"));
                let from = says.identity.map(|name| format!(" from {}", name.escape_ascii()));
                let body = news.body.take_first().unwrap_or_default().escape_ascii().to_string();
                let (missed, from) = (missed.unwrap_or_default(), from.unwrap_or_default());
                format!("{} {} #{}{missed}{from}: {body}", news.id, says.subject, says.seq)
            }
            FromBroker::Gap { id, says } => format!("{id} gap {}", says.missed),
            FromBroker::Published { id, says } => format!("{id} for {}", says.subscriptions),
            FromBroker::Accepted { id, .. } => format!("{id} accepted"),
            FromBroker::Error(failure) => {
                let code = Fault::decode(failure.header).unwrap().code.to_owned();
                format!("{} {code}", failure.id)
            }
            other => panic!("{other:?}"),
        });
        told.collect()
    }
}

fn desk() -> Desk {
    Desk::new(ServicePolicy::default())
}

#[test]
fn a_publication_goes_to_each_subscription_that_means_it() {
    let mut desk = desk();
    let (one, other) = (desk.join(), desk.join());
    let identity = Identity::try_from(&b"oslo"[..]).ok();
    let hello = Hello { identity, ..Hello::default() };
    let station = desk.core.join(desk.now, hello, &mut desk.said).0;
    desk.subscribe(one, 1, "weather.*.wind");
    desk.subscribe(one, 2, "weather.>");
    desk.subscribe(other, 1, "weather.oslo.rain");
    desk.publish(station, 7, "weather.oslo.wind", "9 m/s");
    desk.publish(station, 0, "weather.oslo.rain", "none");
    desk.publish(station, 8, "news.oslo", "nobody hears it");
    assert_eq!(desk.news(station), ["7 for 2", "8 for 0"]);
    let heard = desk.news(one);
    assert_eq!(
        heard,
        [
            "1 weather.oslo.wind #1 from oslo: 9 m/s",
            "2 weather.oslo.wind #1 from oslo: 9 m/s",
            "2 weather.oslo.rain #2 from oslo: none"
        ]
    );
    assert_eq!(desk.news(other), ["1 weather.oslo.rain #1 from oslo: none"]);
    // Who has said that it wants no more, hears no more; who publishes may hear itself.
    desk.mjp(one, &ToBroker::Unsubscribe { id: 2 });
    desk.mjp(one, &ToBroker::Unsubscribe { id: 99 });
    desk.publish(one, 3, "weather.one.wind", "calm");
    assert_eq!(desk.news(one), ["1 weather.one.wind #2: calm", "3 for 1"]);
    desk.leave(one);
    desk.leave(other);
    desk.publish(station, 9, "weather.oslo.wind", "gone");
    assert_eq!(desk.news(station), ["9 for 0"]);
    assert_eq!((desk.core.topics().len(), desk.said.charged), (0, 0));
}

#[test]
fn who_wants_to_know_is_told_that_it_is_subscribed() {
    let mut desk = desk();
    let client = desk.join();
    let says = SubscribeHeader { subject: "a.>", ack: Some(true) };
    desk.mjp(client, &ToBroker::Subscribe { id: 1, says });
    desk.subscribe(client, 1, "b");
    assert_eq!(desk.news(client), ["1 accepted", "1 duplicate_id"]);
    // An id is free again behind UNSUBSCRIBE.
    desk.mjp(client, &ToBroker::Unsubscribe { id: 1 });
    desk.subscribe(client, 1, "b");
    desk.publish(client, 0, "b", "x");
    assert_eq!(desk.news(client), ["1 b #1: x"]);
}

#[test]
fn what_is_no_subject_is_refused_with_a_reason() {
    let mut desk = desk();
    let client = desk.join();
    for (id, subject) in [(1, "a..b"), (2, "a b"), (3, "a.*b"), (4, ">.a")] {
        desk.subscribe(client, id, subject);
        assert_eq!(desk.news(client), [format!("{id} bad_request")], "{subject}");
    }
    for (id, subject, code) in
        [(1, "a.", "bad_request"), (2, "a.*", "bad_request"), (0, "$a", "forbidden")]
    {
        desk.publish(client, id, subject, "x");
        assert_eq!(desk.news(client), [format!("{id} {code}")], "{subject}");
    }
    assert_eq!(desk.core.topics().counts().refused, 3);
}

#[test]
fn what_finds_no_room_is_dropped_counted_and_told_of() {
    let mut desk = desk();
    let (slow, quick, source) = (desk.join(), desk.join(), desk.join());
    desk.subscribe(slow, 1, "a");
    desk.subscribe(quick, 1, "a");
    desk.publish(source, 0, "a", "first");
    desk.said.full.push(slow);
    for number in 0..3 {
        desk.publish(source, number, "a", "dropped");
    }
    assert_eq!(desk.news(source), ["1 for 2", "2 for 2"], "a publisher does not wait");
    desk.said.full.clear();
    desk.publish(source, 0, "a", "next");
    assert_eq!(desk.news(slow), ["1 a #1: first", "1 a #5 missed 3: next"]);
    assert_eq!(desk.news(quick).len(), 5);
    // Nothing comes behind what was dropped: a GAP tells of it, once there is room.
    desk.said.full.push(slow);
    desk.publish(source, 0, "a", "dropped");
    desk.pass(Duration::from_millis(1500));
    assert_eq!(desk.news(slow), [""; 0]);
    desk.said.full.clear();
    desk.pass(Duration::from_secs(1));
    assert_eq!(desk.news(slow), ["1 gap 1"]);
    desk.publish(source, 0, "a", "after");
    desk.pass(Duration::from_secs(3));
    assert_eq!(desk.news(slow), ["1 a #7: after"], "what was told is not told again");
    let counts = desk.core.topics().counts();
    assert_eq!((counts.published, counts.delivered, counts.dropped), (7, 10, 4));
}

#[test]
fn who_leaves_with_a_gap_leaves_nothing_behind() {
    let mut desk = desk();
    let (slow, source) = (desk.join(), desk.join());
    desk.subscribe(slow, 1, "a");
    desk.subscribe(slow, 2, "*");
    desk.said.full.push(slow);
    desk.publish(source, 0, "a", "dropped");
    desk.mjp(slow, &ToBroker::Unsubscribe { id: 1 });
    desk.said.full.clear();
    desk.pass(Duration::from_secs(2));
    assert_eq!(desk.news(slow), ["2 gap 1"]);
    desk.said.full.push(slow);
    desk.publish(source, 0, "a", "dropped");
    desk.leave(slow);
    desk.pass(Duration::from_secs(2));
    assert_eq!(desk.said.charged, 0);
}

#[test]
fn each_limit_has_its_answer() {
    let topics = TopicLimits {
        subscriptions_max: 5,
        per_peer_max: 3,
        fan_out_max: 4,
        ..TopicLimits::default()
    };
    let mut desk = Desk::with(Settings { topics, ..Settings::default() });
    let (one, other) = (desk.join(), desk.join());
    for id in 1..=4 {
        desk.subscribe(one, id, "a");
        desk.subscribe(other, id, "a");
    }
    assert_eq!(desk.news(one), ["4 overloaded"], "its own limit");
    assert_eq!(desk.news(other), ["3 overloaded", "4 overloaded"], "that of all");
    desk.publish(one, 9, "a", "for five");
    desk.publish(one, 0, "a", "for five");
    assert_eq!(desk.news(one), ["9 overloaded"], "nobody hears what is for too many");
    assert_eq!(desk.news(other), [""; 0]);
    desk.mjp(one, &ToBroker::Unsubscribe { id: 1 });
    desk.publish(one, 9, "a", "for four");
    assert_eq!(desk.news(one), ["2 a #1: for four", "3 a #1: for four", "9 for 4"]);
    desk.said.account_full = true;
    desk.subscribe(one, 7, "b");
    desk.publish(one, 8, "a", "no memory");
    assert_eq!(desk.news(one), ["7 overloaded", "8 for 4"]);
    desk.said.account_full = false;
}

#[test]
fn what_would_be_too_much_for_subscribers_or_for_the_broker_is_refused() {
    let mut desk = desk();
    let (source, client) = (desk.join(), desk.join());
    let says = PublishHeader::new("a");
    let header = Packed::new(&says);
    let publish = |desk: &mut Desk, frames: usize| {
        let body = Message::new(vec![vec![0; 4000]; frames]);
        let (header, body) = (header.octets(), body.frames());
        desk.mjp(source, &ToBroker::Publish(Publish { id: 5, header, says, body }));
        desk.news(source)
    };
    // With what is added it must still be a message that a subscriber takes.
    let most = Settings::default().wire.message_frames_max - 4;
    assert_eq!(publish(&mut desk, most + 1), ["5 too_big"]);
    assert_eq!(publish(&mut desk, most), ["5 for 0"]);
    for id in 1..=17 {
        desk.subscribe(client, id, "a");
    }
    assert_eq!(publish(&mut desk, most), ["5 too_big"], "4 MB to each of 17");
    assert_eq!(desk.news(client), [""; 0]);
    assert_eq!(publish(&mut desk, 1), ["5 for 17"]);
}

#[test]
fn a_broker_that_stops_passes_on_what_is_published_and_takes_no_subscriptions() {
    let mut desk = desk();
    let client = desk.join();
    desk.subscribe(client, 1, "a");
    desk.core.drain(desk.now, Duration::from_secs(1), &mut desk.said);
    desk.said.to.remove(client);
    desk.subscribe(client, 2, "b");
    desk.publish(client, 3, "a", "still");
    assert_eq!(desk.news(client), ["2 draining", "1 a #1: still", "3 for 1"]);
}

#[test]
fn the_header_of_a_publisher_arrives_octet_by_octet() {
    let mut desk = desk();
    let client = desk.join();
    desk.subscribe(client, 1, "a");
    let (says, header) = (PublishHeader::new("a"), b"\x82\xa3x-k\x93\x01\xc0\xc3\xa7subject\xa1a");
    let body = Message::new([&b"x"[..], b"", b"y"]);
    let publish = Publish { id: 0, header, says, body: body.frames() };
    desk.mjp(client, &ToBroker::Publish(publish));
    let said = desk.said.to.remove(client).unwrap();
    let Ok(FromBroker::News(news)) = FromBroker::decode(said[0].frames()) else { panic!() };
    assert_eq!(news.header, header);
    assert_eq!(news.body.map(<[u8]>::to_vec).collect::<Vec<_>>(), [&b"x"[..], b"", b"y"]);
}

#[test]
fn status_says_how_many_subscriptions_there_are() {
    let mut desk = desk();
    let client = desk.join();
    desk.subscribe(client, 1, "a");
    desk.subscribe(client, 2, "a");
    let says = StatusHeader { what: What::Broker, service: None, after: None, max: None };
    desk.mjp(client, &ToBroker::Status { id: 9, says });
    let said = desk.said.to.remove(client).unwrap();
    let Ok(FromBroker::Status { header, .. }) = FromBroker::decode(said[0].frames()) else {
        panic!()
    };
    let report = crate::wire::mjp::Report::decode(header).unwrap();
    assert_eq!(report.broker.unwrap().subscriptions, 2);
    let rows = desk.core.client_rows(desk.now, 0, 10).rows;
    assert_eq!(rows[0].subscriptions, 2);
}

#[test]
fn one_who_publishes_to_many_has_its_next_turn_behind_others() {
    let topics = TopicLimits { fan_out_max: 4, ..TopicLimits::default() };
    let mut desk = Desk::with(Settings { topics, ..Settings::default() });
    let (client, source) = (desk.join(), desk.join());
    (1..=3).for_each(|id| desk.subscribe(client, id, "a"));
    let publish = |desk: &mut Desk| {
        let says = PublishHeader::new("a");
        let (header, body) = (Packed::new(&says), Message::new([&b"x"[..]]));
        let (header, body) = (header.octets(), body.frames());
        let publish = Publish { id: 0, header, says, body };
        let said = message(|out| ToBroker::Publish(publish).encode(out));
        desk.core.message(desk.now, source, said.frames(), &mut desk.said)
    };
    assert_eq!([publish(&mut desk), publish(&mut desk)], [Taken::Yes; 2], "three, and six");
    assert_eq!(publish(&mut desk), Taken::NotYet);
    assert_eq!(desk.said.resumed, [source], "and its turn comes by itself");
    assert_eq!(desk.news(client).len(), 6);
    assert_eq!(publish(&mut desk), Taken::Yes);
    assert_eq!(desk.news(client)[2], "3 a #3: x", "nothing was lost by that");
}
