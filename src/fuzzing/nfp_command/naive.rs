//! The tables of the sheet, read off a list of frames; and bodies as trees of JSON.

use serde_json::{Value, json};

/// What is said to a broker.
pub(super) fn meaning(frames: &[Vec<u8>]) -> Option<String> {
    let frames: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
    match &frames[..] {
        [b"", b"NFPC01", rest @ ..] => Some(of_client(rest)),
        [b"", b"NFPW01", rest @ ..] => Some(of_worker(rest)),
        _ => None,
    }
}

fn verb(command: &[u8]) -> Option<&'static str> {
    Some(match command {
        b"0x04" => "Post",
        b"0x06" => "Get",
        b"0x07" => "Delete",
        b"0x10" => "Put",
        b"0x11" => "Mmi",
        _ => return None,
    })
}

fn kind(command: &[u8]) -> Option<&'static str> {
    Some(match command {
        b"0x05" => "Response",
        b"0x08" => "Event",
        b"0x09" => "Stream",
        _ => return None,
    })
}

fn is_name(octets: &[u8]) -> bool {
    (1..=255).contains(&octets.len()) && String::from_utf8(octets.to_vec()).is_ok()
}

fn of_client(frames: &[&[u8]]) -> String {
    match frames {
        [b"0x00", ..] => "open".into(),
        [b"0x03", ..] => "client leaves".into(),
        [command, service, target, uuid, body]
            if verb(command).is_some() && is_name(service) && is_name(uuid) =>
        {
            let verb = verb(command).unwrap_or_default();
            format!("{verb} {service:?} {target:?} {uuid:?} {:?}", [body])
        }
        _ => {
            let frame = |at: usize| frames.get(at).copied().unwrap_or_default();
            let uuid = if frame(3).len() > 255 { b"" } else { frame(3) };
            format!("refused {:?} {:?} {:?} {uuid:?}", frame(0), frame(1), frame(2))
        }
    }
}

fn of_worker(frames: &[&[u8]]) -> String {
    let first = |frames: &[&[u8]]| frames.first().map_or(vec![], |frame| frame.to_vec());
    match frames {
        [b"0x01", service, ..] if is_name(service) => format!("ready {service:?}"),
        [b"0x01", ..] => "bad ready".into(),
        [b"0x02", rest @ ..] => format!("keepalive {:?}", first(rest)),
        [b"0x03", rest @ ..] => format!("worker leaves {:?}", first(rest)),
        [command, client, _, uuid, after @ ..]
            if kind(command).is_some()
                && (1..=255).contains(&client.len())
                && uuid.len() <= 255 =>
        {
            let kind = kind(command).unwrap_or_default();
            let (status, body) = (first(after), after.get(1..).unwrap_or_default());
            let rest = [&[*uuid], after].concat();
            format!("{kind} {client:?} {uuid:?} {status:?} {rest:?} {body:?}")
        }
        _ => "invalid".into(),
    }
}

/// What is said to a worker.
pub(super) fn to_worker(frames: &[Vec<u8>]) -> Option<String> {
    let frames: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
    let (era, rest) = match &frames[..] {
        [b"", b"NFPB01", rest @ ..] => ("Current", rest),
        [b"", b"NFPW01", rest @ ..] => ("Old", rest),
        _ => return None,
    };
    match rest {
        [b"0x02"] => Some("keepalive []".into()),
        [b"0x02", service, ..] => Some(format!("keepalive {service:?}")),
        [b"0x03"] => Some(format!("{era} disconnect []")),
        [b"0x03", service, ..] => Some(format!("{era} disconnect {service:?}")),
        [command, client, _, uuid, body @ ..] if !body.is_empty() => {
            verb(command).map(|verb| format!("{era} {verb} {client:?} {uuid:?} {body:?}"))
        }
        _ => None,
    }
}

/// What is said to a client.
pub(super) fn to_client(frames: &[Vec<u8>]) -> Option<String> {
    let frames: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
    let (era, rest) = match &frames[..] {
        [b"", b"NFPB01", rest @ ..] => ("Current", rest),
        [b"", b"NFPC01", rest @ ..] => ("Old", rest),
        _ => return None,
    };
    match rest {
        [b"0x05", service, text] => Some(format!("{era} plain {service:?} {text:?}")),
        [command, service, uuid, status, body @ ..] if !body.is_empty() => {
            let kind = if *command == b"0x11" { Some("Mmi") } else { kind(command) };
            kind.map(|kind| format!("{era} {kind} {service:?} {uuid:?} {status:?} {body:?}"))
        }
        _ => None,
    }
}

/// Which workers are meant, as text.
pub(super) fn target(frame: &[u8]) -> String {
    let Ok(text) = String::from_utf8(frame.to_vec()) else { return "invalid".into() };
    let start = text.trim_start_matches([' ', '\t', '\n', '\r', '\x0C']);
    match &*text {
        "all" => "all".into(),
        "any" => "any".into(),
        _ if start.starts_with('[') => match serde_json::from_str(&text) {
            Ok(Value::Array(array)) if !array.is_empty() => {
                let mut names: Vec<&str> = Vec::new();
                for name in &array {
                    match name.as_str() {
                        Some(name) if names.contains(&name) => {}
                        Some(name) => names.push(name),
                        None => return "invalid".into(),
                    }
                }
                format!("names {names:?}")
            }
            _ => "invalid".into(),
        },
        _ if start.is_empty() || start.starts_with('{') => "invalid".into(),
        _ if text.contains(',') || text.len() > 255 => "invalid".into(),
        _ => format!("name {text:?}"),
    }
}

fn object(frame: &[u8]) -> Option<serde_json::Map<String, Value>> {
    match serde_json::from_slice(frame) {
        Ok(Value::Object(object)) => Some(object),
        _ => None,
    }
}

/// Task and timeout.
pub(super) fn job(frame: &[u8]) -> Option<(String, Option<u64>)> {
    let object = object(frame)?;
    let task = object.get("task")?.as_str()?;
    Some((task.into(), object.get("timeout").and_then(Value::as_u64)))
}

/// What an event is about, and its message, status, severity and task.
pub(super) fn event(frame: &[u8]) -> (String, [String; 4]) {
    let object = object(frame).unwrap_or_default();
    let text = |key| object.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let event_type = match &*text("event_type") {
        "progress" => "Progress",
        "result_ready" => "ResultReady",
        "input_request" => "InputRequest",
        "input_response" => "InputResponse",
        _ => "Other",
    };
    (event_type.into(), [text("message"), text("status"), text("severity"), text("task")])
}

/// What an event asks: the name of the question, and the question.
pub(super) fn asked(event: &Value) -> Option<(String, String)> {
    let asked = event.get("extras")?.get("input_request")?;
    let text = |value: Option<&Value>| value.unwrap_or(&Value::Null).as_str().map(str::to_owned);
    let id = text(asked.get("id"))?;
    let question =
        if asked.get("question").is_none() { String::new() } else { text(asked.get("question"))? };
    (id.len() <= 255).then_some((id, question))
}

/// Which question is answered, and the answer by another name.
pub(super) fn answered(said: &Value) -> Option<(String, Value)> {
    let object = said.as_object()?;
    let id = object.get("input_id")?.as_str().filter(|id| id.len() <= 255)?;
    let cancel = object.get("cancel").map_or(Some(false), Value::as_bool)?;
    let metadata = match object.get("metadata") {
        None | Some(Value::Null) => json!({}),
        Some(Value::Object(metadata)) => metadata.clone().into(),
        Some(_) => return None,
    };
    let value = object.get("value").cloned().unwrap_or_default();
    let other =
        json!({ "input_id": "own", "value": value, "cancel": cancel, "metadata": metadata });
    Some((id.to_owned(), other))
}
