//! Peers of NFP at the desk.

use super::*;
use crate::id::Identity;
use crate::wire::mjp::{Packed, Recipients, Scatter, ScatterHeader, ToBroker};
use crate::wire::nfp::body;
use crate::wire::nfp::{
    self, Era, FromClient, FromWorker, Job, Kind, Order, Reply, ToClient, ToWorker, Verb,
};

const ADD: &str = r#"{"task":"add","kwargs":{},"args":[1,2],"timeout":60}"#;

/// A reply as a client gets it: command, service, uuid, status, body.
type Heard = (Kind, String, String, String, String);

fn text(octets: &[u8]) -> String {
    String::from_utf8(octets.to_vec()).unwrap()
}

impl Desk {
    pub(super) fn enter(&mut self, name: &str, house: bool) -> PeerId {
        let identity = Identity::try_from(name.as_bytes()).ok();
        let hello = Hello { identity, house, ..Hello::default() };
        self.core.join(self.now, hello, &mut self.said).0
    }

    pub(super) fn nfp_ready(&mut self, name: &str, service: &str) -> PeerId {
        let peer = self.enter(name, false);
        self.work(peer, FromWorker::Ready { service: service.as_bytes() });
        peer
    }

    pub(super) fn work(&mut self, worker: PeerId, says: FromWorker<'_>) {
        self.say(worker, |out| says.encode(out));
    }

    pub(super) fn job(
        &mut self,
        client: PeerId,
        verb: Verb,
        service: &str,
        target: &str,
        uuid: &str,
    ) {
        self.job_with(client, verb, service, target, uuid, ADD);
    }

    pub(super) fn job_with(
        &mut self,
        client: PeerId,
        verb: Verb,
        service: &str,
        target: &str,
        uuid: &str,
        body: &str,
    ) {
        let body = Message::new([body.to_owned().into_bytes()]);
        let job = Job {
            verb,
            service: service.as_bytes(),
            target: target.as_bytes(),
            uuid: uuid.as_bytes(),
            body: body.frames(),
        };
        self.say(client, |out| FromClient::Job(job).encode(out));
    }

    pub(super) fn report(
        &mut self,
        worker: PeerId,
        kind: Kind,
        to: &str,
        uuid: &str,
        status: &str,
        b: &str,
    ) {
        let body = Message::new([b.to_owned().into_bytes()]);
        let answer = nfp::Answer {
            kind,
            client: to.as_bytes(),
            uuid: uuid.as_bytes(),
            status: status.as_bytes(),
            body: body.frames(),
        };
        self.say(worker, |out| answer.encode(out));
    }

    /// What a client was told since it was last looked at.
    pub(super) fn told(&mut self, client: PeerId) -> Vec<Heard> {
        self.fresh(client)
            .iter()
            .map(|message| match ToClient::decode(message.frames()).unwrap() {
                (_, ToClient::Reply(Reply { kind, service, uuid, status, mut body })) => {
                    let body = body.take_first().unwrap_or_default();
                    (kind, text(service), text(uuid), text(status), text(body))
                }
                (_, ToClient::Plain { service, text: why }) => {
                    let nothing = String::new;
                    (Kind::Response, text(service), nothing(), nothing(), text(why))
                }
            })
            .collect()
    }

    pub(super) fn statuses(&mut self, client: PeerId) -> Vec<String> {
        self.told(client).into_iter().map(|(.., status, _)| status).collect()
    }

    /// What a worker was given: command, client, uuid, body.
    pub(super) fn orders(&mut self, worker: PeerId) -> Vec<(Verb, String, String, String)> {
        let fresh = self.fresh(worker);
        let orders = fresh.iter().filter_map(|message| match ToWorker::decode(message.frames()) {
            Ok((_, ToWorker::Order(Order { verb, client, uuid, mut body }))) => {
                let body = body.take_first().unwrap_or_default();
                Some((verb, text(client), text(uuid), text(body)))
            }
            _ => None,
        });
        orders.collect()
    }

    pub(super) fn disconnects(&mut self, worker: PeerId) -> usize {
        let fresh = self.fresh(worker);
        let said = fresh.iter().filter(|message| {
            matches!(ToWorker::decode(message.frames()), Ok((_, ToWorker::Disconnect { .. })))
        });
        said.count()
    }

    fn fresh(&mut self, peer: PeerId) -> Vec<Message> {
        let all = self.said.to.get(peer).map(Vec::as_slice).unwrap_or_default();
        let read = self.read.insert(peer, all.len()).unwrap_or_default();
        all.get(read..).unwrap_or_default().to_vec()
    }
}

fn desk() -> Desk {
    Desk::new(ServicePolicy::default())
}

#[test]
fn a_job_is_said_to_be_dispatched_and_comes_back_in_order() {
    let mut desk = desk();
    let (worker, client) = (desk.nfp_ready("w1", "svc"), desk.enter("c1", false));
    desk.job(client, Verb::Post, "svc", "any", "u1");
    let told = desk.told(client);
    let [(Kind::Response, service, uuid, status, body)] = &told[..] else { panic!("{told:?}") };
    assert_eq!((&service[..], &uuid[..], &status[..]), ("svc", "u1", "202"));
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    let wanted = serde_json::json!({
        "workers": ["w1"], "uuid": "u1", "target": "any", "status": "DISPATCHED", "service": "svc"
    });
    assert_eq!(body, wanted);
    let given = desk.orders(worker);
    assert_eq!(given, [(Verb::Post, "c1".into(), "u1".into(), ADD.into())]);

    desk.report(worker, Kind::Response, "c1", "u1", "201", "{}");
    desk.report(worker, Kind::Event, "c1", "u1", "200", r#"{"event_type":"progress"}"#);
    desk.report(worker, Kind::Stream, "c1", "u1", "200", "raw");
    desk.report(worker, Kind::Response, "c1", "u1", "200", r#"{"w1":{}}"#);
    let kinds: Vec<_> = desk.told(client).into_iter().map(|(kind, ..)| kind).collect();
    assert_eq!(kinds, [Kind::Response, Kind::Event, Kind::Stream, Kind::Response]);
    let (_, job) = desk.core.router().jobs.named(b"u1").unwrap();
    assert_eq!(job.progress(), crate::proto::jobs::Progress::Replied);
}

#[test]
fn targets_are_all_any_a_name_or_a_list() {
    let mut desk = desk();
    let workers: Vec<_> = ["w1", "w2", "w3"].map(|name| desk.nfp_ready(name, "svc")).into();
    let other = desk.nfp_ready("x1", "other");
    let client = desk.enter("c", false);
    let mut number = 0;
    let mut given_to = |desk: &mut Desk, service: &str, target: &str| {
        number += 1;
        desk.job(client, Verb::Post, service, target, &format!("u{number}"));
        let mut given: Vec<usize> = workers.iter().map(|w| desk.orders(*w).len()).collect();
        given.push(desk.orders(other).len());
        (desk.statuses(client), given)
    };
    let (dispatched, refused) = (vec!["202".to_owned()], vec!["400".to_owned()]);
    assert_eq!(given_to(&mut desk, "svc", "all"), (dispatched.clone(), vec![1, 1, 1, 0]));
    assert_eq!(given_to(&mut desk, "svc", "w2"), (dispatched.clone(), vec![0, 1, 0, 0]));
    let list = r#"["w3","w1","w1","nobody"]"#;
    assert_eq!(given_to(&mut desk, "svc", list), (dispatched.clone(), vec![1, 0, 1, 0]));
    assert_eq!(given_to(&mut desk, "all", "all"), (dispatched.clone(), vec![1, 1, 1, 1]));
    assert_eq!(given_to(&mut desk, "all", "x1"), (dispatched.clone(), vec![0, 0, 0, 1]));
    for target in ["", "[]", "w1,w2", "nobody", "x1", r#"{"w1":1}"#] {
        assert_eq!(given_to(&mut desk, "svc", target), (refused.clone(), vec![0; 4]), "{target}");
    }
    assert_eq!(given_to(&mut desk, "unknown", "all"), (refused, vec![0; 4]));
    let (_, any) = given_to(&mut desk, "svc", "any");
    assert_eq!(any.iter().sum::<usize>(), 1);
}

#[test]
fn any_is_the_worker_with_the_least_to_do() {
    let mut desk = desk();
    let (a, b) = (desk.nfp_ready("a", "svc"), desk.nfp_ready("b", "svc"));
    let client = desk.enter("c", false);
    for uuid in ["u1", "u2", "u3"] {
        desk.job(client, Verb::Post, "svc", "a", uuid);
    }
    desk.orders(a);
    for uuid in ["u4", "u5", "u6"] {
        desk.job(client, Verb::Post, "svc", "any", uuid);
    }
    assert_eq!((desk.orders(a).len(), desk.orders(b).len()), (0, 3));
    for uuid in ["u4", "u5", "u6"] {
        desk.report(b, Kind::Response, "c", uuid, "200", "{}");
    }
    desk.job(client, Verb::Post, "svc", "any", "u7");
    assert_eq!(desk.orders(b).len(), 1, "what is done is no work any more");
}

#[test]
fn get_is_dispatched_again_and_put_is_not() {
    let mut desk = desk();
    let (worker, client) = (desk.nfp_ready("w", "svc"), desk.enter("c", false));
    desk.job(client, Verb::Post, "svc", "w", "u");
    desk.job(client, Verb::Get, "svc", "w", "u");
    desk.job(client, Verb::Put, "svc", "w", "u");
    assert_eq!(desk.statuses(client), ["202", "202"]);
    let verbs: Vec<_> = desk.orders(worker).into_iter().map(|(verb, ..)| verb).collect();
    assert_eq!(verbs, [Verb::Post, Verb::Get, Verb::Put]);
}

#[test]
fn the_job_of_another_client_is_refused_and_an_unknown_one_is_forwarded() {
    let mut desk = desk();
    let worker = desk.nfp_ready("w", "svc");
    let (owner, thief) = (desk.enter("owner", false), desk.enter("thief", false));
    desk.job(owner, Verb::Post, "svc", "w", "u");
    desk.orders(worker);
    for verb in [Verb::Get, Verb::Put, Verb::Delete, Verb::Post] {
        desk.job(thief, verb, "svc", "w", "u");
    }
    assert_eq!(desk.statuses(thief), ["400"; 4]);
    assert_eq!(desk.orders(worker), []);
    desk.report(worker, Kind::Response, "thief", "u", "200", "{}");
    assert_eq!(desk.told(thief), [], "whoever a worker names is no way around");
    // A broker that was restarted knows nothing of jobs.
    desk.job(thief, Verb::Get, "svc", "w", "older");
    assert_eq!(desk.statuses(thief), ["202"]);
    desk.report(worker, Kind::Response, "thief", "older", "200", "{}");
    assert_eq!(desk.statuses(thief), ["200"]);
}

#[test]
fn delete_ends_the_own_job_with_one_answer() {
    let mut desk = desk();
    let (worker, client) = (desk.nfp_ready("w", "svc"), desk.enter("c", false));
    desk.job(client, Verb::Post, "svc", "w", "u");
    desk.job(client, Verb::Delete, "svc", "w", "u");
    desk.job(client, Verb::Delete, "svc", "w", "unknown");
    assert_eq!(desk.statuses(client), ["202", "200", "404"]);
    let verbs: Vec<_> = desk.orders(worker).into_iter().map(|(verb, ..)| verb).collect();
    assert_eq!(verbs, [Verb::Post, Verb::Delete]);
}

#[test]
fn a_body_that_would_harm_a_worker_never_reaches_it() {
    let mut desk = desk();
    let (worker, client) = (desk.nfp_ready("w", "svc"), desk.enter("c", false));
    for body in ["", "no json", "[]", r#"{"kwargs":{}}"#] {
        desk.job_with(client, Verb::Post, "svc", "w", "u", body);
    }
    assert_eq!(desk.statuses(client), ["400"; 4]);
    assert_eq!(desk.orders(worker), []);
}

#[test]
fn an_unknown_worker_is_told_to_come_anew_and_bad_ready_harms_nobody() {
    let mut desk = desk();
    let stranger = desk.enter("w", false);
    for _ in 0..3 {
        desk.work(stranger, FromWorker::Keepalive { service: b"svc" });
    }
    assert_eq!(desk.disconnects(stranger), 1);
    desk.work(stranger, FromWorker::Ready { service: b"sid.service.broker" });
    assert_eq!(desk.core.router().workers_len(), 0, "that name is the broker's own");
    desk.work(stranger, FromWorker::Ready { service: b"svc" });
    desk.work(stranger, FromWorker::Ready { service: b"other" });
    assert_eq!(desk.core.router().workers_len(), 1);
    assert!(desk.core.router().is_served(b"svc"));
}

#[test]
fn a_silent_worker_is_given_up_after_its_keepalives_and_told_once() {
    let mut desk = desk();
    let (worker, client) = (desk.nfp_ready("w", "svc"), desk.enter("c", false));
    desk.pass(Duration::from_secs(14));
    desk.work(worker, FromWorker::Keepalive { service: b"svc" });
    desk.job(client, Verb::Post, "svc", "w", "u");
    desk.pass(Duration::from_secs(14));
    assert_eq!(desk.disconnects(worker), 0);
    desk.pass(Duration::from_secs(2));
    assert_eq!(desk.disconnects(worker), 1);
    desk.job(client, Verb::Get, "svc", "w", "u");
    assert_eq!(desk.statuses(client), ["202", "400"]);
    let (_, job) = desk.core.router().jobs.named(b"u").unwrap();
    assert_eq!(job.progress(), crate::proto::jobs::Progress::Lost);
    desk.pass(Duration::from_secs(601));
    assert!(desk.core.router().jobs.is_empty(), "what has ended is forgotten in time");
}

#[test]
fn the_house_is_asked_without_202_and_answers_twice() {
    let mut desk = desk();
    let house = desk.enter("house", true);
    desk.work(house, FromWorker::Ready { service: b"mmi.service.broker" });
    let client = desk.enter("c", false);
    desk.job(client, Verb::Mmi, "mmi.service.broker", "all", "u");
    assert_eq!(desk.told(client), []);
    let given = desk.orders(house);
    assert_eq!(given, [(Verb::Post, "c".into(), "u".into(), ADD.into())]);
    desk.report(house, Kind::Response, "c", "u", "200", "[]");
    let told = desk.told(client);
    let kinds: Vec<_> = told.iter().map(|(kind, .., body)| (*kind, &body[..])).collect();
    assert_eq!(kinds, [(Kind::Response, "[]"), (Kind::Mmi, "[]")]);
    desk.job(client, Verb::Mmi, "sid.service.broker", "all", "u");
    assert_eq!(desk.statuses(client), ["400", "400"], "nobody is at home");
    desk.job(client, Verb::Post, "all", "all", "v");
    assert_eq!(desk.statuses(client), ["400"], "the house is no worker of the clients");
}

#[test]
fn a_stock_client_calls_an_nfp_worker() {
    let mut desk = desk();
    let (worker, client) = (desk.nfp_ready("w", "echo"), desk.join());
    desk.ask(client, br#"{"task":"add","args":[1,2]}"#);
    let given = desk.orders(worker);
    let [(Verb::Post, name, uuid, body)] = &given[..] else { panic!("{given:?}") };
    let job: serde_json::Value = serde_json::from_str(body).unwrap();
    let wanted = serde_json::json!({"task":"add","args":[1,2],"kwargs":{},"timeout":600});
    assert_eq!(job, wanted);
    desk.report(worker, Kind::Response, name, uuid, "201", "{}");
    desk.report(worker, Kind::Event, name, uuid, "200", r#"{"event_type":"result_ready"}"#);
    let fetched = desk.orders(worker);
    assert_eq!(fetched, [(Verb::Get, name.clone(), uuid.clone(), "{}".into())]);
    assert!(desk.answered(client).is_empty());
    desk.report(worker, Kind::Response, name, uuid, "200", r#"{"w":{"result":3}}"#);
    assert_eq!(desk.answered(client), [true]);
    desk.report(worker, Kind::Response, name, uuid, "200", "{}");
    assert_eq!(desk.answered(client), [true], "the same answer again is late");

    desk.ask(client, b"no job");
    assert_eq!(desk.orders(worker), []);
    let refused = desk.core.router().services().next().unwrap();
    assert_eq!(refused.stats.ended_with(crate::proto::stats::Outcome::Refused), 1);
}

#[test]
fn peers_of_the_old_era_hear_its_headers() {
    let mut desk = desk();
    let enter = |desk: &mut Desk, name: &str| {
        let identity = Identity::try_from(name.as_bytes()).ok();
        let hello = Hello { identity, era: Era::Old, ..Hello::default() };
        desk.core.join(desk.now, hello, &mut desk.said).0
    };
    let (worker, client) = (enter(&mut desk, "w"), enter(&mut desk, "c"));
    desk.work(worker, FromWorker::Ready { service: b"svc" });
    desk.job(client, Verb::Post, "svc", "all", "u");
    desk.job(client, Verb::Post, "none", "all", "v");
    let heard = |desk: &mut Desk, peer| -> Vec<Message> { desk.fresh(peer) };
    let header = |message: &Message| text(message.frames().nth(1).unwrap());
    assert_eq!(heard(&mut desk, worker).iter().map(header).collect::<Vec<_>>(), ["NFPW01"]);
    let said = heard(&mut desk, client);
    assert_eq!(said.iter().map(header).collect::<Vec<_>>(), ["NFPC01", "NFPC01"]);
    let refused = text(said[1].frames().nth(6).unwrap());
    assert!(refused.starts_with("service 'none' has no worker"), "{refused}");
}

#[test]
fn an_nfp_client_gives_a_job_to_workers_of_other_dialects() {
    let mut desk = desk();
    let (native, stock) = (desk.native_worker(1), desk.worker());
    let client = desk.enter("c", false);
    desk.job(client, Verb::Post, "echo", "all", "u");
    assert_eq!(desk.statuses(client), ["202", "201", "201"]);
    desk.job(client, Verb::Get, "echo", "all", "u");
    assert_eq!(desk.statuses(client), ["202", "300", "300"]);
    desk.reply(native, ADD, true);
    let (address, body) = desk.given(stock).pop().unwrap();
    assert_eq!(text(&body), ADD);
    desk.answer(stock, &address, true);
    let events = desk.told(client);
    let ready = |(kind, .., body): &Heard| *kind == Kind::Event && body.contains("result_ready");
    assert!(events.len() == 2 && events.iter().all(ready), "{events:?}");
    desk.job(client, Verb::Get, "echo", "all", "u");
    let told = desk.told(client);
    let results: Vec<serde_json::Value> =
        told.iter().skip(1).map(|(.., body)| serde_json::from_str(body).unwrap()).collect();
    assert_eq!(results.len(), 2);
    for result in &results {
        let (_, result) = result.as_object().unwrap().iter().next().unwrap();
        assert_eq!((&result["result"], &result["failed"]), (&"answer".into(), &false.into()));
    }
    let (_, job) = desk.core.router().jobs.named(b"u").unwrap();
    assert_eq!(job.progress(), crate::proto::jobs::Progress::Replied);
}

#[test]
fn a_stand_in_that_is_lost_or_deleted_ends_its_part() {
    let mut desk = desk();
    let (native, client) = (desk.native_worker(1), desk.enter("c", false));
    for uuid in ["lost", "deleted"] {
        desk.job(client, Verb::Post, "echo", "any", uuid);
    }
    desk.job(client, Verb::Delete, "echo", "any", "deleted");
    assert_eq!(desk.statuses(client).last().unwrap(), "200");
    desk.leave(native);
    let events = desk.told(client);
    let failed = |(kind, .., body): &Heard| *kind == Kind::Event && body.contains("failed");
    assert!(events.len() == 1 && events.iter().all(failed), "{events:?}");
    let progress = |desk: &Desk, uuid: &[u8]| {
        desk.core.router().jobs.named(uuid).unwrap().1.progress().label()
    };
    assert_eq!(progress(&desk, b"lost"), "lost");
    assert_eq!(progress(&desk, b"deleted"), "cancelled");
    assert_eq!(desk.core.router().open_requests(), 0);
}

#[test]
fn a_worker_that_has_no_words_for_a_suspect_goes_on() {
    let mut desk = desk();
    let stock = [desk.worker(), desk.worker()];
    let client = desk.join();
    desk.ask(client, b"no job");
    stock.into_iter().for_each(|worker| desk.leave(worker));
    let worker = desk.nfp_ready("w", "echo");
    let refused = desk.core.router().services().next().unwrap();
    assert_eq!(refused.stats.ended_with(crate::proto::stats::Outcome::Refused), 1);
    for _ in 0..2 {
        desk.ask(client, ADD.as_bytes());
        let given = desk.orders(worker);
        let [(Verb::Post, name, uuid, _)] = &given[..] else { panic!("{given:?}") };
        desk.report(worker, Kind::Response, name, uuid, "200", "{}");
    }
}

#[test]
fn what_waits_for_a_worker_alone_comes_behind_a_suspect_that_it_cannot_take() {
    let mut desk = desk();
    let worker = desk.nfp_ready("w", "echo");
    let client = desk.join();
    desk.ask(client, ADD.as_bytes());
    let given = desk.orders(worker);
    let [(_, name, uuid, _)] = &given[..] else { panic!("{given:?}") };
    // Two others lose what cannot be said to this one, which is emptied for it.
    let stock = [desk.worker(), desk.worker()];
    desk.ask(client, b"no job");
    stock.into_iter().for_each(|worker| desk.leave(worker));
    let native = desk.join();
    let says = ScatterHeader { service: b"echo", to: Recipients::All, timeout: None };
    let (header, body) = (Packed::new(&says), Message::new([ADD.as_bytes()]));
    let (header, body) = (header.octets(), body.frames());
    desk.mjp(native, &ToBroker::Scatter(Scatter { id: 1, header, says: says.clone(), body }));
    assert_eq!(desk.orders(worker), [], "it has something to do");
    desk.report(worker, Kind::Response, name, uuid, "200", "{}");
    let verbs: Vec<_> = desk.orders(worker).into_iter().map(|(verb, ..)| verb).collect();
    assert_eq!(verbs, [Verb::Post]);
}

#[test]
fn a_result_that_is_too_big_is_not_charged_beside_what_is_said_of_it() {
    let settings = Settings { answer_bytes_max: 64, ..Settings::default() };
    let mut desk = Desk::with(settings);
    let (native, client) = (desk.native_worker(1), desk.enter("c", false));
    desk.job(client, Verb::Post, "echo", "any", "u");
    for last in [false, true] {
        desk.reply(native, ADD, last);
    }
    let (_, job) = desk.core.router().jobs.named(b"u").unwrap();
    assert_eq!(job.progress(), crate::proto::jobs::Progress::Failed);
    // The audit compares what is charged with what is kept.
    desk.check();
}

#[test]
fn a_part_that_is_lost_in_the_moment_when_it_is_due_is_lost() {
    let mut desk = desk();
    let (native, client) = (desk.native_worker(1), desk.enter("c", false));
    desk.job_with(client, Verb::Post, "echo", "any", "u", r#"{"task":"add","timeout":8}"#);
    desk.pass(Duration::from_millis(7400));
    assert!(desk.core.router().workers_len() == 1, "{native:?} lives");
    desk.now += Duration::from_millis(700);
    desk.core.tick(desk.now, &mut desk.said);
    desk.check();
    assert_eq!(desk.core.router().workers_len(), 0);
    let (_, job) = desk.core.router().jobs.named(b"u").unwrap();
    assert_eq!(job.progress(), crate::proto::jobs::Progress::Lost);
}

#[test]
fn a_job_that_is_due_ends_what_was_added_to_it_with_more_time() {
    let mut desk = desk();
    let (first, client) = (desk.native_worker(1), desk.enter("c", false));
    let body = |timeout: u64| format!(r#"{{"task":"add","timeout":{timeout}}}"#);
    desk.job_with(client, Verb::Post, "echo", "all", "u", &body(1));
    let second = desk.native_worker(1);
    desk.job_with(client, Verb::Post, "echo", "all", "u", &body(60));
    assert_eq!(desk.statuses(client), ["202", "201", "202", "201"]);
    desk.pass(Duration::from_millis(1100));
    let events = desk.told(client);
    let failed = |(kind, .., body): &Heard| *kind == Kind::Event && body.contains("failed");
    assert!(events.len() == 2 && events.iter().all(failed), "{events:?}");
    for worker in [first, second] {
        assert_eq!(desk.heard(worker).iter().filter(|said| said.starts_with("CANCEL")).count(), 1);
    }
}

#[test]
fn a_client_that_has_no_room_for_202_hears_nothing_behind_it() {
    let mut desk = desk();
    let (native, client) = (desk.native_worker(1), desk.enter("c", false));
    let about = body::About { service: b"echo", target: b"all", uuid: b"u" };
    let dispatched = body::dispatched(&[desk.core.name_of(native).to_string()], about);
    // 201 is shorter.
    desk.said.room = Some(dispatched.len() - 1);
    desk.job(client, Verb::Post, "echo", "all", "u");
    assert_eq!(desk.told(client), []);
    assert_eq!(desk.said.closed, [(client, CloseReason::SlowReader)]);
}

#[test]
fn a_job_that_is_posted_again_is_charged_for_its_new_workers_only() {
    let mut desk = desk();
    let (first, client) = (desk.nfp_ready("w1", "svc"), desk.enter("c", false));
    desk.job(client, Verb::Post, "svc", "all", "u");
    let (alone, second) = (desk.said.charged, desk.nfp_ready("w2", "svc"));
    for _ in 0..3 {
        desk.job(client, Verb::Post, "svc", "all", "u");
    }
    assert_eq!((desk.orders(first).len(), desk.orders(second).len()), (4, 3));
    let both = desk.said.charged;
    assert_eq!(both - alone, crate::proto::jobs::Job::TARGET);
    let (_, job) = desk.core.router().jobs.named(b"u").unwrap();
    assert_eq!(job.targets.len(), 2);
    desk.report(first, Kind::Response, "c", "u", "200", "{}");
    desk.job(client, Verb::Post, "svc", "all", "u");
    assert_eq!(desk.said.charged, both, "one that is done has its part");
}

#[test]
fn a_time_longer_than_any_clock_is_a_year() {
    let mut desk = desk();
    desk.nfp_ready("w", "svc");
    let (native, client) = (desk.native_worker(1), desk.enter("c", false));
    let body = format!(r#"{{"task":"add","timeout":{}}}"#, u64::MAX);
    desk.job_with(client, Verb::Post, "svc", "all", "u1", &body);
    desk.job_with(client, Verb::Post, "echo", "all", "u2", &body);
    assert_eq!(desk.statuses(client), ["202", "202", "201"]);
    let year = Duration::from_secs(365 * 24 * 3600);
    assert!(desk.core.next_timeout().unwrap() <= desk.now + year);
    desk.leave(native);
    assert_eq!(desk.core.router().jobs.open(), 1);
}

#[test]
fn what_the_broker_calls_peers_and_jobs_is_nobody_elses_name() {
    let mut desk = desk();
    desk.nfp_ready("w", "svc");
    let client = desk.enter("c", false);
    for verb in [Verb::Post, Verb::Get, Verb::Delete, Verb::Put] {
        desk.job(client, verb, "svc", "all", "~0000000100000001-1");
    }
    assert_eq!(desk.statuses(client), ["400"; 4]);
    // A peer that calls itself as the broker calls another one is not found by that name.
    let unnamed = desk.join();
    let made = desk.core.name_of(unnamed);
    for name in [&text(made.as_bytes())[..], "+0000000100000001"] {
        let peer = desk.enter(name, false);
        assert_ne!(desk.core.name_of(peer).as_bytes(), name.as_bytes());
    }
    assert_eq!(desk.core.peer_named(made.as_bytes()), Some(unnamed));
}

#[test]
fn jobs_that_have_ended_take_a_bounded_memory_and_the_oldest_go_first() {
    let (mut settings, fits) = (Settings::default(), 3);
    let cost = crate::proto::jobs::Job::cost_of(b"u1", 1);
    settings.nfp.jobs.ended_bytes_max = fits * cost;
    let mut desk = Desk::with(settings);
    let (worker, client) = (desk.nfp_ready("w", "svc"), desk.enter("c", false));
    for number in 1..=5 {
        let uuid = format!("u{number}");
        desk.job(client, Verb::Post, "svc", "all", &uuid);
        desk.report(worker, Kind::Response, "c", &uuid, "200", "{}");
    }
    let known = |uuid: &str| desk.core.router().jobs.named(uuid.as_bytes()).is_some();
    assert_eq!(["u1", "u2", "u3", "u4", "u5"].map(known), [false, false, true, true, true]);
}

fn queueing() -> Desk {
    Desk::new(ServicePolicy { queue: true, ..ServicePolicy::default() })
}

#[test]
fn a_queued_job_waits_for_a_worker_and_goes_to_another_one_if_that_is_lost() {
    let (mut desk, own) = (queueing(), r#"{"w2":{"result":3,"failed":false}}"#);
    let client = desk.enter("c", false);
    desk.job(client, Verb::Post, "svc", "all", "u0");
    assert_eq!(desk.statuses(client), ["400"], "only any can wait");
    desk.job(client, Verb::Post, "svc", "any", "u");
    let told = desk.told(client);
    let statuses: Vec<_> = told.iter().map(|(.., status, _)| &status[..]).collect();
    assert_eq!(statuses, ["202", "201"]);
    assert!(told.iter().all(|(.., body)| body.contains(r#""any""#)), "{told:?}");

    let first = desk.nfp_ready("w1", "svc");
    let (_, caller, _, body) = desk.orders(first).pop().unwrap();
    assert!(caller.starts_with('+') && body.contains("add"), "{caller} {body}");
    let second = desk.nfp_ready("w2", "svc");
    desk.leave(first);
    let (verb, caller, uuid, _) = desk.orders(second).pop().unwrap();
    assert_eq!(verb, Verb::Post);
    desk.job(client, Verb::Get, "svc", r#"["any"]"#, "u");
    assert_eq!(desk.statuses(client), ["202", "300"]);
    desk.report(second, Kind::Response, &caller, &uuid, "201", "{}");
    desk.report(second, Kind::Response, &caller, &uuid, "200", own);
    let ready = desk.told(client).pop().unwrap();
    assert!(ready.0 == Kind::Event && ready.4.contains("result_ready"), "{ready:?}");
    desk.job(client, Verb::Get, "svc", r#"["any"]"#, "u");
    let told = desk.told(client);
    assert_eq!(told[1].4, r#"{"any":{"failed":false,"result":3}}"#);
    let (_, job) = desk.core.router().jobs.named(b"u").unwrap();
    assert_eq!(job.progress(), crate::proto::jobs::Progress::Replied);
}

#[test]
fn a_queued_job_ends_when_it_is_deleted_its_time_is_up_or_nobody_comes() {
    let mut desk = queueing();
    let client = desk.enter("c", false);
    for (uuid, timeout) in [("deleted", 60), ("late", 1), ("unserved", 6000)] {
        let body = format!(r#"{{"task":"add","timeout":{timeout}}}"#);
        desk.job_with(client, Verb::Post, "svc", "any", uuid, &body);
    }
    desk.job_with(client, Verb::Post, "svc", "any", "due", r#"{"task":"add","timeout":0}"#);
    assert_eq!(desk.statuses(client), ["202", "201", "202", "201", "202", "201", "400"]);
    desk.job(client, Verb::Delete, "svc", "any", "deleted");
    let end = |desk: &Desk, uuid: &[u8]| {
        let job = desk.core.router().jobs.named(uuid).map(|(_, job)| job);
        job.map_or("", |job| job.progress().label())
    };
    assert_eq!(end(&desk, b"deleted"), "cancelled");
    desk.pass(Duration::from_secs(2));
    assert_eq!((end(&desk, b"late"), end(&desk, b"due")), ("timed_out", ""));
    desk.pass(Duration::from_secs(10 * 60));
    assert_eq!(end(&desk, b"unserved"), "lost");
    desk.job(client, Verb::Get, "svc", "any", "unserved");
    let told = desk.told(client);
    assert!(told.last().unwrap().4.contains("unserved"), "{told:?}");
}

#[test]
fn a_queued_job_that_is_posted_again_is_done_once() {
    let mut desk = queueing();
    let (native, client) = (desk.native_worker(1), desk.enter("c", false));
    for _ in 0..2 {
        desk.job(client, Verb::Post, "echo", "any", "u");
    }
    assert_eq!(desk.statuses(client), ["202", "201", "202", "201"]);
    assert_eq!(desk.works(native).len(), 1);
    let other = desk.enter("d", false);
    desk.job(other, Verb::Get, "echo", "any", "u");
    assert_eq!(desk.statuses(other), ["400"], "it is another client's");
}

#[test]
fn what_a_stand_in_has_answered_is_there_when_it_has_gone_or_come_again() {
    let mut desk = desk();
    let stand_in = |desk: &mut Desk| {
        let peer = desk.enter("m", false);
        desk.ready(peer, 1);
        peer
    };
    let (worker, client) = (stand_in(&mut desk), desk.enter("c", false));
    desk.job(client, Verb::Post, "echo", "all", "u");
    desk.reply(worker, ADD, true);
    desk.leave(worker);
    desk.told(client);
    let fetched = |desk: &mut Desk, target: &str| {
        desk.job(client, Verb::Get, "echo", target, "u");
        desk.statuses(client)
    };
    for target in ["all", "m", r#"["m"]"#] {
        assert_eq!(fetched(&mut desk, target), ["202", "200"], "{target}");
    }
    assert_eq!(fetched(&mut desk, "other"), ["400"]);
    stand_in(&mut desk);
    assert_eq!(fetched(&mut desk, r#"["m"]"#), ["202", "200"]);
    desk.job(client, Verb::Put, "echo", "gone", "u");
    assert_eq!(desk.statuses(client), ["400"]);
}

#[test]
fn ended_jobs_make_room_when_memory_is_short() {
    let mut desk = desk();
    let (worker, client) = (desk.nfp_ready("w", "svc"), desk.enter("c", false));
    desk.job(client, Verb::Post, "svc", "all", "u1");
    desk.report(worker, Kind::Response, "c", "u1", "200", "{}");
    desk.job(client, Verb::Post, "svc", "all", "u2");
    desk.said.account_full = true;
    desk.job(client, Verb::Post, "svc", "all", "u3");
    assert_eq!(desk.statuses(client).last().unwrap(), "400", "it is still full");
    let known = |uuid: &[u8]| desk.core.router().jobs.named(uuid).is_some();
    assert_eq!([&b"u1"[..], b"u2", b"u3"].map(known), [false, true, false]);
}
