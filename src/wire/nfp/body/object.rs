//! An object of JSON into which goes what somebody else has written: as it is, octet by octet, and
//! not as a tree, which takes a hundred times the memory of the octets.

use std::borrow::Cow;

use serde::Serialize;

use super::{texts, written};

/// What stands for nothing.
pub(super) const NULL: &[u8] = b"null";

/// An object that gets its members one by one.
pub(super) struct Object(Vec<u8>);

impl Object {
    /// One that has no members yet.
    pub(super) fn empty() -> Self {
        Self(b"{}".to_vec())
    }

    /// One that has these members.
    pub(super) fn of(members: &impl Serialize) -> Self {
        Self(written(members))
    }

    /// One that is written already.
    pub(super) fn new(octets: Vec<u8>) -> Self {
        Self(octets)
    }

    /// Adds a member at the end; `value` is whole JSON.
    pub(super) fn with(mut self, key: &str, value: &[u8]) -> Self {
        let (object, key) = (&mut self.0, written(&key));
        let end = object.trim_ascii_end().len();
        object.truncate(end.saturating_sub(1));
        object.reserve_exact(key.len() + value.len() + 3);
        // No value ends like that.
        if !object.trim_ascii_end().ends_with(b"{") {
            object.push(b',');
        }
        object.extend_from_slice(&key);
        object.push(b':');
        object.extend_from_slice(value);
        object.push(b'}');
        self
    }

    pub(super) fn into_octets(self) -> Vec<u8> {
        self.0
    }
}

/// A frame as JSON: as it is if it is that, or else as a text. `None`: it is neither.
pub(super) fn value(frame: &[u8]) -> Option<Cow<'_, [u8]>> {
    let text = std::str::from_utf8(frame).ok()?;
    Some(if texts::is_json(text) { frame.into() } else { written(&text).into() })
}

/// Values as one: one as it is, several as a list, none as null.
pub(super) fn one_or_all<'a>(mut values: Vec<Cow<'a, [u8]>>) -> Cow<'a, [u8]> {
    if values.len() > 1 {
        return [b"[", &values.join(&b',')[..], b"]"].concat().into();
    }
    values.pop().unwrap_or_else(|| NULL.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_comes_last_and_what_was_there_stays_octet_by_octet() {
        let with = |object: &str| {
            let octets = Object::new(object.into()).with("k\"", b"[1.50]").into_octets();
            String::from_utf8(octets).unwrap()
        };
        assert_eq!(with("{}"), r#"{"k\"":[1.50]}"#);
        assert_eq!(with("{ \n}\r\n"), "{ \n\"k\\\"\":[1.50]}");
        assert_eq!(with(r#"{"b":1e2, "a":{} } "#), r#"{"b":1e2, "a":{} ,"k\"":[1.50]}"#);
        assert_eq!(with(r#"{"a":"{"}"#), r#"{"a":"{","k\"":[1.50]}"#);
    }

    #[test]
    fn a_frame_is_json_as_it_is_a_text_or_neither() {
        let said = |frames: &[&'static [u8]]| {
            let values: Vec<_> = frames.iter().map(|frame| value(frame).unwrap()).collect();
            String::from_utf8(one_or_all(values).into_owned()).unwrap()
        };
        assert_eq!(said(&[]), "null");
        assert_eq!(said(&[br#" {"b":1.0,"a":1} "#]), r#" {"b":1.0,"a":1} "#);
        assert_eq!(said(&[b"a\"b", b"", b"7"]), r#"["a\"b","",7]"#);
        // What a reader of NorFab's would not take is a text.
        assert_eq!(said(&[br#""\ud800""#]), r#""\"\\ud800\"""#);
        let deep = "[".repeat(128) + &"]".repeat(128);
        assert_eq!(value(deep.as_bytes()).unwrap(), written(&deep));
        assert_eq!(value(b"\xff"), None);
    }
}
