//! Jobs that wait for any worker of their service.

use super::*;

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
    assert_eq!(told[1].4, r#"{"any":{"result":3,"failed":false}}"#);
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
fn a_queued_job_that_is_refused_leaves_the_one_of_its_name_as_it_was() {
    let mut settings = Settings::default();
    settings.policy.queue = true;
    settings.client.requests_max = 1;
    let mut desk = Desk::with(settings);
    let (native, client) = (desk.native_worker(1), desk.enter("c", false));
    desk.job(client, Verb::Post, "echo", "any", "u");
    desk.reply(native, ADD, true);
    desk.job(client, Verb::Post, "echo", "any", "v");
    desk.statuses(client);
    desk.job(client, Verb::Post, "echo", "any", "u");
    assert_eq!(desk.statuses(client), ["400"], "it has one open request already");
    desk.job(client, Verb::Get, "echo", "any", "u");
    assert_eq!(desk.statuses(client), ["202", "200"]);
}

#[test]
fn a_job_for_one_worker_of_each_service_does_not_wait() {
    let mut desk = queueing();
    let workers = ["a", "b"].map(|service| desk.nfp_ready(service, service));
    let client = desk.enter("c", false);
    desk.job(client, Verb::Post, "all", "any", "u");
    assert_eq!(desk.statuses(client), ["202"]);
    assert_eq!(workers.map(|worker| desk.orders(worker).len()), [1, 1]);
    desk.job(client, Verb::Post, "mmi.svc", "any", "v");
    assert_eq!(desk.statuses(client), ["400"], "nobody may serve that name");
}
