//! What a NorFab worker says of a job that is done, where a worker of another dialect did it.

use serde_json::{Map, Value, json};

use super::object::{NULL, Object, one_or_all, value};
use super::{texts, written};

/// The body of an EVENT: the result can be had by GET.
#[must_use]
pub fn result_ready(
    worker: &str,
    service: &[u8],
    uuid: &[u8],
    task: &str,
    status: &str,
) -> Vec<u8> {
    let (service, uuid) = (String::from_utf8_lossy(service), String::from_utf8_lossy(uuid));
    written(&json!({
        "worker": worker,
        "service": service,
        "uuid": uuid,
        "event_type": "result_ready",
        "message": "completed",
        "task": task,
        "status": status,
        "resource": [],
        "severity": "INFO",
        // The broker's decisions know no time of day.
        "timestamp": "",
    }))
}

/// The body of a RESPONSE with status 200: an object with all the keys that NorFab's clients look
/// for, under the name of the worker. An answer of one frame that is JSON stands there as it is, a
/// text as a text, and of several frames each in a list; what is neither is no result. One that is
/// such an object already is kept as it is, but for the name.
#[must_use]
pub fn result(
    worker: &str,
    service: &[u8],
    uuid: &[u8],
    task: &str,
    outcome: Result<Vec<&[u8]>, String>,
) -> Vec<u8> {
    if let Ok([frame]) = outcome.as_deref()
        && let Some(own) = own_entry(frame)
    {
        return Object::empty().with(worker, own).into_octets();
    }
    let values = outcome.and_then(|frames| {
        let values: Option<Vec<_>> = frames.into_iter().map(value).collect();
        values.ok_or_else(|| "the answer is neither JSON nor UTF-8".to_owned())
    });
    let (result, errors) = match values {
        Ok(values) if values.is_empty() => (b"[]".into(), Vec::new()),
        Ok(values) => (one_or_all(values), Vec::new()),
        Err(why) => (NULL.into(), vec![why]),
    };
    let (service, uuid) = (String::from_utf8_lossy(service), String::from_utf8_lossy(uuid));
    let status = if errors.is_empty() { "completed" } else { "failed" };
    let entry = Object::of(&about(Some((&service, &uuid, task)), errors, status));
    let entry = entry.with("result", &result).into_octets();
    Object::empty().with(worker, &entry).into_octets()
}

/// What NorFab says of one thing that was done, with all its keys: a whole job (service, uuid and
/// task), or a part of its result. `status` is `completed`, `failed`, or `error` where it could not
/// even be tried; what has parts can have errors and be completed.
#[must_use]
pub fn entry(
    job: Option<(&str, &str, &str)>,
    result: Value,
    errors: Vec<String>,
    status: &str,
) -> Value {
    let mut entry = about(job, errors, status);
    entry.insert("result".into(), result);
    entry.into()
}

/// All keys of an entry but its result.
fn about(job: Option<(&str, &str, &str)>, errors: Vec<String>, status: &str) -> Map<String, Value> {
    let (service, uuid, task) =
        job.map_or((None, None, None), |(s, u, t)| (Some(s), Some(u), Some(t)));
    let failed = status != "completed";
    let pairs = [
        ("failed", json!(failed)),
        ("errors", json!(errors)),
        ("task", json!(task)),
        ("messages", json!([])),
        ("juuid", json!(uuid)),
        ("resources", json!([])),
        ("resources_failed", json!([])),
        ("status", json!(status)),
        ("task_started", Value::Null),
        ("task_completed", Value::Null),
        ("service", json!(service)),
        ("diff", json!({})),
        ("dry_run", json!(false)),
    ];
    pairs.map(|(key, value)| (key.to_owned(), value)).into_iter().collect()
}

/// What a NorFab worker says of a job of its own: all that a client looks for is there already.
fn own_entry(frame: &[u8]) -> Option<&[u8]> {
    let members = frame.trim_ascii().strip_prefix(b"{")?.strip_suffix(b"}")?;
    let mut name = serde_json::Deserializer::from_slice(members).into_iter::<String>();
    name.next()?.ok()?;
    let rest = members.get(name.byte_offset()..)?;
    // Were there more of them, this would not be one object.
    let entry = rest.trim_ascii_start().strip_prefix(b":")?;
    let keys = texts::read(std::str::from_utf8(entry).ok()?, ["result", "failed"]).ok()?;
    Some(entry).filter(|_| keys.iter().all(Option::is_some))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(outcome: Result<Vec<&[u8]>, String>) -> Value {
        let octets = result("w", b"svc", b"u", "add", outcome);
        let mut whole: Value = serde_json::from_slice(&octets).unwrap();
        whole.get_mut("w").unwrap().take()
    }

    #[test]
    fn an_answer_is_json_text_or_a_list_of_both() {
        assert_eq!(of(Ok(vec![br#"{"a":1}"#]))["result"], json!({"a": 1}));
        assert_eq!(of(Ok(vec![b"some text"]))["result"], json!("some text"));
        assert_eq!(of(Ok(vec![b"1", b"x"]))["result"], json!([1, "x"]));
        let own = br#"{"w1":{"result":7,"failed":false,"errors":[],"more":1}}"#;
        assert_eq!(of(Ok(vec![own]))["more"], json!(1), "a NorFab worker's own");
        assert_eq!(of(Ok(vec![br#"{"w1":{"result":7}}"#]))["result"]["w1"]["result"], json!(7));
        let odd = of(Ok(vec![b"\xff"]));
        assert_eq!((&odd["failed"], &odd["status"]), (&json!(true), &json!("failed")));
        let lost = of(Err("worker_lost".into()));
        assert_eq!(lost["errors"], json!(["worker_lost"]));
        assert_eq!(of(Ok(vec![]))["result"], json!([]));
    }

    #[test]
    fn an_answer_goes_on_octet_by_octet() {
        let written = |answer: &str| {
            let octets = result("w", b"svc", b"u", "add", Ok(vec![answer.as_bytes()]));
            String::from_utf8(octets).unwrap()
        };
        let odd = r#"{"b": 1.0e2, "a":[{"":0},{"":0}], "a":"\u0041"}"#;
        assert!(written(odd).contains(odd));
        let own = format!(r#"{{"failed":false, "result":{odd}}} "#);
        assert_eq!(written(&format!(r#" {{ "\"" :{own}}} "#)), format!(r#"{{"w":{own}}}"#));
        // These are none.
        for answer in [
            format!(r#"{{"a":{own},"b":{own}}}"#),
            format!(r#"{{"a":{own},}}"#),
            format!(r#"{{7:{own}}}"#),
            format!(r#"{{"a":[{own}]}}"#),
            own.clone(),
            "{}".into(),
        ] {
            let result = of(Ok(vec![answer.as_bytes()]));
            assert_eq!(result["juuid"], "u", "{answer}");
        }
    }
}
