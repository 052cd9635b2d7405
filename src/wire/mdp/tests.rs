use super::*;
use crate::wire::Limits;
use crate::wire::codec::{Decoder, Item};

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

/// What was decoded, in words. The short way and frame by frame it is the same.
fn said(octets: &[u8]) -> String {
    with_frames(octets, |frames| {
        let long_way = format!("{:?}", ToBroker::decode(frames));
        let request = Request::decode_plain(frames).map(ToBroker::Request);
        let answer = Answer::decode_plain(frames)
            .map(|answer| ToBroker::Worker(Version::V01, FromWorker::Final(answer)));
        for short_way in request.into_iter().chain(answer) {
            assert_eq!(format!("{:?}", Ok::<_, Malformed>(short_way)), long_way);
        }
    });
    let text = |frame: &[u8]| frame.escape_ascii().to_string();
    let body = |frames: &Frames<'_>| frames.map(text).collect::<Vec<_>>().join("|");
    with_frames(octets, |frames| match ToBroker::decode(frames) {
        Err(malformed) => format!("{malformed:?}"),
        Ok(ToBroker::Request(Request { version, envelope, service, body: parts })) => {
            format!(
                "{version:?} request {} from <{}> {}",
                text(service),
                body(&envelope),
                body(&parts)
            )
        }
        Ok(ToBroker::Worker(version, command)) => match command {
            FromWorker::Ready { service } => format!("{version:?} ready {}", text(service)),
            FromWorker::Partial(a) => {
                format!("{version:?} partial {} {}", text(a.address), body(&a.body))
            }
            FromWorker::Final(a) => {
                format!("{version:?} final {} {}", text(a.address), body(&a.body))
            }
            other => format!("{version:?} {other:?}"),
        },
    })
}

// Golden: the frames of RFC 7 ("MDP/Client", "MDP/Worker") and RFC 18, framed by RFC 37.
#[test]
fn what_rfc_7_and_rfc_18_draw_is_read() {
    let cases: &[(&[u8], &str)] = &[
        (b"\x01\0\x01\x06MDPC01\x01\x04echo\x00\x02hi", "V01 request echo from <> hi"),
        (b"\x01\0\x01\x06MDPC01\x01\x04echo\x01\x00\x00\x00", "V01 request echo from <> |"),
        (b"\x01\0\x01\x06MDPW01\x01\x01\x01\x00\x04echo", "V01 ready echo"),
        (b"\x01\0\x01\x06MDPW01\x01\x01\x03\x01\x02ad\x01\0\0\x02yo", "V01 final ad yo"),
        (b"\x01\0\x01\x06MDPW01\0\x01\x04", "V01 Heartbeat"),
        (b"\x01\0\x01\x06MDPW01\0\x01\x05", "V01 Disconnect"),
        (b"\x01\x06MDPC02\x01\x01\x01\x01\x04echo\x00\x02hi", "V02 request echo from <> hi"),
        (b"\x01\x06MDPW02\x01\x01\x01\x00\x04echo", "V02 ready echo"),
        (b"\x01\x06MDPW02\x01\x01\x03\x01\x02ad\x01\0\0\x02yo", "V02 partial ad yo"),
        (b"\x01\x06MDPW02\x01\x01\x04\x01\x02ad\x01\0\x01\x01a\0\x01b", "V02 final ad a|b"),
        (b"\x01\x06MDPW02\0\x01\x05", "V02 Heartbeat"),
        (b"\x01\x06MDPW02\0\x01\x06", "V02 Disconnect"),
    ];
    for (octets, expected) in cases {
        assert_eq!(said(octets), *expected);
    }
}

#[test]
fn an_envelope_of_some_frames_is_kept_and_a_longer_one_refused() {
    // Golden: ZMQ_REQ_CORRELATE of libzmq 4.3.5 puts 4 octets before the delimiter.
    assert_eq!(
        said(b"\x01\x04\0\0\0\x07\x01\0\x01\x06MDPC01\x01\x04echo\x00\x02hi"),
        "V01 request echo from <\\x00\\x00\\x00\\x07|> hi"
    );
    let enveloped = |hops: usize| {
        let mut frames: Vec<&[u8]> = vec![b"hop"; hops];
        frames.extend([&b""[..], b"MDPC01", b"echo", b"hi"]);
        said(&octets(&frames))
    };
    assert!(enveloped(7).starts_with("V01 request echo from <hop|hop"), "{}", enveloped(7));
    assert_eq!(enveloped(8), "EnvelopeTooBig");
    assert_eq!(said(&octets(&[&[1; 256], b"", b"MDPC01", b"echo", b"hi"])), "EnvelopeTooBig");
}

#[test]
fn what_is_not_mdp_is_told_apart() {
    let cases: &[(&[&[u8]], &str)] = &[
        (&[b""], "Probe"),
        (&[b"", b"hello"], "NoHeader"),
        (&[b"hello"], "NoHeader"),
        (&[b"MDPC01", b"echo", b"hi"], "NoHeader"),
        (&[b"MDPW01", b"\x01", b"echo"], "NoHeader"),
        (&[b"", b"MDPC02", b"\x02", b"echo", b"hi"], "DelimitedV02"),
        (&[b"", b"MDPW02", b"\x01", b"echo"], "DelimitedV02"),
        (&[b"", b"MDPC0X", b"\x01", b"echo", b"hi"], "ForeignDialect"),
        (&[b"MDPC03", b"\x01", b"echo"], "ForeignDialect"),
        (&[b"\xaa\xa4\x01", b"", b"hi"], "ForeignDialect"),
        (&[b"", b"MDPC01"], "NoService"),
        (&[b"", b"MDPC01", b"", b"hi"], "NoService"),
        (&[b"", b"MDPC01", b"echo"], "NoBody"),
        (&[b"MDPC02", b"\x01", b"echo"], "NoBody"),
        (&[b"MDPC02", b"\x02", b"echo", b"hi"], "UnknownCommand"),
        (&[b"MDPC02", b"", b"echo", b"hi"], "NoCommand"),
        (&[b"MDPC02"], "NoCommand"),
        (&[b"", b"MDPW01"], "V01 Invalid(NoCommand)"),
        (&[b"", b"MDPW01", b"\x07"], "V01 Invalid(UnknownCommand)"),
        (&[b"", b"MDPW01", b"\x02"], "V01 Invalid(UnknownCommand)"),
        (&[b"", b"MDPW01", b"\x04", b"more"], "V01 Invalid(FrameCount)"),
        (&[b"", b"MDPW01", b"\x01"], "V01 BadReady(NoService)"),
        (&[b"", b"MDPW01", b"\x01", b""], "V01 BadReady(NoService)"),
        (&[b"", b"MDPW01", b"\x01", b"echo", b"more"], "V01 BadReady(FrameCount)"),
        (&[b"", b"MDPW01", b"\x03"], "V01 BadAnswer(BadAnswer)"),
        (&[b"", b"MDPW01", b"\x03", b"ad", b""], "V01 BadAnswer(BadAnswer)"),
        (&[b"", b"MDPW01", b"\x03", b"ad", b"x", b"yo"], "V01 BadAnswer(BadAnswer)"),
        (&[b"MDPW02", b"\x04", b"ad", b"", b"yo"], "V02 final ad yo"),
        (&[b"MDPW02", b"\x07"], "V02 Invalid(UnknownCommand)"),
        (&[b"MDPW02", b"\x02", b"ad", b"", b"yo"], "V02 Invalid(UnknownCommand)"),
    ];
    for (frames, expected) in cases {
        assert_eq!(said(&octets(frames)), *expected, "{frames:?}");
    }
}

// Golden: the same RFCs, the broker's side.
#[test]
fn what_a_broker_says_is_written_as_the_rfcs_draw_it() {
    let body = Message::new([&b"hi"[..]]);
    let request = ToWorker::Request(Answer { address: b"ad", body: body.frames() });
    let cases: &[(Version, ToWorker<'_>, &[u8])] = &[
        (Version::V01, request, b"\x01\0\x01\x06MDPW01\x01\x01\x02\x01\x02ad\x01\0\0\x02hi"),
        (Version::V02, request, b"\x01\x06MDPW02\x01\x01\x02\x01\x02ad\x01\0\0\x02hi"),
        (Version::V01, ToWorker::Heartbeat, b"\x01\0\x01\x06MDPW01\0\x01\x04"),
        (Version::V02, ToWorker::Heartbeat, b"\x01\x06MDPW02\0\x01\x05"),
        (Version::V01, ToWorker::Disconnect, b"\x01\0\x01\x06MDPW01\0\x01\x05"),
        (Version::V02, ToWorker::Disconnect, b"\x01\x06MDPW02\0\x01\x06"),
    ];
    for (version, command, expected) in cases {
        assert_eq!(written(|out| command.encode(*version, out)), *expected);
        let (read, again) = with_frames(expected, |frames| {
            let (read, command) = ToWorker::decode(frames).unwrap();
            (read, written(|out| command.encode(read, out)))
        });
        assert_eq!((read, &again[..]), (*version, *expected));
    }
}

#[test]
fn answers_to_clients_are_written_as_the_rfcs_draw_them_and_read_back() {
    let body = Message::new([&b"yo"[..]]);
    let earlier = [Message::new([&b"a"[..]]), Message::new([&b"b"[..], b""])];
    let answer = |version, last| ToClient { version, last, service: b"echo", body: body.frames() };
    let cases: &[(ToClient<'_>, Frames<'_>, &[Message], &[u8])] = &[
        (
            answer(Version::V01, true),
            Frames::DELIMITER,
            &[],
            b"\x01\0\x01\x06MDPC01\x01\x04echo\0\x02yo",
        ),
        (
            answer(Version::V01, true),
            Frames::DELIMITER,
            &earlier,
            b"\x01\0\x01\x06MDPC01\x01\x04echo\x01\x01a\x01\x01b\x01\x00\0\x02yo",
        ),
        (
            answer(Version::V02, false),
            Frames::default(),
            &[],
            b"\x01\x06MDPC02\x01\x01\x02\x01\x04echo\0\x02yo",
        ),
        (
            answer(Version::V02, true),
            Frames::default(),
            &[],
            b"\x01\x06MDPC02\x01\x01\x03\x01\x04echo\0\x02yo",
        ),
    ];
    for (answer, envelope, earlier, expected) in cases {
        assert_eq!(written(|out| answer.encode(envelope, earlier, out)), *expected);
        with_frames(expected, |frames| {
            let read = ToClient::decode(frames).unwrap();
            assert_eq!(
                (read.version, read.last, read.service),
                (answer.version, answer.last, &b"echo"[..])
            );
            let parts = earlier.iter().map(|part| part.frames().len()).sum::<usize>();
            assert_eq!(read.body.len(), parts + 1);
        });
    }
}

#[test]
fn what_clients_and_workers_write_is_what_a_broker_reads() {
    let body = Message::new([&b"hi"[..], b""]);
    for version in [Version::V01, Version::V02] {
        let request =
            Request { version, envelope: Frames::default(), service: b"echo", body: body.frames() };
        let octets = written(|out| request.encode(out));
        assert_eq!(said(&octets), format!("{version:?} request echo from <> hi|"));
        let answer = Answer { address: b"ad", body: body.frames() };
        let commands = [
            (FromWorker::Ready { service: b"echo" }, "ready echo"),
            (FromWorker::Final(answer), "final ad hi|"),
            (FromWorker::Heartbeat, "Heartbeat"),
            (FromWorker::Disconnect, "Disconnect"),
        ];
        for (command, expected) in commands {
            let octets = written(|out| command.encode(version, out));
            assert_eq!(said(&octets), format!("{version:?} {expected}"));
        }
    }
    let answer = Answer { address: b"ad", body: body.frames() };
    let partial = written(|out| FromWorker::Partial(answer).encode(Version::V02, out));
    assert_eq!(said(&partial), "V02 partial ad hi|");
}

#[test]
fn a_client_and_a_worker_refuse_what_no_broker_says() {
    let worker = |frames: &[&[u8]]| with_frames(&octets(frames), |f| ToWorker::decode(f).err());
    assert_eq!(worker(&[b"hello"]), Some(Malformed::NoHeader));
    assert_eq!(worker(&[b"", b"MDPW01"]), Some(Malformed::NoCommand));
    assert_eq!(worker(&[b"", b"MDPW01", b"\x09"]), Some(Malformed::UnknownCommand));
    assert_eq!(worker(&[b"MDPW02", b"\x02", b"ad"]), Some(Malformed::BadAnswer));
    let client = |frames: &[&[u8]]| with_frames(&octets(frames), |f| ToClient::decode(f).err());
    assert_eq!(client(&[b"hello"]), Some(Malformed::NoHeader));
    assert_eq!(client(&[b"MDPC02"]), Some(Malformed::NoCommand));
    assert_eq!(client(&[b"MDPC02", b"\x01", b"echo", b"hi"]), Some(Malformed::UnknownCommand));
    assert_eq!(client(&[b"", b"MDPC01"]), Some(Malformed::NoService));
    assert_eq!(client(&[b"", b"MDPC01", b"echo"]), Some(Malformed::NoBody));
}
