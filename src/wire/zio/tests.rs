use bytes::Bytes;
use proptest::prelude::*;

use super::vectors::{Golden, vectors};
use super::*;
use crate::wire::message::{LARGE, Message};

fn golden_view<'a>(golden: &'a Golden, payload: &'a [Bytes]) -> Zio<'a> {
    Zio {
        level: Level::ALL[golden.level],
        form: Form::new(&golden.form).unwrap(),
        label: &golden.label,
        coordinates: Coordinates {
            origin: golden.origin,
            granule: golden.granule,
            seqno: golden.seqno,
        },
        payload: payload.into(),
    }
}

fn assert_same(read: Zio<'_>, expected: Zio<'_>, case: &str) {
    assert_eq!((read.level, read.form), (expected.level, expected.form), "{case}");
    assert_eq!((read.label, read.coordinates), (expected.label, expected.coordinates), "{case}");
    assert_eq!(read.payload.len(), expected.payload.len(), "{case}");
    assert!(read.payload.eq(expected.payload), "{case}");
}

fn parts(message: &Message) -> Vec<Vec<u8>> {
    message.frames().map(<[u8]>::to_vec).collect()
}

#[test]
fn messages_have_the_octets_that_zio_gives_them() {
    let vectors = vectors();
    assert_eq!(vectors.messages.len(), 30);
    for golden in &vectors.messages {
        let payload: Vec<Bytes> = golden.payload().into_iter().map(Bytes::from).collect();
        let view = golden_view(golden, &payload);
        let (name, written) = (&golden.name, view.to_message(Shape::Single));
        assert_eq!(parts(&written), [golden.encoded()], "{name}");
        let read = Zio::decode(Shape::Single, written.frames()).unwrap();
        assert_same(read, view, name);
        let several = read.to_message(Shape::Multipart);
        assert!(is_zio(several.frames()) && !is_zio(written.frames()), "{name}");
        let read = Zio::decode(Shape::Multipart, several.frames()).unwrap();
        assert_same(read, view, name);
        assert_eq!(read.to_message(Shape::Single), written, "{name}");
    }
}

#[test]
fn what_zio_refuses_is_refused_for_a_reason() {
    use Malformed::*;
    let expected = |name: &str| match name {
        "empty" => Err(TooFewParts { parts: 0 }),
        "truncated_data" => Err(PartCut { part: 0, missing: 2 }),
        "lone_ff" => Err(PartCut { part: 0, missing: 4 }),
        "ff_short_size" => Err(PartCut { part: 0, missing: 1 }),
        "ff_size_too_big" => Err(PartCut { part: 0, missing: 4 }),
        "one_part" => Err(TooFewParts { parts: 1 }),
        "bad_magic" => Err(NoMagic),
        "short_prefix" => Err(ShortPrefix { len: 6 }),
        "level_9" => Err(BadLevel { level: b'9' }),
        "level_slash" => Err(BadLevel { level: b'/' }),
        "coord_23" => Err(BadCoordinates { len: 23 }),
        "coord_25" => Err(BadCoordinates { len: 25 }),
        "label_bad_utf8" | "form_bad_utf8" => Err(NotText),
        _ => Ok(()),
    };
    let vectors = vectors();
    assert_eq!(vectors.decode.len(), 17);
    for given in &vectors.decode {
        let (name, message) = (&given.name, Message::new([given.raw()]));
        let read = Zio::decode(Shape::Single, message.frames());
        assert_eq!(read.map(|_| ()), expected(name), "{name}");
        // Python refuses an empty last part, which RFC 50 allows.
        let is_python = name == "trailing_empty_part";
        assert_eq!(read.is_ok(), given.taken_by_zio || is_python, "{name}");
        if let (Ok(read), Some(expected)) = (read, given.parts()) {
            assert_eq!(parts(&read.to_message(Shape::Multipart))[1..], expected, "{name}");
        }
    }
}

#[test]
fn other_frames_than_those_of_the_socket_are_refused() {
    let zio = Zio::default().to_message(Shape::Multipart);
    let refused = |shape, frames: Vec<&[u8]>| {
        let message = Message::new(frames.into_iter().map(Bytes::copy_from_slice));
        Zio::decode(shape, message.frames()).map(|_| ()).unwrap_err()
    };
    let prefix = &b"ZIO0FLOW"[..];
    assert_eq!(refused(Shape::Single, vec![b"a", b"b"]), Malformed::FrameCount { frames: 2 });
    assert_eq!(refused(Shape::Single, vec![]), Malformed::FrameCount { frames: 0 });
    assert_eq!(refused(Shape::Multipart, vec![prefix, &[0; 24]]), Malformed::NoDelimiter);
    let few = Malformed::TooFewParts { parts: 1 };
    assert_eq!(refused(Shape::Multipart, vec![b"", prefix]), few);
    assert_eq!(Zio::decode(Shape::Multipart, zio.frames()).unwrap().payload.len(), 0);
}

#[test]
fn each_limit_holds_where_it_says() {
    let label = "x".repeat(LABEL_MAX + 1);
    let long = |len| Zio { label: &label[..len], ..Zio::default() }.to_message(Shape::Single);
    assert!(Zio::decode(Shape::Single, long(LABEL_MAX).frames()).is_ok());
    assert_eq!(
        Zio::decode(Shape::Single, long(LABEL_MAX + 1).frames()).map(|_| ()),
        Err(Malformed::LabelTooLong { len: LABEL_MAX + 1 })
    );
    let payload = vec![Bytes::from_static(b"p"); PARTS_MAX - 1];
    let many = |count, shape| {
        let view = Zio { payload: payload[..count].into(), ..Zio::default() };
        let message = view.to_message(shape);
        Zio::decode(shape, message.frames()).map(|read| read.payload.len())
    };
    for shape in [Shape::Single, Shape::Multipart] {
        assert_eq!(many(PARTS_MAX - 2, shape), Ok(PARTS_MAX - 2));
        assert_eq!(many(PARTS_MAX - 1, shape), Err(Malformed::TooManyParts));
    }
    let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    let deepest = usize::try_from(DEPTH_MAX).unwrap();
    assert!(Label::parse(&nested(deepest)).is_ok());
    assert_eq!(Label::parse(&nested(deepest + 1)), Err(Malformed::TooDeep));
    assert_eq!(Label::parse(&"{\"a\":".repeat(1_000_000)), Err(Malformed::TooDeep));
}

#[test]
fn a_large_part_is_shared_where_the_shape_changes() {
    let frame = |len: usize| {
        let payload = [Bytes::from(vec![7; len])];
        Zio { payload: payload[..].into(), ..Zio::default() }.to_message(Shape::Single)
    };
    let message = frame(2 * LARGE);
    let read = Zio::decode(Shape::Single, message.frames()).unwrap();
    let apart = read.to_message(Shape::Multipart);
    let part = |message: &Message| message.frames().last().map(<[u8]>::as_ptr_range).unwrap();
    let (whole, inner) = (part(&message), part(&apart));
    assert!(whole.start <= inner.start && inner.end == whole.end);
    let again = Zio::decode(Shape::Multipart, apart.frames()).unwrap();
    assert_eq!(part(&again.to_message(Shape::Multipart)), inner);
    assert_eq!(again.to_message(Shape::Single), message);
}

#[test]
fn an_announced_size_allocates_nothing() {
    let message = Message::new([b"\xff\xff\xff\xff\xffZIO".to_vec()]);
    let missing = usize::try_from(u32::MAX).unwrap() - 3;
    assert_eq!(
        Zio::decode(Shape::Single, message.frames()).map(|_| ()),
        Err(Malformed::PartCut { part: 0, missing })
    );
}

#[test]
fn forms_are_filled_up_with_spaces() {
    assert_eq!(Form::new("FOO").unwrap().as_bytes(), b"FOO ");
    assert_eq!(Form::new("FLOWS"), None);
    assert_eq!(Form::new("FOO").unwrap().to_string(), "FOO");
    assert_eq!(Form::default(), Form::new("").unwrap());
}

#[test]
fn a_label_is_an_object_or_wrong_at_some_octet() {
    use Malformed::{BadJson, NoObject};
    let bad = |at| Err(BadJson { at });
    type Row<'a> = (&'a str, Result<(), Malformed>);
    let cases: &[Row<'_>] = &[
        ("{}", Ok(())),
        (" \t\r\n{ } ", Ok(())),
        (r#"{"a":1}"#, Ok(())),
        (r#"{"a": [1, {"b": [], "c": {}}, "x"], "d": null}"#, Ok(())),
        (r#"{"": -0.5e+7, "b": true, "c": false}"#, Ok(())),
        (r#"{"a": NaN, "b": Infinity, "c": -Infinity}"#, Ok(())),
        (r#"{"a": "\ud800 \"\\\/\b\f\n\r\t"}"#, Ok(())),
        ("{\"a\": \"\u{7f}\u{e9}\u{1f600}\"}", Ok(())),
        (r#"{"a": 123456789012345678901234567890.10}"#, Ok(())),
        ("", bad(0)),
        (" ", bad(1)),
        ("x", bad(0)),
        ("[1]", Err(NoObject)),
        ("null", Err(NoObject)),
        ("1", Err(NoObject)),
        ("\u{feff}{}", bad(0)),
        ("{", bad(1)),
        ("{} {}", bad(3)),
        ("{,}", bad(1)),
        (r#"{"a"}"#, bad(4)),
        (r#"{"a":}"#, bad(5)),
        (r#"{"a":1,}"#, bad(7)),
        (r#"{"a":1 "b":2}"#, bad(7)),
        (r#"{"a":[1,]}"#, bad(8)),
        (r#"{"a":[1 2]}"#, bad(8)),
        (r#"{"a":[1}}"#, bad(7)),
        (r#"{"a":{"b"}}"#, bad(9)),
        (r#"{"a":{1:2}}"#, bad(6)),
        (r#"{"a":{"b":1,}}"#, bad(12)),
        (r#"{"a":01}"#, bad(6)),
        (r#"{"a":1.}"#, bad(7)),
        (r#"{"a":.5}"#, bad(5)),
        (r#"{"a":+5}"#, bad(5)),
        (r#"{"a":-}"#, bad(6)),
        (r#"{"a":1e}"#, bad(7)),
        (r#"{"a":truth}"#, bad(5)),
        (r#"{"a":-Inf}"#, bad(6)),
        ("{\"a\":\"\n\"}", bad(6)),
        (r#"{"a":"\x"}"#, bad(7)),
        (r#"{"a":"\u12g4"}"#, bad(10)),
        (r#"{"a":"b"#, bad(7)),
        (r"{a:1}", bad(1)),
        ("{'a':1}", bad(1)),
    ];
    for (text, expected) in cases {
        assert_eq!(Label::parse(text).map(|_| ()), *expected, "{text:?}");
    }
}

#[test]
fn an_attribute_that_stands_twice_has_its_last_value() {
    let label = Label::parse(r#"{"a": 1, "b": 2, "\u0061": 3}"#).unwrap();
    assert_eq!(label.get("a").map(Value::as_str), Some("3"));
    assert_eq!(label.get("c"), None);
    let names: Vec<_> = label.members().map(|member| member.name()).collect();
    assert_eq!(names, ["a", "b", "a"]);
    let text = r#"{"flow": "BOT", "flow": "D\u0041T", "credit": 1, "credit": "x"}"#;
    let read = FlowLabel::read(text).unwrap();
    assert_eq!((read.kind(), read.credit()), (Kind::Dat, None));
}

#[test]
fn values_are_what_they_are_for_python() {
    for (text, integer, is_nothing) in [
        ("0", Some(0), true),
        ("-0", Some(0), true),
        ("0.0", None, true),
        ("1e-999", None, true),
        ("7", Some(7), false),
        ("-7", Some(-7), false),
        ("7.0", None, false),
        ("7e0", None, false),
        ("9223372036854775807", Some(i64::MAX), false),
        ("9223372036854775808", None, false),
        ("NaN", None, false),
        ("-Infinity", None, false),
        ("true", None, false),
        ("false", None, true),
        ("null", None, true),
        (r#""""#, None, true),
        (r#""0""#, None, false),
        ("[ ]", None, true),
        ("[0]", None, false),
        ("{}", None, true),
        (r#"{"a":0}"#, None, false),
    ] {
        let value = Value::parse(text).unwrap();
        assert_eq!((value.integer(), value.is_nothing()), (integer, is_nothing), "{text}");
    }
    assert_eq!(Value::parse("1 2").map(|_| ()), Err(Malformed::BadJson { at: 2 }));
    let text = Value::parse(r#""\u00e9\ud83d\ude00\ud83dx\udc00\u0041\/\n""#).unwrap();
    assert_eq!(text.chars().unwrap().collect::<String>(), "\u{e9}\u{1f600}\u{fffd}x\u{fffd}A/\n");
    assert!(text.is("\u{e9}\u{1f600}\u{fffd}x\u{fffd}A/\n") && !text.is("\u{e9}"));
}

#[test]
fn labels_of_flows_say_what_they_say() {
    use Direction::{Extract, Inject};
    let is = |cid| Cid::Is(std::num::NonZeroU32::new(cid).unwrap());
    for (text, kind, direction, credit, cid) in [
        (r#"{"flow":"DAT"}"#, Kind::Dat, None, None, Cid::Absent),
        (r#"{"flow": "PAY", "credit": 2}"#, Kind::Pay, None, Some(2), Cid::Absent),
        (r#"{"flow": "PAY", "credit": -2}"#, Kind::Pay, None, Some(-2), Cid::Absent),
        (r#"{"flow": "PAY", "credit": 2.0}"#, Kind::Pay, None, None, Cid::Absent),
        (r#"{"flow": "PAY", "credit": "2"}"#, Kind::Pay, None, None, Cid::Absent),
        (r#"{"direction": "inject", "flow": "BOT"}"#, Kind::Bot, Some(Inject), None, Cid::Absent),
        (r#"{"flow": "BOT", "direction": "EXTRACT"}"#, Kind::Bot, None, None, Cid::Absent),
        (r#"{"flow": "BOT", "direction": ["extract"]}"#, Kind::Bot, None, None, Cid::Absent),
        (r#"{"flow": "EOT", "cid": 7}"#, Kind::Eot, None, None, is(7)),
        (r#"{"flow": "BOT", "cid": 4294967295}"#, Kind::Bot, None, None, is(u32::MAX)),
        (r#"{"flow": "BOT", "cid": 4294967296}"#, Kind::Bot, None, None, Cid::Invalid),
        (r#"{"flow": "BOT", "cid": -1}"#, Kind::Bot, None, None, Cid::Invalid),
        (r#"{"flow": "BOT", "cid": "7"}"#, Kind::Bot, None, None, Cid::Invalid),
        (r#"{"flow": "BOT", "cid": 7.0}"#, Kind::Bot, None, None, Cid::Invalid),
        (r#"{"flow": "BOT", "cid": true}"#, Kind::Bot, None, None, Cid::Invalid),
        (r#"{"flow": "BOT", "cid": 0}"#, Kind::Bot, None, None, Cid::Absent),
        (r#"{"flow": "BOT", "cid": null}"#, Kind::Bot, None, None, Cid::Absent),
        (r#"{"flow": "BOT", "cid": ""}"#, Kind::Bot, None, None, Cid::Absent),
    ] {
        let read = FlowLabel::read(text).unwrap();
        let said = (read.kind(), read.direction(), read.credit(), read.cid());
        assert_eq!(said, (kind, direction, credit, cid), "{text}");
    }
    let bot = FlowLabel::read(&vectors().cpp_labels[0]).map(|read| {
        (read.kind(), read.direction(), read.credit(), read.label().get("tag").is_some())
    });
    assert_eq!(bot, Ok((Kind::Bot, Some(Extract), Some(5), true)));
    for (text, why) in [
        ("{}", Malformed::NoFlow),
        (r#"{"Flow": "DAT"}"#, Malformed::NoFlow),
        (r#"{"flow": "dat"}"#, Malformed::UnknownFlow),
        (r#"{"flow": null}"#, Malformed::UnknownFlow),
        (r#"{"flow": ["DAT"]}"#, Malformed::UnknownFlow),
        (r#"{"flow": "DAT""#, Malformed::BadJson { at: 14 }),
    ] {
        assert_eq!(FlowLabel::read(text).map(|_| ()), Err(why), "{text}");
    }
}

#[test]
fn edits_change_only_what_they_must() {
    for (label, name, value, expected) in [
        ("{}", "a", "1", r#"{"a": 1}"#),
        ("{ }", "a", "1", r#"{"a": 1 }"#),
        (r#"{"b":1.50}"#, "a", "1", r#"{"b":1.50, "a": 1}"#),
        (r#"{"b":1.50 } "#, "a", "1", r#"{"b":1.50, "a": 1 } "#),
        (r#"{"a" : 1.50 , "b":2}"#, "a", "{}", r#"{"a" : {} , "b":2}"#),
        (r#"{"a":1,"\u0061":2,"b":1e3}"#, "a", "0", r#"{"a":0,"\u0061":0,"b":1e3}"#),
    ] {
        let edited = set(Label::parse(label).unwrap(), name, value).unwrap();
        assert_eq!(edited, expected, "{label}");
    }
    let label = Label::parse("{}").unwrap();
    for (name, value) in [("a", "1, \"b\": 2"), ("a", ""), ("a", "1}"), ("a\"", "1"), ("\\", "1")] {
        assert!(set(label, name, value).is_err(), "{name} {value}");
    }
    for (label, expected) in [
        ("{}", "{}"),
        (r#"{"a": 1}"#, "{}"),
        (r#"{ "a": 1 }"#, "{  }"),
        (r#"{"a": 1, "b": 2}"#, r#"{"b": 2}"#),
        (r#"{"b": 2, "a": 1}"#, r#"{"b": 2}"#),
        (r#"{"b": 2 , "a": 1,"c":3}"#, r#"{"b": 2,"c":3}"#),
        (r#"{"a": 1, "a": [","], "b": 2, "a": {}}"#, r#"{"b": 2}"#),
        (r#"{"b": {"a": 1}}"#, r#"{"b": {"a": 1}}"#),
    ] {
        assert_eq!(remove(Label::parse(label).unwrap(), "a"), expected, "{label}");
    }
}

fn json(depth: u32) -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>()
            .prop_filter("JSON has none", |it| it.is_finite())
            .prop_map(|it| format!("{it:e}")),
        ".{0,8}".prop_map(|text| serde_json::to_string(&text).unwrap()),
        prop::sample::select(vec!["true", "false", "null", "NaN", "-Infinity", "1.00", "-0"])
            .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(depth, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4)
                .prop_map(|all| format!("[{}]", all.join(" , "))),
            prop::collection::vec(("[a-c]{0,2}", inner), 0..4).prop_map(|all| {
                let members = all.iter().map(|(key, value)| format!("\"{key}\" :{value}"));
                format!("{{{}}}", members.collect::<Vec<_>>().join(","))
            }),
        ]
    })
}

fn members() -> impl Strategy<Value = Vec<(String, String)>> {
    prop::collection::vec(("[a-d]", json(3)), 0..6)
}

fn label_of(members: &[(String, String)]) -> String {
    let members = members.iter().map(|(key, value)| format!("\"{key}\": {value}"));
    format!("{{{}}}", members.collect::<Vec<_>>().join(", "))
}

fn read_members(label: Label<'_>) -> Vec<(String, String)> {
    label.members().map(|it| (it.name().into_owned(), it.value.as_str().to_owned())).collect()
}

proptest! {
    #[test]
    fn what_is_written_reads_the_same(
        level in 0..9_usize, form in "[ -~]{0,4}", label in ".{0,300}", numbers in any::<[u64; 3]>(),
        payload in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..600), 0..6),
    ) {
        let payload: Vec<Bytes> = payload.into_iter().map(Bytes::from).collect();
        let [origin, granule, seqno] = numbers;
        let view = Zio {
            level: Level::ALL[level],
            form: Form::new(&form).unwrap(),
            label: &label,
            coordinates: Coordinates { origin, granule, seqno },
            payload: payload[..].into(),
        };
        for shape in [Shape::Single, Shape::Multipart] {
            let message = view.to_message(shape);
            let read = Zio::decode(shape, message.frames()).unwrap();
            assert_same(read, view, "written");
            prop_assert_eq!(&read.to_message(shape), &message);
        }
    }

    #[test]
    fn any_octets_are_read_or_refused(octets in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut near = b"\x0fZIO0FLOW{\"a\":1}\x18".to_vec();
        near.extend_from_slice(&octets);
        for octets in [octets, near] {
            let message = Message::new([octets]);
            if let Ok(read) = Zio::decode(Shape::Single, message.frames()) {
                let count = read.payload.len();
                prop_assert_eq!(read.payload.count(), count);
            }
        }
    }

    #[test]
    fn a_label_is_edited_as_a_list_is(mut members in members(), value in json(2)) {
        let text = label_of(&members);
        let label = Label::parse(&text).unwrap();
        prop_assert_eq!(read_members(label), members.clone());
        let kept: Vec<_> = members.iter().filter(|(key, _)| key != "a").cloned().collect();
        prop_assert_eq!(remove(label, "a"), label_of(&kept));
        if members.iter().all(|(key, _)| key != "a") {
            members.push(("a".into(), value.clone()));
        }
        for (_, old) in members.iter_mut().filter(|(key, _)| key == "a") {
            old.clone_from(&value);
        }
        prop_assert_eq!(set(label, "a", &value).unwrap(), label_of(&members));
    }
}
