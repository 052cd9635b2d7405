//! Ends within connections of MJP (SPEC 13.11).

use super::*;

const BOT: &str = r#"{"flow": "BOT", "credit": 5, "direction": "extract"}"#;

fn said(label: &str, seqno: u64, payload: &'static [u8]) -> Message {
    let parts: &[&'static [u8]] = if payload.is_empty() { &[] } else { &[payload] };
    shaped(Shape::Bare, label, seqno, parts)
}

/// A DAT of 47 octets and those of the payload.
fn dat_of(seqno: u64, payload: &'static [u8]) -> Message {
    said(r#"{"flow": "DAT"}"#, seqno, payload)
}

fn pay_of(credit: u64, seqno: u64) -> Message {
    said(&format!(r#"{{"flow": "PAY", "credit": {credit}}}"#), seqno, b"")
}

fn eot_of(seqno: u64) -> Message {
    said(r#"{"flow": "EOT"}"#, seqno, b"")
}

fn bare_label(message: &Message) -> String {
    Zio::decode(Shape::Bare, message.frames()).unwrap().label.to_owned()
}

impl Scene {
    fn lane(&mut self, lane: u64) -> End {
        End { peer: self.peers.insert(()), lane }
    }

    pub(super) fn says(&mut self, from: End, message: &Message, bytes: Option<u64>) {
        self.table.lane(self.now, from, message.frames(), bytes, &mut self.desk);
        self.audit();
    }

    /// What a handler has to say, as a lane.
    fn asked_by(&mut self, client: End, label: &str, bytes: Option<u64>) -> (FlowId, String) {
        self.says(client, &said(label, 0, b""), bytes);
        let (flow, bot) = self.desk.decide.pop_front().expect("the factory is asked");
        (flow, read(&bot).0)
    }

    /// A flow between lanes that asks for so many octets; all was heard.
    fn lanes(&mut self, label: &str, asked: u64, told: u64) -> [End; 2] {
        let [client, handler] = [self.lane(1), self.lane(7)];
        let (flow, bot) = self.asked_by(client, label, Some(asked));
        self.decided(flow, Decision::Accept);
        self.says(handler, &said(&bot, 0, b""), Some(told));
        assert_eq!(self.heard(handler).len() + self.heard(client).len(), 2);
        [client, handler]
    }
}

#[test]
fn the_smaller_credit_in_octets_holds_and_both_are_told() {
    let mut scene = Scene::with_factory();
    let [client, handler] = scene.lanes(BOT, 1000, 4000);
    assert_eq!(scene.desk.bytes[&client], Some(1000));
    assert_eq!(scene.desk.bytes[&handler], Some(1000));
    assert_eq!(scene.table.page(scene.now, 0, 9).0[0].credit_octets, Some(1000));
}

#[test]
fn octets_are_accounted_for_and_who_oversteps_them_ends_its_own_flow() {
    let mut scene = Scene::with_factory();
    let [giver, taker] = scene.lanes(BOT, 400, 400);
    let [other_giver, other_taker] = scene.lanes(BOT, 400, 400);
    scene.says(taker, &pay_of(5, 1), Some(100));
    assert_eq!((scene.heard(giver), scene.desk.bytes[&giver]), (vec![pay_of(5, 1)], Some(100)));
    scene.says(giver, &dat_of(1, b"12345"), None);
    assert_eq!(scene.heard(taker), [dat_of(1, b"12345")]);
    // There is credit left, but of 48 octets only.
    scene.says(giver, &dat_of(2, b"12"), None);
    assert_eq!(scene.outcomes(), [Outcome::Violated(Seat::Client)]);
    assert_eq!((scene.heard(taker), scene.heard(giver)), (vec![eot_of(2)], vec![eot_of(2)]));
    // A PAY of more octets than there are, too.
    scene.says(other_taker, &pay_of(1, 1), Some(401));
    assert_eq!(scene.outcomes()[1], Outcome::Violated(Seat::Handler));
    assert_eq!(scene.heard(other_giver), [eot_of(1)]);
    assert_eq!(scene.dropped("credit"), 2);
}

#[test]
fn credit_holds_within_mjp_even_if_it_is_not_looked_at_elsewhere() {
    let settings =
        FlowSettings { otherwise: Target::Factory, check_credit: false, ..FlowSettings::default() };
    let mut scene = Scene::new(settings);
    let [giver, _] = scene.lanes(BOT, 400, 400);
    scene.says(giver, &dat_of(1, b""), None);
    assert_eq!(scene.outcomes(), [Outcome::Violated(Seat::Client)]);
}

#[test]
fn a_lane_that_is_idle_is_forgotten_and_may_begin_again() {
    let mut scene = Scene::with_factory();
    let [client, handler] = scene.lanes(BOT, 400, 400);
    assert_eq!(scene.table.ends(), 2);
    scene.says(client, &eot_of(1), None);
    assert_eq!(scene.heard(handler), [eot_of(1)]);
    scene.says(handler, &eot_of(1), None);
    assert_eq!((scene.table.ends(), scene.outcomes()), (0, vec![Outcome::Finished]));
    let (flow, _) = scene.asked_by(client, BOT, Some(400));
    scene.decided(flow, Decision::Refuse);
    let refused = bare_label(scene.heard(client).last().unwrap());
    assert!(refused.contains(r#""flow": "EOT""#), "{refused}");
    assert_eq!(scene.table.ends(), 0);
    // An EOT that comes too late, and what is of no flow.
    scene.says(client, &eot_of(2), None);
    assert_eq!((scene.table.ends(), scene.dropped("eot_without_flow")), (0, 1));
    scene.says(client, &dat_of(3, b""), None);
    assert_eq!(scene.heard(client), [eot_of(3)]);
    scene.says(client, &dat_of(4, b""), None);
    assert_eq!((scene.heard(client), scene.table.ends()), (vec![], 1));
    scene.says(client, &eot_of(5), None);
    assert_eq!(scene.table.ends(), 0);
}

#[test]
fn a_lane_has_to_say_how_many_octets() {
    let mut scene = Scene::with_factory();
    let client = scene.lane(1);
    for bytes in [None, Some(0)] {
        scene.says(client, &said(BOT, 0, b""), bytes);
        assert_eq!(scene.heard(client).len(), 1);
    }
    let (flow, bot) = scene.asked_by(client, BOT, Some(9));
    scene.decided(flow, Decision::Accept);
    let handler = scene.lane(1);
    scene.says(handler, &said(&bot, 0, b""), None);
    assert_eq!(scene.heard(handler).len(), 1);
    assert_eq!(scene.refused(Refusal::BadCredit), 3);
    scene.says(handler, &said(&bot, 0, b""), Some(1));
    assert_eq!(scene.desk.bytes[&client], Some(1));
}

#[test]
fn with_a_zio_socket_there_is_no_credit_in_octets() {
    let mut scene = Scene::with_factory();
    let client = scene.lane(3);
    let (flow, bot) = scene.asked_by(client, BOT, Some(100));
    scene.decided(flow, Decision::Accept);
    let handler = scene.end();
    scene.say(handler, &frame(&bot, 0, &[]));
    let answer = read(&scene.heard(handler)[0]).0;
    assert_eq!(answer, BOT);
    assert_eq!(scene.desk.bytes[&client], None);
    scene.heard(client);
    // What it pays goes on without a header, and a DAT in its own shape.
    scene.say(handler, &pay(2, 1));
    assert_eq!((scene.heard(client), scene.desk.bytes[&client]), (vec![pay_of(2, 1)], None));
    scene.says(client, &dat_of(1, &[7; 200]), None);
    let heard = scene.heard(handler);
    assert_eq!(heard, [frame(r#"{"flow": "DAT"}"#, 1, &[&[7; 200]])]);
    scene.lose(client);
    assert_eq!(scene.heard(handler), [eot(2)]);
}

#[test]
fn a_client_that_is_a_zio_socket_is_handled_within_mjp() {
    let mut scene = Scene::with_factory();
    let client = scene.end();
    let (flow, bot) = scene.ask(client, &bot(Direction::Extract, 3));
    scene.decided(flow, Decision::Accept);
    let handler = scene.lane(1);
    let (bot, _) = read(&bot);
    scene.says(handler, &said(&bot, 0, b"hi"), Some(1 << 30));
    assert_eq!((scene.heard(handler).len(), scene.desk.bytes[&handler]), (1, None));
    assert_eq!(scene.kinds(client), [Kind::Bot]);
    scene.says(handler, &pay_of(1, 1), Some(77));
    assert_eq!(scene.heard(client), [pay(1, 1)]);
    // A ZIO giver is held where its taker has no room.
    scene.desk.full.insert(handler);
    assert_eq!(scene.offer(client, &dat(1)), Taken::NotYet);
    scene.relieve(handler);
    assert_eq!(scene.desk.resumed, [client]);
    scene.say(client, &dat(1));
    assert_eq!(scene.heard(handler), [dat_of(1, b"data")]);
}

#[test]
fn what_a_lane_says_is_never_held_and_its_flow_ends_where_there_is_no_room() {
    let mut scene = Scene::with_factory();
    let [giver, taker] = scene.lanes(BOT, 400, 400);
    scene.says(taker, &pay_of(5, 1), Some(400));
    scene.heard(giver);
    scene.desk.full.insert(taker);
    scene.says(giver, &dat_of(1, b""), None);
    assert_eq!(scene.outcomes(), [Outcome::Overrun(Seat::Handler)]);
    assert_eq!((scene.heard(taker), scene.heard(giver)), (vec![eot_of(1)], vec![eot_of(2)]));
    assert_eq!(scene.desk.resumed, []);
    // Its EOT counts even so: a short one is said in its place.
    let [giver, taker] = scene.lanes(BOT, 400, 400);
    scene.desk.full.insert(taker);
    let last = said(r#"{"flow": "EOT", "sum": 1}"#, 1, b"payload");
    scene.says(giver, &last, None);
    assert_eq!(scene.heard(taker), [eot_of(1)]);
    scene.says(taker, &eot_of(1), None);
    assert_eq!(scene.table.ends(), 2, "those of the first flow have not said EOT");
}

#[test]
fn takers_of_one_connection_share_its_octets() {
    let settings = FlowSettings {
        otherwise: Target::Factory,
        lane_bytes_max: 100_000,
        ..FlowSettings::default()
    };
    let mut scene = Scene::new(settings);
    let inject = BOT.replace("extract", "inject");
    let peer = scene.peers.insert(());
    let ask = |scene: &mut Scene, lane, bytes| {
        let client = End { peer, lane };
        scene.says(client, &said(&inject, 0, b""), Some(bytes));
        scene.heard(client).len()
    };
    assert_eq!(ask(&mut scene, 1, 30_000), 0);
    // It is promised what is left, which is enough.
    assert_eq!(ask(&mut scene, 2, 1 << 30), 0);
    assert_eq!((ask(&mut scene, 3, 1), scene.refused(Refusal::NoLane)), (1, 1));
    let (flow, bot) = scene.desk.decide[1].clone();
    scene.decided(flow, Decision::Accept);
    let handler = scene.lane(1);
    let (bot, _) = read(&bot);
    scene.says(handler, &said(&bot, 0, b""), Some(5_000));
    assert_eq!(scene.desk.bytes[&handler], Some(5_000));
    // What was not agreed on is free again; so is all of a flow that has ended.
    assert_eq!(ask(&mut scene, 3, 65_000), 0);
    assert_eq!(ask(&mut scene, 4, 65_000), 1);
    let (first, _) = scene.desk.decide[0].clone();
    scene.decided(first, Decision::Refuse);
    assert_eq!(ask(&mut scene, 4, 30_000), 0);
    // A handler that takes has a share, too, and is refused alone.
    let client = scene.lane(1);
    let (flow, bot) = {
        scene.desk.decide.clear();
        scene.asked_by(client, BOT, Some(70_000))
    };
    scene.decided(flow, Decision::Accept);
    let handler = End { peer, lane: 9 };
    scene.heard(handler);
    scene.says(handler, &said(&bot, 0, b""), Some(70_000));
    assert_eq!((scene.heard(handler).len(), scene.refused(Refusal::NoLane)), (1, 3));
    let free = scene.lane(1);
    scene.says(free, &said(&bot, 0, b""), Some(70_000));
    assert_eq!(scene.desk.bytes[&client], Some(70_000));
}

#[test]
fn a_connection_has_so_many_lanes_and_loses_them_together() {
    let settings =
        FlowSettings { otherwise: Target::Factory, lanes_max: 2, ..FlowSettings::default() };
    let mut scene = Scene::new(settings);
    let peer = scene.peers.insert(());
    for (lane, refused) in [(1, 0), (2, 0), (3, 1)] {
        let end = End { peer, lane };
        scene.says(end, &said(BOT, 0, b""), Some(1000));
        assert_eq!(scene.heard(end).len(), refused, "{lane}");
    }
    let (rows, next) = scene.table.ends_page(0, 5);
    assert_eq!((rows.len(), rows[0].lanes, rows[0].state, next), (1, 2, "lanes", None));
    scene.says(End { peer, lane: 3 }, &dat_of(1, b""), None);
    assert_eq!(scene.dropped("without_flow"), 1);
    scene.lose(End { peer, lane: 1 });
    assert_eq!((scene.table.ends(), scene.table.len()), (0, 0));
}

#[test]
fn what_comes_behind_an_eot_is_forwarded_within_credit_and_no_further() {
    let mut scene = Scene::with_factory();
    let [giver, taker] = scene.lanes(BOT, 400, 400);
    scene.says(taker, &pay_of(2, 1), Some(400));
    scene.says(taker, &eot_of(2), None);
    scene.heard(giver);
    for seqno in 1..9 {
        scene.says(giver, &dat_of(seqno, b""), None);
    }
    assert_eq!(scene.heard(taker), [dat_of(1, b""), dat_of(2, b"")]);
    assert_eq!((scene.dropped("after_eot"), scene.outcomes()), (6, vec![]));
    scene.says(giver, &eot_of(9), None);
    assert_eq!(scene.outcomes(), [Outcome::Finished]);
}
