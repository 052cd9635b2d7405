//! Ends that end in other ways than by the book, and limits.

use super::*;

#[test]
fn an_end_that_does_not_answer_an_eot_is_not_waited_for_without_a_limit() {
    let mut scene = Scene::with_factory();
    let [client, handler] = scene.pair(Direction::Extract, 2);
    scene.say(handler, &pay(2, 1));
    scene.say(handler, &eot(2));
    scene.heard(client);
    scene.wait(secs(59));
    // Whoever still speaks is still heard.
    scene.say(client, &dat(1));
    scene.wait(secs(59));
    assert_eq!(scene.heard(handler), [dat(1)]);
    scene.wait(secs(1));
    assert_eq!(scene.heard(handler), [eot(2)]);
    assert_eq!(scene.outcomes(), [Outcome::NoAnswer(Seat::Client)]);
    assert_eq!(scene.heard(client), []);
    scene.say(client, &eot(2));
    scene.pair_up([client, handler], Direction::Inject, 1);
}

#[test]
fn what_is_due_happens_in_the_order_of_the_deadlines_however_late_it_is_looked_at() {
    let mut scene = Scene::with_factory();
    let [client, handler] = scene.pair(Direction::Extract, 2);
    scene.say(handler, &eot(1));
    scene.wait(secs(55));
    // This puts off the end of its flow from 60 s to 115 s; the factory has time until 65 s.
    scene.say(client, &dat(1));
    let asking = scene.end();
    scene.ask(asking, &bot(Direction::Extract, 2));
    scene.desk.order.clear();
    scene.wait(secs(200));
    assert_eq!(scene.refused(Refusal::NoDecision), 1);
    assert_eq!(scene.outcomes().last(), Some(&Outcome::NoAnswer(Seat::Client)));
    assert_eq!(scene.desk.order, [asking, handler]);
}

#[test]
fn an_end_that_begins_anew_without_its_answer_gets_another_flow() {
    let mut scene = Scene::with_factory();
    let [client, hung, handler] = scene.ends();
    scene.pair_up([client, hung], Direction::Extract, 2);
    scene.say(client, &eot(1));
    assert_eq!(scene.heard(hung), [eot(1)]);
    scene.pair_up([client, handler], Direction::Extract, 2);
    assert_eq!(scene.outcomes(), [Outcome::Abandoned(Seat::Client)]);
    // What the old handler says harms nobody, and its answer makes it free.
    scene.say(hung, &pay(2, 1));
    scene.say(hung, &eot(2));
    assert_eq!((scene.heard(client), scene.heard(hung)), (vec![], vec![]));
    scene.assert_runs(client, handler);
    scene.ask(hung, &bot(Direction::Extract, 1));
}

#[test]
fn a_client_that_gives_up_has_its_eot_answered() {
    let mut scene = Scene::with_factory();
    let [client, early, other] = scene.ends();
    let (flow, for_handler) = scene.ask(client, &bot(Direction::Extract, 2));
    scene.say(early, &for_handler);
    scene.say(client, &eot(1));
    assert_eq!((scene.heard(client), scene.kinds(early)), (vec![eot(0)], vec![Kind::Eot]));
    assert_eq!((scene.outcomes(), scene.desk.charged), (vec![Outcome::GivenUp], 0));
    scene.decided(flow, Decision::Accept);
    scene.say(other, &for_handler);
    assert_eq!(scene.kinds(other), [Kind::Eot]);
}

#[test]
fn a_handler_that_does_not_wait_for_the_factory_is_let_go() {
    let mut scene = Scene::with_factory();
    let [client, early, handler] = scene.ends();
    let (flow, for_handler) = scene.ask(client, &bot(Direction::Extract, 2));
    scene.say(early, &for_handler);
    scene.say(early, &dat(1));
    scene.say(early, &eot(1));
    assert_eq!(scene.heard(early), [eot(0)]);
    scene.say(early, &for_handler);
    scene.lose(early);
    scene.decided(flow, Decision::Accept);
    scene.say(handler, &for_handler);
    assert_eq!(scene.kinds(client), [Kind::Bot]);
}

#[test]
fn a_handler_that_was_too_early_is_told_what_the_factory_says() {
    let mut scene = Scene::with_factory();
    let [client, early] = scene.ends();
    let (flow, for_handler) = scene.ask(client, &bot(Direction::Extract, 2));
    scene.say(early, &for_handler);
    scene.decided(flow, Decision::Refuse);
    assert_eq!((scene.kinds(client), scene.kinds(early)), (vec![Kind::Eot], vec![Kind::Eot]));
    scene.pair_up([early, client], Direction::Extract, 2);
}

#[test]
fn a_handler_must_fit_its_client() {
    let mut scene = Scene::with_factory();
    let client = scene.end();
    let (flow, for_handler) = scene.ask(client, &bot(Direction::Extract, 2));
    scene.decided(flow, Decision::Accept);
    let cid = cid_of(&for_handler);
    for (label, why) in [
        (r#""direction": "extract", "credit": 2"#, Refusal::SameDirection),
        (r#""direction": "none", "credit": 2"#, Refusal::BadDirection),
        (r#""direction": "inject", "credit": 0"#, Refusal::BadCredit),
        (r#""direction": "inject", "credit": -3"#, Refusal::BadCredit),
        (r#""direction": "inject""#, Refusal::BadCredit),
    ] {
        let handler = scene.end();
        let before = scene.refused(why);
        scene.say(handler, &frame(&format!(r#"{{"flow": "BOT", "cid": {cid}, {label}}}"#), 0, &[]));
        assert_eq!(scene.kinds(handler), [Kind::Eot], "{label}");
        assert_eq!(scene.refused(why), before + 1, "{label}");
    }
    // The client does not suffer, and a handler may raise the credit.
    let handler = scene.end();
    let label = format!(r#"{{"flow": "BOT", "credit": 50, "cid": {cid}, "direction": "inject"}}"#);
    scene.say(handler, &frame(&label, 0, &[]));
    assert_eq!(scene.kinds(client), [Kind::Bot]);
    scene.say(handler, &pay(50, 1));
    assert_eq!(scene.heard(client), [pay(50, 1)]);
}

#[test]
fn each_limit_answers_the_bot_that_reaches_it() {
    let mut scene = Scene::new(FlowSettings {
        otherwise: Target::Factory,
        waiting_max: 2,
        bot_bytes_max: 200,
        ends_max: 5,
        ..FlowSettings::default()
    });
    let [one, two, three, four] = scene.ends();
    let long = frame(&read(&bot(Direction::Extract, 1)).0, 0, &[&[7; 200]]);
    scene.say(one, &long);
    assert_eq!((scene.kinds(one), scene.refused(Refusal::TooLong)), (vec![Kind::Eot], 1));
    let (flow, for_handler) = scene.ask(one, &bot(Direction::Extract, 1));
    scene.ask(two, &bot(Direction::Extract, 1));
    scene.say(three, &bot(Direction::Extract, 1));
    assert_eq!((scene.kinds(three), scene.refused(Refusal::TooMany)), (vec![Kind::Eot], 1));
    // An open flow does not wait.
    scene.decided(flow, Decision::Accept);
    scene.say(four, &for_handler);
    scene.desk.memory = Some(scene.desk.charged + 10);
    scene.say(three, &bot(Direction::Extract, 1));
    assert_eq!((scene.kinds(three), scene.refused(Refusal::NoMemory)), (vec![Kind::Eot], 1));
    scene.desk.memory = None;
    scene.ask(three, &bot(Direction::Extract, 1));
    let last = End::of(scene.peers.insert(()));
    assert!(scene.table.join(last, Shape::Single));
    assert!(!scene.table.join(last, Shape::Single));
    let beyond = End::of(scene.peers.insert(()));
    assert!(!scene.table.join(beyond, Shape::Single));
    scene.say(beyond, &dat(1));
    assert_eq!(scene.dropped("no_end"), 1);
}

#[test]
fn without_a_rule_or_a_factory_a_client_is_refused_at_once() {
    let mut scene = Scene::new(FlowSettings::default());
    let client = scene.end();
    scene.say(client, &bot(Direction::Extract, 2));
    let answer = r#"{"flow": "EOT", "credit": 2, "direction": "inject"}"#;
    assert_eq!(scene.heard(client), [frame(answer, 0, &[])]);
    assert_eq!((scene.refused(Refusal::Rule), scene.table.len()), (1, 0));
}

#[test]
fn many_flows_that_come_and_go_leave_no_timers_behind() {
    let mut scene = Scene::with_factory();
    let client = scene.end();
    for _ in 0..500 {
        let (flow, _) = scene.ask(client, &bot(Direction::Extract, 2));
        scene.decided(flow, Decision::Refuse);
    }
    assert!(scene.table.timers.len() <= TIMERS_SPARE, "{}", scene.table.timers.len());
    assert_eq!(scene.refused(Refusal::Factory), 500);
}

#[test]
fn a_connection_may_have_many_ends() {
    let mut scene = Scene::with_factory();
    let peer = scene.peers.insert(());
    let lanes: Vec<End> = (1..4).map(|lane| End { peer, lane }).collect();
    let others: [End; 3] = scene.ends();
    for (client, handler) in lanes.iter().zip(others) {
        scene.says(*client, &bare(&bot(Direction::Extract, 2)), Some(1000));
        let (flow, for_handler) = scene.desk.decide.pop_front().expect("the factory is asked");
        scene.decided(flow, Decision::Accept);
        scene.say(handler, &for_handler);
        assert_eq!((scene.kinds(handler), scene.heard(*client).len()), (vec![Kind::Bot], 1));
    }
    scene.table.lost(scene.now, lanes[1], &mut scene.desk);
    scene.audit();
    assert_eq!(others.map(|end| scene.kinds(end).len()), [0, 1, 0]);
    scene.say(others[2], &pay(1, 100));
    scene.says(lanes[2], &bare(&dat(100)), None);
    assert_eq!(scene.heard(others[2]), [dat(100)]);
    scene.lose(lanes[0]);
    assert_eq!(others.map(|end| scene.kinds(end).len()), [1, 0, 1]);
    assert_eq!((scene.table.len(), scene.desk.charged), (0, 0));
}

/// A message of one frame, as a lane says it.
fn bare(message: &Message) -> Message {
    Zio::decode(Shape::Single, message.frames()).unwrap().to_message(Shape::Bare)
}
