//! `zio_message`: whatever arrives is read as a naive reader reads it, is written again as the same,
//! and a label that is edited says what it said, but for the edit.

mod naive;

use std::num::NonZeroU32;

use bytes::Bytes;

use super::pieces::{Choices, bodies, is_label};
use crate::wire::message::Message;
use crate::wire::zio::{
    Cid, Direction, FlowLabel, Kind, Label, Malformed, Members, Shape, Value, Zio, is_zio, remove,
    set,
};

/// The first octet says what follows: one frame, several, or a label.
pub fn zio_message(input: &[u8]) {
    let mut choices = Choices::new(input);
    match choices.octet() % 3 {
        0 => message(Shape::Single, vec![choices.rest().to_vec()]),
        1 => {
            let mut frames = Vec::new();
            while !choices.is_empty() && frames.len() < 1100 {
                let len = usize::from(choices.octet());
                frames.push(choices.octets(len).to_vec());
            }
            message(Shape::Multipart, frames);
        }
        _ => label(&String::from_utf8_lossy(choices.rest())),
    }
}

fn message(shape: Shape, frames: Vec<Vec<u8>>) {
    let parts = match (shape, &frames[..]) {
        (Shape::Single, [frame]) => naive::parts(frame),
        (Shape::Multipart, [first, parts @ ..]) if first.is_empty() => Some(parts.to_vec()),
        _ => None,
    };
    let expected = parts.as_deref().and_then(naive::whole);
    let message = Message::new(frames);
    let read = Zio::decode(shape, message.frames());
    assert_eq!(read.map(|zio| meaning(&zio)).ok(), expected);
    match read {
        Err(why) => said(why),
        Ok(zio) => {
            assert!(shape == Shape::Single || is_zio(message.frames()));
            for shape in [Shape::Single, Shape::Multipart] {
                let again = zio.to_message(shape);
                let read = Zio::decode(shape, again.frames());
                assert_eq!(read.map(|zio| meaning(&zio)).ok(), expected);
                let frames = bodies(again.frames());
                let parts = match &frames[..] {
                    [frame] => naive::parts(frame),
                    [_, parts @ ..] => Some(parts.to_vec()),
                    [] => None,
                };
                assert_eq!(parts.as_deref().and_then(naive::whole), expected);
            }
            label(zio.label);
        }
    }
}

fn meaning(zio: &Zio<'_>) -> naive::Whole {
    let payload: Vec<Vec<u8>> = zio.payload.map(<[u8]>::to_vec).collect();
    assert_eq!(payload.len(), zio.payload.len());
    let shared: Vec<Bytes> = payload.iter().cloned().map(Bytes::from).collect();
    let again = Zio { payload: shared[..].into(), ..*zio };
    assert_eq!(again.to_message(Shape::Single), zio.to_message(Shape::Single));
    let at = zio.coordinates;
    let numbers = [at.origin, at.granule, at.seqno];
    (zio.level.digit(), zio.form.as_bytes().to_vec(), zio.label.into(), numbers, payload)
}

fn said(why: Malformed) {
    assert!(is_label(why.label()) && !why.to_string().is_empty(), "{why:?}");
}

fn label(text: &str) {
    let expected = naive::members(text);
    let members: Result<Vec<_>, _> = Members::of(text)
        .map(|it| it.map(|it| (it.name().into_owned(), it.value.as_str().to_owned())))
        .collect();
    if let Err(why) = members {
        said(why);
    }
    assert_eq!(members.ok(), expected, "{text:?}");
    let read = FlowLabel::read(text);
    let (Ok(label), Some(members)) = (Label::parse(text), expected) else {
        read.map_or_else(said, |_| panic!("{text:?} is a label of a flow"));
        return;
    };
    for (_, value) in &members {
        value_of(value);
    }
    flow(read, &members);
    for name in ["flow", "cid", "a"] {
        edits(label, &members, name);
    }
}

fn value_of(raw: &str) {
    let value = Value::parse(raw);
    assert_eq!(value.map(Value::as_str), Ok(raw));
    let text = value.ok().and_then(|value| value.chars().map(Iterator::collect::<String>));
    let expected = if raw.starts_with('"') { naive::text_of(raw) } else { None };
    assert_eq!(text, expected, "{raw}");
}

/// The last of several, as everybody reads it.
fn last<'a>(members: &'a [(String, String)], name: &str) -> Option<&'a str> {
    members.iter().rev().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
}

fn flow(read: Result<FlowLabel<'_>, Malformed>, members: &[(String, String)]) {
    let text = |name| last(members, name).filter(|it| it.starts_with('"')).and_then(naive::text_of);
    let kind = text("flow").and_then(|flow| match flow.as_str() {
        "BOT" => Some(Kind::Bot),
        "DAT" => Some(Kind::Dat),
        "PAY" => Some(Kind::Pay),
        "EOT" => Some(Kind::Eot),
        _ => None,
    });
    assert_eq!(read.map(|read| read.kind()).ok(), kind);
    let Ok(read) = read else {
        let missing = last(members, "flow").is_none();
        assert_eq!(read.err() == Some(Malformed::NoFlow), missing);
        return;
    };
    let direction = text("direction").and_then(|direction| match direction.as_str() {
        "extract" => Some(Direction::Extract),
        "inject" => Some(Direction::Inject),
        _ => None,
    });
    assert_eq!(read.direction(), direction);
    let credit = last(members, "credit").and_then(|credit| credit.parse::<i64>().ok());
    assert_eq!(read.credit(), credit);
    let cid = last(members, "cid").map_or(Cid::Absent, cid);
    assert_eq!(read.cid(), cid);
}

fn cid(raw: &str) -> Cid {
    let squeezed: String = raw.split([' ', '\t', '\n', '\r']).collect();
    let nothing = matches!(squeezed.as_str(), "false" | "null" | "\"\"" | "[]" | "{}") && {
        // White space within a string is none.
        !raw.starts_with('"') || raw.len() == 2
    };
    match raw.parse::<u32>() {
        Ok(number) if !raw.starts_with('+') => NonZeroU32::new(number).map_or(Cid::Absent, Cid::Is),
        _ if nothing || raw.parse::<f64>().is_ok_and(|number| number == 0.0) => Cid::Absent,
        _ => Cid::Invalid,
    }
}

fn edits(label: Label<'_>, members: &[(String, String)], name: &str) {
    let others: Vec<_> = members.iter().filter(|(other, _)| other != name).cloned().collect();
    let removed = remove(label, name);
    assert_eq!(naive::members(&removed), Some(others), "{removed:?}");
    let has = members.iter().any(|(other, _)| other == name);
    assert!(has || removed == label.as_str());
    let value = r#"["new", 1.50]"#;
    let mut expected = members.to_vec();
    if !has {
        expected.push((name.into(), value.into()));
    }
    for (_, old) in expected.iter_mut().filter(|(other, _)| other == name) {
        value.clone_into(old);
    }
    let edited = set(label, name, value).expect("name and value are JSON");
    assert_eq!(naive::members(&edited), Some(expected), "{edited:?}");
    // What was added and is taken out again leaves nothing behind.
    if !has {
        let again = Label::parse(&edited).expect("it was read");
        assert_eq!(remove(again, name), label.as_str());
    }
}
