//! What the broker itself says, made from what it has heard.

use std::num::NonZeroU32;

use crate::wire::message::{Frames, Message};
use crate::wire::mjp::{LaneHeader, Packed};
use crate::wire::zio::{
    Coordinates, Direction, FlowLabel, Form, Kind, Label, Malformed, Shape, Zio, attribute, remove,
    set,
};

/// A BOT as it was heard.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bot<'a> {
    pub(super) zio: Zio<'a>,
    pub(super) label: FlowLabel<'a>,
    /// As it came.
    pub(super) frames: Frames<'a>,
    /// Within MJP the octets that its header names.
    pub(super) bytes: Option<u64>,
}

impl<'a> Bot<'a> {
    /// Reads a message of that shape.
    #[inline]
    pub(super) fn read(
        shape: Shape,
        frames: Frames<'a>,
        bytes: Option<u64>,
    ) -> Result<Self, Malformed> {
        let zio = Zio::decode(shape, frames)?;
        Ok(Self { zio, label: FlowLabel::read(zio.label)?, frames, bytes })
    }

    /// What it costs in octets.
    pub(super) fn size(&self) -> u64 {
        u64::try_from(self.zio.parts_len()).unwrap_or(u64::MAX)
    }

    /// For a handler: the direction reversed, and with the client's id.
    pub(super) fn for_handler(&self, direction: Direction, cid: NonZeroU32) -> Message {
        let reversed = self.reversed(direction);
        let named = edit(&reversed, attribute::CID, &cid.to_string());
        self.zio.with_label(&named).to_message(Shape::Single)
    }

    /// A handler's BOT back to itself: the direction reversed, and without the id.
    pub(super) fn mirrored(&self, direction: Direction, shape: Shape) -> Message {
        let reversed = self.reversed(direction);
        let plain = without_cid(&reversed);
        self.zio.with_label(&plain).to_message(shape)
    }

    /// A handler's BOT for its client: without the id.
    pub(super) fn for_client(&self, shape: Shape) -> Message {
        let plain = without_cid(self.label.label().as_str());
        self.zio.with_label(&plain).to_message(shape)
    }

    /// The EOT that answers it: the same, with the direction reversed if there is one.
    pub(super) fn refusal(&self, shape: Shape) -> Message {
        let text = match self.label.direction() {
            Some(direction) => self.reversed(direction),
            None => self.label.label().as_str().to_owned(),
        };
        self.zio.with_label(&as_eot(&text)).to_message(shape)
    }

    fn reversed(&self, direction: Direction) -> String {
        let value = format!("\"{}\"", direction.reversed().name());
        edit(self.label.label().as_str(), attribute::DIRECTION, &value)
    }
}

/// The EOT that refuses a client, from the BOT that a handler would have got.
pub(super) fn refused(bot: &Message, shape: Shape) -> Message {
    match Zio::decode(Shape::Single, bot.frames()) {
        Ok(zio) => zio.with_label(&as_eot(zio.label)).to_message(shape),
        Err(_) => eot(Coordinates::default(), shape),
    }
}

/// The EOT of an end that does not say it itself, behind what it said last: strict peers count.
pub(super) fn eot(coordinates: Coordinates, shape: Shape) -> Message {
    let label = as_eot("{}");
    let zio = Zio { form: Form::FLOW, label: &label, coordinates, ..Zio::default() };
    zio.to_message(shape)
}

/// The EOT that answers the EOT of one that has heard nothing yet.
pub(super) fn first_eot(said: Coordinates, shape: Shape) -> Message {
    eot(Coordinates { seqno: 0, ..said }, shape)
}

/// What stands before a BOT or PAY within MJP; nothing if there is no credit in octets.
pub(super) fn header(bytes: Option<u64>) -> Vec<u8> {
    let says = |bytes| Packed::new(&LaneHeader { bytes: Some(bytes) }).octets().to_vec();
    bytes.map_or_else(Vec::new, says)
}

fn as_eot(label: &str) -> String {
    edit(label, attribute::FLOW, &format!("\"{}\"", Kind::Eot.name()))
}

/// Labels that come here were read, and the edits are made of constants and numbers.
fn edit(label: &str, name: &str, value: &str) -> String {
    let edited = Label::parse(label).and_then(|label| set(label, name, value));
    edited.unwrap_or_else(|_| label.to_owned())
}

fn without_cid(label: &str) -> String {
    Label::parse(label).map_or_else(|_| label.to_owned(), |label| remove(label, attribute::CID))
}
