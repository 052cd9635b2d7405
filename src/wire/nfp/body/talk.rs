//! What is said in the middle of a job, where one of the two is no NorFab peer: events, what a
//! worker asks its client, and what it is told.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::object::{NULL, Object, value};
use super::{Event, object};
use crate::wire::message::Frames;

/// Something that happens while a worker of another dialect works on a job. What is empty gets
/// what NorFab says most.
#[derive(Debug, Clone, Copy, Default)]
pub struct Happened<'a> {
    /// The name of the worker.
    pub worker: &'a str,
    /// The name of the service.
    pub service: &'a [u8],
    /// The name of the job.
    pub uuid: &'a [u8],
    /// What is being done.
    pub task: &'a str,
    /// For people.
    pub message: &'a str,
    /// In any case of its letters.
    pub severity: &'a str,
    /// How the job stands.
    pub status: &'a str,
    /// What it is about.
    pub resource: Option<&'a str>,
    /// How much is done, percent.
    pub progress: Option<u64>,
}

impl Happened<'_> {
    const SEVERITIES: [&'static str; 5] = ["INFO", "DEBUG", "WARNING", "CRITICAL", "ERROR"];
    const STATUSES: [&'static str; 11] = [
        "running",
        "pending",
        "scheduled",
        "started",
        "completed",
        "failed",
        "waiting_client_input",
        "received",
        "cancelled",
        "timeout",
        "unknown",
    ];

    /// The body of an EVENT with every key that NorFab's client looks for. What NorFab has no word
    /// for stands under `extras`: `progress`, and `body`, each frame of which is JSON, which stays
    /// octet by octet, or a text.
    #[must_use]
    pub fn write(&self, body: Frames<'_>) -> Vec<u8> {
        let mut extras = Object::empty();
        if let Some(progress) = self.progress {
            extras = extras.with("progress", progress.to_string().as_bytes());
        }
        if !body.is_empty() {
            extras = extras.with("body", &one_or_all(body));
        }
        let event = Object::of(&self.event("progress", known(self.status, Self::STATUSES)));
        event.with("extras", &extras.into_octets()).into_octets()
    }

    /// The keys that every event has.
    pub(super) fn event(&self, event_type: &str, status: &str) -> Map<String, Value> {
        let severity = self.severity.to_uppercase();
        let pairs = [
            ("worker", json!(self.worker)),
            ("service", String::from_utf8_lossy(self.service).into()),
            ("uuid", String::from_utf8_lossy(self.uuid).into()),
            ("event_type", json!(event_type)),
            ("message", json!(self.message)),
            ("task", json!(self.task)),
            ("status", json!(status)),
            ("resource", self.resource.into_iter().collect::<Vec<_>>().into()),
            ("severity", json!(known(&severity, Self::SEVERITIES))),
            // The broker's decisions know no time of day.
            ("timestamp", json!("")),
        ];
        pairs.map(|(key, value)| (key.to_owned(), value)).into_iter().collect()
    }
}

/// A word that NorFab knows, or else the first of those.
fn known<const COUNT: usize>(word: &str, words: [&'static str; COUNT]) -> &'static str {
    let first = words.first().copied().unwrap_or_default();
    words.into_iter().find(|known| *known == word).unwrap_or(first)
}

/// What a NorFab worker asks its client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Its name, which the answer has to have.
    pub id: String,
    /// For people.
    pub question: String,
}

impl Asked {
    /// Longest name of a question, octets.
    pub const ID_MAX: usize = 255;

    /// Reads the body of an EVENT of the type `input_request`. `None`: nothing there that could be
    /// answered, or it is too long, see [`Event::LEN_MAX`].
    #[must_use]
    pub fn read(octets: &[u8]) -> Option<Self> {
        let octets = Some(octets).filter(|octets| octets.len() <= Event::LEN_MAX)?;
        let event: Value = serde_json::from_slice(octets).ok()?;
        let asked = event.get("extras")?.get("input_request")?;
        let id = asked.get("id")?.as_str().filter(|id| id.len() <= Self::ID_MAX)?;
        let question = asked.get("question").map_or(Some(""), Value::as_str)?;
        Some(Self { id: id.to_owned(), question: question.to_owned() })
    }
}

/// The body of a PUT that answers what a worker has asked; `cancel`: there is no answer.
#[must_use]
pub fn told(input: &str, body: Frames<'_>, cancel: bool) -> Vec<u8> {
    let value = if cancel { NULL.into() } else { one_or_all(body) };
    let told = Object::of(&json!({ "input_id": input, "cancel": cancel, "metadata": {} }));
    told.with("value", &value).into_octets()
}

/// One frame as it is, JSON or text; several as a list; what is neither as null.
pub(super) fn one_or_all(body: Frames<'_>) -> Cow<'_, [u8]> {
    object::one_or_all(body.map(|frame| value(frame).unwrap_or_else(|| NULL.into())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::message::Message;

    #[test]
    fn a_question_has_a_name_or_is_none() {
        let body = br#"{"event_type":"input_request","extras":{"input_request":
            {"id":"i1","question":"go on?","timeout":20}}}"#;
        let asked = Asked { id: "i1".into(), question: "go on?".into() };
        assert_eq!(Asked::read(body), Some(asked));
        let long = format!(r#"{{"extras":{{"input_request":{{"id":"{}"}}}}}}"#, "x".repeat(256));
        let padded = |len: usize| [&body[..], &vec![b' '; len - body.len()]].concat();
        assert!(Asked::read(&padded(Event::LEN_MAX)).is_some());
        let padded = padded(Event::LEN_MAX + 1);
        let id = &br#"{"extras":{"input_request":{"id":1}}}"#[..];
        for none in [b"{}", id, long.as_bytes(), &padded] {
            assert_eq!(Asked::read(none), None);
        }
    }

    #[test]
    fn an_answer_is_json_text_a_list_or_none() {
        let of = |frames: &[&'static str], cancel| {
            let body = Message::new(frames.iter().copied());
            let said: Value = serde_json::from_slice(&told("i", body.frames(), cancel)).unwrap();
            assert_eq!((&said["input_id"], &said["cancel"]), (&json!("i"), &json!(cancel)));
            said["value"].clone()
        };
        assert_eq!(of(&[r#"{"yes":[1]}"#], false), json!({"yes": [1]}));
        assert_eq!(of(&["go on"], false), json!("go on"));
        assert_eq!(of(&["1", "two"], false), json!([1, "two"]));
        assert_eq!(of(&["yes"], true), Value::Null);
    }

    #[test]
    fn what_is_json_goes_on_octet_by_octet() {
        let odd = r#"{"b": 1.0e2, "a":[{"":0},{"":0}], "a":"\u0041"}"#;
        let body = Message::new([odd]);
        let said = [told("i", body.frames(), false), Happened::default().write(body.frames())];
        assert!(said.iter().all(|said| String::from_utf8_lossy(said).contains(odd)));
    }

    #[test]
    fn an_event_has_every_key_and_words_that_norfab_knows() {
        let happened = Happened {
            worker: "w",
            service: b"svc",
            uuid: b"u",
            task: "add",
            message: "half",
            severity: "warning",
            status: "sleeping",
            resource: Some("r1"),
            progress: Some(50),
        };
        let said = happened.write(Message::new([r#"{"a":1}"#]).frames());
        let wanted = json!({
            "worker": "w", "service": "svc", "uuid": "u", "event_type": "progress",
            "message": "half", "task": "add", "status": "running", "resource": ["r1"],
            "severity": "WARNING", "timestamp": "",
            "extras": {"progress": 50, "body": {"a": 1}},
        });
        assert_eq!(serde_json::from_slice::<Value>(&said).unwrap(), wanted);
    }
}
