//! What goes wrong with ZIO's own broker, row by row, and what happens here instead.

use super::*;

/// Each that is told EOT once and no more.
fn assert_told(scene: &mut Scene, end: End, seqno: u64) {
    assert_eq!(scene.heard(end), [eot(seqno)]);
}

#[test]
fn row_5_1_a_slow_factory_holds_up_nobody_else() {
    let mut scene = Scene::with_factory();
    let [giver, taker] = scene.pair(Direction::Extract, 2);
    let [slow, quick] = scene.ends();
    let (slow_flow, _) = scene.ask(slow, &bot(Direction::Extract, 2));
    let (quick_flow, _) = scene.ask(quick, &bot(Direction::Extract, 2));
    scene.assert_runs(giver, taker);
    // In any order, and one not in time.
    scene.decided(quick_flow, Decision::Refuse);
    assert_eq!(scene.kinds(quick), [Kind::Eot]);
    scene.wait(secs(9));
    assert_eq!(scene.heard(slow), []);
    scene.wait(secs(1));
    assert_eq!(scene.kinds(slow), [Kind::Eot]);
    assert_eq!(scene.refused(Refusal::NoDecision), 1);
    scene.decided(slow_flow, Decision::Accept);
    assert_eq!(scene.heard(slow), []);
    scene.assert_runs(giver, taker);
}

#[test]
fn row_5_2_what_is_malformed_is_dropped_and_counted() {
    let mut scene = Scene::with_factory();
    let [client, handler] = scene.pair(Direction::Extract, 5);
    let stranger = scene.end();
    let raw = |octets: &'static [u8]| Message::new([octets]);
    let two_frames = Message::new([&b"a"[..], b"b"]);
    for (message, why) in [
        (raw(b""), "too_few_parts"),
        (raw(b"\xff\xff"), "part_cut"),
        (raw(b"\x03ZIO\x00"), "short_prefix"),
        (raw(b"\x08MIO0FLOW\x00"), "no_magic"),
        (two_frames, "frame_count"),
        (frame("", 0, &[]), "bad_json"),
        (frame("not json", 0, &[]), "bad_json"),
        (frame("[1, 2]", 0, &[]), "no_object"),
        (frame(r#"{"credit": 2}"#, 0, &[]), "no_flow"),
        (frame(r#"{"flow": "HELLO"}"#, 0, &[]), "unknown_flow"),
        (frame(r#"{"flow": 7}"#, 0, &[]), "unknown_flow"),
    ] {
        for end in [stranger, client, handler] {
            let before = scene.dropped(why);
            scene.say(end, &message);
            assert_eq!(scene.dropped(why), before + 1, "{why}");
            assert_eq!(scene.heard(end), [], "{why}");
        }
    }
    scene.assert_runs(client, handler);
    // An EOT of nobody's flow has no answer, or two brokers would talk for ever.
    scene.say(stranger, &eot(3));
    assert_eq!(scene.heard(stranger), []);
}

#[test]
fn row_5_2_a_dat_or_pay_of_nobodys_flow_frees_its_sender() {
    for message in [dat(6), pay(1, 6)] {
        let mut scene = Scene::with_factory();
        let stranger = scene.end();
        scene.say(stranger, &message);
        assert_told(&mut scene, stranger, 6);
        // Once: what it said before it heard that needs no answer.
        scene.say(stranger, &dat(7));
        scene.say(stranger, &eot(8));
        assert_eq!(scene.heard(stranger), []);
        scene.ask(stranger, &bot(Direction::Extract, 1));
    }
}

#[test]
fn row_5_2_a_bot_that_asks_for_nothing_possible_is_refused() {
    let mut scene = Scene::with_factory();
    for (label, why) in [
        (r#"{"flow": "BOT", "credit": 2}"#, Refusal::BadDirection),
        (r#"{"flow": "BOT", "credit": 2, "direction": "both"}"#, Refusal::BadDirection),
        (r#"{"flow": "BOT", "direction": "inject"}"#, Refusal::BadCredit),
        (r#"{"flow": "BOT", "direction": "inject", "credit": "2"}"#, Refusal::BadCredit),
    ] {
        let client = scene.end();
        let before = scene.refused(why);
        scene.say(client, &frame(label, 0, &[b"free"]));
        assert_eq!(scene.refused(why), before + 1, "{label}");
        let answer = label.replace("BOT", "EOT").replace("inject", "extract");
        assert_eq!(scene.heard(client), [frame(&answer, 0, &[b"free"])]);
        scene.ask(client, &bot(Direction::Extract, 1));
    }
    // A credit that a server would lower to its own is the factory's to judge.
    let client = scene.end();
    scene.ask(client, &bot(Direction::Extract, -1));
}

#[test]
fn row_5_3_a_handler_for_nobody_is_refused_and_leaves_nothing_behind() {
    let mut scene = Scene::with_factory();
    let [handler, client] = scene.ends();
    let stray = r#"{"flow": "BOT", "credit": 2, "direction": "inject", "cid": 5}"#;
    scene.say(handler, &frame(stray, 0, &[]));
    let answer = r#"{"flow": "EOT", "credit": 2, "direction": "extract", "cid": 5}"#;
    assert_eq!(scene.heard(handler), [frame(answer, 0, &[])]);
    assert_eq!(scene.refused(Refusal::UnknownCid), 1);
    assert_eq!((scene.table.len(), scene.desk.charged), (0, 0));
    // It may serve somebody else with the same socket.
    scene.pair_up([client, handler], Direction::Extract, 2);
}

#[test]
fn row_5_4_a_cid_that_is_no_id_is_refused() {
    let mut scene = Scene::with_factory();
    let client = scene.end();
    let (flow, for_handler) = scene.ask(client, &bot(Direction::Extract, 2));
    scene.decided(flow, Decision::Accept);
    let cid = cid_of(&for_handler);
    for wrong in [
        format!("\"{cid}\""),
        format!("{cid}.0"),
        format!("[{cid}]"),
        "true".into(),
        "-1".into(),
        "4294967296".into(),
        "123456789012345678901234567890".into(),
    ] {
        let handler = scene.end();
        let label =
            format!(r#"{{"flow": "BOT", "credit": 2, "direction": "inject", "cid": {wrong}}}"#);
        scene.say(handler, &frame(&label, 0, &[]));
        let answer = label.replace("BOT", "EOT").replace("inject", "extract");
        assert_eq!(scene.heard(handler), [frame(&answer, 0, &[])], "{wrong}");
    }
    assert_eq!(scene.refused(Refusal::BadCid), 7);
    let handler = scene.end();
    scene.say(handler, &for_handler);
    assert_eq!(scene.kinds(client), [Kind::Bot]);
}

#[test]
fn row_5_5_nobody_takes_a_client_away_from_its_handler() {
    let mut scene = Scene::with_factory();
    let [client, handler, thief] = scene.ends();
    let (flow, for_handler) = scene.ask(client, &bot(Direction::Extract, 2));
    // Not before the factory has accepted either, if the handler is there.
    scene.say(handler, &for_handler);
    scene.say(thief, &for_handler);
    assert_eq!(scene.kinds(thief), [Kind::Eot]);
    scene.decided(flow, Decision::Accept);
    assert_eq!((scene.kinds(handler), scene.kinds(client)), (vec![Kind::Bot], vec![Kind::Bot]));
    scene.say(thief, &for_handler);
    assert_eq!(scene.kinds(thief), [Kind::Eot]);
    assert_eq!(scene.heard(client), []);
    assert_eq!(scene.refused(Refusal::UnknownCid), 2);
    scene.assert_runs(client, handler);
    assert_eq!(scene.heard(thief), []);
}

#[test]
fn row_5_5_the_id_of_a_client_says_nothing_about_the_next_one() {
    let mut scene = Scene::with_factory();
    let mut seen = BTreeSet::new();
    for _ in 0..200 {
        let client = scene.end();
        seen.insert(cid_of(&scene.ask(client, &bot(Direction::Extract, 1)).1).get());
    }
    assert_eq!(seen.len(), 200);
    let near = seen.iter().zip(seen.iter().skip(1)).filter(|(a, b)| *b - *a < 1000).count();
    assert!(near <= 2, "{near} ids are close to another one");
}

#[test]
fn row_5_6_a_lost_end_ends_its_partners_flow_and_no_other() {
    for seat in [Seat::Client, Seat::Handler] {
        let mut scene = Scene::with_factory();
        let [giver, taker] = scene.pair(Direction::Extract, 2);
        let [client, handler] = scene.pair(Direction::Extract, 2);
        scene.say(handler, &pay(2, 1));
        scene.say(client, &dat(1));
        scene.heard(client);
        scene.heard(handler);
        let (lost, left, seqno) =
            if seat == Seat::Client { (client, handler, 2) } else { (handler, client, 2) };
        scene.lose(lost);
        assert_told(&mut scene, left, seqno);
        assert_eq!(scene.outcomes(), [Outcome::Lost(seat)]);
        // What was under way belongs to the flow that is over; then the socket is free.
        scene.say(left, &pay(1, 2));
        scene.say(left, &eot(3));
        assert_eq!(scene.heard(left), []);
        let other = scene.end();
        scene.pair_up([left, other], Direction::Inject, 1);
        scene.assert_runs(giver, taker);
    }
}

#[test]
fn row_5_6_a_lost_end_of_a_flow_that_ends_is_answered_for() {
    let mut scene = Scene::with_factory();
    // The lost one had said EOT: its partner knows, and is told nothing again.
    let [client, handler] = scene.pair(Direction::Extract, 2);
    scene.say(client, &eot(1));
    assert_eq!(scene.heard(handler), [eot(1)]);
    scene.lose(client);
    assert_eq!(scene.heard(handler), []);
    scene.say(handler, &eot(1));
    scene.ask(handler, &bot(Direction::Extract, 1));
    // The lost one had not answered: the broker does.
    let [client, handler] = scene.pair(Direction::Extract, 2);
    scene.say(client, &eot(1));
    scene.lose(handler);
    assert_told(&mut scene, client, 1);
    scene.ask(client, &bot(Direction::Extract, 1));
}

#[test]
fn row_5_6_a_lost_client_leaves_nothing_behind() {
    let mut scene = Scene::with_factory();
    let [client, early] = scene.ends();
    let (flow, for_handler) = scene.ask(client, &bot(Direction::Extract, 2));
    scene.say(early, &for_handler);
    scene.lose(client);
    assert_eq!(scene.kinds(early), [Kind::Eot]);
    assert_eq!((scene.table.len(), scene.desk.charged), (0, 0));
    scene.decided(flow, Decision::Accept);
    assert_eq!(scene.outcomes(), [Outcome::Lost(Seat::Client)]);
}

#[test]
fn row_5_7_a_peer_that_does_not_read_stops_its_partner_alone() {
    let mut scene = Scene::with_factory();
    let [giver, taker] = scene.pair(Direction::Extract, 9);
    let [other_giver, other_taker] = scene.pair(Direction::Inject, 9);
    scene.say(taker, &pay(9, 1));
    scene.desk.full.insert(taker);
    assert_eq!(scene.offer(giver, &dat(1)), Taken::NotYet);
    assert_eq!(scene.heard(taker), []);
    scene.assert_runs(other_taker, other_giver);
    // Its own words are taken.
    scene.say(taker, &pay(0, 2));
    assert_eq!(scene.desk.resumed, []);
    scene.relieve(taker);
    assert_eq!(scene.desk.resumed, [giver]);
    scene.say(giver, &dat(1));
    assert_eq!(scene.heard(taker), [dat(1)]);
    // A loss frees the one that waits, too; what it wanted to say is dropped.
    scene.desk.full.insert(taker);
    assert_eq!(scene.offer(giver, &dat(2)), Taken::NotYet);
    scene.lose(taker);
    assert_eq!(scene.desk.resumed, [giver, giver]);
    scene.heard(giver);
    scene.say(giver, &dat(2));
    assert_eq!((scene.dropped("after_end"), scene.heard(giver)), (1, vec![]));
}

#[test]
fn row_5_7_a_peer_that_does_not_read_its_answers_is_not_read() {
    let mut scene = Scene::with_factory();
    let stranger = scene.end();
    scene.desk.full.insert(stranger);
    for message in [dat(1), bot(Direction::Extract, 2)] {
        assert_eq!(scene.offer(stranger, &message), Taken::NotYet);
        assert_eq!(scene.heard(stranger), []);
    }
    scene.relieve(stranger);
    assert_eq!(scene.desk.resumed, [stranger]);
    scene.ask(stranger, &bot(Direction::Extract, 2));
}

#[test]
fn row_5_8_an_eot_takes_out_its_own_direction() {
    let mut scene = Scene::with_factory();
    let [client, handler] = scene.pair(Direction::Extract, 2);
    scene.say(handler, &pay(2, 1));
    scene.heard(client);
    scene.say(handler, &eot(2));
    assert_eq!(scene.heard(client), [eot(2)]);
    // The answer may take its time, and what comes before it belongs to the flow.
    scene.say(client, &dat(1));
    scene.say(client, &eot(2));
    assert_eq!(scene.heard(handler), [dat(1), eot(2)]);
    assert_eq!((scene.outcomes(), scene.table.len()), (vec![Outcome::Finished], 0));
    // Whoever goes on although it has ended is not heard.
    let [client, handler] = scene.pair(Direction::Extract, 2);
    scene.say(client, &eot(1));
    scene.say(client, &dat(2));
    scene.say(client, &eot(3));
    assert_eq!(scene.heard(handler), [eot(1)]);
    assert_eq!(scene.dropped("after_eot"), 1);
}

#[test]
fn row_5_8_both_may_say_eot_at_a_time() {
    let mut scene = Scene::with_factory();
    let [client, handler] = scene.pair(Direction::Extract, 2);
    scene.say(client, &eot(1));
    scene.say(handler, &eot(1));
    assert_eq!((scene.heard(client), scene.heard(handler)), (vec![eot(1)], vec![eot(1)]));
    assert_eq!(scene.outcomes(), [Outcome::Finished]);
}

#[test]
fn row_5_9_both_sockets_may_begin_another_flow() {
    let mut scene = Scene::with_factory();
    let [client, handler] = scene.pair(Direction::Extract, 2);
    for round in 0..3 {
        scene.say(client, &eot(1));
        scene.say(handler, &eot(1));
        scene.heard(client);
        scene.heard(handler);
        // They may change places.
        let ends = if round % 2 == 0 { [handler, client] } else { [client, handler] };
        scene.pair_up(ends, Direction::Extract, 2);
        scene.assert_runs(ends[0], ends[1]);
        scene.say(ends[0], &eot(1));
        scene.say(ends[1], &eot(1));
        scene.heard(client);
        scene.heard(handler);
        scene.pair_up([client, handler], Direction::Extract, 2);
    }
    assert_eq!(scene.outcomes(), [Outcome::Finished; 6]);
}

#[test]
fn row_5_10_a_client_whose_handler_does_not_come_is_told() {
    let mut scene = Scene::with_factory();
    let [client, late] = scene.ends();
    let (flow, for_handler) = scene.ask(client, &bot(Direction::Extract, 2));
    scene.wait(secs(9));
    scene.decided(flow, Decision::Accept);
    scene.wait(secs(29));
    assert_eq!(scene.heard(client), []);
    scene.wait(secs(1));
    let refused = read(&for_handler).0.replace("BOT", "EOT");
    assert_eq!(scene.heard(client), [frame(&refused, 0, &[])]);
    assert_eq!(scene.refused(Refusal::NoHandler), 1);
    scene.say(late, &for_handler);
    assert_eq!(scene.kinds(late), [Kind::Eot]);
    scene.pair_up([client, late], Direction::Extract, 2);
}

#[test]
fn row_5_11_what_a_client_says_before_its_answer_is_dropped() {
    let mut scene = Scene::with_factory();
    let [client, handler] = scene.ends();
    let (flow, for_handler) = scene.ask(client, &bot(Direction::Extract, 2));
    scene.say(client, &dat(1));
    scene.say(client, &pay(1, 2));
    scene.decided(flow, Decision::Accept);
    scene.say(client, &dat(3));
    assert_eq!((scene.dropped("before_answer"), scene.heard(client)), (3, vec![]));
    scene.say(handler, &for_handler);
    assert_eq!((scene.kinds(handler), scene.kinds(client)), (vec![Kind::Bot], vec![Kind::Bot]));
    scene.assert_runs(client, handler);
}

#[test]
fn row_5_12_a_second_bot_asks_nobody() {
    let mut scene = Scene::with_factory();
    let [client, handler] = scene.ends();
    let (flow, for_handler) = scene.ask(client, &bot(Direction::Extract, 2));
    scene.say(client, &bot(Direction::Extract, 2));
    scene.decided(flow, Decision::Accept);
    scene.say(client, &bot(Direction::Inject, 7));
    assert!(scene.desk.decide.is_empty());
    scene.say(handler, &for_handler);
    assert_eq!(scene.kinds(client), [Kind::Bot]);
    scene.heard(handler);
    // Nor does one in the middle of the flow, or a handler's to a client that it has.
    scene.say(client, &bot(Direction::Extract, 2));
    scene.say(handler, &for_handler);
    assert_eq!((scene.dropped("before_answer"), scene.dropped("bot_in_flow")), (2, 2));
    scene.assert_runs(client, handler);
    assert_eq!(scene.table.counts().asked, 1);
}

#[test]
fn row_5_13_ends_of_flows_before_a_restart_are_freed() {
    let mut old = Scene::with_factory();
    let [client, handler] = old.pair(Direction::Extract, 2);
    old.assert_runs(client, handler);
    // The new broker knows none of them.
    let mut scene = Scene::with_factory();
    let [giver, taker] = scene.ends();
    scene.say(taker, &pay(1, 3));
    scene.say(giver, &dat(2));
    assert_told(&mut scene, taker, 3);
    assert_told(&mut scene, giver, 2);
    scene.say(giver, &eot(3));
    scene.say(taker, &eot(4));
    scene.pair_up([giver, taker], Direction::Extract, 2);
    scene.assert_runs(giver, taker);
}

#[test]
fn row_5_14_the_origin_is_its_senders() {
    let mut scene = Scene::with_factory();
    let [client, handler] = scene.pair(Direction::Extract, 2);
    scene.say(handler, &pay(2, 1));
    let coordinates = Coordinates { origin: 42, granule: 1_600_000_000_000_000, seqno: 1 };
    let label = r#"{"flow": "DAT"}"#;
    let message = Zio { form: Form::FLOW, label, coordinates, ..Zio::default() };
    let message = message.to_message(Shape::Single);
    scene.say(client, &message);
    assert_eq!(scene.heard(handler), [message]);
    // What is said for a lost end carries it as well.
    scene.lose(client);
    let said = scene.heard(handler);
    let last = Zio::decode(Shape::Single, said[0].frames()).unwrap();
    assert_eq!(last.coordinates, Coordinates { seqno: 2, ..coordinates });
}

#[test]
fn row_5_15_routers_and_dealers_have_flows_too() {
    let mut scene = Scene::with_factory();
    let ends = [scene.shaped_end(Shape::Multipart), scene.shaped_end(Shape::Multipart)];
    let label = r#"{"flow": "BOT", "credit": 2, "direction": "inject"}"#;
    let (flow, for_handler) = scene.ask(ends[0], &shaped(Shape::Multipart, label, 0, &[]));
    scene.decided(flow, Decision::Accept);
    let for_handler = shaped(Shape::Multipart, &read(&for_handler).0, 0, &[]);
    scene.say(ends[1], &for_handler);
    assert_eq!(scene.heard(ends[1]), [shaped(Shape::Multipart, label, 0, &[])]);
    let answer = shaped(Shape::Multipart, &label.replace("inject", "extract"), 0, &[]);
    assert_eq!(scene.heard(ends[0]), [answer]);
    let single = scene.end();
    scene.say(single, &shaped(Shape::Multipart, label, 0, &[]));
    assert_eq!(scene.dropped("frame_count"), 1);
    scene.say(ends[0], &bot(Direction::Inject, 2));
    assert_eq!(scene.dropped("no_delimiter"), 1);
}

#[test]
fn row_5_16_who_breaks_the_rules_of_credit_ends_its_own_flow() {
    let too_much = r#"{"flow": "PAY", "credit": 3}"#;
    let cases: [(Seat, Vec<Message>); 8] = [
        (Seat::Client, vec![dat(1)]),
        (Seat::Client, vec![pay(1, 1)]),
        (Seat::Handler, vec![frame(too_much, 1, &[])]),
        (Seat::Handler, vec![pay(2, 1), pay(1, 2)]),
        (Seat::Handler, vec![dat(1)]),
        (Seat::Handler, vec![frame(r#"{"flow": "PAY"}"#, 1, &[])]),
        (Seat::Handler, vec![frame(r#"{"flow": "PAY", "credit": -1}"#, 1, &[])]),
        (Seat::Handler, vec![frame(r#"{"flow": "PAY", "credit": 1.5}"#, 1, &[])]),
    ];
    for (seat, messages) in cases {
        let mut scene = Scene::with_factory();
        let [giver, taker] = scene.pair(Direction::Extract, 2);
        let [client, handler] = scene.pair(Direction::Extract, 2);
        let culprit = if seat == Seat::Client { client } else { handler };
        for message in &messages {
            scene.say(culprit, message);
        }
        assert_eq!(scene.outcomes(), [Outcome::Violated(seat)], "{messages:?}");
        for end in [client, handler] {
            assert_eq!(scene.kinds(end).last(), Some(&Kind::Eot));
        }
        assert_eq!(scene.dropped("credit"), 1);
        scene.assert_runs(giver, taker);
    }
}

#[test]
fn row_5_16_credit_is_not_looked_at_if_the_operator_says_so() {
    let mut scene = Scene::new(FlowSettings {
        otherwise: Target::Factory,
        check_credit: false,
        ..FlowSettings::default()
    });
    let [client, handler] = scene.pair(Direction::Extract, 2);
    scene.say(client, &dat(1));
    scene.say(handler, &pay(9, 1));
    assert_eq!((scene.heard(client), scene.heard(handler)), (vec![pay(9, 1)], vec![dat(1)]));
}
