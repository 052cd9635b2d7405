use std::num::NonZeroU32;
use std::time::Duration;

use super::*;
use crate::wire::Limits;
use crate::wire::codec::{Decoder, Item};
use crate::wire::message::Message;

/// The frames of a message, for a while.
fn with_frames<T>(frames: &[&[u8]], look: impl FnOnce(Frames<'_>) -> T) -> T {
    look(Message::new(frames.iter().map(|frame| frame.to_vec())).frames())
}

fn written(write: impl FnOnce(&mut Encoder)) -> Vec<Vec<u8>> {
    let mut out = Encoder::default();
    write(&mut out);
    let mut slices = [std::io::IoSlice::new(&[]); 8];
    let filled = out.chunks(&mut slices);
    let octets: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
    let mut decoder = Decoder::new(Limits::default());
    match decoder.next(&mut &*octets) {
        Ok(Some(Item::Message(frames))) => frames.map(<[u8]>::to_vec).collect(),
        other => panic!("no message: {other:?}"),
    }
}

/// Kind and id.
fn second(kind: u8, id: u64) -> Vec<u8> {
    [&[kind][..], &id.to_be_bytes()].concat()
}

/// Why a broker does not take these frames behind `MJP1` and kind and id.
fn refused(kind: u8, id: u64, rest: &[&[u8]]) -> Malformed {
    let second = second(kind, id);
    let frames = [&[&b"MJP1"[..], &second], rest].concat();
    with_frames(&frames, |message| {
        assert!(is_mjp(message));
        let rejected = ToBroker::decode(message).expect_err("taken");
        assert_eq!((rejected.kind, rejected.id), (kind, id));
        rejected.why
    })
}

/// What a broker and what a peer make of a message: the command, or the label of its fault. What
/// was read means the same after it was written.
fn both_ways(frames: &[&[u8]]) -> [String; 2] {
    macro_rules! one_way {
        ($kind:ident) => {
            with_frames(frames, |message| match $kind::decode(message) {
                Err(rejected) => rejected.why.label().to_owned(),
                Ok(command) => {
                    let text = format!("{command:?}");
                    let again = written(|out| command.encode(out));
                    let again: Vec<_> = again.iter().map(Vec::as_slice).collect();
                    with_frames(&again, |again| {
                        assert_eq!(format!("{:?}", $kind::decode(again).unwrap()), text);
                    });
                    text.split([' ', '(']).next().unwrap_or_default().to_owned()
                }
            })
        };
    }
    [one_way!(ToBroker), one_way!(FromBroker)]
}

// Golden: the table of SPEC 9.2; maps written by hand from the MessagePack specification.
#[test]
fn every_kind_goes_its_way_and_comes_back() {
    let request = b"\x82\xa7service\xa4echo\xa7timeout\xcd\x03\xe8";
    let (ready, credit) = (b"\x82\xa7service\xa4echo\xa6credit\x08", b"\x81\xa6credit\x00");
    let labels = b"\x82\xa7service\xc4\x02\xff\xfe\xa6labels\x81\xa4zone\xa1a";
    let failed = b"\x82\xa4code\xa6failed\xa7message\xa2no";
    let about = b"\x83\xa7attempt\x02\xa7timeout\x05\xa8identity\xc4\x01a";
    let hello = b"\x82\xa5agent\xa2py\xa8versions\x91\x01";
    let subject = b"\x81\xa7subject\xa3a.b";
    let news = b"\x84\xa7subject\xa3a.b\xa3seq\x09\xa6missed\x02\xa8identity\xc4\x01a";
    type Case<'a> = (u8, u64, &'a [&'a [u8]], &'a str, &'a str);
    let cases: &[Case<'_>] = &[
        (kind::HELLO, 0, &[hello], "Hello", "missing_key"),
        (kind::HELLO, 0, &[b"\x82\xa7version\x01\xa8features\x91\xa1a"], "Hello", "Hello"),
        (kind::HEARTBEAT, 0, &[], "Heartbeat", "Heartbeat"),
        (kind::DRAIN, 0, &[], "Drain", "Drain"),
        (kind::DRAIN, 0, &[b"\x81\xa6within\xcd\x27\x10"], "Drain", "Drain"),
        (kind::BYE, 0, &[], "Bye", "missing_key"),
        (kind::BYE, 0, &[b"\x81\xa4code\xa7timeout"], "Bye", "Bye"),
        (kind::REQUEST, 7, &[request, b"hi", b""], "Request", "bad_header"),
        (kind::REQUEST, 7, &[request, about, b"hi"], "Request", "Request"),
        (kind::CANCEL, 7, &[], "Cancel", "Cancel"),
        (kind::STATUS, 7, &[b"\x81\xa4what\xa8services"], "Status", "Status"),
        (kind::ACCEPTED, 7, &[b"\x81\xa5level\xa6memory"], "wrong_way", "Accepted"),
        (kind::PARTIAL, 7, &[b"", b"a", b"b"], "Partial", "Partial"),
        (kind::FINAL, 7, &[b"\x80", b""], "Final", "Final"),
        (kind::ERROR, 7, &[failed], "Error", "Error"),
        (kind::SUBSCRIBE, 7, &[subject], "Subscribe", "wrong_way"),
        (kind::SUBSCRIBE, 7, &[b"\x82\xa7subject\xa1>\xa3ack\xc3"], "Subscribe", "wrong_way"),
        (kind::UNSUBSCRIBE, 7, &[], "Unsubscribe", "wrong_way"),
        (kind::PUBLISH, 0, &[subject, b"hi", b""], "Publish", "wrong_way"),
        (kind::MESSAGE, 7, &[news, subject, b"hi"], "wrong_way", "News"),
        (kind::PUBLISHED, 7, &[b"\x81\xadsubscriptions\x02"], "wrong_way", "Published"),
        (kind::GAP, 7, &[b"\x81\xa6missed\x05"], "wrong_way", "Gap"),
        (kind::READY, 0, &[ready], "Ready", "wrong_way"),
        (kind::READY, 0, &[labels], "Ready", "wrong_way"),
        (kind::CREDIT, 0, &[credit], "Credit", "wrong_way"),
    ];
    for (kind, id, rest, to, from) in cases {
        let second = second(*kind, *id);
        let frames = [&[&b"MJP1"[..], &second], *rest].concat();
        assert_eq!(both_ways(&frames), [*to, *from], "{kind:#x} {rest:?}");
    }
}

#[test]
fn a_request_says_what_its_header_says_and_keeps_the_octets() {
    let header = b"\x87\xa7service\xa4echo\xa7timeout\xcd\x03\xe8\xa8attempts\x03\xa3ack\xc3\
        \xa5parts\xc2\xa5trace\xa10\xa3new\x81\xa1k\x92\x01\xd6\xff\x00\x00\x00\x00";
    let header = &header.map(|octet| octet)[..];
    let second = second(kind::REQUEST, 0x0102_0304_0506_0708);
    with_frames(&[b"MJP1", &second, header, b"a", b"b"], |message| {
        let Ok(ToBroker::Request(request)) = ToBroker::decode(message) else { panic!("none") };
        assert_eq!(request.id, 0x0102_0304_0506_0708);
        assert_eq!(request.header, header);
        assert_eq!(request.body.map(<[u8]>::to_vec).collect::<Vec<_>>(), [b"a", b"b"]);
        let says = request.says;
        assert_eq!((says.service, says.timeout()), (&b"echo"[..], Some(Duration::from_secs(1))));
        assert_eq!((says.attempts, says.trace), (NonZeroU32::new(3), Some("0")));
        assert!(says.ack() && !says.parts());
    });
    let short = RequestHeader::decode(b"\x81\xa7service\xa1a").unwrap();
    assert_eq!((short.timeout(), short.attempts, short.trace), (None, None, None));
    assert!(!short.ack() && short.parts());
    let nil =
        b"\x86\xa7service\xa1a\xa7timeout\xc0\xa8attempts\xc0\xa3ack\xc0\xa5parts\xc0\xa5trace\xc0";
    assert_eq!(RequestHeader::decode(nil), Ok(short), "nil is as good as absent");
    let forever = RequestHeader { timeout: Some(u64::MAX), ..short };
    assert_eq!(forever.timeout(), Some(RequestHeader::TIMEOUT_MAX));
}

#[test]
fn each_invalid_message_is_refused_for_what_is_wrong_with_it() {
    use Malformed::{BadHeader, BadValue, FrameCount, MissingKey, NoBody, TooDeep, ZeroId};
    let value = |key| BadValue { key };
    let echo = b"\x81\xa7service\xa4echo";
    type Case<'a> = (u8, u64, &'a [&'a [u8]], Malformed);
    let cases: &[Case<'_>] = &[
        (kind::REQUEST, 0, &[echo, b"hi"], ZeroId),
        (kind::REQUEST, 1, &[echo], NoBody),
        (kind::REQUEST, 1, &[], NoBody),
        (kind::REQUEST, 1, &[b"", b"hi"], MissingKey { key: "service" }),
        (kind::REQUEST, 1, &[b"\x81\xa7service\xa0", b""], value("service")),
        (kind::REQUEST, 1, &[b"\x81\xa7service\x01", b""], value("service")),
        (kind::REQUEST, 1, &[b"\x81\xa7service\xc0", b""], value("service")),
        (kind::REQUEST, 1, &[b"\x82\xa7service\xa1a\xa7service\xa1a", b""], value("service")),
        (kind::REQUEST, 1, &[b"\x82\xa7service\xa1a\xa7timeout\xff", b""], value("timeout")),
        (kind::REQUEST, 1, &[b"\x82\xa7service\xa1a\xa7timeout\xa11", b""], value("timeout")),
        (kind::REQUEST, 1, &[b"\x82\xa7service\xa1a\xa8attempts\x00", b""], value("attempts")),
        (kind::REQUEST, 1, &[b"\x82\xa7service\xa1a\xa3ack\x01", b""], value("ack")),
        (kind::REQUEST, 1, &[b"\x82\xa7service\xa1a\xa5trace\xa1\xff", b""], value("trace")),
        (kind::REQUEST, 1, &[b"\x91\xa4echo", b""], BadHeader),
        (kind::REQUEST, 1, &[b"\xa4echo", b""], BadHeader),
        (kind::REQUEST, 1, &[b"\xc0", b""], BadHeader),
        (kind::REQUEST, 1, &[b"\x81\x00\xa4echo", b""], BadHeader),
        (kind::REQUEST, 1, &[b"\x81\xa7service", b""], BadHeader),
        (kind::REQUEST, 1, &[b"\x82\xa7service\xa4echo", b""], BadHeader),
        (kind::REQUEST, 1, &[b"\x81\xa7service\xa4ech", b""], BadHeader),
        (kind::REQUEST, 1, &[b"\x81\xa7service\xdb\xff\xff\xff\xff", b""], BadHeader),
        (kind::REQUEST, 1, &[b"\x81\xa7service\xa4echo\xc0", b""], BadHeader),
        (kind::REQUEST, 1, &[b"\x81\xa7service\xa4echo\x81", b""], BadHeader),
        (kind::REQUEST, 1, &[b"\x82\xa7service\xa1a\xa1x\xc1", b""], BadHeader),
        (kind::REQUEST, 1, &[b"\xdf\xff\xff\xff\xff\xa7service\xa4echo", b""], BadHeader),
        (kind::REQUEST, 1, &[b"\x81\xa1x\xdd\xff\xff\xff\xff\x01", b""], BadHeader),
        (kind::STATUS, 0, &[b"\x81\xa4what\xa6broker"], ZeroId),
        (kind::STATUS, 1, &[b"\x81\xa4what\xa5moons"], value("what")),
        (kind::STATUS, 1, &[b"\x81\xa4what\xa6broker", b""], FrameCount),
        (kind::PARTIAL, 1, &[b""], NoBody),
        (kind::FINAL, 1, &[], NoBody),
        (kind::ERROR, 1, &[b"", b"why"], FrameCount),
        (kind::HEARTBEAT, 0, &[b"", b""], FrameCount),
        (kind::ACCEPTED, 1, &[b"\x81\xa5level\xa6memory"], Malformed::WrongWay),
        (kind::READY, 0, &[b"\x82\xa7service\xa1a\xa6credit\x00"], value("credit")),
        (kind::READY, 0, &[b"\x82\xa7service\xa1a\xa6credit\xce\0\x01\0\0"], value("credit")),
        (kind::READY, 0, &[b"\x82\xa7service\xa1a\xa6labels\x81\xa1a\x01"], value("labels")),
        (kind::CREDIT, 0, &[], MissingKey { key: "credit" }),
        (kind::CREDIT, 0, &[b"\x81\xa6credit\xff"], value("credit")),
        (0x00, 1, &[], Malformed::UnknownKind),
        (0x1F, 1, &[b"\xc1", b"", b""], Malformed::UnknownKind),
        (kind::SUBSCRIBE, 0, &[b"\x81\xa7subject\xa1a"], ZeroId),
        (kind::SUBSCRIBE, 1, &[], MissingKey { key: "subject" }),
        (kind::SUBSCRIBE, 1, &[b"\x81\xa7subject\xa0"], value("subject")),
        (kind::SUBSCRIBE, 1, &[b"\x81\xa7subject\xc4\x01\xff"], value("subject")),
        (kind::SUBSCRIBE, 1, &[b"\x82\xa7subject\xa1a\xa3ack\x01"], value("ack")),
        (kind::SUBSCRIBE, 1, &[b"\x81\xa7subject\xa1a", b""], FrameCount),
        (kind::PUBLISH, 0, &[b"\x81\xa7subject\xa1a"], NoBody),
        (kind::PUBLISH, 1, &[b"", b""], MissingKey { key: "subject" }),
        (kind::GAP, 1, &[b"\x81\xa6missed\x01"], Malformed::WrongWay),
        (kind::FINAL, 1, &[&[0; HEADER_MAX + 1], b""], Malformed::HeaderTooBig),
    ];
    for (kind, id, rest, why) in cases {
        assert_eq!(refused(*kind, *id, rest), *why, "{kind:#x} {rest:x?}");
    }
    // The header is one level; with 15 arrays in it there are 16.
    for (arrays, expected) in [(15, MissingKey { key: "service" }), (16, TooDeep)] {
        let header = [&b"\x81\xa1x"[..], &vec![0x91; arrays - 1], b"\x90"].concat();
        assert_eq!(refused(kind::REQUEST, 1, &[&header, b""]), expected, "{arrays}");
    }
}

#[test]
fn without_signature_kind_or_id_nobody_can_be_answered() {
    let nine = second(kind::HEARTBEAT, 0);
    let cases: &[(&[&[u8]], Malformed)] = &[
        (&[b""], Malformed::NoSignature),
        (&[b"MJP2", &nine], Malformed::NoSignature),
        (&[b"", b"MJP1", &nine], Malformed::NoSignature),
        (&[b"MJP1"], Malformed::NoKind),
        (&[b"MJP1", b""], Malformed::NoKind),
        (&[b"MJP1", &nine[..8]], Malformed::NoKind),
        (&[b"MJP1", &[&nine[..], b"\0"].concat()], Malformed::NoKind),
    ];
    for (frames, why) in cases {
        with_frames(frames, |message| {
            let expected = Some(Rejected { kind: 0, id: 0, why: *why });
            assert_eq!(ToBroker::decode(message).err(), expected, "{frames:?}");
            assert_eq!(FromBroker::decode(message).err(), expected, "{frames:?}");
        });
    }
}

#[test]
fn labels_have_limits_and_announced_lengths_are_not_believed() {
    let header = |labels: &Labels<'_>| {
        let says = ReadyHeader { service: b"a", labels: labels.clone(), ..Default::default() };
        ReadyHeader::decode(Packed::new(&says).octets()).map(|again| assert_eq!(again, says))
    };
    let names: Vec<_> = (0..33).map(|n| format!("{n:02}")).collect();
    let some = |count| names.iter().take(count).map(|name| (name.as_str(), "x")).collect();
    let wrong = Err(Malformed::BadValue { key: "labels" });
    assert_eq!((header(&some(32)), header(&some(33))), (Ok(()), wrong));
    let (fits, long) = ("x".repeat(4095), "x".repeat(4096));
    assert_eq!(header(&[("a", fits.as_str())].into_iter().collect()), Ok(()));
    assert_eq!(header(&[("a", long.as_str())].into_iter().collect()), wrong);
    let announced = b"\x82\xa7version\x01\xa8features\xdd\xff\xff\xff\xff";
    assert_eq!(BrokerHello::decode(announced), Err(Malformed::BadHeader));
    let array = b"\x82\xa7version\x01\xa6limits\x91\x01";
    assert_eq!(BrokerHello::decode(array), Err(Malformed::BadValue { key: "limits" }));
}

#[test]
fn a_delivery_has_the_octets_of_the_client_and_a_header_of_the_broker() {
    let identity = [7; 255];
    let says = DeliveryHeader {
        attempt: NonZeroU32::MAX,
        timeout: Some(u64::MAX),
        identity: Some(&identity),
        fingerprint: Some("0123-4567-89ab-cdef"),
        name: Some("billing-1"),
    };
    assert!(Packed::new(&says).is_short(), "no allocation for a message");
    assert_eq!(Packed::new(&DeliveryHeader::FIRST).octets(), DeliveryHeader::FIRST_OCTETS);
    let header = b"\x82\xa7service\xa4echo\xa6secret\xc3";
    let body = Message::new([&b"hi"[..]]);
    let delivery = Delivery { id: 5, header, says, body: body.frames() };
    let frames = written(|out| FromBroker::Request(delivery).encode(out));
    assert_eq!(frames[2], header);
    let frames: Vec<_> = frames.iter().map(Vec::as_slice).collect();
    with_frames(&frames, |message| {
        let Ok(FromBroker::Request(again)) = FromBroker::decode(message) else { panic!("none") };
        assert_eq!((again.id, again.header, again.says), (5, &header[..], says));
        assert_eq!(RequestHeader::decode(again.header).unwrap().service, b"echo");
    });
}

#[test]
fn parts_that_were_kept_go_before_the_last_one() {
    let parts = [Message::new([&b"a"[..], b"b"]), Message::new([&b"c"[..]])];
    let body = Message::new([&b"d"[..]]);
    let answer = Answer { id: 9, header: b"", body: body.frames() };
    let frames = written(|out| answer.encode_whole(&parts, out));
    assert_eq!(frames[1], second(kind::FINAL, 9));
    assert_eq!(frames[2..], [&b""[..], b"a", b"b", b"c", b"d"]);
}

#[test]
fn a_long_header_is_written_whole() {
    let text = "x".repeat(1000);
    let fault =
        Fault { code: "failed", message: Some(&text), retry: Some(100), epoch: None, again: None };
    let frames = written(|out| fault.encode(3, out));
    assert_eq!(frames[1], second(kind::ERROR, 3));
    assert_eq!(Fault::decode(&frames[2]), Ok(fault));
}

#[test]
fn a_report_comes_back_and_its_lengths_are_not_believed() {
    let worker = WorkerReport {
        service: b"\xff",
        identity: Some(b"a"),
        dialect: "MJP/1",
        credit: 8,
        in_flight: 0,
        ready: true,
        labels: [("zone", "a")].into_iter().collect(),
        version: None,
        description: Some("says it again"),
    };
    let report = Report { workers: Some(vec![worker]), next: Some(7), ..Report::default() };
    assert_eq!(Report::decode(Packed::new(&report).octets()), Ok(report));
    let wrong = |key| Err(Malformed::BadValue { key });
    let cases: &[(&[u8], Result<Report<'_>, Malformed>)] = &[
        (b"", Ok(Report::default())),
        (b"\x81\xa8services\x90", Ok(Report { services: Some(vec![]), ..Report::default() })),
        (b"\x81\xa8services\xc0", Ok(Report::default())),
        (b"\x81\xa8services\xdd\xff\xff\xff\xff", Err(Malformed::BadHeader)),
        (b"\x81\xa8services\x91\x98\xa1a\0\0\0\0\0\0\0", wrong("services")),
        (b"\x81\xa6broker\x91\x01", wrong("broker")),
    ];
    for (octets, expected) in cases {
        assert_eq!(&Report::decode(octets), expected, "{octets:x?}");
    }
}

#[test]
fn versions_are_a_set() {
    let hello = |octets| PeerHello::decode(octets).map(|hello| hello.versions);
    assert_eq!(hello(b""), Ok(Versions::ONE));
    assert_eq!(
        hello(b"\x81\xa8versions\x93\x01\x02\xcf\xff\xff\xff\xff\xff\xff\xff\xff"),
        Ok([1, 2].into_iter().collect())
    );
    let two = hello(b"\x81\xa8versions\x91\x02").unwrap();
    assert!(two.contains(2) && !two.contains(1) && !two.contains(64));
    assert_eq!(hello(b"\x81\xa8versions\x01"), Err(Malformed::BadValue { key: "versions" }));
}

#[test]
fn codes_have_names_that_lead_back() {
    for code in Code::ALL {
        assert_eq!(Code::from_name(code.as_str()), Some(code));
    }
    assert_eq!(Code::from_name("my_own"), None);
}
