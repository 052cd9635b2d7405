//! `mdp_command`: whatever arrives as Majordomo is read as the sheet says, and means the same after
//! it has been written again.

use super::pieces::{bodies, frames_written, is_label};
use crate::wire::Limits;
use crate::wire::codec::{Decoder, Encoder, Item};
use crate::wire::mdp::{Answer, FromWorker, Request, ToBroker, ToClient, ToWorker, Version};
use crate::wire::message::{Frames, Message};

/// The input is a stream of messages, as it follows a handshake.
pub fn mdp_command(input: &[u8]) {
    each_message(input, |message| {
        to_broker(message);
        to_worker(message);
        to_client(message);
    });
}

fn each_message(mut stream: &[u8], mut judge: impl FnMut(Frames<'_>)) {
    let mut decoder = Decoder::new(Limits::default());
    while let Ok(Some(item)) = decoder.next(&mut stream) {
        if let Item::Message(message) = item {
            judge(message);
        }
    }
}

/// Hands the one message that was written to `judge`.
fn reread(write: impl FnOnce(&mut Encoder), judge: impl FnOnce(Frames<'_>)) {
    judge(Message::new(frames_written(write)).frames());
}

/// What is said to a broker, as text that can be compared.
fn meaning(message: Frames<'_>) -> Option<String> {
    let answer = |answer: &Answer<'_>| format!("{:?} {:?}", answer.address, bodies(answer.body));
    Some(match ToBroker::decode(message).ok()? {
        ToBroker::Request(request) => {
            let Request { version, envelope, service, body } = request;
            format!("{version:?} request {:?} {service:?} {:?}", bodies(envelope), bodies(body))
        }
        ToBroker::Worker(version, command) => match command {
            FromWorker::Ready { service } => format!("{version:?} ready {service:?}"),
            FromWorker::Partial(partial) => format!("{version:?} partial {}", answer(&partial)),
            FromWorker::Final(last) => format!("{version:?} final {}", answer(&last)),
            FromWorker::Heartbeat => format!("{version:?} heartbeat"),
            FromWorker::Disconnect => format!("{version:?} disconnect"),
            FromWorker::BadReady(_) => format!("{version:?} bad ready"),
            FromWorker::BadAnswer(_) => format!("{version:?} bad answer"),
            FromWorker::Invalid(_) => format!("{version:?} invalid"),
        },
    })
}

/// The same from the tables of RFC 7 and RFC 18, read off a list of frames.
fn naive_meaning(frames: &[Vec<u8>]) -> Option<String> {
    let frames: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
    let request = |version, envelope: &[&[u8]], rest: &[&[u8]]| match rest {
        [service, body @ ..] if (1..=255).contains(&service.len()) && !body.is_empty() => {
            Some(format!("{version:?} request {envelope:?} {service:?} {body:?}"))
        }
        _ => None,
    };
    match &frames[..] {
        [b"", b"MDPW01", rest @ ..] => Some(format!("V01 {}", naive_command(rest, 3, &[4, 5]))),
        [b"MDPW02", rest @ ..] => Some(format!("V02 {}", naive_command(rest, 4, &[5, 6]))),
        [b"MDPC02", [1], rest @ ..] => request(Version::V02, &[], rest),
        [b"MDPC02", ..] => None,
        frames => {
            let delimiter = frames.iter().position(|frame| frame.is_empty())?;
            let (envelope, rest) = frames.split_at(delimiter + 1);
            let foreign = |frame: &&[u8]| {
                matches!(frame, [0xAA, 0xA4, ..])
                    || matches!(frame, [b'M', b'D', b'P', b'C' | b'W', b'0', b'X' | b'3'])
            };
            let fits = envelope.len() <= 8
                && envelope.iter().all(|frame| frame.len() <= 255)
                && !envelope.iter().any(foreign);
            match rest {
                [b"MDPC01", rest @ ..] if fits => request(Version::V01, envelope, rest),
                _ => None,
            }
        }
    }
}

/// `last`: the octet of REPLY or FINAL; `bare`: those of HEARTBEAT and DISCONNECT.
fn naive_command(frames: &[&[u8]], last: u8, bare: &[u8; 2]) -> String {
    match frames {
        [[1], service] if !service.is_empty() => format!("ready {service:?}"),
        [[1], ..] => "bad ready".into(),
        [[octet @ (3 | 4)], rest @ ..] if *octet <= last => match rest {
            [address, b"", body @ ..] if !body.is_empty() => {
                let kind = if *octet == last { "final" } else { "partial" };
                format!("{kind} {address:?} {body:?}")
            }
            _ => "bad answer".into(),
        },
        [[octet]] if *octet == bare[0] => "heartbeat".into(),
        [[octet]] if *octet == bare[1] => "disconnect".into(),
        _ => "invalid".into(),
    }
}

fn to_broker(message: Frames<'_>) {
    let expected = naive_meaning(&bodies(message));
    assert_eq!(meaning(message), expected);
    match ToBroker::decode(message) {
        Ok(ToBroker::Request(request)) => {
            reread(|out| request.encode(out), |again| assert_eq!(meaning(again), expected));
        }
        Ok(ToBroker::Worker(version, command)) => {
            let written = |out: &mut Encoder| command.encode(version, out);
            if let FromWorker::BadReady(_) | FromWorker::BadAnswer(_) | FromWorker::Invalid(_) =
                command
            {
                let mut out = Encoder::default();
                written(&mut out);
                assert!(out.is_empty(), "{command:?} cannot be written");
            } else {
                reread(written, |again| assert_eq!(meaning(again), expected));
            }
        }
        Err(reason) => assert!(is_label(reason.label()) && !reason.to_string().is_empty()),
    }
}

fn to_worker(message: Frames<'_>) {
    let Ok((version, command)) = ToWorker::decode(message) else { return };
    reread(
        |out| command.encode(version, out),
        |again| match (ToWorker::decode(again), command) {
            (Ok((v, ToWorker::Request(again))), ToWorker::Request(answer)) if v == version => {
                assert_eq!(again.address, answer.address);
                assert_eq!(bodies(again.body), bodies(answer.body));
            }
            (Ok((v, ToWorker::Heartbeat)), ToWorker::Heartbeat)
            | (Ok((v, ToWorker::Disconnect)), ToWorker::Disconnect)
                if v == version => {}
            (again, command) => panic!("{command:?} of {version:?} was written as {again:?}"),
        },
    );
}

/// An answer, and the same answer behind an earlier part of it.
fn to_client(message: Frames<'_>) {
    let Ok(answer) = ToClient::decode(message) else { return };
    let envelope = match answer.version {
        Version::V01 => Frames::DELIMITER,
        Version::V02 => Frames::default(),
    };
    let part = Message::new([&b"a"[..], b"b"]);
    for earlier in [vec![], vec![part]] {
        let expected: Vec<_> = earlier
            .iter()
            .flat_map(|part| bodies(part.frames()))
            .chain(bodies(answer.body))
            .collect();
        reread(
            |out| answer.encode(&envelope, &earlier, out),
            |again| {
                let again = ToClient::decode(again).expect("an answer that was written");
                assert_eq!((again.version, again.last), (answer.version, answer.last));
                assert_eq!((again.service, bodies(again.body)), (answer.service, expected));
            },
        );
    }
}
