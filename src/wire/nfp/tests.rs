use super::*;
use crate::wire::Limits;
use crate::wire::codec::{Decoder, Item};
use crate::wire::message::Message;

/// Octets of one message, decoded to its frames.
fn with_frames<T>(octets: &[u8], look: impl FnOnce(Frames<'_>) -> T) -> T {
    let mut decoder = Decoder::new(Limits::default());
    match decoder.next(&mut &*octets) {
        Ok(Some(Item::Message(frames))) => look(frames),
        other => panic!("no message: {other:?}"),
    }
}

fn octets(frames: &[&[u8]]) -> Vec<u8> {
    let message = Message::new(frames.iter().map(|frame| frame.to_vec()));
    written(|out| out.frames(&message.frames()))
}

fn written(write: impl FnOnce(&mut Encoder)) -> Vec<u8> {
    let mut out = Encoder::default();
    write(&mut out);
    let mut slices = [std::io::IoSlice::new(&[]); 8];
    let filled = out.chunks(&mut slices);
    slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect()
}

fn text(frame: &[u8]) -> String {
    frame.escape_ascii().to_string()
}

fn all(frames: Frames<'_>) -> String {
    frames.map(text).collect::<Vec<_>>().join("|")
}

/// What was decoded, in words; what can be written again reads the same.
fn said(octets: &[u8]) -> String {
    with_frames(octets, |frames| {
        let said = ToBroker::decode(frames);
        let again = match &said {
            Ok(ToBroker::Client(command)) => written(|out| command.encode(out)),
            Ok(ToBroker::Worker(command)) => written(|out| command.encode(out)),
            Err(_) => Vec::new(),
        };
        let words = words(said);
        if !again.is_empty() {
            with_frames(&again, |again| assert_eq!(self::words(ToBroker::decode(again)), words));
        }
        words
    })
}

fn words(said: Result<ToBroker<'_>, Malformed>) -> String {
    match said {
        Err(malformed) => format!("{malformed:?}"),
        Ok(ToBroker::Client(FromClient::Job(Job { verb, service, target, uuid, body }))) => {
            let [service, target, uuid] = [service, target, uuid].map(text);
            format!("{verb:?} {service} for {target} as {uuid}: {}", all(body))
        }
        Ok(ToBroker::Client(FromClient::Refused(refused))) => {
            let Refused { command, service, target, uuid, why } = refused;
            format!("{why:?} {}", [command, service, target, uuid].map(text).join("/"))
        }
        Ok(ToBroker::Client(command)) => format!("client {command:?}"),
        Ok(ToBroker::Worker(FromWorker::Report(report))) => {
            let Report { kind, client, uuid, status, rest } = report;
            let [client, uuid, status] = [client, uuid, status].map(text);
            assert_eq!(rest.len().saturating_sub(2), report.body().len());
            format!("{kind:?} to {client}: {uuid} {status} {}, {}", all(report.body()), rest.len())
        }
        Ok(ToBroker::Worker(FromWorker::Ready { service })) => format!("ready {}", text(service)),
        Ok(ToBroker::Worker(FromWorker::Keepalive { service })) => {
            format!("keepalive {}", text(service))
        }
        Ok(ToBroker::Worker(FromWorker::Disconnect { service })) => {
            format!("worker leaves {}", text(service))
        }
        Ok(ToBroker::Worker(command)) => format!("{command:?}"),
    }
}

// Golden: facts of NorFab 0.25.0, table "Frames", rows 1 and 6 to 9, framed by RFC 37.
#[test]
fn what_norfab_peers_say_is_read() {
    let cases: &[(&[u8], &str)] = &[
        (
            b"\x01\0\x01\x06NFPC01\x01\x040x04\x01\x05dummy\x01\x03all\x01\x04u-u1\0\x02{}",
            "Post dummy for all as u-u1: {}",
        ),
        (
            b"\x01\0\x01\x06NFPC01\x01\x040x06\x01\x05dummy\x01\x03any\x01\x04u-u1\0\x02{}",
            "Get dummy for any as u-u1: {}",
        ),
        (
            b"\x01\0\x01\x06NFPC01\x01\x040x10\x01\x05dummy\x01\x07dummy-1\x01\x04u-u1\0\x02{}",
            "Put dummy for dummy-1 as u-u1: {}",
        ),
        (
            b"\x01\0\x01\x06NFPC01\x01\x040x11\x01\x12mmi.service.broker\x01\x03any\x01\x04u-u1\0\x02{}",
            "Mmi mmi.service.broker for any as u-u1: {}",
        ),
        (
            b"\x01\0\x01\x06NFPC01\x01\x040x07\x01\x05dummy\x01\x06[\"w1\"]\x01\x04u-u1\0\0",
            "Delete dummy for [\\\"w1\\\"] as u-u1: ",
        ),
        (b"\x01\0\x01\x06NFPW01\x01\x040x01\0\x05dummy", "ready dummy"),
        (b"\x01\0\x01\x06NFPW01\x01\x040x02\0\x05dummy", "keepalive dummy"),
        (b"\x01\0\x01\x06NFPW01\x01\x040x03\0\x05dummy", "worker leaves dummy"),
        (
            b"\x01\0\x01\x06NFPW01\x01\x040x05\x01\x03cli\x01\0\x01\x04u-u1\x01\x03201\0\x02{}",
            "Response to cli: u-u1 201 {}, 3",
        ),
        (
            b"\x01\0\x01\x06NFPW01\x01\x040x08\x01\x03cli\x01\0\x01\x04u-u1\x01\x03200\0\x02{}",
            "Event to cli: u-u1 200 {}, 3",
        ),
        (
            b"\x01\0\x01\x06NFPW01\x01\x040x09\x01\x03cli\x01\0\x01\x04u-u1\x01\x03200\0\x02\xff\0",
            "Stream to cli: u-u1 200 \\xff\\x00, 3",
        ),
    ];
    for (octets, expected) in cases {
        assert_eq!(said(octets), *expected);
        assert!(with_frames(octets, is_nfp));
        let again = with_frames(octets, |frames| match ToBroker::decode(frames).unwrap() {
            ToBroker::Client(command) => written(|out| command.encode(out)),
            ToBroker::Worker(command) => written(|out| command.encode(out)),
        });
        assert_eq!(&again, octets, "{expected}");
    }
}

#[test]
fn what_norfab_lets_pass_passes() {
    let cases: &[(&[&[u8]], &str)] = &[
        (&[b"", b"NFPC01", b"0x00"], "client Open"),
        (&[b"", b"NFPC01", b"0x00", b"dummy", b"all", b"u", b"{}"], "client Open"),
        (&[b"", b"NFPC01", b"0x03"], "client Disconnect"),
        (&[b"", b"NFPC01", b"0x03", b"dummy", b"all", b"u", b"{}", b""], "client Disconnect"),
        (&[b"", b"NFPC01", b"0x04", b"dummy", b"", b"u", b""], "Post dummy for  as u: "),
        (&[b"", b"NFPW01", b"0x01", b"dummy", b"more"], "ready dummy"),
        (&[b"", b"NFPW01", b"0x02"], "keepalive "),
        (&[b"", b"NFPW01", b"0x03"], "worker leaves "),
        (
            &[b"", b"NFPW01", b"0x05", b"c", b"odd", b"u", b"200", b"{}"],
            "Response to c: u 200 {}, 3",
        ),
        (
            &[b"", b"NFPW01", b"0x08", b"c", b"", b"u", b"200", b"1", b"2", b"3"],
            "Event to c: u 200 1|2|3, 5",
        ),
        (&[b"", b"NFPW01", b"0x05", b"c", b"", b"u"], "Response to c: u  , 1"),
        (&[b"", b"NFPW01", b"0x05", b"c", b"", b"", b"xyz"], "Response to c:  xyz , 2"),
    ];
    for (frames, expected) in cases {
        assert_eq!(said(&octets(frames)), *expected, "{frames:?}");
    }
}

#[test]
fn what_is_not_nfp_is_told_apart() {
    let (name, long) = ([b'n'; 255], [b'n'; 256]);
    let of_client: &[(&[&[u8]], &str)] = &[
        (&[], "NoCommand ///"),
        (&[b""], "NoCommand ///"),
        (&[b"\x04", b"s", b"t", b"u", b"{}"], "NoCommand \\x04/s/t/u"),
        (&[b"0x99", b"s", b"t", b"u", b"{}"], "UnknownCommand 0x99/s/t/u"),
        (&[b"0x99", b"s"], "UnknownCommand 0x99/s//"),
        (&[b"0x01", b"s"], "UnknownCommand 0x01/s//"),
        (&[b"0x05", b"s", b"t", b"u", b"{}"], "UnknownCommand 0x05/s/t/u"),
        (&[b"0x04"], "NoService 0x04///"),
        (&[b"0x04", b"", b"t", b"u", b"{}"], "NoService 0x04//t/u"),
        (&[b"0x04", b"s", b"t"], "NoUuid 0x04/s/t/"),
        (&[b"0x04", b"s", b"t", b"", b"{}"], "NoUuid 0x04/s/t/"),
        (&[b"0x04", b"s", b"t", &long, b"{}"], "NoUuid 0x04/s/t/"),
        (&[b"0x04", b"\xff", b"t", b"u", b"{}"], "NotText 0x04/\\xff/t/u"),
        (&[b"0x04", b"s", b"t", b"\xff", b"{}"], "NotText 0x04/s/t/\\xff"),
        (&[b"0x04", b"s", b"t", b"u"], "FrameCount 0x04/s/t/u"),
        (&[b"0x04", b"s", b"t", b"u", b"{}", b"more"], "FrameCount 0x04/s/t/u"),
    ];
    for (frames, expected) in of_client {
        let frames = [&[&b""[..], b"NFPC01"], *frames].concat();
        assert_eq!(said(&octets(&frames)), *expected, "{frames:?}");
    }
    let of_worker: &[(&[&[u8]], &str)] = &[
        (&[], "Invalid(NoCommand)"),
        (&[b"\x01", b"dummy"], "Invalid(NoCommand)"),
        (&[b"0x04", b"c", b"", b"u", b"200", b"{}"], "Invalid(UnknownCommand)"),
        (&[b"0x11", b"c", b"", b"u", b"200", b"{}"], "Invalid(UnknownCommand)"),
        (&[b"0x01"], "BadReady(NoService)"),
        (&[b"0x01", b""], "BadReady(NoService)"),
        (&[b"0x01", &long], "BadReady(NoService)"),
        (&[b"0x01", b"\xff"], "BadReady(NotText)"),
        (&[b"0x05"], "Invalid(NoClient)"),
        (&[b"0x05", b"", b"", b"u", b"200", b"{}"], "Invalid(NoClient)"),
        (&[b"0x05", &long, b"", b"u", b"200", b"{}"], "Invalid(NoClient)"),
        (&[b"0x08", b"c"], "Invalid(FrameCount)"),
        (&[b"0x09", b"c", b""], "Invalid(FrameCount)"),
        (&[b"0x05", b"c", b"", &long, b"200", b"{}"], "Invalid(NoUuid)"),
    ];
    for (frames, expected) in of_worker {
        let frames = [&[&b""[..], b"NFPW01"], *frames].concat();
        assert_eq!(said(&octets(&frames)), *expected, "{frames:?}");
    }
    assert_eq!(said(&octets(&[b"", b"NFPW01", b"0x01", &name])), format!("ready {}", text(&name)));
    let of_nobody: &[(&[&[u8]], &str, bool)] = &[
        (&[b"", b"NFPB01", b"0x02", b"dummy"], "BrokerHeader", true),
        (&[b"", b"NFPC02", b"0x04", b"s", b"t", b"u", b"{}"], "OtherVersion", true),
        (&[b"", b"NFPX01"], "NoHeader", true),
        (&[b"", b"NFPC1"], "NoHeader", false),
        (&[b"", b"MDPC01", b"echo", b"hi"], "NoHeader", false),
        (&[b"NFPC01", b"0x04", b"s", b"t", b"u", b"{}"], "NoHeader", false),
        (&[b"x", b"NFPC01", b"0x04", b"s", b"t", b"u", b"{}"], "NoHeader", false),
        (&[b""], "NoHeader", false),
    ];
    for (frames, expected, ours) in of_nobody {
        assert_eq!(said(&octets(frames)), *expected, "{frames:?}");
        assert_eq!(with_frames(&octets(frames), is_nfp), *ours, "{frames:?}");
    }
}

// Golden: the same table, rows 2 to 5, 10, 11, 12b and 13; and "Versions" for the old headers.
#[test]
fn what_a_broker_says_is_written_as_norfab_writes_it_and_read_back() {
    let body = Message::new([&b"{}"[..]]);
    let rest = Message::new([&b"u-u1"[..], b"200", b"{}"]);
    let (service, uuid, body, rest) = (&b"dummy"[..], &b"u-u1"[..], body.frames(), rest.frames());
    let cases: &[(Kind, &[u8], &[u8])] = &[
        (Kind::Response, b"202", b"\x01\x040x05\x01\x05dummy\x01\x04u-u1\x01\x03202\0\x02{}"),
        (Kind::Event, b"200", b"\x01\x040x08\x01\x05dummy\x01\x04u-u1\x01\x03200\0\x02{}"),
        (Kind::Stream, b"200", b"\x01\x040x09\x01\x05dummy\x01\x04u-u1\x01\x03200\0\x02{}"),
        (Kind::Mmi, b"200", b"\x01\x040x11\x01\x05dummy\x01\x04u-u1\x01\x03200\0\x02{}"),
    ];
    for (era, header) in
        [(Era::Current, "\x01\0\x01\x06NFPB01"), (Era::Old, "\x01\0\x01\x06NFPC01")]
    {
        for (kind, status, expected) in cases {
            let expected = [header.as_bytes(), expected].concat();
            let reply = Reply { kind: *kind, service, uuid, status, body };
            assert_eq!(written(|out| ToClient::Reply(reply).encode(era, out)), expected);
            if *status == b"200" {
                let forward = Forward { kind: *kind, service, rest };
                assert_eq!(written(|out| forward.encode(era, out)), expected);
            }
            with_frames(&expected, |frames| match ToClient::decode(frames) {
                Ok((read, ToClient::Reply(again))) => {
                    assert_eq!((read, again.kind), (era, *kind));
                    assert_eq!([again.service, again.uuid, again.status], [service, uuid, status]);
                    assert_eq!(all(again.body), "{}");
                }
                other => panic!("{other:?}"),
            });
        }
        let expected = [header.as_bytes(), b"\x01\x040x05\x01\x05dummy\0\x02no"].concat();
        let plain = ToClient::Plain { service, text: b"no" };
        assert_eq!(written(|out| plain.encode(era, out)), expected);
        with_frames(&expected, |frames| {
            let read = ToClient::decode(frames);
            assert!(
                matches!(read, Ok((read, ToClient::Plain { service: b"dummy", text: b"no" })) if read == era),
                "{read:?}"
            );
        });
    }
}

#[test]
fn what_a_broker_says_to_a_worker_is_written_as_norfab_writes_it_and_read_back() {
    let body = Message::new([&b"{}"[..]]);
    let order =
        |verb| ToWorker::Order(Order { verb, client: b"cli", uuid: b"u-u1", body: body.frames() });
    let (keepalive, disconnect) =
        (ToWorker::Keepalive { service: b"dummy" }, ToWorker::Disconnect { service: b"dummy" });
    let cases: &[(Era, ToWorker<'_>, &[u8])] = &[
        (
            Era::Current,
            order(Verb::Post),
            b"\x01\0\x01\x06NFPB01\x01\x040x04\x01\x03cli\x01\0\x01\x04u-u1\0\x02{}",
        ),
        (
            Era::Current,
            order(Verb::Get),
            b"\x01\0\x01\x06NFPB01\x01\x040x06\x01\x03cli\x01\0\x01\x04u-u1\0\x02{}",
        ),
        (
            Era::Current,
            order(Verb::Put),
            b"\x01\0\x01\x06NFPB01\x01\x040x10\x01\x03cli\x01\0\x01\x04u-u1\0\x02{}",
        ),
        (
            Era::Current,
            order(Verb::Delete),
            b"\x01\0\x01\x06NFPB01\x01\x040x07\x01\x03cli\x01\0\x01\x04u-u1\0\x02{}",
        ),
        (
            Era::Old,
            order(Verb::Post),
            b"\x01\0\x01\x06NFPW01\x01\x040x04\x01\x03cli\x01\0\x01\x04u-u1\0\x02{}",
        ),
        (Era::Current, keepalive, b"\x01\0\x01\x06NFPB01\x01\x040x02\0\x05dummy"),
        (Era::Old, keepalive, b"\x01\0\x01\x06NFPB01\x01\x040x02\0\x05dummy"),
        (Era::Current, disconnect, b"\x01\0\x01\x06NFPB01\x01\x040x03\0\x05dummy"),
        (Era::Old, disconnect, b"\x01\0\x01\x06NFPW01\x01\x040x03\0\x05dummy"),
    ];
    for (era, command, expected) in cases {
        assert_eq!(written(|out| command.encode(*era, out)), *expected, "{command:?}");
        let again = with_frames(expected, |frames| {
            let (era, command) = ToWorker::decode(frames).unwrap();
            written(|out| command.encode(era, out))
        });
        assert_eq!(again, *expected);
    }
    let short = octets(&[b"", b"NFPB01", b"0x03"]);
    let read = with_frames(&short, |frames| format!("{:?}", ToWorker::decode(frames)));
    assert_eq!(read, "Ok((Current, Disconnect { service: [] }))");
}

#[test]
fn an_answer_is_a_report_to_the_broker() {
    let body = Message::new([vec![7; crate::wire::message::LARGE]]);
    let answer = Answer {
        kind: Kind::Stream,
        client: b"cli",
        uuid: b"u-u1",
        status: status::OK,
        body: body.frames(),
    };
    let octets = written(|out| answer.encode(out));
    with_frames(&octets, |frames| {
        let Ok(ToBroker::Worker(FromWorker::Report(report))) = ToBroker::decode(frames) else {
            panic!("no report");
        };
        assert_eq!([report.client, report.uuid, report.status], [&b"cli"[..], b"u-u1", b"200"]);
        assert_eq!(report.body().to_message(), body);
        let forward = Forward { kind: report.kind, service: b"dummy", rest: report.rest };
        let to_client = written(|out| forward.encode(Era::Current, out));
        let reply = Reply {
            kind: Kind::Stream,
            service: b"dummy",
            uuid: b"u-u1",
            status: b"200",
            body: body.frames(),
        };
        assert_eq!(to_client, written(|out| reply.encode(Era::Current, out)));
    });
}

#[test]
fn a_message_without_a_body_ends_all_the_same() {
    let (none, uuid, status) = (Frames::default(), &b"u"[..], &b"200"[..]);
    let job = Job { verb: Verb::Post, service: b"s", target: b"t", uuid, body: none };
    let kind = Kind::Response;
    let messages = [
        written(|out| job.encode(out)),
        written(|out| Answer { kind, client: b"c", uuid, status, body: none }.encode(out)),
        written(|out| {
            Reply { kind, service: b"s", uuid, status, body: none }.encode(Era::Current, out);
        }),
        written(|out| {
            Order { verb: Verb::Get, client: b"c", uuid, body: none }.encode(Era::Current, out);
        }),
    ];
    for (octets, frames) in messages.iter().zip([7, 8, 7, 7]) {
        assert_eq!(with_frames(octets, |message| message.len()), frames);
        assert!(with_frames(octets, |message| message.last().is_some_and(<[u8]>::is_empty)));
    }
}

#[test]
fn a_client_and_a_worker_refuse_what_no_broker_says() {
    let worker = |frames: &[&[u8]]| with_frames(&octets(frames), |f| ToWorker::decode(f).err());
    assert_eq!(worker(&[b"hello"]), Some(Malformed::NoHeader));
    assert_eq!(worker(&[b"", b"NFPC01", b"0x02"]), Some(Malformed::NoHeader));
    assert_eq!(worker(&[b"", b"NFPB01"]), Some(Malformed::NoCommand));
    // Row 12: NorFab's own DISCONNECT, service and command swapped.
    assert_eq!(worker(&[b"", b"NFPB01", b"dummy", b"0x03"]), Some(Malformed::NoCommand));
    assert_eq!(worker(&[b"", b"NFPB01", b"0x05", b"s"]), Some(Malformed::UnknownCommand));
    assert_eq!(worker(&[b"", b"NFPB01", b"0x04"]), Some(Malformed::NoClient));
    assert_eq!(worker(&[b"", b"NFPB01", b"0x04", b"c", b""]), Some(Malformed::NoUuid));
    assert_eq!(worker(&[b"", b"NFPB01", b"0x04", b"c", b"", b"u"]), Some(Malformed::FrameCount));
    let client = |frames: &[&[u8]]| with_frames(&octets(frames), |f| ToClient::decode(f).err());
    assert_eq!(client(&[b"hello"]), Some(Malformed::NoHeader));
    assert_eq!(client(&[b"", b"NFPW01", b"0x05"]), Some(Malformed::NoHeader));
    assert_eq!(client(&[b"", b"NFPB01"]), Some(Malformed::NoCommand));
    assert_eq!(client(&[b"", b"NFPB01", b"0x02", b"s"]), Some(Malformed::UnknownCommand));
    assert_eq!(client(&[b"", b"NFPB01", b"0x05"]), Some(Malformed::NoService));
    assert_eq!(client(&[b"", b"NFPB01", b"0x05", b"s"]), Some(Malformed::NoUuid));
    assert_eq!(client(&[b"", b"NFPB01", b"0x05", b"s", b"u", b"200"]), Some(Malformed::FrameCount));
    assert_eq!(client(&[b"", b"NFPB01", b"0x08", b"s", b"u"]), Some(Malformed::FrameCount));
}

#[test]
fn every_reason_has_a_label_and_a_text() {
    let reasons = [
        (Malformed::NoHeader, "no_header"),
        (Malformed::BrokerHeader, "broker_header"),
        (Malformed::OtherVersion, "other_version"),
        (Malformed::NoCommand, "no_command"),
        (Malformed::UnknownCommand, "unknown_command"),
        (Malformed::NoService, "no_service"),
        (Malformed::NoUuid, "no_uuid"),
        (Malformed::NoClient, "no_client"),
        (Malformed::NotText, "not_text"),
        (Malformed::FrameCount, "frame_count"),
    ];
    for (reason, label) in reasons {
        assert_eq!(reason.label(), label);
        assert!(!reason.to_string().is_empty());
    }
}
