//! `nfp_command`: whatever arrives as NFP is read as the sheet says, and means the same after it has
//! been written again; and so are the bodies that a broker looks into.

mod naive;

use serde_json::{Value, json};

use super::pieces::{bodies, frames_written, is_label};
use crate::wire::Limits;
use crate::wire::codec::{Decoder, Encoder, Item};
use crate::wire::message::{Frames, Message};
use crate::wire::nfp::body::{About, Answered, Asked, Event, EventType, Happened, JobBody, Target};
use crate::wire::nfp::body::{dispatched, failed, state, unsupported};
use crate::wire::nfp::{
    Answer, Era, Forward, FromClient, FromWorker, Job, Order, Refused, Reply, Report, ToBroker,
    ToClient, ToWorker, is_nfp,
};

/// The input is a stream of messages, as it follows a handshake.
pub fn nfp_command(input: &[u8]) {
    let (mut stream, mut decoder) = (input, Decoder::new(Limits::default()));
    while let Ok(Some(item)) = decoder.next(&mut stream) {
        if let Item::Message(message) = item {
            to_broker(message);
            to_worker(message);
            to_client(message);
            // Before them stand the empty frame, header, command and a name.
            message.skip(4).for_each(body);
        }
    }
}

/// Hands the one message that was written to `judge`.
fn reread(write: impl FnOnce(&mut Encoder), judge: impl FnOnce(Frames<'_>)) {
    judge(Message::new(frames_written(write)).frames());
}

/// What is said to a broker, as text that can be compared.
fn meaning(message: Frames<'_>) -> Option<String> {
    Some(match ToBroker::decode(message).ok()? {
        ToBroker::Client(command) => match command {
            FromClient::Open => "open".into(),
            FromClient::Disconnect => "client leaves".into(),
            FromClient::Job(Job { verb, service, target, uuid, body }) => {
                format!("{verb:?} {service:?} {target:?} {uuid:?} {:?}", bodies(body))
            }
            FromClient::Refused(Refused { command, service, target, uuid, why: _ }) => {
                format!("refused {command:?} {service:?} {target:?} {uuid:?}")
            }
        },
        ToBroker::Worker(command) => match command {
            FromWorker::Ready { service } => format!("ready {service:?}"),
            FromWorker::Keepalive { service } => format!("keepalive {service:?}"),
            FromWorker::Disconnect { service } => format!("worker leaves {service:?}"),
            FromWorker::Report(report) => {
                let Report { kind, client, uuid, status, rest } = report;
                let body = bodies(report.body());
                format!("{kind:?} {client:?} {uuid:?} {status:?} {:?} {body:?}", bodies(rest))
            }
            FromWorker::BadReady(_) => "bad ready".into(),
            FromWorker::Invalid(_) => "invalid".into(),
        },
    })
}

fn to_broker(message: Frames<'_>) {
    let expected = naive::meaning(&bodies(message));
    assert_eq!(meaning(message), expected);
    assert!(is_nfp(message) || expected.is_none(), "{expected:?}");
    let mut out = Encoder::default();
    let refused = match ToBroker::decode(message) {
        Err(reason) => Some(reason),
        Ok(ToBroker::Client(command)) => {
            command.encode(&mut out);
            match command {
                FromClient::Refused(refused) => Some(refused.why),
                FromClient::Open | FromClient::Disconnect | FromClient::Job(_) => None,
            }
        }
        Ok(ToBroker::Worker(command)) => {
            command.encode(&mut out);
            match command {
                FromWorker::BadReady(reason) | FromWorker::Invalid(reason) => Some(reason),
                FromWorker::Report(report) => {
                    forwarded(&report);
                    None
                }
                FromWorker::Ready { .. }
                | FromWorker::Keepalive { .. }
                | FromWorker::Disconnect { .. } => None,
            }
        }
    };
    match refused {
        Some(reason) => {
            assert!(out.is_empty(), "{reason:?} cannot be written");
            assert!(is_label(reason.label()) && !reason.to_string().is_empty());
        }
        None => match ToBroker::decode(message) {
            Ok(ToBroker::Client(command)) => {
                reread(|out| command.encode(out), |again| assert_eq!(meaning(again), expected));
            }
            Ok(ToBroker::Worker(command)) => {
                reread(|out| command.encode(out), |again| assert_eq!(meaning(again), expected));
            }
            Err(reason) => panic!("{reason:?} the second time"),
        },
    }
}

/// A worker's report, on to its client; and the same again, in its parts.
fn forwarded(report: &Report<'_>) {
    let Report { kind, client, uuid, status, rest } = *report;
    let expected = bodies(rest);
    for era in [Era::Current, Era::Old] {
        let forward = Forward { kind, service: b"service", rest };
        let frames = frames_written(|out| forward.encode(era, out));
        let header: &[u8] = if era == Era::Current { b"NFPB01" } else { b"NFPC01" };
        let [empty, first, command, service, again @ ..] = &frames[..] else {
            panic!("{} frames", frames.len())
        };
        assert_eq!(
            [&empty[..], first, command, service],
            [b"", header, kind.command(), b"service"]
        );
        assert_eq!(again, expected);
    }
    if !report.body().is_empty() {
        let answer = Answer { kind, client, uuid, status, body: report.body() };
        reread(
            |out| answer.encode(out),
            |again| match ToBroker::decode(again) {
                Ok(ToBroker::Worker(FromWorker::Report(again))) => {
                    assert_eq!((again.kind, again.client), (kind, client));
                    assert_eq!(bodies(again.rest), expected);
                }
                other => panic!("an answer was written as {other:?}"),
            },
        );
    }
}

fn to_worker(message: Frames<'_>) {
    let meaning = |message: Frames<'_>| {
        ToWorker::decode(message).ok().map(|(era, command)| match command {
            ToWorker::Order(Order { verb, client, uuid, body }) => {
                format!("{era:?} {verb:?} {client:?} {uuid:?} {:?}", bodies(body))
            }
            ToWorker::Keepalive { service } => format!("keepalive {service:?}"),
            ToWorker::Disconnect { service } => format!("{era:?} disconnect {service:?}"),
        })
    };
    let expected = naive::to_worker(&bodies(message));
    assert_eq!(meaning(message), expected);
    if let Ok((era, command)) = ToWorker::decode(message) {
        reread(|out| command.encode(era, out), |again| assert_eq!(meaning(again), expected));
    }
}

fn to_client(message: Frames<'_>) {
    let meaning = |message: Frames<'_>| {
        ToClient::decode(message).ok().map(|(era, said)| match said {
            ToClient::Reply(Reply { kind, service, uuid, status, body }) => {
                format!("{era:?} {kind:?} {service:?} {uuid:?} {status:?} {:?}", bodies(body))
            }
            ToClient::Plain { service, text } => format!("{era:?} plain {service:?} {text:?}"),
        })
    };
    let expected = naive::to_client(&bodies(message));
    assert_eq!(meaning(message), expected);
    if let Ok((era, said)) = ToClient::decode(message) {
        reread(|out| said.encode(era, out), |again| assert_eq!(meaning(again), expected));
    }
}

/// Any frame may be a target, a job or an event.
fn body(frame: &[u8]) {
    let target = match Target::parse(frame) {
        Target::All => "all".into(),
        Target::Any => "any".into(),
        Target::Name(name) => format!("name {name:?}"),
        Target::Names(names) => format!("names {names:?}"),
        Target::Invalid(why) => {
            assert!(!why.to_string().is_empty());
            "invalid".into()
        }
    };
    assert_eq!(target, naive::target(frame));
    let job = JobBody::read(frame).map(|job| (job.task.into_owned(), job.timeout));
    if let Err(why) = &job {
        assert!(is_label(why.label()) && !why.to_string().is_empty());
    }
    assert_eq!(job.ok(), naive::job(frame));
    let event = Event::read(frame);
    assert_eq!(EventType::read(frame), event.event_type);
    let texts = [event.message, event.status, event.severity, event.task];
    let (event_type, expected) = naive::event(frame);
    assert_eq!(
        (format!("{:?}", event.event_type), texts.map(String::from)),
        (event_type, expected)
    );
    talk(frame);
    written(frame);
}

/// What is asked of a client, and what it answers, where each key comes once.
fn talk(frame: &[u8]) {
    let Ok(tree) = serde_json::from_slice::<Value>(frame) else { return };
    let once = tree.to_string();
    let asked = Asked::read(once.as_bytes());
    let read = asked.as_ref().map(|asked| (asked.id.to_string(), asked.question.to_string()));
    let is_short = once.len() <= Event::LEN_MAX;
    assert_eq!(read, naive::asked(&tree).filter(|_| is_short));
    let body = Message::new([once.clone()]);
    let happened = Happened { message: "go on?", ..Happened::default() };
    let event = happened.ask("name", body.frames());
    let own = tree.pointer("/extras/input_request").filter(|_| asked.is_some());
    let mut expected = own.cloned().unwrap_or_else(
        || json!({ "question": "go on?", "default": false, "metadata": { "body": tree } }),
    );
    expected.as_object_mut().expect("an object").insert("id".into(), "name".into());
    // Within ours a tree may be deeper than what is read here.
    if let Ok(event) = serde_json::from_slice::<Value>(&event) {
        assert_eq!(event.pointer("/extras/input_request"), Some(&expected));
    }

    let answer = Answered::read(once.as_bytes());
    let is_short = once.len() <= Answered::LEN_MAX;
    let expected = naive::answered(&tree).filter(|_| is_short);
    let again = answer.as_ref().map(|answer| (answer.input.clone(), answer.write("own")));
    let again = again.map(|(input, written)| {
        (input, serde_json::from_slice::<Value>(&written).expect("JSON of our own"))
    });
    assert_eq!(again, expected);
}

/// What a broker writes about what a client said is JSON, and says it.
fn written(frame: &[u8]) {
    let text = String::from_utf8_lossy(frame);
    let about = About { service: frame, target: frame, uuid: frame };
    for (body, keys) in [
        (dispatched(&[&text], about), &["service", "target", "uuid"][..]),
        (failed(about, &text), &["service", "target", "uuid", "error"]),
        (state(&text, frame, frame, &text), &["service", "uuid", "worker", "status"]),
    ] {
        let body: Value = serde_json::from_slice(&body).expect("JSON of our own");
        assert!(keys.iter().all(|key| body.get(key).is_some_and(|said| *said == *text)), "{body}");
    }
    assert!(unsupported(frame).len() < 10_000);
}
