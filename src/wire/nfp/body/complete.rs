//! A job as a worker takes it, made of what somebody said who does not speak NFP.

use super::object::Object;
use super::texts;

/// Time that a job has if nobody says one, s: NorFab's own.
const TIMEOUT: u64 = 600;

/// The body of a POST with every key that a worker looks for: `kwargs`, `args` and `timeout` (s)
/// are added where they are missing, behind what is there, which stays octet by octet. What is no
/// object is left as it is, see [`JobBody::read`](super::JobBody::read).
#[must_use]
pub fn completed(octets: &[u8], timeout: Option<u64>) -> Vec<u8> {
    /// Octets of all three.
    const ADDED: usize = 64;
    let text = std::str::from_utf8(octets).ok();
    let said = text.and_then(|text| texts::read(text, ["kwargs", "args", "timeout"]).ok());
    let Some(said) = said else { return octets.to_vec() };
    let timeout = timeout.unwrap_or(TIMEOUT).to_string();
    let missing = [("kwargs", "{}"), ("args", "[]"), ("timeout", &timeout)];
    let mut whole = Vec::with_capacity(octets.len() + ADDED);
    whole.extend_from_slice(octets);
    let missing = missing.iter().zip(said).filter(|(_, said)| said.is_none());
    let job =
        missing.fold(Object::new(whole), |job, ((key, value), _)| job.with(key, value.as_bytes()));
    job.into_octets()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

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

    #[test]
    fn a_job_goes_on_octet_by_octet() {
        let odd =
            r#"{"task":"t", "z":[{"":0},{"":0}], "args":null, "a":1.0e2, "a":2, "x":"\u0041" }"#;
        let wanted = odd.replace(" }", r#" ,"kwargs":{},"timeout":600}"#);
        assert_eq!(completed(format!("{odd}\n").as_bytes(), None), wanted.as_bytes());
        let longest = completed(b"{}", Some(u64::MAX));
        assert_eq!(longest, br#"{"kwargs":{},"args":[],"timeout":18446744073709551615}"#);
        for none in [&b"\xff"[..], b"", b"{\"a\":1} x", br#"{"kwargs":"\ud800"}"#] {
            assert_eq!(completed(none, None), none);
        }
    }
}
