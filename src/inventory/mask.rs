//! Secrets are not shown: what has the name of one, and what came from the environment as one.

use serde_json::{Map, Value};

/// What stands for a secret.
const HIDDEN: &str = "********";
/// Shorter values are hidden where they are all of a value, and not within another one: too much
/// would look like them.
const PART_MIN: usize = 4;

/// Whether that is the name of a secret.
pub(super) fn is_secret(name: &str) -> bool {
    /// Anywhere in a name.
    const PARTS: [&str; 9] = [
        "password",
        "passwd",
        "passphrase",
        "secret",
        "token",
        "private",
        "credential",
        "cookie",
        "apikey",
    ];
    /// A word of a name.
    const WORDS: [&str; 7] = ["key", "keys", "pass", "pwd", "pw", "pin", "community"];
    let lower = name.to_ascii_lowercase();
    let joined: String = lower.chars().filter(|c| c.is_alphanumeric()).collect();
    // `apiKey` and `sharedKey` end with the word.
    let camel = name.ends_with("Key") || name.ends_with("Keys");
    camel
        || PARTS.iter().any(|part| joined.contains(part))
        || lower.split(|c: char| !c.is_alphanumeric()).any(|word| WORDS.contains(&word))
}

/// Hides secrets.
#[derive(Clone)]
pub(super) struct Mask {
    /// Values of secret variables, the longest first.
    values: Vec<String>,
}

impl std::fmt::Debug for Mask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mask of {} values", self.values.len())
    }
}

impl Mask {
    pub(super) fn new(mut values: Vec<String>) -> Self {
        values.retain(|value| !value.is_empty());
        // One may be within another.
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        Self { values }
    }

    /// The same with each secret hidden.
    pub(super) fn hide(&self, value: Value) -> Value {
        self.value(value, false)
    }

    /// `secret`: it is below the name of a secret.
    fn value(&self, value: Value, secret: bool) -> Value {
        match value {
            Value::Object(object) => {
                let hidden = object.into_iter().map(|(name, value)| {
                    let secret = secret || is_secret(&name);
                    (self.text(&name), self.value(value, secret))
                });
                Value::Object(hidden.collect::<Map<_, _>>())
            }
            Value::Array(items) => items.into_iter().map(|item| self.value(item, secret)).collect(),
            // Whether there is a secret is none.
            Value::Null | Value::Bool(_) => value,
            Value::Number(_) | Value::String(_) if secret => HIDDEN.into(),
            Value::Number(number) if self.values.contains(&number.to_string()) => HIDDEN.into(),
            Value::Number(_) => value,
            Value::String(text) => self.text(&text).into(),
        }
    }

    fn text(&self, text: &str) -> String {
        let mut shown = without_password(text);
        for value in &self.values {
            if shown == *value {
                return HIDDEN.into();
            }
            if value.len() >= PART_MIN && shown.contains(value.as_str()) {
                shown = shown.replace(value.as_str(), HIDDEN);
            }
        }
        shown
    }
}

/// `scheme://user:password@host` without the password.
fn without_password(text: &str) -> String {
    let hidden = || {
        let (scheme, rest) = text.split_once("://")?;
        let authority = rest.split(['/', '?', '#']).next()?;
        let (user, host) = authority.rsplit_once('@')?;
        let (name, _) = user.split_once(':')?;
        let rest = rest.get(authority.len()..)?;
        Some(format!("{scheme}://{name}:{HIDDEN}@{host}{rest}"))
    };
    hidden().unwrap_or_else(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_of_secrets_are_known() {
        for name in [
            "password",
            "db_password",
            "DB-PASSWORD",
            "userPassword",
            "secret",
            "client_secret",
            "token",
            "ACCESS_TOKEN",
            "private_key",
            "private_keys_dir",
            "key",
            "shared_key",
            "ssh-keys",
            "apiKey",
            "api_key",
            "passphrase",
            "credentials",
            "pwd",
            "snmp_community",
        ] {
            assert!(is_secret(name), "{name}");
        }
        for name in [
            "endpoint",
            "zmq_auth",
            "keepalive",
            "monkey",
            "passenger",
            "hosts",
            "username",
            "path",
        ] {
            assert!(!is_secret(name), "{name}");
        }
    }

    #[test]
    fn what_is_below_the_name_of_a_secret_is_hidden_and_its_presence_is_not() {
        let shown = Mask::new(Vec::new()).hide(json!({
            "password": "p", "port": 5555, "pin": 1234, "token": null, "private": true,
            "keys": ["a", {"x": "b"}], "url": "redis://me:pw@host:1/0", "other": "tcp://host:1",
        }));
        assert_eq!(
            shown,
            json!({
                "password": HIDDEN, "port": 5555, "pin": HIDDEN, "token": null, "private": true,
                "keys": [HIDDEN, {"x": HIDDEN}], "url": "redis://me:********@host:1/0",
                "other": "tcp://host:1",
            })
        );
    }

    #[test]
    fn what_came_from_a_secret_variable_is_hidden_wherever_it_stands() {
        let mask = Mask::new(vec![
            String::new(),
            "ab".into(),
            "hunter2".into(),
            "hunter22".into(),
            "4711".into(),
        ]);
        let shown = mask.hide(json!({
            "a": "hunter2", "b": ["x-hunter22-y"], "c": 4711, "d": "ab", "e": "cab", "f": "free",
        }));
        let expected = json!({
            "a": HIDDEN, "b": ["x-********-y"], "c": HIDDEN, "d": HIDDEN, "e": "cab", "f": "free",
        });
        assert_eq!(shown, expected);
    }
}
