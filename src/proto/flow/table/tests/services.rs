//! Flow services: rules, handlers that take turns, and those that fail.

use super::*;
use crate::id::ServiceName;
use crate::proto::flow::rules::FlowRule;

fn name(text: &str) -> ServiceName {
    ServiceName::try_from(text.as_bytes()).unwrap()
}

/// What is extracted is for `writer`, everything else is refused.
fn scene() -> Scene {
    Scene::new(FlowSettings {
        rules: vec![FlowRule {
            direction: Some(Direction::Extract),
            attributes: Vec::new(),
            target: Target::Service(name("writer")),
        }],
        handlers_max: 4,
        ..FlowSettings::default()
    })
}

impl Scene {
    fn handler(&mut self, credit: u32) -> (End, HandlerId) {
        let end = End::of(self.peers.insert(()));
        let offered =
            self.table.offer(self.now, end, name("writer"), credit, &mut self.desk).unwrap();
        self.audit();
        (end, offered)
    }

    fn client(&mut self) -> End {
        let client = self.end();
        self.say(client, &bot(Direction::Extract, 2));
        client
    }

    fn assigned(&mut self) -> Vec<(End, Message)> {
        self.desk.assigned.drain(..).map(|(end, _, bot)| (end, bot)).collect()
    }

    /// The handler comes for a flow with an end of its own.
    fn come(&mut self, bot: &Message) -> End {
        let end = self.end();
        self.say(end, bot);
        end
    }

    fn finish(&mut self, one: End, other: End) {
        self.say(one, &eot(1));
        self.say(other, &eot(1));
        self.heard(one);
        self.heard(other);
    }
}

#[test]
fn handlers_take_turns_the_least_recently_used_first() {
    let mut scene = scene();
    let handlers = [1, 1, 1].map(|credit| scene.handler(credit).0);
    let mut pairs = Vec::new();
    for expected in handlers {
        let client = scene.client();
        let assigned = scene.assigned();
        let [(to, bot)] = &assigned[..] else { panic!("{assigned:?}") };
        assert_eq!(*to, expected);
        pairs.push((client, scene.come(bot)));
    }
    let waiting = [scene.client(), scene.client()];
    assert_eq!(scene.assigned(), []);
    // The second is free first, and then the first; who waits longest is served first.
    for (freed, client) in [(1, waiting[0]), (0, waiting[1])] {
        let (one, other) = pairs[freed];
        scene.finish(one, other);
        let assigned = scene.assigned();
        let [(to, bot)] = &assigned[..] else { panic!("{assigned:?}") };
        assert_eq!(*to, handlers[freed]);
        scene.come(bot);
        assert_eq!(scene.kinds(client), [Kind::Bot]);
    }
}

#[test]
fn a_handler_with_credit_left_has_its_turn_like_the_others() {
    let mut scene = scene();
    let wide = scene.handler(4).0;
    let narrow = scene.handler(2).0;
    let turns = [(); 6].map(|()| {
        scene.client();
        scene.assigned()[0].0
    });
    assert_eq!(turns, [wide, narrow, wide, narrow, wide, wide]);
}

#[test]
fn credit_is_how_many_flows_a_handler_has() {
    let mut scene = scene();
    let (end, handler) = scene.handler(0);
    let clients = [(); 4].map(|()| scene.client());
    assert_eq!(scene.assigned(), []);
    scene.table.set_credit(scene.now, handler, 3, &mut scene.desk);
    scene.audit();
    let bots = scene.assigned();
    assert_eq!(bots.iter().map(|(to, _)| *to).collect::<Vec<_>>(), [end; 3]);
    let first = scene.come(&bots[0].1);
    scene.table.set_credit(scene.now, handler, 1, &mut scene.desk);
    scene.finish(clients[0], first);
    assert_eq!(scene.assigned(), []);
    scene.lose(clients[1]);
    scene.lose(clients[2]);
    assert_eq!(scene.assigned().len(), 1);
}

#[test]
fn a_flow_whose_handler_is_lost_goes_to_another_one_at_its_old_place() {
    let mut scene = scene();
    let (lost, _) = scene.handler(1);
    let first = scene.client();
    let second = scene.client();
    assert_eq!(scene.assigned().len(), 1);
    scene.lose(lost);
    assert_eq!((scene.heard(first), scene.assigned()), (vec![], vec![]));
    let (end, _) = scene.handler(1);
    let bots = scene.assigned();
    assert_eq!(bots[0].0, end);
    let come = scene.come(&bots[0].1);
    assert_eq!((scene.kinds(first), scene.heard(second)), (vec![Kind::Bot], vec![]));
    // A flow that runs does not need the offer any more.
    scene.heard(come);
    scene.lose(end);
    scene.assert_runs(first, come);
    scene.finish(first, come);
    assert_eq!(scene.assigned(), []);
    assert_eq!(scene.table.len(), 1);
}

#[test]
fn a_flow_that_nobody_can_take_is_refused_in_time() {
    let mut scene = scene();
    let client = scene.client();
    scene.wait(secs(20));
    let (_, handler) = scene.handler(1);
    let bots = scene.assigned();
    // The one that was chosen has its own time.
    scene.wait(secs(29));
    assert_eq!(scene.heard(client), []);
    scene.wait(secs(1));
    assert_eq!((scene.kinds(client), scene.refused(Refusal::NoHandler)), (vec![Kind::Eot], 1));
    let late = scene.come(&bots[0].1);
    assert_eq!(scene.kinds(late), [Kind::Eot]);
    // It is asked again for the next one.
    scene.client();
    assert_eq!(scene.assigned().len(), 1);
    scene.table.withdraw(scene.now, handler, &mut scene.desk);
    scene.audit();
    scene.wait(secs(30));
    assert_eq!((scene.table.len(), scene.desk.charged), (0, 0));
    assert_eq!(scene.table.outcomes().get("refused"), Some(&2));
}

#[test]
fn a_handler_that_declines_has_its_client_refused() {
    let mut scene = scene();
    scene.handler(1);
    let client = scene.client();
    let (_, flow, _) = scene.desk.assigned.pop_front().unwrap();
    let other = scene.client();
    scene.table.declined(scene.now, flow, &mut scene.desk);
    scene.audit();
    assert_eq!((scene.kinds(client), scene.heard(other)), (vec![Kind::Eot], vec![]));
    assert_eq!(scene.assigned().len(), 1);
    scene.table.declined(scene.now, flow, &mut scene.desk);
    assert_eq!(scene.refused(Refusal::Factory), 1);
}

#[test]
fn the_id_of_a_flow_in_a_queue_is_nobodys_yet() {
    let mut scene = scene();
    let client = scene.client();
    let cid = *scene.table.by_cid.first_key_value().unwrap().0;
    let label = format!(r#"{{"flow": "BOT", "credit": 2, "direction": "inject", "cid": {cid}}}"#);
    let thief = scene.come(&frame(&label, 0, &[]));
    assert_eq!((scene.kinds(thief), scene.heard(client)), (vec![Kind::Eot], vec![]));
}

#[test]
fn rules_and_factory_may_both_name_a_service() {
    let mut settings = scene().table.settings;
    settings.otherwise = Target::Factory;
    let mut scene = Scene::new(settings);
    let (end, _) = scene.handler(5);
    scene.client();
    assert_eq!((scene.assigned().len(), scene.desk.decide.len()), (1, 0));
    let [client, early] = scene.ends();
    let (flow, for_handler) = scene.ask(client, &bot(Direction::Inject, 2));
    scene.say(early, &for_handler);
    scene.decided(flow, Decision::Service(name("writer")));
    assert_eq!(scene.kinds(early), [Kind::Eot]);
    let bots = scene.assigned();
    assert_eq!(bots, [(end, for_handler)]);
    scene.come(&bots[0].1);
    assert_eq!(scene.kinds(client), [Kind::Bot]);
}

#[test]
fn offers_are_limited() {
    let mut scene = scene();
    for _ in 0..4 {
        scene.handler(1);
    }
    let end = End::of(scene.peers.insert(()));
    let offered = scene.table.offer(scene.now, end, name("writer"), 1, &mut scene.desk);
    assert_eq!(offered, Err(OfferError::TooMany { max: 4 }));
    scene.table.stop(scene.now, secs(1), &mut scene.desk);
    let offered = scene.table.offer(scene.now, end, name("writer"), 1, &mut scene.desk);
    assert_eq!(offered, Err(OfferError::Stopping));
}
