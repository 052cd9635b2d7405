//! What is asked of a NorFab client by a worker for which the broker stands, and its answers.

use serde_json::{Map, Value, json};

use super::Event;
use super::object::Object;
use super::talk::{Asked, Happened, one_or_all};
use super::written;
use crate::wire::message::Frames;

impl Happened<'_> {
    /// The body of an EVENT of the type `input_request`: the message is the question, `input` the
    /// name that its answer has to have. If the worker is one of NorFab, `body` is its own event: what
    /// stands there beside the name goes on. Else the frames stand under `metadata` as `body`.
    #[must_use]
    pub fn ask(&self, input: &str, body: Frames<'_>) -> Vec<u8> {
        let mut event = self.event("input_request", "waiting_client_input");
        let asked = if let Some(mut asked) = own(body) {
            asked.insert("id".into(), input.into());
            if let Some(timeout) = asked.get("timeout").filter(|timeout| timeout.is_u64()) {
                event.insert("timeout".into(), timeout.clone());
            }
            Object::of(&asked)
        } else {
            let mut metadata = Object::empty();
            if !body.is_empty() {
                metadata = metadata.with("body", &one_or_all(body));
            }
            let asked = json!({ "id": input, "question": self.message, "default": false });
            Object::of(&asked).with("metadata", &metadata.into_octets())
        };
        let extras = Object::empty().with("input_request", &asked.into_octets());
        Object::of(&event).with("extras", &extras.into_octets()).into_octets()
    }

    /// The body of an EVENT of the type `input_response`, by which the client knows that it is
    /// waited for no more.
    #[must_use]
    pub fn answered(&self, answer: &Answered) -> Vec<u8> {
        let status = if answer.cancel { "cancelled" } else { "received" };
        let mut event = self.event("input_response", status);
        let response = json!({ "input_id": answer.input, "metadata": answer.metadata });
        event.insert("extras".into(), json!({ "input_response": response }));
        written(&event)
    }
}

/// The question in an event of a NorFab worker.
fn own(mut body: Frames<'_>) -> Option<Map<String, Value>> {
    let first = body.take_first()?;
    Asked::read(first)?;
    let mut event: Value = serde_json::from_slice(first).ok()?;
    match event.pointer_mut("/extras/input_request")?.take() {
        Value::Object(asked) => Some(asked),
        _ => None,
    }
}

/// The body of a PUT that answers a question.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    /// The name of the question.
    pub input: String,
    value: Value,
    /// There is no answer.
    pub cancel: bool,
    metadata: Map<String, Value>,
}

impl Answered {
    /// Longest body that is looked into, octets.
    pub const LEN_MAX: usize = Event::LEN_MAX;

    /// Reads the body of a PUT. `None`: it answers nothing, or is too long.
    #[must_use]
    pub fn read(octets: &[u8]) -> Option<Self> {
        let octets = Some(octets).filter(|octets| octets.len() <= Self::LEN_MAX)?;
        let mut body: Map<String, Value> = serde_json::from_slice(octets).ok()?;
        let Value::String(input) = body.remove("input_id")? else { return None };
        let cancel = body.get("cancel").map_or(Some(false), Value::as_bool)?;
        let metadata = match body.remove("metadata") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(metadata)) => metadata,
            Some(_) => return None,
        };
        let value = body.remove("value").unwrap_or_default();
        Some(Self { input, value, cancel, metadata }).filter(|it| it.input.len() <= Asked::ID_MAX)
    }

    /// The answer for a worker of another dialect: a text as it is, all else as JSON. `None`: there
    /// is none.
    #[must_use]
    pub fn octets(&self) -> Option<Vec<u8>> {
        match &self.value {
            _ if self.cancel => None,
            Value::String(text) => Some(text.clone().into_bytes()),
            value => Some(written(value)),
        }
    }

    /// The answer for a NorFab worker, which has a name of its own for the question.
    #[must_use]
    pub fn write(&self, input: &str) -> Vec<u8> {
        let Self { value, cancel, metadata, .. } = self;
        written(&json!({
            "input_id": input, "value": value, "cancel": cancel, "metadata": metadata,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::message::Message;

    const HAPPENED: Happened<'static> = Happened {
        worker: "w",
        service: b"svc",
        uuid: b"u",
        task: "add",
        message: "go on?",
        severity: "",
        status: "",
        resource: None,
        progress: None,
    };

    fn ask(body: &[&'static str]) -> Value {
        let body = Message::new(body.iter().copied());
        serde_json::from_slice(&HAPPENED.ask("i-7", body.frames())).unwrap()
    }

    #[test]
    fn a_question_has_every_key_that_norfab_looks_for() {
        let wanted = json!({
            "worker": "w", "service": "svc", "uuid": "u", "event_type": "input_request",
            "message": "go on?", "task": "add", "status": "waiting_client_input", "resource": [],
            "severity": "INFO", "timestamp": "",
            "extras": {"input_request": {
                "id": "i-7", "question": "go on?", "default": false, "metadata": {"body": [1, "a"]},
            }},
        });
        assert_eq!(ask(&["1", "a"]), wanted);
        let odd = r#"{"b": 1.0e2, "a":[{"":0},{"":0}], "a":"\u0041"}"#;
        let said = HAPPENED.ask("i-7", Message::new([odd]).frames());
        assert!(String::from_utf8_lossy(&said).contains(odd), "octet by octet");
        let none = ask(&[]);
        assert_eq!(none.pointer("/extras/input_request/metadata"), Some(&json!({})));
    }

    #[test]
    fn a_question_of_a_norfab_worker_keeps_what_it_has_beside_its_name() {
        let own = r#"{"event_type":"input_request","extras":{"input_request":
            {"id":"own","question":"go on?","default":1,"timeout":20,"metadata":{"a":[]}}}}"#;
        let asked = ask(&[own]);
        let wanted = json!({
            "id": "i-7", "question": "go on?", "default": 1, "timeout": 20, "metadata": {"a": []},
        });
        assert_eq!(asked.pointer("/extras/input_request"), Some(&wanted));
        assert_eq!(asked["timeout"], 20);
    }

    #[test]
    fn an_answer_is_read_as_norfabs_clients_write_it() {
        let read = |text: &str| Answered::read(text.as_bytes());
        let said =
            r#"{"input_id":"i-7","value":{"yes":[1]},"cancel":false,"metadata":{"by":"me"}}"#;
        let answer = read(said).unwrap();
        assert_eq!(answer.octets().unwrap(), br#"{"yes":[1]}"#);
        let there: Value = serde_json::from_slice(&answer.write("own")).unwrap();
        let wanted = json!({
            "input_id": "own", "value": {"yes": [1]}, "cancel": false, "metadata": {"by": "me"},
        });
        assert_eq!(there, wanted);
        let response: Value = serde_json::from_slice(&HAPPENED.answered(&answer)).unwrap();
        assert_eq!(
            (&response["event_type"], &response["status"]),
            (&json!("input_response"), &json!("received"))
        );
        let wanted = json!({"input_id": "i-7", "metadata": {"by": "me"}});
        assert_eq!(response.pointer("/extras/input_response"), Some(&wanted));
        let text = read(r#"{"input_id":"i","value":"1"}"#).unwrap();
        assert_eq!(text.octets().unwrap(), b"1");
        let none = read(r#"{"input_id":"i","value":1,"cancel":true}"#).unwrap();
        assert_eq!(none.octets(), None);
        let long = format!(r#"{{"input_id":"i","value":"{}"}}"#, "x".repeat(Answered::LEN_MAX));
        for none in ["{}", r#"["i-7"]"#, r#"{"offset":7}"#, r#"{"input_id":7}"#, "[]", "", &long] {
            assert_eq!(read(none), None);
        }
    }
}
