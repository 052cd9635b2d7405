//! Jobs of NFP clients at workers of NFP.

use super::*;
use crate::id::Principal;
use crate::proto::clock::Time;
use crate::proto::jobs::JobLimits;
use crate::proto::policy::NfpSettings;

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
    // And the name by which the second is known.
    assert_eq!(both - alone, crate::proto::jobs::Job::TARGET + "w2".len());
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
fn a_job_that_says_no_time_has_a_year() {
    let mut desk = desk();
    desk.nfp_ready("w", "svc");
    let client = desk.enter("c", false);
    desk.job_with(client, Verb::Post, "svc", "all", "u", r#"{"task":"add"}"#);
    let due = desk.core.router().jobs.next_due();
    assert_eq!(due, Some(Time::default().after(Duration::from_secs(365 * 24 * 3600))));
}

#[test]
fn who_comes_again_and_again_has_no_more_open_jobs_than_one_client() {
    let jobs = JobLimits { open_per_client_max: 3, ..JobLimits::default() };
    let nfp = NfpSettings { jobs, ..NfpSettings::default() };
    let mut desk = Desk::with(Settings { nfp, ..Settings::default() });
    let worker = desk.nfp_ready("w", "svc");
    let enter = |desk: &mut Desk, name: Option<&str>, address| {
        let identity = name.and_then(|name| Identity::try_from(name.as_bytes()).ok());
        let principal = Principal::Address([address; 16]);
        let hello = Hello { identity, principal, ..Hello::default() };
        desk.core.join(desk.now, hello, &mut desk.said).0
    };
    for (name, uuid, status) in [
        (None, "u1", "202"),
        (None, "u2", "202"),
        (Some("c"), "u3", "202"),
        (Some("d"), "u4", "400"),
    ] {
        let client = enter(&mut desk, name, 1);
        desk.job(client, Verb::Post, "svc", "w", uuid);
        assert_eq!(desk.statuses(client), [status], "{uuid}");
        desk.leave(client);
    }
    // Whose name it was before has his own share.
    let client = enter(&mut desk, Some("c"), 2);
    desk.job(client, Verb::Post, "svc", "w", "u5");
    assert_eq!(desk.statuses(client), ["202"]);
    desk.leave(client);
    desk.report(worker, Kind::Response, "c", "u3", "200", "{}");
    let client = enter(&mut desk, None, 1);
    desk.job(client, Verb::Post, "svc", "w", "u6");
    assert_eq!(desk.statuses(client), ["202"], "one has ended");
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

#[test]
fn a_job_for_a_worker_of_a_service_with_a_fence_is_refused() {
    use crate::wire::mjp::{ReadyHeader, ToBroker};
    let mut desk = desk();
    let (worker, other) = (desk.nfp_ready("w1", "svc"), desk.nfp_ready("w2", "other"));
    let (client, fenced) = (desk.enter("c", false), desk.join());
    let ready = ReadyHeader { service: b"svc", fence: Some("leader"), ..ReadyHeader::default() };
    desk.mjp(fenced, &ToBroker::Ready(ready));
    for (service, target) in [("svc", "w1"), ("svc", "any"), ("all", "all"), ("all", "w1")] {
        desk.job(client, Verb::Post, service, target, target);
        assert_eq!(desk.statuses(client), ["400"], "{service} {target}");
    }
    desk.job(client, Verb::Post, "other", "all", "u1");
    assert_eq!(desk.statuses(client), ["202"]);
    assert_eq!((desk.orders(worker).len(), desk.orders(other).len()), (0, 1));
    // As long as there is a worker that wants it.
    desk.leave(fenced);
    desk.job(client, Verb::Post, "svc", "w1", "u2");
    assert_eq!((desk.statuses(client), desk.orders(worker).len()), (vec!["202".into()], 1));
}
