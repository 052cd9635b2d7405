//! A job as a worker takes it, made of what somebody said who does not speak NFP.

use serde_json::{Map, Value};

/// Time that a job has if nobody says one, s: NorFab's own.
const TIMEOUT: u64 = 600;

/// The body of a POST with every key that a worker looks for: `kwargs`, `args` and `timeout` (s)
/// are added where they are missing. What is no object is left as it is, see
/// [`JobBody::read`](super::JobBody::read).
#[must_use]
pub fn completed(octets: &[u8], timeout: Option<u64>) -> Vec<u8> {
    let Ok(mut job) = serde_json::from_slice::<Map<String, Value>>(octets) else {
        return octets.to_vec();
    };
    job.entry("kwargs").or_insert_with(|| Value::Object(Map::new()));
    job.entry("args").or_insert_with(|| Value::Array(Vec::new()));
    job.entry("timeout").or_insert_with(|| timeout.unwrap_or(TIMEOUT).into());
    serde_json::to_vec(&job).unwrap_or_else(|_| octets.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_added_and_what_is_there_stays() {
        let whole = completed(br#"{"task":"add"}"#, Some(7));
        let said: Value = serde_json::from_slice(&whole).unwrap();
        let wanted = serde_json::json!({"task": "add", "kwargs": {}, "args": [], "timeout": 7});
        assert_eq!(said, wanted);
        let own = br#"{"args":[1],"kwargs":{"a":2},"task":"t","timeout":5}"#;
        assert_eq!(completed(own, Some(7)), own);
        assert_eq!(completed(b"[1]", None), b"[1]");
    }
}
