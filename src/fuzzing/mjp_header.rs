//! `mjp_header`: whatever comes as a header of MJP/1 is read as the tables say, and means the same
//! after it has been written again.

mod naive;

use super::pieces::{Choices, frames_written, is_label};
use crate::wire::message::{Frames, Message};
use crate::wire::mjp::{
    FromBroker, KeyHeader, KeyReport, Packed, Rejected, Report, RequestHeader, ToBroker, is_mjp,
};

/// The input: an octet for the kind, one for the shape (bodies, whether there is an id, a header,
/// a whole second frame), each body with its length, and the header.
pub fn mjp_header(input: &[u8]) {
    let mut choices = Choices::new(input);
    let (kind, shape) = (choices.octet(), choices.octet());
    let parts: Vec<_> = (0..shape % 4)
        .map(|_| {
            let len = choices.octet();
            choices.octets(len.into()).to_vec()
        })
        .collect();
    let header = choices.rest();
    let id = if shape & 4 == 0 { 0x0102_0304_0506_0708_u64 } else { 0 };
    let mut frames = vec![b"MJP1".to_vec(), [&[kind][..], &id.to_be_bytes()].concat()];
    if shape & 8 == 0 {
        frames.push(header.to_vec());
        frames.extend(parts);
    }
    if shape & 16 != 0 {
        // Whatever stands there, it is no second frame.
        frames.truncate(1);
        frames.push(header.to_vec());
    }
    let message = Message::new(frames.clone());
    assert!(is_mjp(message.frames()));
    to_broker(message.frames(), &frames);
    from_broker(message.frames(), &frames);
    header_alone(header);
}

fn to_broker(message: Frames<'_>, frames: &[Vec<u8>]) {
    let expected = naive::meaning(true, frames);
    match ToBroker::decode(message) {
        Ok(command) => {
            assert!(expected.is_some(), "{command:?} is malformed");
            let again = frames_written(|out| command.encode(out));
            assert_eq!(naive::meaning(true, &again), expected, "{command:?}");
            let again = Message::new(again);
            assert!(ToBroker::decode(again.frames()).is_ok(), "{command:?}");
        }
        Err(rejected) => refused(rejected, frames, expected.as_deref()),
    }
}

fn from_broker(message: Frames<'_>, frames: &[Vec<u8>]) {
    let expected = naive::meaning(false, frames);
    match FromBroker::decode(message) {
        Ok(command) => {
            assert!(expected.is_some(), "{command:?} is malformed");
            let again = frames_written(|out| command.encode(out));
            assert_eq!(naive::meaning(false, &again), expected, "{command:?}");
            let again = Message::new(again);
            assert!(FromBroker::decode(again.frames()).is_ok(), "{command:?}");
        }
        Err(rejected) => refused(rejected, frames, expected.as_deref()),
    }
}

fn refused(rejected: Rejected, frames: &[Vec<u8>], expected: Option<&str>) {
    assert_eq!(expected, None, "{rejected}");
    assert!(is_label(rejected.why.label()) && !rejected.to_string().is_empty());
    if let [_, second, ..] = frames
        && second.len() == 9
    {
        let said = [&[rejected.kind][..], &rejected.id.to_be_bytes()].concat();
        assert_eq!(&said, second, "the one that is to be answered");
    }
}

/// A request's header is forwarded as it is; what was read of it, written, says the same.
fn header_alone(header: &[u8]) {
    let expected = naive::request(header);
    match RequestHeader::decode(header) {
        Ok(says) => {
            assert!(expected.is_some(), "{says:?} is malformed");
            let packed = Packed::new(&says);
            assert_eq!(naive::request(packed.octets()), expected, "{says:?}");
            assert_eq!(RequestHeader::decode(packed.octets()), Ok(says));
        }
        Err(why) => assert_eq!(expected, None, "{why}"),
    }
    if let Ok(report) = Report::decode(header) {
        assert_eq!(Report::decode(Packed::new(&report).octets()), Ok(report));
    }
    if let Ok(says) = KeyHeader::decode(header) {
        assert_eq!(KeyHeader::decode(Packed::new(&says).octets()), Ok(says));
    }
    if let Ok(report) = KeyReport::decode(header) {
        assert_eq!(KeyReport::decode(Packed::new(&report).octets()), Ok(report));
    }
}
