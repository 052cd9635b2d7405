//! The examples of ZIO flows: which message, what it says of the flow, its number and its payload.

use majordomo::wire::codec::Encoder;
use majordomo::wire::message::Frames;
use majordomo::wire::zio::{FlowLabel, Kind, Shape, Zio};

use super::{quoted, written};

/// What a message means, and the octets that the library writes for it; why it is refused.
pub(super) fn message(frames: Frames<'_>) -> (String, Option<Vec<u8>>) {
    let shape = if frames.len() == 1 { Shape::Single } else { Shape::Multipart };
    let zio = match Zio::decode(shape, frames) {
        Ok(zio) => zio,
        Err(why) => return (why.to_string(), None),
    };
    let label = FlowLabel::read(zio.label).expect("the label of a flow");
    let mut text = label.kind().name().to_owned();
    if label.kind() == Kind::Bot {
        text += &format!(" {}", label.direction().expect("a direction").name());
    }
    if let Some(credit) = label.credit() {
        text += &format!(", credit {credit}");
    }
    text += &format!(", seqno {}", zio.coordinates.seqno);
    if !zio.payload.is_empty() {
        let payload: Vec<_> = zio.payload.map(quoted).collect();
        text += &format!(": {}", payload.join(" "));
    }
    let mut out = Encoder::default();
    out.frames(&zio.to_message(shape).frames());
    (text, Some(written(&out)))
}
