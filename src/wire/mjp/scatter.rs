//! SCATTER and its answers: one request to several workers (SPEC 9.10).

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::header::{RequestHeader, service, text_or_bin};
use super::malformed::Malformed;
use super::passed::Passed;
use super::{MORE, Opening, kind, open, pack};
use crate::wire::codec::Encoder;
use crate::wire::message::{Frames, Message};

/// SCATTER of a client. What a request can say besides is for the workers, and not looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScatterHeader<'a> {
    /// The service, 1 to 255 octets, text or bin.
    #[serde(borrow, deserialize_with = "service", serialize_with = "text_or_bin")]
    pub service: &'a [u8],
    /// Which of its workers. Default: all.
    #[serde(default, borrow, skip_serializing_if = "Recipients::is_all")]
    pub to: Recipients<'a>,
    /// Time that the caller waits, ms. Default: as long as it lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
    /// What happens at the workers is to be told by NOTE. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<bool>,
    /// The caller holds this lease, or the scatter is refused; 1 to 255 octets.
    #[serde(
        default,
        borrow,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "super::lease::some_name"
    )]
    pub lease: Option<&'a str>,
    /// With `lease`, and only with it: the epoch of the holder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
}

impl<'a> ScatterHeader<'a> {
    /// A request to those workers of the service, and nothing else.
    #[must_use]
    pub fn new(service: &'a [u8], to: Recipients<'a>) -> Self {
        Self { service, to, timeout: None, events: None, lease: None, epoch: None }
    }
}

impl ScatterHeader<'_> {
    /// Whether NOTEs are wanted.
    #[must_use]
    pub fn events(&self) -> bool {
        self.events.unwrap_or(false)
    }

    /// Time that the caller waits.
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        RequestHeader { timeout: self.timeout, ..RequestHeader::default() }.timeout()
    }
}

/// Which workers of a service are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Recipients<'a> {
    /// All that there are: nil, or the text `all`.
    #[default]
    All,
    /// Those of these names: an array of texts.
    Names(Vec<&'a str>),
    /// Those that have all these labels: a map of texts by texts.
    Labels(BTreeMap<&'a str, &'a str>),
}

impl Recipients<'_> {
    fn is_all(&self) -> bool {
        *self == Self::All
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Recipients<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Kinds;
        impl<'de> Visitor<'de> for Kinds {
            type Value = Recipients<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the text all, an array of names, or a map of labels")
            }

            fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
                Ok(Recipients::All)
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<Self::Value, E> {
                match word {
                    "all" => Ok(Recipients::All),
                    _ => Err(de::Error::custom("a text that is not all")),
                }
            }

            fn visit_bytes<E: de::Error>(self, word: &[u8]) -> Result<Self::Value, E> {
                self.visit_str(std::str::from_utf8(word).unwrap_or_default())
            }

            // Without room for as many as are announced: the header has an end.
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = seq.next_element()? {
                    names.push(name);
                }
                Ok(Recipients::Names(names))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut labels = BTreeMap::new();
                while let Some((name, value)) = map.next_entry()? {
                    labels.insert(name, value);
                }
                Ok(Recipients::Labels(labels))
            }
        }
        deserializer.deserialize_any(Kinds)
    }
}

/// A client's request to several workers.
#[derive(Debug, Clone)]
pub struct Scatter<'a> {
    /// Chosen by the client, as that of a request.
    pub id: u64,
    /// The header as it stands on the wire; this is what the workers get.
    pub header: &'a [u8],
    /// What the header says.
    pub says: ScatterHeader<'a>,
    /// One frame or more, opaque.
    pub body: Frames<'a>,
}

impl<'a> Scatter<'a> {
    pub(super) fn decode(opening: &Opening<'a>) -> Result<Self, Malformed> {
        let (id, body) = (opening.own_id()?, opening.body()?);
        let says = pack::read(opening.header)?;
        Ok(Self { id, header: opening.header, says, body })
    }

    /// Writes the request as a client does: `header` goes as it is, `says` is not looked at.
    pub fn encode(&self, out: &mut Encoder) {
        open(kind::SCATTER, self.id, MORE, out);
        out.frame(self.header);
        out.frames(&self.body);
    }
}

/// TARGETS of a broker: it answers for the scatter from now on, and whom it is for.
#[derive(Debug, Clone, Copy)]
pub struct Targets<'a> {
    /// Of the scatter.
    pub id: u64,
    /// One frame: a MessagePack array of the names of the workers.
    pub names: &'a [u8],
}

impl<'a> Targets<'a> {
    pub(super) fn decode(opening: &Opening<'a>) -> Result<Self, Malformed> {
        let mut body = opening.body()?;
        let names = body.take_first().unwrap_or_default();
        if body.is_empty() {
            Ok(Self { id: opening.id, names })
        } else {
            Err(Malformed::FrameCount)
        }
    }

    /// The names.
    ///
    /// # Errors
    /// The frame is no array of texts.
    pub fn names(&self) -> Result<Vec<String>, Malformed> {
        rmp_serde::from_slice(self.names).map_err(|_| Malformed::BadHeader)
    }

    /// Writes the names as a broker does.
    #[must_use]
    pub fn pack(names: &[String]) -> Vec<u8> {
        rmp_serde::to_vec(names).unwrap_or_default()
    }

    pub(super) fn encode(&self, out: &mut Encoder) {
        open(kind::TARGETS, self.id, MORE, out);
        out.frame(b"");
        out.last_frame(self.names);
    }
}

/// What a broker says of one worker's part in a scatter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeHeader<'a> {
    /// The name of the worker.
    pub target: &'a str,
    /// `replied`, `failed`, `refused`, `lost`, `timed_out` or `cancelled`.
    pub outcome: &'a str,
    /// Of the error, if the broker made one; that of a worker is in its own header.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub code: Option<&'a str>,
    /// For people.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub message: Option<&'a str>,
    /// With the code `stale_epoch`: the epoch of who holds the lease now. Absent: nobody does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
}

/// OUTCOME of a broker: the end of one worker's part in a scatter. The header is that of the
/// worker's FINAL or ERROR, the body the answer.
pub type Outcome<'a> = Passed<'a, OutcomeHeader<'a>>;

impl Outcome<'_> {
    /// Writes the outcome as a broker does, the body behind `earlier` parts of it.
    pub fn encode(&self, earlier: &[Message], out: &mut Encoder) {
        self.write(kind::OUTCOME, earlier, out);
    }
}

/// Whose EVENT a NOTE is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoteHeader<'a> {
    /// The name of the worker.
    pub target: &'a str,
}

/// NOTE of a broker: an EVENT of one worker in its part of a scatter.
pub type Note<'a> = Passed<'a, NoteHeader<'a>>;

impl Note<'_> {
    pub(super) fn encode(&self, out: &mut Encoder) {
        self.write(kind::NOTE, &[], out);
    }
}

/// FINAL of a broker behind all outcomes of a scatter: how many there were of each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tally {
    /// Workers that answered.
    pub replied: u64,
    /// Workers that said ERROR.
    pub failed: u64,
    /// Workers that were not given the request: their dialect cannot say it, or a fence was in the
    /// way.
    pub refused: u64,
    /// Workers that were lost.
    pub lost: u64,
    /// Workers that took too long.
    pub timed_out: u64,
    /// Workers that the caller did not wait for.
    pub cancelled: u64,
}

impl Tally {
    /// Reads the header of FINAL.
    ///
    /// # Errors
    /// It is none of a scatter.
    pub fn decode(octets: &[u8]) -> Result<Self, Malformed> {
        pack::read(octets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(octets: &[u8]) -> Result<ScatterHeader<'_>, Malformed> {
        pack::read(octets)
    }

    #[test]
    fn recipients_are_all_names_or_labels() {
        let service = b"\x81\xa7service\xa1s";
        assert_eq!(read(service).unwrap().to, Recipients::All);
        let all = b"\x82\xa7service\xa1s\xa2to\xa3all";
        assert_eq!(read(all).unwrap().to, Recipients::All);
        let bin = b"\x82\xa7service\xa1s\xa2to\xc4\x03all";
        assert_eq!(read(bin).unwrap().to, Recipients::All);
        let nil = b"\x82\xa7service\xa1s\xa2to\xc0";
        assert_eq!(read(nil).unwrap().to, Recipients::All);
        let names = b"\x82\xa7service\xa1s\xa2to\x92\xa1a\xa1b";
        assert_eq!(read(names).unwrap().to, Recipients::Names(vec!["a", "b"]));
        let labels = b"\x82\xa7service\xa1s\xa2to\x81\xa4zone\xa1x";
        let zone = Recipients::Labels([("zone", "x")].into());
        assert_eq!(read(labels).unwrap().to, zone);
        for wrong in [&b"\xa4some"[..], b"\x01", b"\xc3", b"\x91\x01", b"\x81\xa1a\x01"] {
            let header = [b"\x82\xa7service\xa1s\xa2to", wrong].concat();
            assert!(read(&header).is_err(), "{wrong:?}");
        }
        // An array that announces four thousand million names is not believed.
        assert!(read(b"\x82\xa7service\xa1s\xa2to\xdd\xff\xff\xff\xff\xa1a").is_err());
    }
}
