//! Changes to a label that leave everything else as it was written.

use super::label::{Label, Value};
use super::malformed::Malformed;

/// The label with that attribute: each value it has is replaced in its place, or the attribute is
/// added behind the others. Name and value are JSON, the name without its quotes.
///
/// ```
/// use majordomo::wire::zio::{Label, set};
///
/// let label = Label::parse(r#"{"run": 1.50, "flow": "BOT"}"#)?;
/// assert_eq!(set(label, "flow", r#""EOT""#)?, r#"{"run": 1.50, "flow": "EOT"}"#);
/// assert_eq!(set(label, "cid", "7")?, r#"{"run": 1.50, "flow": "BOT", "cid": 7}"#);
/// # Ok::<(), majordomo::wire::zio::Malformed>(())
/// ```
/// # Errors
/// The name needs escapes, or the value is no JSON.
pub fn set(label: Label<'_>, name: &str, value: &str) -> Result<String, Malformed> {
    if name.contains(|c: char| c < ' ' || c == '"' || c == '\\') {
        return Err(Malformed::BadJson { at: 0 });
    }
    Value::parse(value)?;
    let text = label.as_str();
    let mut edited = String::with_capacity(text.len() + name.len() + value.len() + 6);
    let (mut from, mut last, mut found) = (0, None, false);
    for member in label.members() {
        last = Some(member.end);
        if member.is(name) {
            found = true;
            edited.push_str(between(text, from, member.end - member.value.as_str().len()));
            edited.push_str(value);
            from = member.end;
        }
    }
    if !found {
        from = last.or_else(|| text.find('{').map(|at| at + 1)).unwrap_or_default();
        edited.push_str(between(text, 0, from));
        edited.push_str(if last.is_some() { ", \"" } else { "\"" });
        edited.push_str(name);
        edited.push_str("\": ");
        edited.push_str(value);
    }
    edited.push_str(between(text, from, text.len()));
    Ok(edited)
}

/// The label without that attribute, and without the comma that went with it.
#[must_use]
pub fn remove(label: Label<'_>, name: &str) -> String {
    let text = label.as_str();
    let mut edited = String::with_capacity(text.len());
    let (mut last, mut kept) = (None, 0);
    for member in label.members() {
        let from = last.replace(member.end);
        if from.is_none() {
            edited.push_str(between(text, 0, member.start));
        }
        if member.is(name) {
            continue;
        }
        // What stands before the first one that stays is there already.
        let from = from.filter(|_| kept > 0).unwrap_or(member.start);
        edited.push_str(between(text, from, member.end));
        kept += 1;
    }
    edited.push_str(between(text, last.unwrap_or_default(), text.len()));
    edited
}

fn between(text: &str, from: usize, to: usize) -> &str {
    text.get(from..to).unwrap_or_default()
}
