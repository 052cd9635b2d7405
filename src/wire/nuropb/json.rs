//! JSON as Python's `json.dumps` writes it: `, ` and `: `, and nothing beyond ASCII.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::{CharEscape, Formatter};

/// What `json.dumps` would make of it, octet by octet, the order of keys included.
///
/// # Errors
///
/// A value that JSON does not have: a map whose keys are no text.
pub fn to_python<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, serde_json::Error> {
    let mut octets = Vec::with_capacity(256);
    value.serialize(&mut Serializer::with_formatter(&mut octets, Python))?;
    Ok(octets)
}

struct Python;

impl Formatter for Python {
    fn begin_array_value<W: Write + ?Sized>(&mut self, to: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { to.write_all(b", ") }
    }

    fn begin_object_key<W: Write + ?Sized>(&mut self, to: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { to.write_all(b", ") }
    }

    fn begin_object_value<W: Write + ?Sized>(&mut self, to: &mut W) -> io::Result<()> {
        to.write_all(b": ")
    }

    fn write_string_fragment<W: Write + ?Sized>(
        &mut self,
        to: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(|c: char| !c.is_ascii() || c == '\x7f') {
            let (plain, from) = rest.split_at(at);
            to.write_all(plain.as_bytes())?;
            let Some(c) = from.chars().next() else { return Ok(()) };
            if c == '\x7f' {
                to.write_all(b"\x7f")?;
            } else {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    write!(to, "\\u{unit:04x}")?;
                }
            }
            rest = from.get(c.len_utf8()..).unwrap_or_default();
        }
        to.write_all(rest.as_bytes())
    }

    fn write_char_escape<W: Write + ?Sized>(
        &mut self,
        to: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        match escape {
            CharEscape::Quote => to.write_all(b"\\\""),
            CharEscape::ReverseSolidus => to.write_all(b"\\\\"),
            CharEscape::Solidus => to.write_all(b"/"),
            CharEscape::Backspace => to.write_all(b"\\b"),
            CharEscape::FormFeed => to.write_all(b"\\f"),
            CharEscape::LineFeed => to.write_all(b"\\n"),
            CharEscape::CarriageReturn => to.write_all(b"\\r"),
            CharEscape::Tab => to.write_all(b"\\t"),
            CharEscape::AsciiControl(octet) => write!(to, "\\u{octet:04x}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Each right side is what Python 3.11 has written.
    #[test]
    fn it_is_what_python_writes() {
        let cases = [
            (json!({}), r#"{}"#),
            (json!([]), r#"[]"#),
            (
                json!({"a": 1, "b": [1, 2.5, true, null, []]}),
                r#"{"a": 1, "b": [1, 2.5, true, null, []]}"#,
            ),
            (json!("ü\u{1F600}/\u{7f}"), "\"\\u00fc\\ud83d\\ude00/\u{7f}\""),
            (json!("\"\\\n\r\t\u{8}\u{c}\u{1}"), r#""\"\\\n\r\t\b\f\u0001""#),
        ];
        for (value, expected) in cases {
            assert_eq!(String::from_utf8(to_python(&value).unwrap()).unwrap(), expected);
        }
    }
}
