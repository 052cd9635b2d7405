//! A stop ends every flow and loses nothing that can be kept.

use super::*;

impl Scene {
    fn stop(&mut self) {
        self.table.stop(self.now, secs(10), &mut self.desk);
        self.audit();
    }
}

#[test]
fn a_stop_lets_the_giver_finish_and_then_ends_the_taker() {
    let mut scene = Scene::with_factory();
    let [giver, taker] = scene.pair(Direction::Extract, 5);
    scene.say(taker, &pay(5, 1));
    scene.heard(giver);
    scene.stop();
    assert_eq!((scene.heard(giver), scene.heard(taker)), (vec![eot(2)], vec![]));
    assert!(!scene.table.is_stopped());
    scene.say(giver, &dat(1));
    scene.say(taker, &pay(1, 2));
    scene.say(giver, &eot(2));
    assert_eq!((scene.heard(taker), scene.heard(giver)), (vec![dat(1), eot(2)], vec![]));
    assert!(!scene.table.is_stopped());
    scene.say(taker, &eot(3));
    assert!(scene.table.is_stopped() && scene.table.is_empty());
}

#[test]
fn a_stop_refuses_those_that_wait_and_those_that_come() {
    let mut scene = Scene::with_factory();
    let [client, early, newcomer, stray] = scene.ends();
    let (flow, for_handler) = scene.ask(client, &bot(Direction::Inject, 2));
    scene.say(early, &for_handler);
    scene.stop();
    assert_eq!((scene.kinds(client), scene.kinds(early)), (vec![Kind::Eot], vec![Kind::Eot]));
    assert!(scene.table.is_stopped());
    scene.say(newcomer, &bot(Direction::Extract, 2));
    scene.say(stray, &for_handler);
    scene.decided(flow, Decision::Accept);
    assert_eq!((scene.kinds(newcomer), scene.kinds(stray)), (vec![Kind::Eot], vec![Kind::Eot]));
    assert_eq!(scene.refused(Refusal::Stopping), 2);
    assert!(scene.table.is_stopped());
}

#[test]
fn a_stop_does_not_wait_for_a_giver_that_hangs_longer_than_half_its_time() {
    let mut scene = Scene::with_factory();
    let [giver, taker] = scene.pair(Direction::Inject, 5);
    let (giver, taker) = (taker, giver);
    scene.stop();
    assert_eq!(scene.heard(giver), [eot(1)]);
    scene.wait(secs(4));
    assert_eq!(scene.heard(taker), []);
    scene.wait(secs(1));
    assert_eq!((scene.heard(taker), scene.heard(giver)), (vec![eot(1)], vec![]));
    scene.say(taker, &eot(1));
    assert!(scene.table.is_empty() && !scene.table.is_stopped());
    assert_eq!(scene.outcomes(), [Outcome::Stopped]);
    scene.wait(secs(5));
    assert!(scene.table.is_stopped());
}

#[test]
fn a_flow_that_ends_already_ends_by_itself() {
    let mut scene = Scene::with_factory();
    let [client, handler] = scene.pair(Direction::Extract, 5);
    scene.say(client, &eot(1));
    scene.heard(handler);
    scene.stop();
    assert_eq!((scene.heard(client), scene.heard(handler)), (vec![], vec![]));
    scene.say(handler, &eot(1));
    assert!(scene.table.is_stopped());
    assert_eq!(scene.outcomes(), [Outcome::Finished]);
}

#[test]
fn a_giver_that_gives_without_credit_when_it_ends_does_not_reach_its_taker() {
    let mut scene = Scene::with_factory();
    let [giver, taker] = scene.pair(Direction::Extract, 5);
    scene.say(taker, &pay(1, 1));
    scene.stop();
    scene.say(giver, &dat(1));
    scene.heard(giver);
    assert_eq!(scene.heard(taker), [dat(1)]);
    scene.say(giver, &dat(2));
    assert_eq!((scene.heard(giver), scene.heard(taker)), (vec![], vec![eot(2)]));
    assert_eq!(scene.outcomes(), [Outcome::Stopped]);
}

#[test]
fn a_taker_that_said_eot_itself_is_not_waited_for_again() {
    let mut scene = Scene::with_factory();
    let [giver, taker] = scene.pair(Direction::Extract, 5);
    scene.stop();
    scene.say(taker, &eot(1));
    scene.say(giver, &eot(1));
    assert_eq!((scene.heard(giver), scene.heard(taker)), (vec![eot(1)], vec![eot(1)]));
    assert!(scene.table.is_stopped());
}

#[test]
fn a_stop_frees_a_taker_that_was_not_read() {
    let mut scene = Scene::with_factory();
    let [giver, taker] = scene.pair(Direction::Extract, 5);
    scene.desk.full.insert(giver);
    assert_eq!(scene.offer(taker, &pay(5, 1)), Taken::NotYet);
    scene.stop();
    assert_eq!((scene.desk.resumed.clone(), scene.heard(giver)), (vec![taker], vec![eot(1)]));
    scene.say(taker, &pay(5, 1));
    assert_eq!(scene.heard(giver), []);
    scene.lose(giver);
    assert_eq!(scene.kinds(taker), [Kind::Eot]);
}

#[test]
fn nothing_is_to_be_waited_for_without_a_stop() {
    let mut scene = Scene::with_factory();
    assert!(scene.table.is_empty() && !scene.table.is_stopped());
    scene.stop();
    assert!(scene.table.is_stopped());
}
