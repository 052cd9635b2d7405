//! Workers of NFP: how they come and go, and what else they are given than jobs.

use super::*;

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
fn whatever_a_worker_holds_is_asked_for_in_time_however_long_the_oldest_take() {
    let mut desk = Desk::new(ServicePolicy { prefetch: 70, ..ServicePolicy::default() });
    let (worker, client) = (desk.nfp_ready("w", "echo"), desk.join());
    for _ in 0..70 {
        desk.ask(client, ADD.as_bytes());
    }
    let given: Vec<_> =
        desk.orders(worker).into_iter().map(|(_, name, uuid, _)| (name, uuid)).collect();
    assert_eq!(given.len(), 70);
    let fetched = |desk: &mut Desk| -> Vec<usize> {
        desk.pass(Duration::from_millis(2500));
        desk.work(worker, FromWorker::Keepalive { service: b"echo" });
        let gets = desk.orders(worker).into_iter().filter(|(verb, ..)| *verb == Verb::Get);
        let asked = gets.map(|(_, name, uuid, _)| (name, uuid));
        asked.map(|asked| given.iter().position(|it| *it == asked).unwrap()).collect()
    };
    let behind = |others: std::ops::Range<usize>| (0..16).chain(others).collect::<Vec<_>>();
    assert_eq!(fetched(&mut desk), behind(16..32));
    assert_eq!(fetched(&mut desk), behind(32..48));
    // One of them has ended: the others have their turns as before.
    let (name, uuid) = &given[40];
    desk.report(worker, Kind::Response, name, uuid, "200", "{}");
    assert_eq!(fetched(&mut desk), behind(48..64));
    let rest = (0..16).chain(64..70).chain(16..26);
    assert_eq!(fetched(&mut desk), rest.collect::<Vec<_>>());
    // The one that was the last to be asked for has: it begins again.
    let (name, uuid) = &given[25];
    desk.report(worker, Kind::Response, name, uuid, "200", "{}");
    let others = (16..25).chain(26..33);
    assert_eq!(fetched(&mut desk), (0..16).chain(others).collect::<Vec<_>>());
    // And so it does for one that is among the oldest by now.
    for (name, uuid) in &given[..30] {
        desk.report(worker, Kind::Response, name, uuid, "200", "{}");
    }
    let left: Vec<_> = (30..40).chain(41..70).collect();
    assert_eq!(fetched(&mut desk), left[..32]);
    for place in left {
        let (name, uuid) = &given[place];
        desk.report(worker, Kind::Response, name, uuid, "200", "{}");
    }
    assert_eq!(fetched(&mut desk), [0_usize; 0]);
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
    let says = ScatterHeader::new(b"echo", Recipients::All);
    let (header, body) = (Packed::new(&says), Message::new([ADD.as_bytes()]));
    let (header, body) = (header.octets(), body.frames());
    desk.mjp(native, &ToBroker::Scatter(Scatter { id: 1, header, says: says.clone(), body }));
    assert_eq!(desk.orders(worker), [], "it has something to do");
    desk.report(worker, Kind::Response, name, uuid, "200", "{}");
    let verbs: Vec<_> = desk.orders(worker).into_iter().map(|(verb, ..)| verb).collect();
    assert_eq!(verbs, [Verb::Post]);
}
