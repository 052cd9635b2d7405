use proptest::prelude::*;

use super::super::{FromBroker, ToBroker, pack};
use super::*;
use crate::wire::message::Message;

/// A number in one of the forms that MessagePack has for it, wide ones too.
fn number() -> impl Strategy<Value = Vec<u8>> {
    let edges = [0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x1_0000, 0xffff_ffff, 0x1_0000_0000];
    let value = prop_oneof![prop::sample::select(edges.to_vec()), any::<u64>()];
    (value, 0..7_u8).prop_map(|(value, form)| {
        let octets = value.to_be_bytes();
        match form {
            0 => vec![octets[7] & 0x7f],
            1 => vec![0xcc, octets[7]],
            2 => [&[0xcd][..], &octets[6..]].concat(),
            3 => [&[0xce][..], &octets[4..]].concat(),
            4 => [&[0xcf][..], &octets].concat(),
            5 => [&[0xd3][..], &octets].concat(),
            _ => vec![octets[7] | 0xe0],
        }
    })
}

/// A text or bin with a header of one or two octets.
fn texts(octets: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let len = u8::try_from(octets.len()).unwrap();
    (0..3_u8).prop_map(move |form| match form {
        0 if len < 32 => [&[0xa0 | len][..], &octets].concat(),
        0 | 1 => [&[0xd9, len][..], &octets].concat(),
        _ => [&[0xc4, len][..], &octets].concat(),
    })
}

/// A key: one that is known, with each form of a text, or some other one.
fn key() -> impl Strategy<Value = Vec<u8>> {
    let known = ["service", "timeout", "attempts", "ack", "parts", "trace", "state", "attempt"];
    let known = prop::sample::select(known.to_vec()).prop_map(|key| key.as_bytes().to_vec());
    let short = known
        .clone()
        .prop_map(|key| [&[0xa0 | u8::try_from(key.len()).unwrap()][..], &key].concat());
    prop_oneof![8 => short, 1 => known.prop_flat_map(texts), 1 => Just(b"\xa1x".to_vec())]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => number(),
        2 => prop::sample::select(vec![vec![0xc2], vec![0xc3], vec![0xc0], vec![0x80]]),
        3 => prop::collection::vec(any::<u8>(), 0..=255).prop_flat_map(texts),
        3 => "[a-z.]{0,40}".prop_flat_map(|name| texts(name.into_bytes())),
    ]
}

/// Headers in which almost all is as it should be, whole or not.
fn header() -> impl Strategy<Value = Vec<u8>> {
    let fitting = prop_oneof![
        "[a-z.]{1,40}"
            .prop_flat_map(|name| texts(name.into_bytes()))
            .prop_map(|name| { [&b"\xa7service"[..], &name].concat() }),
        number().prop_map(|number| [&b"\xa7timeout"[..], &number].concat()),
        number().prop_map(|number| [&b"\xa8attempts"[..], &number].concat()),
        number().prop_map(|number| [&b"\xa7attempt"[..], &number].concat()),
        any::<bool>().prop_map(|flag| [&b"\xa3ack"[..], &[0xc2 + u8::from(flag)]].concat()),
        any::<bool>().prop_map(|flag| [&b"\xa5parts"[..], &[0xc2 + u8::from(flag)]].concat()),
    ];
    let any_pair = (key(), value()).prop_map(|(key, value)| [key, value].concat());
    let pairs = prop::collection::vec(prop_oneof![9 => fitting, 1 => any_pair], 0..6);
    let cut = prop_oneof![9 => Just(0_usize), 1 => 1..4_usize];
    let behind = prop_oneof![9 => Just(Vec::new()), 1 => Just(vec![0xc0])];
    (pairs, 0..20_u8, cut, behind).prop_map(|(pairs, off, cut, behind)| {
        // Now and then the map announces one more, or is of another form.
        let count = u8::try_from(pairs.len()).unwrap();
        let marker = match off {
            0 => vec![0x81 + count],
            1 => vec![0xde, 0, count],
            _ => vec![0x80 + count],
        };
        let mut header = [marker, pairs.concat(), behind].concat();
        header.truncate(header.len() - cut.min(header.len()));
        header
    })
}

proptest! {
    // Most headers are taken by one of the ways only if the other one works too: many cases.
    #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

    #[test]
    fn what_is_read_at_once_is_what_the_long_way_reads(header in header()) {
        if let Some(says) = request(&header) {
            prop_assert_eq!(pack::read(&header), Ok(says));
        }
        if let Some(says) = delivery(&header) {
            prop_assert_eq!(pack::read(&header), Ok(says));
        }
    }

    #[test]
    fn a_plain_message_is_what_the_long_way_finds(
        header in header(),
        kind in prop::sample::select(vec![0x10, 0x11, 0x20, 0x21, 0x22, 0x23]),
        id in prop_oneof![Just(0), any::<u64>()],
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..3),
    ) {
        let second = [&[kind][..], &id.to_be_bytes()].concat();
        let mut frames = vec![b"MJP1".to_vec(), second, header];
        frames.extend(bodies);
        let message = Message::new(frames);
        let of_peer = ToBroker::decode(message.frames());
        match Plain::decode(message.frames()) {
            Some(Plain::Request(request, kept)) => {
                let Ok(ToBroker::Request(long)) = of_peer else { panic!("{of_peer:?}") };
                prop_assert_eq!(format!("{request:?}"), format!("{long:?}"));
                let mut whole = message.frames();
                whole.take_first();
                whole.take_first();
                prop_assert_eq!(kept.to_message(), whole.to_message());
            }
            Some(Plain::Final(answer)) => {
                let Ok(ToBroker::Final(long)) = of_peer else { panic!("{of_peer:?}") };
                prop_assert_eq!(format!("{answer:?}"), format!("{long:?}"));
                let of_broker = FromBroker::decode(message.frames());
                let Ok(FromBroker::Final(long)) = of_broker else { panic!("{of_broker:?}") };
                prop_assert_eq!(format!("{answer:?}"), format!("{long:?}"));
            }
            None => {
                let read = matches!(of_peer, Ok(ToBroker::Final(_)));
                prop_assert!(!read, "every last answer is plain");
            }
        }
    }

    #[test]
    fn what_is_written_at_once_is_what_the_long_way_writes(
        service in prop_oneof!["[a-zäß]{1,40}".prop_map(String::into_bytes), prop::collection::vec(any::<u8>(), 1..=255)],
        timeout in prop::option::of(prop_oneof![any::<u64>(), 0..0x200_u64, 0xfff0..0x1_0010_u64]),
        attempts in prop::option::of(prop_oneof![1..=u32::MAX, 1..0x200_u32]),
        ack in prop::option::of(any::<bool>()),
        parts in prop::option::of(any::<bool>()),
        trace in prop::option::of("[a-f0-9-]{0,40}"),
        events in prop::option::of(any::<bool>()),
        (fingerprint, name) in (prop::option::of("[a-z-]{0,40}"), prop::option::of("[a-zäß]{0,40}")),
    ) {
        let (service, trace) = (service.as_slice(), trace.as_deref());
        let (fingerprint, name) = (fingerprint.as_deref(), name.as_deref());
        let attempts = attempts.and_then(NonZeroU32::new);
        let says = RequestHeader { service, timeout, attempts, ack, parts, trace, events, ..RequestHeader::default() };
        let (short, long) = (Packed::request(&says), Packed::new(&says));
        prop_assert_eq!(short.octets(), long.octets());
        let identity = trace.map(str::as_bytes);
        let attempt = attempts.unwrap_or(NonZeroU32::MIN);
        let says = DeliveryHeader { attempt, timeout, identity, fingerprint, name };
        let (short, long) = (Packed::delivery(&says), Packed::new(&says));
        prop_assert_eq!(short.octets(), long.octets());
        if let Some(read) = delivery(short.octets()) {
            prop_assert_eq!(read, says);
        }
    }
}

#[test]
fn the_usual_headers_are_read_at_once() {
    for header in [
        &b"\x81\xa7service\xa4echo"[..],
        b"\x81\xa7service\xc4\x04echo",
        b"\x82\xa7timeout\xcd\x75\x30\xa7service\xa4echo",
        b"\x83\xa7service\xa4echo\xa7timeout\xce\x00\x00\x75\x31\xa5parts\xc2",
        b"\x84\xa7service\xd9\x04echo\xa8attempts\x01\xa3ack\xc3\xa7timeout\x05",
    ] {
        assert_eq!(request(header).map(|says| says.service), Some(&b"echo"[..]), "{header:02x?}");
    }
    assert_eq!(delivery(DeliveryHeader::FIRST_OCTETS), Some(DeliveryHeader::FIRST));
    assert!(delivery(b"\x82\xa7attempt\x02\xa7timeout\xcd\x75\x30").is_some());
    let proven = b"\x84\xa7attempt\x02\xa8identity\xc4\x02me\xabfingerprint\xa13\xa4name\xa1n";
    assert!(delivery(proven).is_some_and(|says| says.name == Some("n")));
}
