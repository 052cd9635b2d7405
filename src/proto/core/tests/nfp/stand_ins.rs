//! Jobs of NFP clients at workers of other dialects, for which a request stands.

use super::*;

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
fn a_worker_that_is_lost_and_comes_again_is_answered_for_once_and_its_parts_have_a_limit() {
    let mut settings = Settings::default();
    settings.nfp.jobs.targets_max = 3;
    let mut desk = Desk::with(settings);
    let client = desk.enter("c", false);
    desk.nfp_ready("w", "echo");
    desk.job(client, Verb::Post, "echo", "w", "u");
    for _ in 0..2 {
        let worker = desk.enter("x", false);
        desk.ready(worker, 1);
        desk.job(client, Verb::Post, "echo", "x", "u");
        desk.leave(worker);
    }
    desk.told(client);
    // It had two parts, and has gone with both.
    for target in ["x", r#"["y","x"]"#] {
        desk.job(client, Verb::Get, "echo", target, "u");
        assert_eq!(desk.statuses(client), ["202", "200"], "{target}");
    }
    let worker = desk.enter("x", false);
    desk.ready(worker, 1);
    desk.job(client, Verb::Post, "echo", "x", "u");
    let told = desk.told(client);
    let [(_, _, _, status, why)] = &told[..] else { panic!("{told:?}") };
    assert!(status == "400" && why.contains("limits.job_targets"), "{told:?}");
    // Whoever has its part may be asked for the job again, and for others.
    desk.job(client, Verb::Post, "echo", "w", "u");
    desk.job(client, Verb::Post, "echo", "all", "v");
    assert_eq!(desk.statuses(client), ["202", "202", "201"]);
}
