//! What a NorFab worker says of a job that is done, where a worker of another dialect did it.

use serde::Serialize;
use serde_json::{Value, json};

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
    let values = outcome.and_then(|frames| {
        let values: Option<Vec<Value>> = frames.into_iter().map(value).collect();
        values.ok_or_else(|| "the answer is neither JSON nor UTF-8".to_owned())
    });
    if let Ok([value]) = values.as_deref()
        && let Some(own) = own_entry(value)
    {
        return written(&json!({ worker: own }));
    }
    let (result, errors) = match values {
        Ok(mut values) if values.len() == 1 => (values.pop().unwrap_or_default(), Vec::new()),
        Ok(values) => (Value::Array(values), Vec::new()),
        Err(why) => (Value::Null, vec![why]),
    };
    let (service, uuid) = (String::from_utf8_lossy(service), String::from_utf8_lossy(uuid));
    let status = if errors.is_empty() { "completed" } else { "failed" };
    let entry = entry(Some((&service, &uuid, task)), result, errors, status);
    written(&json!({ worker: entry }))
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
    let (service, uuid, task) =
        job.map_or((None, None, None), |(s, u, t)| (Some(s), Some(u), Some(t)));
    let failed = status != "completed";
    json!({
        "result": result,
        "failed": failed,
        "errors": errors,
        "task": task,
        "messages": [],
        "juuid": uuid,
        "resources": [],
        "resources_failed": [],
        "status": status,
        "task_started": null,
        "task_completed": null,
        "service": service,
        "diff": {},
        "dry_run": false,
    })
}

/// What a NorFab worker says of a job of its own: all that a client looks for is there already.
fn own_entry(value: &Value) -> Option<&Value> {
    let mut entries = value.as_object()?.values();
    let (Some(entry), None) = (entries.next(), entries.next()) else { return None };
    let keys = entry.as_object()?;
    Some(entry).filter(|_| keys.contains_key("result") && keys.contains_key("failed"))
}

pub(super) fn value(frame: &[u8]) -> Option<Value> {
    let json = serde_json::from_slice(frame).ok();
    json.or_else(|| Some(Value::String(std::str::from_utf8(frame).ok()?.to_owned())))
}

pub(super) fn written(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
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
    }
}
