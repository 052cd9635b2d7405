//! SCATTER at the desk: who gets it, and what its caller is told.

use super::*;
use crate::wire::mjp::{
    Answer as MjpAnswer, Event, EventHeader, Fault, FromBroker, Packed, ReadyHeader, Recipients,
    Request as MjpRequest, RequestHeader, Scatter, ScatterHeader, Tally, ToBroker,
};
use crate::wire::nfp::Kind;

/// What a caller was told of a scatter.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Targets(Vec<String>),
    Outcome(String, String, Option<String>, String),
    Tally(Tally),
    Error(String),
}

impl Desk {
    pub(super) fn named_worker(
        &mut self,
        name: &str,
        credit: u16,
        labels: &[(&str, &str)],
    ) -> PeerId {
        let identity = crate::id::Identity::try_from(name.as_bytes()).ok();
        let hello = Hello { identity, ..Hello::default() };
        let peer = self.core.join(self.now, hello, &mut self.said).0;
        let says = ReadyHeader {
            service: b"echo",
            credit: std::num::NonZeroU16::new(credit),
            labels: labels.iter().copied().collect(),
            ..ReadyHeader::default()
        };
        self.mjp(peer, &ToBroker::Ready(says));
        peer
    }

    fn scatter(&mut self, client: PeerId, id: u64, to: Recipients<'_>, timeout: Option<u64>) {
        let says = ScatterHeader { timeout, ..ScatterHeader::new(b"echo", to) };
        let (header, body) = (Packed::new(&says), Message::new([id.to_string().into_bytes()]));
        let (header, body) = (header.octets(), body.frames());
        self.mjp(client, &ToBroker::Scatter(Scatter { id, header, says, body }));
    }

    fn bodies(&self, worker: PeerId) -> Vec<String> {
        let works = self.works(worker).into_iter();
        works.map(|given| String::from_utf8(given.body).unwrap()).collect()
    }

    fn told_of(&self, client: PeerId, id: u64) -> Vec<Told> {
        let said = self.said.to.get(client).into_iter().flatten();
        let told = said.filter_map(|message| match FromBroker::decode(message.frames()).unwrap() {
            FromBroker::Targets(targets) if targets.id == id => {
                Some(Told::Targets(targets.names().unwrap()))
            }
            FromBroker::Outcome(outcome) if outcome.id == id => {
                let mut body = outcome.body;
                let body = String::from_utf8(body.take_first().unwrap_or_default().to_vec());
                let says = outcome.says;
                let (target, end) = (says.target.to_owned(), says.outcome.to_owned());
                Some(Told::Outcome(target, end, says.code.map(str::to_owned), body.unwrap()))
            }
            FromBroker::Final(MjpAnswer { id: own, header, .. }) if own == id => {
                Some(Told::Tally(Tally::decode(header).unwrap()))
            }
            FromBroker::Error(failure) if failure.id == id => {
                Some(Told::Error(Fault::decode(failure.header).unwrap().code.to_owned()))
            }
            _ => None,
        });
        told.collect()
    }
}

fn targets(names: &[&str]) -> Told {
    Told::Targets(names.iter().map(|name| (*name).to_owned()).collect())
}

fn outcome(target: &str, end: &str, code: Option<&str>, body: &str) -> Told {
    Told::Outcome(target.into(), end.into(), code.map(Into::into), body.into())
}

fn desk() -> Desk {
    Desk::new(ServicePolicy::default())
}

#[test]
fn each_target_has_one_outcome_and_then_there_is_a_tally() {
    let mut desk = desk();
    let (a, b) = (desk.named_worker("a", 1, &[]), desk.named_worker("b", 1, &[]));
    let client = desk.join();
    desk.scatter(client, 7, Recipients::All, None);
    assert_eq!(desk.told_of(client, 7), [targets(&["a", "b"])]);
    desk.reply(b, "7", true);
    desk.leave(a);
    let tally = Tally { replied: 1, lost: 1, ..Tally::default() };
    let wanted = [
        targets(&["a", "b"]),
        outcome("b", "replied", None, "answer"),
        outcome("a", "lost", Some("worker_lost"), ""),
        Told::Tally(tally),
    ];
    assert_eq!(desk.told_of(client, 7), wanted);
    assert!(desk.core.is_drained());
}

#[test]
fn a_part_waits_for_its_own_worker_and_comes_before_the_queue() {
    let mut desk = desk();
    let (a, client) = (desk.named_worker("a", 1, &[]), desk.join());
    desk.ask(client, b"first");
    desk.ask(client, b"second");
    let caller = desk.join();
    desk.scatter(caller, 1, Recipients::Names(vec!["a"]), None);
    let b = desk.named_worker("b", 2, &[]);
    assert_eq!(desk.bodies(b), ["second"], "who is free takes from the queue, no part");
    desk.reply(a, "first", true);
    assert_eq!(desk.bodies(a), ["first", "1"]);
    desk.reply(a, "1", true);
    let tally = Told::Tally(Tally { replied: 1, ..Tally::default() });
    assert_eq!(desk.told_of(caller, 1).last(), Some(&tally));
}

#[test]
fn a_part_that_waits_is_lost_with_its_worker_cancelled_by_its_caller_or_late() {
    let mut desk = desk();
    let (a, filler) = (desk.named_worker("a", 1, &[]), desk.join());
    desk.ask(filler, b"x");
    let (lost, cancelled, late) = (desk.join(), desk.join(), desk.join());
    desk.scatter(cancelled, 1, Recipients::All, None);
    desk.scatter(late, 1, Recipients::All, Some(100));
    desk.scatter(lost, 1, Recipients::All, None);
    desk.mjp(cancelled, &ToBroker::Cancel { id: 1 });
    desk.pass(Duration::from_millis(200));
    desk.leave(a);
    let end = |desk: &Desk, client| match &desk.told_of(client, 1)[..] {
        [Told::Targets(_), Told::Outcome(_, end, code, _), Told::Tally(_)] => {
            (end.clone(), code.clone().unwrap())
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(end(&desk, cancelled), ("cancelled".into(), "cancelled".into()));
    assert_eq!(end(&desk, late), ("timed_out".into(), "timeout".into()));
    assert_eq!(end(&desk, lost), ("lost".into(), "worker_lost".into()));
}

#[test]
fn recipients_are_named_or_labelled_and_of_this_service() {
    let mut desk = desk();
    desk.named_worker("a", 1, &[("zone", "x"), ("gpu", "yes")]);
    desk.named_worker("b", 1, &[("zone", "y")]);
    let client = desk.join();
    let zone = |zone| Recipients::Labels([("zone", zone)].into());
    desk.scatter(client, 1, zone("x"), None);
    desk.scatter(client, 2, zone("z"), None);
    desk.scatter(client, 3, Recipients::Names(vec!["b", "b", "nobody"]), None);
    desk.scatter(client, 3, Recipients::All, None);
    assert_eq!(desk.told_of(client, 1), [targets(&["a"])]);
    assert_eq!(desk.told_of(client, 2), [Told::Error("no_target".into())]);
    let twice = [targets(&["b"]), Told::Error("duplicate_id".into())];
    assert_eq!(desk.told_of(client, 3), twice);
}

#[test]
fn a_caller_that_leaves_leaves_nothing_behind() {
    let mut desk = desk();
    let (a, b) = (desk.named_worker("a", 1, &[]), desk.named_worker("b", 1, &[]));
    let client = desk.join();
    for id in 1..4 {
        desk.scatter(client, id, Recipients::All, None);
    }
    desk.leave(client);
    desk.reply(a, "1", true);
    desk.reply(b, "1", true);
    assert_eq!(desk.core.router().open_requests(), 0);
    desk.pass(Duration::from_secs(601));
    assert!(desk.core.router().jobs.is_empty());
}

#[test]
fn a_part_is_not_found_by_a_number_that_its_caller_did_not_give_it() {
    let mut desk = desk();
    let (a, client) = (desk.named_worker("a", 1, &[]), desk.join());
    desk.scatter(client, 1, Recipients::All, None);
    let token = desk.works(a)[0].token;
    desk.mjp(client, &ToBroker::Cancel { id: token });
    assert_eq!(desk.told_of(client, 1), [targets(&["a"])], "it goes on");
    // The number is free, and stands for another request from then on.
    let says = RequestHeader { service: b"none", ..RequestHeader::default() };
    let (header, body) = (Packed::new(&says), Message::new([&b"x"[..]]));
    let (header, body) = (header.octets(), body.frames());
    desk.mjp(client, &ToBroker::Request(MjpRequest { id: token, header, says, body }));
    assert_eq!(desk.told_of(client, token), []);
    desk.reply(a, "1", true);
    desk.mjp(client, &ToBroker::Cancel { id: token });
    assert_eq!(desk.told_of(client, token), [Told::Error("cancelled".into())]);
}

#[test]
fn a_part_that_is_due_when_it_comes_is_given_to_nobody() {
    let mut desk = desk();
    let (a, client) = (desk.named_worker("a", 1, &[]), desk.join());
    desk.scatter(client, 1, Recipients::All, Some(0));
    let late = [
        targets(&["a"]),
        outcome("a", "timed_out", Some("timeout"), ""),
        Told::Tally(Tally { timed_out: 1, ..Tally::default() }),
    ];
    assert_eq!(desk.told_of(client, 1), late);
    assert_eq!(desk.bodies(a), [""; 0]);
}

#[test]
fn a_part_that_waits_for_credit_is_waited_for_when_the_broker_stops() {
    let mut desk = desk();
    let (a, client) = (desk.named_worker("a", 1, &[]), desk.join());
    desk.scatter(client, 1, Recipients::All, None);
    desk.scatter(client, 2, Recipients::All, None);
    desk.mjp(a, &ToBroker::Credit { credit: 0 });
    desk.core.drain(desk.now, Duration::from_secs(9), &mut desk.said);
    desk.reply(a, "1", true);
    assert!(!desk.core.is_drained(), "the second part waits for credit");
    desk.leave(a);
    assert!(desk.core.is_drained());
}

#[test]
fn who_wants_to_know_hears_what_happens_at_each_target() {
    let mut desk = Desk::new(ServicePolicy::default());
    let (client, worker) = (desk.join(), desk.enter("a", false));
    desk.ready(worker, 4);
    let nfp = desk.nfp_ready("b", "echo");
    let scatter = |desk: &mut Desk, id, events: Option<bool>| {
        let to = if events.is_some() { Recipients::All } else { Recipients::Names(vec!["a"]) };
        let says = ScatterHeader { events, ..ScatterHeader::new(b"echo", to) };
        let (header, body) = (Packed::new(&says), Message::new([&br#"{"task":"run"}"#[..]]));
        let (header, body) = (header.octets(), body.frames());
        desk.mjp(client, &ToBroker::Scatter(Scatter { id, header, says: says.clone(), body }));
    };
    let event = |desk: &mut Desk, message| {
        let id = desk.works(worker).last().unwrap().token;
        let says = EventHeader { message: Some(message), ..EventHeader::default() };
        let (packed, body) = (Packed::new(&says), Message::new([&b"body"[..]]));
        let (header, body) = (packed.octets(), body.frames());
        desk.mjp(worker, &ToBroker::Event(Event { id, header, body }));
    };
    scatter(&mut desk, 1, None);
    event(&mut desk, "unheard");
    assert_eq!(desk.core.router().talk().events_unwanted, 1);
    assert_eq!(desk.heard(client), ["TARGETS 1"]);
    scatter(&mut desk, 2, Some(true));
    event(&mut desk, "half");
    let (_, caller, uuid, _) = desk.orders(nfp).pop().unwrap();
    let step = r#"{"event_type":"progress","message":"step"}"#;
    desk.report(nfp, Kind::Event, &caller, &uuid, "200", step);
    assert_eq!(
        desk.heard(client),
        ["TARGETS 2", "NOTE 2 a half body", &format!("NOTE 2 b step {step}")]
    );
    // Nothing happens where it has ended, and an event is no outcome.
    desk.reply(worker, r#"{"task":"run"}"#, true);
    event(&mut desk, "too late");
    desk.said.pressed.push(client);
    desk.report(nfp, Kind::Event, &caller, &uuid, "200", step);
    desk.report(nfp, Kind::Response, &caller, &uuid, "200", "{}");
    assert_eq!(desk.heard(client), ["OUTCOME 2", "OUTCOME 2", "FINAL 2 "]);
}
