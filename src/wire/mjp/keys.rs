//! ADMIN about keys and rights: what an operator says about who may come in, and what is answered
//! (SPEC 14.3).

use serde::{Deserialize, Serialize};

use super::hello::texts;
use super::malformed::Malformed;
use super::opening::{open, with_body};
use super::{kind, pack};
use crate::wire::codec::Encoder;
use crate::wire::frame::MORE;
use crate::wire::message::Frames;

/// Writes ADMIN with a header as it is, such as an [`AdminHeader`](super::AdminHeader) or a
/// [`KeyHeader`], and a body if there is one.
pub fn encode_admin(id: u64, header: &[u8], body: &Frames<'_>, out: &mut Encoder) {
    open(kind::ADMIN, id, MORE, out);
    with_body(header, &[], body, out);
}

/// ADMIN with a verb of keys, or `acl.test`: what it needs. Other readers know `verb` alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyHeader<'a> {
    /// What is to be done, see [`Verb`](super::Verb).
    pub verb: &'a str,
    /// Whose: a fingerprint, a key in Z85, or a name.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub key: Option<&'a str>,
    /// Of `key.approve` and `key.deny`: the name that it is to have.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub name: Option<&'a str>,
    /// Of `key.approve`: its roles.
    #[serde(default, borrow, skip_serializing_if = "Vec::is_empty", deserialize_with = "texts")]
    pub roles: Vec<&'a str>,
    /// Of `key.approve`: services that it may offer; beside the role `worker` these and no others.
    #[serde(default, borrow, skip_serializing_if = "Vec::is_empty", deserialize_with = "texts")]
    pub services: Vec<&'a str>,
    /// Of `key.approve`: what it may do besides, as `serve billing.*`.
    #[serde(default, borrow, skip_serializing_if = "Vec::is_empty", deserialize_with = "texts")]
    pub allow: Vec<&'a str>,
    /// Of `acl.test`: what is to be done, and with what, as `call billing.invoice`.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub rule: Option<&'a str>,
    /// `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
}

impl<'a> KeyHeader<'a> {
    /// A verb that needs nothing, or nothing yet.
    #[must_use]
    pub fn new(verb: super::Verb) -> Self {
        Self { verb: verb.as_str(), ..Self::default() }
    }

    /// Reads the header from the octets of its frame.
    ///
    /// # Errors
    /// The header is no map with text keys, lacks the verb, or has a known key with a wrong value.
    pub fn decode(octets: &'a [u8]) -> Result<Self, Malformed> {
        pack::read(octets)
    }
}

/// The answer: what was asked is there, the rest is not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyReport<'a> {
    /// Of `key.pending`: a page of keys that knocked in vain, the last one first.
    #[serde(
        default,
        borrow,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "pack::maps"
    )]
    pub pending: Option<Vec<StrangerReport<'a>>>,
    /// Of what changes something: what is different now.
    #[serde(
        default,
        borrow,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "pack::maps"
    )]
    pub changes: Option<Vec<ChangeReport<'a>>>,
    /// So many changes more there are than are told. Absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub more: Option<u64>,
    /// Of `admin.reload`: the broker has another key. Absent: it has not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broker_key: Option<bool>,
    /// Of what changes something: connections that were closed, as they may not be here any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<u64>,
    /// Of `acl.test`: what is decided, for each key that is meant.
    #[serde(
        default,
        borrow,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "pack::maps"
    )]
    pub decisions: Option<Vec<DecisionReport<'a>>>,
    /// `after` of the next page. Absent: this was the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

impl<'a> KeyReport<'a> {
    /// Reads the header from the octets of its frame.
    ///
    /// # Errors
    /// The header is no map with text keys, or has a known key with a wrong value.
    pub fn decode(octets: &'a [u8]) -> Result<Self, Malformed> {
        pack::read(octets)
    }
}

/// A key that knocked in vain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StrangerReport<'a> {
    /// Its fingerprint.
    pub fingerprint: &'a str,
    /// The key in Z85.
    pub key: &'a str,
    /// Where it last came from.
    pub address: &'a str,
    /// Time since it first came, ms.
    pub first: u64,
    /// Time since it last came, ms.
    pub last: u64,
    /// How often it came.
    pub attempts: u64,
}

/// Something that is different now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeReport<'a> {
    /// `added`, `changed` or `removed`.
    pub change: &'a str,
    /// What it is about: `key`, `denied`, `user` or `role`.
    pub what: &'a str,
    /// Its name; empty if it has none.
    pub name: &'a str,
    /// Of a key.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<&'a str>,
}

/// Whether somebody may do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionReport<'a> {
    /// Whether it may.
    pub allowed: bool,
    /// The key; absent for a user.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<&'a str>,
    /// Its name.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub name: Option<&'a str>,
    /// Why, for people: `role billing`, `built in`, `no rule allows it`.
    pub because: &'a str,
    /// The line of the file that decides. Absent: none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// What stands there: `allow call billing.*`.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub rule: Option<&'a str>,
}

#[cfg(test)]
mod tests {
    use super::super::{AdminHeader, Packed, Verb};
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let says = KeyHeader {
            key: Some("x"),
            name: Some("anna"),
            roles: vec!["client", "worker"],
            services: vec!["x"],
            allow: vec!["call x"],
            rule: Some("call y"),
            after: Some(7),
            ..KeyHeader::new(Verb::KeyApprove)
        };
        let packed = Packed::new(&says);
        assert_eq!(KeyHeader::decode(packed.octets()), Ok(says));
        // Who looks only for the verb finds it.
        assert_eq!(AdminHeader::decode(packed.octets()).unwrap().verb, "key.approve");
        let short = Packed::new(&KeyHeader::new(Verb::KeyPending));
        assert_eq!(short.octets(), b"\x81\xa4verb\xabkey.pending");

        let stranger = StrangerReport {
            fingerprint: "f",
            key: "k",
            address: "127.0.0.1",
            first: 2,
            last: 1,
            attempts: 3,
        };
        let change =
            ChangeReport { change: "added", what: "key", name: "anna", fingerprint: Some("f") };
        let decision = DecisionReport {
            allowed: true,
            fingerprint: Some("f"),
            name: None,
            because: "role x",
            line: Some(3),
            rule: Some("allow call y"),
        };
        let report = KeyReport {
            pending: Some(vec![stranger]),
            changes: Some(vec![change]),
            more: Some(1),
            broker_key: Some(true),
            closed: Some(2),
            decisions: Some(vec![decision]),
            next: Some(3),
        };
        assert_eq!(KeyReport::decode(Packed::new(&report).octets()), Ok(report));
        assert_eq!(Packed::new(&KeyReport::default()).octets(), b"\x80");
    }

    #[test]
    fn what_is_malformed_is_refused() {
        for (octets, expected) in [
            (&b""[..], Malformed::MissingKey { key: "verb" }),
            (b"\x82\xa4verb\xa1x\xa5roles\xa1y", Malformed::BadValue { key: "roles" }),
            (b"\x82\xa4verb\xa1x\xa5allow\x91\x01", Malformed::BadValue { key: "allow" }),
            (b"\x82\xa4verb\xa1x\xa5roles\xdd\xff\xff\xff\xff", Malformed::BadHeader),
        ] {
            assert_eq!(KeyHeader::decode(octets), Err(expected), "{octets:?}");
        }
        let strange = b"\x81\xa7pending\x91\x92\x01\x02";
        assert_eq!(KeyReport::decode(strange), Err(Malformed::BadValue { key: "pending" }));
    }
}
