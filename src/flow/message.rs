//! What goes through a flow.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::AttributeError;
use crate::proto::flow::Stamp;
use crate::wire::message::LARGE;
use crate::wire::zio::{
    Coordinates, Form, Kind, Label, Level, Malformed, Payload, Zio, attribute, set,
};

/// Labels of almost all DATs, as Python and C++ write them.
const DATS: [&str; 2] = [r#"{"flow": "DAT"}"#, r#"{"flow":"DAT"}"#];
const EMPTY: &str = "{}";

/// A message of a flow: parts of payload, and a label whose attributes are free but for those of
/// the protocol.
///
/// ```
/// use majordomo::flow::FlowMessage;
///
/// let message = FlowMessage::from("21.5").with("unit", "K")?.with("run", 7)?;
/// assert_eq!(message.label(), r#"{"unit": "K", "run": 7}"#);
/// assert_eq!(message.get::<u32>("run"), Some(7));
/// assert_eq!(message.first(), b"21.5");
/// # Ok::<(), majordomo::flow::AttributeError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowMessage {
    /// How much it matters. Those of flows have [`Level::Undefined`].
    pub level: Level,
    /// What kind it is, by default [`Form::FLOW`]. Nobody looks at it.
    pub form: Form,
    /// Who made it.
    pub origin: u64,
    /// When, by convention microseconds since 1970.
    pub granule: u64,
    /// Its number among those of its sender. What is said gets it from the flow.
    pub seqno: u64,
    /// The data; parts of 4 KiB and more are not copied. ZIO's Python package refuses a message
    /// whose last part is empty.
    pub payload: Vec<Bytes>,
    label: Cow<'static, str>,
}

impl Default for FlowMessage {
    fn default() -> Self {
        Self {
            level: Level::Undefined,
            form: Form::FLOW,
            origin: 0,
            granule: 0,
            seqno: 0,
            payload: Vec::new(),
            label: Cow::Borrowed(EMPTY),
        }
    }
}

impl FlowMessage {
    /// A message of these parts.
    pub fn new<I>(parts: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<Bytes>,
    {
        Self { payload: parts.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// The first part, all there is of a message that has one; empty if there is none.
    #[must_use]
    pub fn first(&self) -> &[u8] {
        self.payload.first().map(|part| &part[..]).unwrap_or_default()
    }

    /// Octets of all parts.
    #[must_use]
    pub fn len(&self) -> usize {
        self.payload.iter().map(Bytes::len).sum()
    }

    /// Whether there is no octet of payload.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The label as it was written: a JSON object.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// An attribute of the label; none if it is not there, or no `T`.
    #[must_use]
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        let value = Label::parse(&self.label).ok()?.get(name)?;
        serde_json::from_str(value.as_str()).ok()
    }

    /// The message with that attribute. Others stay as they are written, their order and the
    /// digits of their numbers, too. `flow`, `direction` and `credit` are written by the flow.
    ///
    /// # Errors
    /// The name needs escapes, or the value cannot be JSON.
    pub fn with(mut self, name: &str, value: impl Serialize) -> Result<Self, AttributeError> {
        let value = serde_json::to_string(&value)
            .map_err(|error| AttributeError::Value { reason: error.to_string() })?;
        self.label = Cow::Owned(edited(&self.label, name, &value)?);
        Ok(self)
    }

    /// The message with that label.
    ///
    /// # Errors
    /// It is no JSON object, or nested too deep.
    pub fn with_label(self, label: &str) -> Result<Self, AttributeError> {
        Label::parse(label)?;
        Ok(Self { label: Cow::Owned(label.to_owned()), ..self })
    }

    /// What was heard; large parts share the buffer that they came in.
    pub(super) fn of(zio: &Zio<'_>) -> Self {
        let Coordinates { origin, granule, seqno } = zio.coordinates;
        let label = DATS.into_iter().find(|dat| *dat == zio.label);
        // No small part holds the buffer of a large frame.
        let parts = zio.payload.map(|part| match part.len() {
            ..LARGE => Bytes::copy_from_slice(part),
            _ => zio.payload.share(part),
        });
        Self {
            level: zio.level,
            form: zio.form,
            origin,
            granule,
            seqno,
            payload: parts.collect(),
            label: label.map_or_else(|| Cow::Owned(zio.label.to_owned()), Cow::Borrowed),
        }
    }

    /// As it is to be said.
    pub(super) fn stamped(self, stamp: &Stamp) -> Result<Self, Malformed> {
        let bare = matches!(&self.label, Cow::Borrowed(_));
        let label = match DATS.first().filter(|_| bare && stamp.kind == Kind::Dat) {
            Some(dat) => Cow::Borrowed(*dat),
            None => Cow::Owned(stamp.label(Label::parse(&self.label)?)?),
        };
        Ok(Self { label, seqno: stamp.seqno, ..self })
    }

    /// As a DAT it is to be said, but for its number.
    pub(super) fn into_dat(self) -> Result<Self, Malformed> {
        let seqno = self.seqno;
        self.stamped(&Stamp { kind: Kind::Dat, direction: None, credit: None, bytes: None, seqno })
    }

    /// What it costs in octets once it is stamped.
    pub(super) fn cost(&self) -> u64 {
        u64::try_from(self.as_zio().parts_len()).unwrap_or(u64::MAX)
    }

    pub(super) fn as_zio(&self) -> Zio<'_> {
        let Self { level, form, origin, granule, seqno, .. } = *self;
        let coordinates = Coordinates { origin, granule, seqno };
        let payload = Payload::from(&self.payload[..]);
        Zio { level, form, label: &self.label, coordinates, payload }
    }
}

/// The label with that attribute, whose value is JSON.
pub(super) fn edited(label: &str, name: &str, value: &str) -> Result<String, AttributeError> {
    set(Label::parse(label)?, name, value)
        .map_err(|_| AttributeError::Name { name: name.escape_debug().to_string() })
}

/// Whether the attribute is the protocol's.
pub(super) fn is_reserved(name: &str) -> bool {
    [attribute::FLOW, attribute::DIRECTION, attribute::CREDIT, attribute::CID].contains(&name)
}

/// A message of one part.
macro_rules! one_part {
    ($($part:ty),*) => {$(
        impl From<$part> for FlowMessage {
            fn from(part: $part) -> Self {
                Self::new([part])
            }
        }
    )*};
}
one_part!(Bytes, Vec<u8>, String, &'static str, &'static [u8]);

/// A message of as many parts.
impl<T: Into<Bytes>, const PARTS: usize> From<[T; PARTS]> for FlowMessage {
    fn from(parts: [T; PARTS]) -> Self {
        Self::new(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::codec::Encoder;
    use crate::wire::message::Message;
    use crate::wire::zio::{FlowLabel, Shape};

    fn stamp(kind: Kind) -> Stamp {
        Stamp { kind, direction: None, credit: None, bytes: None, seqno: 3 }
    }

    #[test]
    fn what_is_said_is_heard_the_same_but_for_its_label_and_number() {
        let large = Bytes::from(vec![7; 10_000]);
        let message = FlowMessage::new([Bytes::from("small"), large.clone()]);
        let message = FlowMessage { origin: 1, granule: 2, ..message }.with("x", 1.5).unwrap();
        let said = message.stamped(&stamp(Kind::Dat)).unwrap();
        assert_eq!(said.label(), r#"{"x": 1.5, "flow": "DAT"}"#);
        let frame = said.as_zio().to_message(Shape::Single);
        let zio = Zio::decode(Shape::Single, frame.frames()).unwrap();
        let heard = FlowMessage::of(&zio);
        assert_eq!(heard, said);
        assert_eq!((heard.seqno, heard.get::<f64>("x")), (3, Some(1.5)));
        let within = frame.first().as_ptr_range();
        assert!(within.contains(&heard.payload[1].as_ptr()), "a large part is not copied");
        assert!(!within.contains(&heard.payload[0].as_ptr()), "a small one holds no large buffer");
    }

    #[test]
    fn a_bare_dat_is_written_as_python_writes_it_and_so_is_one_that_was_heard() {
        for label in ["", DATS[0], DATS[1]] {
            let zio = Zio { label, ..Zio::default() };
            let heard = if label.is_empty() { "".into() } else { FlowMessage::of(&zio) };
            assert_eq!(heard.stamped(&stamp(Kind::Dat)).unwrap().label(), DATS[0]);
        }
        let eot = FlowMessage::default().stamped(&stamp(Kind::Eot)).unwrap();
        assert_eq!(FlowLabel::read(eot.label()).unwrap().kind(), Kind::Eot);
    }

    #[test]
    fn names_that_need_escapes_and_labels_that_are_none_are_refused() {
        let message = FlowMessage::default;
        assert!(matches!(message().with("a\"b", 1), Err(AttributeError::Name { .. })));
        assert!(matches!(message().with_label("[]"), Err(AttributeError::Label(_))));
        assert!(is_reserved("cid") && !is_reserved("run"));
    }

    #[test]
    fn large_parts_are_written_where_they_lie() {
        let large = Bytes::from(vec![7; 1 << 20]);
        let message = FlowMessage::new([large.clone(), Bytes::from("end")]);
        let mut encoder = Encoder::default();
        message.as_zio().encode_single(&mut encoder);
        assert!(encoder.bytes_held() < large.len() + 4096);
        let mut slices = [std::io::IoSlice::new(&[]); 4];
        let filled = encoder.chunks(&mut slices);
        let octets: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
        assert!(slices[..filled].iter().any(|slice| slice.as_ptr() == large.as_ptr()));
        let whole = message.as_zio().to_message(Shape::Single);
        assert_eq!(octets[9..], *whole.first());
        let sealed = encoder.take_frame(|flags, body| (flags, Message::from(body.to_vec())));
        assert_eq!(sealed, Some((2, whole)));
        assert!(encoder.is_empty());
    }
}
