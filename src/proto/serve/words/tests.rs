use super::*;
use crate::wire::mdp::ToBroker;

fn offer(protocol: Protocol) -> Offer {
    Offer {
        protocol,
        service: ServiceName::try_from(&b"echo"[..]).unwrap(),
        credit: 16,
        labels: BTreeMap::from([("zone".into(), "a".into())]),
        version: Some("1.2".into()),
        description: None,
        fence: Some("billing".into()),
    }
}

/// What is said, message by message.
fn said(offer: &Offer, say: &Say<Reply>) -> Vec<Vec<Vec<u8>>> {
    let mut out = Encoder::default();
    offer.say(say, &mut out);
    let mut slices = [std::io::IoSlice::new(&[]); 8];
    let filled = out.chunks(&mut slices);
    let octets = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect::<Vec<u8>>();
    let mut decoder = crate::wire::codec::Decoder::new(crate::wire::Limits::default());
    let (mut octets, mut messages) = (&*octets, Vec::new());
    while let Some(item) = decoder.next(&mut octets).unwrap() {
        let crate::wire::codec::Item::Message(frames) = item else { panic!("a command") };
        messages.push(frames.map(<[u8]>::to_vec).collect());
    }
    messages
}

fn heard(protocol: Protocol, frames: &[&[u8]]) -> Result<Heard<Box<Delivery>>, String> {
    let message = Message::new(frames.iter().map(|frame| frame.to_vec()));
    offer(protocol).hear(message.frames())
}

fn address() -> Token {
    Token::Address((*b"addr").into())
}

fn body() -> Reply {
    Reply::body(Message::new(["a", "b"]))
}

/// Kind and id.
fn second(kind: u8, id: u8) -> Vec<u8> {
    vec![kind, 0, 0, 0, 0, 0, 0, 0, id]
}

// Golden: the octets of RFC 7 and RFC 18.
#[test]
fn an_mdp_worker_says_what_the_rfcs_have() {
    for (protocol, header, [ready, part, last, beat, leave]) in [
        (Protocol::Mdp01, &[&b""[..], b"MDPW01"][..], [1, 0, 3, 4, 5]),
        (Protocol::Mdp02, &[&b"MDPW02"[..]][..], [1, 3, 4, 5, 6]),
    ] {
        let expected = |octet: u8, rest: &[&[u8]]| {
            let octet = [octet];
            let frames = [header, &[&octet[..]], rest].concat();
            vec![frames.into_iter().map(<[u8]>::to_vec).collect::<Vec<_>>()]
        };
        let offer = offer(protocol);
        assert_eq!(said(&offer, &Say::Ready), expected(ready, &[b"echo"]));
        assert_eq!(said(&offer, &Say::Heartbeat), expected(beat, &[]));
        assert_eq!(said(&offer, &Say::Goodbye), expected(leave, &[]));
        let answer = expected(last, &[b"addr", b"", b"a", b"b"]);
        assert_eq!(said(&offer, &Say::Last(address(), body())), answer);
        let partial = expected(part, &[b"addr", b"", b"a", b"b"]);
        let partial = if part == 0 { Vec::new() } else { partial };
        assert_eq!(said(&offer, &Say::Part(address(), body())), partial);
        let failure = Failure::new("no_ink", "refill").retry_after(Duration::from_millis(250));
        let json = br#"{"error":{"code":"no_ink","message":"refill","retry":250}}"#;
        let answer = expected(last, &[b"addr", b"", json]);
        assert_eq!(said(&offer, &Say::Last(address(), Reply::Failure(failure))), answer);
        for silent in [Say::Drain, Say::Credit(1), Say::Cancelled(address())] {
            assert!(said(&offer, &silent).is_empty());
        }
    }
}

#[test]
fn an_mdp_worker_hears_its_own_version_only() {
    for (own, other, request, beat, leave) in
        [(Protocol::Mdp01, Protocol::Mdp02, 2, 4, 5), (Protocol::Mdp02, Protocol::Mdp01, 2, 5, 6)]
    {
        let header: &[&[u8]] =
            if own == Protocol::Mdp01 { &[b"", b"MDPW01"] } else { &[b"MDPW02"] };
        let hear = |protocol, octet: u8, rest: &[&[u8]]| {
            heard(protocol, &[header, &[&[octet]], rest].concat())
        };
        let delivery = Box::new(Delivery::plain(Message::new(["a", "b"])));
        let work: &[&[u8]] = &[b"addr", b"", b"a", b"b"];
        assert_eq!(hear(own, request, work), Ok(Heard::Request(address(), delivery)));
        assert_eq!(hear(own, beat, &[]), Ok(Heard::Heartbeat));
        assert!(matches!(hear(own, leave, &[]), Ok(Heard::Dismissed { .. })));
        assert!(hear(other, beat, &[]).is_err());
        assert!(hear(own, 9, &[]).is_err());
    }
}

#[test]
fn an_mjp_worker_says_what_the_broker_reads() {
    let offer = offer(Protocol::Mjp);
    let messages = said(&offer, &Say::Ready);
    let [hello, ready] = &messages[..] else { panic!("{messages:?}") };
    assert_eq!(hello[..2], [b"MJP1".to_vec(), second(0x01, 0)]);
    let message = Message::new(ready.clone());
    let Ok(mjp::ToBroker::Ready(says)) = mjp::ToBroker::decode(message.frames()) else {
        panic!("{ready:?}")
    };
    assert_eq!((says.service, says.credit(), says.version), (&b"echo"[..], 16, Some("1.2")));
    assert_eq!(says.labels.iter().collect::<Vec<_>>(), [("zone", "a")]);
    assert_eq!(says.fence, Some("billing"));
    let answer =
        |kind| vec![vec![b"MJP1".to_vec(), second(kind, 7), vec![], b"a".into(), b"b".into()]];
    assert_eq!(said(&offer, &Say::Part(Token::Id(7), body())), answer(0x21));
    assert_eq!(said(&offer, &Say::Last(Token::Id(7), body())), answer(0x22));
    for (say, kind) in [(Say::Heartbeat, 0x02), (Say::Drain, 0x03), (Say::Goodbye, 0x04)] {
        assert_eq!(said(&offer, &say), [[b"MJP1".to_vec(), second(kind, 0)]]);
    }
    let credit = said(&offer, &Say::Credit(3));
    assert_eq!(credit, [[b"MJP1".to_vec(), second(0x31, 0), b"\x81\xa6credit\x03".to_vec()]]);
    // A message that is longer than a header is cut at a whole character.
    let long = Failure::new("long", "\u{fc}".repeat(Failure::MESSAGE_MAX));
    let unreadable = Say::Unreadable(Token::Id(7), "why".into());
    for (say, code, len) in [
        (Say::Last(Token::Id(7), Reply::Failure(long)), "long", Failure::MESSAGE_MAX),
        (Say::Cancelled(Token::Id(7)), "cancelled", 16),
        (unreadable, "bad_request", 3),
    ] {
        let message = Message::new(said(&offer, &say).remove(0));
        let Ok(mjp::ToBroker::Error(failure)) = mjp::ToBroker::decode(message.frames()) else {
            panic!("{say:?}")
        };
        let fault = Fault::decode(failure.header).unwrap();
        assert_eq!((failure.id, fault.code), (7, code));
        assert_eq!(fault.message.map(str::len), Some(len), "{fault:?}");
    }
}

#[test]
fn an_mjp_worker_hears_all_that_a_broker_says_to_one() {
    let hear = |kind, id, rest: &[&[u8]]| {
        heard(Protocol::Mjp, &[&[&b"MJP1"[..], &second(kind, id)], rest].concat())
    };
    let caller = b"\x82\xa7service\xa4echo\xa5trace\xa200";
    let added = b"\x83\xa7attempt\x02\xa7timeout\xcd\x03\xe8\xa8identity\xc4\x02me";
    let delivery = Delivery {
        attempt: 2,
        timeout: Some(Duration::from_secs(1)),
        identity: Some((*b"me").into()),
        trace: Some("00".into()),
        ..Delivery::plain(Message::new(["a"]))
    };
    let work = hear(0x10, 7, &[caller, added, b"a"]);
    assert_eq!(work, Ok(Heard::Request(Token::Id(7), Box::new(delivery))));
    let added = b"\x83\xa7attempt\x01\xabfingerprint\xa45bd8\xa4name\xa3bob";
    let Ok(Heard::Request(_, proven)) = hear(0x10, 7, &[caller, added, b"a"]) else { panic!() };
    let proven = proven.caller.unwrap();
    assert_eq!((proven.fingerprint(), proven.name()), (Some("5bd8"), Some("bob")));
    let unreadable = hear(0x10, 7, &[caller, b"\x80", b"a"]);
    assert!(matches!(unreadable, Ok(Heard::Unreadable(Token::Id(7), _))), "{unreadable:?}");
    assert_eq!(hear(0x11, 7, &[]), Ok(Heard::Cancel(7)));
    assert_eq!(hear(0x02, 0, &[]), Ok(Heard::Heartbeat));
    assert_eq!(hear(0x03, 0, &[]), Ok(Heard::Drained));
    assert_eq!(hear(0x03, 0, &[b"\x81\xa6within\x05"]), Ok(Heard::Stopping));
    let says = b"\x84\xa7version\x01\xa9heartbeat\x64\xa8liveness\x05\xa6limits\x81\xa5frame\x07";
    let hello = hear(0x01, 0, &[says]);
    let keepalive = Keepalive { interval: Duration::from_millis(100), liveness: 5 };
    let takes = Taken { frame: Some(7), talk: Some(false), ..Taken::default() };
    assert_eq!(hello, Ok(Heard::Hello { keepalive: Some(keepalive), takes }));
    for kind in [0x04, 0x23] {
        let bye = hear(kind, 0, &[b"\x82\xa4code\xa8draining\xa7message\xa3why"]);
        assert_eq!(bye, Ok(Heard::Dismissed { why: "draining: why".into() }));
    }
    assert_eq!(hear(0x22, 7, &[b"", b"a"]), Ok(Heard::Other));
    assert!(hear(0x77, 0, &[]).is_err());
    assert!(heard(Protocol::Mjp, &[b"MDPW02", b"\x05"]).is_err());
}

#[test]
fn what_a_worker_says_to_a_broker_of_mdp_is_a_workers_command() {
    let message = said(&offer(Protocol::Mdp02), &Say::Ready).remove(0);
    let message = Message::new(message);
    let decoded = ToBroker::decode(message.frames());
    assert!(matches!(decoded, Ok(ToBroker::Worker(Version::V02, FromWorker::Ready { .. }))));
}

#[test]
fn events_and_questions_are_said_as_they_are_and_an_answer_is_heard() {
    let talk = Talk { header: (*b"\x81\xa3ask\x05").into(), body: Message::new(["a"]) };
    for (kind, say) in [
        (0x24, Say::Event(Token::Id(7), Box::new(talk.clone()))),
        (0x25, Say::Ask(Token::Id(7), Box::new(talk.clone()))),
    ] {
        let message = said(&offer(Protocol::Mjp), &say).remove(0);
        assert_eq!(message, [&b"MJP1"[..], &second(kind, 7), b"\x81\xa3ask\x05", b"a"]);
        assert!(said(&offer(Protocol::Mdp02), &say).is_empty(), "MDP has no words for it");
    }
    let hear = |header: &[u8], body: &[&[u8]]| {
        let start = [&b"MJP1"[..], &second(0x26, 7), header];
        heard(Protocol::Mjp, &[&start[..], body].concat())
    };
    let told = |code: Option<&str>, body| {
        let told = Told { ask: 5, code: code.map(Into::into), message: None, body };
        Ok(Heard::Told(7, Box::new(told)))
    };
    assert_eq!(hear(b"\x81\xa3ask\x05", &[b"yes"]), told(None, Message::new(["yes"])));
    let refused = hear(b"\x82\xa3ask\x05\xa4code\xa9no_caller", &[]);
    assert_eq!(refused, told(Some("no_caller"), Message::default()));
}
