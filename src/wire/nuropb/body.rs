//! The bodies of the four types.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::json::to_python;
use super::{Bad, Kind};

/// Classes of errors that NuroPb has names for.
pub mod class {
    /// Something went wrong in a method.
    pub const EXCEPTION: &str = "NuropbException";
    /// No answer in time. Never on the wire.
    pub const TIMEOUT: &str = "NuropbTimeoutError";
    /// The message cannot be read.
    pub const MESSAGE: &str = "NuropbMessageError";
    /// There is no such method.
    pub const HANDLING: &str = "NuropbHandlingError";
    /// The arguments are wrong.
    pub const VALIDATION: &str = "NuropbValidationError";
    /// Nobody knows who the caller is.
    pub const AUTHENTICATION: &str = "NuropbAuthenticationError";
    /// The caller may not do that.
    pub const AUTHORIZATION: &str = "NuropbAuthorizationError";
    /// Nobody offers the service. Never on the wire.
    pub const NOT_DELIVERED: &str = "NuropbNotDeliveredError";
    /// The method asked to be called again more often than it may.
    pub const CALL_AGAIN_REJECT: &str = "NuropbCallAgainReject";
}

/// Whether a call waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallType {
    /// It does.
    Request,
    /// It does not.
    Command,
}

/// A request or a command.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Call {
    /// Who is asked.
    pub service: String,
    /// What for.
    pub method: String,
    /// The arguments by name.
    #[serde(default)]
    pub params: Map<String, Value>,
    /// 32 hexadecimal digits of the caller.
    #[serde(default)]
    pub correlation_id: String,
    /// What the caller wants to have known: tokens, users.
    #[serde(default)]
    pub context: Map<String, Value>,
    /// The caller's own mark.
    #[serde(default)]
    pub trace_id: Option<String>,
}

/// An event.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Event {
    /// Words between dots.
    pub topic: String,
    /// What has happened.
    #[serde(default)]
    pub event: Value,
    /// What the publisher wants to have known.
    #[serde(default)]
    pub context: Map<String, Value>,
    /// The publisher's own mark.
    #[serde(default)]
    pub trace_id: Option<String>,
    /// Of the call that it comes from, or its own.
    #[serde(default)]
    pub correlation_id: String,
    /// Whom it is for; a list or nothing.
    #[serde(default)]
    pub target: Value,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The name of a class.
    pub error: String,
    /// For people.
    #[serde(default)]
    pub description: String,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Response {
    /// What the method gave.
    #[serde(default)]
    pub result: Value,
    /// Or what went wrong.
    #[serde(default)]
    pub error: Option<ErrorBody>,
    /// Something to know besides.
    #[serde(default)]
    pub warning: Option<String>,
    /// That of the request.
    #[serde(default)]
    pub correlation_id: String,
    /// That of the request.
    #[serde(default)]
    pub trace_id: Option<String>,
    /// That of the request.
    #[serde(default)]
    pub context: Map<String, Value>,
    /// The queue that the answer is sent to.
    #[serde(default)]
    pub reply_to: String,
}

/// A body of any type.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// A request or a command.
    Call(Call),
    /// An event.
    Event(Event),
    /// An answer.
    Response(Response),
    /// One of these that only the two ends can read.
    Sealed(Vec<u8>),
}

/// Reads a body.
///
/// # Errors
///
/// It is not JSON, no object, or lacks a key.
pub fn decode(kind: Kind, octets: &[u8]) -> Result<Body, Bad> {
    fn read<'a, T: Deserialize<'a>>(octets: &'a [u8]) -> Result<T, Bad> {
        serde_json::from_slice(octets).map_err(|error| Bad::Body(error.to_string()))
    }
    // A list in the order of the fields would be taken for an object otherwise.
    if octets.iter().find(|octet| !octet.is_ascii_whitespace()) != Some(&b'{') {
        return Err(Bad::Body("it is no object of JSON".into()));
    }
    match kind {
        Kind::Request | Kind::Command => read(octets).map(Body::Call),
        Kind::Event => read(octets).map(Body::Event),
        Kind::Response => read(octets).map(Body::Response),
    }
}

/// Writes a request or a command.
///
/// # Errors
///
/// None that a value of JSON could cause.
pub fn encode_call(call: &Call, kind: CallType) -> Result<Vec<u8>, serde_json::Error> {
    #[derive(Serialize)]
    struct Wire<'a> {
        tag: &'a str,
        service: &'a str,
        method: &'a str,
        params: &'a Map<String, Value>,
        correlation_id: &'a str,
        context: &'a Map<String, Value>,
        trace_id: &'a Option<String>,
    }
    let tag = match kind {
        CallType::Request => Kind::Request.as_str(),
        CallType::Command => Kind::Command.as_str(),
    };
    let Call { service, method, params, correlation_id, context, trace_id } = call;
    to_python(&Wire { tag, service, method, params, correlation_id, context, trace_id })
}

/// Writes an event.
///
/// # Errors
///
/// None that a value of JSON could cause.
pub fn encode_event(event: &Event) -> Result<Vec<u8>, serde_json::Error> {
    #[derive(Serialize)]
    struct Wire<'a> {
        tag: &'a str,
        topic: &'a str,
        event: &'a Value,
        context: &'a Map<String, Value>,
        trace_id: &'a Option<String>,
        correlation_id: &'a str,
        target: &'a Value,
    }
    let Event { topic, event, context, trace_id, correlation_id, target } = event;
    let tag = Kind::Event.as_str();
    to_python(&Wire { tag, topic, event, context, trace_id, correlation_id, target })
}

/// Writes an answer.
///
/// # Errors
///
/// None that a value of JSON could cause.
pub fn encode_response(response: &Response) -> Result<Vec<u8>, serde_json::Error> {
    #[derive(Serialize)]
    struct Wire<'a> {
        tag: &'a str,
        result: &'a Value,
        error: &'a Option<ErrorBody>,
        correlation_id: &'a str,
        trace_id: &'a Option<String>,
        context: &'a Map<String, Value>,
        warning: &'a Option<String>,
        reply_to: &'a str,
    }
    let Response { result, error, warning, correlation_id, trace_id, context, reply_to } = response;
    let tag = Kind::Response.as_str();
    to_python(&Wire { tag, result, error, correlation_id, trace_id, context, warning, reply_to })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(octets: Result<Vec<u8>, serde_json::Error>) -> String {
        String::from_utf8(octets.unwrap()).unwrap()
    }

    fn call() -> Call {
        let params = json!({"a": 1}).as_object().unwrap().clone();
        Call {
            service: "sums".into(),
            method: "add".into(),
            params,
            correlation_id: "c".repeat(32),
            context: Map::new(),
            trace_id: None,
        }
    }

    #[test]
    fn a_call_is_written_as_nuropb_writes_it_and_comes_back() {
        let wire = text(encode_call(&call(), CallType::Request));
        assert_eq!(
            wire,
            r#"{"tag": "request", "service": "sums", "method": "add", "params": {"a": 1}, "correlation_id": "cccccccccccccccccccccccccccccccc", "context": {}, "trace_id": null}"#
        );
        assert_eq!(decode(Kind::Request, wire.as_bytes()), Ok(Body::Call(call())));
        assert!(
            text(encode_call(&call(), CallType::Command)).starts_with(r#"{"tag": "command", "#)
        );
    }

    #[test]
    fn events_and_answers_are_written_as_nuropb_writes_them_and_come_back() {
        let event = Event {
            topic: "sums.done".into(),
            event: json!([1]),
            context: Map::new(),
            trace_id: Some("t".into()),
            correlation_id: "c".into(),
            target: Value::Null,
        };
        let wire = text(encode_event(&event));
        assert_eq!(
            wire,
            r#"{"tag": "event", "topic": "sums.done", "event": [1], "context": {}, "trace_id": "t", "correlation_id": "c", "target": null}"#
        );
        assert_eq!(decode(Kind::Event, wire.as_bytes()), Ok(Body::Event(event)));
        let response = Response {
            result: Value::Null,
            error: Some(ErrorBody { error: "ValueError".into(), description: "no".into() }),
            warning: None,
            correlation_id: "c".into(),
            trace_id: None,
            context: Map::new(),
            reply_to: "q".into(),
        };
        let wire = text(encode_response(&response));
        assert_eq!(
            wire,
            r#"{"tag": "response", "result": null, "error": {"error": "ValueError", "description": "no"}, "correlation_id": "c", "trace_id": null, "context": {}, "warning": null, "reply_to": "q"}"#
        );
        assert_eq!(decode(Kind::Response, wire.as_bytes()), Ok(Body::Response(response)));
    }

    #[test]
    fn what_is_no_message_is_an_error_and_no_more() {
        for (kind, body) in [
            (Kind::Request, &b""[..]),
            (Kind::Request, b"[]"),
            (Kind::Request, b"[\"s\", \"m\", {}, \"c\", {}, null]"),
            (Kind::Request, b"nonsense"),
            (Kind::Request, b"{\"service\": 1, \"method\": \"m\"}"),
            (Kind::Request, b"{\"service\": \"s\"}"),
            (Kind::Request, b"{\"service\": \"s\", \"method\": \"m\", \"params\": [1]}"),
            (Kind::Event, b"{}"),
            (Kind::Event, b"\xff"),
            (Kind::Response, b"{\"error\": 7}"),
        ] {
            assert!(matches!(decode(kind, body), Err(Bad::Body(_))), "{body:?}");
        }
        // serde_json stops at a depth of its own.
        let deep = format!("{{\"topic\": \"t\", \"event\": {}", "[".repeat(100_000));
        assert!(matches!(decode(Kind::Event, deep.as_bytes()), Err(Bad::Body(_))));
    }
}
